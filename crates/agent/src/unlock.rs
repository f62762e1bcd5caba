//! The secret under which keys of workloads lie on disk: one that the service manager hands in, or else one that is
//! generated once and kept beside them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use countersign_identity::hex;
use zeroize::Zeroizing;

use crate::at_rest::CREDENTIAL;
use crate::durable;
use crate::error::AgentError;
use crate::seal::{Seal, random};

/// The generated secret in the directory of the machine.
pub(crate) const FILE: &str = "unlock";
/// In octets: 256 bits as base64 are longer, and fewer could be guessed.
const SHORTEST: usize = 32;
/// Longer than any secret.
const LONGEST: u64 = 4096;

/// The seal of the machine whose identity is in `dir`. A secret that cannot be had stops nobody: then one is made that
/// ends with this process, and after a restart the CA is asked for what was sealed under it.
pub(crate) fn obtain(dir: &Path, credentials: Option<&Path>) -> Result<Seal, AgentError> {
    kept(dir, credentials).or_else(|error| {
        tracing::error!(
            hint = error.hint(),
            "{error}; workloads' keys are sealed under a secret that ends with this process, and are issued anew after a restart"
        );
        Seal::passing()
    })
}

fn kept(dir: &Path, credentials: Option<&Path>) -> Result<Seal, AgentError> {
    let file = dir.join(FILE);
    if let Some(path) = credentials.map(|credentials| credentials.join(CREDENTIAL))
        && let Some(secret) = read(&path)?
    {
        if file.exists() {
            tracing::warn!(
                hint = "remove the file: keys that were sealed under it are issued anew",
                "the credential {CREDENTIAL} is used, and {} is not",
                file.display()
            );
        }
        return Ok(Seal::kept(secret, format!("the credential {CREDENTIAL}")));
    }
    let secret = match read(&file)? {
        Some(secret) => secret,
        None => generate(&file)?,
    };
    Ok(Seal::kept(secret, file.display().to_string()))
}

/// A secret without the white space around it, as `openssl -passin file:` takes it.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, AgentError> {
    let mut text = Zeroizing::new(Vec::new());
    match File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AgentError::file("read the secret in", path, &error)),
        Ok(_) => {}
    }
    let secret = Zeroizing::new(text.trim_ascii().to_vec());
    if secret.len() < SHORTEST {
        let (shown, found) = (path.display(), secret.len());
        let error = format!("{shown} is no secret: found {found} octets, expected at least {SHORTEST}");
        return Err(AgentError::failed(error).with_hint(
            "put the one back that was there, or remove it (a file is made anew, a credential by systemd-creds) and restart",
        ));
    }
    Ok(Some(secret))
}

fn generate(path: &Path) -> Result<Zeroizing<Vec<u8>>, AgentError> {
    let secret = Zeroizing::new(hex::encode(&*random::<32>()?).into_bytes());
    durable::replace(path, &secret, durable::SECRET)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n";

    fn key() -> String {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(key.starts_with(KEY.trim()));
        key
    }

    #[test]
    fn a_secret_is_generated_once_and_for_its_owner_alone() {
        // Invariant 8.
        let scratch = tempfile::tempdir().unwrap();
        let sealed = obtain(scratch.path(), None).unwrap().close(&key()).unwrap();
        let file = scratch.path().join(FILE);
        let first = fs::read_to_string(&file).unwrap();
        assert_eq!((first.len(), fs::metadata(&file).unwrap().permissions().mode() & 0o777), (64, 0o600));
        let again = obtain(scratch.path(), None).unwrap();
        assert!(again.is_kept() && again.open(&sealed).is_some());
        let other = tempfile::tempdir().unwrap();
        assert!(obtain(other.path(), None).unwrap().open(&sealed).is_none());
    }

    #[test]
    fn a_credential_of_the_service_manager_leaves_no_secret_in_the_directory() {
        let (scratch, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(credentials.path().join(CREDENTIAL), format!("{}\n", "s".repeat(44))).unwrap();
        let seal = obtain(scratch.path(), Some(credentials.path())).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        assert!(seal.is_kept() && seal.place().contains("credential"));
        // The same secret, moved into the directory: white space around it does not count.
        fs::write(scratch.path().join(FILE), "s".repeat(44)).unwrap();
        let moved = obtain(scratch.path(), None).unwrap();
        assert!(moved.open(&seal.close(&key()).unwrap()).is_some());
    }

    #[test]
    fn a_secret_that_cannot_be_had_stops_nobody_and_is_left_as_it_is() {
        let (scratch, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (file, given) in [
            (scratch.path().join(FILE), None),
            (credentials.path().join(CREDENTIAL), Some(credentials.path())),
        ] {
            fs::write(&file, "cut of").unwrap();
            let error = kept(scratch.path(), given).unwrap_err();
            assert!(error.to_string().contains("found 6 octets, expected at least 32"), "{error}");
            assert!(error.hint().is_some() && !error.to_string().contains("cut of"), "{error}");
            let seal = obtain(scratch.path(), given).unwrap();
            assert!(!seal.is_kept() && seal.open(&seal.close(&key()).unwrap()).is_some());
            assert_eq!(fs::read_to_string(&file).unwrap(), "cut of");
        }
    }
}
