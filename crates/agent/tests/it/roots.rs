//! The CA changes its roots: machines follow by the roots documents and by nothing else, however long they were off.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_agent::{
    AgentError, Dir, Endpoint, EnrollOptions, ErrorKind, Identity, RenewOptions, enroll, recover, renew,
};
use countersign_identity::{Clock, ManualClock, hex};
use countersign_testkit::noon_clock;
use rcgen::{KeyPair, SigningKey as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::ca::{CA_ID, Ca, TD};
use crate::socket::{Machine, own};
use crate::workloads::raw;

const LIFE: Duration = Duration::from_secs(3600);

/// Who signs a document: a certificate and its key.
type Signer<'a> = (&'a CertificateDer<'static>, &'a KeyPair);

fn signed(payload: &Value, signers: &[Signer<'_>]) -> Value {
    let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
    let sign = |(certificate, key): &Signer<'_>| {
        let kid = hex::encode(&Sha256::digest(certificate));
        let header = json!({ "alg": "ES256", "kid": kid, "typ": "countersign-roots+jws" });
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let signature = raw(&key.sign(format!("{protected}.{payload}").as_bytes()).unwrap());
        json!({ "protected": protected, "signature": URL_SAFE_NO_PAD.encode(signature) })
    };
    json!({ "payload": payload, "signatures": signers.iter().map(sign).collect::<Vec<_>>() })
}

fn payload(version: u64, roots: &[&Ca], previous: Option<&Value>) -> Value {
    let digest = |document: &Value| {
        let payload = URL_SAFE_NO_PAD.decode(document["payload"].as_str().unwrap()).unwrap();
        hex::encode(&Sha256::digest(payload))
    };
    json!({
        "trust_domain": TD,
        "version": version,
        "roots": roots.iter().map(|ca| STANDARD.encode(ca.root())).collect::<Vec<_>>(),
        "previous": previous.map(digest),
    })
}

impl Ca {
    fn as_root(&self) -> Signer<'_> {
        (self.root(), self.root_key())
    }

    fn as_issuer(&self) -> Signer<'_> {
        (self.issuer(), self.issuer_key())
    }

    pub(crate) fn roots_document(
        &self,
        version: u64,
        roots: &[&Self],
        previous: Option<&Value>,
        signers: &[&Self],
    ) -> Value {
        let signers: Vec<_> = signers.iter().map(|ca| ca.as_root()).collect();
        signed(&payload(version, roots, previous), &signers)
    }

    fn publishes(&self, documents: &[Value], roots: &[&Self]) {
        *self.documents.lock().unwrap() = documents.to_vec();
        *self.bundled.lock().unwrap() = roots.iter().map(|ca| ca.root().clone()).collect();
    }
}

/// A CA through two changes of its root, and a machine that enrolled before both. In the end the second root is gone too.
struct Rotated {
    clock: Arc<ManualClock>,
    first: Arc<Ca>,
    second: Arc<Ca>,
    third: Arc<Ca>,
    documents: [Value; 3],
    scratch: TempDir,
}

impl Rotated {
    /// The machine was off for so long since it enrolled.
    async fn after(off: Duration) -> Self {
        let clock = noon_clock();
        let first = Ca::start(clock.clone()).await;
        let scratch = tempfile::tempdir().unwrap();
        let options = EnrollOptions::new(first.invitation(1), scratch.path()).clock(clock.clone());
        enroll(&options).await.unwrap();
        clock.advance(off);
        let start = |before| Ca::start_after(before, Arc::clone(&clock) as Arc<dyn Clock>, CA_ID, LIFE);
        let second = start(&[&*first][..]).await;
        let third = Ca::start_after(&[&first, &second], clock.clone(), CA_ID, LIFE).await;
        let one = first.roots_document(1, &[&first], None, &[&first]);
        let two = first.roots_document(2, &[&first, &second], Some(&one), &[&first, &second]);
        let three = first.roots_document(3, &[&third], Some(&two), &[&second, &third]);
        second.publishes(&[one.clone(), two.clone()], &[&first, &second]);
        third.publishes(&[one.clone(), two.clone(), three.clone()], &[&third]);
        Self { clock, first, second, third, documents: [one, two, three], scratch }
    }

    fn dir(&self) -> Dir {
        Dir::at(self.scratch.path())
    }

    fn at(&self, ca: &Ca) -> RenewOptions {
        let address: Endpoint = ca.url().parse().unwrap();
        RenewOptions::default().addresses(&[address]).clock(self.clock.clone())
    }

    async fn renew_at(&self, ca: &Ca) -> Result<Identity, AgentError> {
        renew(&self.dir(), &self.at(ca)).await
    }

    fn bundle(&self) -> Vec<CertificateDer<'static>> {
        bundle_of(self.scratch.path())
    }
}

fn bundle_of(dir: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(dir.join("bundle.pem")).unwrap().collect::<Result<_, _>>().unwrap()
}

fn roots_of(cas: &[&Ca]) -> Vec<CertificateDer<'static>> {
    cas.iter().map(|ca| ca.root().clone()).collect()
}

#[tokio::test]
async fn a_machine_follows_its_ca_from_root_to_root_and_never_back() {
    // Invariant 9.
    let fleet = Rotated::after(Duration::ZERO).await;
    fleet.renew_at(&fleet.second).await.unwrap();
    assert_eq!(fleet.bundle(), roots_of(&[&fleet.first, &fleet.second]), "services hear of the new root");
    fleet.renew_at(&fleet.third).await.unwrap();
    assert_eq!(fleet.bundle(), roots_of(&[&fleet.third]));
    let shown = [&fleet.second, &fleet.third].map(|ca| ca.asked_for_roots());
    assert_eq!(shown, [[None], [None]], "asked once, and as nobody, before the root was known");
    for former in [&fleet.first, &fleet.second] {
        let asked = former.asked().len();
        let error = fleet.renew_at(former).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("version 3 was seen before"), "{error}");
        assert_eq!(former.asked().len(), asked);
    }
    fleet.renew_at(&fleet.third).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_was_off_over_two_changes_of_the_root_comes_back_by_itself() {
    let fleet = Rotated::after(2 * LIFE).await;
    let error = fleet.renew_at(&fleet.third).await.unwrap_err();
    assert_eq!(error.code(), Some(countersign_api::ProblemCode::CertificateExpired), "{error}");
    recover(&fleet.dir(), &fleet.at(&fleet.third)).await.unwrap();
    assert_eq!(fleet.bundle(), roots_of(&[&fleet.third]));
    let identity = fleet.dir().identity().unwrap().unwrap();
    let believed: [[u8; 32]; 1] = [Sha256::digest(fleet.third.root()).into()];
    assert_eq!(fleet.dir().roots(&identity).unwrap(), believed);
    let kept: Value =
        serde_json::from_slice(&fs::read(fleet.scratch.path().join("roots.json")).unwrap()).unwrap();
    assert_eq!(kept["documents"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn roots_that_no_root_has_signed_for_are_refused() {
    // Invariant 11: a stolen issuer cannot add a root.
    let fleet = Rotated::after(Duration::ZERO).await;
    let (first, second) = (&fleet.first, &fleet.second);
    let [one, two, three] = &fleet.documents;
    let next = payload(2, &[first, second], Some(one));
    let foreign = json!({ "trust_domain": "other.example", "version": 2, "roots": next["roots"], "previous": next["previous"] });
    let both = [first.as_root(), second.as_root()];
    let forged = [
        (vec![one.clone(), signed(&next, &[first.as_issuer(), second.as_root()])], "signed by no root"),
        (vec![one.clone(), signed(&next, &[second.as_root()])], "signed by no root"),
        (vec![one.clone(), signed(&next, &[first.as_root()])], "has a new root that did not sign it"),
        (vec![one.clone(), signed(&next, &[])], "signed by no root"),
        (vec![one.clone(), signed(&foreign, &both)], "is of trust domain other.example"),
        (vec![one.clone(), three.clone()], "version 3 follows version 1"),
        (
            vec![one.clone(), signed(&payload(2, &[first, second], Some(two)), &both)],
            "does not follow the document before it",
        ),
        (vec![one.clone()], "do not lead to the root it shows"),
        (vec![signed(&payload(1, &[second], None), &[second.as_root()])], "version 1 is not the one seen"),
        (Vec::new(), "signed by a root held"),
    ];
    let before = fleet.dir().identity().unwrap().unwrap();
    for (documents, why) in forged {
        second.publishes(&documents, &[first, second]);
        let error = fleet.renew_at(second).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert!(error.to_string().contains("not the CA of the invitation"), "{error}");
        assert_eq!(fleet.dir().identity().unwrap().unwrap(), before);
    }
    assert!(second.asked().is_empty(), "it heard of no request");
    assert!(second.asked_for_roots().iter().all(Option::is_none), "and saw no certificate");
    second.publishes(&[one.clone(), two.clone()], &[first, second]);
    fleet.renew_at(second).await.unwrap();
}

#[tokio::test]
async fn documents_that_go_back_or_contradict_what_was_walked_are_refused_after_a_restart_too() {
    // Invariant 9.
    let fleet = Rotated::after(Duration::ZERO).await;
    let [one, two, _] = &fleet.documents;
    fleet.renew_at(&fleet.second).await.unwrap();
    let other = fleet.first.roots_document(
        2,
        &[&fleet.first, &fleet.third],
        Some(one),
        &[&fleet.first, &fleet.third],
    );
    let gap = fleet.first.roots_document(4, &[&fleet.third], Some(two), &[&fleet.second, &fleet.third]);
    let replayed = [
        (vec![one.clone()], "end with version 1, version 2 was seen before"),
        (vec![one.clone(), other], "version 2 is not the one seen before"),
        (vec![gap], "version 4 follows version 2"),
    ];
    for (documents, why) in replayed {
        fleet.third.publishes(&documents, &[&fleet.third]);
        let error = fleet.renew_at(&fleet.third).await.unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_tells_the_last_document_alone_brings_no_retired_root_back() {
    // Invariant 9: what is on disk leads from the pin on, whoever told it.
    let fleet = Rotated::after(Duration::ZERO).await;
    let [.., three] = &fleet.documents;
    fleet.renew_at(&fleet.second).await.unwrap();
    fleet.third.publishes(std::slice::from_ref(three), &[&fleet.third]);
    fleet.renew_at(&fleet.third).await.unwrap();
    assert_eq!(fleet.renew_at(&fleet.first).await.unwrap_err().kind(), ErrorKind::Refused);
    fleet.renew_at(&fleet.third).await.unwrap();
    assert_eq!(fleet.bundle(), roots_of(&[&fleet.third]));
}

#[tokio::test]
async fn an_answer_brings_new_roots_only_by_their_documents() {
    // Invariant 11.
    let fleet = Rotated::after(Duration::ZERO).await;
    let [one, two, _] = &fleet.documents;
    fleet.first.publishes(std::slice::from_ref(one), &[&fleet.first, &fleet.second]);
    fleet.renew_at(&fleet.first).await.unwrap();
    assert_eq!(fleet.bundle(), roots_of(&[&fleet.first]), "a bundle adds nothing");
    fleet.first.publishes(&[one.clone(), two.clone()], &[&fleet.first, &fleet.second]);
    fleet.renew_at(&fleet.first).await.unwrap();
    assert_eq!(fleet.bundle(), roots_of(&[&fleet.first, &fleet.second]), "ahead of their use");
    fleet.renew_at(&fleet.second).await.unwrap();
    assert!(fleet.second.asked_for_roots().is_empty(), "it was known already");
}

#[tokio::test]
async fn an_enrollment_believes_its_invitation_alone() {
    let fleet = Rotated::after(Duration::ZERO).await;
    let mut invitation = fleet.first.invitation(2);
    invitation.url = fleet.second.url();
    let scratch = tempfile::tempdir().unwrap();
    let options = EnrollOptions::new(invitation, scratch.path()).clock(fleet.clock.clone());
    let error = enroll(&options).await.unwrap_err();
    assert!(error.to_string().contains("not the CA of the invitation"), "{error}");
    assert!(fleet.second.asked().is_empty() && fleet.second.asked_for_roots().is_empty());
    // One with the new pin needs none of the past.
    let options = EnrollOptions::new(fleet.second.invitation(2), scratch.path()).clock(fleet.clock.clone());
    enroll(&options).await.unwrap();
    assert_eq!(bundle_of(scratch.path()), roots_of(&[&fleet.first, &fleet.second]));
}

#[tokio::test]
async fn damaged_documents_are_asked_for_again() {
    let fleet = Rotated::after(Duration::ZERO).await;
    fleet.renew_at(&fleet.second).await.unwrap();
    fs::write(fleet.scratch.path().join("roots.json"), "{").unwrap();
    fleet.renew_at(&fleet.third).await.unwrap();
    assert_eq!(fleet.bundle(), roots_of(&[&fleet.third]));
}

#[tokio::test]
async fn processes_hear_of_a_new_root_before_it_is_used() {
    let mut machine = Machine::start(&own()).await;
    let before = Arc::clone(&machine.ca);
    let clock: Arc<dyn Clock> = Arc::new(countersign_verifier::SystemClock);
    let next = Ca::start(clock).await;
    let one = before.roots_document(1, &[&before], None, &[&before]);
    let two = before.roots_document(2, &[&before, &next], Some(&one), &[&before, &next]);
    before.publishes(&[one, two], &[&before, &next]);
    machine.restart(&own()).await;
    let mut stream = machine.client().await.x509_bundles().await.unwrap();
    let expected = [before.root().to_vec(), next.root().to_vec()].concat();
    loop {
        let bundles = stream.message().await.unwrap().unwrap().bundles;
        if bundles["spiffe://prod.example"] == expected {
            break;
        }
    }
    assert_eq!(before.issued(), 1, "nothing was renewed for it");
}
