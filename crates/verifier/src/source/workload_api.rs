//! Trust and certificate from a SPIFFE Workload API: that of `countersign-agent`, or of any other agent of the standard.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_identity::{TrustBundle, TrustDomain, TrustDomainError};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::x509_source::X509SourceUpdates;
use spiffe::{X509Bundle, X509Source, X509SourceError, X509Svid};

use super::file::{BundleFileError, put_in_force};
use crate::own::{OwnIdentity, SetupError};
use crate::trust::TrustStore;

/// A connection to a SPIFFE Workload API (`FetchX509SVID`), which pushes what changes.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use countersign_verifier::{TrustStore, WorkloadApi};
/// use std::sync::Arc;
/// let trust = Arc::new(TrustStore::default());
/// let api = WorkloadApi::connect(Some("unix:///run/countersign/agent.sock"), Arc::clone(&trust)).await?;
/// let own = api.identity();
/// tokio::spawn(api.follow());
/// // `trust` and `own` go into a `ServerBuilder` or a `ClientBuilder`, which need not hear of rotations.
/// # Ok(()) }
/// ```
///
/// Bundles have no revocations in them: a service that must know of these within a second follows the certificate authority as well
/// ([`LiveTrust`](super::LiveTrust)), whose snapshot for a trust domain is never replaced by a bundle from here.
#[derive(Debug)]
pub struct WorkloadApi {
    source: X509Source,
    updates: X509SourceUpdates,
    trust: Arc<TrustStore>,
    own: Arc<OwnIdentity>,
    given: BTreeSet<TrustDomain>,
}

/// Why nothing could be taken from a Workload API.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadApiError {
    /// The endpoint is none, or what it gave is not of the standard.
    #[error("the SPIFFE Workload API: {0}")]
    Api(Box<X509SourceError>),
    /// The certificate or its key cannot be used.
    #[error("the SPIFFE Workload API gave an identity that cannot be used: {0}")]
    Identity(#[from] SetupError),
    /// A bundle cannot be used.
    #[error("the SPIFFE Workload API gave a bundle that cannot be used: {0}")]
    Bundle(#[from] BundleFileError),
    /// A bundle of something that is no trust domain.
    #[error("the SPIFFE Workload API gave a bundle of no trust domain: {0}")]
    TrustDomain(#[from] TrustDomainError),
}

impl From<X509SourceError> for WorkloadApiError {
    fn from(error: X509SourceError) -> Self {
        Self::Api(Box::new(error))
    }
}

impl WorkloadApi {
    /// Fetches the caller's first identity and the bundles beside it, which go into `trust`. Without an `endpoint`
    /// (`unix:///PATH`) the one in `$SPIFFE_ENDPOINT_SOCKET` is meant (SPIFFE Workload Endpoint §4).
    ///
    /// Waits, and asks again, while the agent is not there or has no identity for this process: whoever cannot wait for ever
    /// sets a time limit around it.
    ///
    /// # Errors
    /// When the endpoint is none, or what it gives cannot be used.
    pub async fn connect(endpoint: Option<&str>, trust: Arc<TrustStore>) -> Result<Self, WorkloadApiError> {
        let builder = X509Source::builder();
        let builder = match endpoint {
            Some(endpoint) => builder.endpoint(endpoint),
            None => builder,
        };
        let source = builder.build().await?;
        let updates = source.updated();
        let (chain, key) = papers(&*source.svid()?);
        let own = OwnIdentity::new(chain, key)?;
        let mut api = Self { source, updates, trust, own, given: BTreeSet::new() };
        api.take_bundles()?;
        Ok(api)
    }

    /// The identity of this process, as it is fetched.
    #[must_use]
    pub fn identity(&self) -> Arc<OwnIdentity> {
        Arc::clone(&self.own)
    }

    /// Takes up every change. What cannot be used is said in the log, and what was held stays; so it does while the agent is away. Runs
    /// until it is dropped.
    pub async fn follow(mut self) {
        while self.updates.changed().await.is_ok() {
            // Roots first: nobody shows a certificate under roots that are not believed yet.
            if let Err(fault) = self.take_bundles() {
                tracing::warn!(%fault, "trust bundles left aside");
            }
            match self.take_identity() {
                Ok(()) => tracing::info!("trust and certificate of the Workload API in force"),
                Err(fault) => tracing::warn!(%fault, "certificate left aside"),
            }
        }
    }

    fn take_identity(&self) -> Result<(), WorkloadApiError> {
        let (chain, key) = papers(&*self.source.svid()?);
        Ok(self.own.replace(chain, key)?)
    }

    /// Puts each bundle in force, and trusts no longer whoever is not among them any more.
    fn take_bundles(&mut self) -> Result<(), WorkloadApiError> {
        let bundles = self.source.bundle_set()?;
        let mut given = BTreeSet::new();
        for (name, bundle) in bundles.iter() {
            let trust_domain: TrustDomain = name.as_str().parse()?;
            match put_in_force(&self.trust, read(trust_domain.clone(), bundle)) {
                Ok(()) | Err(BundleFileError::UnderSnapshot(_)) => given.insert(trust_domain),
                Err(fault) => return Err(fault.into()),
            };
        }
        for gone in self.given.difference(&given) {
            if self.trust.get(gone.as_str()).is_some_and(|held| held.snapshot().is_none()) {
                self.trust.remove(gone);
            }
        }
        self.given = given;
        Ok(())
    }
}

fn read(trust_domain: TrustDomain, bundle: &X509Bundle) -> TrustBundle {
    let roots = bundle.authorities().iter().map(|root| root.as_bytes().to_vec());
    TrustBundle::new(trust_domain, roots.collect())
}

fn papers(svid: &X509Svid) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = svid.cert_chain().iter().map(|one| CertificateDer::from(one.as_bytes().to_vec()));
    let key = PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec());
    (chain.collect(), key.into())
}
