//! Another authorization server: whose tokens are taken here, by which keys, and whom they name.

use std::fmt;
use std::sync::Arc;

use countersign_identity::Timestamp;
use countersign_identity::{SpiffeId, TrustDomain};
use countersign_policy::Permission;
use rustls::crypto::CryptoProvider;

use super::access::{AccessToken, Binding, Moment, text};
use super::foreign_keys::ForeignKeys;
use super::introspection::Introspection;
use super::jwk::{SignedBy, TokenKeys};
use super::members::{Members, Value};
use super::questions::Questions;
use super::refusal::TokenRefusal;
use super::settings::SKEW;
use super::unverified::Unverified;
use super::verdicts::SecretDigest;

/// Whom a foreign token names here, and what it carries: nothing if it is nobody's business here.
type Map = dyn Fn(&Members) -> Option<(SpiffeId, Vec<Permission>)> + Send + Sync;

/// An authorization server other than the certificate authority's.
///
/// Its tokens name identities of a trust domain of their own, made up for that server: the permission policy grants to these as to
/// any other, and what a token carries is the most of it. So the policy stays the one place that says who may what, and no foreign
/// server can name a machine of ours.
///
/// ```
/// use countersign_verifier::{ForeignIssuer, ForeignKeys, Permission, SignedBy, SpiffeId};
///
/// # fn example(jwks: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let login = ForeignIssuer::new(
///     "https://login.example",
///     "https://ledger.example",
///     "login.example".parse()?,
///     ForeignKeys::fixed(jwks)?,
///     |claims| {
///         let subject: SpiffeId = format!("spiffe://login.example/{}", claims.text("sub")?).parse().ok()?;
///         let scope = claims.text("scope")?.split(' ').filter_map(|word| match word {
///             "entries.read" => "ledger:read".parse().ok(),
///             _ => None,
///         });
///         Some((subject, scope.collect()))
///     },
/// )
/// .signed_by(SignedBy::Rs256);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ForeignIssuer(Arc<Issuer>);

struct Issuer {
    url: String,
    audience: String,
    trust_domain: TrustDomain,
    known_by: KnownBy,
    signed_by: SignedBy,
    bearer: bool,
    map: Arc<Map>,
    /// A verdict is of this audience, these claims and this map, and good for no issuer that has others.
    questions: Questions<AccessToken>,
}

/// How it is known that a token is of an authorization server. The enum is exhaustive on purpose.
#[derive(Clone, Debug)]
pub enum KnownBy {
    /// By its keys: tokens are JWTs (RFC 9068), verified offline.
    Keys(ForeignKeys),
    /// By its answers (RFC 7662): tokens may be of any form.
    Answers(Introspection),
}

impl From<ForeignKeys> for KnownBy {
    fn from(keys: ForeignKeys) -> Self {
        Self::Keys(keys)
    }
}

impl From<Introspection> for KnownBy {
    fn from(answers: Introspection) -> Self {
        Self::Answers(answers)
    }
}

impl ForeignIssuer {
    /// `issuer` and `audience` as they must stand in `iss` and `aud`; `trust_domain` for the identities that `map` makes of claims, which
    /// are those of the token, or, with [`Introspection`], those of the answer about it.
    #[must_use]
    pub fn new(
        issuer: &str,
        audience: &str,
        trust_domain: TrustDomain,
        known_by: impl Into<KnownBy>,
        map: impl Fn(&Members) -> Option<(SpiffeId, Vec<Permission>)> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Issuer {
            url: issuer.to_owned(),
            audience: audience.to_owned(),
            trust_domain,
            known_by: known_by.into(),
            signed_by: SignedBy::Es256,
            bearer: false,
            map: Arc::new(map),
            questions: Questions::default(),
        }))
    }

    /// How it signs; default ES256. A token never chooses.
    #[must_use]
    pub fn signed_by(self, signed_by: SignedBy) -> Self {
        self.with(|issuer| issuer.signed_by = signed_by)
    }

    /// Also takes its tokens that are bound to no certificate: whoever has one may use it.
    #[must_use]
    pub fn unbound(self) -> Self {
        self.with(|issuer| issuer.bearer = true)
    }

    fn with(self, change: impl FnOnce(&mut Issuer)) -> Self {
        let Issuer { url, audience, trust_domain, known_by, signed_by, bearer, map, .. } = &*self.0;
        let mut issuer = Issuer {
            url: url.clone(),
            audience: audience.clone(),
            trust_domain: trust_domain.clone(),
            known_by: known_by.clone(),
            signed_by: *signed_by,
            bearer: *bearer,
            map: Arc::clone(map),
            questions: Questions::default(),
        };
        change(&mut issuer);
        Self(Arc::new(issuer))
    }

    /// Its name in `iss`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    pub(super) fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// Its keys, where its tokens are known by them.
    pub(super) fn keys(&self) -> Option<&ForeignKeys> {
        match &self.0.known_by {
            KnownBy::Keys(keys) => Some(keys),
            KnownBy::Answers(_) => None,
        }
    }

    /// Whether its tokens are judged anew each time they come: it is asked, or its keys count no more.
    pub(super) fn is_judged_anew(&self, now: Timestamp) -> bool {
        match &self.0.known_by {
            KnownBy::Keys(keys) => keys.are_over(now),
            KnownBy::Answers(_) => true,
        }
    }

    /// Whether it is asked about each token.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.0.known_by, KnownBy::Answers(_))
    }

    pub(super) fn judge(
        &self,
        token: &Unverified<'_>,
        moment: Moment,
        provider: &CryptoProvider,
    ) -> Result<AccessToken, TokenRefusal> {
        let Issuer { url, known_by, signed_by, .. } = &*self.0;
        let KnownBy::Keys(keys) = known_by else {
            return Err(TokenRefusal::NotKnown { what: format!("{url} must be asked about its tokens") });
        };
        let kid = token.key_name(signed_by.as_str(), false)?;
        if keys.are_over(moment.now) {
            return Err(TokenRefusal::NotKnown {
                what: format!("the keys of {url} were not had for too long"),
            });
        }
        is_signed(token, &keys.held(), (*signed_by, kid), provider)?;
        self.mapped(&token.claims, moment)
    }

    /// What it says of a token that it is asked about, or said in the last minute.
    pub(super) async fn ask(&self, token: &str, moment: Moment) -> Result<AccessToken, TokenRefusal> {
        let Issuer { url, known_by, questions, .. } = &*self.0;
        match known_by {
            KnownBy::Answers(desk) => {
                let ask = async { self.read(&desk.answer(url, token, moment.now).await?, moment) };
                questions.verdict(SecretDigest::of(token), moment.now, desk.turns(), ask).await
            }
            KnownBy::Keys(_) => Err(TokenRefusal::NotKnown { what: format!("{url} is asked about nothing") }),
        }
    }

    /// What an answer of its introspection endpoint (RFC 7662 §2.2) says of a token, for a service that asks by means of its own.
    ///
    /// # Errors
    /// When the token is not active, no access token, of another issuer, for another audience, out of its time, nobody's here, or bound
    /// to nothing where that is not allowed; [`TokenRefusal::NotKnown`] when it is no such answer.
    pub fn answered(&self, answer: &[u8], now: Timestamp) -> Result<AccessToken, TokenRefusal> {
        self.read(answer, Moment { now, skew: SKEW })
    }

    fn read(&self, answer: &[u8], moment: Moment) -> Result<AccessToken, TokenRefusal> {
        let unusable = |what| TokenRefusal::NotKnown { what: format!("the answer about a token: {what}") };
        let claims = Members::read(answer).map_err(unusable)?;
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(TokenRefusal::NotActive);
        }
        // Refresh tokens are active, too (RFC 7662 §2.2); `token_use` is how some tell them apart.
        let kind = claims.text("token_type").unwrap_or_default();
        let used = claims.text("token_use").unwrap_or("access_token");
        if !kind.eq_ignore_ascii_case("bearer") || used != "access_token" {
            return Err(TokenRefusal::Kind { found: format!("{kind} {used}") });
        }
        if let Some(found) = claims.get("iss").map(|_| claims.text("iss").unwrap_or_default())
            && found != self.url()
        {
            return Err(TokenRefusal::Issuer { found: found.to_owned() });
        }
        let token = self.mapped(&claims, moment)?;
        // Its own server, by whose clock it ends, was asked a moment ago.
        if moment.now >= token.expires() {
            return Err(TokenRefusal::Expired { by: moment.now.since(token.expires()) });
        }
        Ok(token.ending_sharp())
    }

    /// The token that claims which are its issuer's make of whom it maps them to.
    fn mapped(&self, claims: &Members, moment: Moment) -> Result<AccessToken, TokenRefusal> {
        let Issuer { url, audience, trust_domain, bearer, map, .. } = &*self.0;
        for_audience(claims, audience)?;
        let mapped = map(claims).filter(|(subject, _)| subject.in_trust_domain(trust_domain));
        let mapped = mapped.ok_or_else(|| TokenRefusal::Claims {
            what: format!("they name nobody of {trust_domain}, as this service maps them"),
        })?;
        let token = AccessToken::foreign(url, claims, mapped, moment)?;
        match token.binding() {
            Binding::Unbound if !bearer => Err(TokenRefusal::Unbound),
            _ => Ok(token),
        }
    }

    /// Whether its keys should be looked at anew before this token is judged: they are old, or do not hold the one it names.
    pub(super) fn needs_a_look(&self, keys: &ForeignKeys, token: &Unverified<'_>, now: Timestamp) -> bool {
        let signed_by = self.0.signed_by;
        let unknown = || match token.key_name(signed_by.as_str(), false) {
            Ok(kid) => !keys.held().knows(signed_by, kid),
            // Whatever is wrong with it, no key makes it good.
            Err(_) => false,
        };
        keys.is_old(now) || (keys.may_look_again(now) && unknown())
    }
}

/// Whether one of these keys made the signature.
pub(super) fn is_signed(
    token: &Unverified<'_>,
    keys: &TokenKeys,
    key: (SignedBy, &str),
    provider: &CryptoProvider,
) -> Result<(), TokenRefusal> {
    if !keys.knows(key.0, key.1) {
        return Err(TokenRefusal::UnknownKey { kid: key.1.to_owned() });
    }
    match keys.signed(key, token.signed.as_bytes(), &token.signature, provider) {
        true => Ok(()),
        false => Err(TokenRefusal::Signature),
    }
}

/// Whether this audience is the one, or among those, that a token is for (RFC 9068 §4).
fn for_audience(claims: &Members, expected: &str) -> Result<(), TokenRefusal> {
    if claims.texts("aud").contains(&expected) {
        return Ok(());
    }
    let found = match claims.get("aud") {
        Some(Value::List(_)) => claims.texts("aud").join(", "),
        _ => text(claims, "aud")?.to_owned(),
    };
    Err(TokenRefusal::Audience { found, expected: expected.to_owned() })
}

impl fmt::Debug for ForeignIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignIssuer")
            .field("url", &self.0.url)
            .field("audience", &self.0.audience)
            .finish_non_exhaustive()
    }
}
