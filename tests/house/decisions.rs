//! What services report of their decisions, and what a change of policy is told of it.

use serde_json::{Value, json};

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    wire::{self, Answer},
};

const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[service.mail]
permissions = ["send"]
[[grant]]
id = "spiffe://prod.example/ledger"
permissions = ["countersign:report-events"]
[[grant]]
id = "spiffe://prod.example/payments/*"
permissions = ["ledger:read", "ledger:write"]
"#;

#[track_caller]
fn report(ca: &Ca, machine: &Machine, body: &Value) -> Answer {
    wire::post(ca.listen(), Some(&machine.papers), "/v1/events", body)
}

fn decision(allowed: bool, permission: &str) -> Value {
    json!({
        "time": "2026-11-23T10:00:00Z", "kind": "authorization", "allowed": allowed,
        "spiffe_id": id("/payments/api"), "permission": permission, "reason": "grant 2", "count": 3,
    })
}

fn now(mut decision: Value) -> Value {
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let now = countersign_identity::Timestamp::from_unix(seconds.try_into().unwrap());
    decision["time"] = now.to_string().into();
    decision
}

#[test]
fn a_service_reports_about_itself_and_nobody_else_does() {
    let ca = Setup::new().policy(POLICY).start();
    let (ledger, other) = (Machine::enrolled(&ca, "/ledger"), Machine::enrolled(&ca, "/other"));
    let about = |service: &str, permission: &str| json!({ "service": service, "decisions": [decision(true, permission), decision(false, permission)], "dropped": 7 });
    let accepted: Value = report(&ca, &ledger, &about("ledger", "ledger:read")).json();
    assert_eq!(accepted["accepted"], 2);
    let allowed = ca.events("decision.allowed");
    assert_eq!(
        (allowed.len(), &allowed[0]["count"], &allowed[0]["reporter"]),
        (1, &json!(3), &json!(id("/ledger")))
    );
    assert_eq!(ca.events("decision.denied").len(), 1);
    assert_eq!(ca.events("decisions.dropped")[0]["count"], 7);

    report(&ca, &ledger, &about("mail", "mail:send")).refused(403, "permission_denied");
    report(&ca, &ledger, &about("ledger", "mail:send")).refused(400, "parameter_invalid");
    report(&ca, &other, &about("ledger", "ledger:read")).refused(403, "permission_denied");
    let many: Vec<_> = (0..513).map(|_| decision(true, "ledger:read")).collect();
    report(&ca, &ledger, &json!({ "service": "ledger", "decisions": many }))
        .refused(400, "parameter_invalid");
    assert_eq!(ca.events("decision.allowed").len(), 1, "what was refused left nothing");
}

#[test]
fn a_policy_that_takes_away_what_was_used_lately_is_stopped_in_ci() {
    let ca = Setup::new().policy(POLICY).start();
    let ledger = Machine::enrolled(&ca, "/ledger");
    let used = json!({ "service": "ledger", "decisions": [now(decision(true, "ledger:read"))] });
    report(&ca, &ledger, &used).json::<Value>();
    let file = ca.scratch("new.toml");
    let diff = |text: &str, flags: &[&str]| {
        std::fs::write(&file, text).unwrap();
        ca.run(&[&["policy", "diff", file.to_str().unwrap()], flags].concat())
    };
    let without_write = POLICY.replace("\"ledger:read\", \"ledger:write\"", "\"ledger:read\"");
    assert!(diff(&without_write, &["--ci"]).succeeded().contains("ledger:write"), "nobody used it");
    let without_read = POLICY.replace("\"ledger:read\", \"ledger:write\"", "\"ledger:write\"");
    diff(&without_read, &["--ci"]).failed(1, &["used lately"]);
    let shown = diff(&without_read, &[]).succeeded();
    assert!(shown.contains("so spiffe://prod.example/payments/any loses ledger:read"), "{shown}");
    assert!(shown.contains(&format!("! {} used ledger:read", id("/payments/api"))), "{shown}");
    let json = ca.json(&["policy", "diff", file.to_str().unwrap()]);
    assert_eq!(json["used_lately"][0]["permission"], "ledger:read");
}
