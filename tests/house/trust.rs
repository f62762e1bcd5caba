//! Trust snapshots from outside: who may read them, what they say, and how soon (DESIGN §4).

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_api::trust::{IssuersPart, PartRef, RevokedPart, TrustFile, TrustPayload};
use countersign_identity::{Timestamp, hex};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    program::{self, tool},
    wire::{self, Answer, Connection},
};

/// A snapshot as a reader takes it apart; nothing of ours has checked it.
struct Snapshot {
    jws: String,
    header: Value,
    payload: TrustPayload,
    etag: String,
}

impl Snapshot {
    #[track_caller]
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/jose"));
        let mut snapshot = Self::parse(&answer.text());
        snapshot.etag = answer.header("etag").unwrap().to_owned();
        snapshot
    }

    fn parse(jws: &str) -> Self {
        let mut pieces = jws.split('.').map(|piece| URL_SAFE_NO_PAD.decode(piece).unwrap());
        let header = serde_json::from_slice(&pieces.next().unwrap()).unwrap();
        let payload = serde_json::from_slice(&pieces.next().unwrap()).unwrap();
        Self { jws: jws.to_owned(), header, payload, etag: String::new() }
    }

    fn signer(&self) -> Vec<u8> {
        STANDARD.decode(self.header["x5c"][0].as_str().unwrap()).unwrap()
    }

    fn chunks(&self) -> BTreeSet<String> {
        self.payload.revoked.iter().map(|part| part.sha256.clone()).collect()
    }
}

#[track_caller]
fn read(ca: &Ca, reader: &Machine) -> Snapshot {
    Snapshot::of(&wire::get(ca.listen(), Some(&reader.papers), "/v1/trust"))
}

#[track_caller]
fn part(ca: &Ca, reader: &Machine, of: &PartRef) -> Vec<u8> {
    let path = format!("/v1/trust/part/{}", of.sha256);
    let answer = wire::get(ca.listen(), Some(&reader.papers), &path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(hex::encode(&Sha256::digest(&answer.body)), of.sha256);
    assert_eq!(answer.body.len() as u64, of.size);
    answer.body
}

/// Every revoked serial with its issuer's key identifier.
#[track_caller]
fn revoked(ca: &Ca, reader: &Machine) -> BTreeSet<(String, String)> {
    let parts = read(ca, reader).payload.revoked;
    let parts = parts.iter().map(|of| serde_json::from_slice::<RevokedPart>(&part(ca, reader, of)).unwrap());
    let lists = parts.flat_map(|part| part.serials);
    lists.flat_map(|of| of.entries.into_iter().map(move |(serial, _)| (of.issuer.clone(), serial))).collect()
}

#[track_caller]
fn is_revoked(ca: &Ca, reader: &Machine, machine: &Machine) -> bool {
    let (_, leaf) = X509Certificate::from_der(machine.leaf()).unwrap();
    let issuer = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.clone(),
        _ => None,
    });
    revoked(ca, reader).contains(&(hex::encode(issuer.unwrap().0), machine.serial()))
}

/// Waits until the sequence is greater than `after`, as a verifier does.
#[track_caller]
fn next(ca: &Ca, reader: &Machine, after: u64) -> Snapshot {
    Snapshot::of(&wire::get(ca.listen(), Some(&reader.papers), &format!("/v1/trust?after={after}")))
}

fn ask(ca: &Ca, reader: &Machine, path: &str, headers: &str) -> Answer {
    let mut connection = Connection::open(ca.listen(), Some(&reader.papers)).unwrap();
    connection.send(format!("GET {path} HTTP/1.1\r\nhost: ca\r\n{headers}\r\n").as_bytes()).unwrap();
    connection.read().unwrap()
}

fn rotate(ca: &Ca) {
    ca.run(&["issuer", "rotate", "--passphrase-file", "passphrase"]).succeeded();
}

#[test]
fn a_snapshot_says_what_a_verifier_must_know() {
    let ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    let snapshot = read(&ca, &reader);
    let payload = &snapshot.payload;
    assert_eq!((payload.trust_domain.as_str(), payload.epoch, payload.refresh_hint), ("prod.example", 1, 60));
    let [issued, expires] =
        [&payload.issued, &payload.expires].map(|time| time.parse::<Timestamp>().unwrap());
    assert_eq!(expires.since(issued), Duration::from_secs(3600));
    assert_eq!(snapshot.etag, format!("\"1-{}-{}\"", payload.sequence, issued.unix()));
    let roots: Value = wire::get(ca.listen(), None, "/v1/roots").json();
    assert_eq!(roots["documents"], Value::from(payload.roots.clone()));
    let issuers: IssuersPart = serde_json::from_slice(&part(&ca, &reader, &payload.issuers)).unwrap();
    let issuers: Vec<_> = issuers.issuers.iter().map(|one| STANDARD.decode(one).unwrap()).collect();
    assert_eq!(issuers, [reader.papers.chain[1].to_vec()]);
    assert_eq!(part(&ca, &reader, &payload.policy), fs::read(ca.home().join("policy.toml")).unwrap());
    let jwks = wire::get(ca.listen(), None, "/oauth2/jwks").body;
    assert_eq!(part(&ca, &reader, &payload.token_keys), jwks);
    assert!(payload.revoked.is_empty());
}

/// Seen through other eyes: neither our reader nor our writer of certificates and signatures has a say.
#[test]
fn openssl_finds_the_signature_good_and_the_signer_certified_by_the_root() {
    let (Some(openssl), ca) = (tool("openssl"), Ca::start()) else { return };
    let snapshot = read(&ca, &Machine::enrolled(&ca, "/reader"));
    assert_eq!(snapshot.header.as_object().unwrap().len(), 3, "{}", snapshot.header);
    assert_eq!(snapshot.header["alg"], "ES256");
    assert_eq!(snapshot.header["typ"], "countersign-trust+jws");
    let (input, signature) = snapshot.jws.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    fs::write(ca.scratch("input"), input).unwrap();
    fs::write(ca.scratch("signature"), der_signature(&raw)).unwrap();
    fs::write(ca.scratch("signer"), snapshot.signer()).unwrap();
    let run = |arguments: &[&str]| {
        program::run(Command::new(&openssl).args(arguments).current_dir(ca.scratch("."))).succeeded()
    };
    run(&["x509", "-inform", "DER", "-in", "signer", "-out", "signer.pem"]);
    let key = run(&["x509", "-in", "signer.pem", "-noout", "-pubkey"]);
    fs::write(ca.scratch("key"), key).unwrap();
    run(&["dgst", "-sha256", "-verify", "key", "-signature", "signature", "input"]);
    run(&["verify", "-ignore_critical", "-CAfile", "ca/state/root.pem", "signer.pem"]);
}

/// r ‖ s as `SEQUENCE { INTEGER, INTEGER }`.
fn der_signature(raw: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let mut octets: Vec<u8> = half.iter().copied().skip_while(|octet| *octet == 0).collect();
        if octets[0] & 0x80 != 0 {
            octets.insert(0, 0);
        }
        [vec![2, u8::try_from(octets.len()).unwrap()], octets].concat()
    };
    let both = [integer(&raw[..32]), integer(&raw[32..])].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}

#[test]
fn the_signer_is_for_trust_and_for_nothing_else() {
    let ca = Ca::start();
    let der = read(&ca, &Machine::enrolled(&ca, "/reader")).signer();
    let (_, signer) = X509Certificate::from_der(&der).unwrap();
    let (_, root) =
        x509_parser::pem::parse_x509_pem(&fs::read(ca.state().join("root.pem")).unwrap()).unwrap();
    assert_eq!(signer.issuer().as_raw(), root.parse_x509().unwrap().subject().as_raw());
    let names = signer.subject_alternative_name().unwrap().unwrap();
    let expected = [GeneralName::URI("spiffe://prod.example/countersign/trust")];
    assert_eq!(names.value.general_names, expected);
    let purposes = signer.extended_key_usage().unwrap().unwrap();
    assert!(
        purposes.critical
            && !purposes.value.client_auth
            && !purposes.value.server_auth
            && !purposes.value.any
    );
    let purposes: Vec<_> = purposes.value.other.iter().map(ToString::to_string).collect();
    assert_eq!(purposes, ["2.25.250477940.1"]);
    assert!(!signer.is_ca());
}

#[test]
fn only_a_live_certificate_of_the_trust_domain_reads_trust() {
    let ca = Ca::start();
    let [reader, revoked, suspended] =
        ["/reader", "/revoked", "/suspended"].map(|path| Machine::enrolled(&ca, path));
    let other = Ca::start();
    let foreign = Machine::enrolled(&other, "/reader");
    let name = read(&ca, &reader).payload.policy.sha256;
    ca.run(&["revoke", "serial", &revoked.serial()]).succeeded();
    ca.run(&["machines", "suspend", &suspended.response.machine]).succeeded();
    for path in ["/v1/trust".to_owned(), "/v1/trust?after=0".into(), format!("/v1/trust/part/{name}")] {
        assert_eq!(wire::get(ca.listen(), Some(&reader.papers), &path).status, 200, "{path}");
        wire::get(ca.listen(), None, &path).refused(401, "certificate_required");
        wire::get(ca.listen(), Some(&revoked.papers), &path).refused(401, "certificate_revoked");
        wire::get(ca.listen(), Some(&suspended.papers), &path).refused(403, "machine_suspended");
        assert_eq!(wire::get(ca.listen(), Some(&foreign.papers), &path).status, 401, "{path}");
    }
}

#[test]
fn a_reader_that_is_revoked_while_it_waits_is_told_so() {
    let ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    let after = read(&ca, &reader).payload.sequence;
    let mut waiting = Connection::open(ca.listen(), Some(&reader.papers)).unwrap();
    waiting.send(format!("GET /v1/trust?after={after} HTTP/1.1\r\nhost: ca\r\n\r\n").as_bytes()).unwrap();
    ca.run(&["revoke", "serial", &reader.serial()]).succeeded();
    waiting.read().unwrap().refused(401, "certificate_revoked");
}

#[test]
fn public_trust_is_read_by_anybody_and_the_switch_is_reloaded() {
    let ca = Setup::new().set("trust.public", true).start();
    let snapshot = Snapshot::of(&wire::get(ca.listen(), None, "/v1/trust"));
    let path = format!("/v1/trust/part/{}", snapshot.payload.policy.sha256);
    assert_eq!(wire::get(ca.listen(), None, &path).status, 200);
    ca.set("trust.public", false.into());
    assert!(ca.run(&["reload"]).succeeded().contains("trust"));
    wire::get(ca.listen(), None, "/v1/trust").refused(401, "certificate_required");
    wire::get(ca.listen(), None, &path).refused(401, "certificate_required");
}

#[test]
fn every_form_of_revocation_reaches_the_next_snapshot() {
    let ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    let key = |machine: &Machine| {
        let (_, leaf) = X509Certificate::from_der(machine.leaf()).unwrap();
        hex::encode(&Sha256::digest(leaf.public_key().raw))
    };
    let lineage = |machine: &Machine| {
        ca.json(&["machines", "show", &machine.response.machine])["lineage"].as_str().unwrap().to_owned()
    };
    type Name<'a> = &'a dyn Fn(&Machine) -> String;
    let kinds: [(&str, Name<'_>); 4] = [
        ("machine", &|machine| machine.response.machine.clone()),
        ("lineage", &lineage),
        ("serial", &Machine::serial),
        ("key", &key),
    ];
    for (kind, target) in kinds {
        let machine = Machine::enrolled(&ca, &format!("/by/{kind}"));
        let before = read(&ca, &reader).payload.sequence;
        assert!(!is_revoked(&ca, &reader, &machine));
        ca.run(&["revoke", kind, &target(&machine)]).succeeded();
        assert!(next(&ca, &reader, before).payload.sequence > before, "{kind}");
        assert!(is_revoked(&ca, &reader, &machine), "{kind}");
    }
}

#[test]
fn a_suspension_is_listed_and_taken_back() {
    let ca = Ca::start();
    let [reader, machine] = ["/reader", "/payments"].map(|path| Machine::enrolled(&ca, path));
    let mut sequence = read(&ca, &reader).payload.sequence;
    for (act, listed) in [("suspend", true), ("resume", false), ("suspend", true), ("remove", true)] {
        ca.run(&["machines", act, &machine.response.machine]).succeeded();
        sequence = next(&ca, &reader, sequence).payload.sequence;
        assert_eq!(is_revoked(&ca, &reader, &machine), listed, "{act}");
    }
}

#[test]
fn a_machine_that_was_replaced_and_a_certificate_that_was_superseded_are_listed() {
    let ca = Ca::start();
    let [reader, machine] = ["/reader", "/payments"].map(|path| Machine::enrolled(&ca, path));
    let before = read(&ca, &reader).payload.sequence;
    let replacement = Machine::enrolled(&ca, "/payments");
    let sequence = next(&ca, &reader, before).payload.sequence;
    assert!(is_revoked(&ca, &reader, &machine) && !is_revoked(&ca, &reader, &replacement));
    let pending = replacement.renewed(&ca);
    let newer = replacement.renewed(&ca);
    next(&ca, &reader, sequence);
    assert!(is_revoked(&ca, &reader, &pending) && !is_revoked(&ca, &reader, &newer));
}

#[test]
fn a_rotation_is_published_under_the_new_trust_signer() {
    let ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    let before = read(&ca, &reader);
    rotate(&ca);
    let fresh = Machine::enrolled(&ca, "/fresh");
    let until = Instant::now() + Duration::from_secs(20);
    let after = loop {
        let after = read(&ca, &reader);
        if after.signer() != before.signer() {
            break after;
        }
        assert!(Instant::now() < until, "the new trust signer does not sign");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(after.payload.sequence > before.payload.sequence);
    assert_eq!(after.payload.epoch, 1, "only a restore raises it");
    let issuers: IssuersPart = serde_json::from_slice(&part(&ca, &reader, &after.payload.issuers)).unwrap();
    let issuers: BTreeSet<_> = issuers.issuers.iter().map(|one| STANDARD.decode(one).unwrap()).collect();
    let expected = [&reader, &fresh].map(|machine| machine.papers.chain[1].to_vec());
    assert_eq!(issuers, BTreeSet::from(expected));
}

#[test]
fn a_policy_is_published_when_it_is_applied() {
    let ca = Setup::new().policy("version = 1\n").start();
    let reader = Machine::enrolled(&ca, "/reader");
    let before = read(&ca, &reader);
    let text = "version = 1\n\n[service.ledger]\npermissions = [\"read\"]\n";
    fs::write(ca.scratch("policy.toml"), text).unwrap();
    ca.run(&["policy", "apply", "policy.toml"]).succeeded();
    let after = next(&ca, &reader, before.payload.sequence);
    assert_eq!(part(&ca, &reader, &after.payload.policy), text.as_bytes());
    assert_eq!(part(&ca, &reader, &before.payload.policy), b"version = 1\n", "for those who still fetch it");
}

#[test]
fn whoever_waits_is_answered_within_a_second() {
    let ca = Ca::start();
    let [reader, machine] = ["/reader", "/payments"].map(|path| Machine::enrolled(&ca, path));
    let after = read(&ca, &reader).payload.sequence;
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(ca.listen(), Some(&reader.papers)).unwrap();
            let request = format!("GET /v1/trust?after={after} HTTP/1.1\r\nhost: ca\r\n\r\n");
            connection.send(request.as_bytes()).unwrap();
            connection
        })
        .collect();
    assert!(!waiting[0].is_closed_within(Duration::from_millis(300)), "nothing is newer yet");
    ca.run(&["revoke", "serial", &machine.serial()]).succeeded();
    let revoked = Instant::now();
    for connection in &mut waiting[1..] {
        let snapshot = Snapshot::of(&connection.read().unwrap());
        assert_eq!(snapshot.payload.sequence, after + 1);
    }
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
}

#[test]
fn a_stop_lets_go_of_those_who_wait() {
    let mut ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    let after = read(&ca, &reader).payload.sequence;
    let mut waiting = Connection::open(ca.listen(), Some(&reader.papers)).unwrap();
    waiting.send(format!("GET /v1/trust?after={after} HTTP/1.1\r\nhost: ca\r\n\r\n").as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let stopped = Instant::now();
    assert_eq!(ca.stop().code(), Some(0));
    assert_eq!(waiting.read().unwrap().status, 304);
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
}

#[test]
fn what_is_known_is_not_sent_again() {
    let ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    let snapshot = read(&ca, &reader);
    let etag = snapshot.etag;
    let same = ask(&ca, &reader, "/v1/trust", &format!("if-none-match: {etag}\r\n"));
    assert_eq!((same.status, same.header("etag"), same.body.len()), (304, Some(&*etag), 0));
    let other = ask(&ca, &reader, "/v1/trust", "if-none-match: \"1-0-0\"\r\n");
    assert_eq!(other.status, 200);
    // Numbers of another epoch say nothing about ours, so such a reader is not held.
    let path = format!("/v1/trust?after={}", snapshot.payload.sequence + 100);
    assert_eq!(ask(&ca, &reader, &path, "if-none-match: \"7-100-0\"\r\n").status, 200);
    ask(&ca, &reader, "/v1/trust?after=x", "").refused(400, "parameter_invalid");
}

#[test]
fn parts_never_change_and_come_compressed_to_those_who_take_it() {
    let (Some(gzip), ca) = (tool("gzip"), Ca::start()) else { return };
    let reader = Machine::enrolled(&ca, "/reader");
    let name = read(&ca, &reader).payload.policy.sha256;
    let path = format!("/v1/trust/part/{name}");
    let plain = ask(&ca, &reader, &path, "");
    assert_eq!(plain.header("cache-control"), Some("max-age=31536000, immutable"));
    assert_eq!(plain.header("content-encoding"), None);
    let packed = ask(&ca, &reader, &path, "accept-encoding: br, gzip\r\n");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < plain.body.len());
    fs::write(ca.scratch("part.gz"), &packed.body).unwrap();
    let unpacked = Command::new(gzip).arg("-dc").arg(ca.scratch("part.gz")).output().unwrap();
    assert_eq!(unpacked.stdout, plain.body);
    for unknown in ["0".repeat(64), "x".into(), name.to_uppercase().repeat(2)] {
        ask(&ca, &reader, &format!("/v1/trust/part/{unknown}"), "").refused(404, "part_unknown");
    }
}

#[test]
fn trust_outlives_a_restart_and_never_goes_back() {
    let mut ca = Ca::start();
    let [reader, machine] = ["/reader", "/payments"].map(|path| Machine::enrolled(&ca, path));
    ca.run(&["revoke", "serial", &machine.serial()]).succeeded();
    let before = read(&ca, &reader);
    ca.kill();
    ca.start_again();
    let after = read(&ca, &reader);
    assert!(after.payload.sequence >= before.payload.sequence);
    assert_eq!(after.chunks(), before.chunks());
    assert!(is_revoked(&ca, &reader, &machine));
}

#[test]
fn a_file_carries_the_snapshot_with_all_its_parts() {
    let ca = Ca::start();
    let [reader, machine] = ["/reader", "/payments"].map(|path| Machine::enrolled(&ca, path));
    ca.run(&["revoke", "serial", &machine.serial()]).succeeded();
    let newest = read(&ca, &reader);
    ca.run(&["bundle", "export", "trust.json"]).succeeded();
    let file: TrustFile = serde_json::from_slice(&fs::read(ca.scratch("trust.json")).unwrap()).unwrap();
    assert_eq!((file.countersign_trust, &file.snapshot), (1, &newest.jws));
    let names: BTreeSet<_> = newest.payload.parts().map(|part| part.sha256.clone()).collect();
    assert_eq!(file.parts.keys().cloned().collect::<BTreeSet<_>>(), names);
    for (name, octets) in &file.parts {
        assert_eq!(hex::encode(&Sha256::digest(STANDARD.decode(octets).unwrap())), *name);
    }
    assert_eq!(newest.payload.revoked.len(), 1);
    assert!(id("/reader").starts_with("spiffe://"));
}

#[test]
fn whoever_revokes_and_then_reads_finds_it() {
    let ca = Ca::start();
    let reader = Machine::enrolled(&ca, "/reader");
    for n in 0..5 {
        let machine = Machine::enrolled(&ca, &format!("/payments/{n}"));
        let before = read(&ca, &reader).payload.sequence;
        ca.run(&["revoke", "serial", &machine.serial()]).succeeded();
        assert_eq!(read(&ca, &reader).payload.sequence, before + 1);
        assert!(is_revoked(&ca, &reader, &machine));
    }
}
