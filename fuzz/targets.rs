//! What must hold of any text that the CA's operator writes.

use std::path::Path;

use countersign::config::Config;

/// The configuration: understood with every limit in force, or refused by the file's name.
pub fn ca_config(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    match Config::parse(text, Path::new("/etc/countersign/countersign.toml")) {
        Ok(config) => {
            assert!(config.url.starts_with("https://"));
            assert!(!config.host.is_empty() && !config.groups.is_empty());
            let limits = &config.limits;
            let all = [limits.body_bytes, limits.handshakes, limits.connections, limits.store_queue];
            assert!(all.iter().all(|limit| *limit > 0), "invariant 10");
            assert!(!limits.handshake.is_zero() && !limits.request.is_zero());
        }
        Err(error) => assert!(error.to_string().contains("countersign.toml"), "{error}"),
    }
}
