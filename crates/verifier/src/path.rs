//! The path from a certificate to a root: built and verified by rustls-webpki, then judged by what that leaves out.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{Clock, KeyHash, Timestamp, Validity, ValidityState};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::authority::{self, Rules};
use crate::certificate::Certificate;
use crate::known_paths::Path;
use crate::leaf::key_hash;
use crate::profile::Place;
use crate::refusal::{AuthorityRule, ChainFault};
use crate::revocation::{Inquiry, Revocation, Standing};
use crate::svid::Usage;
use crate::trust::Roots;

/// The most certificates read of one chain: a leaf, its issuers and the root. Honest chains here have three; whoever
/// sends whole stores of cross-signed issuers is still read.
pub(crate) const CHAIN_LIMIT: usize = 16;

/// Why no path was found.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathFault {
    /// The bytes are not a certificate this library reads.
    #[error("the certificate cannot be read: {what}")]
    Malformed {
        /// What is wrong with the bytes.
        what: String,
    },
    /// No root signed it.
    #[error("it was not issued by any of the roots")]
    UnknownIssuer,
    /// The path has a fault.
    #[error(transparent)]
    Fault(#[from] ChainFault),
    /// The certificate at its lower end is for something else.
    #[error("{what}")]
    Purpose {
        /// In the words of the path builder.
        what: String,
    },
}

/// Verifies that certificates lead to a root, and nothing else: no SPIFFE ID, no rule for SVID leaves, no certificate
/// profile. It names nobody, so nobody is authenticated by it; it exists to be held against path validation suites.
#[derive(Clone, Debug)]
pub struct PathVerifier {
    provider: Arc<CryptoProvider>,
    roots: Arc<Roots>,
    clock: Arc<dyn Clock>,
    revocation: Option<Arc<dyn Revocation>>,
}

impl PathVerifier {
    /// A verifier of paths to these roots.
    ///
    /// # Errors
    /// When one of the roots may not sign certificates.
    pub fn new(
        provider: Arc<CryptoProvider>,
        roots: &[CertificateDer<'_>],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthorityRule> {
        let roots = roots.iter().map(|root| root.as_ref());
        let roots = Roots::read(roots, Rules::PathOnly).map_err(|(_, rule)| rule)?;
        Ok(Self { provider, roots: Arc::new(roots), clock, revocation: None })
    }

    /// Also asks `revocation` about every certificate but the root.
    #[must_use]
    pub fn with_revocation(self, revocation: Arc<dyn Revocation>) -> Self {
        Self { revocation: Some(revocation), ..self }
    }

    /// Looks for a path from the first certificate of the chain, through any of the others, to a root.
    ///
    /// # Errors
    /// With the first reason found against it.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), PathFault> {
        let malformed = |what| PathFault::Malformed { what };
        let (der, above) = chain.split_first().ok_or_else(|| malformed("there is none".to_owned()))?;
        let certificate = Certificate::read(der).map_err(malformed)?;
        let now = self.clock.now();
        let search = PathSearch {
            provider: &self.provider,
            roots: &self.roots,
            rules: Rules::PathOnly,
            usage: Usage::Client,
            now,
            depth: None,
            revocation: self.revocation.as_deref(),
        };
        let issuer_key = search.find(der, above, unix(now))?;
        search.stands(&certificate, issuer_key)?;
        Ok(())
    }
}

/// One search for a path.
#[derive(Clone, Copy)]
pub(crate) struct PathSearch<'a> {
    pub(crate) provider: &'a CryptoProvider,
    pub(crate) roots: &'a Roots,
    pub(crate) rules: Rules<'a>,
    pub(crate) usage: Usage,
    pub(crate) now: Timestamp,
    pub(crate) depth: Option<usize>,
    pub(crate) revocation: Option<&'a dyn Revocation>,
}

impl PathSearch<'_> {
    /// SHA-256 of the key that signed the certificate, if a path leads from there to a root.
    ///
    /// The certificate itself is judged at `at`, everything above it at that time and now.
    pub(crate) fn find(
        &self,
        der: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<KeyHash, PathFault> {
        self.search(der, above, at, |path| key_hash(&path.issuer_spki()))
    }

    /// The same with everything on the path, to be known again.
    pub(crate) fn find_path(
        &self,
        der: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<Path, PathFault> {
        self.search(der, above, at, |path| self.walk(path))
    }

    /// Whether nothing that can have changed is held against the authorities on a path known from before.
    pub(crate) fn still_stands(&self, path: &Path) -> Result<(), ChainFault> {
        for (der, issuer_key) in &path.above {
            let unreadable = |what| ChainFault::NotAnAuthority(AuthorityRule::Malformed(what));
            self.stands(&Certificate::read(der).map_err(unreadable)?, *issuer_key)?;
        }
        Ok(())
    }

    fn search<T>(
        &self,
        der: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        at: UnixTime,
        found: impl FnOnce(&VerifiedPath<'_>) -> T,
    ) -> Result<T, PathFault> {
        let take = found;
        let found = above.len().saturating_add(1);
        if found > CHAIN_LIMIT {
            return Err(ChainFault::TooLong { found, limit: CHAIN_LIMIT }.into());
        }
        let end_entity = EndEntityCert::try_from(der).map_err(|error| match error {
            webpki::Error::UnsupportedCriticalExtension => PathFault::Purpose { what: error.to_string() },
            other => PathFault::Malformed { what: other.to_string() },
        })?;
        let usage = match self.usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        let own = RefCell::new(None);
        let judge = |path: &VerifiedPath<'_>| {
            self.judge(path).map_err(|fault| {
                *own.borrow_mut() = Some(fault);
                webpki::Error::EndEntityUsedAsCa
            })
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let (roots, judge) = (self.roots.anchors(), Some(&judge as _));
        match end_entity.verify_for_usage(algorithms, roots, above, at, usage, None, judge) {
            Ok(path) => Ok(take(&path)),
            Err(error) => {
                let own = own.into_inner().or_else(|| self.unreadable_to_others(&error, above));
                Err(fault(&error, own))
            }
        }
    }

    fn walk(&self, path: &VerifiedPath<'_>) -> Path {
        let root = self.roots.validity(path.anchor());
        let (mut from, mut until) = root.map_or((Timestamp::MAX, Timestamp::MIN), ends);
        let mut key = key_hash(&webpki::spki_for_anchor(path.anchor()));
        let mut above = Vec::new();
        for intermediate in path.intermediate_certificates().rev() {
            let der = intermediate.der();
            // It was read before, by the judge. If it could not be, the path would be good at no time.
            match Certificate::read(&der) {
                Ok(certificate) => {
                    let (first, last) = ends(certificate.validity);
                    (from, until) = (from.max(first), until.min(last));
                    above.push((der.clone().into_owned(), key));
                    key = certificate.key.hash();
                }
                Err(_) => until = Timestamp::MIN,
            }
        }
        Path { issuer_key: key, above, from, until }
    }

    /// The signing certificate the path builder stumbled over without saying which.
    fn unreadable_to_others(
        &self,
        error: &webpki::Error,
        above: &[CertificateDer<'_>],
    ) -> Option<ChainFault> {
        if !matches!(error, webpki::Error::UnsupportedCriticalExtension) {
            return None;
        }
        let rules = above.iter().filter_map(|der| Certificate::read(der).ok());
        rules
            .filter_map(|certificate| authority::judge(&certificate, Place::Between, self.rules).err())
            .map(ChainFault::NotAnAuthority)
            .next()
    }

    /// What path building leaves out of signing certificates, and everything about the root but its key and name.
    fn judge(&self, path: &VerifiedPath<'_>) -> Result<(), ChainFault> {
        self.roots.judge(path.anchor(), self.now)?;
        let mut counted = 0_usize;
        // Nobody asks for the hash unless there is a list to be asked.
        let mut issuer_key = self.revocation.map(|_| key_hash(&webpki::spki_for_anchor(path.anchor())));
        for intermediate in path.intermediate_certificates().rev() {
            let der = intermediate.der();
            let unreadable = |what| ChainFault::NotAnAuthority(AuthorityRule::Malformed(what));
            let certificate = Certificate::read(&der).map_err(unreadable)?;
            authority::judge(&certificate, Place::Between, self.rules).map_err(ChainFault::NotAnAuthority)?;
            if !certificate.is_self_issued() {
                counted = counted.saturating_add(1);
            }
            if let Some(key) = &mut issuer_key {
                self.stands(&certificate, *key)?;
                *key = certificate.key.hash();
            }
        }
        match self.depth {
            Some(limit) if counted > limit => Err(ChainFault::TooDeep { found: counted, limit }),
            _ => Ok(()),
        }
    }

    /// Whether nothing is held against a certificate signed by this key.
    pub(crate) fn stands(
        &self,
        certificate: &Certificate<'_>,
        issuer_key: KeyHash,
    ) -> Result<(), ChainFault> {
        let Some(list) = self.revocation else { return Ok(()) };
        let inquiry = Inquiry { certificate, issuer_key, now: self.now };
        let serial = || inquiry.serial_hex();
        match list.standing(&inquiry) {
            Standing::Good => Ok(()),
            Standing::Revoked => Err(ChainFault::Revoked { serial: serial() }),
            Standing::Unknown => Err(ChainFault::RevocationUnknown { serial: serial() }),
        }
    }
}

fn fault(error: &webpki::Error, own: Option<ChainFault>) -> PathFault {
    use webpki::Error as Path;
    PathFault::Fault(match error {
        Path::UnknownIssuer => return PathFault::UnknownIssuer,
        Path::CaUsedAsEndEntity | Path::EmptyEkuExtension | Path::RequiredEkuNotFoundContext(_) => {
            return PathFault::Purpose { what: error.to_string() };
        }
        Path::InvalidSignatureForPublicKey => ChainFault::Signature,
        Path::CertExpired { time, not_after } => ChainFault::Expired { by: apart(*time, *not_after) },
        Path::CertNotValidYet { time, not_before } => {
            ChainFault::NotYetValid { by: apart(*not_before, *time) }
        }
        Path::UnsupportedCriticalExtension => own.unwrap_or_else(|| ChainFault::Other(error.to_string())),
        Path::EndEntityUsedAsCa => own.unwrap_or(ChainFault::NotAnAuthority(AuthorityRule::NotCa)),
        other => ChainFault::Other(other.to_string()),
    })
}

fn ends(validity: Validity) -> (Timestamp, Timestamp) {
    (validity.not_before(), validity.not_after())
}

/// Whether a root is in its time.
pub(crate) fn in_time(state: ValidityState) -> Result<(), ChainFault> {
    match state {
        ValidityState::Current => Ok(()),
        ValidityState::Expired { by } => Err(ChainFault::Expired { by }),
        ValidityState::NotYet { by } => Err(ChainFault::NotYetValid { by }),
    }
}

pub(crate) fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(at.since(Timestamp::from_unix(0)))
}

fn apart(later: UnixTime, earlier: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}
