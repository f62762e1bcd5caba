//! Bundle endpoints: another trust domain's roots over HTTPS, kept as new as it publishes them (SPIFFE Federation §5).

mod fetch;
#[cfg(feature = "tokens")]
mod form;
mod pace;
#[cfg(feature = "tokens")]
mod page;
mod url;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_identity::{Clock, SpiffeId, Timestamp, TrustBundle, TrustDomain};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::disk::put;
use super::file::put_in_force;
use crate::client::ClientBuilder;
use crate::clock::SystemClock;
use crate::jwks::{Published, read_bundle};
use crate::own::SetupError;
use crate::pem::{PemError, certificates_from_pem};
use crate::provider::provider;
use crate::rule::PeerRule;
use crate::tls;
use crate::trust::TrustStore;
use fetch::{Door, FetchFault, LIMIT, fetch};
use pace::Pace;

#[cfg(feature = "tokens")]
pub(crate) use form::WebForm;
#[cfg(feature = "tokens")]
pub(crate) use page::WebPage;
pub use url::{EndpointUrl, EndpointUrlError};

/// The least time between two looks, whatever a bundle hints at: it is somebody else's server.
const LEAST: Duration = Duration::from_secs(10);

/// A bundle endpoint of one trust domain, by either profile of SPIFFE Federation. Everything about it is said, nothing
/// inferred: URL, profile and trust domain.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use countersign_verifier::{BundleEndpoint, TrustStore, WebRoots};
/// use std::{fs, sync::Arc};
///
/// let store = Arc::new(TrustStore::default());
/// let web = WebRoots::from_pem(&fs::read("/etc/ssl/certs/ca-certificates.crt")?)?;
/// let url = "https://partner.example/bundle.json".parse()?;
/// let partner = BundleEndpoint::https_web("partner.example".parse()?, url, web);
/// let partner = partner.kept_at("/var/lib/ledger/partner.json");
/// tokio::spawn(partner.follow(Arc::clone(&store))?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BundleEndpoint {
    trust_domain: TrustDomain,
    url: EndpointUrl,
    profile: Profile,
    kept: Option<PathBuf>,
    least: Duration,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    health: EndpointHandle,
}

/// The authorities of the web that are believed at an `https_web` endpoint. They are handed in: nothing here looks for the
/// system's.
#[derive(Clone, Debug)]
pub struct WebRoots(Arc<RootCertStore>);

/// Why authorities of the web cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebRootsError {
    /// It is no PEM text of certificates.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// None of them is an authority.
    #[error("none of the {found} certificates is an authority's")]
    None {
        /// How many there are.
        found: usize,
    },
}

/// How a bundle endpoint is doing, at the moment it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointHealth {
    /// When it last answered with a bundle of use.
    pub fetched: Option<Timestamp>,
    /// The number of the bundle in force, where it came from there or from disk.
    pub sequence: Option<u64>,
    /// What went wrong since.
    pub last_fault: Option<String>,
    /// How often it was fetched.
    pub fetches: u64,
    /// How often that failed.
    pub faults: u64,
}

/// A view of an endpoint's health, for a health page. Cloning shares it.
#[derive(Clone, Default)]
pub struct EndpointHandle(Arc<Mutex<EndpointHealth>>);

#[derive(Debug)]
enum Profile {
    Web(WebRoots),
    /// The server's SPIFFE ID, and the bundle it is known by at first.
    Spiffe(SpiffeId, TrustBundle),
}

/// An endpoint that is followed.
struct Follower {
    endpoint: BundleEndpoint,
    store: Arc<TrustStore>,
    door: Door,
    /// What the server is known by, where its bundle is the very one that is fetched.
    own: Option<Arc<TrustStore>>,
}

impl BundleEndpoint {
    /// Profile `https_web`: the server is known by its host name (RFC 6125) under these authorities. TLS 1.3.
    #[must_use]
    pub fn https_web(trust_domain: TrustDomain, url: EndpointUrl, roots: WebRoots) -> Self {
        Self::new(trust_domain, url, Profile::Web(roots))
    }

    /// Profile `https_spiffe`: the server is exactly `server`, known at first by `bundle`, which is that of its own trust domain.
    /// Where that is the trust domain whose bundle is fetched, the newest one fetched counts from then on.
    #[must_use]
    pub fn https_spiffe(
        trust_domain: TrustDomain,
        url: EndpointUrl,
        server: SpiffeId,
        bundle: TrustBundle,
    ) -> Self {
        Self::new(trust_domain, url, Profile::Spiffe(server, bundle))
    }

    fn new(trust_domain: TrustDomain, url: EndpointUrl, profile: Profile) -> Self {
        Self {
            trust_domain,
            url,
            profile,
            kept: None,
            least: LEAST,
            clock: Arc::new(SystemClock),
            provider: provider(),
            health: EndpointHandle::default(),
        }
    }

    /// Keeps the last bundle in this file, for the next start: no older one is taken then either.
    #[must_use]
    pub fn kept_at(self, path: impl AsRef<Path>) -> Self {
        Self { kept: Some(path.as_ref().to_owned()), ..self }
    }

    /// Looks no more often than this, whatever the bundle hints at; default 10 s.
    #[must_use]
    pub fn no_more_often_than(self, least: Duration) -> Self {
        Self { least, ..self }
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Another provider than [`provider`].
    #[must_use]
    pub fn provider(self, provider: Arc<CryptoProvider>) -> Self {
        Self { provider, ..self }
    }

    /// A view of its health, to be taken before it is followed.
    #[must_use]
    pub fn health(&self) -> EndpointHandle {
        self.health.clone()
    }

    /// Takes up what is kept, and returns what keeps the bundle of the trust domain in `store` as the endpoint has it, for as long
    /// as it runs: at the pace the bundle hints at, and no sooner after a failure. While nothing was ever had, waits grow from half
    /// a second to a minute. What was held stays until there is something newer.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the bundle of the server cannot be trusted.
    pub fn follow(self, store: Arc<TrustStore>) -> Result<impl Future<Output = ()> + Send, SetupError> {
        let (door, own) = self.door()?;
        let follower = Follower { endpoint: self, store, door, own };
        let mut pace = Pace::new(follower.endpoint.least);
        if let Some(hint) = follower.take_up() {
            pace.fetched(hint);
        }
        Ok(follower.run(pace))
    }

    fn door(&self) -> Result<(Door, Option<Arc<TrustStore>>), SetupError> {
        match &self.profile {
            Profile::Web(roots) => {
                let config = tls::web_config(&self.provider, &self.clock, Arc::clone(&roots.0), None)?;
                Ok((Door::Web(config), None))
            }
            Profile::Spiffe(server, bundle) => {
                let unusable = |fault| SetupError::Bundle(Box::new(fault));
                let trust = Arc::new(TrustStore::new([bundle.clone()]).map_err(unusable)?);
                let connector = ClientBuilder::new(Arc::clone(&trust))
                    .expect(PeerRule::one_of([server.clone()]))
                    .clock(Arc::clone(&self.clock))
                    .provider(Arc::clone(&self.provider))
                    .alpn(&["http/1.1"])
                    .build()?;
                let self_serving = server.in_trust_domain(&self.trust_domain);
                Ok((Door::Spiffe(connector), self_serving.then_some(trust)))
            }
        }
    }
}

impl Follower {
    async fn run(self, mut pace: Pace) {
        loop {
            match self.look().await {
                Ok(hint) => pace.fetched(hint),
                Err(fault) => self.failed(fault),
            }
            sleep(pace.wait(self.random())).await;
        }
    }

    /// Fetches once; hands out how soon to look again.
    async fn look(&self) -> Result<Option<Duration>, String> {
        let fetched = timeout(LIMIT, fetch(&self.door, &self.endpoint.url)).await;
        let late = |_| format!("it did not answer within {LIMIT:?}");
        let octets = fetched.map_err(late)?.map_err(|fault: FetchFault| fault.to_string())?;
        let published = self.adopt(&octets)?;
        self.keep(octets.to_vec()).await;
        self.endpoint.health.fetched(self.endpoint.clock.now());
        Ok(published)
    }

    /// A full disk keeps no bundle from counting.
    async fn keep(&self, octets: Vec<u8>) {
        let Some(path) = self.endpoint.kept.clone() else { return };
        let kept = spawn_blocking(move || put(&path, &octets).map_err(|fault| (path, fault))).await;
        if let Ok(Err((path, fault))) = kept {
            let (trust_domain, path) = (&self.endpoint.trust_domain, path.display());
            tracing::error!(%trust_domain, %path, %fault, "trust bundle not kept on disk");
        }
    }

    /// Puts a bundle in force; hands out its hint.
    fn adopt(&self, octets: &[u8]) -> Result<Option<Duration>, String> {
        let Published { bundle, hint } =
            read_bundle(self.endpoint.trust_domain.clone(), octets).map_err(|fault| fault.to_string())?;
        let sequence = bundle.sequence();
        put_in_force(&self.store, bundle.clone()).map_err(|fault| fault.to_string())?;
        if let Some(own) = &self.own {
            put_in_force(own, bundle).map_err(|fault| fault.to_string())?;
        }
        self.endpoint.health.holds(sequence);
        tracing::info!(trust_domain = %self.endpoint.trust_domain, sequence, "trust bundle in force");
        Ok(hint)
    }

    /// Puts the bundle kept on disk in force; hands out its hint, if there is one of use.
    fn take_up(&self) -> Option<Option<Duration>> {
        let adopted = match std::fs::read(self.endpoint.kept.as_ref()?) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return None,
            Err(fault) => Err(fault.to_string()),
            Ok(octets) => self.adopt(&octets),
        };
        let left_aside = |fault| self.failed(format!("the bundle kept on disk is left aside: {fault}"));
        adopted.map_err(left_aside).ok()
    }

    fn failed(&self, fault: String) {
        let Self { endpoint, .. } = self;
        tracing::warn!(trust_domain = %endpoint.trust_domain, url = %endpoint.url, fault, "no news of trust");
        endpoint.health.failed(fault);
    }

    fn random(&self) -> u8 {
        let mut octet = [0];
        // Without randomness all wait the same: a crowd, and no fault.
        let _ = self.endpoint.provider.secure_random.fill(&mut octet);
        let [octet] = octet;
        octet
    }
}

impl WebRoots {
    /// From a PEM text, such as the one many systems keep at `/etc/ssl/certs/ca-certificates.crt`. Certificates that are no
    /// authority's are passed over.
    ///
    /// # Errors
    /// When it cannot be read, or no authority is in it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, WebRootsError> {
        let certificates = certificates_from_pem(pem)?;
        let found = certificates.len();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() { Err(WebRootsError::None { found }) } else { Ok(Self(Arc::new(roots))) }
    }
}

impl EndpointHandle {
    /// How it is doing.
    #[must_use]
    pub fn get(&self) -> EndpointHealth {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut EndpointHealth)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn fetched(&self, now: Timestamp) {
        self.change(|health| {
            health.fetched = Some(now);
            health.last_fault = None;
            health.fetches = health.fetches.saturating_add(1);
        });
    }

    fn holds(&self, sequence: u64) {
        self.change(|health| health.sequence = Some(sequence));
    }

    fn failed(&self, fault: String) {
        self.change(|health| {
            health.last_fault = Some(fault);
            health.faults = health.faults.saturating_add(1);
        });
    }
}

impl fmt::Debug for EndpointHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
