//! JWT-SVIDs from the CA, remembered while they are good, fetched again behind the caller's back once half their life is
//! over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_api::{Audience, JwtSvidRequest, JwtSvidResponse, paths};
use countersign_identity::{SpiffeId, Timestamp};
use tokio::sync::Notify;

use super::Custody;
use super::shares::{Share, Shares};

/// How many are remembered: a thousand audiences are more than any machine talks to, and some 600 KiB.
const REMEMBERED: usize = 1000;
/// How long a caller waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// A token with less life than this left is no use to anybody.
const TOO_SHORT: Duration = Duration::from_secs(5);

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: Mutex<BTreeMap<Wanted, Known>>,
    turns: Shares,
    /// Told when a token is signed by a key that is not in the bundle.
    pub(super) unknown_key: Notify,
}

/// For whom, and for which audience: as a set, in one order.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Wanted {
    id: SpiffeId,
    audience: Vec<String>,
}

#[derive(Clone)]
struct Known {
    token: String,
    fetched: Timestamp,
    expires: Timestamp,
    /// The next one is on its way.
    is_refreshed: bool,
}

/// Never the token (invariant 8).
impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The CA does not give it.
    #[error("{0}")]
    Refused(String),
    /// The CA is away or busy, or too many ask at once.
    #[error("{0}")]
    Away(String),
}

/// A token: remembered, or fetched now.
pub(super) async fn fetch(
    custody: &Arc<Custody>,
    id: &SpiffeId,
    audience: &[String],
    uid: u32,
) -> Result<String, TokenError> {
    let mut audience = audience.to_vec();
    audience.sort();
    audience.dedup();
    let wanted = Wanted { id: id.clone(), audience };
    if let Some(token) = known(custody, &wanted, uid) {
        return Ok(token);
    }
    let _turn = turn(custody, uid).await?;
    // Somebody else may have fetched it while this one waited.
    match known(custody, &wanted, uid) {
        Some(token) => Ok(token),
        None => ask(custody, wanted).await,
    }
}

async fn turn(custody: &Custody, uid: u32) -> Result<Share<'_>, TokenError> {
    let turn = tokio::time::timeout(TURN, custody.tokens.turns.turn(uid)).await.ok().flatten();
    turn.ok_or_else(|| TokenError::Away("too many tokens are being fetched at once".into()))
}

/// The token that is remembered, if it is good for a while; past half its life the next one is fetched meanwhile.
fn known(custody: &Arc<Custody>, wanted: &Wanted, uid: u32) -> Option<String> {
    let now = custody.now();
    let mut all = custody.tokens.known.lock().unwrap_or_else(PoisonError::into_inner);
    let known = all.get_mut(wanted).filter(|known| known.expires.since(now) > TOO_SHORT)?;
    if now.since(known.fetched) > known.expires.since(known.fetched) / 2 && !known.is_refreshed {
        known.is_refreshed = true;
        let (custody, wanted) = (Arc::clone(custody), wanted.clone());
        tokio::spawn(async move { refresh(&custody, wanted, uid).await });
    }
    Some(known.token.clone())
}

/// Fetches the next one, in a turn of whoever was given the one before.
async fn refresh(custody: &Arc<Custody>, wanted: Wanted, uid: u32) {
    let end = match turn(custody, uid).await {
        Ok(_turn) => ask(custody, wanted.clone()).await.err(),
        Err(error) => Some(error),
    };
    let Some(error) = end else { return };
    tracing::warn!(id = %wanted.id, "a JWT-SVID could not be refreshed: {error}");
    let mut all = custody.tokens.known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get_mut(&wanted) {
        // The next caller tries again, a tenth of its life later at the earliest.
        known.fetched = known.fetched.max(custody.now() - known.expires.since(known.fetched) * 2 / 5);
        known.is_refreshed = false;
    }
}

async fn ask(custody: &Arc<Custody>, wanted: Wanted) -> Result<String, TokenError> {
    let audience = match wanted.audience.as_slice() {
        [one] => Audience::One(one.clone()),
        several => Audience::Several(several.to_vec()),
    };
    let request = JwtSvidRequest { spiffe_id: wanted.id.to_string(), audience };
    let answer = custody.machine.post::<_, JwtSvidResponse>(paths::JWT_SVID, &request).await;
    let answer = answer.map_err(|error| match error.kind() {
        crate::ErrorKind::Refused => TokenError::Refused(error.to_string()),
        _ => TokenError::Away(error.to_string()),
    })?;
    let expires = judge(custody, &wanted, &answer.body.svid).await?;
    let (token, fetched) = (answer.body.svid, custody.now());
    let mut all = custody.tokens.known.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= REMEMBERED {
        forget_some(&mut all, fetched);
    }
    all.insert(wanted, Known { token: token.clone(), fetched, expires, is_refreshed: false });
    Ok(token)
}

/// Only what we would accept ourselves is handed out. A key that is not known yet may be new: the bundle is asked for.
async fn judge(custody: &Arc<Custody>, wanted: &Wanted, token: &str) -> Result<Timestamp, TokenError> {
    let mut view = custody.watch();
    if !view.borrow_and_update().authorities.knows_key_of(token) {
        custody.tokens.unknown_key.notify_one();
        let known = view.wait_for(|view| view.authorities.knows_key_of(token));
        let _ = tokio::time::timeout(TURN, known).await;
    }
    let (authorities, domain) = {
        let view = custody.view.borrow();
        (Arc::clone(&view.authorities), wanted.id.trust_domain())
    };
    let refuse = |what: String| TokenError::Refused(format!("the CA's JWT-SVID is not handed out: {what}"));
    let mut expires = None;
    for audience in &wanted.audience {
        let good = authorities.validate(token, audience, &domain, custody.now()).map_err(refuse)?;
        if good.id != wanted.id {
            return Err(refuse(format!("it names {}, expected {}", good.id, wanted.id)));
        }
        expires = Some(good.expires);
    }
    expires.ok_or_else(|| refuse("no audience was asked for".into()))
}

/// Makes room: what has expired, or else what expires first.
fn forget_some(all: &mut BTreeMap<Wanted, Known>, now: Timestamp) {
    all.retain(|_, known| known.expires > now);
    while all.len() >= REMEMBERED {
        let Some(first) = all.iter().min_by_key(|(_, known)| known.expires).map(|(wanted, _)| wanted.clone())
        else {
            return;
        };
        all.remove(&first);
    }
}
