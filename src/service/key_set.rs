//! The CA's own keys and certificates, as they lie in the state directory, open for signing.

use std::sync::Arc;

use countersign_identity::{KeyHash, Timestamp, TrustDomain};
use countersign_issuance::{IssuerCertificate, Signer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{
    pem,
    root_hand::{RootActError, certificate_in, generations, key_in, parse},
    token_ring::TokenRing,
    trust_signer::{self, TrustSigner},
};
use crate::{
    config::StateDir,
    signer::{FileSigner, KeyFile, TokenKind, TokenPen},
};

/// What the running CA holds: the root's certificate (never its key), every issuer, and the pen of the newest.
#[derive(Clone)]
pub struct KeySet {
    root: IssuerCertificate,
    issuers: Vec<IssuerCertificate>,
    signer: Arc<dyn Signer>,
    ca_keys: Vec<KeyHash>,
    trust_signer: TrustSigner,
    token_ring: Arc<TokenRing>,
    jwt_svid: TokenPen,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("issuers", &self.issuers.len()).finish_non_exhaustive()
    }
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// A file.
    #[error(transparent)]
    Act(#[from] RootActError),
    /// No issuer was found.
    #[error("{0} holds no issuer: expected at least the one that `countersign init` made")]
    NoIssuer(std::path::PathBuf),
    /// No trust signer was found.
    #[error("{0} holds no trust signer: expected at least the one that `countersign init` made")]
    NoTrustSigner(std::path::PathBuf),
    /// The configuration names another trust domain than the root.
    #[error(
        "the root in the state directory is of {found}, the configuration says {expected}: a trust domain never changes"
    )]
    TrustDomain {
        /// What the root says.
        found: String,
        /// What the configuration says.
        expected: String,
    },
    /// The newest issuer has ended.
    #[error("the newest issuer ended on {0}: make a new one with `countersign issuer rotate`")]
    IssuerEnded(Timestamp),
}

impl KeySet {
    /// Reads everything under `state`; the newest issuer signs.
    ///
    /// # Errors
    /// Names the file that is missing, damaged or does not open under `unlock`.
    pub fn open(
        state: &StateDir,
        trust_domain: &TrustDomain,
        unlock: &[u8],
        now: Timestamp,
    ) -> Result<Self, KeySetError> {
        let root_path = state.root_certificate();
        let root = parse(&root_path, &pem::read_one(&root_path).map_err(RootActError::from)?)?;
        check_trust_domain(&root, trust_domain)?;
        let found = generations(&state.issuers()).map_err(RootActError::file(state.issuers()))?;
        let mut issuers = Vec::with_capacity(found.len());
        for (_, generation) in &found {
            let path = certificate_in(generation);
            issuers.push(parse(&path, &pem::read_one(&path).map_err(RootActError::from)?)?);
        }
        issuers.reverse();
        let (Some((_, newest)), Some(issuer)) = (found.last(), issuers.first()) else {
            return Err(KeySetError::NoIssuer(state.issuers()));
        };
        if issuer.validity().not_after() <= now {
            return Err(KeySetError::IssuerEnded(issuer.validity().not_after()));
        }
        let signer = Arc::new(open_signer(&key_in(newest), unlock)?);
        let (trust_keys, trust_signer) = trust_signers(state, unlock)?;
        let mut ca_keys = vec![root.key_hash()];
        ca_keys.extend(issuers.iter().map(IssuerCertificate::key_hash));
        ca_keys.extend(trust_keys);
        let token_ring = Arc::new(TokenRing::open(state, unlock)?);
        ca_keys.extend(token_ring.key_hashes());
        let path = state.key("jwt-svid");
        let jwt_svid = TokenPen::new(TokenKind::JwtSvid, open_signer(&KeyFile::at(&path), unlock)?);
        let jwt_svid =
            jwt_svid.ok_or_else(|| RootActError::Unreadable { path, why: "not a P-256 key".into() })?;
        ca_keys.push(jwt_svid.key_hash());
        Ok(Self { root, issuers, signer, ca_keys, trust_signer, token_ring, jwt_svid })
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &IssuerCertificate {
        &self.root
    }

    /// Every issuer, the one that signs first.
    #[must_use]
    pub fn issuers(&self) -> &[IssuerCertificate] {
        &self.issuers
    }

    /// The issuer that signs.
    #[must_use]
    pub fn issuer(&self) -> &IssuerCertificate {
        // `open` refuses an empty list; the root would only ever make issuance fail its own rules.
        self.issuers.first().unwrap_or(&self.root)
    }

    /// The pen of the issuer that signs.
    #[must_use]
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// The keys no machine may have (invariant 5).
    #[must_use]
    pub fn ca_keys(&self) -> &[KeyHash] {
        &self.ca_keys
    }

    /// The pen of JWT-SVIDs.
    #[must_use]
    pub fn jwt_svid(&self) -> &TokenPen {
        &self.jwt_svid
    }

    /// The keys of access tokens.
    #[must_use]
    pub fn token_ring(&self) -> &TokenRing {
        &self.token_ring
    }

    /// The same keys with other keys of access tokens. Those that left stay what no machine may have.
    pub(super) fn with_token_ring(&self, ring: Arc<TokenRing>) -> Self {
        let mut keys = self.clone();
        keys.ca_keys.extend(ring.key_hashes().filter(|hash| !self.ca_keys.contains(hash)));
        keys.token_ring = ring;
        keys
    }

    /// Who signs trust snapshots: the newest trust signer.
    #[must_use]
    pub fn trust_signer(&self) -> &TrustSigner {
        &self.trust_signer
    }
}

/// The configuration and the state must speak of the same trust domain: it stands in the root (SPIFFE X509-SVID §3.2).
fn check_trust_domain(root: &IssuerCertificate, expected: &TrustDomain) -> Result<(), KeySetError> {
    let named = X509Certificate::from_der(root.der()).ok().and_then(|(_, root)| {
        let names = root.subject_alternative_name().ok()??;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
    });
    match named {
        Some(found) if found != expected.id() => {
            Err(KeySetError::TrustDomain { found, expected: expected.id() })
        }
        _ => Ok(()),
    }
}

fn open_signer(file: &KeyFile, unlock: &[u8]) -> Result<FileSigner, KeySetError> {
    let key = file.open(unlock).map_err(RootActError::from)?;
    Ok(FileSigner::from_pkcs8(&key).map_err(RootActError::from)?)
}

/// The keys of all trust signers, and the newest with its pen. They are no CAs, so `IssuerCertificate` refuses them. The
/// pens of older ones are no longer needed, and after a restore not there.
fn trust_signers(state: &StateDir, unlock: &[u8]) -> Result<(Vec<KeyHash>, TrustSigner), KeySetError> {
    let dir = state.trust_signers();
    let found = generations(&dir).map_err(RootActError::file(&dir))?;
    let mut keys = Vec::with_capacity(found.len());
    for (_, generation) in &found {
        keys.push(trust_signer::read(&certificate_in(generation))?.key_hash);
    }
    let (_, newest) = found.last().ok_or(KeySetError::NoTrustSigner(dir))?;
    let pen = Arc::new(open_signer(&key_in(newest), unlock)?);
    Ok((keys, TrustSigner::new(trust_signer::read(&certificate_in(newest))?, pen)))
}
