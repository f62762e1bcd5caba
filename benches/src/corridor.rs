//! The corridor with all it needs around it, for programs that measure without a server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_identity::{Lineage, Serial, SpiffeId, Timestamp, TrustDomain, Validity};
use countersign_issuance::{
    BoxFuture, House, IssuerCertificate, Machines, Prepared, Profile, ProvenKey, Registration, ReservedNames,
    Signer, SignerError, SigningAlgorithm, Tokens, approve, authority,
};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

/// A trust domain with an issuer and one profile.
pub struct Corridor {
    trust_domain: TrustDomain,
    issuer: IssuerCertificate,
    profile: Profile,
    reserved: ReservedNames,
}

impl Corridor {
    /// Under an issuer that exists.
    ///
    /// # Errors
    /// If that is no issuer's certificate, or the profile is not one.
    pub fn under(issuer: &[u8], trust_domain: &str, profile: &str) -> Result<Self> {
        Ok(Self {
            trust_domain: trust_domain.parse()?,
            issuer: IssuerCertificate::parse(issuer)?,
            profile: Profile::parse("workload", profile)?,
            reserved: ReservedNames::default(),
        })
    }

    /// Under an issuer made for it, good for a year from `now`; with the pen that holds its key.
    ///
    /// # Errors
    /// If no key can be made.
    pub async fn new(trust_domain: &str, profile: &str, now: Timestamp) -> Result<(Self, Pen)> {
        let domain: TrustDomain = trust_domain.parse()?;
        let year = Duration::from_hours(24 * 365);
        let life = Validity::new(now - Duration::from_hours(1), now + year).context("no such year")?;
        let (above, pen) = (Pen::new()?, Pen::new()?);
        let root = authority::self_signed_root(&domain, Serial::from_random([1; 18]), life, &above).await?;
        let root = IssuerCertificate::parse(&root)?;
        let serial = Serial::from_random([2; 18]);
        let issuer =
            authority::issuer_certificate(&domain, serial, life, pen.public_key(), &root, &above).await?;
        Ok((Self::under(&issuer, trust_domain, profile)?, pen))
    }

    /// Who issues.
    #[must_use]
    pub const fn issuer(&self) -> &IssuerCertificate {
        &self.issuer
    }

    /// Approves a key under a registration and prepares its certificate.
    ///
    /// # Errors
    /// When policy or judge refuse it.
    pub fn prepare(
        &self,
        key: ProvenKey,
        registration: &Registration,
        serial: Serial,
        lineage: Lineage,
        now: Timestamp,
    ) -> Result<Prepared> {
        let house = House {
            trust_domain: &self.trust_domain,
            issuer: &self.issuer,
            ca_keys: &[],
            reserved: &self.reserved,
        };
        Ok(approve(key, registration, &self.profile, &house, now)?.prepare(serial, lineage, &house)?)
    }
}

/// A registration as `registrations import` makes it of nothing but a SPIFFE ID.
#[must_use]
pub fn registration(id: SpiffeId, created: Timestamp) -> Registration {
    Registration {
        id,
        profile: "workload".to_owned(),
        dns: Vec::new(),
        ip: Vec::new(),
        until: None,
        owner: None,
        machines: Machines::One,
        tokens: Tokens::Bound,
        token_keys: Vec::new(),
        shared: false,
        parent: None,
        selectors: Vec::new(),
        created,
    }
}

/// A P-256 key that signs.
pub struct Pen {
    key: KeyPair,
    spki: Vec<u8>,
}

impl Pen {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let spki = key.subject_public_key_info();
        Ok(Self { key, spki })
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
