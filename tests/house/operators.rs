//! The CA's own permissions over mutual TLS: what the policy allows, and what only the unix socket may do (DESIGN §4).

use countersign_api::{
    Problem,
    admin::{InviteResponse, Machine as ListedMachine, Page, PolicyDocument},
};
use serde_json::{Value, json};

use crate::{
    ca::{Ca, Setup, id},
    machine::{Machine, enroll},
    wire::{self, Answer, Connection},
};

/// One identity may everything, one may read, and nobody else anything.
const POLICY: &str = r#"
version = 1

[service.ledger]
permissions = ["read", "write"]

[[grant]]
id = "spiffe://prod.example/operator"
permissions = ["countersign:read", "countersign:invite", "countersign:revoke", "countersign:registrations", "countersign:policy", "countersign:log-read"]
owner = "tests"
reason = "to try what an operator may"

[[grant]]
id = "spiffe://prod.example/auditor/*"
permissions = ["countersign:read"]
owner = "tests"
reason = "to try what a reader may"
"#;

fn house() -> (Ca, Machine) {
    let ca = Setup::new().policy(POLICY).start();
    let operator = Machine::enrolled(&ca, "/operator");
    (ca, operator)
}

fn ask(ca: &Ca, machine: &Machine, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let body = body.map(Value::to_string);
    let body = body.as_ref().map(|text| ("application/json", text.as_bytes()));
    Connection::open(ca.listen(), Some(&machine.papers)).and_then(|mut c| c.ask(method, path, body)).unwrap()
}

fn registration(path: &str) -> Value {
    json!({ "spiffe_id": id(path), "profile": "workload", "machines": "one" })
}

/// A registration with a key that whoever holds it may buy tokens with.
fn with_key(path: &str) -> Value {
    let public_key = countersign_testkit::KeyPair::generate().unwrap().public_key_pem();
    let mut registration = registration(path);
    registration["token_keys"] = json!([{ "public_key": public_key, "until": "2100-01-01T00:00:00Z" }]);
    registration
}

fn invitation(path: &str) -> Value {
    json!({ "registration": registration(path), "stated": [], "ttl_seconds": 60, "uses": 1 })
}

const READS: [&str; 6] = [
    "/v1/admin/machines",
    "/v1/admin/registrations",
    "/v1/admin/issued",
    "/v1/admin/issuers",
    "/v1/admin/status",
    "/v1/admin/policy",
];

#[test]
fn whoever_may_read_reads_and_whoever_may_not_is_told_why() {
    let ca = Setup::new().policy(POLICY).start();
    let reader = Machine::enrolled(&ca, "/auditor/one");
    let nobody = Machine::enrolled(&ca, "/payments");
    for path in READS {
        assert_eq!(wire::get(ca.listen(), Some(&reader.papers), path).status, 200, "{path}");
        let refused = wire::get(ca.listen(), Some(&nobody.papers), path).refused(403, "permission_denied");
        assert!(refused.detail.contains("countersign:read"), "{}", refused.detail);
        wire::get(ca.listen(), None, path).refused(401, "certificate_required");
    }
    let page: Page<ListedMachine> = wire::get(ca.listen(), Some(&reader.papers), READS[0]).json();
    assert_eq!(page.items.len(), 2);
    wire::get(ca.listen(), Some(&reader.papers), "/v1/admin/events").refused(403, "permission_denied");
}

#[test]
fn a_reader_changes_nothing() {
    let ca = Setup::new().policy(POLICY).start();
    let reader = Machine::enrolled(&ca, "/auditor/one");
    for (method, path, body) in [
        ("POST", "/v1/admin/invitations", invitation("/payments")),
        ("PUT", "/v1/admin/registrations", registration("/payments")),
        ("POST", "/v1/admin/registrations/import", json!({ "registrations": [registration("/payments")] })),
        ("POST", "/v1/admin/machines/act", json!({ "target": id("/operator"), "act": "suspend" })),
        ("POST", "/v1/admin/revoke", json!({ "kind": "serial", "target": reader.serial() })),
        ("POST", "/v1/admin/policy", json!({ "text": "version = 1\n" })),
    ] {
        ask(&ca, &reader, method, path, Some(&body)).refused(403, "permission_denied");
    }
    assert_eq!(ca.json(&["registrations", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_operator_invites_over_mutual_tls_and_the_event_names_it() {
    let (ca, operator) = house();
    let answer = ask(&ca, &operator, "POST", "/v1/admin/invitations", Some(&invitation("/payments")));
    let invited: InviteResponse = answer.json();
    let key = countersign_testkit::csr::p256();
    let machine =
        Machine::from(&enroll(&ca, &invited.invitation, &countersign_testkit::csr::plain(&key)), key);
    machine.renewed(&ca);
    let events = ca.events("invitation.created");
    assert_eq!(events.last().unwrap()["actor"], id("/operator"));
}

/// Nobody makes itself, or a friend, a second operator.
#[test]
fn nobody_touches_a_privileged_identity_over_mutual_tls() {
    let (ca, operator) = house();
    let auditor = Machine::enrolled(&ca, "/auditor/one");
    let before = ca.json(&["registrations", "list"]);
    for path in ["/operator", "/auditor/one", "/auditor/two"] {
        for (method, route, body) in [
            ("POST", "/v1/admin/invitations".to_owned(), invitation(path)),
            ("PUT", "/v1/admin/registrations".to_owned(), registration(path)),
            ("PUT", "/v1/admin/registrations".to_owned(), with_key(path)),
            (
                "POST",
                "/v1/admin/registrations/import".to_owned(),
                json!({ "registrations": [registration("/harmless"), registration(path)] }),
            ),
            ("DELETE", format!("/v1/admin/registrations?id={}", id(path)), json!({})),
        ] {
            let answer = ask(&ca, &operator, method, &route, Some(&body));
            let refused = answer.refused(403, "permission_denied");
            assert!(refused.detail.contains("unix socket"), "{method} {route}: {}", refused.detail);
        }
    }
    assert_eq!(ca.json(&["registrations", "list"]), before);
    let harmless = with_key("/harmless");
    assert_eq!(ask(&ca, &operator, "PUT", "/v1/admin/registrations", Some(&harmless)).status, 204);
    assert_eq!(ca.events("token_key.added")[0]["actor"], id("/operator"));
    // Nor takes it back a suspension, by identity or by machine.
    ca.run(&["machines", "suspend", &auditor.response.machine]).succeeded();
    for target in [id("/auditor/one"), auditor.response.machine.clone()] {
        let resume = json!({ "target": target, "act": "resume" });
        ask(&ca, &operator, "POST", "/v1/admin/machines/act", Some(&resume))
            .refused(403, "permission_denied");
    }
    // At the socket all of it works.
    ca.run(&["machines", "resume", &auditor.response.machine]).succeeded();
    ca.invite("/auditor/two", &[]);
}

/// A machine is given the certificates of the workloads under it.
#[test]
fn nobody_is_let_in_over_mutual_tls_under_whom_a_privileged_workload_runs() {
    let (ca, operator) = house();
    let workload = ["invite", &id("/auditor/one"), "--parent", &id("/host"), "--selector", "unix:uid:1001"];
    ca.run(&workload).succeeded();
    for (method, route, body) in [
        ("POST", "/v1/admin/invitations", invitation("/host")),
        ("PUT", "/v1/admin/registrations", registration("/host")),
        ("POST", "/v1/admin/registrations/import", json!({ "registrations": [registration("/host")] })),
    ] {
        let refused = ask(&ca, &operator, method, route, Some(&body)).refused(403, "permission_denied");
        assert!(refused.detail.contains("unix socket"), "{method} {route}: {}", refused.detail);
    }
    let elsewhere = ask(&ca, &operator, "POST", "/v1/admin/invitations", Some(&invitation("/other-host")));
    assert_eq!(elsewhere.status, 200);
}

/// Whoever may invite lets machines in; a key that proves an identity without one is another right.
#[test]
fn an_invitation_registers_no_key_for_tokens() {
    let (ca, operator) = house();
    let mut wish = invitation("/deployer");
    wish["registration"] = with_key("/deployer");
    let refused = ask(&ca, &operator, "POST", "/v1/admin/invitations", Some(&wish));
    assert!(refused.refused(400, "parameter_invalid").detail.contains("token_keys"));
    assert!(ca.events("token_key.added").is_empty());
}

/// Taking away is not giving: a stolen operator's certificate can be revoked from anywhere.
#[test]
fn a_privileged_machine_can_be_revoked_over_mutual_tls() {
    let (ca, operator) = house();
    let auditor = Machine::enrolled(&ca, "/auditor/one");
    let revoke = json!({ "kind": "machine", "target": id("/auditor/one") });
    let answer = ask(&ca, &operator, "POST", "/v1/admin/revoke", Some(&revoke));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refused = wire::get(ca.listen(), Some(&auditor.papers), READS[0]);
    let problem: Problem = serde_json::from_slice(&refused.body).unwrap();
    assert!([401, 403].contains(&refused.status), "{problem}");
}

#[test]
fn grants_on_the_ca_itself_change_only_at_the_socket() {
    let (ca, operator) = house();
    let apply = |text: &str| ask(&ca, &operator, "POST", "/v1/admin/policy", Some(&json!({ "text": text })));
    let wider = POLICY.replace("auditor/*", "auditor/**");
    let more = format!(
        "{POLICY}\n[[grant]]\nid = \"spiffe://prod.example/friend\"\npermissions = [\"countersign:policy\"]\n"
    );
    let less = POLICY.replace(", \"countersign:log-read\"", "");
    for changed in [&wider, &more, &less] {
        assert_ne!(changed, POLICY);
        let refused = apply(changed).refused(403, "permission_denied");
        assert!(
            refused.detail.contains("countersign:") && refused.detail.contains("unix socket"),
            "{refused}"
        );
    }
    let harmless = format!(
        "{POLICY}\n[[grant]]\nid = \"spiffe://prod.example/payments\"\npermissions = [\"ledger:read\"]\n"
    );
    let applied: PolicyDocument = apply(&harmless).json();
    assert!(applied.version.is_some());
    apply("version = 1\n[[gran]]\n").refused(422, "policy_invalid");
}

#[test]
fn acts_on_the_state_directory_do_not_exist_over_tls() {
    let (ca, operator) = house();
    for path in ["/v1/admin/reload", "/v1/admin/issuers/adopt", "/v1/admin/backup"] {
        ask(&ca, &operator, "POST", path, Some(&json!({}))).refused(404, "not_found");
    }
}

#[test]
fn a_revoked_or_suspended_operator_is_nobody() {
    let (ca, operator) = house();
    assert_eq!(wire::get(ca.listen(), Some(&operator.papers), READS[0]).status, 200);
    ca.run(&["machines", "suspend", &operator.response.machine]).succeeded();
    let status = wire::get(ca.listen(), Some(&operator.papers), READS[0]).status;
    assert!([401, 403].contains(&status), "{status}");
    ca.run(&["machines", "resume", &operator.response.machine]).succeeded();
    assert_eq!(wire::get(ca.listen(), Some(&operator.papers), READS[0]).status, 200);
    ca.run(&["revoke", "serial", &operator.serial()]).succeeded();
    let status = wire::get(ca.listen(), Some(&operator.papers), READS[0]).status;
    assert!([401, 403].contains(&status), "{status}");
}

/// DESIGN §3: only renewal judges the lineage; elsewhere an older certificate is as good as any.
#[test]
fn an_older_certificate_accuses_nobody_outside_renewal() {
    let (ca, operator) = house();
    let newest = operator.renewed(&ca).renewed(&ca);
    assert_eq!(wire::get(ca.listen(), Some(&operator.papers), READS[0]).status, 200);
    assert!(ca.events("lineage.clone").is_empty());
    newest.renewed(&ca);
}

#[test]
fn an_operator_elsewhere_commands_by_certificate_and_policy() {
    let ca = Setup::new().policy(POLICY).start();
    ca.enroll_agent("/operator", "op");
    ca.enroll_agent("/nobody", "nobody");
    let there = ca.listen().to_string();
    let from = |who: &str, words: &[&str]| {
        let mut command = ca.command(&[&["--ca", &there, "--as", who], words].concat());
        crate::program::run(command.env_remove("COUNTERSIGN_CONFIG"))
    };
    let invitation = from("op", &["invite", &id("/web")]).succeeded();
    ca.agent(&["enroll", "--invitation", invitation.trim(), "--dir", "web"]).succeeded();
    let listed = from("op", &["machines", "list", "--json"]).succeeded();
    assert!(listed.contains(&id("/web")), "{listed}");
    from("op", &["revoke", "machine", &id("/web"), "--reason", "from afar"]).succeeded();
    assert_eq!(ca.events("machine.revoked")[0]["actor"], id("/operator"));

    from("nobody", &["machines", "list"]).failed(1, &["no grant"]);
    for here in ["reload", "serve"] {
        from("op", &[here]).failed(2, &["own machine"]);
    }
    // Another CA of the same name answers there: it is not this one.
    let other = Ca::start();
    let mut command = ca.command(&["--ca", &other.listen().to_string(), "--as", "op", "machines", "list"]);
    crate::program::run(&mut command).failed(1, &["is not this CA"]);
    let mut command = ca.command(&["--ca", "127.0.0.1:1", "--as", "op", "machines", "list"]);
    crate::program::run(&mut command).failed(3, &["no CA at https://127.0.0.1:1"]);
}
