//! What a resource server is told before it knows anybody.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{Clock, TrustDomain};
use countersign_policy::PermissionLiteral;
use rustls::crypto::CryptoProvider;

use super::foreign::ForeignIssuer;
use super::metadata::Metadata;
use super::resource::ResourceServer;
use crate::gate::Gate;
use crate::report::Reporter;
use crate::source::{CaLink, LiveTrust};
use crate::trust::TrustStore;

/// How far the clocks of this service and its issuers may be apart.
pub(super) const SKEW: Duration = Duration::from_secs(30);

/// A resource server in the making; without an issuer it takes no tokens, without a link no API keys.
#[derive(Clone)]
pub struct ResourceSettings {
    pub(super) service: String,
    pub(super) gate: Gate,
    pub(super) home: TrustDomain,
    pub(super) trust: Arc<TrustStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) issuer: Option<String>,
    pub(super) foreign: Vec<ForeignIssuer>,
    pub(super) unbound: bool,
    pub(super) skew: Duration,
    pub(super) at: Option<String>,
    pub(super) permissions: Vec<PermissionLiteral>,
    pub(super) reporter: Option<Reporter>,
    pub(super) link: Option<CaLink>,
}

/// Why a resource server cannot be set up.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceError {
    /// Two issuers of one name: it would not be clear whose keys count.
    #[error("the issuer {0:?} is named twice")]
    IssuerTwice(String),
    /// Two authorization servers are asked about tokens: one that says nothing of itself could be of either, and nobody shall be shown
    /// tokens of another.
    #[error("{first:?} and {second:?} are both asked about tokens, and a token need not say whose it is")]
    AskedTwice {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A foreign authorization server that could name identities of our own trust domain.
    #[error(
        "the issuer {issuer:?} would name identities of {trust_domain}, which only its own certificate authority may"
    )]
    ForeignHome {
        /// Whose tokens.
        issuer: String,
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// No URL of a resource (RFC 9728 §1.2).
    #[error("found {found:?}, expected an https URL of this service, without query and fragment")]
    Url {
        /// The text found.
        found: String,
    },
}

impl ResourceServer {
    /// For the service with this name in the policy, whose tokens have it as their audience.
    #[must_use]
    pub fn of(service: &str, trust: &LiveTrust) -> ResourceSettings {
        ResourceSettings {
            service: service.to_owned(),
            gate: trust.gate(),
            home: trust.trust_domain().clone(),
            trust: trust.store(),
            clock: Arc::clone(trust.clock()),
            provider: Arc::clone(trust.provider()),
            issuer: None,
            foreign: Vec::new(),
            unbound: false,
            skew: SKEW,
            at: None,
            permissions: Vec::new(),
            reporter: None,
            link: None,
        }
    }
}

impl ResourceSettings {
    /// Takes the tokens of our own certificate authority, whose URL is their `iss`. Their keys are in the trust snapshot.
    #[must_use]
    pub fn tokens_of(self, issuer: &str) -> Self {
        Self { issuer: Some(issuer.to_owned()), ..self }
    }

    /// Also takes tokens of another authorization server.
    #[must_use]
    pub fn also(mut self, issuer: ForeignIssuer) -> Self {
        self.foreign.push(issuer);
        self
    }

    /// Also takes our own tokens that are bound to nobody, where the registration of their holder let them be made (`cs_unbound`).
    /// Whoever has one may use it, so that by default none is taken.
    #[must_use]
    pub fn unbound_tokens(self) -> Self {
        Self { unbound: true, ..self }
    }

    /// Also takes API keys, about which the certificate authority is asked over this link (RFC 7662). A verdict is believed for 60
    /// seconds, less if the key is revoked meanwhile.
    #[must_use]
    pub fn api_keys(self, link: CaLink) -> Self {
        Self { link: Some(link), ..self }
    }

    /// How far clocks may be apart; default 30 s.
    #[must_use]
    pub fn skew(self, skew: Duration) -> Self {
        Self { skew, ..self }
    }

    /// The URL of this service. Refused callers are told where its metadata are (RFC 9728), and the accept loop serves them.
    #[must_use]
    pub fn at(self, url: &str) -> Self {
        Self { at: Some(url.to_owned()), ..self }
    }

    /// Names these permissions in the metadata.
    #[must_use]
    pub fn scopes(self, permissions: &[PermissionLiteral]) -> Self {
        Self { permissions: permissions.to_vec(), ..self }
    }

    /// Tells `reporter` who was known and what they may.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { gate: self.gate.reporting(reporter.clone()), reporter: Some(reporter), ..self }
    }

    /// The resource server.
    ///
    /// # Errors
    /// When issuers contradict each other, or the URL is none.
    pub fn build(self) -> Result<ResourceServer, ResourceError> {
        let mut names: Vec<&str> = self.foreign.iter().map(ForeignIssuer::url).collect();
        names.extend(self.issuer.as_deref());
        names.sort_unstable();
        let mut pairs = names.iter().zip(names.iter().skip(1));
        if let Some((twice, _)) = pairs.find(|(one, next)| one == next) {
            return Err(ResourceError::IssuerTwice((*twice).to_owned()));
        }
        if let Some(foreign) = self.foreign.iter().find(|foreign| *foreign.trust_domain() == self.home) {
            let (issuer, trust_domain) = (foreign.url().to_owned(), self.home);
            return Err(ResourceError::ForeignHome { issuer, trust_domain });
        }
        let mut asked =
            self.foreign.iter().filter(|foreign| foreign.is_asked()).map(|foreign| foreign.url().to_owned());
        if let (Some(first), Some(second)) = (asked.next(), asked.next()) {
            return Err(ResourceError::AskedTwice { first, second });
        }
        let issuers: Vec<&str> =
            self.issuer.as_deref().into_iter().chain(self.foreign.iter().map(ForeignIssuer::url)).collect();
        let metadata = self.at.as_ref().map(|url| {
            Metadata::of(url, &self.service, &issuers, &self.permissions)
                .ok_or_else(|| ResourceError::Url { found: url.clone() })
        });
        Ok(ResourceServer::new(metadata.transpose()?, self))
    }
}

impl fmt::Debug for ResourceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceSettings")
            .field("service", &self.service)
            .field("issuer", &self.issuer)
            .field("foreign", &self.foreign)
            .field("unbound", &self.unbound)
            .finish_non_exhaustive()
    }
}
