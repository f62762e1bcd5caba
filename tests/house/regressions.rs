//! Defects that other certificate authorities have had, each tried on this one. `docs/THREAT-MODEL.md` lists all ten:
//! those that a test elsewhere shows already are named there.

use std::{collections::BTreeSet, fs, process::Command};

use countersign_api::paths;
use countersign_identity::Timestamp;
use countersign_testkit::{Authority, KeyPair, csr, mangle};
use rcgen::{CustomExtension, PublicKeyData as _, SigningKey as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{
    ca::{Ca, Setup, id},
    machine::{Machine, enroll},
    program::{self, tool},
    wire::{self, Answer, Connection, Papers},
};

/// Whatever the CA has to give over mutual TLS, to one identity.
const POLICY: &str = r#"
version = 1
[[grant]]
id = "spiffe://prod.example/operator"
permissions = ["countersign:read", "countersign:invite", "countersign:revoke", "countersign:registrations", "countersign:policy", "countersign:log-read"]
"#;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

const ADMIN: [&str; 14] = [
    paths::ADMIN_INVITATIONS,
    paths::ADMIN_REGISTRATIONS,
    paths::ADMIN_REGISTRATIONS_IMPORT,
    paths::ADMIN_MACHINES,
    paths::ADMIN_MACHINES_ACT,
    paths::ADMIN_ISSUED,
    paths::ADMIN_REVOKE,
    paths::ADMIN_ISSUERS,
    paths::ADMIN_ISSUERS_ADOPT,
    paths::ADMIN_RELOAD,
    paths::ADMIN_BACKUP,
    paths::ADMIN_STATUS,
    paths::ADMIN_EVENTS,
    paths::ADMIN_POLICY,
];

fn ask(ca: &Ca, papers: Option<&Papers>, method: &str, path: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let asked = Connection::open(ca.listen(), papers)
        .and_then(|mut connection| connection.ask(method, path, Some(("application/json", body.as_bytes()))));
    asked.unwrap()
}

fn seconds_left(machine: &Machine) -> u64 {
    let end: Timestamp = machine.response.not_after.parse().unwrap();
    end.since(machine.response.server_time.parse().unwrap()).as_secs()
}

/// 1: a renewal that skips policy. What an enrollment would be refused or given, so is a renewal.
#[test]
fn a_renewal_walks_through_the_policy_of_an_enrollment() {
    let ca = Ca::start();
    let profile = |text: &str| {
        fs::write(ca.home().join("profiles/workload.toml"), text).unwrap();
        ca.run(&["reload"]).succeeded();
    };
    let machine = Machine::enrolled(&ca, "/payments");
    assert!(seconds_left(&machine) > 3000);
    profile("lifetime = \"5m\"\n");
    let machine = machine.renewed(&ca);
    assert!(seconds_left(&machine) <= 300, "the profile as it stands now");
    profile("lifetime = \"5m\"\nkey_kinds = [\"ed25519\"]\n");
    machine.ask_renewal(&ca).refused(403, "key_kind_refused");
    let other = ca.invite("/other", &[]);
    enroll(&ca, &other, &csr::plain(&csr::p256())).refused(403, "key_kind_refused");
    profile("lifetime = \"1h\"\n");
    let until = (machine.response.server_time.parse::<Timestamp>().unwrap()
        + std::time::Duration::from_secs(900))
    .to_string();
    ca.run(&["registrations", "set", &id("/payments"), "--until", &until]).succeeded();
    let machine = machine.renewed(&ca);
    assert!(seconds_left(&machine) < 900, "no longer than the registration");
    let asked = csr::with_names(&csr::p256(), &[&id("/admin")], &[]);
    machine.renew_with(&ca, &asked).refused(403, "csr_names_refused");
}

/// 2: revocation by serial that misses descendants. The thief renewed before anybody noticed.
#[test]
fn a_revoked_serial_ends_what_a_thief_renewed_from_it() {
    let ca = Ca::start();
    for kind in ["serial", "key"] {
        let stolen = Machine::enrolled(&ca, &format!("/by/{kind}"));
        let key = ca.json(&["issued", "show", &stolen.serial()])["key"].as_str().unwrap().to_owned();
        let thief = stolen.renewed(&ca).renewed(&ca);
        let target = if kind == "key" { key } else { stolen.serial() };
        let reached = ca.run(&["revoke", kind, &target, "--dry-run", "--json"]).succeeded();
        assert!(reached.contains(&thief.serial()), "{reached}");
        ca.run(&["revoke", kind, &target]).succeeded();
        thief.ask_renewal(&ca).refused(401, "certificate_revoked");
        assert_eq!(ca.json(&["issued", "show", &thief.serial()])["status"], "revoked");
    }
}

/// 3: a certificate without the marker that leads to its rules, authorised by default. Here one of our own issuer, made
/// by whoever had its key, that the book never recorded, for an identity that may everything; with a lineage and without.
#[test]
fn a_certificate_of_our_issuer_that_the_book_never_recorded_may_nothing() {
    let Some(openssl) = tool("openssl") else { return };
    let ca = Setup::new().policy(POLICY).start();
    let operator = Machine::enrolled(&ca, "/operator");
    assert_eq!(wire::get(ca.listen(), Some(&operator.papers), paths::ADMIN_STATUS).status, 200);
    for subject in ["/serialNumber=l-00112233445566778899aabbccddeeff", "/CN=operator"] {
        let forged = forged_by_our_issuer(&ca, openssl.as_os_str(), subject, "/operator");
        for path in [paths::ADMIN_STATUS, paths::ADMIN_MACHINES, paths::ADMIN_EVENTS] {
            wire::get(ca.listen(), Some(&forged), path).refused(401, "certificate_unknown");
        }
        let invite = json!({ "registration": { "spiffe_id": id("/x") }, "ttl_seconds": 60, "uses": 1 });
        ask(&ca, Some(&forged), "POST", paths::ADMIN_INVITATIONS, &invite)
            .refused(401, "certificate_unknown");
        let renew = json!({ "csr": csr::to_pem(&csr::plain(&csr::p256())) });
        ask(&ca, Some(&forged), "POST", paths::RENEW, &renew).refused(401, "certificate_unknown");
    }
}

/// Signs with the real issuer's key, as openssl would on the CA's own host.
fn forged_by_our_issuer(ca: &Ca, openssl: &std::ffi::OsStr, subject: &str, path: &str) -> Papers {
    let key = csr::p256();
    let at = |name: &str| ca.scratch(name).display().to_string();
    let state = |name: &str| ca.state().join(name).display().to_string();
    fs::write(at("forged.key"), key.serialize_pem()).unwrap();
    let extensions = format!(
        "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
         extendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = URI:{}\n\
         authorityKeyIdentifier = keyid:always\n",
        id(path)
    );
    fs::write(at("extensions"), extensions).unwrap();
    let mut request = Command::new(openssl);
    request.args(["req", "-new", "-key", &at("forged.key"), "-subj", subject, "-out", &at("forged.csr")]);
    program::run(&mut request).succeeded();
    let mut sign = Command::new(openssl);
    sign.args(["x509", "-req", "-in", &at("forged.csr"), "-days", "1", "-sha256", "-out", &at("forged.pem")]);
    sign.args(["-CA", &state("issuers/1/certificate.pem"), "-CAkey", &state("issuers/1/key.pem")]);
    sign.args(["-passin", &format!("file:{}", state("unlock")), "-extfile", &at("extensions")]);
    sign.args(["-set_serial", "0x7f112233445566778899aabbccddeeff0011"]);
    program::run(&mut sign).succeeded();
    let leaf = CertificateDer::from_pem_file(at("forged.pem")).unwrap();
    let issuer = CertificateDer::from_pem_file(state("issuers/1/certificate.pem")).unwrap();
    papers(vec![leaf, issuer], &key)
}

fn papers(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Papers {
    Papers { chain, key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())) }
}

/// 7: a limit checked on one of two input paths. Sizes hold announced and in chunks, on every route that takes a body.
#[test]
fn the_size_of_a_body_is_limited_on_every_route_announced_or_not() {
    let ca = Setup::new()
        .policy(POLICY)
        .set("limits.requests_per_second_per_source", 1000)
        .set("limits.burst_per_source", 1000)
        .start();
    let operator = Machine::enrolled(&ca, "/operator");
    for (method, path) in [
        ("POST", paths::ENROLL),
        ("POST", paths::RENEW),
        ("POST", paths::ADMIN_INVITATIONS),
        ("PUT", paths::ADMIN_REGISTRATIONS),
        ("POST", paths::ADMIN_MACHINES_ACT),
        ("POST", paths::ADMIN_REVOKE),
    ] {
        let open = || Connection::open(ca.listen(), Some(&operator.papers)).unwrap();
        let large = vec![b' '; 64 * 1024 + 1];
        open().ask(method, path, Some(("application/json", &large))).unwrap().refused(413, "body_too_large");
        let mut chunked = open();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: ca\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        chunked.send(head.as_bytes()).unwrap();
        for _ in 0..3 {
            // The refusal may come, and the connection close, before everything is sent.
            let _ = chunked.send(format!("8000\r\n{}\r\n", " ".repeat(0x8000)).as_bytes());
        }
        chunked.read().unwrap().refused(413, "body_too_large");
    }
}

/// 7, again: what one command refuses to register, every other command refuses too.
#[test]
fn a_registration_is_held_to_its_rules_by_every_way_in() {
    let ca = Setup::new().policy(POLICY).start();
    let operator = Machine::enrolled(&ca, "/operator");
    let long: Vec<String> = (0..30).map(|n| format!("n{n}.{}.example", "x".repeat(40))).collect();
    for (what, change) in [
        ("too many names", json!({ "dns": long })),
        ("a name of the CA", json!({ "ip": ["127.0.0.1"] })),
        ("a reserved identity", json!({ "spiffe_id": id("/countersign/ca") })),
        ("another trust domain", json!({ "spiffe_id": "spiffe://other.example/x" })),
        ("a wildcard", json!({ "dns": ["*.example"] })),
        ("an unknown profile", json!({ "profile": "none" })),
    ] {
        let mut registration = json!({ "spiffe_id": id("/new") });
        registration.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let invite = json!({ "registration": registration, "stated": ["dns"], "ttl_seconds": 60, "uses": 1 });
        let import = json!({ "registrations": [registration] });
        let codes: BTreeSet<(u16, String)> = [
            ("POST", paths::ADMIN_INVITATIONS, &invite),
            ("PUT", paths::ADMIN_REGISTRATIONS, &registration),
            ("POST", paths::ADMIN_REGISTRATIONS_IMPORT, &import),
        ]
        .map(|(method, path, body)| {
            let answer = ask(&ca, Some(&operator.papers), method, path, body);
            let code = serde_json::from_slice::<Value>(&answer.body).unwrap()["code"].clone();
            (answer.status, code.as_str().unwrap_or_default().to_owned())
        })
        .into();
        let [(status, code)] = codes.iter().collect::<Vec<_>>()[..] else { panic!("{what}: {codes:?}") };
        assert!((400..500).contains(status) && !code.is_empty(), "{what}: {codes:?}");
    }
    assert_eq!(ca.json(&["registrations", "list"]).as_array().unwrap().len(), 1, "the operator's own");
}

/// 8: an unhandled kind of message treated as authorised. Every method on every admin route, and kinds nobody knows.
#[test]
fn what_nobody_handles_nobody_may() {
    let ca = Setup::new()
        .policy(POLICY)
        .set("limits.requests_per_second_per_source", 1000)
        .set("limits.burst_per_source", 1000)
        .start();
    let (operator, nobody) = (Machine::enrolled(&ca, "/operator"), Machine::enrolled(&ca, "/payments"));
    for papers in [None, Some(&nobody.papers)] {
        for path in
            ADMIN.into_iter().chain(["/v1/admin", "/v1/admin/", "/v1/admin/other", "/v1/admin//status"])
        {
            let mut connection = Connection::open(ca.listen(), papers).unwrap();
            for method in METHODS {
                let answer = connection.ask(method, path, Some(("application/json", b"{}"))).unwrap();
                assert!([401, 403, 404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
            }
        }
    }
    let target = id("/payments");
    for (path, body) in [
        (paths::ADMIN_MACHINES_ACT, json!({ "target": target, "act": "authorize" })),
        (paths::ADMIN_MACHINES_ACT, json!({ "target": target, "act": null })),
        (paths::ADMIN_REVOKE, json!({ "kind": "everything", "target": target })),
        (
            paths::ADMIN_INVITATIONS,
            json!({ "registration": { "spiffe_id": id("/new"), "machines": "all" }, "ttl_seconds": 60, "uses": 1 }),
        ),
    ] {
        assert_eq!(ask(&ca, Some(&operator.papers), "POST", path, &body).status, 400, "{body}");
    }
    nobody.renewed(&ca);
}

/// 9: a panic on an empty list of extensions, or of anything in one.
#[test]
fn nothing_empty_in_a_certificate_or_request_makes_the_ca_panic() {
    let ca = Ca::start();
    let issuer = Authority::root("prod.example").issuer();
    let leaf = || issuer.leaf(&id("/payments")).uris(&[]).extended_key_usages(&[]);
    let with = |oid: &[u64], content: &[u8]| {
        leaf().with(|params| {
            params.custom_extensions.push(CustomExtension::from_oid_content(oid, content.to_vec()))
        })
    };
    let strange = [
        leaf(),
        leaf()
            .no_basic_constraints()
            .key_usages(&[])
            .with(|params| params.use_authority_key_identifier_extension = false),
        with(&[2, 5, 29, 17], &[0x30, 0]),
        with(&[2, 5, 29, 37], &[0x30, 0]),
        with(&[2, 5, 29, 35], &[]),
        with(&[1, 3, 6, 1, 4, 1, 99999, 1], &[]),
    ];
    let renew = json!({ "csr": csr::to_pem(&csr::plain(&csr::p256())) });
    for forge in strange {
        let forged = forge.forge();
        let papers = Papers { chain: forged.chain(), key: forged.key_der() };
        // The handshake, or the request: refused by either is well.
        if let Ok(mut connection) = Connection::open(ca.listen(), Some(&papers))
            && let Ok(answer) = connection.post(paths::RENEW, &renew)
        {
            assert_eq!(answer.status, 401, "{}", answer.text());
        }
    }
    let invitation = ca.invite("/payments", &[]);
    for request in requests_with_nothing_in_them() {
        let answer = enroll(&ca, &invitation, &request);
        assert!([200, 400, 403, 409].contains(&answer.status), "{}", answer.text());
    }
    Machine::enrolled(&ca, "/reporting").renewed(&ca);
    assert!(!ca.log().contains("panicked"), "{}", ca.log());
}

/// Requests for one key whose attributes, or whose requested extensions, are empty at one level or another.
fn requests_with_nothing_in_them() -> Vec<Vec<u8>> {
    let key = csr::p256();
    let asked = |content: &[u8]| {
        // extensionRequest, PKCS #9 (RFC 2985 §5.4.2).
        let oid: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
        der(0xa0, &der(0x30, &[oid, &der(0x31, content)].concat()))
    };
    let names = der(0x30, &[&[6, 3, 0x55, 0x1d, 17][..], &der(4, &der(0x30, &[]))].concat());
    [
        Vec::new(),
        der(0xa0, &[]),
        der(0xa0, &der(0x30, &[])),
        asked(&[]),
        asked(&der(0x30, &[])),
        asked(&der(0x30, &der(0x30, &[]))),
        asked(&der(0x30, &names)),
    ]
    .map(|attributes| signed_request(&key, &attributes))
    .into()
}

/// A request with these attributes, signed by its key.
fn signed_request(key: &KeyPair, attributes: &[u8]) -> Vec<u8> {
    let info =
        der(0x30, &[&[2, 1, 0][..], &der(0x30, &[]), &key.subject_public_key_info(), attributes].concat());
    let signature = key.sign(&info).unwrap();
    // ecdsa-with-SHA256 (RFC 5758 §3.2).
    let algorithm = der(0x30, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
    der(0x30, &[info, algorithm, der(3, &[&[0][..], &signature].concat())].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head, content.to_vec()].concat()
}

/// 10: no proof of possession. A key that somebody else holds gets no certificate, by neither door.
#[test]
fn nobody_gets_a_certificate_for_a_key_of_somebody_else() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let victim = csr::p256();
    let own = csr::p256();
    // The victim's key with a signature of our own, and an honest request whose signature was changed.
    let plain = csr::plain(&own);
    let swapped: Vec<u8> = {
        let (ours, theirs) = (own.subject_public_key_info(), victim.subject_public_key_info());
        let at = plain.windows(ours.len()).position(|part| part == ours).unwrap();
        [&plain[..at], &theirs, &plain[at + ours.len()..]].concat()
    };
    let invitation = ca.invite("/reporting", &[]);
    for request in [swapped, mangle::broken_signature(&plain)] {
        enroll(&ca, &invitation, &request).refused(400, "csr_signature_bad");
        machine.renew_with(&ca, &request).refused(400, "csr_signature_bad");
    }
    machine.renewed(&ca);
}
