//! What must hold of any text that a machine's operator writes, and of any bytes that its processes send.

use countersign_agent::attest::{Cgroup, Selector};
use countersign_agent::config::Config;
use countersign_agent::{Endpoint, ErrorKind, Reload, soften};

/// The configuration of `run`: understood, or refused as the operator's mistake.
pub fn agent_config(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    match Config::parse(text, "/etc/countersign/agent.toml".as_ref()) {
        Ok(config) => {
            assert!(config.dir.is_absolute(), "a relative directory counts from the file");
            if let Some(Reload::Command(command)) = config.reload {
                assert!(command.first().is_some_and(|program| !program.is_empty()));
            }
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

/// What a registration asks for and what `/proc` says of a process.
pub fn attestation(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Ok(selector) = text.parse::<Selector>() {
        assert_eq!(selector.to_string(), text, "a selector is written in one way only");
    }
    let Cgroup { unit, container } = Cgroup::read(text);
    assert!(unit.is_none_or(|unit| unit.ends_with(".service") || unit.ends_with(".scope")));
    assert!(container.is_none_or(|id| id.len() == 64 && id.bytes().all(|octet| octet.is_ascii_hexdigit())));
}

/// A header block of a client's: softened, it keeps its length, and nothing but a percent sign changes where it is plain.
pub fn header_block(octets: &[u8]) {
    let mut block = octets.to_vec();
    let _ = soften(&mut block);
    assert_eq!(block.len(), octets.len());
    for (before, after) in octets.iter().zip(&block) {
        assert!(before == after || (before ^ after).count_ones() <= 4, "two hyphens in one octet at most");
    }
    let once = block.clone();
    let _ = soften(&mut block);
    assert_eq!(block, once, "what was softened stays as it is");
}
