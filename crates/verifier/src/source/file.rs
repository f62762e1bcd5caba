//! Trust from files: looked at in an interval, read when they changed, whole or not at all.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use countersign_identity::{TrustBundle, TrustDomain};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::live::LiveTrust;
use crate::jwks::{JwksError, bundle_from_jwks};
use crate::own::{OwnIdentity, SetupError};
use crate::pem::{PemError, bundle_from_pem};
use crate::trust::{TrustError, TrustStore};

/// Larger than any honest file of trust.
const LIMIT: u64 = 256 << 20;

/// A file that is replaced by rename from time to time, at the end of links or not.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
    /// It was not there at the last look, which has been said.
    absent: bool,
}

/// What shows, without reading it, that a file is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    inode: (u64, u64),
}

/// Why a bundle in a file does not count. What was held stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleFileError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    File(#[from] io::Error),
    /// It is no PEM text of certificates.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// It is no SPIFFE bundle.
    #[error(transparent)]
    Jwks(#[from] JwksError),
    /// A root in it may not sign.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A newer one was seen.
    #[error("it is edition {found}, edition {held} was seen before")]
    Older {
        /// Its number.
        found: u64,
        /// The newest seen.
        held: u64,
    },
    /// Roots alone would bring back everybody who was revoked.
    #[error("a trust snapshot is in force for {0}, which roots alone cannot replace")]
    UnderSnapshot(TrustDomain),
}

impl LiveTrust {
    /// Takes snapshots from a file as `countersign bundle export` writes it, whenever the file changed, looked at every
    /// `every`. Runs until it is dropped.
    pub async fn follow_file(self, path: PathBuf, every: Duration) {
        let offer = move |octets: io::Result<Vec<u8>>| match octets {
            // What is wrong with it is in the health and the log.
            Ok(octets) => {
                let _ = self.offer_file(&octets);
                true
            }
            Err(fault) => {
                self.unreachable(format!("cannot read the trust snapshot: {fault}"));
                false
            }
        };
        follow(path, every, offer).await;
    }
}

/// Reads a bundle, PEM or SPIFFE JWKS, and puts it in force for `trust_domain`.
///
/// # Errors
/// With the reason not to; what was held stays.
pub fn offer_bundle_file(
    store: &TrustStore,
    trust_domain: &TrustDomain,
    octets: &[u8],
) -> Result<(), BundleFileError> {
    let begins = octets.iter().find(|octet| !octet.is_ascii_whitespace());
    let bundle: TrustBundle = match begins {
        Some(b'{') => bundle_from_jwks(trust_domain.clone(), octets)?,
        _ => bundle_from_pem(trust_domain.clone(), octets)?,
    };
    put_in_force(store, bundle)
}

/// Puts a bundle in the place of an older one, and of nothing else.
pub(super) fn put_in_force(store: &TrustStore, bundle: TrustBundle) -> Result<(), BundleFileError> {
    let trust_domain = bundle.trust_domain();
    if let Some(held) = store.get(trust_domain.as_str()) {
        if held.snapshot().is_some() {
            return Err(BundleFileError::UnderSnapshot(trust_domain.clone()));
        }
        if *held.bundle() == bundle {
            return Ok(());
        }
        let (found, held) = (bundle.sequence(), held.bundle().sequence());
        if found < held {
            return Err(BundleFileError::Older { found, held });
        }
    }
    store.replace(bundle).map_err(BundleFileError::Trust)
}

/// Keeps the bundle of a trust domain as a file has it, PEM or SPIFFE JWKS, looked at every `every`. A file that cannot
/// be used is said in the log, and what was held stays. Runs until it is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use countersign_verifier::{TrustStore, follow_bundle_file};
/// use std::{sync::Arc, time::Duration};
/// let store = Arc::new(TrustStore::default());
/// let path = "/etc/trust/partner.example.json".into();
/// tokio::spawn(follow_bundle_file(store, "partner.example".parse()?, path, Duration::from_secs(5)));
/// # Ok(()) }
/// ```
pub async fn follow_bundle_file(
    store: Arc<TrustStore>,
    trust_domain: TrustDomain,
    path: PathBuf,
    every: Duration,
) {
    let shown = path.display().to_string();
    let offer = move |octets: io::Result<Vec<u8>>| {
        let offered = octets
            .map_err(BundleFileError::File)
            .and_then(|octets| offer_bundle_file(&store, &trust_domain, &octets));
        match offered {
            Ok(()) => tracing::info!(%trust_domain, path = shown, "trust bundle in force"),
            Err(fault) => tracing::warn!(%trust_domain, path = shown, %fault, "trust bundle left aside"),
        }
        true
    };
    follow(path, every, offer).await;
}

/// Keeps an identity as its files have it, looked at every `every`: after a renewal, the next handshake shows the new
/// certificate. Both files may lie behind a link that is swapped, as `countersign-agent` has them. Runs until it is
/// dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use countersign_verifier::{OwnIdentity, follow_identity_files};
/// use std::time::Duration;
/// let me = OwnIdentity::from_files("svid.pem", "svid.key")?;
/// let files = ("svid.pem".into(), "svid.key".into());
/// tokio::spawn(follow_identity_files(me.clone(), files, Duration::from_secs(1)));
/// # Ok(()) }
/// ```
pub async fn follow_identity_files(own: Arc<OwnIdentity>, (chain, key): (PathBuf, PathBuf), every: Duration) {
    let (shown, path) = (chain.display().to_string(), chain.clone());
    let offer = move |changed: io::Result<Vec<u8>>| {
        let replaced = changed
            .map_err(|source| SetupError::File { path: chain.clone(), source })
            .and_then(|_| own.replace_from_files(&chain, &key));
        match replaced {
            Ok(()) => {
                tracing::info!(path = shown, "own certificate in force");
                true
            }
            // Perhaps one of two files was replaced: the next look tells.
            Err(fault) => {
                tracing::warn!(path = shown, %fault, "own certificate left aside");
                false
            }
        }
    };
    follow(path, every, offer).await;
}

/// Hands the content of a file to `offer` whenever it changed, and again as long as `offer` is not done with it.
async fn follow(
    path: PathBuf,
    every: Duration,
    offer: impl Fn(io::Result<Vec<u8>>) -> bool + Send + Sync + 'static,
) {
    let offer = Arc::new(offer);
    let mut watched = Watched { path, seen: None, absent: false };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let offer = Arc::clone(&offer);
        let look = spawn_blocking(move || {
            if let Some(octets) = watched.look()
                && !offer(octets)
            {
                watched.seen = None;
            }
            watched
        });
        match look.await {
            Ok(back) => watched = back,
            // The runtime is shutting down.
            Err(_) => return,
        }
    }
}

impl Watched {
    /// The content, if it changed since the last look.
    fn look(&mut self) -> Option<io::Result<Vec<u8>>> {
        match fs::metadata(&self.path) {
            Ok(metadata) => {
                self.absent = false;
                let stamp = Stamp::of(&metadata);
                if self.seen.replace(stamp) == Some(stamp) {
                    return None;
                }
                Some(read(&self.path))
            }
            Err(_) if self.absent => None,
            Err(fault) => {
                (self.seen, self.absent) = (None, true);
                Some(Err(fault))
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt as _;
                (metadata.dev(), metadata.ino())
            },
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut octets)?;
    Ok(octets)
}
