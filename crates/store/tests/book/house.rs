//! A whole certificate authority around the book under test: intents come from the corridor, as in real life.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, Timestamp, TrustDomain, Validity};
use countersign_issuance::{
    BoxFuture, House, IssuerCertificate, Machines, Prepared, Profile, ProvenKey, Registration, ReservedNames,
    Signer, SignerError, SigningAlgorithm, Tokens, approve, approve_own, authority,
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};
use sha2::{Digest, Sha256};

/// The moment at which every test begins: half an hour into a partition.
pub(crate) fn noon() -> Timestamp {
    "2026-11-23T12:30:00Z".parse().unwrap()
}

pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A number no one else in this process has.
pub(crate) fn draw() -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    DRAWN.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn serial() -> Serial {
    serial_from(draw())
}

pub(crate) fn serial_from(number: u64) -> Serial {
    let mut octets = [0x11; 18];
    octets[10..].copy_from_slice(&number.to_be_bytes());
    Serial::from_random(octets)
}

pub(crate) fn lineage_from(number: u64) -> Lineage {
    let mut octets = [0x22; 16];
    octets[8..].copy_from_slice(&number.to_be_bytes());
    Lineage::from_random(octets)
}

pub(crate) fn machine_from(number: u64) -> MachineId {
    MachineId::from_random(number.to_be_bytes())
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

pub(crate) fn key_hash(key: &KeyPair) -> KeyHash {
    KeyHash::from_bytes(Sha256::digest(key.subject_public_key_info()).into())
}

pub(crate) fn registration(path: &str) -> Registration {
    Registration {
        id: format!("spiffe://prod.example{path}").parse().unwrap(),
        profile: "workload".into(),
        dns: vec![],
        ip: vec![],
        until: None,
        owner: None,
        machines: Machines::One,
        tokens: Tokens::Bound,
        token_keys: Vec::new(),
        shared: false,
        parent: None,
        selectors: vec![],
        created: noon(),
    }
}

pub(crate) struct Pen {
    key: KeyPair,
    spki: Vec<u8>,
}

impl Pen {
    fn new() -> Self {
        let key = key();
        let spki = key.subject_public_key_info();
        Self { key, spki }
    }
}

impl Signer for Pen {
    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::EcdsaP256Sha256
    }

    fn sign<'a>(&'a self, tbs: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>> {
        Box::pin(
            async move { self.key.sign(tbs).map_err(|e| SignerError::Unavailable { why: e.to_string() }) },
        )
    }
}

pub(crate) struct Authority {
    trust_domain: TrustDomain,
    issuer: IssuerCertificate,
    reserved: ReservedNames,
    profiles: Vec<Profile>,
    pub(crate) pen: Pen,
}

/// One authority for all tests.
pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let making = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(Authority::new())
        });
        making.join().unwrap()
    })
}

impl Authority {
    async fn new() -> Self {
        let trust_domain: TrustDomain = "prod.example".parse().unwrap();
        let (root_pen, pen) = (Pen::new(), Pen::new());
        let years = Validity::new(noon() - 24 * HOUR, noon() + 9000 * HOUR).unwrap();
        let root = authority::self_signed_root(&trust_domain, serial(), years, &root_pen).await.unwrap();
        let root = IssuerCertificate::parse(&root).unwrap();
        let issuer =
            authority::issuer_certificate(&trust_domain, serial(), years, &pen.spki, &root, &root_pen);
        let issuer = IssuerCertificate::parse(&issuer.await.unwrap()).unwrap();
        let profile = |name, life| Profile::parse(name, &format!("lifetime = \"{life}\"")).unwrap();
        let profiles = vec![profile("workload", "1h"), profile("gateway", "7d")];
        Self { trust_domain, issuer, reserved: ReservedNames::default(), profiles, pen }
    }

    fn house(&self) -> House<'_> {
        House {
            trust_domain: &self.trust_domain,
            issuer: &self.issuer,
            ca_keys: &[],
            reserved: &self.reserved,
        }
    }

    pub(crate) fn prepare(
        &self,
        registration: &Registration,
        key: &KeyPair,
        serial: Serial,
        lineage: Lineage,
        now: Timestamp,
    ) -> Prepared {
        let profile = self.profiles.iter().find(|p| p.name() == registration.profile).unwrap();
        let approved = approve(proven(key), registration, profile, &self.house(), now).unwrap();
        approved.prepare(serial, lineage, &self.house()).unwrap()
    }

    pub(crate) fn prepare_own(&self, key: &KeyPair, serial: Serial, now: Timestamp) -> Prepared {
        let approved = approve_own(proven(key), &self.reserved, HOUR, &self.house(), now).unwrap();
        approved.prepare(serial, lineage_from(draw()), &self.house()).unwrap()
    }
}

fn proven(key: &KeyPair) -> ProvenKey {
    let request = CertificateParams::default().serialize_request(key).unwrap();
    ProvenKey::from_csr(request.der(), &[webpki::aws_lc_rs::ECDSA_P256_SHA256]).unwrap()
}
