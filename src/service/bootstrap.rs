//! Bootstrap: a root, an issuer, a trust signer and the files an operator edits, all at once or not at all.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use countersign_identity::{Clock, KeyHash, TrustDomain, hex};
use sha2::{Digest as _, Sha256};

use super::{
    api_keys::HASHED_UNDER,
    root_hand::{RootActError, RootHand, new_unlock_secret},
    roots::first_roots_document,
};
use crate::{
    config::{StateDir, directory},
    signer::{Entropy, KeyFile, Strength, files, new_key},
};

const CONFIG: &str = include_str!("../../ca-config/countersign.toml");
const POLICY: &str = include_str!("../../ca-config/policy.toml");
const PROFILES: [(&str, &str); 3] = [
    ("workload.toml", include_str!("../../ca-config/profiles/workload.toml")),
    ("gateway.toml", include_str!("../../ca-config/profiles/gateway.toml")),
    ("operator.toml", include_str!("../../ca-config/profiles/operator.toml")),
];
/// The trust domain the example files are written for.
const EXAMPLE_DOMAIN: &str = "prod.example";

/// What an operator decides once.
#[derive(Clone, Debug)]
pub struct Bootstrap<'a> {
    /// The trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The directory that will hold everything; absent or empty.
    pub dir: &'a Path,
    /// Where machines will connect.
    pub listen: SocketAddr,
    /// Where health and metrics will be served.
    pub ops_listen: SocketAddr,
    /// What invitations will carry.
    pub url: &'a str,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Bootstrapped {
    /// The configuration file.
    pub config: PathBuf,
    /// SHA-256 of the root certificate's DER: what machines pin.
    pub root_fingerprint: [u8; 32],
    /// SHA-256 of the root's public key.
    pub root_key: KeyHash,
}

/// Why nothing was set up.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// There is something in the directory.
    #[error("{dir} is not empty (it holds {found:?}): expected a new or an empty directory")]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One thing that is in it.
        found: String,
    },
    /// The directory is named by what it is to somebody inside, such as `.`, and cannot be put in place whole.
    #[error("{dir} has no name of its own: expected a path such as ../ca or /srv/ca")]
    Nameless {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system.
    #[error("cannot set up {path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Keys and certificates.
    #[error(transparent)]
    Root(#[from] RootActError),
}

impl Bootstrap<'_> {
    /// Sets everything up aside and renames it into place, so that an interrupted `init` leaves nothing behind
    /// under the directory's name.
    ///
    /// # Errors
    /// When the directory is not empty, or something cannot be written.
    pub async fn run(
        &self,
        passphrase: &[u8],
        entropy: &Entropy,
        clock: &dyn Clock,
    ) -> Result<Bootstrapped, BootstrapError> {
        refuse_occupied(self.dir)?;
        let aside = aside_of(self.dir, entropy);
        let made = self.fill(&aside, passphrase, entropy, clock).await;
        let made = match made {
            Ok(made) => files::rename(&aside, self.dir).map(|()| made).map_err(file(self.dir)),
            Err(error) => Err(error),
        };
        if made.is_err() {
            // Best effort: what is left is under a hidden name and says nothing to anyone but its owner.
            let _ = directory::remove(&aside);
        }
        made
    }

    async fn fill(
        &self,
        aside: &Path,
        passphrase: &[u8],
        entropy: &Entropy,
        clock: &dyn Clock,
    ) -> Result<Bootstrapped, BootstrapError> {
        let state = StateDir::new(aside.join("state"));
        for dir in
            [state.path().to_path_buf(), state.keys(), state.issuers(), state.trust_signers(), state.book()]
        {
            files::create_private_directory(&dir).map_err(file(&dir))?;
        }
        self.write_files(aside)?;
        let unlock = new_unlock_secret(&state, entropy)?;
        let root = RootHand::create(self.trust_domain, &state, passphrase, entropy, clock).await?;
        root.new_issuer(&state, &unlock).await?;
        root.new_trust_signer(&state, 1, &unlock).await?;
        make_named_keys(&state, &unlock, entropy)?;
        let document = first_roots_document(self.trust_domain, root.certificate(), root.signer())
            .await
            .map_err(RootActError::from)?;
        let roots = state.roots_documents();
        files::create_public(&roots, serde_json::json!([document]).to_string().as_bytes())
            .map_err(file(&roots))?;
        Ok(Bootstrapped {
            config: self.dir.join("countersign.toml"),
            root_fingerprint: Sha256::digest(root.certificate().der()).into(),
            root_key: KeyHash::from_bytes(Sha256::digest(root.signer().public_key()).into()),
        })
    }

    /// The example files, made the operator's own.
    fn write_files(&self, aside: &Path) -> Result<(), BootstrapError> {
        let config = CONFIG
            .replace(EXAMPLE_DOMAIN, self.trust_domain.as_str())
            .replace("listen = \"127.0.0.1:8443\"", &format!("listen = \"{}\"", self.listen))
            .replace("ops_listen = \"127.0.0.1:9443\"", &format!("ops_listen = \"{}\"", self.ops_listen))
            .replace("url = \"https://127.0.0.1:8443\"", &format!("url = {:?}", self.url));
        let profiles = aside.join("profiles");
        files::create_private_directory(&profiles).map_err(file(&profiles))?;
        let policy = POLICY.replace(EXAMPLE_DOMAIN, self.trust_domain.as_str());
        let mut texts = vec![(aside.join("countersign.toml"), config), (aside.join("policy.toml"), policy)];
        texts.extend(PROFILES.iter().map(|(name, text)| (profiles.join(name), (*text).to_owned())));
        for (path, text) in texts {
            files::create_public(&path, text.as_bytes()).map_err(file(&path))?;
        }
        Ok(())
    }
}

/// Where a new directory is filled before it gets its name.
pub(super) fn aside_of(dir: &Path, entropy: &Entropy) -> PathBuf {
    let name = dir.file_name().map_or_else(|| "ca".into(), |name| name.to_string_lossy().into_owned());
    dir.with_file_name(format!(".{name}.{}", hex::encode(&entropy.octets::<4>())))
}

/// Refuses a directory that holds something.
pub(super) fn refuse_occupied(dir: &Path) -> Result<(), BootstrapError> {
    let entries = directory::entries(dir).map_err(file(dir))?;
    match entries.first().and_then(|entry| entry.file_name()) {
        None => Ok(()),
        Some(name) => {
            Err(BootstrapError::NotEmpty { dir: dir.into(), found: name.to_string_lossy().into_owned() })
        }
    }
}

/// Makes the keys of access tokens, of JWT-SVIDs, and of the hashes of API keys.
pub(super) fn make_named_keys(
    state: &StateDir,
    unlock: &[u8],
    entropy: &Entropy,
) -> Result<(), RootActError> {
    for name in ["token", "jwt-svid", HASHED_UNDER] {
        let key = new_key()?;
        let file = KeyFile::at(state.key(name));
        file.create(key.serialized_der(), unlock, Strength::Generated, entropy)?;
    }
    Ok(())
}

fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> BootstrapError {
    let path = path.into();
    move |source| BootstrapError::File { path, source }
}
