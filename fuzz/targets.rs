//! What must hold of any text that the CA's operator writes, and of what strangers bring to the authorization server.

use std::path::Path;

use countersign::{config::Config, http::Form, service::Assertion};

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

/// The form of the authorization server: no field is read that is not there, and none twice.
pub fn form(octets: &[u8]) {
    let Ok(form) = Form::parse(octets) else { return };
    for name in ["grant_type", "scope", "token", "client_assertion"] {
        match form.one(name) {
            Ok(Some(value)) => {
                assert_eq!([value], *form.all(name).iter().map(|one| one.as_str()).collect::<Vec<_>>())
            }
            Ok(None) => assert!(form.all(name).iter().all(|one| one.is_empty())),
            Err(_) => assert!(form.all(name).len() > 1),
        }
    }
}

/// The assertion of a client: taken apart, or refused in a few words.
pub fn assertion(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    match Assertion::read(text) {
        Ok(assertion) => {
            assert!(text.len() <= 8192 && text.matches('.').count() == 2);
            if let Ok(chain) = assertion.chain() {
                assert!(chain.len() <= 4);
            }
            let _ = (assertion.subject(), assertion.kid());
        }
        Err(refused) => assert!(refused.to_string().len() < 9000, "no more than a reason"),
    }
}
