//! A private key at rest: PKCS#8 under PBES2 (RFC 8018), in PEM, readable by `openssl pkey`.

use std::path::{Path, PathBuf};

use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::{Decode, pem::PemLabel},
    pkcs5::pbes2,
};
use zeroize::Zeroizing;

use super::{Entropy, files};

/// How many rounds of PBKDF2-HMAC-SHA256 stand between the secret and the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strength {
    /// A person chose the secret: 600,000 rounds.
    Passphrase,
    /// The secret is 256 random bits, which no number of rounds makes harder to guess: 2,048 rounds.
    Generated,
}

impl Strength {
    fn rounds(self) -> u32 {
        match self {
            Self::Passphrase => 600_000,
            Self::Generated => 2_048,
        }
    }
}

/// Why a key cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system refused.
    #[error("cannot {act} the key file {path}: {source}")]
    File {
        /// `read` or `write`.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not an encrypted PKCS#8 key.
    #[error("{path} is not an encrypted private key: expected a PEM block \"ENCRYPTED PRIVATE KEY\"")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The secret does not open it.
    #[error("{path} does not open: the passphrase is wrong, or the file is damaged")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The key to be written is not one.
    #[error("the new key could not be encrypted for {path}")]
    Unwritable {
        /// The file.
        path: PathBuf,
    },
}

/// A key file at a path.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The key file at `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Encrypts `pkcs8` under `secret` and writes it durably with mode 0600; an existing file is refused.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(
        &self,
        pkcs8: &[u8],
        secret: &[u8],
        strength: Strength,
        entropy: &Entropy,
    ) -> Result<(), KeyFileError> {
        let unwritable = || KeyFileError::Unwritable { path: self.path.clone() };
        let salt: [u8; 16] = entropy.octets();
        let parameters =
            pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(strength.rounds(), &salt, entropy.octets())
                .map_err(|_| unwritable())?;
        let pem = PrivateKeyInfoRef::try_from(pkcs8)
            .and_then(|key| key.encrypt_with_params(parameters, secret))
            .ok()
            .and_then(|sealed| sealed.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).ok())
            .ok_or_else(unwritable)?;
        files::create_secret(&self.path, pem.as_bytes()).map_err(|source| KeyFileError::File {
            act: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// The PKCS#8 key, decrypted under `secret`.
    ///
    /// # Errors
    /// When the file is missing, is no encrypted key, or the secret does not open it.
    pub fn open(&self, secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        let malformed = || KeyFileError::Malformed { path: self.path.clone() };
        let text =
            Zeroizing::new(std::fs::read_to_string(&self.path).map_err(|source| KeyFileError::File {
                act: "read",
                path: self.path.clone(),
                source,
            })?);
        let (label, document) = SecretDocument::from_pem(&text).map_err(|_| malformed())?;
        if label != EncryptedPrivateKeyInfoRef::PEM_LABEL {
            return Err(malformed());
        }
        let sealed = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_| malformed())?;
        let key = sealed.decrypt(secret).map_err(|_| KeyFileError::Locked { path: self.path.clone() })?;
        Ok(Zeroizing::new(key.as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::signer::new_key;

    #[test]
    fn a_key_comes_back_under_its_secret_only_and_openssl_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("k.pem"));
        let key = new_key().unwrap();
        file.create(key.serialized_der(), b"correct horse", Strength::Passphrase, &Entropy::system())
            .unwrap();
        assert_eq!(file.open(b"correct horse").unwrap().as_slice(), key.serialized_der());
        assert!(matches!(file.open(b"wrong"), Err(KeyFileError::Locked { .. })));
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let openssl = std::process::Command::new("openssl")
            .args(["pkey", "-noout", "-passin", "pass:correct horse", "-in"])
            .arg(file.path())
            .output()
            .unwrap();
        assert!(openssl.status.success(), "{}", String::from_utf8_lossy(&openssl.stderr));
    }

    #[test]
    fn an_existing_key_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("k.pem"));
        let key = new_key().unwrap();
        file.create(key.serialized_der(), b"a", Strength::Generated, &Entropy::system()).unwrap();
        let again = file.create(key.serialized_der(), b"b", Strength::Generated, &Entropy::system());
        assert!(matches!(again, Err(KeyFileError::File { act: "write", .. })));
    }
}
