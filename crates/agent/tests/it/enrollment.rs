//! Enrollment, and every way it is turned down.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_agent::{
    Dir, EnrollOptions, Enrolled, ErrorKind, RenewOptions, enroll, enroll_or_keep, renew,
};
use countersign_api::{CertificateResponse, ProblemCode};
use countersign_testkit::noon_clock;
use tempfile::TempDir;

use crate::ca::{CA_ID, Ca, PAYMENTS, certified_key_of, ok, pem, problem, public_key_of};

async fn at_noon() -> (Arc<Ca>, TempDir, EnrollOptions) {
    let ca = Ca::start(noon_clock()).await;
    let scratch = tempfile::tempdir().unwrap();
    let options = EnrollOptions::new(ca.invitation(1), scratch.path()).clock(noon_clock());
    (ca, scratch, options)
}

#[tokio::test]
async fn an_invitation_becomes_an_identity_on_disk() {
    let (ca, scratch, options) = at_noon().await;
    let identity = enroll(&options).await.unwrap();
    assert_eq!(identity.spiffe_id().as_str(), PAYMENTS);
    let dir = scratch.path();
    for (name, mode) in
        [("svid.pem", 0o644), ("svid.key", 0o600), ("bundle.pem", 0o644), ("svid-combined.pem", 0o600)]
    {
        let link = fs::read_link(dir.join(name)).unwrap();
        assert_eq!(link, std::path::Path::new("current").join(name));
        assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(public_key_of(&dir.join("svid.key")), certified_key_of(&dir.join("svid.pem")));
    assert_eq!(fs::read_to_string(dir.join("svid.pem")).unwrap().matches("BEGIN CERTIFICATE").count(), 2);
    let combined = fs::read_to_string(dir.join("svid-combined.pem")).unwrap();
    assert!(combined.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(combined.matches("BEGIN CERTIFICATE").count(), 2);
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("current/meta.json")).unwrap()).unwrap();
    assert_eq!(meta["spiffe_id"], PAYMENTS);
    assert_eq!(meta["url"], ca.url());
    assert_eq!(meta["renew_after"], "2026-11-23T12:20:00Z");
    assert!(
        !fs::read_dir(dir).unwrap().any(|e| e.unwrap().file_name().to_string_lossy().contains("pending"))
    );
    assert_eq!(Dir::at(dir).identity().unwrap().unwrap(), identity);
}

#[tokio::test]
async fn the_key_is_on_disk_before_the_ca_hears_of_it() {
    // Invariant 2: whatever is issued, the machine still has the key for it.
    let (ca, scratch, options) = at_noon().await;
    let dir = scratch.path().to_owned();
    ca.behave(move |_, asked| {
        let pending = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let pending = pending.filter(|path| path.extension().is_some_and(|end| end == "key"));
        let keys: Vec<_> = pending.map(|path| public_key_of(&path)).collect();
        assert_eq!(keys, std::slice::from_ref(&asked.spki));
        Some(problem(500, ProblemCode::Internal))
    });
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.code(), Some(ProblemCode::Internal), "{error}");
}

#[tokio::test]
async fn a_directory_that_holds_a_valid_identity_is_kept() {
    let (ca, _scratch, options) = at_noon().await;
    let first = enroll(&options).await.unwrap();
    assert_eq!(enroll_or_keep(&options).await.unwrap(), Enrolled::Before(first.clone()));
    assert_eq!(ca.asked().len(), 1);
    let again = enroll(&options.replace(true)).await.unwrap();
    assert_ne!(again.serial(), first.serial());
    assert_eq!(ca.asked().len(), 2);
}

#[tokio::test]
async fn another_invitation_of_the_same_ca_is_redeemed_into_the_same_directory() {
    let (ca, scratch, options) = at_noon().await;
    let first = enroll(&options).await.unwrap();
    let options = EnrollOptions::new(ca.invitation(2), scratch.path()).clock(noon_clock());
    let Enrolled::Now(second) = enroll_or_keep(&options).await.unwrap() else {
        panic!("nothing was redeemed")
    };
    assert_ne!(second.serial(), first.serial());
    assert_eq!(enroll_or_keep(&options).await.unwrap(), Enrolled::Before(second));
}

#[tokio::test]
async fn an_invitation_for_another_identity_replaces_a_valid_one_only_when_told_to() {
    let (ca, scratch, options) = at_noon().await;
    let first = enroll(&options).await.unwrap();
    ca.behave(|ca, asked| {
        (asked.path == "/v1/enroll").then(|| ok(&ca.answer("spiffe://prod.example/reporting", &asked.spki)))
    });
    let other = EnrollOptions::new(ca.invitation(2), scratch.path()).clock(noon_clock());
    let error = enroll(&other).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Refused, 1));
    let text = error.to_string();
    assert!(text.contains("spiffe://prod.example/reporting") && text.contains(PAYMENTS), "{text}");
    assert!(error.hint().unwrap().contains("--replace"));
    let dir = Dir::at(scratch.path());
    assert_eq!(dir.identity().unwrap().unwrap(), first, "what was there stays");
    // The identity in use is kept valid in the meantime, as by `run`: the key of the redemption outlives that.
    renew(&dir, &RenewOptions::default().clock(noon_clock())).await.unwrap();
    let second = enroll(&other.replace(true)).await.unwrap();
    assert_eq!(second.spiffe_id().as_str(), "spiffe://prod.example/reporting");
    let asked = ca.asked();
    assert_eq!(asked[3].spki, asked[1].spki, "the same key is asked for again");
    assert!(
        !fs::read_dir(scratch.path())
            .unwrap()
            .any(|e| { e.unwrap().file_name().to_string_lossy().contains("pending") })
    );
}

#[tokio::test]
async fn an_expired_identity_gives_way_to_another() {
    let (_ca, scratch, options) = at_noon().await;
    enroll(&options).await.unwrap();
    let clock = noon_clock();
    clock.advance(Duration::from_secs(7200));
    let ca = Ca::start(clock.clone()).await;
    ca.behave(|ca, asked| Some(ok(&ca.answer("spiffe://prod.example/reporting", &asked.spki))));
    let identity = enroll(&EnrollOptions::new(ca.invitation(2), scratch.path()).clock(clock)).await.unwrap();
    assert_eq!(identity.spiffe_id().as_str(), "spiffe://prod.example/reporting");
}

#[tokio::test]
async fn an_invitation_of_another_ca_does_not_replace_a_valid_identity() {
    let (_ca, scratch, options) = at_noon().await;
    enroll(&options).await.unwrap();
    let other = Ca::start(noon_clock()).await;
    let options = EnrollOptions::new(other.invitation(1), scratch.path()).clock(noon_clock());
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("valid identity of another CA"), "{error}");
    assert!(error.hint().unwrap().contains("--replace"));
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn an_expired_identity_is_replaced() {
    let (_ca, scratch, options) = at_noon().await;
    enroll(&options).await.unwrap();
    let clock = noon_clock();
    clock.advance(Duration::from_secs(7200));
    let ca = Ca::start(clock.clone()).await;
    let options = EnrollOptions::new(ca.invitation(2), scratch.path()).clock(clock);
    assert!(matches!(enroll_or_keep(&options).await.unwrap(), Enrolled::Now(_)));
}

#[tokio::test]
async fn a_server_with_another_root_is_refused_before_anything_is_sent() {
    let (ca, scratch, _) = at_noon().await;
    let mut invitation = ca.invitation(1);
    invitation.root_sha256 = [9; 32];
    let options = EnrollOptions::new(invitation, scratch.path()).clock(noon_clock());
    let error = enroll(&options).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Refused, 1));
    assert!(
        error.to_string().contains("this server is not the CA of the invitation: pinned root 0909"),
        "{error}"
    );
    assert!(ca.asked().is_empty());
}

#[tokio::test]
async fn a_workload_certificate_answering_as_the_ca_is_refused() {
    // Invariant 11: the chain is genuine and leads to the pinned root; only the name is a workload's.
    let ca = Ca::start_as(noon_clock(), PAYMENTS).await;
    let scratch = tempfile::tempdir().unwrap();
    let options = EnrollOptions::new(ca.invitation(1), scratch.path()).clock(noon_clock());
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    assert!(error.to_string().contains("not the CA of the invitation"), "{error}");
    assert!(ca.asked().is_empty());
}

/// What an answer with something changed is refused with.
async fn refusal_of(
    change: impl Fn(&Ca, &[u8], CertificateResponse) -> CertificateResponse + Send + Sync + 'static,
) -> String {
    let (ca, scratch, options) = at_noon().await;
    ca.behave(move |ca, asked| Some(ok(&change(ca, &asked.spki, ca.answer(PAYMENTS, &asked.spki)))));
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    assert!(!scratch.path().join("current").exists(), "nothing is published: {error}");
    error.to_string()
}

#[tokio::test]
async fn an_answer_for_another_key_is_refused() {
    let other = countersign_testkit::csr::p256();
    let text = refusal_of(move |ca, _, _| {
        ca.answer(PAYMENTS, &rcgen::PublicKeyData::subject_public_key_info(&other))
    })
    .await;
    assert!(text.contains("expected our key"), "{text}");
}

#[tokio::test]
async fn an_answer_without_the_pinned_root_is_refused() {
    // Invariant 11: an answer cannot add a root.
    let text =
        refusal_of(|ca, _, answer| CertificateResponse { bundle: pem(&ca.another_root()), ..answer }).await;
    assert!(text.contains("none of its 1 roots is the pinned root"), "{text}");
}

#[tokio::test]
async fn an_answer_under_a_foreign_root_is_refused() {
    let foreign = countersign_testkit::Authority::root("prod.example").issuer();
    let text = refusal_of(move |_, _, answer| {
        let forged = foreign.leaf(PAYMENTS).forge();
        CertificateResponse { chain: forged.chain_pem(), ..answer }
    })
    .await;
    assert!(text.contains("not issued by any root"), "{text}");
}

#[tokio::test]
async fn an_answer_of_another_trust_domain_is_refused() {
    let text = refusal_of(|ca, spki, _| ca.answer("spiffe://other.example/payments", spki)).await;
    assert!(text.contains("other.example"), "{text}");
}

#[tokio::test]
async fn an_answer_that_names_the_ca_itself_is_refused() {
    // Invariant 11.
    let text = refusal_of(|ca, spki, _| ca.answer(CA_ID, spki)).await;
    assert!(text.contains("reserved for the CA"), "{text}");
}

#[tokio::test]
async fn an_answer_that_is_no_certificate_is_refused() {
    let text = refusal_of(|_, _, answer| CertificateResponse { chain: "nothing".into(), ..answer }).await;
    assert!(text.contains("no certificate found"), "{text}");
}

#[tokio::test]
async fn other_roots_in_the_answer_are_left_out() {
    // Invariant 11.
    let (ca, scratch, options) = at_noon().await;
    ca.behave(|ca, asked| {
        let honest = ca.answer(PAYMENTS, &asked.spki);
        let bundle = pem(&ca.another_root()) + &honest.bundle;
        Some(ok(&CertificateResponse { bundle, ..honest }))
    });
    enroll(&options).await.unwrap();
    let bundle = fs::read_to_string(scratch.path().join("bundle.pem")).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1);
}

#[tokio::test]
async fn a_window_that_cannot_be_is_replaced_by_the_usual_one() {
    let (ca, _scratch, options) = at_noon().await;
    ca.behave(|ca, asked| {
        let honest = ca.answer(PAYMENTS, &asked.spki);
        Some(ok(&CertificateResponse { renew_before: "2030-01-01T00:00:00Z".into(), ..honest }))
    });
    let identity = enroll(&options).await.unwrap();
    assert!(identity.validity().contains(identity.window().before));
    assert!(identity.window().after < identity.window().before);
}

#[tokio::test]
async fn a_wrong_clock_here_is_told_by_how_much() {
    let ca = Ca::start(noon_clock()).await;
    let (scratch, clock) = (tempfile::tempdir().unwrap(), noon_clock());
    clock.advance(Duration::from_secs(2 * 3600));
    let options = EnrollOptions::new(ca.invitation(1), scratch.path()).clock(clock);
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    assert!(error.to_string().contains("out of its time by 1h"), "{error}");
    assert!(error.hint().unwrap().contains("compare the clocks"));
}

#[tokio::test]
async fn a_refusal_carries_detail_and_hint_of_the_problem() {
    let (ca, scratch, options) = at_noon().await;
    ca.behave(|_, _| Some(problem(403, ProblemCode::InvitationExpired)));
    let error = enroll(&options).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::Refused, Some("change the test")));
    assert!(error.to_string().contains("told to answer invitation_expired (invitation_expired)"), "{error}");
    let record = Dir::at(scratch.path()).record().unwrap().last_attempt.unwrap();
    assert_eq!(record.outcome, "refused");
}

#[tokio::test]
async fn a_busy_ca_means_later() {
    let (ca, _scratch, options) = at_noon().await;
    ca.behave(|_, _| Some(problem(503, ProblemCode::Overloaded)));
    let error = enroll(&options).await.unwrap_err();
    assert_eq!((error.exit_code(), error.retry_after()), (3, Some(Duration::from_secs(2))));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    // Invariant 10.
    let (ca, _scratch, options) = at_noon().await;
    ca.behave(|_, _| Some((200, " ".repeat(300 * 1024))));
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_ca_that_is_away_is_unreachable_and_the_next_try_uses_the_same_key() {
    let (ca, scratch, _) = at_noon().await;
    let mut away = ca.invitation(1);
    away.url = "https://127.0.0.1:1".into();
    let options = EnrollOptions::new(away, scratch.path()).clock(noon_clock());
    let error = enroll(&options).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Unreachable, 3));
    let pending = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
    let pending = pending.into_iter().find(|path| path.extension().is_some_and(|end| end == "key")).unwrap();
    let key = public_key_of(&pending);
    enroll(&options.url(ca.url().parse().unwrap())).await.unwrap();
    assert_eq!(public_key_of(&scratch.path().join("svid.key")), key);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_within_ten_seconds() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ca, scratch, _) = at_noon().await;
    let url = format!("https://{}", silent.local_addr().unwrap());
    let options =
        EnrollOptions::new(ca.invitation(1), scratch.path()).clock(noon_clock()).url(url.parse().unwrap());
    let start = Instant::now();
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_apart_from_one_that_is_away() {
    use tokio::io::AsyncWriteExt as _;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let (ca, scratch, _) = at_noon().await;
    let options =
        EnrollOptions::new(ca.invitation(1), scratch.path()).clock(noon_clock()).url(url.parse().unwrap());
    let error = enroll(&options).await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    assert!(error.to_string().contains("does not speak TLS as a CA does"), "{error}");
}

#[tokio::test]
async fn two_enrollments_at_once_in_one_directory_do_not_mix() {
    let (ca, scratch, options) = at_noon().await;
    let dir = scratch.path().to_owned();
    let during = Arc::new(std::sync::Mutex::new(None));
    let seen = Arc::clone(&during);
    ca.behave(move |_, _| {
        let lock = fs::File::open(dir.join(".lock")).unwrap();
        *seen.lock().unwrap() = Some(lock.try_lock().is_err());
        None
    });
    enroll(&options).await.unwrap();
    assert_eq!(*during.lock().unwrap(), Some(true), "the directory is held while the CA is asked");
}

#[test]
fn the_futures_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let scratch = tempfile::tempdir().unwrap();
    let invitation = countersign_api::Invitation {
        url: "https://ca".into(),
        trust_domain: "td".into(),
        root_sha256: [0; 32],
        secret: [0; 32],
    };
    is_send(&enroll(&EnrollOptions::new(invitation, scratch.path())));
    is_send(&renew(&Dir::at(scratch.path()), &Default::default()));
}
