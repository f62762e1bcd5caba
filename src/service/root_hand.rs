//! Root acts: what only the root's key may do, with the operator's passphrase at hand (`init`, `issuer rotate`).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use countersign_identity::{Clock, Serial, Timestamp, TrustDomain, Validity};
use countersign_issuance::{
    BACKDATE, IssuerCertificate, IssuerError, Signer, SignerError,
    authority::{self, AuthorityError},
};
use zeroize::Zeroizing;

use super::pem;
use crate::{
    config::{StateDir, directory},
    signer::{Entropy, FileSigner, JwsError, KeyFile, KeyFileError, Strength, files, new_key},
};

/// Ten years: a root lives in the trust stores of machines that are hard to reach.
const ROOT_LIFE: Duration = Duration::from_secs(3652 * 24 * 60 * 60);
/// A stolen issuer is worth at most this long.
pub(crate) const ISSUER_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Twice an issuer's life, so that a rotation that comes late does not stop trust from being published.
const TRUST_SIGNER_LIFE: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// Why a root act failed.
#[derive(Debug, thiserror::Error)]
pub enum RootActError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A pen.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The certificate was refused.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate on disk.
    #[error("{path}: {source}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: IssuerError,
    },
    /// A file that is no certificate.
    #[error("{path} is no certificate: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// A certificate file that is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    /// The roots document.
    #[error(transparent)]
    Roots(#[from] JwsError),
    /// The file system.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The root ends before what it should sign.
    #[error("the root ends on {0}, before a new issuer would: rotate the root first")]
    RootEnding(Timestamp),
}

impl RootActError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// The root's certificate and its key, open for a moment.
pub(super) struct RootHand<'a> {
    trust_domain: &'a TrustDomain,
    certificate: IssuerCertificate,
    signer: FileSigner,
    entropy: &'a Entropy,
    clock: &'a dyn Clock,
}

impl<'a> RootHand<'a> {
    /// Makes a new root and leaves certificate and encrypted key in `state`.
    ///
    /// # Errors
    /// When the files cannot be written or no key can be made.
    pub(super) async fn create(
        trust_domain: &'a TrustDomain,
        state: &StateDir,
        passphrase: &[u8],
        entropy: &'a Entropy,
        clock: &'a dyn Clock,
    ) -> Result<Self, RootActError> {
        let key = new_key()?;
        KeyFile::at(state.root_key()).create(
            key.serialized_der(),
            passphrase,
            Strength::Passphrase,
            entropy,
        )?;
        let signer = FileSigner::new(key);
        let serial = Serial::from_random(entropy.octets());
        let der =
            authority::self_signed_root(trust_domain, serial, life(clock.now(), ROOT_LIFE), &signer).await?;
        let path = state.root_certificate();
        files::create_public(&path, pem::encode("CERTIFICATE", &der).as_bytes())
            .map_err(RootActError::file(&path))?;
        let certificate = parse(&path, &der)?;
        Ok(Self { trust_domain, certificate, signer, entropy, clock })
    }

    /// Opens the root that `create` left in `state`.
    ///
    /// # Errors
    /// When the passphrase is wrong or a file is damaged.
    pub(super) fn open(
        trust_domain: &'a TrustDomain,
        state: &StateDir,
        passphrase: &[u8],
        entropy: &'a Entropy,
        clock: &'a dyn Clock,
    ) -> Result<Self, RootActError> {
        let path = state.root_certificate();
        let certificate = parse(&path, &pem::read_one(&path)?)?;
        let signer = FileSigner::from_pkcs8(&KeyFile::at(state.root_key()).open(passphrase)?)?;
        Ok(Self { trust_domain, certificate, signer, entropy, clock })
    }

    /// The root's certificate.
    #[must_use]
    pub(super) fn certificate(&self) -> &IssuerCertificate {
        &self.certificate
    }

    /// The root's pen.
    #[must_use]
    pub(super) fn signer(&self) -> &dyn Signer {
        &self.signer
    }

    /// Makes a new issuer as the next generation under `state`.
    ///
    /// # Errors
    /// When the root ends before the issuer would, or the files cannot be written.
    pub(super) async fn new_issuer(&self, state: &StateDir, unlock: &[u8]) -> Result<PathBuf, RootActError> {
        let validity = self.within_root(ISSUER_LIFE)?;
        let key = FileSigner::new(new_key()?);
        let serial = Serial::from_random(self.entropy.octets());
        let der = authority::issuer_certificate(
            self.trust_domain,
            serial,
            validity,
            key.public_key(),
            &self.certificate,
            &self.signer,
        )
        .await?;
        self.keep_generation(&state.issuers(), &der, &key, unlock)
    }

    /// Makes a new trust signer as the next generation under `state`, certified by the root itself.
    ///
    /// # Errors
    /// As [`RootHand::new_issuer`].
    pub(super) async fn new_trust_signer(
        &self,
        state: &StateDir,
        epoch: u64,
        unlock: &[u8],
    ) -> Result<PathBuf, RootActError> {
        let validity = self.within_root(TRUST_SIGNER_LIFE)?;
        let key = FileSigner::new(new_key()?);
        let serial = Serial::from_random(self.entropy.octets());
        let der = authority::trust_signer_certificate(
            self.trust_domain,
            epoch,
            serial,
            validity,
            key.public_key(),
            &self.certificate,
            &self.signer,
        )
        .await?;
        self.keep_generation(&state.trust_signers(), &der, &key, unlock)
    }

    /// Invariant 4: nothing outlives what signed it.
    fn within_root(&self, length: Duration) -> Result<Validity, RootActError> {
        let validity = life(self.clock.now(), length);
        let end = self.certificate.validity().not_after();
        if validity.not_after() > end { Err(RootActError::RootEnding(end)) } else { Ok(validity) }
    }

    /// Certificate and key appear together or not at all: written aside, then renamed into place.
    fn keep_generation(
        &self,
        parent: &Path,
        der: &[u8],
        key: &FileSigner,
        unlock: &[u8],
    ) -> Result<PathBuf, RootActError> {
        let next = generations(parent).map_err(RootActError::file(parent))?.last().map_or(1, |(n, _)| n + 1);
        let aside = parent.join(format!(".{}", Serial::from_random(self.entropy.octets())));
        files::create_private_directory(&aside).map_err(RootActError::file(&aside))?;
        let certificate = certificate_in(&aside);
        files::create_public(&certificate, pem::encode("CERTIFICATE", der).as_bytes())
            .map_err(RootActError::file(&certificate))?;
        key_in(&aside).create(&key.pkcs8(), unlock, Strength::Generated, self.entropy)?;
        // Whoever rotates as root makes files for the user that serves.
        files::own_like(parent, [&*aside, &*certificate, key_in(&aside).path()])
            .map_err(RootActError::file(&aside))?;
        let place = parent.join(next.to_string());
        files::rename(&aside, &place).map_err(RootActError::file(&place))?;
        Ok(place)
    }
}

/// The generations under `parent`, oldest first; leftovers of an interrupted act are passed over.
///
/// # Errors
/// What the system says; a missing directory has none.
pub(crate) fn generations(parent: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
    let mut found: Vec<_> = directory::entries(parent)?
        .into_iter()
        .filter_map(|path| number(&path).map(|number| (number, path)))
        .collect();
    found.sort();
    Ok(found)
}

/// The certificate file of a generation.
pub(crate) fn certificate_in(generation: &Path) -> PathBuf {
    generation.join("certificate.pem")
}

/// The key file of a generation.
pub(crate) fn key_in(generation: &Path) -> KeyFile {
    KeyFile::at(generation.join("key.pem"))
}

/// The certificate at `path`, already decoded to `der`.
pub(crate) fn parse(path: &Path, der: &[u8]) -> Result<IssuerCertificate, RootActError> {
    IssuerCertificate::parse(der).map_err(|source| RootActError::Certificate { path: path.into(), source })
}

/// From a minute ago, `length` long in whole, the last second included (RFC 5280 §4.1.2.5).
fn life(now: Timestamp, length: Duration) -> Validity {
    let from = now - BACKDATE;
    Validity::lasting(from, length)
}

/// Makes the generated secret that the online keys are encrypted under.
///
/// # Errors
/// When it is there already, or cannot be written.
pub(crate) fn new_unlock_secret(
    state: &StateDir,
    entropy: &Entropy,
) -> Result<Zeroizing<Vec<u8>>, RootActError> {
    let path = state.unlock();
    let secret = Zeroizing::new(countersign_identity::hex::encode(&entropy.octets::<32>()).into_bytes());
    files::create_secret(&path, &secret).map_err(RootActError::file(&path))?;
    Ok(secret)
}

/// The generated secret of `state`.
///
/// # Errors
/// When the file cannot be read: a new one would open none of the keys.
pub(crate) fn unlock_secret(state: &StateDir) -> Result<Zeroizing<Vec<u8>>, RootActError> {
    let path = state.unlock();
    std::fs::read(&path).map(Zeroizing::new).map_err(RootActError::file(&path))
}
