//! Optional limits upon peers: how long their certificates may live, which keys they may have, which key exchange they need.

use std::fmt;
use std::time::Duration;

use countersign_identity::duration;
use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::alg_id;

use crate::certificate::Certificate;
use crate::key::PublicKey;
use crate::own::SetupError;

/// The kind of a public key, named as profiles of the CA name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// ECDSA on NIST P-521.
    P521,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA, of the sizes that every certificate is held to.
    Rsa,
}

/// What a peer's certificate breaks that RFC 5280 and SPIFFE allow and this service does not.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitFault {
    /// It lives too long.
    #[error("it is valid for {} in all, at most {} are accepted here", duration::format(*found), duration::format(*limit))]
    Lifetime {
        /// From its first second to its last.
        found: Duration,
        /// The limit.
        limit: Duration,
    },
    /// Its key is of another kind.
    #[error("its key is of kind {}, accepted here: {accepted}", found.map_or("unknown", KeyKind::as_str))]
    KeyKind {
        /// The kind, if it has a name here.
        found: Option<KeyKind>,
        /// The kinds accepted.
        accepted: String,
    },
}

/// The limits of one verifier; none by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) lifetime: Option<Duration>,
    pub(crate) key_kinds: Option<Vec<KeyKind>>,
}

impl Limits {
    pub(crate) fn judge(&self, certificate: &Certificate<'_>) -> Result<(), LimitFault> {
        let found = certificate.validity.lifetime();
        if let Some(limit) = self.lifetime.filter(|limit| found > *limit) {
            return Err(LimitFault::Lifetime { found, limit });
        }
        let Some(kinds) = &self.key_kinds else { return Ok(()) };
        match KeyKind::of(&certificate.key) {
            Some(kind) if kinds.contains(&kind) => Ok(()),
            found => {
                let accepted: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
                Err(LimitFault::KeyKind { found, accepted: accepted.join(", ") })
            }
        }
    }
}

impl KeyKind {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::P521 => "p521",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }

    fn of(key: &PublicKey<'_>) -> Option<Self> {
        let kinds = [
            (alg_id::ECDSA_P256, Self::P256),
            (alg_id::ECDSA_P384, Self::P384),
            (alg_id::ECDSA_P521, Self::P521),
            (alg_id::ED25519, Self::Ed25519),
            (alg_id::RSA_ENCRYPTION, Self::Rsa),
        ];
        kinds.into_iter().find(|(id, _)| key.is_of(id.as_ref())).map(|(_, kind)| kind)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The provider with nothing but hybrid key exchanges: with it, no other handshake can come about.
pub(crate) fn hybrid_alone(provider: &CryptoProvider) -> Result<CryptoProvider, SetupError> {
    let kx_groups: Vec<_> =
        provider.kx_groups.iter().copied().filter(|group| is_hybrid(group.name())).collect();
    if kx_groups.is_empty() {
        return Err(SetupError::NoHybrid);
    }
    Ok(CryptoProvider { kx_groups, ..provider.clone() })
}

/// Whether a handshake by this provider can only be hybrid.
pub(crate) fn is_hybrid_alone(provider: &CryptoProvider) -> bool {
    provider.kx_groups.iter().all(|group| is_hybrid(group.name()))
}

/// A classical exchange and ML-KEM together (draft-ietf-tls-ecdhe-mlkem): as good as the better of the two.
const fn is_hybrid(group: NamedGroup) -> bool {
    matches!(group, NamedGroup::X25519MLKEM768 | NamedGroup::secp256r1MLKEM768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_without_a_hybrid_is_an_error_of_configuration() {
        let classical = CryptoProvider { kx_groups: Vec::new(), ..CryptoProvider::clone(&crate::provider()) };
        assert!(matches!(hybrid_alone(&classical), Err(SetupError::NoHybrid)));
    }

    #[test]
    #[cfg(feature = "aws-lc-rs")]
    fn what_is_left_is_hybrid() {
        let hybrid = hybrid_alone(&crate::provider()).expect("aws-lc-rs has one");
        assert!(!hybrid.kx_groups.is_empty() && is_hybrid_alone(&hybrid));
        assert!(!is_hybrid_alone(&crate::provider()));
    }

    #[test]
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    fn ring_has_no_hybrid() {
        assert!(matches!(hybrid_alone(&crate::provider()), Err(SetupError::NoHybrid)));
    }
}
