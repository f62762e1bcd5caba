//! A signing key that signs whatever it is asked to.

use std::fmt;
use std::time::Duration;

use countersign_identity::{TrustBundle, TrustDomain, hex};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::leaf::{LeafForge, ia5};
use crate::noon::{noon, to_rcgen};

const DAY: Duration = Duration::from_secs(86_400);

/// A root, or an issuer below one.
pub struct Authority {
    trust_domain: String,
    params: CertificateParams,
    key: KeyPair,
    /// Its own certificate first, its root last.
    chain: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// A root of this trust domain, valid from a day before noon for ten years.
    #[must_use]
    pub fn root(trust_domain: &str) -> Self {
        Self::root_with(trust_domain, |_| {})
    }

    /// A root with something about it changed.
    ///
    /// # Panics
    /// When rcgen cannot write it.
    #[must_use]
    pub fn root_with(trust_domain: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = crate::csr::p256();
        let mut params = signing_params(trust_domain, "root", &key);
        params.not_after = to_rcgen(noon() + 3650 * DAY);
        change(&mut params);
        let own = params.self_signed(&key).expect("a root rcgen can write").der().clone();
        Self { trust_domain: trust_domain.to_owned(), params, key, chain: vec![own] }
    }

    /// An issuer below this authority, valid from a day before noon for ninety days.
    #[must_use]
    pub fn issuer(&self) -> Self {
        self.issuer_with(|_| {})
    }

    /// An issuer with something about it changed.
    ///
    /// # Panics
    /// When rcgen cannot write it.
    #[must_use]
    pub fn issuer_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = crate::csr::p256();
        let mut params = signing_params(&self.trust_domain, "issuer", &key);
        params.not_after = to_rcgen(noon() + 90 * DAY);
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let chain = self.above(self.sign(&params, &key));
        Self { trust_domain: self.trust_domain.clone(), params, key, chain }
    }

    /// Another root with this one's subject name, and a key of its own.
    #[must_use]
    pub fn impostor(&self) -> Self {
        Self::root_with(&self.trust_domain, |params| {
            params.distinguished_name = self.params.distinguished_name.clone();
        })
    }

    /// Begins a leaf: a correct X.509 SVID of an hour, begun a minute before noon, under whatever name is given.
    #[must_use]
    pub fn leaf(&self, uri: &str) -> LeafForge<'_> {
        LeafForge::new(self, uri)
    }

    /// A certificate of this authority for the name and key of another one, whoever certified that before.
    #[must_use]
    pub fn cross_sign(&self, other: &Self) -> CertificateDer<'static> {
        let mut params = other.params.clone();
        params.use_authority_key_identifier_extension = true;
        self.sign(&params, &other.key)
    }

    /// Its own certificate.
    ///
    /// # Panics
    /// Never: there always is one.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.chain.first().expect("its own certificate")
    }

    /// The bundle of the root above it.
    ///
    /// # Panics
    /// When it was made for a name that is no trust domain.
    #[must_use]
    pub fn bundle(&self) -> TrustBundle {
        let domain: TrustDomain = self.trust_domain.parse().expect("a trust domain");
        let root = self.chain.last().expect("a root").to_vec();
        TrustBundle::new(domain, vec![root])
    }

    /// Its key pair.
    #[must_use]
    pub const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Its subjectKeyIdentifier.
    #[must_use]
    pub fn key_id(&self) -> Vec<u8> {
        self.params.key_identifier(&self.key)
    }

    pub(crate) fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    pub(crate) fn sign(&self, params: &CertificateParams, subject: &KeyPair) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(subject, &issuer).expect("a certificate rcgen can write").der().clone()
    }

    pub(crate) fn above(&self, signed: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        std::iter::once(signed).chain(self.chain.iter().cloned()).collect()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

fn signing_params(trust_domain: &str, role: &str, key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // A distinct subject for each key, as STANDARDS §1.10 asks of honest authorities.
    let mark = hex::encode(key.public_key_raw().get(1..5).expect("a public key"));
    params.distinguished_name.push(DnType::CommonName, format!("Forged {role} {mark} of {trust_domain}"));
    params.not_before = to_rcgen(noon() - DAY);
    params.serial_number =
        Some(SerialNumber::from(key.public_key_raw().get(1..17).expect("a public key").to_vec()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(ia5(&format!("spiffe://{trust_domain}")))];
    params
}
