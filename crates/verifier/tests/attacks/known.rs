//! Chains that were judged before: the second time costs no signature, and everything that ends a verdict still does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use countersign_identity::Serial;
use countersign_testkit::{Authority, Forged, noon};
use countersign_verifier::{
    ChainFault, Inquiry, PeerFacts, Refusal, Revocation, Standing, SvidVerifier, Usage, provider,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use crate::snapshots::{Domain, judge};
use crate::world::{PAYMENTS, World};

/// Counts the signatures it verifies.
#[derive(Debug)]
struct Counted(&'static dyn SignatureVerificationAlgorithm, Arc<AtomicUsize>);

impl SignatureVerificationAlgorithm for Counted {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}

struct Counting {
    world: World,
    verifier: SvidVerifier,
    signatures: Arc<AtomicUsize>,
}

impl Counting {
    fn new(world: World) -> Self {
        let signatures = Arc::new(AtomicUsize::new(0));
        let genuine = provider().signature_verification_algorithms;
        let counted = genuine.all.iter().map(|one| {
            let counted: &'static Counted = Box::leak(Box::new(Counted(*one, Arc::clone(&signatures))));
            counted as &dyn SignatureVerificationAlgorithm
        });
        let all: &'static [&dyn SignatureVerificationAlgorithm] = Vec::leak(counted.collect());
        let algorithms = WebPkiSupportedAlgorithms { all, mapping: genuine.mapping };
        let counting =
            CryptoProvider { signature_verification_algorithms: algorithms, ..(*provider()).clone() };
        let trust = Arc::clone(&world.trust);
        let verifier = SvidVerifier::new(Arc::new(counting), trust, Arc::clone(&world.clock) as _);
        Self { world, verifier, signatures }
    }

    fn judge(&self, machine: &Forged) -> Result<(), Refusal> {
        self.verifier.verify(&machine.chain(), Usage::Client).map(drop)
    }

    /// How many signatures a good verdict costs.
    fn cost(&self, machine: &Forged) -> usize {
        let before = self.signatures.load(Ordering::Relaxed);
        self.judge(machine).expect("a good chain");
        self.signatures.load(Ordering::Relaxed) - before
    }

    fn after(&self, seconds: u64) {
        self.world.clock.set(noon() + Duration::from_secs(seconds));
    }
}

#[test]
fn a_chain_seen_before_costs_no_signature() {
    let counting = Counting::new(World::new());
    let machine = counting.world.issuer.leaf(PAYMENTS).forge();
    assert_eq!((counting.cost(&machine), counting.cost(&machine)), (2, 0));
    let other = counting.world.issuer.leaf(PAYMENTS).forge();
    assert_eq!((counting.cost(&other), counting.cost(&machine)), (2, 0));
    assert_eq!(counting.verifier.verify(&machine.chain(), Usage::Server).map(drop).ok(), Some(()));
    assert!(counting.signatures.load(Ordering::Relaxed) > 4, "the other side is another question");
}

#[test]
fn what_differs_in_an_octet_was_not_seen_before() {
    let counting = Counting::new(World::new());
    let machine = counting.world.issuer.leaf(PAYMENTS).forge();
    counting.cost(&machine);
    let chain = machine.chain();
    let mut changed = chain.clone();
    let mut leaf = changed[0].to_vec();
    *leaf.last_mut().expect("an octet") ^= 1;
    changed[0] = leaf.into();
    assert!(counting.verifier.verify(&changed, Usage::Client).is_err());
    assert!(counting.verifier.verify(&chain[..1], Usage::Client).is_err(), "without its issuer");
}

#[test]
fn a_verdict_ends_with_the_leaf() {
    let counting = Counting::new(World::new());
    let machine = counting.world.issuer.leaf(PAYMENTS).ends(noon() + Duration::from_secs(60)).forge();
    counting.cost(&machine);
    counting.after(60);
    assert_eq!(counting.cost(&machine), 0);
    counting.after(61);
    assert!(matches!(counting.judge(&machine), Err(Refusal::Expired { .. })));
}

#[test]
fn a_verdict_ends_with_the_issuer_and_with_the_root() {
    let soon = |params: &mut rcgen::CertificateParams| {
        params.not_after = time::OffsetDateTime::from_unix_timestamp(noon().unix() + 60).expect("a time");
    };
    let mut by_issuer = World::new();
    by_issuer.issuer = by_issuer.root.issuer_with(soon);
    let mut by_root = World::new();
    by_root.root = Authority::root_with("prod.example", soon);
    by_root.issuer = by_root.root.issuer();
    by_root.trust = crate::world::trust([by_root.root.bundle()]);
    for world in [by_issuer, by_root] {
        let counting = Counting::new(world);
        let machine = counting.world.issuer.leaf(PAYMENTS).forge();
        counting.cost(&machine);
        counting.after(60);
        assert_eq!(counting.cost(&machine), 0);
        counting.after(61);
        let refusal = counting.judge(&machine).expect_err("its authority has ended");
        assert!(matches!(refusal, Refusal::Chain { fault: ChainFault::Expired { .. }, .. }), "{refusal}");
    }
}

/// Revokes every authority, or every leaf, once it is told to.
#[derive(Debug, Default)]
struct Lists {
    leaves: AtomicBool,
    authorities: AtomicBool,
}

impl Revocation for Lists {
    fn is_revoked(&self, _: &PeerFacts) -> bool {
        self.leaves.load(Ordering::Relaxed)
    }

    fn standing(&self, certificate: &Inquiry<'_>) -> Standing {
        match certificate.is_authority() && self.authorities.load(Ordering::Relaxed) {
            true => Standing::Revoked,
            false => Standing::Good,
        }
    }
}

#[test]
fn a_verdict_ends_when_leaf_or_issuer_is_revoked() {
    let lists = Arc::new(Lists::default());
    let mut counting = Counting::new(World::new());
    counting.verifier = counting.verifier.clone().with_revocation(Arc::clone(&lists) as _);
    let machine = counting.world.issuer.leaf(PAYMENTS).forge();
    assert_eq!((counting.cost(&machine), counting.cost(&machine)), (2, 0));
    lists.leaves.store(true, Ordering::Relaxed);
    assert!(matches!(counting.judge(&machine), Err(Refusal::Revoked { .. })));
    lists.leaves.store(false, Ordering::Relaxed);
    lists.authorities.store(true, Ordering::Relaxed);
    let refusal = counting.judge(&machine).expect_err("its issuer is revoked");
    assert!(matches!(refusal, Refusal::Chain { fault: ChainFault::Revoked { .. }, .. }), "{refusal}");
    lists.authorities.store(false, Ordering::Relaxed);
    assert_eq!(counting.cost(&machine), 0, "and stands again when it is taken back");
}

#[test]
fn a_verdict_ends_with_the_trust_it_was_made_under() {
    let counting = Counting::new(World::new());
    let machine = counting.world.issuer.leaf(PAYMENTS).forge();
    counting.cost(&machine);
    let root = counting.world.root.bundle();
    counting.world.trust.replace(root.clone()).expect("a good root");
    assert_eq!(counting.cost(&machine), 2, "the same roots under another number are other trust");
    counting.world.trust.replace(Authority::root("prod.example").bundle()).expect("a good root");
    assert!(matches!(counting.judge(&machine), Err(Refusal::UnknownIssuer { .. })));
    counting.world.trust.replace(root).expect("a good root");
    assert_eq!(counting.cost(&machine), 2);
    counting.world.trust.remove(&"prod.example".parse().expect("a trust domain"));
    assert!(matches!(counting.judge(&machine), Err(Refusal::UnknownTrustDomain { .. })));
}

#[test]
fn a_snapshot_ends_what_a_bundle_let_in() {
    let domain = Domain::new();
    let mut world = World::new();
    world.trust = crate::world::trust([domain.root.bundle()]);
    let counting = Counting::new(world);
    let machine = domain.issuer.leaf(PAYMENTS).serial(&[5; 18]).forge();
    assert_eq!((counting.cost(&machine), counting.cost(&machine)), (2, 0));
    let serial: Serial = "05".repeat(18).parse().expect("a serial");
    let forged = domain.forge().revoke(&domain.issuer, &serial.to_string(), noon() + Duration::from_secs(60));
    let snapshot = judge(&domain.trusted(), &forged.forge()).expect("a good snapshot");
    counting.world.trust.adopt(&snapshot, countersign_verifier::HardLimit::default()).expect("good roots");
    assert!(matches!(counting.judge(&machine), Err(Refusal::Revoked { .. })));
}

#[test]
fn a_limit_of_depth_does_not_take_what_was_found_without_it() {
    let counting = Counting::new(World::new());
    let machine = counting.world.issuer.leaf(PAYMENTS).forge();
    counting.cost(&machine);
    let shallow = counting.verifier.clone().with_depth_limit(0);
    let refusal = shallow.verify(&machine.chain(), Usage::Client).expect_err("an issuer stands between");
    assert!(matches!(refusal, Refusal::Chain { fault: ChainFault::TooDeep { .. }, .. }), "{refusal}");
}
