//! The world the attacks happen in: one trust domain, its root and issuer, and a verifier that believes it.

use std::sync::Arc;

use countersign_identity::{ManualClock, TrustBundle};
use countersign_testkit::{Authority, Forged, noon_clock};
use countersign_verifier::{
    ClientBuilder, ClientSettings, OwnIdentity, PeerRule, Refusal, ServerBuilder, ServerSettings,
    SvidVerifier, TrustStore, Usage, VerifiedPeer, provider,
};

pub(crate) const PAYMENTS: &str = "spiffe://prod.example/payments";
pub(crate) const LEDGER: &str = "spiffe://prod.example/ledger";

pub(crate) struct World {
    pub(crate) root: Authority,
    pub(crate) issuer: Authority,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) trust: Arc<TrustStore>,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = Authority::root("prod.example");
        let issuer = root.issuer();
        let trust = trust([root.bundle()]);
        Self { root, issuer, clock: noon_clock(), trust }
    }

    pub(crate) fn verifier(&self) -> SvidVerifier {
        SvidVerifier::new(provider(), Arc::clone(&self.trust), Arc::clone(&self.clock) as _)
    }

    pub(crate) fn verify(&self, forged: &Forged) -> Result<VerifiedPeer, Refusal> {
        let verdicts =
            [Usage::Client, Usage::Server].map(|usage| self.verifier().verify(&forged.chain(), usage));
        let [as_client, as_server] = verdicts;
        assert_eq!(as_client.is_ok(), as_server.is_ok(), "an SVID is for both sides");
        as_client
    }

    pub(crate) fn refuse(&self, forged: &Forged) -> Refusal {
        self.verify(forged).expect_err("this certificate must be refused")
    }

    pub(crate) fn server(&self, rule: PeerRule) -> ServerSettings {
        let ledger = own(&self.issuer.leaf(LEDGER).forge());
        ServerBuilder::new(ledger, Arc::clone(&self.trust)).admit(rule).clock(Arc::clone(&self.clock) as _)
    }

    pub(crate) fn client(&self, id: &str) -> ClientSettings {
        let rule = PeerRule::one_of([LEDGER.parse().expect("an ID")]);
        let mine = own(&self.issuer.leaf(id).forge());
        ClientBuilder::new(Arc::clone(&self.trust))
            .expect(rule)
            .identity(mine)
            .clock(Arc::clone(&self.clock) as _)
    }
}

pub(crate) fn trust(bundles: impl IntoIterator<Item = TrustBundle>) -> Arc<TrustStore> {
    Arc::new(TrustStore::new(bundles).expect("bundles of good roots"))
}

pub(crate) fn own(forged: &Forged) -> Arc<OwnIdentity> {
    OwnIdentity::new(forged.chain(), forged.key_der()).expect("an identity")
}

pub(crate) fn only(id: &str) -> PeerRule {
    PeerRule::one_of([id.parse().expect("an ID")])
}
