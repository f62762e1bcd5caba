//! What a policy's text may say, and how a wrong one is refused.

use crate::{EXAMPLE, permission, policy};
use countersign_policy::{Permission, PermissionError, Policy, PolicyError, Problem, RESERVED_SERVICE};

fn refusal(text: &str) -> PolicyError {
    Policy::parse(text, "policy.toml").expect_err(text)
}

/// The refusal of a text after a correct head of three lines.
fn refusal_after_head(rest: &str) -> PolicyError {
    refusal(&format!(
        "version = 1\n[service.ledger]\npermissions = [\"read\", \"tenant:{{tenant}}\"]\n{rest}"
    ))
}

fn grant(permission: &str) -> PolicyError {
    refusal_after_head(&format!(
        "[[grant]]\nid = \"spiffe://td/{{tenant}}/*\"\npermissions = [\"{permission}\"]\n"
    ))
}

#[test]
fn the_example_of_the_design_is_read_and_passes_its_test() {
    let policy = policy(EXAMPLE);
    assert_eq!(policy.test_count(), 1);
    assert_eq!(policy.run_tests(crate::now()), []);
    assert_eq!(policy.text(), EXAMPLE);
}

#[test]
fn the_version_is_the_digest_of_the_text() {
    // printf 'version = 1\n' | sha256sum
    let version = *policy("version = 1\n").version();
    assert_eq!(version.to_string(), "dbab12665d98aef021ba64953c61b0ed8a908cfb56a1c01e2fcb4b052b71a2a1");
    assert_eq!(version.short(), version.to_string()[..12]);
    assert_ne!(version, *policy("version = 1\n\n").version());
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_known() {
    let error = refusal_after_head("[[grant]]\nid = \"spiffe://td/a\"\n  permisions = [\"ledger:read\"]\n");
    assert_eq!((error.file(), error.line(), error.column()), ("policy.toml", 6, 3));
    assert_eq!(
        error.to_string(),
        "policy.toml:6:3: unknown key \"permisions\" (did you mean \"permissions\"?), \
         expected one of id, permissions, from, until, owner, reason"
    );
}

#[test]
fn unknown_keys_are_refused_at_every_depth() {
    for (text, line, found, meant) in [
        ("version = 1\n[[grants]]\n", 2, "grants", Some("grant")),
        ("version = 1\n[service.a]\npermission = []\n", 3, "permission", Some("permissions")),
        ("version = 1\n[[test]]\nid = \"spiffe://td\"\nmaynot = []\n", 4, "maynot", Some("may_not")),
        ("version = 1\n[[deny]]\nzzzzzzzz = 1\n", 3, "zzzzzzzz", None),
    ] {
        let error = refusal(text);
        assert_eq!(error.line(), line, "{error}");
        match error.problem() {
            Problem::UnknownKey { found: key, nearest, .. } => {
                assert_eq!((key.as_str(), nearest.as_deref()), (found, meant));
            }
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn broken_toml_is_refused_with_its_place() {
    let error = refusal("version = 1\n[service.ledger\n");
    assert_eq!(error.line(), 2, "{error}");
    assert!(matches!(error.problem(), Problem::Toml(_)));
    assert!(matches!(refusal("").problem(), Problem::Toml(message) if message.contains("version")));
    assert!(matches!(refusal("version = \"1\"").problem(), Problem::Toml(_)));
    assert!(matches!(refusal("version = 1\nversion = 1").problem(), Problem::Toml(_)));
}

#[test]
fn columns_count_characters_not_bytes() {
    let error = refusal("version = 1\ntest = [{ may = [\"éé\"], x = 1 }]");
    assert_eq!((error.line(), error.column()), (2, 25), "{error}");
}

#[test]
fn another_format_version_is_refused() {
    let error = refusal("# a policy\nversion = 2\n");
    assert_eq!(error.to_string(), "policy.toml:2:11: found version = 2, expected version = 1");
}

#[test]
fn the_service_of_the_ca_is_known_and_can_not_be_declared() {
    let policy = policy("version = 1");
    for action in [
        "read",
        "invite",
        "revoke",
        "registrations",
        "policy",
        "keys",
        "issuers",
        "log-read",
        "report-events",
    ] {
        assert!(policy.knows(&permission(&format!("{RESERVED_SERVICE}:{action}"))), "{action}");
    }
    assert!(!policy.knows(&permission("countersign:everything")));
    let error = refusal("version = 1\n[service.countersign]\npermissions = [\"everything\"]");
    assert_eq!((error.line(), error.problem()), (2, &Problem::ReservedService));
}

#[test]
fn wildcards_in_permissions_are_refused() {
    for found in ["ledger:*", "*:read", "ledger:tenant:*", "ledger:re*"] {
        let expected = Problem::Permission(PermissionError::Wildcard { found: found.to_owned() });
        assert_eq!(grant(found).problem(), &expected);
        assert_eq!(found.parse::<Permission>(), Err(PermissionError::Wildcard { found: found.to_owned() }));
    }
}

#[test]
fn malformed_permissions_are_refused_in_rules_and_in_code() {
    for found in
        ["", ":", "ledger", "ledger:", ":read", "ledger::read", "ledger:re ad", "ledger:é", "ledger:a/b"]
    {
        assert!(matches!(grant(found).problem(), Problem::Permission(_)), "{found}");
        assert!(found.parse::<Permission>().is_err(), "{found}");
    }
    for found in ["ledger:{tenant", "ledger:tenant}", "ledger:x{tenant}", "ledger:{}", "{tenant}:read"] {
        assert!(matches!(grant(found).problem(), Problem::Permission(_)), "{found}");
    }
    assert!("ledger:tenant:{tenant}".parse::<Permission>().is_err());
}

#[test]
fn a_permission_no_service_declares_is_refused_with_the_nearest() {
    let expected =
        Problem::UnknownPermission { found: "ledger:raed".into(), nearest: Some("ledger:read".into()) };
    assert_eq!(grant("ledger:raed").problem(), &expected);
    let expected = Problem::UnknownService {
        found: "leger".into(),
        permission: "leger:read".into(),
        nearest: Some("ledger".into()),
    };
    assert_eq!(grant("leger:read").problem(), &expected);
    assert_eq!((grant("leger:read").line(), grant("leger:read").column()), (6, 16));
}

#[test]
fn a_capture_the_id_does_not_have_is_refused() {
    let error = grant("ledger:tenant:{team}");
    assert!(matches!(error.problem(), Problem::NotCaptured { capture, .. } if capture == "team"), "{error}");
}

#[test]
fn a_capture_never_chooses_the_action() {
    // The declared action is literal there: a segment named "read" in an SVID must not become a right to read.
    assert!(matches!(grant("ledger:{tenant}").problem(), Problem::UnknownPermission { .. }));
    assert!(matches!(grant("ledger:{tenant}:{tenant}").problem(), Problem::UnknownPermission { .. }));
}

#[test]
fn declarations_that_one_text_could_satisfy_are_refused() {
    // With both, whoever is tenant "all" would hold the permission meant for no tenant.
    for actions in [r#""tenant:{tenant}", "tenant:all""#, r#""{any}", "read""#, r#""read", "read""#] {
        let error = refusal(&format!("version = 1\n[service.ledger]\npermissions = [{actions}]"));
        assert!(matches!(error.problem(), Problem::Overlap { .. }), "{error}");
        assert_eq!(error.line(), 3);
    }
}

#[test]
fn rules_and_services_without_permissions_are_refused() {
    assert_eq!(refusal("version = 1\n[service.a]\npermissions = []").problem(), &Problem::NoPermissions);
    let error = refusal_after_head("[[deny]]\nid = \"spiffe://td/a\"\npermissions = []\n");
    assert_eq!((error.line(), error.problem()), (6, &Problem::NoPermissions));
    let error = refusal_after_head("[[deny]]\nid = \"spiffe://td/a\"\n");
    assert!(matches!(error.problem(), Problem::Toml(message) if message.contains("permissions")), "{error}");
}

#[test]
fn a_bad_pattern_is_refused_where_it_stands() {
    let error = refusal_after_head("[[grant]]\nid = \"spiffe://*/a\"\npermissions = [\"ledger:read\"]\n");
    assert_eq!((error.line(), error.column()), (5, 6));
    assert!(matches!(error.problem(), Problem::Pattern(_)));
}

#[test]
fn times_that_are_no_moment_are_refused() {
    for time in ["2027-01-01", "2027-01-01T00:00:00", "00:00:00", "2027-01-01T00:00Z"] {
        let rule = "[[grant]]\nid = \"spiffe://td/a\"\npermissions = [\"ledger:read\"]\nuntil = ";
        let error = refusal_after_head(&format!("{rule}{time}\n"));
        assert_eq!(error.line(), 7, "{error}");
        assert!(matches!(error.problem(), Problem::Time { .. } | Problem::Toml(_)), "{error}");
    }
}

#[test]
fn a_rule_that_ends_before_it_begins_is_refused() {
    let error = refusal_after_head(
        "[[grant]]\nid = \"spiffe://td/a\"\npermissions = [\"ledger:read\"]\n\
         from = 2027-01-01T00:00:00Z\nuntil = 2027-01-01T01:00:00+01:00\n",
    );
    assert_eq!((error.line(), error.problem()), (8, &Problem::EmptyWindow));
}

#[test]
fn a_test_that_asks_for_what_is_not_declared_is_refused() {
    for (key, text) in
        [("may", "ledger:raed"), ("may_not", "leger:read"), ("may_not", "ledger:tenant:{tenant}")]
    {
        let error = refusal_after_head(&format!("[[test]]\nid = \"spiffe://td/a\"\n{key} = [\"{text}\"]\n"));
        assert_eq!(error.line(), 6, "{error}");
    }
    let error = refusal_after_head("[[test]]\nid = \"spiffe://td/*\"\n");
    assert!(matches!(error.problem(), Problem::Id(_)), "{error}");
}

#[test]
fn services_are_listed_with_what_they_declare() {
    let policy = policy(EXAMPLE);
    let services: Vec<(&str, Vec<String>)> = policy.services().map(|(name, p)| (name, p.collect())).collect();
    assert_eq!(services.len(), 2);
    assert_eq!(services[0].0, "countersign");
    let ledger = ["ledger:read", "ledger:write", "ledger:tenant:{tenant}"].map(str::to_owned).to_vec();
    assert_eq!(services[1], ("ledger", ledger));
    assert!(policy.knows(&permission("ledger:tenant:acme")));
    assert!(!policy.knows(&permission("ledger:tenant")));
    assert!(!policy.knows(&permission("ledger:tenant:acme:x")));
    assert!(!policy.knows(&permission("archive:read")));
}
