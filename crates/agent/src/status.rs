//! How an identity stands: until when, when it is renewed, how long the CA may be away.

use std::path::PathBuf;
use std::time::Duration;

use countersign_identity::{Timestamp, ValidityState};
use serde::{Serialize, Serializer};

use crate::attempt::Attempt;
use crate::dir::Dir;
use crate::error::AgentError;
use crate::identity::Identity;

/// Whether an identity can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is valid.
    Valid,
    /// Its time has not begun, by this machine's clock.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// There is none.
    Missing,
}

/// How the identity of a directory stands at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The directory.
    pub dir: PathBuf,
    /// Whether its identity can be used.
    pub state: State,
    /// The identity, if there is one.
    #[serde(flatten, serialize_with = "details")]
    pub identity: Option<(Identity, Timestamp)>,
    /// How the last attempt to enroll, renew or reload ended.
    pub last_attempt: Option<Attempt>,
}

/// What `--json` says of an identity.
#[derive(Serialize)]
struct Details {
    spiffe_id: String,
    machine: String,
    serial: String,
    not_before: String,
    not_after: String,
    expires_in_seconds: i64,
    renew_after: String,
    renew_before: String,
    outage_budget_seconds: u64,
    url: String,
    trust_domain: String,
    root_sha256: String,
}

fn details<S: Serializer>(found: &Option<(Identity, Timestamp)>, to: S) -> Result<S::Ok, S::Error> {
    let details = found.as_ref().map(|(identity, now)| Details {
        spiffe_id: identity.spiffe_id().to_string(),
        machine: identity.machine().to_string(),
        serial: identity.serial().to_string(),
        not_before: identity.validity().not_before().to_string(),
        not_after: identity.validity().not_after().to_string(),
        expires_in_seconds: identity.validity().not_after().unix().saturating_sub(now.unix()),
        renew_after: identity.window().after.to_string(),
        renew_before: identity.window().before.to_string(),
        outage_budget_seconds: outage_budget(identity, *now).as_secs(),
        url: identity.url().to_string(),
        trust_domain: identity.pin().trust_domain.to_string(),
        root_sha256: identity.pin().fingerprint(),
    });
    details.serialize(to)
}

/// How long the CA may be away, from the latest moment of the renewal window or from now, before the certificate
/// expires: what is left however unlucky the moment.
fn outage_budget(identity: &Identity, now: Timestamp) -> Duration {
    identity.validity().not_after().since(now.max(identity.window().before))
}

impl Status {
    /// Reads how `dir` stands at `now`. Takes no lock: it never waits for a renewal.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn read(dir: &Dir, now: Timestamp) -> Result<Self, AgentError> {
        let identity = dir.identity()?;
        let state = match identity.as_ref().map(|identity| identity.validity().state(now)) {
            None => State::Missing,
            Some(ValidityState::Current) => State::Valid,
            Some(ValidityState::NotYet { .. }) => State::NotYetValid,
            Some(ValidityState::Expired { .. }) => State::Expired,
        };
        Ok(Self {
            dir: dir.path().to_owned(),
            state,
            identity: identity.map(|identity| (identity, now)),
            last_attempt: dir.record()?.last_attempt,
        })
    }

    /// The status as lines of words.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.identity {
            None => lines.push(format!("{} holds no identity", self.dir.display())),
            Some((identity, now)) => lines.extend(self.of(identity, *now)),
        }
        if let Some(last) = &self.last_attempt {
            lines.push(format!("last attempt  {} {} at {}", last.action.as_str(), last.outcome, last.time));
            lines.extend(last.error.iter().map(|error| format!("              {error}")));
            lines.extend(last.hint.iter().map(|hint| format!("              hint: {hint}")));
        }
        lines
    }

    fn of(&self, identity: &Identity, now: Timestamp) -> Vec<String> {
        let not_after = identity.validity().not_after();
        let state = match self.state {
            State::Valid => format!("valid until {not_after} ({})", from_now(not_after, now)),
            State::Expired => format!("EXPIRED at {not_after} ({})", from_now(not_after, now)),
            State::NotYetValid => {
                let start = identity.validity().not_before();
                format!("NOT YET VALID until {start} ({}): compare the clocks", from_now(start, now))
            }
            State::Missing => String::new(),
        };
        let window = identity.window();
        let mut lines = vec![
            format!("identity      {} (machine {})", identity.spiffe_id(), identity.machine()),
            format!("certificate   {state}, serial {}", identity.serial()),
            format!(
                "renewal       between {} ({}) and {} ({}) at {}",
                window.after,
                from_now(window.after, now),
                window.before,
                from_now(window.before, now),
                identity.url()
            ),
        ];
        let budget = outage_budget(identity, now);
        if !budget.is_zero() {
            lines.push(format!("outage        the CA may be away {} before expiry", amount(budget)));
        }
        lines
    }
}

/// "in 41 min", "12 s ago".
#[must_use]
pub fn from_now(then: Timestamp, now: Timestamp) -> String {
    if then >= now {
        format!("in {}", amount(then.since(now)))
    } else {
        format!("{} ago", amount(now.since(then)))
    }
}

/// A duration as people say it: rounded down, in one unit.
fn amount(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let now = Timestamp::from_unix(1_000_000);
        let cases = [
            (0, "in 0 s"),
            (59, "in 59 s"),
            (41 * 60 + 59, "in 41 min"),
            (7_200, "in 2 h"),
            (864_000, "in 10 days"),
        ];
        for (distance, words) in cases {
            assert_eq!(from_now(now + Duration::from_secs(distance), now), words);
        }
        assert_eq!(from_now(now, now + Duration::from_secs(300)), "5 min ago");
    }
}
