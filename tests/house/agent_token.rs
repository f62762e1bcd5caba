//! `countersign-agent token`: a machine buys an access token with its certificate.

use serde_json::Value;

use crate::oauth::house;

#[test]
fn an_agent_buys_a_token_for_a_service_and_is_told_why_not() {
    let ca = house();
    ca.enroll_agent("/payments", "payments");
    ca.enroll_agent("/stranger", "stranger");
    let token = |dir: &str, more: &[&str]| {
        ca.agent(&[&["token", "--dir", dir, "--service", "ledger"], more].concat())
    };
    let all: Value = serde_json::from_str(&token("payments", &["--json"]).succeeded()).unwrap();
    assert_eq!(all["scope"].as_str().unwrap().split(' ').count(), 3, "{all}");
    let bare = token("payments", &["--permission", "read"]).succeeded();
    assert_eq!(bare.trim().split('.').count(), 3, "the token alone: {bare}");
    let read: Value =
        serde_json::from_str(&token("payments", &["--permission", "read", "--json"]).succeeded()).unwrap();
    assert_eq!(read["scope"], "ledger:read");
    token("stranger", &[]).failed(1, &["the CA refused", "policy explain"]);
    let there = ca.agent(&["token", "--dir", "nowhere", "--service", "ledger"]);
    there.failed(1, &["holds no identity"]);
}
