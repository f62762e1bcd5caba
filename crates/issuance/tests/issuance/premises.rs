//! A trust domain to test in: keys, root, issuer, a book and a pen that remember what they were asked

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, Timestamp, TrustDomain, Validity};
use countersign_issuance::{
    Act, Approved, BoxFuture, Denial, House, Intent, Issued, IssuerCertificate, Ledger, LedgerError,
    Machines, Profile, ProvenKey, Registration, ReservedNames, Signer, SignerError, SigningAlgorithm, Source,
    Tokens, approve, authority,
};
use rcgen::{KeyPair, PublicKeyData, SigningKey};

use crate::requests::p256;

/// The moment at which the tests happen.
pub(crate) const NOW: Timestamp = Timestamp::from_unix(1_795_428_000);

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A pen over a key of rcgen's.
pub(crate) struct Pen {
    key: KeyPair,
    spki: Vec<u8>,
    algorithm: SigningAlgorithm,
    log: Log,
}

/// What was asked of book and pen, in order.
pub(crate) type Log = Arc<Mutex<Vec<Asked>>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Record(Vec<u8>),
    Sign(Vec<u8>),
    Keep(Serial, Vec<u8>),
}

impl Pen {
    pub(crate) fn new(key: KeyPair, algorithm: SigningAlgorithm, log: Log) -> Self {
        let spki = key.subject_public_key_info();
        Pen { key, spki, algorithm, log }
    }

    pub(crate) fn p256(log: &Log) -> Self {
        Pen::new(p256(), SigningAlgorithm::EcdsaP256Sha256, Arc::clone(log))
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }
}

impl Signer for Pen {
    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    fn sign<'a>(&'a self, tbs: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>> {
        self.log.lock().unwrap().push(Asked::Sign(tbs.to_vec()));
        let signature =
            self.key.sign(tbs).map_err(|error| SignerError::Unavailable { why: error.to_string() });
        Box::pin(async move { signature })
    }
}

/// A book that says yes, or the one thing it was told to say.
pub(crate) struct Book {
    pub(crate) answer: Result<(), LedgerError>,
    pub(crate) intents: Mutex<Vec<Intent>>,
    log: Log,
}

impl Ledger for Book {
    fn record(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.log.lock().unwrap().push(Asked::Record(intent.tbs().to_vec()));
        self.intents.lock().unwrap().push(intent);
        let answer = self.answer.clone();
        Box::pin(async move { answer })
    }

    fn keep(&self, serial: Serial, certificate: Arc<[u8]>) {
        self.log.lock().unwrap().push(Asked::Keep(serial, certificate.to_vec()));
    }
}

/// The whole place.
pub(crate) struct Premises {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) root: IssuerCertificate,
    pub(crate) issuer: IssuerCertificate,
    pub(crate) root_pen: Pen,
    pub(crate) pen: Pen,
    pub(crate) book: Book,
    pub(crate) log: Log,
    pub(crate) ca_keys: Vec<KeyHash>,
    pub(crate) reserved: ReservedNames,
}

impl Premises {
    /// A root of ten years, an issuer of ninety days, both begun an hour ago.
    pub(crate) async fn new() -> Self {
        let begun = NOW - Duration::from_secs(3_600);
        Premises::with_issuer(Validity::new(begun, begun + 90 * DAY).unwrap()).await
    }

    pub(crate) async fn with_issuer(validity: Validity) -> Self {
        let log = Log::default();
        Premises::with_pens(Pen::p256(&log), Pen::p256(&log), validity, log).await
    }

    pub(crate) async fn with_pens(root_pen: Pen, pen: Pen, validity: Validity, log: Log) -> Self {
        let trust_domain: TrustDomain = "prod.example".parse().unwrap();
        let root_validity = Validity::new(NOW - 2 * DAY, NOW + 3_650 * DAY).unwrap();
        let root =
            authority::self_signed_root(&trust_domain, serial(1), root_validity, &root_pen).await.unwrap();
        let root = IssuerCertificate::parse(&root).unwrap();
        let issuer = authority::issuer_certificate(
            &trust_domain,
            serial(2),
            validity,
            pen.public_key(),
            &root,
            &root_pen,
        )
        .await
        .unwrap();
        let issuer = IssuerCertificate::parse(&issuer).unwrap();
        log.lock().unwrap().clear();
        Premises {
            ca_keys: vec![root.key_hash(), issuer.key_hash()],
            book: Book { answer: Ok(()), intents: Mutex::default(), log: Arc::clone(&log) },
            reserved: ReservedNames {
                dns: vec!["ca.prod.example".parse().unwrap()],
                ip: vec!["10.255.0.1".parse().unwrap()],
            },
            trust_domain,
            root,
            issuer,
            root_pen,
            pen,
            log,
        }
    }

    pub(crate) fn house(&self) -> House<'_> {
        House {
            trust_domain: &self.trust_domain,
            issuer: &self.issuer,
            ca_keys: &self.ca_keys,
            reserved: &self.reserved,
        }
    }

    pub(crate) fn approve(&self, key: ProvenKey) -> Result<Approved, Denial> {
        approve(key, &registration(), &workload(), &self.house(), NOW)
    }

    /// The whole corridor.
    pub(crate) async fn issue(&self, key: ProvenKey) -> Issued {
        self.finish(self.approve(key).unwrap(), enroll()).await
    }

    pub(crate) async fn finish(&self, approved: Approved, act: Act) -> Issued {
        let prepared = approved.prepare(serial(3), lineage(), &self.house()).unwrap();
        let recorded = prepared.record(&self.book, act).await.unwrap();
        recorded.sign(&self.pen, &self.book).await.unwrap()
    }
}

pub(crate) fn serial(n: u8) -> Serial {
    Serial::from_random([n; 18])
}

pub(crate) fn lineage() -> Lineage {
    Lineage::from_random([0xab; 16])
}

pub(crate) fn enroll() -> Act {
    Act::Enroll { invitation: [9; 32], machine: MachineId::from_random([1; 8]), source: Source::default() }
}

pub(crate) fn workload() -> Profile {
    Profile::parse("workload", "lifetime = \"1h\"").unwrap()
}

pub(crate) fn registration() -> Registration {
    Registration {
        id: "spiffe://prod.example/payments/api".parse().unwrap(),
        profile: "workload".to_owned(),
        dns: vec!["pay.prod.example".parse().unwrap(), "api.prod.example".parse().unwrap()],
        ip: vec!["10.0.0.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        until: None,
        owner: Some("payments team".to_owned()),
        machines: Machines::One,
        tokens: Tokens::Bound,
        token_keys: Vec::new(),
        shared: false,
        parent: None,
        selectors: Vec::new(),
        created: NOW - DAY,
    }
}
