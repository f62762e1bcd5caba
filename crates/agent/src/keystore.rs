//! Certificate, key and chain as one PKCS#12 file (RFC 7292), for programs that read nothing else, Java's above all.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::AgentError;

/// The name by which programs find the key in the file.
const ALIAS: &str = "svid";
/// Rounds of the key derivations: what Java writes. The key lies in the clear beside this file, for the same readers; the
/// password is what their format asks for, and more rounds would cost them time at every start.
const ROUNDS: u32 = 10_000;
/// Longer than any password.
const PASSWORD_LIMIT: u64 = 1024;
/// What the world may do with a password: nothing.
const WORLD: u32 = 0o007;

/// That a PKCS#12 file is wanted, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keystore {
    /// The file with the password. It is read at each renewal and is nowhere else.
    pub password_file: PathBuf,
    /// Whether the roots are in it as trusted certificates, so that one file serves as key store and trust store.
    pub trusted: bool,
}

/// The table `[pkcs12]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeystoreFile {
    password_file: PathBuf,
    #[serde(default)]
    trusted: bool,
}

impl KeystoreFile {
    /// What is meant; a relative path counts from `base`.
    pub(crate) fn read(self, base: &Path) -> Keystore {
        Keystore { password_file: base.join(self.password_file), trusted: self.trusted }
    }
}

impl Keystore {
    /// The password: the first line of its file, which is for its readers alone.
    pub(crate) fn password(&self) -> Result<Zeroizing<String>, AgentError> {
        let path = &self.password_file;
        let unreadable = |error| AgentError::file("read the password in", path, &error);
        let refuse = |what: &str| AgentError::failed(format!("the password file {} {what}", path.display()));
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & WORLD != 0 {
            let hint = format!("chmod o-rwx {}", path.display());
            return Err(refuse("is open to every user of this machine").with_hint(hint));
        }
        let mut text = Zeroizing::new(String::new());
        let mut file = File::open(path).map_err(unreadable)?.take(PASSWORD_LIMIT);
        file.read_to_string(&mut text).map_err(unreadable)?;
        let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
        // A password is UCS-2 in this format (RFC 7292 appendix B.1): other planes have no place in it.
        if line.is_empty() || line.chars().any(|char| char > '\u{ffff}') {
            return Err(refuse("holds none: the first line of it is taken"));
        }
        Ok(line)
    }

    /// The file's octets, encrypted by AES-256-CBC (PBES2) and guarded by HMAC-SHA-256, both under the password.
    pub(crate) fn encode(
        &self,
        chain: &[CertificateDer<'_>],
        roots: &[CertificateDer<'_>],
        key: &str,
    ) -> Result<Vec<u8>, AgentError> {
        let failed = |what: String| AgentError::failed(format!("the PKCS#12 file cannot be made: {what}"));
        let said = |error: p12_keystore::error::Error| failed(error.to_string());
        let key =
            PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|error| failed(error.to_string()))?;
        let read = |der: &CertificateDer<'_>| Certificate::from_der(der);
        let leaf: [u8; 32] = Sha256::digest(chain.first().map_or(&[][..], |leaf| leaf)).into();
        let chain = chain.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(said)?;
        let key = PrivateKey::from_der(key.secret_pkcs8_der()).map_err(said)?;
        let mut store = KeyStore::new();
        let entry = PrivateKeyChain::new(leaf.as_slice(), key, chain);
        store.add_entry(ALIAS, KeyStoreEntry::PrivateKeyChain(entry));
        for (at, root) in roots.iter().enumerate().filter(|_| self.trusted) {
            let root = read(root).map_err(said)?;
            store.add_entry(&format!("root-{}", at + 1), KeyStoreEntry::Certificate(root));
        }
        let password = self.password()?;
        store
            .writer(&password)
            .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
            .encryption_iterations(ROUNDS)
            .mac_algorithm(MacAlgorithm::HmacSha256)
            .mac_iterations(ROUNDS)
            .write()
            .map_err(said)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, Keystore) {
        let scratch = tempfile::tempdir().unwrap();
        let password_file = scratch.path().join("password");
        fs::write(&password_file, text).unwrap();
        fs::set_permissions(&password_file, Permissions::from_mode(mode)).unwrap();
        (scratch, Keystore { password_file, trusted: false })
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        for text in ["correct horse", "correct horse\n", "correct horse\r\nanother\n"] {
            let (_scratch, keystore) = written(text, 0o640);
            assert_eq!(*keystore.password().unwrap(), "correct horse");
        }
    }

    #[test]
    fn a_password_that_is_none_or_everybodys_is_refused() {
        // Invariant 8.
        for (text, mode) in [("", 0o600), ("\nsecond", 0o600), ("\u{1f511}", 0o600), ("hunter2", 0o644)] {
            let (_scratch, keystore) = written(text, mode);
            let error = keystore.password().unwrap_err().to_string();
            assert!(error.contains("password"), "{error}");
            assert!(text.is_empty() || !error.contains(text.trim()), "{error}");
        }
        let nowhere = Keystore { password_file: "/nowhere/password".into(), trusted: false };
        assert!(nowhere.password().unwrap_err().to_string().contains("/nowhere/password"));
    }
}
