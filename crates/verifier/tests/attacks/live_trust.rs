//! Live trust: what is offered to it, what it keeps, and what it says of itself.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{ManualClock, hex};
use countersign_testkit::{Authority, ForgedSnapshot, SnapshotForge, noon, noon_clock};
use countersign_verifier::{
    BundleFileError, HardLimit, LiveTrust, Offered, OwnIdentity, Parts, Refusal, SnapshotFault, SvidVerifier,
    TrustState, TrustStore, Usage, follow_bundle_file, follow_identity_files, offer_bundle_file, provider,
};
use tokio::time::timeout;

use crate::snapshots::Domain;
use crate::world::PAYMENTS;

const PATIENCE: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

fn open(domain: &Domain, clock: &Arc<ManualClock>, dir: Option<&Path>) -> LiveTrust {
    let settings = LiveTrust::anchored(domain.root.bundle()).clock(Arc::clone(clock) as _);
    let settings = match dir {
        Some(dir) => settings.kept_in(dir),
        None => settings,
    };
    settings.open().expect("good roots and a directory")
}

fn offer(live: &LiveTrust, forged: &ForgedSnapshot) -> Result<Offered, SnapshotFault> {
    live.offer(forged.jws(), forged.parts())
}

fn knocks(live: &LiveTrust, domain: &Domain, clock: &Arc<ManualClock>) -> Result<(), Refusal> {
    let verifier = SvidVerifier::new(provider(), live.store(), Arc::clone(clock) as _);
    let machine = domain.issuer.leaf(PAYMENTS).ends(noon() + Duration::from_secs(200_000)).forge();
    verifier.verify(&machine.chain(), Usage::Client).map(drop)
}

#[test]
fn nobody_is_let_in_before_the_first_snapshot() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let live = open(&domain, &clock, None);
    assert_eq!(live.health().state, TrustState::Waiting);
    assert!(matches!(knocks(&live, &domain, &clock), Err(Refusal::UnknownTrustDomain { .. })));
    assert_eq!(offer(&live, &domain.forge().forge()), Ok(Offered::Adopted));
    assert_eq!(live.health().state, TrustState::Fresh);
    assert!(knocks(&live, &domain, &clock).is_ok());
}

#[test]
fn a_refused_snapshot_changes_nothing_and_is_counted() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let live = open(&domain, &clock, None);
    let good = domain.forge().sequence(5).forge();
    assert_eq!(offer(&live, &good), Ok(Offered::Adopted));
    assert_eq!(offer(&live, &good), Ok(Offered::Known));
    let older = domain.forge().sequence(4).forge();
    assert_eq!(offer(&live, &older), Err(SnapshotFault::OlderSequence { found: 4, held: 5 }));
    assert!(live.missing(older.jws()).is_err());
    assert!(live.offer_file(b"{}").is_err());
    let health = live.health();
    assert_eq!((health.counts.adopted, health.counts.refused), (1, 3));
    assert_eq!(health.sequence, Some(5));
    assert!(health.last_fault.is_some());
    assert!(knocks(&live, &domain, &clock).is_ok());
}

#[test]
fn trust_grows_stale_and_then_refuses() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let live = open(&domain, &clock, None);
    assert_eq!(offer(&live, &domain.forge().forge()), Ok(Offered::Adopted));
    for (after, state, let_in) in [
        (3600, TrustState::Fresh, true),
        (3601, TrustState::Stale, true),
        (86_400, TrustState::Stale, true),
        (86_401, TrustState::Refusing, false),
    ] {
        clock.set(noon() + Duration::from_secs(after));
        assert_eq!(live.health().state, state, "after {after} s");
        assert_eq!(knocks(&live, &domain, &clock).is_ok(), let_in, "after {after} s");
    }
    let again = domain.forge().issued(noon() + Duration::from_secs(86_401)).forge();
    assert_eq!(offer(&live, &again), Ok(Offered::Adopted));
    assert_eq!(live.health().state, TrustState::Fresh);
}

#[test]
fn never_must_be_spelled_out_and_then_holds() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let settings = LiveTrust::anchored(domain.root.bundle()).clock(Arc::clone(&clock) as _);
    let live = settings.hard_limit(HardLimit::Never).open().expect("good roots");
    assert_eq!(offer(&live, &domain.forge().forge()), Ok(Offered::Adopted));
    clock.set(noon() + Duration::from_secs(190_000));
    assert_eq!(live.health().state, TrustState::Stale);
    assert!(knocks(&live, &domain, &clock).is_ok());
}

#[test]
fn the_last_good_snapshot_outlives_a_restart_and_so_does_what_was_seen() {
    // Invariant 9, through a restart.
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("trust");
    let first = domain.forge().sequence(5).forge();
    let end = noon() + MINUTE;
    let second = domain.forge().sequence(6).revoke(&domain.issuer, "0abc", end).forge();
    let live = open(&domain, &clock, Some(&dir));
    assert_eq!(offer(&live, &first), Ok(Offered::Adopted));
    assert_eq!(offer(&live, &second), Ok(Offered::Adopted));
    drop(live);
    let live = open(&domain, &clock, Some(&dir));
    let health = live.health();
    assert_eq!((health.state, health.sequence), (TrustState::Fresh, Some(6)));
    assert_eq!(live.snapshot().expect("taken up").revoked_serials(), 1);
    assert!(knocks(&live, &domain, &clock).is_ok());
    assert_eq!(offer(&live, &first), Err(SnapshotFault::OlderSequence { found: 5, held: 6 }));
    let parts = fs::read_dir(dir.join("parts")).expect("parts").count();
    assert_eq!(parts, second.parts().len(), "parts that nothing names are gone");
}

#[cfg(unix)]
#[test]
fn what_is_kept_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("trust");
    assert_eq!(offer(&open(&domain, &clock, Some(&dir)), &domain.forge().forge()), Ok(Offered::Adopted));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("snapshot.jws"))), (0o700, 0o600));
    for part in fs::read_dir(dir.join("parts")).expect("parts") {
        assert_eq!(mode(&part.expect("a part").path()), 0o600);
    }
}

#[test]
fn a_clock_that_is_wrong_at_the_start_forgets_nothing() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(
        offer(&open(&domain, &clock, Some(dir.path())), &domain.forge().forge()),
        Ok(Offered::Adopted)
    );
    clock.set(countersign_identity::Timestamp::from_unix(0));
    let live = open(&domain, &clock, Some(dir.path()));
    assert_eq!(live.health().sequence, Some(1));
}

#[test]
fn damage_on_disk_is_said_and_never_believed() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    let keep = || {
        let forged = domain.forge().issued(noon()).forge();
        let _ = fs::remove_dir_all(dir.path().join("parts"));
        let _ = fs::remove_file(dir.path().join("snapshot.jws"));
        assert_eq!(offer(&open(&domain, &clock, Some(dir.path())), &forged), Ok(Offered::Adopted));
    };
    let damages: [&dyn Fn(); 3] = [
        &|| fs::write(dir.path().join("snapshot.jws"), "a.b.c").expect("a write"),
        &|| fs::remove_dir_all(dir.path().join("parts")).expect("parts"),
        &|| {
            for part in fs::read_dir(dir.path().join("parts")).expect("parts") {
                fs::write(part.expect("a part").path(), "{}").expect("a write");
            }
        },
    ];
    for damage in damages {
        keep();
        damage();
        let live = open(&domain, &clock, Some(dir.path()));
        let health = live.health();
        assert_eq!(health.state, TrustState::Waiting);
        assert!(health.last_fault.is_some_and(|fault| fault.contains("kept on disk")));
        assert!(knocks(&live, &domain, &clock).is_err());
    }
}

#[test]
fn trust_of_another_root_on_disk_is_not_taken_up() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(
        offer(&open(&domain, &clock, Some(dir.path())), &domain.forge().forge()),
        Ok(Offered::Adopted)
    );
    let live = open(&Domain::new(), &clock, Some(dir.path()));
    assert_eq!(live.health().state, TrustState::Waiting);
}

#[test]
fn a_disk_that_fails_keeps_no_revocation_away() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    let live = open(&domain, &clock, Some(dir.path()));
    fs::remove_dir_all(dir.path().join("parts")).expect("parts");
    fs::write(dir.path().join("parts"), "in the way").expect("a write");
    assert_eq!(offer(&live, &domain.forge().forge()), Ok(Offered::Adopted));
    let health = live.health();
    assert_eq!((health.state, health.counts.unkept), (TrustState::Fresh, 1));
    assert!(health.last_fault.is_some());
}

#[test]
fn a_write_that_fails_leaves_what_was_kept_and_is_made_up_for() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    let kept = || open(&domain, &clock, Some(dir.path())).health().sequence;
    let revoked = |sequence| {
        let forge = domain.forge().sequence(sequence);
        forge.revoke(&domain.issuer, "0abc", noon() + MINUTE).forge()
    };
    let (first, second, third) = (domain.forge().sequence(5).forge(), revoked(6), revoked(7));
    let fetched = |live: &LiveTrust, of: &ForgedSnapshot| -> Parts {
        let named = live.missing(of.jws()).expect("a good snapshot");
        named.iter().map(|part| (*part.sha256(), of.parts()[part.sha256()].clone())).collect()
    };
    let live = open(&domain, &clock, Some(dir.path()));
    assert_eq!(offer(&live, &first), Ok(Offered::Adopted));
    let new = fetched(&live, &second);
    assert!(!new.is_empty() && new.len() < second.parts().len(), "only what is new");
    // No room for the new parts: what is in their way is not theirs to replace.
    let in_the_way = |sha256: &[u8; 32]| dir.path().join("parts").join(hex::encode(sha256));
    for sha256 in new.keys() {
        fs::create_dir_all(in_the_way(sha256).join("x")).expect("a directory");
    }
    assert_eq!(live.offer(second.jws(), &new), Ok(Offered::Adopted));
    assert_eq!(live.health().counts.unkept, 1);
    assert_eq!(kept(), Some(5), "the older one is whole");
    // Still nothing new can be written, and the next snapshot shares the parts that are held in memory alone.
    let again = fetched(&live, &third);
    assert!(new.keys().all(|sha256| again.contains_key(sha256)), "they are asked for once more");
    assert_eq!(live.offer(third.jws(), &Parts::new()), Ok(Offered::Adopted));
    assert_eq!(kept(), Some(5), "nothing kept names what is not there");
    assert!(live.health().last_fault.is_some_and(|fault| fault.contains("not kept on disk")));
    for sha256 in new.keys() {
        fs::remove_dir_all(in_the_way(sha256)).expect("a directory");
    }
    let forged: Parts = again.keys().map(|sha256| (*sha256, b"{}".to_vec())).collect();
    assert_eq!(live.offer(third.jws(), &forged), Ok(Offered::Known));
    assert_eq!(kept(), Some(5), "what is not the part it says is not written");
    assert_eq!(live.offer(third.jws(), &again), Ok(Offered::Known));
    assert_eq!((kept(), live.health().last_fault), (Some(7), None));
    assert!(fetched(&live, &third).is_empty(), "and asked for no more");
}

const READS: &str = r#"
version = 1
[service.ledger]
permissions = ["read"]
[[grant]]
id = "spiffe://prod.example/payments"
permissions = ["ledger:read"]
"#;

#[test]
fn the_policy_comes_with_the_snapshot_and_a_broken_one_leaves_the_old_one() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let live = open(&domain, &clock, None);
    let gate = live.gate();
    let read = "ledger:read".parse().expect("a permission");
    let verifier = domain.issuer.leaf(PAYMENTS).forge();
    assert_eq!(offer(&live, &domain.forge().policy(READS).forge()), Ok(Offered::Adopted));
    let peer = SvidVerifier::new(provider(), live.store(), Arc::clone(&clock) as _)
        .verify(&verifier.chain(), Usage::Client)
        .expect("a good peer");
    let admitted = gate.admit(peer);
    assert!(admitted.authorize(&read).allowed);
    let version = live.health().policy;
    let serial = admitted.peer().serial_hex();

    // A policy of tomorrow, with a revocation of today.
    let broken = domain.forge().sequence(2).policy("version = 2\n");
    let broken = broken.revoke(&domain.issuer, &serial, noon() + MINUTE).forge();
    assert_eq!(offer(&live, &broken), Ok(Offered::Adopted));
    let health = live.health();
    assert_eq!(health.policy, version);
    assert!(health.policy_fault.is_some_and(|fault| fault.contains("version")));
    assert!(admitted.authorize(&read).allowed, "the old policy stays whole");
    let knocks =
        SvidVerifier::new(provider(), live.store(), clock as _).verify(&verifier.chain(), Usage::Client);
    assert!(matches!(knocks, Err(Refusal::Revoked { .. })), "and the revocation counts");

    assert_eq!(offer(&live, &domain.forge().sequence(3).policy("").forge()), Ok(Offered::Adopted));
    assert_eq!(live.health().policy_fault, None);
    assert!(!admitted.authorize(&read).allowed, "no policy grants nothing");
}

#[tokio::test]
async fn a_file_that_is_replaced_is_taken_up() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("snapshot.json");
    let live = open(&domain, &clock, None);
    let follow = tokio::spawn(live.clone().follow_file(path.clone(), Duration::from_millis(5)));
    let put = |forged: &ForgedSnapshot| {
        let fresh = dir.path().join("fresh");
        fs::write(&fresh, forged.file()).expect("a write");
        fs::rename(fresh, &path).expect("a rename");
    };
    put(&domain.forge().forge());
    timeout(PATIENCE, live.ready()).await.expect("the first");
    put(&domain.forge().sequence(2).forge());
    until(|| live.health().sequence == Some(2)).await;
    fs::write(&path, "nonsense").expect("a write");
    until(|| live.health().counts.refused == 1).await;
    assert_eq!(live.health().sequence, Some(2));
    fs::remove_file(&path).expect("a removal");
    until(|| live.health().counts.unreachable > 0).await;
    put(&domain.forge().sequence(3).forge());
    until(|| live.health().sequence == Some(3)).await;
    follow.abort();
}

#[tokio::test]
async fn a_bundle_file_is_followed_in_either_form() {
    let domain = Domain::new();
    let store = Arc::new(TrustStore::default());
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bundle");
    let name = "prod.example".parse::<countersign_verifier::TrustDomain>().expect("a trust domain");
    let every = Duration::from_millis(5);
    let follow = tokio::spawn(follow_bundle_file(Arc::clone(&store), name, path.clone(), every));
    let roots = || store.get("prod.example").map(|anchors| anchors.certificates().count());
    fs::write(&path, pem(domain.root.certificate())).expect("a write");
    until(|| roots() == Some(1)).await;
    let other = Authority::root("prod.example");
    fs::write(&path, jwks(&[&domain.root, &other], 7)).expect("a write");
    until(|| roots() == Some(2)).await;
    fs::write(&path, jwks(&[], 8)).expect("a write");
    until(|| roots() == Some(0)).await;
    follow.abort();
}

#[tokio::test]
async fn an_identity_is_what_its_files_say() {
    let domain = Domain::new();
    let dir = tempfile::tempdir().expect("a directory");
    let put = |forged: &countersign_testkit::Forged| {
        for (name, text) in [("svid.key", forged.key_pem()), ("svid.pem", forged.chain_pem())] {
            let fresh = dir.path().join("fresh");
            fs::write(&fresh, text).expect("a write");
            fs::rename(fresh, dir.path().join(name)).expect("a rename");
        }
    };
    let (first, second) = (domain.issuer.leaf(PAYMENTS).forge(), domain.issuer.leaf(PAYMENTS).forge());
    put(&first);
    let files = (dir.path().join("svid.pem"), dir.path().join("svid.key"));
    let own = OwnIdentity::from_files(&files.0, &files.1).expect("an identity");
    let follow = tokio::spawn(follow_identity_files(Arc::clone(&own), files, Duration::from_millis(5)));
    // One file alone is half a renewal.
    fs::write(dir.path().join("svid.pem"), second.chain_pem()).expect("a write");
    tokio::task::yield_now().await;
    assert_eq!(own.chain().first(), Some(first.leaf()));
    put(&second);
    until(|| own.chain().first() == Some(second.leaf())).await;
    follow.abort();
}

#[test]
fn a_bundle_never_goes_backwards_nor_under_a_snapshot() {
    let domain = Domain::new();
    let store = TrustStore::default();
    let name = "prod.example".parse().expect("a trust domain");
    offer_bundle_file(&store, &name, jwks(&[&domain.root], 7).as_bytes()).expect("a bundle");
    let older = offer_bundle_file(&store, &name, jwks(&[], 6).as_bytes());
    assert!(matches!(older, Err(BundleFileError::Older { found: 6, held: 7 })));
    let broken = offer_bundle_file(&store, &name, b"{}");
    assert!(matches!(broken, Err(BundleFileError::Jwks(_))));
    let issuer = offer_bundle_file(&store, &name, jwks_of(domain.signer.leaf(), 9).as_bytes());
    assert!(matches!(issuer, Err(BundleFileError::Trust(_))));
    assert_eq!(store.get("prod.example").expect("held").certificates().count(), 1);

    let (domain, clock) = (Domain::new(), noon_clock());
    let live = open(&domain, &clock, None);
    assert_eq!(offer(&live, &domain.forge().forge()), Ok(Offered::Adopted));
    let under = offer_bundle_file(&live.store(), &name, jwks(&[&domain.root], 9).as_bytes());
    assert!(matches!(under, Err(BundleFileError::UnderSnapshot(_))));
}

#[test]
fn a_signer_of_a_higher_epoch_ends_the_one_before() {
    let (domain, clock) = (Domain::new(), noon_clock());
    let live = open(&domain, &clock, None);
    assert_eq!(offer(&live, &domain.forge().sequence(90).forge()), Ok(Offered::Adopted));
    let restored = domain.root.trust_signer(2);
    let raised = SnapshotForge::new(&domain.root, &restored).epoch(2).forge();
    assert_eq!(offer(&live, &raised), Ok(Offered::Adopted));
    let replayed = domain.forge().sequence(91).forge();
    assert_eq!(offer(&live, &replayed), Err(SnapshotFault::OlderEpoch { found: 1, held: 2 }));
}

async fn until(done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it comes to pass");
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn jwks(roots: &[&Authority], sequence: u64) -> String {
    let keys: Vec<_> = roots.iter().map(|root| key(root.certificate())).collect();
    serde_json::json!({ "keys": keys, "spiffe_sequence": sequence }).to_string()
}

fn jwks_of(certificate: &[u8], sequence: u64) -> String {
    serde_json::json!({ "keys": [key(certificate)], "spiffe_sequence": sequence }).to_string()
}

fn key(certificate: &[u8]) -> serde_json::Value {
    use base64::Engine as _;
    let x5c = base64::engine::general_purpose::STANDARD.encode(certificate);
    serde_json::json!({ "kty": "EC", "use": "x509-svid", "x5c": [x5c] })
}
