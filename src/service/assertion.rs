//! Assertions: a client signs a short note with the key of its certificate instead of showing the certificate in TLS
//! (RFC 7523 §2.2), or brings a JWT-SVID.

use std::time::Duration;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_identity::{Lineage, Serial, SpiffeId, Timestamp};
use countersign_store::MachineStatus;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Number;

use super::{
    Ca, Client, Refused, Shown, Ungranted,
    client::{Basis, Proof},
};
use crate::signer::{coordinates, verifies};

/// The longest assertion that is looked at; with two certificates it has some three thousand octets.
const LONGEST: usize = 8192;
/// How long an assertion may live: it is used at once.
const LIFE: i64 = 60;
/// How far ahead of ours a client's clock may be. Short: so long after its start this server takes none, because one made
/// before by such a clock may have been used already.
const AHEAD: Duration = Duration::from_secs(2);

/// An assertion as it came: taken apart, and not believed.
pub struct Assertion {
    header: Header,
    claims: Claims,
    signed: String,
    signature: Vec<u8>,
}

/// What of a header is looked at. Keys in it (`jwk`), and places where some might be (`jku`, `x5u`), are nobody's.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    x5c: Option<Vec<String>>,
    crit: Option<IgnoredAny>,
}

/// Two members of one name are refused for each of these; of others nothing is believed.
#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: String,
    aud: Audience,
    exp: Number,
    nbf: Option<Number>,
    iat: Option<Number>,
    jti: Option<String>,
    /// In our own JWT-SVIDs for this server alone.
    cs_serial: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Assertion {
    /// Takes an assertion apart.
    ///
    /// # Errors
    /// `invalid_client`, when it is no compact JWS with the claims of an assertion.
    pub fn read(text: &str) -> Result<Self, Ungranted> {
        let refused = |why: &str| Ungranted::Client(format!("the assertion: {why}"));
        if text.len() > LONGEST {
            return Err(refused("it is longer than any honest one"));
        }
        let parts = || {
            let (signed, signature) = text.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            let octets = |part| URL_SAFE_NO_PAD.decode(part).ok();
            Some((octets(header)?, octets(claims)?, signed.to_owned(), octets(signature)?))
        };
        let (header, claims, signed, signature) = parts().ok_or_else(|| refused("it is no compact JWS"))?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|error| refused(&format!("its header: {error}")))?;
        let claims =
            serde_json::from_slice(&claims).map_err(|error| refused(&format!("its claims: {error}")))?;
        if header.alg != "ES256" {
            return Err(refused(&format!("alg is {:?}, expected \"ES256\"", header.alg)));
        }
        if header.crit.is_some() {
            return Err(refused("it demands what this server does not know (crit)"));
        }
        Ok(Self { header, claims, signed, signature })
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// The certificates it brings, the signer's first.
    ///
    /// # Errors
    /// `invalid_client`, when they are not base64 (RFC 7515 §4.1.6).
    pub fn chain(&self) -> Result<Vec<Vec<u8>>, Ungranted> {
        let certificates = self.header.x5c.iter().flatten().take(4);
        certificates
            .map(|one| {
                let der = STANDARD.decode(one);
                der.map_err(|_| Ungranted::Client("the assertion: x5c is not base64".to_owned()))
            })
            .collect()
    }

    /// The name of the signer's key.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }
}

impl Audience {
    /// Whether it is this one and no other: an assertion that others take too could be played to them, or by them to us.
    fn is_only(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => matches!(many.as_slice(), [one] if one == name),
        }
    }
}

impl Ca {
    /// The certificate that a `kid` names: by its serial, or by the lineage whose confirmed one it is.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn certificate_named(&self, kid: &str) -> Result<Option<Vec<u8>>, Refused> {
        let serial = match kid.parse::<Lineage>() {
            Ok(lineage) => self.book().machine_of(lineage)?.map(|machine| machine.confirmed.serial),
            Err(_) => kid.parse::<Serial>().ok(),
        };
        let found = serial.map(|serial| self.book().issuance(serial)).transpose()?.flatten();
        Ok(found.and_then(|found| found.certificate).map(|der| der.to_vec()))
    }

    /// The client that signed an assertion with the key of a certificate of ours, judged as at every door; `spki` is that
    /// key.
    ///
    /// # Errors
    /// `invalid_client`, with the reason.
    pub async fn client_by_assertion(
        &self,
        assertion: &Assertion,
        shown: &Shown<'_>,
        spki: &[u8],
    ) -> Result<Client, Ungranted> {
        self.judge_assertion(assertion, shown.spiffe_id, spki)?;
        let holder = self.holder_of(shown).await?;
        self.use_up(assertion, shown.spiffe_id)?;
        Ok(Client { id: shown.spiffe_id.clone(), proof: Proof::Assertion(holder) })
    }

    /// Whether the assertion is of `id`, for us, of now, and signed by the key `spki`.
    pub(super) fn judge_assertion(
        &self,
        assertion: &Assertion,
        id: &SpiffeId,
        spki: &[u8],
    ) -> Result<(), Ungranted> {
        let refused = |why: &str| Ungranted::Client(format!("the assertion: {why}"));
        let claims = &assertion.claims;
        if id.as_str() != claims.sub || claims.iss.as_deref() != Some(&*claims.sub) {
            return Err(refused("iss and sub are not the SPIFFE ID of its key"));
        }
        self.timely(claims, self.now())?;
        let key = coordinates(spki).ok_or_else(|| refused("its key is not P-256"))?;
        if !verifies(self.algorithms(), key, assertion.signed.as_bytes(), &assertion.signature) {
            return Err(refused("the signature is not of its key"));
        }
        Ok(())
    }

    /// Remembers that `of` used an assertion, the last step before it is believed.
    pub(super) fn use_up(&self, assertion: &Assertion, of: &SpiffeId) -> Result<(), Ungranted> {
        let (now, claims) = (self.now(), &assertion.claims);
        let id = claims.jti.as_deref().filter(|id| (1..=256).contains(&id.len())).ok_or_else(|| {
            Ungranted::Client("the assertion: jti is missing, or longer than 256 octets".to_owned())
        })?;
        let expires = self.timely(claims, now)?;
        // One that comes again must not use up what its subject may prove.
        self.replays.refuse_used(&claims.sub, id, now)?;
        self.rates().assertion(of).map_err(|wait| Ungranted::too_often(of, wait))?;
        self.replays.first_time(&claims.sub, id, expires, now)
    }

    /// When the assertion ends, if it is for us, of now, and short.
    fn timely(&self, claims: &Claims, now: Timestamp) -> Result<Timestamp, Ungranted> {
        let refused = |why: String| Ungranted::Client(format!("the assertion: {why}"));
        if !claims.aud.is_only(self.token_issuer()) {
            return Err(refused(format!("aud must be {:?} and nothing else", self.token_issuer())));
        }
        let second = |number: &Number| number.as_i64().or_else(|| whole(number.as_f64()?));
        let exp = second(&claims.exp).ok_or_else(|| refused("exp is no time".to_owned()))?;
        let iat = claims.iat.as_ref().and_then(second).ok_or_else(|| refused("iat is missing".to_owned()))?;
        let nbf = claims.nbf.as_ref().map_or(Some(iat), second);
        let nbf = nbf.ok_or_else(|| refused("nbf is no time".to_owned()))?;
        let latest = (now + AHEAD).unix();
        if exp <= now.unix() {
            return Err(refused(format!("it ended, the time here is {now}")));
        }
        if iat > latest || nbf > latest {
            return Err(refused(format!("it is not valid yet, the time here is {now}")));
        }
        if exp.saturating_sub(iat) > LIFE {
            return Err(refused(format!("it lives longer than {LIFE} seconds")));
        }
        if iat <= (self.started() + AHEAD).unix() {
            return Err(Ungranted::Stale(
                "the assertion was made before this server knew which were used: make a new one".to_owned(),
            ));
        }
        Ok(Timestamp::from_unix(exp))
    }

    /// The client that a JWT-SVID of ours names. It proves nothing that lasts, so its tokens are bound to nothing.
    ///
    /// # Errors
    /// `invalid_client`, with the reason.
    pub fn client_by_jwt_svid(&self, text: &str) -> Result<Client, Ungranted> {
        let refused = |why: &str| Ungranted::Client(format!("the JWT-SVID: {why}"));
        let assertion = Assertion::read(text)?;
        let header = assertion.signed.split('.').next().unwrap_or_default();
        let keys = self.keys();
        let (signed, signature) = (assertion.signed.as_bytes(), &assertion.signature);
        if !keys.jwt_svid().verifies(self.algorithms(), header, signed, signature) {
            return Err(refused("it was not made here"));
        }
        if !assertion.claims.aud.is_only(self.token_issuer()) {
            return Err(refused(&format!("aud must be {:?} and nothing else", self.token_issuer())));
        }
        let (now, ends) = (self.now(), assertion.claims.exp.as_i64().unwrap_or_default());
        if ends <= now.unix() {
            return Err(refused(&format!("it ended, the time here is {now}")));
        }
        let id: SpiffeId = assertion.claims.sub.parse().map_err(|_| refused("sub is no SPIFFE ID"))?;
        let basis = self.basis(&id, assertion.claims.cs_serial.as_deref(), now)?;
        Ok(Client { id, proof: Proof::JwtSvid(basis) })
    }

    /// The certificate that a JWT-SVID of `id` was asked for with, if it is live and its machine still has the identity or is the
    /// parent of the workload that has it.
    fn basis(&self, id: &SpiffeId, serial: Option<&str>, now: Timestamp) -> Result<Basis, Ungranted> {
        let refused = |why: &str| Ungranted::Client(format!("the JWT-SVID: {why}"));
        let acts = |status| matches!(status, MachineStatus::Active | MachineStatus::Held);
        let serial: Option<Serial> = serial.and_then(|serial| serial.parse().ok());
        let serial =
            serial.ok_or_else(|| refused("it does not say which certificate it was asked for with"))?;
        let issued = self.book().issuance(serial)?.map(|found| found.issuance);
        let live = issued.filter(|issued| issued.revoked.is_none() && now <= issued.validity.not_after());
        let issued = live.ok_or_else(|| refused("the certificate it was asked for with is gone"))?;
        let parent = self.book().registration(id)?.and_then(|registration| registration.parent);
        let machine = self.book().machine_of(issued.lineage)?;
        let machine = machine
            .filter(|machine| acts(machine.status) && machine.spiffe_id == *parent.as_ref().unwrap_or(id));
        let machine = machine.ok_or_else(|| refused("nobody who is active has this identity"))?;
        if self.book().workload(machine.id, id)?.is_some_and(|workload| !acts(workload.status)) {
            return Err(refused("its workload is not active"));
        }
        Ok(Basis { serial, lineage: issued.lineage, not_after: issued.validity.not_after() })
    }
}

/// A time with fractions of a second, cut off.
fn whole(seconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it is held within what is exact")]
    (seconds.abs() < 1e15).then(|| seconds.floor() as i64)
}
