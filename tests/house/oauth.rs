//! The authorization server as a client sees it: forms in, tokens out, and what a token says.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    ca::{Ca, Setup},
    wire::{Answer, Connection, Papers},
};

/// Payments may read the ledger and one tenant's part of it, and send; the ledger and the post are services.
pub(crate) const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write", "tenant:{tenant}"]
[service.post]
permissions = ["send"]
[[grant]]
id = "spiffe://prod.example/payments"
permissions = ["ledger:read", "ledger:write", "ledger:tenant:acme", "post:send"]
"#;

/// A CA with that policy.
pub(crate) fn house() -> Ca {
    Setup::new().policy(POLICY).start()
}

/// Fields as a form.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        let _ = write!(text, "{name}=");
        for octet in value.bytes() {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                text.push(octet.into());
            } else {
                let _ = write!(text, "%{octet:02X}");
            }
        }
    }
    text
}

/// Posts a form on a connection of its own.
#[track_caller]
pub(crate) fn post(ca: &Ca, papers: Option<&Papers>, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form(fields);
    let kind = "application/x-www-form-urlencoded";
    let mut connection = Connection::open(ca.listen(), papers).unwrap();
    connection.ask("POST", path, Some((kind, body.as_bytes()))).unwrap()
}

/// Asks for a token with client credentials and these fields besides.
#[track_caller]
pub(crate) fn ask(ca: &Ca, papers: Option<&Papers>, fields: &[(&str, &str)]) -> Answer {
    post(ca, papers, "/oauth2/token", &[&[("grant_type", "client_credentials")], fields].concat())
}

/// The access token of an answer that gave one.
#[track_caller]
pub(crate) fn token(answer: &Answer) -> String {
    let body: Value = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    body["access_token"].as_str().unwrap().to_owned()
}

/// The error code of a refusal, which is of the form RFC 6749 §5.2 wants.
#[track_caller]
pub(crate) fn refused(answer: &Answer) -> (u16, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.header("content-type"), Some("application/json"), "{body}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!body["error_description"].as_str().unwrap().is_empty());
    (answer.status, body["error"].as_str().unwrap().to_owned())
}

/// Header and claims of a compact JWS.
#[track_caller]
pub(crate) fn read(token: &str) -> (Value, Value) {
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    (part(parts[0]), part(parts[1]))
}
