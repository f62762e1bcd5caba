//! The keys of access tokens: which one signs, which are shown, and when the next one comes.
//!
//! A key is shown a day before it signs, signs for thirty days, and is shown for an hour after the next one has begun.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use countersign_identity::{KeyHash, Timestamp, hex};
use serde_json::json;

use super::{
    Ca, Refused,
    parts::Part,
    root_hand::{RootActError, generations, key_in},
};
use crate::{
    config::{StateDir, directory},
    signer::{Algorithms, Entropy, FileSigner, KeyFile, Strength, TokenKind, TokenPen, files, new_key},
};

/// Shown so long before it signs: a verifier refuses everything when its trust is older than a day, unless its operator
/// says otherwise, so whoever still accepts anything has seen the key by then.
pub(super) const LEAD: Duration = Duration::from_hours(24);
/// Signs for so long: short enough that rotation is ordinary, long enough that nobody watches it.
pub(super) const PERIOD: Duration = Duration::from_hours(30 * 24);
/// Shown so long after the next one has begun to sign. A token lives a quarter of it.
pub(super) const OVERLAP: Duration = Duration::from_hours(1);
/// The file that says from when a generation's key signs.
const FROM: &str = "signs-from";

/// One key of access tokens.
#[derive(Clone, Debug)]
struct TokenKey {
    /// From when it signs.
    from: Timestamp,
    pen: TokenPen,
    /// What is removed when it leaves.
    place: PathBuf,
}

/// The keys of access tokens, the one that signs last at the end.
#[derive(Debug)]
pub struct TokenRing {
    keys: Vec<TokenKey>,
    published: Arc<Part>,
}

impl TokenRing {
    /// Opens the key that `init` made, if it has not left yet, and the generations after it.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, or does not open under `unlock`.
    pub(super) fn open(state: &StateDir, unlock: &[u8]) -> Result<Self, RootActError> {
        let dir = state.token_keys();
        let found = generations(&dir).map_err(RootActError::file(&dir))?;
        let mut keys = Vec::with_capacity(found.len() + 1);
        let first = state.key("token");
        if found.is_empty() || first.exists() {
            let from = written(&first).map_err(RootActError::file(&first))?;
            keys.push(TokenKey { from, pen: open_pen(&KeyFile::at(&first), unlock)?, place: first });
        }
        for (_, place) in found {
            let path = place.join(FROM);
            let text = fs::read_to_string(&path).map_err(RootActError::file(&path))?;
            let from = text.trim().parse().map_err(|_| RootActError::Unreadable {
                path,
                why: format!("found {text:?}, expected a time such as 2027-01-01T00:00:00Z"),
            })?;
            keys.push(TokenKey { from, pen: open_pen(&key_in(&place), unlock)?, place });
        }
        let jwks = json!({ "keys": keys.iter().map(|key| key.pen.jwk()).collect::<Vec<_>>() });
        let published = Part::new(jwks.to_string().into_bytes(), "application/jwk-set+json");
        Ok(Self { keys, published })
    }

    /// The JWK set, as `/oauth2/jwks` and the trust snapshot show it (RFC 7517 §5).
    #[must_use]
    pub fn published(&self) -> &Arc<Part> {
        &self.published
    }

    /// The pen that signs at `now`: of the keys whose time has come the newest. The first key is there from the start,
    /// whatever the clock shows.
    pub(super) fn pen(&self, now: Timestamp) -> Option<&TokenPen> {
        let due = self.keys.iter().rev().find(|key| key.from <= now);
        due.or(self.keys.first()).map(|key| &key.pen)
    }

    /// Whether a key of ours made this signature under its own header.
    pub(super) fn verifies(
        &self,
        algorithms: Algorithms,
        header: &str,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.keys.iter().any(|key| key.pen.verifies(algorithms, header, message, signature))
    }

    /// SHA-256 of each public key.
    pub(super) fn key_hashes(&self) -> impl Iterator<Item = KeyHash> {
        self.keys.iter().map(|key| key.pen.key_hash())
    }

    /// From when a new key should sign, if it is time to show one.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let newest = self.keys.last().map_or(now, |key| key.from);
        (newest + PERIOD <= now + LEAD).then_some(now + LEAD)
    }

    /// The places of the keys that nothing alive can be signed with any more.
    fn over(&self, now: Timestamp) -> impl Iterator<Item = &Path> {
        let followed = self.keys.iter().zip(self.keys.iter().skip(1));
        followed.filter(move |(_, next)| next.from + OVERLAP <= now).map(|(key, _)| key.place.as_path())
    }
}

impl Ca {
    /// Shows the next key of access tokens when its time has come; lets old ones leave while the clock can be believed.
    ///
    /// # Errors
    /// When a file cannot be written; nothing has changed then.
    pub(super) fn turn_token_ring(&self, may_forget: bool) -> Result<(), Refused> {
        let failed = |error: RootActError| Refused::File(error.to_string());
        let (keys, now) = (self.keys(), self.now());
        let ring = keys.token_ring();
        let next = ring.next(now);
        let over: Vec<_> = if may_forget { ring.over(now).collect() } else { Vec::new() };
        if next.is_none() && over.is_empty() {
            return Ok(());
        }
        if let Some(from) = next {
            add_generation(self.state(), from, self.unlock(), self.entropy()).map_err(failed)?;
            tracing::info!(%from, "the next key of access tokens is shown");
        }
        for place in over {
            directory::remove(place).map_err(RootActError::file(place)).map_err(failed)?;
        }
        let ring = TokenRing::open(self.state(), self.unlock()).map_err(failed)?;
        self.adopt_token_ring(&Arc::new(ring));
        Ok(())
    }
}

/// Makes a key that signs `from` then on. It is there whole or not at all: filled aside, then renamed.
fn add_generation(
    state: &StateDir,
    from: Timestamp,
    unlock: &[u8],
    entropy: &Entropy,
) -> Result<(), RootActError> {
    let dir = state.token_keys();
    let last = generations(&dir).map_err(RootActError::file(&dir))?.last().map_or(0, |(n, _)| *n);
    let aside = dir.join(format!(".{}", hex::encode(&entropy.octets::<8>())));
    files::create_private_directory(&aside).map_err(RootActError::file(&aside))?;
    let path = aside.join(FROM);
    files::create_public(&path, from.to_string().as_bytes()).map_err(RootActError::file(&path))?;
    let key = FileSigner::new(new_key()?);
    key_in(&aside).create(&key.pkcs8(), unlock, Strength::Generated, entropy)?;
    let place = dir.join((last + 1).to_string());
    files::rename(&aside, &place).map_err(RootActError::file(&place))
}

fn open_pen(file: &KeyFile, unlock: &[u8]) -> Result<TokenPen, RootActError> {
    let signer = FileSigner::from_pkcs8(&file.open(unlock)?)?;
    TokenPen::new(TokenKind::Access, signer).ok_or_else(|| RootActError::Unreadable {
        path: file.path().into(),
        why: "expected a P-256 key".to_owned(),
    })
}

/// When a file was written: the age of the key that `init` made, which says nothing else of it.
fn written(path: &Path) -> std::io::Result<Timestamp> {
    let at: SystemTime = fs::metadata(path)?.modified()?;
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring whose keys sign from these moments on.
    fn ring(from: &[Timestamp]) -> TokenRing {
        let key = |(n, from): (usize, &Timestamp)| TokenKey {
            from: *from,
            pen: TokenPen::new(TokenKind::Access, FileSigner::new(new_key().unwrap())).unwrap(),
            place: n.to_string().into(),
        };
        TokenRing {
            keys: from.iter().enumerate().map(key).collect(),
            published: Part::new(Vec::new(), "text/plain"),
        }
    }

    fn start() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    fn over(ring: &TokenRing, now: Timestamp) -> Vec<PathBuf> {
        ring.over(now).map(Into::into).collect()
    }

    #[test]
    fn a_key_is_shown_a_day_before_it_signs_and_an_hour_after_it_did() {
        let alone = ring(&[start()]);
        assert_eq!(alone.next(start() + PERIOD - LEAD - Duration::from_secs(1)), None);
        let shown = start() + PERIOD - LEAD;
        assert_eq!(alone.next(shown), Some(start() + PERIOD));
        let both = ring(&[start(), shown + LEAD]);
        let kids: Vec<_> = both.keys.iter().map(|key| key.pen.kid().to_owned()).collect();
        let signs = |now| both.pen(now).map(TokenPen::kid);
        assert_eq!(signs(shown + LEAD - Duration::from_secs(1)), Some(&*kids[0]));
        assert_eq!(signs(shown + LEAD), Some(&*kids[1]));
        assert_eq!(over(&both, shown + LEAD + OVERLAP - Duration::from_secs(1)), Vec::<PathBuf>::new());
        assert_eq!(over(&both, shown + LEAD + OVERLAP), [PathBuf::from("0")]);
        assert_eq!(both.next(shown + LEAD + OVERLAP), None);
    }

    #[test]
    fn some_key_signs_whatever_the_clock_shows() {
        let ring = ring(&[start(), start() + PERIOD]);
        assert_eq!(ring.pen(Timestamp::from_unix(0)).map(TokenPen::kid), Some(ring.keys[0].pen.kid()));
    }

    #[test]
    fn a_generation_appears_whole_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().into());
        files::create_private_directory(&state.keys()).unwrap();
        let entropy = Entropy::system();
        super::super::bootstrap::make_named_keys(&state, b"unlock", &entropy).unwrap();
        let before = TokenRing::open(&state, b"unlock").unwrap();
        add_generation(&state, start(), b"unlock", &entropy).unwrap();
        let after = TokenRing::open(&state, b"unlock").unwrap();
        assert_eq!((before.keys.len(), after.keys.len(), after.keys[1].from), (1, 2, start()));
        assert_eq!(before.keys[0].pen.kid(), after.keys[0].pen.kid());
        fs::remove_file(state.key("token")).unwrap();
        assert_eq!(TokenRing::open(&state, b"unlock").unwrap().keys[0].pen.kid(), after.keys[1].pen.kid());
    }
}
