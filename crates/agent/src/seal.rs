//! A private key at rest: PKCS#8 under PBES2 (RFC 8018), in PEM, as the CA keeps its own; `openssl pkey` reads it.

use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::{Decode as _, pem::PemLabel as _},
    pkcs5::pbes2,
};
use rand::TryRng as _;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::error::AgentError;

/// How many rounds of PBKDF2-HMAC-SHA256 lie between the secret and the key. The secret is as hard to guess as the key
/// itself, which no number of rounds changes; a hundred keys are to open in no time.
const ROUNDS: u32 = 2_048;

/// A secret, and with it the power to seal keys and to open them.
pub(crate) struct Seal {
    secret: Zeroizing<Vec<u8>>,
    /// Where the secret is kept; `None` where nobody keeps it.
    place: Option<String>,
}

/// Where the secret is, never the secret (invariant 8).
impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Octets of the operating system's randomness.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, AgentError> {
    let mut octets = Zeroizing::new([0; N]);
    SysRng
        .try_fill_bytes(&mut *octets)
        .map_err(|error| AgentError::failed(format!("the operating system has no randomness: {error}")))?;
    Ok(octets)
}

impl Seal {
    /// Under a secret that is kept at `place`.
    pub(crate) fn kept(secret: Zeroizing<Vec<u8>>, place: String) -> Self {
        Self { secret, place: Some(place) }
    }

    /// Under a secret that ends with this process.
    pub(crate) fn passing() -> Result<Self, AgentError> {
        Ok(Self { secret: Zeroizing::new(random::<32>()?.to_vec()), place: None })
    }

    /// Whether what is sealed opens after a restart.
    pub(crate) const fn is_kept(&self) -> bool {
        self.place.is_some()
    }

    /// Where the secret is, for people.
    pub(crate) fn place(&self) -> &str {
        self.place.as_deref().unwrap_or("a secret that nobody keeps")
    }

    /// Seals a key in PEM.
    pub(crate) fn close(&self, key: &str) -> Result<String, AgentError> {
        let failed = || AgentError::failed("a private key could not be sealed");
        let (salt, start) = (random::<16>()?, random::<16>()?);
        let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &*salt, *start)
            .map_err(|_| failed())?;
        let (_, key) = SecretDocument::from_pem(key).map_err(|_| failed())?;
        PrivateKeyInfoRef::try_from(key.as_bytes())
            .and_then(|key| key.encrypt_with_params(parameters, &*self.secret))
            .ok()
            .and_then(|sealed| sealed.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).ok())
            .map(|pem| pem.to_string())
            .ok_or_else(failed)
    }

    /// Opens a sealed key; `None` if it was sealed under another secret, or is damaged: which of the two cannot be told.
    pub(crate) fn open(&self, sealed: &str) -> Option<Zeroizing<String>> {
        let (label, document) = SecretDocument::from_pem(sealed).ok()?;
        let sealed = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).ok()?;
        // A number of rounds that somebody wrote into the file is not followed for hours.
        let rounds = sealed.encryption_algorithm.pbes2()?.kdf.pbkdf2()?.iteration_count;
        if label != EncryptedPrivateKeyInfoRef::PEM_LABEL || rounds > ROUNDS {
            return None;
        }
        let key = sealed.decrypt(&*self.secret).ok()?;
        PrivateKeyInfoRef::try_from(key.as_bytes()).ok()?;
        key.to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustls_pki_types::pem::PemObject as _;

    use super::*;
    use crate::at_rest::is_sealed;

    fn seal(secret: &str) -> Seal {
        Seal::kept(Zeroizing::new(secret.as_bytes().to_vec()), "here".into())
    }

    fn key() -> String {
        rcgen::KeyPair::generate().unwrap().serialize_pem().replace("\r\n", "\n")
    }

    #[test]
    fn a_sealed_key_opens_under_its_secret_only() {
        // Invariant 8.
        let key = key();
        let sealed = seal("one").close(&key).unwrap();
        assert!(is_sealed(sealed.as_bytes()) && !is_sealed(key.as_bytes()));
        assert_eq!(seal("one").open(&sealed).unwrap().trim(), key.trim());
        assert!(seal("two").open(&sealed).is_none());
        assert!(seal("one").open(&key).is_none(), "a key in the clear is no sealed one");
        assert_ne!(seal("one").close(&key).unwrap(), sealed, "no salt twice");
        assert!(!format!("{:?}", seal("one")).contains(&format!("{:?}", b"one")));
    }

    #[test]
    fn openssl_opens_what_is_sealed() {
        let scratch = tempfile::tempdir().unwrap();
        let (key, file) = (key(), scratch.path().join("svid.key"));
        std::fs::write(&file, seal("one").close(&key).unwrap()).unwrap();
        let read = |secret: &str| {
            let mut openssl = Command::new("openssl");
            openssl.args(["pkey", "-passin", &format!("pass:{secret}"), "-in"]).arg(&file);
            openssl.stdin(Stdio::null()).output().unwrap()
        };
        assert_eq!(String::from_utf8_lossy(&read("one").stdout).trim(), key.trim());
        assert!(!read("two").status.success());
    }

    #[test]
    fn no_change_of_a_sealed_key_makes_another_key_for_the_same_certificate() {
        // CBC guards no integrity: what opens must still be judged as the certificate's key.
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = vec![rcgen::CertificateParams::default().self_signed(&key).unwrap().der().clone()];
        let (seal, key) = (seal("one"), key.serialize_pem().replace("\r\n", "\n"));
        let (label, whole) = SecretDocument::from_pem(&seal.close(&key).unwrap()).map(owned).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let Ok(changed) = SecretDocument::try_from(changed) else { continue };
            let Some(other) = seal.open(&changed.to_pem(label, LineEnding::LF).unwrap()) else { continue };
            let der = rustls_pki_types::PrivateKeyDer::from_pem_slice(other.as_bytes()).unwrap();
            let pair = countersign_verifier::OwnIdentity::new(chain.clone(), der);
            assert!(pair.is_err() || other.trim() == key.trim(), "octet {at}");
        }
    }

    fn owned((_, document): (&str, SecretDocument)) -> (&'static str, Vec<u8>) {
        (EncryptedPrivateKeyInfoRef::PEM_LABEL, document.as_bytes().to_vec())
    }

    #[test]
    fn rounds_without_end_are_not_followed() {
        // Invariant 10.
        let key = key();
        let (_, document) = SecretDocument::from_pem(&key).unwrap();
        let parameters =
            pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS + 1, &[7; 16], [7; 16]).unwrap();
        let costly = PrivateKeyInfoRef::try_from(document.as_bytes())
            .unwrap()
            .encrypt_with_params(parameters, "one")
            .unwrap()
            .to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .unwrap();
        assert!(seal("one").open(&costly).is_none());
    }
}
