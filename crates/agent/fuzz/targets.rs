//! What must hold of any text that a machine's operator writes.

use countersign_agent::config::Config;
use countersign_agent::{Endpoint, ErrorKind};

/// The configuration of `run`: understood, or refused as the operator's mistake.
pub fn agent_config(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    match Config::parse(text, "/etc/countersign/agent.toml".as_ref()) {
        Ok(config) => {
            assert!(config.dir.is_absolute(), "a relative directory counts from the file");
            assert!(config.reload.first().is_none_or(|program| !program.is_empty()));
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains("/etc/countersign/agent.toml"));
        }
    }
    if let Ok(endpoint) = text.trim().parse::<Endpoint>() {
        let written = endpoint.to_string();
        assert_eq!(written.parse::<Endpoint>().map(|again| again.to_string()).ok(), Some(written));
    }
}
