//! The keys that sign JWT-SVIDs, and the judgement on one (SPIFFE JWT-SVID §3 to §5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_api::{Bundle, BundleKey, paths};
use countersign_identity::{SpiffeId, Timestamp, TrustDomain};
use countersign_verifier::provider;
use rustls_pki_types::alg_id;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::kept::{Kept, is_over};
use super::{Custody, memory};
use crate::pause::Pause;

const JWT_SVID: &str = "jwt-svid";
/// Where the bundle is kept for the next start.
const FILE: &str = "bundle.json";
/// Longer than any honest token; what HTTP servers take as a header.
const LONGEST: usize = 8192;
/// The bundle is asked for no more often, whatever its hint.
const OFTEN: Duration = Duration::from_secs(10);
/// And no less often.
const RARELY: Duration = Duration::from_secs(3600);
/// Without a hint (SPIFFE Trust Domain and Bundle §4.1.3).
const USUALLY: Duration = Duration::from_secs(300);

/// The JWT authorities of the trust domain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Authorities {
    /// The points of P-256 keys by `kid`.
    keys: BTreeMap<String, Vec<u8>>,
    /// The JWK set with these keys alone: strict readers refuse one that holds others.
    jwks: Vec<u8>,
}

/// A token that was found good.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Validated {
    pub(crate) id: SpiffeId,
    pub(crate) claims: Map<String, Value>,
    pub(crate) expires: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
}

/// Keeps the authorities as the CA publishes them, for ever.
pub(super) async fn follow(custody: Arc<Custody>) {
    let mut pause = Pause::new(Duration::from_secs(1), RARELY);
    let mut kept = None;
    loop {
        let serial = custody.serial();
        let wait = match custody.machine.get::<Bundle>(paths::BUNDLE, Duration::ZERO).await {
            Ok(answer) => {
                pause.reset();
                if custody.machine.roots().is_ok_and(|roots| answer.body.spiffe_sequence > roots.version()) {
                    custody.follow_roots().await;
                }
                let is_new = custody.bundle_is(&answer.body);
                // Written again now and then, so that the next start knows how old it is.
                if is_new || kept.is_none_or(|at| custody.now().since(at) >= RARELY) {
                    kept = Some(custody.now());
                    keep(&custody, &answer.body);
                }
                let hint = answer.body.spiffe_refresh_hint;
                if hint == 0 { USUALLY } else { Duration::from_secs(hint).clamp(OFTEN, RARELY) }
            }
            Err(error) => {
                tracing::warn!(hint = error.hint_of_agent(), "the trust bundle cannot be had: {error}");
                custody.forget_old_authorities();
                pause.after(error.retry_after(), error.is_lasting())
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = custody.renewed(serial) => pause.reset(),
            // A token came that is signed by a key nobody here knows.
            () = async { custody.tokens.unknown_key.notified().await; tokio::time::sleep(OFTEN / 10).await; } => {}
        }
    }
}

impl Custody {
    /// The CA publishes these keys now. Whether that is new.
    pub(crate) fn bundle_is(&self, bundle: &Bundle) -> bool {
        self.authorities_are(Authorities::of_bundle(bundle), Some(self.now()))
    }

    /// Keys that the CA has not told for too long are nobody's to judge by.
    fn forget_old_authorities(&self) {
        let told = self.view.borrow().authorities_told;
        if told.is_some_and(|told| is_over(told, self.now())) {
            tracing::warn!(
                "the keys of tokens were last told a day ago and are forgotten until the CA tells them"
            );
            self.authorities_are(Authorities::default(), None);
        }
    }

    /// Whether that is new.
    fn authorities_are(&self, authorities: Authorities, told: Option<Timestamp>) -> bool {
        self.view.send_if_modified(|view| {
            let view = Arc::make_mut(view);
            view.authorities_told = told;
            let is_new = *view.authorities != authorities;
            if is_new {
                view.authorities = Arc::new(authorities);
            }
            is_new
        })
    }
}

/// Takes up what the CA published before the last restart: tokens are judged without it.
pub(super) fn remembered(custody: &Custody) {
    let Some(kept) = memory::read::<Kept>(custody, FILE) else { return };
    let judged = custody
        .machine
        .roots()
        .map_err(|error| error.to_string())
        .and_then(|roots| kept.judge(&roots.fingerprints(), custody.now()));
    match judged {
        Ok((bundle, told)) => drop(custody.authorities_are(Authorities::of_bundle(&bundle), Some(told))),
        Err(why) => tracing::warn!("the trust bundle of the last start is left out, the CA tells it: {why}"),
    }
}

fn keep(custody: &Custody, bundle: &Bundle) {
    let write = || {
        let roots = custody.machine.roots()?.fingerprints();
        memory::write(custody, FILE, &Kept::new(bundle, &roots, custody.now()))
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "the trust bundle cannot be kept for the next start");
    }
}

impl Authorities {
    /// The JWT authorities of a bundle; keys of another use, kind or without `kid` are passed over.
    pub(crate) fn of_bundle(bundle: &Bundle) -> Self {
        let kept: Vec<_> =
            bundle.keys.iter().filter_map(|key| point(key).map(|point| (key, point))).collect();
        let set = serde_json::json!({ "keys": kept.iter().map(|(key, _)| key).collect::<Vec<_>>() });
        let keys = kept.iter().filter_map(|(key, point)| Some((key.kid.clone()?, point.clone()))).collect();
        Self { keys, jwks: set.to_string().into_bytes() }
    }

    /// Whether the CA has told them: before, nobody may think that there are none.
    pub(crate) const fn are_known(&self) -> bool {
        !self.jwks.is_empty()
    }

    /// The keys as a JWK set, once they are known.
    pub(crate) fn jwks(&self) -> Vec<u8> {
        self.jwks.clone()
    }

    /// Whether the key a token names is among these.
    pub(crate) fn knows_key_of(&self, token: &str) -> bool {
        header(token).is_ok_and(|header| self.keys.contains_key(&header.kid))
    }

    /// Judges a token for an audience.
    pub(crate) fn validate(
        &self,
        token: &str,
        audience: &str,
        domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Validated, String> {
        if token.len() > LONGEST {
            return Err(format!("it has {} octets, at most {LONGEST} are read", token.len()));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or("it is no compact JWS")?;
        let (_, payload) = signed.split_once('.').ok_or("it is no compact JWS")?;
        let header = header(token)?;
        if header.alg != "ES256" {
            return Err(format!("its alg is {:?}, expected ES256", header.alg));
        }
        if let Some(typ) = header.typ.as_deref().filter(|typ| !matches!(*typ, "JWT" | "JOSE")) {
            return Err(format!("its typ is {typ:?}, expected JWT or JOSE"));
        }
        let key = self.keys.get(&header.kid).ok_or("it is signed by a key that is not in the bundle")?;
        verify(key, signed.as_bytes(), &decode(signature)?)?;
        let claims: Map<String, Value> = serde_json::from_slice(&decode(payload)?)
            .map_err(|error| format!("its claims are not understood: {error}"))?;
        let id = subject(&claims, domain)?;
        for_audience(&claims, audience)?;
        let expires = in_time(&claims, now)?;
        Ok(Validated { id, claims, expires })
    }
}

fn point(key: &BundleKey) -> Option<Vec<u8>> {
    if key.usage != JWT_SVID || key.kty != "EC" || key.crv != "P-256" || key.kid.is_none() {
        return None;
    }
    let (x, y) = (decode(&key.x).ok()?, decode(&key.y).ok()?);
    (x.len() == 32 && y.len() == 32).then(|| [&[4_u8][..], &x, &y].concat())
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("it is no base64url: {error}"))
}

fn header(token: &str) -> Result<Header, String> {
    let (first, _) = token.split_once('.').ok_or("it is no compact JWS")?;
    serde_json::from_slice(&decode(first)?).map_err(|error| format!("its header is refused: {error}"))
}

/// ES256 (RFC 7518 §3.4): the two numbers one after the other, which TLS libraries take as a DER sequence.
fn verify(point: &[u8], signed: &[u8], signature: &[u8]) -> Result<(), String> {
    let wrong = || "its signature does not match".to_owned();
    let (r, s) = signature.split_at_checked(32).filter(|(_, s)| s.len() == 32).ok_or_else(wrong)?;
    let numbers = [integer(r), integer(s)].concat();
    // At most 2 × 35 octets: the length is one octet.
    let der = [&[0x30, u8::try_from(numbers.len()).map_err(|_| wrong())?][..], &numbers].concat();
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms.all.iter();
    algorithms
        .filter(|it| {
            it.signature_alg_id() == alg_id::ECDSA_SHA256 && it.public_key_alg_id() == alg_id::ECDSA_P256
        })
        .any(|it| it.verify_signature(point, signed, &der).is_ok())
        .then_some(())
        .ok_or_else(wrong)
}

/// A number as DER has it: no leading zeroes but the one that keeps it positive.
fn integer(octets: &[u8]) -> Vec<u8> {
    let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len().saturating_sub(1));
    let digits = octets.get(first..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_some_and(|octet| *octet >= 0x80) { &[0] } else { &[] };
    let length = u8::try_from(sign.len() + digits.len()).unwrap_or(u8::MAX);
    [&[0x02, length][..], sign, digits].concat()
}

fn subject(claims: &Map<String, Value>, domain: &TrustDomain) -> Result<SpiffeId, String> {
    let text = claims.get("sub").and_then(Value::as_str).ok_or("it has no sub")?;
    let id: SpiffeId = text.parse().map_err(|error| format!("its sub is no SPIFFE ID: {error}"))?;
    if id.trust_domain() != *domain {
        return Err(format!("its sub is of {}, expected {domain}", id.trust_domain()));
    }
    Ok(id)
}

fn for_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), String> {
    let is_ours = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => return Err("it has no aud".into()),
    };
    is_ours.then_some(()).ok_or_else(|| format!("its aud is not {audience:?}"))
}

fn in_time(claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, String> {
    let seconds =
        |name| claims.get(name).and_then(|value| value.as_i64().or_else(|| value.as_f64().map(floor)));
    let expires = seconds("exp").map(Timestamp::from_unix).ok_or("it has no exp")?;
    if now >= expires {
        return Err(format!("it expired at {expires}"));
    }
    match seconds("nbf").map(Timestamp::from_unix) {
        Some(begin) if now < begin => Err(format!("it is not valid before {begin}")),
        _ => Ok(expires),
    }
}

/// A NumericDate may have a fraction (RFC 7519 §2); its end is the second it lies in.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and no time is that far away")]
fn floor(seconds: f64) -> i64 {
    seconds.floor() as i64
}
