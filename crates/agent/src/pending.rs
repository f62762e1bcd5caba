//! The key of an issuance that is under way.

use std::path::{Path, PathBuf};

use countersign_identity::{KeyHash, Serial, hex};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::at_rest::AtRest;
use crate::durable;
use crate::error::AgentError;

const ENROLL: &str = "pending-enroll-";
const RENEW: &str = "pending-renew-";
const FIRST: &str = "pending-first";
const SUFFIX: &str = ".key";

/// What a pending key is for. It stands in the file's name, so a key is only ever used again for the same purpose:
/// the same invitation, or the renewal of the same certificate. The CA answers both with the same certificate again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Redeeming an invitation, known by a hash of its secret (invariant 8: the secret itself is never written).
    Enroll([u8; 8]),
    /// The first certificate of a workload, for which the machine's own speaks.
    #[cfg(feature = "workload-api")]
    First,
    /// Renewing the certificate with this serial.
    Renew(Serial),
}

impl Purpose {
    pub(crate) fn redeem(secret: &[u8; 32]) -> Self {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self::Enroll([a, b, c, d, e, f, g, h])
    }

    /// The invitation a redemption is for, as it may be written down.
    pub(crate) fn invitation(&self) -> Option<String> {
        match self {
            Self::Enroll(hash) => Some(hex::encode(hash)),
            #[cfg(feature = "workload-api")]
            Self::First => None,
            Self::Renew(_) => None,
        }
    }

    /// The redemption of the invitation that was written down so.
    pub(crate) fn redeemed(invitation: &str) -> Option<Self> {
        hex::decode(invitation).ok()?.try_into().ok().map(Self::Enroll)
    }

    /// Where in `dir` the key of this purpose lies.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        let name = match self {
            Self::Enroll(hash) => format!("{ENROLL}{}{SUFFIX}", hex::encode(hash)),
            #[cfg(feature = "workload-api")]
            Self::First => format!("{FIRST}{SUFFIX}"),
            Self::Renew(serial) => format!("{RENEW}{serial}{SUFFIX}"),
        };
        dir.join(name)
    }

    /// Whether the file `name` is a workload's pending key, or the beginning of one.
    #[cfg(feature = "workload-api")]
    pub(crate) fn is_workloads(name: &str) -> bool {
        let name = name.strip_prefix('.').unwrap_or(name);
        name.starts_with(RENEW) || name.starts_with(FIRST)
    }

    /// Whether the file `name` is a pending key, or the beginning of one, that nobody wants once this is published. A
    /// renewal leaves the key of an invitation alone: its redemption may wait for `--replace`.
    pub(crate) fn settles(&self, name: &str) -> bool {
        let name = name.strip_prefix('.').unwrap_or(name);
        name.starts_with(RENEW)
            || name.starts_with(FIRST)
            || matches!(self, Self::Enroll(_)) && name.starts_with(ENROLL)
    }
}

/// A P-256 key that is on disk and that nobody uses yet.
pub(crate) struct PendingKey {
    key: Zeroizing<KeyPair>,
}

impl PendingKey {
    /// The key left for this purpose, or a new one; durable when this returns.
    pub(crate) fn obtain(dir: &Path, purpose: &Purpose, at_rest: &AtRest) -> Result<Self, AgentError> {
        let path = purpose.path(dir);
        if let Some(left) = durable::read(&path)?.map(Zeroizing::new) {
            match at_rest.open(&left).and_then(|pem| Self::read(&pem)) {
                Some(pending) => return Ok(pending),
                // A file is renamed into place whole, so this is damage from outside; the key was never in use.
                None => {
                    tracing::warn!(path = %path.display(), "the pending key cannot be read, making a new one")
                }
            }
        }
        let pending = Self::generate()?;
        durable::replace(&path, at_rest.close(&pending.pem())?.as_bytes(), durable::SECRET)?;
        Ok(pending)
    }

    fn read(pem: &str) -> Option<Self> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).ok().map(Self::of)
    }

    fn generate() -> Result<Self, AgentError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Self::of)
            .map_err(|error| AgentError::failed(format!("cannot make a key: {error}")))
    }

    fn of(key: KeyPair) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// The key as unencrypted PKCS#8, what every TLS library reads.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// SHA-256 of the public key, to recognise a certificate for it.
    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::from_bytes(Sha256::digest(self.key.subject_public_key_info()).into())
    }

    /// The request for a certificate: the public key and the proof of holding it, no names. Whom the certificate
    /// names is the registration's business (invariant 1).
    pub(crate) fn csr(&self) -> Result<String, AgentError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .serialize_request(&*self.key)
            .and_then(|request| request.pem())
            .map_err(|error| AgentError::failed(format!("cannot make a signing request: {error}")))
    }
}

/// Shows which key, never the key (invariant 8).
impl std::fmt::Debug for PendingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PendingKey").field(&self.hash()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn renewal() -> Purpose {
        Purpose::Renew("ab12".parse().unwrap())
    }

    #[test]
    fn the_same_purpose_finds_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let first = PendingKey::obtain(dir.path(), &renewal(), &AtRest::Clear).unwrap();
        let second = PendingKey::obtain(dir.path(), &renewal(), &AtRest::Clear).unwrap();
        assert_eq!(first.hash(), second.hash());
    }

    #[test]
    fn another_purpose_gets_another_key() {
        // Invariant 5.
        let dir = tempfile::tempdir().unwrap();
        let one = PendingKey::obtain(dir.path(), &renewal(), &AtRest::Clear).unwrap();
        let other = PendingKey::obtain(dir.path(), &Purpose::redeem(&[7; 32]), &AtRest::Clear).unwrap();
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn a_pending_key_is_pkcs8_that_only_its_owner_reads() {
        // Invariant 8.
        let dir = tempfile::tempdir().unwrap();
        PendingKey::obtain(dir.path(), &renewal(), &AtRest::Clear).unwrap();
        let path = renewal().path(dir.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn a_renewal_settles_renewals_and_an_enrollment_everything() {
        let names =
            ["pending-renew-ab12.key", ".pending-renew-ab12.key.new", "pending-enroll-00.key", "svid.key"];
        assert_eq!(names.map(|name| renewal().settles(name)), [true, true, false, false]);
        assert_eq!(names.map(|name| Purpose::redeem(&[7; 32]).settles(name)), [true, true, true, false]);
    }

    #[test]
    fn a_damaged_pending_key_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = renewal().path(dir.path());
        fs::write(&path, "not a key").unwrap();
        PendingKey::obtain(dir.path(), &renewal(), &AtRest::Clear).unwrap();
        assert!(fs::read_to_string(path).unwrap().contains("PRIVATE KEY"));
    }

    #[test]
    fn neither_names_nor_debug_show_a_secret() {
        // Invariant 8.
        let dir = tempfile::tempdir().unwrap();
        let purpose = Purpose::redeem(&[7; 32]);
        let key = PendingKey::obtain(dir.path(), &purpose, &AtRest::Clear).unwrap();
        assert!(!purpose.path(dir.path()).to_string_lossy().contains(&hex::encode(&[7; 8])));
        assert_eq!(format!("{key:?}"), format!("PendingKey({:?})", key.hash()));
    }

    #[test]
    fn the_request_names_nobody() {
        // Invariant 1.
        let dir = tempfile::tempdir().unwrap();
        let csr = PendingKey::obtain(dir.path(), &renewal(), &AtRest::Clear).unwrap().csr().unwrap();
        assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        // Version, an empty subject, one P-256 key: an attribute or a name would be longer.
        assert!(csr.len() < 450, "{} characters", csr.len());
    }
}
