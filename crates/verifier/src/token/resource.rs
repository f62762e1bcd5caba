//! The resource server: who calls, by certificate, access token or API key.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use countersign_identity::Timestamp;

use super::access::{AccessToken, Binding, Moment};
use super::api_key::ApiKey;
use super::foreign::is_signed;
use super::jwk::{SignedBy, TokenKeys};
use super::metadata::{self, Metadata};
use super::questions::{Questions, Turns};
use super::refusal::TokenRefusal;
use super::settings::ResourceSettings;
use super::unverified::Unverified;
use crate::caller::{Caller, Credential};
use crate::outcome;
use crate::peer::VerifiedPeer;
use crate::report::Reporter;
use crate::snapshot::Snapshot;
use crate::trust::Anchors;

/// Knows callers by certificate, access token or API key, all under the same identities and the same policy. Cloning shares it.
///
/// Tokens are verified offline: by the keys, the revocations and the policy of the trust snapshot. A bound token is worth nothing
/// without the certificate it is bound to, or a current one of the same lineage and subject under our own issuers, so that a renewal
/// does not break it. What a caller may do is what its token carries, as far as the policy still gives it.
///
#[cfg_attr(feature = "axum", doc = "```no_run")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// # async fn example(trust: countersign_verifier::LiveTrust) -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::get};
/// use countersign_verifier::*;
/// use std::future::pending;
///
/// permissions! { mod ledger = "ledger" { Read = "read" } }
///
/// let me = OwnIdentity::from_files("svid.pem", "svid.key")?;
/// let resource = ResourceServer::of("ledger", &trust)
///     .tokens_of("https://ca.prod.example:8443")
///     .api_keys(trust.link("https://ca.prod.example:8443".parse()?, me.clone())?)
///     .at("https://ledger.prod.example:8444")
///     .build()?;
/// let acceptor = ServerBuilder::new(me, trust.store())
///     .admit(PeerRule::trust_domain("prod.example".parse()?))
///     .certificate_optional()
///     .build()?;
/// let router = Router::new()
///     .route("/entries", get(|may: Allowed<ledger::Read>| async move { may.caller().spiffe_id().to_string() }));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8444").await?;
/// axum_serve_resource(listener, acceptor, resource, router, pending()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ResourceServer(Arc<Resource>);

struct Resource {
    settings: ResourceSettings,
    /// The keys of the snapshot in force, read.
    keys: ArcSwapOption<ReadKeys>,
    key_questions: Questions<ApiKey>,
    key_turns: Turns,
    metadata: Option<Metadata>,
}

/// Keys, and the octets they were read from.
struct ReadKeys {
    octets: Arc<[u8]>,
    keys: TokenKeys,
}

/// A token that was accepted, as long as nothing changes: whoever keeps it asks [`ResourceServer::still_accepts`].
#[derive(Clone)]
pub(super) struct Accepted {
    pub(super) caller: Caller,
    /// What it was judged by.
    pub(super) anchors: Arc<Anchors>,
}

impl ResourceServer {
    pub(super) fn new(metadata: Option<Metadata>, settings: ResourceSettings) -> Self {
        let (key_questions, key_turns) = (Questions::default(), Turns::default());
        let keys = ArcSwapOption::empty();
        Self(Arc::new(Resource { settings, keys, key_questions, key_turns, metadata }))
    }

    /// The caller behind an access token that was presented on a connection with this peer, or none.
    ///
    /// # Errors
    /// With the reason not to accept it; a token is never accepted in part.
    pub fn judge(&self, token: &str, peer: Option<&VerifiedPeer>) -> Result<Caller, TokenRefusal> {
        let verdict = self.accept(token, peer).map(|accepted| accepted.caller);
        outcome::presented(&verdict, self.reporter());
        verdict
    }

    /// The same for an API key as well, and with whatever must be asked for: the keys of a foreign issuer, the authorization server
    /// about an API key.
    ///
    /// # Errors
    /// With the reason not to accept it.
    pub async fn caller(&self, presented: &str, peer: Option<&VerifiedPeer>) -> Result<Caller, TokenRefusal> {
        let verdict = self.accept_any(presented, peer).await.map(|accepted| accepted.caller);
        outcome::presented(&verdict, self.reporter());
        verdict
    }

    pub(super) fn accept(&self, token: &str, peer: Option<&VerifiedPeer>) -> Result<Accepted, TokenRefusal> {
        let anchors = self.anchors()?;
        let token = self.token(token, &anchors)?;
        self.is_held(&token, peer, &anchors)?;
        self.stands(&token, &anchors)?;
        let caller = self.0.settings.gate.caller(Credential::Token(token));
        Ok(Accepted { caller, anchors })
    }

    /// Whether what was accepted still is, on the same connection: nothing but time and trust can have changed.
    pub(super) fn still_accepts(&self, accepted: &Accepted) -> bool {
        let Ok(anchors) = self.anchors() else { return false };
        let now = self.now();
        let credential = accepted.caller.credential();
        let same = Arc::ptr_eq(&anchors, &accepted.anchors);
        match credential {
            // Whom another server or ours must be asked about is known by what it said last.
            Credential::Token(token) => same && now < token.end() && !self.is_judged_anew(token, now),
            Credential::ApiKey(_) | Credential::Certificate(_) => false,
        }
    }

    /// Which issuer's it is, signed by it, and what it says.
    fn token(&self, token: &str, anchors: &Anchors) -> Result<AccessToken, TokenRefusal> {
        let settings = &self.0.settings;
        let moment = Moment { now: self.now(), skew: settings.skew };
        let token = Unverified::read(token)?;
        let issuer = token.issuer();
        if settings.issuer.as_deref() == Some(issuer) {
            let kid = token.key_name(SignedBy::Es256.as_str(), true)?;
            let keys = self.own_keys(snapshot(anchors)?)?;
            is_signed(&token, &keys.keys, (SignedBy::Es256, kid), &settings.provider)?;
            let found = token.claims.text("aud").unwrap_or_default();
            if found != settings.service {
                let (found, expected) = (found.to_owned(), settings.service.clone());
                return Err(TokenRefusal::Audience { found, expected });
            }
            let ours = AccessToken::ours(&token.claims, &settings.service, moment)?;
            return match ours.subject().in_trust_domain(&settings.home) {
                true => Ok(ours),
                false => Err(TokenRefusal::Claims { what: "`sub` is of another trust domain".to_owned() }),
            };
        }
        match settings.foreign.iter().find(|foreign| foreign.url() == issuer) {
            Some(foreign) => foreign.judge(&token, moment, &settings.provider),
            None => Err(TokenRefusal::Issuer { found: issuer.to_owned() }),
        }
    }

    /// Whether whoever presents it is whom it is bound to.
    pub(super) fn is_held(
        &self,
        token: &AccessToken,
        peer: Option<&VerifiedPeer>,
        anchors: &Anchors,
    ) -> Result<(), TokenRefusal> {
        let (thumbprint, lineage) = match token.binding() {
            Binding::Bound { thumbprint, lineage } => (thumbprint, lineage),
            // A foreign one came this far only where its issuer's may be unbound.
            Binding::Unbound if self.0.settings.unbound || self.is_foreign(token) => return Ok(()),
            Binding::Unbound => return Err(TokenRefusal::Unbound),
        };
        let peer = peer.ok_or(TokenRefusal::NoCertificate)?;
        if peer.thumbprint() == thumbprint {
            return Ok(());
        }
        // A lineage is believed under our own issuers alone, which the snapshot lists.
        let ours = peer.spiffe_id().in_trust_domain(&self.0.settings.home)
            && anchors.snapshot().is_some()
            && anchors.is_listed(peer.issuer_key(), self.now()).is_ok();
        let same = lineage.is_some() && peer.lineage() == *lineage && peer.spiffe_id() == token.subject();
        if ours && same { Ok(()) } else { Err(TokenRefusal::NotTheHolder) }
    }

    /// Whether nothing about it was revoked.
    fn stands(&self, token: &AccessToken, anchors: &Anchors) -> Result<(), TokenRefusal> {
        if self.is_foreign(token) {
            return Ok(());
        }
        let snapshot = snapshot(anchors)?;
        let now = self.now();
        let revoked = |what| Err(TokenRefusal::Revoked { what });
        if token.id().is_some_and(|id| snapshot.revokes_token(id)) {
            return revoked("token");
        }
        if token.key_id().is_some_and(|id| snapshot.revokes_api_key(id)) {
            return revoked("API key it came from");
        }
        if token.serial().is_some_and(|serial| snapshot.revokes_serial(serial, now.min(token.expires()))) {
            return revoked("certificate it was bought with");
        }
        match snapshot.revokes_holder(token.subject(), token.lineage(), token.issued(), now) {
            true => revoked("holder of the token"),
            false => Ok(()),
        }
    }

    fn is_judged_anew(&self, token: &AccessToken, now: Timestamp) -> bool {
        let issuer = self.0.settings.foreign.iter().find(|foreign| foreign.url() == token.issuer());
        issuer.is_some_and(|issuer| issuer.is_judged_anew(now))
    }

    fn is_foreign(&self, token: &AccessToken) -> bool {
        self.0.settings.issuer.as_deref() != Some(token.issuer())
    }

    /// The keys of the snapshot; read once for each set.
    fn own_keys(&self, snapshot: &Snapshot) -> Result<Arc<ReadKeys>, TokenRefusal> {
        let octets = snapshot.shared_token_keys();
        if let Some(held) = self.0.keys.load_full().filter(|held| Arc::ptr_eq(&held.octets, octets)) {
            return Ok(held);
        }
        let keys =
            TokenKeys::read(octets).map_err(|fault| TokenRefusal::NotKnown { what: fault.to_string() })?;
        let read = Arc::new(ReadKeys { octets: Arc::clone(octets), keys });
        self.0.keys.store(Some(Arc::clone(&read)));
        Ok(read)
    }

    /// What is trusted of our own trust domain, if it is young enough.
    pub(super) fn anchors(&self) -> Result<Arc<Anchors>, TokenRefusal> {
        let unknown = |what: String| TokenRefusal::NotKnown { what };
        let anchors = self.0.settings.trust.get(self.0.settings.home.as_str());
        let anchors = anchors.ok_or_else(|| unknown("there is no trust snapshot yet".to_owned()))?;
        anchors.is_fresh(self.now()).map_err(|stale| unknown(stale.to_string()))?;
        Ok(anchors)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.settings.clock.now()
    }

    pub(super) fn settings(&self) -> &ResourceSettings {
        &self.0.settings
    }

    /// What was said and is asked of API keys, and turns to ask.
    pub(super) fn key_questions(&self) -> (&Questions<ApiKey>, &Turns) {
        (&self.0.key_questions, &self.0.key_turns)
    }

    pub(super) fn by_certificate(&self, peer: VerifiedPeer) -> Caller {
        self.0.settings.gate.caller(Credential::Certificate(peer))
    }

    pub(super) fn reporter(&self) -> Option<&Reporter> {
        self.0.settings.reporter.as_ref()
    }

    /// The document of RFC 9728, and where it is; none where [`at`](ResourceSettings::at) was not said.
    #[must_use]
    pub fn metadata(&self) -> Option<(&str, &str)> {
        self.0.metadata.as_ref().map(|metadata| (metadata.path(), metadata.document()))
    }

    /// What `WWW-Authenticate` says (RFC 6750 §3, RFC 9728 §5.1), with the word for the error and the permission that would do, where
    /// there is one.
    #[must_use]
    pub fn authenticate(&self, error: Option<&str>, scope: Option<&str>) -> String {
        metadata::challenge(self.0.metadata.as_ref(), error, scope)
    }
}

pub(super) fn snapshot(anchors: &Anchors) -> Result<&Snapshot, TokenRefusal> {
    let what = || "there is a bundle, and no trust snapshot with keys and revocations".to_owned();
    anchors.snapshot().ok_or_else(|| TokenRefusal::NotKnown { what: what() })
}

impl fmt::Debug for ResourceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResourceServer").field(&self.0.settings).finish()
    }
}
