//! Keys that an operator registers: an identity proves itself with one to the authorization server, without a certificate.

use countersign_testkit::KeyPair;
use serde_json::{Value, json};

use crate::{
    assertions::{Assertion, JWT_BEARER, now, present, present_with, settled},
    ca::{Ca, id},
    machine::Machine,
    oauth::{read, refused, token},
    restoration::{lose, restore},
};

/// The time so many seconds from now, as flags want it.
fn in_seconds(seconds: i64) -> String {
    countersign_identity::Timestamp::from_unix(now() + seconds).to_string()
}

/// A new key, registered for an identity under this name.
fn registered(ca: &Ca, path: &str, kid: &str, until: &str) -> KeyPair {
    let key = KeyPair::generate().unwrap();
    let file = ca.scratch(&format!("{kid}.pem"));
    std::fs::write(&file, key.public_key_pem()).unwrap();
    let file = file.to_str().unwrap();
    ca.run(&["registrations", "add-key", &id(path), file, "--id", kid, "--until", until, "--owner", "ci"])
        .succeeded();
    key
}

fn by_kid(ca: &Ca, machine: &Machine, kid: &str) -> Assertion {
    Assertion::of(ca, machine).without("x5c").header("kid", kid)
}

fn bearer(ca: &Ca) {
    ca.run(&["registrations", "set", &id("/payments"), "--tokens", "bearer"]).succeeded();
}

fn keys(ca: &Ca) -> Value {
    ca.json(&["registrations", "show", &id("/payments")])["token_keys"].clone()
}

#[test]
fn a_registered_key_buys_tokens_bound_to_a_certificate_beside_it_or_to_nothing_where_that_is_allowed() {
    let (ca, machine) = settled();
    let key = registered(&ca, "/payments", "deploy", &in_seconds(3600));
    let sign = || by_kid(&ca, &machine, "deploy").sign(&key);
    let alone = present(&ca, sign);
    assert_eq!(refused(&alone), (400, "unauthorized_client".to_owned()), "{}", alone.text());
    let beside = read(&token(&present_with(&ca, Some(&machine.papers), JWT_BEARER, &sign()))).1;
    assert!(beside["cnf"]["x5t#S256"].is_string() && beside["cs_lineage"].is_string(), "{beside}");
    let other = Machine::enrolled(&ca, "/other");
    let foreign = present_with(&ca, Some(&other.papers), JWT_BEARER, &sign());
    assert_eq!(
        refused(&foreign),
        (400, "unauthorized_client".to_owned()),
        "another's certificate binds nothing"
    );
    bearer(&ca);
    let claims = read(&token(&present(&ca, sign))).1;
    assert_eq!((&claims["sub"], &claims["cs_unbound"]), (&json!(id("/payments")), &json!(true)));
    assert_eq!(ca.events("token.granted").last().unwrap()["method"], "registered_key");
}

#[test]
fn an_assertion_is_signed_by_a_key_of_its_subject_that_is_registered_and_has_not_ended() {
    let (ca, machine) = settled();
    Machine::enrolled(&ca, "/other");
    bearer(&ca);
    let short = registered(&ca, "/payments", "short", &in_seconds(5));
    let key = registered(&ca, "/payments", "deploy", &in_seconds(3600));
    let others = registered(&ca, "/other", "others", &in_seconds(3600));
    let good = || by_kid(&ca, &machine, "deploy");
    token(&present(&ca, || good().sign(&key)));
    let me = id("/other");
    for (what, text) in [
        ("another registered key", good().sign(&others)),
        ("a key of nobody", good().sign(&KeyPair::generate().unwrap())),
        ("the key of the certificate under this name", good().sign(&machine.key)),
        ("another's key under its own name", good().header("kid", "others").sign(&others)),
        ("another's name", good().claim("sub", me.clone()).claim("iss", me.clone()).sign(&key)),
        ("no such name", good().header("kid", "none").sign(&key)),
        ("no name", good().without("kid").sign(&key)),
        ("HS256", good().header("alg", "HS256").sign(&key)),
        ("none", good().header("alg", "none").sign(&key)),
        ("EdDSA", good().header("alg", "EdDSA").sign(&key)),
        ("audience", good().claim("aud", "https://other.example").sign(&key)),
        ("issuer", good().claim("iss", me).sign(&key)),
        ("long", good().claim("exp", now() + 3600).sign(&key)),
        ("no jti", good().without("jti").sign(&key)),
    ] {
        let answer = present_with(&ca, None, JWT_BEARER, &text);
        assert_eq!(refused(&answer), (401, "invalid_client".to_owned()), "{what}: {}", answer.text());
    }
    let used = good().sign(&key);
    token(&present_with(&ca, None, JWT_BEARER, &used));
    assert!(present_with(&ca, None, JWT_BEARER, &used).text().contains("used before"));

    std::thread::sleep(std::time::Duration::from_secs(6));
    let ended = present_with(&ca, None, JWT_BEARER, &by_kid(&ca, &machine, "short").sign(&short));
    assert!(ended.status == 401 && ended.text().contains("expired"), "{}", ended.text());
    ca.run(&["registrations", "remove-key", &id("/payments"), "deploy"]).succeeded();
    let removed = present_with(&ca, None, JWT_BEARER, &good().sign(&key));
    assert_eq!(refused(&removed), (401, "invalid_client".to_owned()));
    let gone = ca.events("token_key.removed");
    assert_eq!(
        (gone.len(), &gone[0]["kid"], &gone[0]["spiffe_id"]),
        (1, &json!("deploy"), &json!(id("/payments")))
    );
}

#[test]
fn a_revoked_key_proves_nothing_and_is_not_registered_again() {
    let (ca, machine) = settled();
    bearer(&ca);
    let key = registered(&ca, "/payments", "deploy", &in_seconds(3600));
    token(&present(&ca, || by_kid(&ca, &machine, "deploy").sign(&key)));
    let added = &ca.events("token_key.added")[0];
    ca.run(&["revoke", "key", added["key"].as_str().unwrap()]).succeeded();
    let answer = present_with(&ca, None, JWT_BEARER, &by_kid(&ca, &machine, "deploy").sign(&key));
    assert!(answer.status == 401 && answer.text().contains("revoked"), "{}", answer.text());
    // Whoever has not the key does not learn how it stands.
    let other = KeyPair::generate().unwrap();
    let forged = present_with(&ca, None, JWT_BEARER, &by_kid(&ca, &machine, "deploy").sign(&other));
    assert!(forged.status == 401 && !forged.text().contains("revoked"), "{}", forged.text());
    assert_eq!(keys(&ca)[0]["status"], "revoked");
    ca.run(&["registrations", "remove-key", &id("/payments"), "deploy"]).succeeded();
    let file = ca.scratch("deploy.pem");
    let again =
        ["registrations", "add-key", &id("/payments"), file.to_str().unwrap(), "--until", &in_seconds(60)];
    ca.run(&again).ended(1, &["it was revoked"]);
}

#[test]
fn a_key_of_the_ca_or_of_a_certificate_or_of_another_kind_is_not_registered() {
    let (ca, machine) = settled();
    let refused = |what: &str, pem: &str, why: &str| {
        let file = ca.scratch("bad.pem");
        std::fs::write(&file, pem).unwrap();
        let add = ["registrations", "add-key", &id("/payments"), file.to_str().unwrap()];
        ca.run(&[&add[..], &["--until", &in_seconds(60)]].concat()).ended(1, &[why]);
        assert_eq!(keys(&ca), Value::Null, "{what}");
    };
    let spki = |der: &[u8]| {
        use x509_parser::prelude::FromDer as _;
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).unwrap();
        countersign_api::pem_block("PUBLIC KEY", certificate.public_key().raw)
    };
    let chain = crate::wire::Connection::open(ca.listen(), None).unwrap().server_chain();
    refused("the server's", &spki(&chain[0]), "it is that of the certificate");
    refused("the issuer's", &spki(&chain[1]), "a key of the CA itself");
    refused("the root's", &spki(&chain[2]), "a key of the CA itself");
    refused("a machine's", &spki(machine.leaf()), "it is that of the certificate");
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().public_key_pem();
    refused("Ed25519", &edwards, "expected p256");
    refused("no key", "nothing", "PUBLIC KEY");
    let past = ["registrations", "add-key", &id("/payments"), "key.pem", "--until", "2020-01-01T00:00:00Z"];
    std::fs::write(ca.scratch("key.pem"), KeyPair::generate().unwrap().public_key_pem()).unwrap();
    ca.run(&past).ended(1, &["in the past"]);
}

#[test]
fn keys_stay_with_their_registration_through_set_export_import_and_a_restart() {
    let (mut ca, machine) = settled();
    bearer(&ca);
    let key = registered(&ca, "/payments", "deploy", &in_seconds(3600));
    let before = keys(&ca);
    ca.run(&["registrations", "set", &id("/payments"), "--tokens", "bearer", "--owner", "me"]).succeeded();
    ca.run(&["registrations", "export", "all"]).succeeded();
    ca.run(&["registrations", "import", "all"]).succeeded();
    assert_eq!((keys(&ca), ca.events("token_key.added").len()), (before.clone(), 1));
    ca.run(&["registrations", "remove", &id("/payments")]).succeeded();
    assert_eq!(ca.events("token_key.removed").len(), 1);
    ca.run(&["registrations", "import", "all"]).succeeded();
    assert_eq!(keys(&ca), before);
    ca.kill();
    ca.start_again();
    token(&present(&ca, || by_kid(&ca, &machine, "deploy").sign(&key)));
    let named = ca.run(&["registrations", "show", &id("/payments")]).succeeded();
    assert!(named.contains("deploy (until ") && named.contains(", ci)"), "{named}");
}

#[test]
fn a_key_without_a_name_is_called_by_its_thumbprint() {
    let (ca, _) = settled();
    std::fs::write(ca.scratch("key.pem"), KeyPair::generate().unwrap().public_key_pem()).unwrap();
    let file = ca.scratch("key.pem");
    let add = ["registrations", "add-key", &id("/payments"), file.to_str().unwrap()];
    let added = ca.json(&[&add[..], &["--until", &in_seconds(60)]].concat());
    assert_eq!(added["kid"].as_str().unwrap().len(), 43, "{added}");
    ca.run(&[&add[..], &["--until", &in_seconds(60), "--id", "again"]].concat()).ended(1, &["twice"]);
}

#[test]
fn a_key_that_was_removed_after_the_backup_stays_dead_in_the_restored_ca() {
    let (mut ca, machine) = settled();
    bearer(&ca);
    let key = registered(&ca, "/payments", "deploy", &in_seconds(3600));
    ca.run(&["backup", "backup.tar"]).succeeded();
    ca.run(&["registrations", "remove-key", &id("/payments"), "deploy"]).succeeded();
    ca.run(&["bundle", "export", "trust.json"]).succeeded();
    lose(&mut ca);
    restore(&ca, &["--trust", "trust.json"]).succeeded();
    ca.start_again();
    let sign = || by_kid(&ca, &machine, "deploy").sign(&key);
    assert_eq!(keys(&ca)[0]["status"], "void");
    // Stating the registration again does not bring it back, and taking the key away and giving it again does.
    bearer(&ca);
    let answer = present(&ca, sign);
    assert!(answer.status == 401 && answer.text().contains("void"), "{}", answer.text());
    ca.run(&["registrations", "remove-key", &id("/payments"), "deploy"]).succeeded();
    let file = ca.scratch("deploy.pem");
    let add = ["registrations", "add-key", &id("/payments"), file.to_str().unwrap(), "--id", "deploy"];
    ca.run(&[&add[..], &["--until", &in_seconds(60)]].concat()).succeeded();
    token(&present(&ca, sign));
}
