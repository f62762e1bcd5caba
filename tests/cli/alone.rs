//! Commands that need no CA, and what is said when there is none.

use std::{fs, time::Duration};

use countersign::service::pem;
use countersign_identity::Timestamp;
use countersign_testkit::{Authority, SnapshotForge};
use serde_json::{Value, json};

use crate::place::Place;

const POLICY: &str = r#"version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://prod.example/payments/**"
permissions = ["ledger:read"]
[[test]]
id = "spiffe://prod.example/payments/api"
may = ["ledger:write"]
"#;

#[test]
fn no_command_is_wrong_usage_and_help_is_not() {
    let place = Place::empty();
    place.run(&[]).fails(2, "Usage: countersign");
    place.run(&["machines"]).fails(2, "Usage: countersign machines");
    place.run(&["invite", "not-an-id"]).fails(2, "a SPIFFE ID begins with spiffe://");
    assert!(place.run(&["--help"]).done().contains("0 done, 1 refused or failed"));
    assert!(place.run(&["help", "machines"]).done().contains("Usage: countersign machines"));
}

#[test]
fn without_a_configuration_every_place_that_was_tried_is_named() {
    let end = Place::empty().run(&["machines", "list"]);
    for tried in [
        "--config",
        "$COUNTERSIGN_CONFIG",
        "./ca-config/countersign.toml",
        "/etc/countersign/countersign.toml",
    ] {
        assert!(end.err.contains(tried), "{end:?}");
    }
    end.fails(1, "hint: name it with --config FILE, or make a CA with `countersign init`");
}

#[test]
fn a_variable_names_the_configuration_and_a_flag_goes_before_it() {
    let place = Place::empty();
    place
        .run_with(("COUNTERSIGN_CONFIG", "gone.toml"), &["machines", "list"])
        .fails(1, "$COUNTERSIGN_CONFIG names gone.toml, which is not a file");
    place
        .run_with(("COUNTERSIGN_CONFIG", "gone.toml"), &["machines", "list", "--config", "flag.toml"])
        .fails(1, "--config names flag.toml");
}

#[test]
fn a_configuration_with_an_unknown_key_names_line_and_nearest_key() {
    let place = Place::empty();
    fs::write(place.path("c.toml"), "trust_domain = \"td\"\nlisen = \"127.0.0.1:1\"\n").unwrap();
    place.run(&["check", "--config", "c.toml"]).fails(1, "one check failed");
    place.run(&["machines", "list", "--config", "c.toml"]).fails(2, "line 2, column 1");
    place.run(&["machines", "list", "--config", "c.toml"]).fails(2, "did you mean `listen`?");
}

#[test]
fn a_ca_that_does_not_run_is_exit_code_3_with_what_to_do() {
    let place = Place::empty();
    fs::write(place.path("c.toml"), "trust_domain = \"td\"\n").unwrap();
    let end = place.run(&["issued", "list", "--config", "c.toml"]);
    end.fails(3, "hint: is `countersign serve` running?");
}

#[test]
fn a_policy_whose_own_test_fails_is_refused_naming_its_line() {
    let place = Place::empty();
    fs::write(place.path("p.toml"), POLICY).unwrap();
    let end = place.run(&["policy", "check", "p.toml"]);
    assert!(end.out.contains("test on line 7"), "{end:?}");
    end.fails(1, "1 of the expectations in p.toml");
}

#[test]
fn a_policy_with_a_typing_mistake_names_line_and_column() {
    let place = Place::empty();
    fs::write(place.path("p.toml"), POLICY.replace("[[grant]]", "[[grants]]")).unwrap();
    place
        .run(&["policy", "check", "p.toml"])
        .fails(1, "p.toml:4:3: unknown key \"grants\" (did you mean \"grant\"?)");
}

#[test]
fn a_policy_is_explained_without_a_ca() {
    let place = Place::empty();
    fs::write(place.path("p.toml"), POLICY).unwrap();
    let explain = |permission| {
        place
            .run(&["policy", "explain", "spiffe://prod.example/payments/api", permission, "--file", "p.toml"])
            .done()
    };
    assert!(explain("ledger:read").contains("allowed ledger:read: grant"));
    assert!(explain("ledger:write").contains("refused ledger:write: no grant"));
    let holders = place.json(&["policy", "who-can", "ledger:read", "--file", "p.toml"]);
    assert_eq!(holders[0]["id"], "spiffe://prod.example/payments/**");
    place
        .run(&["policy", "who-can", "ledger:reed", "--file", "p.toml"])
        .fails(1, "declared are countersign:");
}

#[test]
fn inspect_tells_which_rule_a_certificate_breaks() {
    let place = Place::empty();
    let root = Authority::root("prod.example");
    let issuer = root.issuer();
    let write = |name: &str, pem: String| fs::write(place.path(name), pem).unwrap();
    let certificate = |authority: &Authority| pem::encode("CERTIFICATE", authority.certificate());
    let two = ["spiffe://prod.example/a", "spiffe://prod.example/b"];
    write("good.pem", issuer.leaf("spiffe://prod.example/payments").forge().chain_pem());
    write("two-names.pem", issuer.leaf(two[0]).uris(&two).forge().chain_pem());
    write("roots.pem", certificate(&root));
    write("others.pem", certificate(&root.impostor()));
    let noon = countersign_testkit::noon().to_string();
    let inspect = |file, roots| place.run(&["inspect", file, "--bundle", roots, "--at", &noon]).done();
    assert!(
        inspect("good.pem", "roots.pem")
            .contains("✓ a verifier accepts it as spiffe://prod.example/payments")
    );
    assert!(inspect("good.pem", "others.pem").contains("✗ a verifier refuses it"));
    assert!(inspect("two-names.pem", "roots.pem").contains("2 URI names, expected exactly one"));
    let late =
        place.run(&["inspect", "good.pem", "--bundle", "roots.pem", "--at", "2099-01-01T00:00:00Z"]).done();
    assert!(late.contains("✗ a verifier refuses it") && late.contains("expired"), "{late}");
}

#[test]
fn inspect_tells_what_a_trust_snapshot_says_and_what_a_verifier_refuses_it_for() {
    let place = Place::empty();
    let root = Authority::root("prod.example");
    let signer = root.trust_signer(3);
    let forge = || SnapshotForge::new(&root, &signer).epoch(3).sequence(7);
    let write = |name: &str, content: &[u8]| fs::write(place.path(name), content).unwrap();
    let certificate = |authority: &Authority| pem::encode("CERTIFICATE", authority.certificate());
    write("trust.json", &forge().forge().file());
    write("roots.pem", certificate(&root).as_bytes());
    write("others.pem", certificate(&root.impostor()).as_bytes());
    let noon = countersign_testkit::noon();
    let inspect = |file, roots: &str, at: Timestamp| {
        place.run(&["inspect", file, "--bundle", roots, "--at", &at.to_string()]).done()
    };
    let shown = inspect("trust.json", "roots.pem", noon);
    for told in [
        "trust domain",
        "3, 7",
        "/countersign/trust",
        "✓ its signer is certified and its signature verifies under the roots in roots.pem",
        "✓ every part is there",
        "✓ it is fresh until",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let shown = place.run(&["inspect", "trust.json", "--at", &noon.to_string()]).done();
    assert!(shown.contains("under the roots that it brings itself"), "{shown}");
    let shown = inspect("trust.json", "others.pem", noon);
    assert!(shown.contains("✗ a verifier refuses it under the roots in others.pem: "), "{shown}");
    let day = Duration::from_secs(24 * 60 * 60);
    let shown = inspect("trust.json", "roots.pem", noon + day / 2);
    assert!(shown.contains("✗ it has been stale for"), "{shown}");
    let shown = inspect("trust.json", "roots.pem", noon + 2 * day);
    assert!(shown.contains("✗ it was issued at") && shown.contains("let nobody in with it since"), "{shown}");
    // A part that is not the one that was signed.
    let mut bent: Value = serde_json::from_slice(&forge().forge().file()).unwrap();
    bent["parts"].as_object_mut().unwrap().values_mut().for_each(|part| *part = json!("e30="));
    write("bent.json", bent.to_string().as_bytes());
    let shown = inspect("bent.json", "roots.pem", noon);
    assert!(shown.contains("✗ a verifier takes nothing of it: a part of the trust snapshot"), "{shown}");
    let all = place.json(&["inspect", "trust.json", "--bundle", "roots.pem", "--at", &noon.to_string()]);
    assert_eq!((&all["trust_snapshot"]["epoch"], &all["trust_snapshot"]["sequence"]), (&json!(3), &json!(7)));
}

#[test]
fn inspect_never_shows_a_key_or_the_secret_of_an_invitation() {
    // Invariant 8.
    let place = Place::empty();
    let invitation = countersign_api::Invitation {
        url: "https://ca.example:8443".into(),
        trust_domain: "prod.example".into(),
        root_sha256: [1; 32],
        secret: *b"0123456789abcdef0123456789abcdef",
    };
    fs::write(place.path("invitation"), invitation.to_string()).unwrap();
    let shown = place.run(&["inspect", "invitation"]).done();
    assert!(shown.contains("https://ca.example:8443") && shown.contains(&"01".repeat(32)), "{shown}");
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("MDEyMzQ1"), "{shown}");
    let text = invitation.to_string();
    assert_eq!(place.run(&["inspect", &text]).done(), shown);
    let damaged = text.get(..text.len() - 3).unwrap();
    let end = place.run(&["inspect", damaged]);
    assert!(!end.err.contains(text.get(8..40).unwrap()) && end.out.is_empty(), "{end:?}");
    end.fails(1, "the invitation is damaged");
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    fs::write(place.path("key.pem"), key).unwrap();
    let shown = place.run(&["inspect", "key.pem"]).done();
    assert_eq!(shown, "The file holds a private key, not encrypted (it is not shown).\n");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let place = Place::empty();
    fs::write(place.path("p.toml"), POLICY).unwrap();
    let explain = ["policy", "explain", "spiffe://prod.example/payments/api", "--file", "p.toml"];
    place.run_into_a_full_disk(&explain).fails(1, "failed: cannot write to standard output: No space left");
    place.run_into_a_full_disk(&["--help"]).fails(1, "failed: cannot write to standard output");
}

#[test]
fn an_invitation_to_no_address_is_never_prepared() {
    let place = Place::empty();
    let init = ["init", "--trust-domain", "prod.example", "--dir", "ca"];
    let with = |more: [&'static str; 2]| place.run(&[&init[..], &more].concat());
    with(["--listen", "0.0.0.0:8443"])
        .fails(2, "hint: say how machines reach this CA, such as --url https://ca");
    with(["--url", "http://ca.prod.example:8443"]).fails(2, "usage: --url \"http://ca.prod.example:8443\"");
    assert!(!place.path("ca").exists());
}

#[test]
fn an_interrupted_quickstart_leaves_nothing_behind() {
    let place = Place::empty();
    let scratch = place.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let end = place.interrupt_quickstart(&scratch);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "{end:?}");
    end.fails(1, "failed: interrupted");
}
