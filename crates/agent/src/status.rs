//! How an identity stands: until when, when it is renewed, how long the CA may be away.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use countersign_identity::{Timestamp, ValidityState};
use countersign_verifier::SetupError;
use serde::Serialize;

use crate::attempt::{Attempt, Plan};
use crate::dir::Dir;
use crate::error::AgentError;
use crate::generation::{self, WORKLOADS};
use crate::identity::{self, Identity};

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
    /// The CA has refused to renew it, and only an operator can change that.
    Refused,
    /// Certificate and key cannot be used together.
    Damaged,
    /// It is there whole, and the link `current` to it is missing.
    Unlinked,
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
    #[serde(flatten)]
    pub identity: Option<Found>,
    /// Why certificate and key cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The refusal to renew that only an operator can change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Attempt>,
    /// How the last attempt to enroll, renew or reload ended.
    pub last_attempt: Option<Attempt>,
    /// What a running agent last planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The identities of workloads that are held and in their time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Workload>,
}

/// One workload's identity on disk.
#[derive(Clone, Debug, Serialize)]
pub struct Workload {
    /// Whom it names.
    pub spiffe_id: String,
    /// Until when, RFC 3339.
    pub not_after: String,
    /// How long the CA may be away before it ends.
    #[serde(skip)]
    pub outage_budget: Duration,
}

/// The identity that was found, and what its times come to at that moment.
#[derive(Clone, Debug, Serialize)]
#[serde(into = "Details")]
pub struct Found {
    /// The identity.
    pub identity: Identity,
    /// When it was looked at.
    pub now: Timestamp,
    /// How long the CA may be away; zero for an identity that cannot be renewed or used.
    pub outage_budget: Duration,
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

impl From<Found> for Details {
    fn from(Found { identity, now, outage_budget }: Found) -> Self {
        Self {
            spiffe_id: identity.spiffe_id().to_string(),
            machine: identity.machine().to_string(),
            serial: identity.serial().to_string(),
            not_before: identity.validity().not_before().to_string(),
            not_after: identity.validity().not_after().to_string(),
            expires_in_seconds: identity.validity().not_after().unix().saturating_sub(now.unix()),
            renew_after: identity.window().after.to_string(),
            renew_before: identity.window().before.to_string(),
            outage_budget_seconds: outage_budget.as_secs(),
            url: identity.url().to_string(),
            trust_domain: identity.pin().trust_domain.to_string(),
            root_sha256: identity.pin().fingerprint(),
        }
    }
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
        let published = dir.identity()?;
        let (identity, linked) = match published {
            Some(identity) => (Some(identity), true),
            None => (dir.unlinked()?, false),
        };
        let record = dir.record()?;
        let damage = identity.as_ref().and_then(damage);
        let state = match &identity {
            None => State::Missing,
            Some(_) if !linked => State::Unlinked,
            Some(_) if damage.is_some() => State::Damaged,
            Some(identity) => match identity.validity().state(now) {
                ValidityState::Expired { .. } => State::Expired,
                _ if record.refusal.is_some() => State::Refused,
                ValidityState::NotYet { .. } => State::NotYetValid,
                ValidityState::Current => State::Valid,
            },
        };
        let workloads = workloads(dir, now)?;
        let lives = matches!(state, State::Valid | State::NotYetValid);
        let found = |identity| {
            let own = if lives { outage_budget(&identity, now) } else { Duration::ZERO };
            let first = workloads.iter().map(|workload| workload.outage_budget).min();
            Found { identity, now, outage_budget: first.map_or(own, |first| own.min(first)) }
        };
        Ok(Self {
            dir: dir.path().to_owned(),
            state,
            identity: identity.map(found),
            workloads,
            damage,
            refusal: record.refusal,
            last_attempt: record.last_attempt,
            plan: record.plan,
        })
    }

    /// The status as lines of words, the worst first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(damage) = &self.damage {
            lines.push(format!("DAMAGED       {damage}"));
            lines.push(format!("              hint: {}", identity::ANEW));
        }
        if let Some(refusal) = &self.refusal {
            lines.push(format!("REFUSED       at {}; only an operator can change that", refusal.time));
            lines.extend(words(refusal));
        }
        match &self.identity {
            None => lines.push(format!("{} holds no identity", self.dir.display())),
            Some(found) => lines.extend(self.of(found)),
        }
        for workload in &self.workloads {
            lines.push(format!("workload      {} until {}", workload.spiffe_id, workload.not_after));
        }
        if let (Some(plan), Some(found)) = (&self.plan, &self.identity)
            && let Some(next) = plan.next_attempt.as_deref().and_then(|next| next.parse().ok())
        {
            lines.push(format!("next attempt  at {next} ({})", from_now(next, found.now)));
        }
        if let Some(last) = &self.last_attempt {
            lines.push(format!("last attempt  {} {} at {}", last.action.as_str(), last.outcome, last.time));
            if self.refusal.as_ref() != Some(last) {
                lines.extend(words(last));
            }
        }
        lines
    }

    /// What to say of a directory whose link is missing.
    fn unlinked(&self, identity: &Identity) -> Vec<String> {
        let generation = identity.home().file_name().unwrap_or_default().to_string_lossy();
        vec![
            format!("UNLINKED      the link current is missing; its newest generation is {generation}"),
            format!("              hint: `countersign-agent renew --dir {}` repairs it", self.dir.display()),
        ]
    }

    fn of(&self, Found { identity, now, outage_budget }: &Found) -> Vec<String> {
        let now = *now;
        let not_after = identity.validity().not_after();
        let state = match identity.validity().state(now) {
            ValidityState::Current => format!("valid until {not_after} ({})", from_now(not_after, now)),
            ValidityState::Expired { .. } => format!("EXPIRED at {not_after} ({})", from_now(not_after, now)),
            ValidityState::NotYet { .. } => {
                let start = identity.validity().not_before();
                format!("NOT YET VALID until {start} ({}): compare the clocks", from_now(start, now))
            }
        };
        let window = identity.window();
        let mut lines = if self.state == State::Unlinked { self.unlinked(identity) } else { Vec::new() };
        lines.extend([
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
        ]);
        if !outage_budget.is_zero() {
            let of = if self.workloads.is_empty() { "expiry" } else { "the first expiry" };
            lines.push(format!("outage        the CA may be away {} before {of}", amount(*outage_budget)));
        }
        lines
    }
}

/// The identities of workloads that are on disk and in their time, by whom they name.
fn workloads(dir: &Dir, now: Timestamp) -> Result<Vec<Workload>, AgentError> {
    let home = dir.path().join(WORKLOADS);
    let mut found = Vec::new();
    for name in generation::list(&home)? {
        let path = home.join(name);
        // What is damaged is told by the agent that meets it.
        if let Some(identity) = path.is_dir().then(|| Dir::at(&path).identity().ok().flatten()).flatten()
            && identity.validity().contains(now)
        {
            found.push(Workload {
                spiffe_id: identity.spiffe_id().to_string(),
                not_after: identity.validity().not_after().to_string(),
                outage_budget: outage_budget(&identity, now),
            });
        }
    }
    found.sort_by(|one, other| one.spiffe_id.cmp(&other.spiffe_id));
    Ok(found)
}

/// Why certificate and key cannot be used. A key that is not ours to read is not judged.
fn damage(identity: &Identity) -> Option<String> {
    match identity.own() {
        Err(SetupError::File { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => None,
        end => end.err().map(|error| error.to_string()),
    }
}

fn words(attempt: &Attempt) -> impl Iterator<Item = String> {
    let error = attempt.error.iter().map(|error| format!("              {error}"));
    error.chain(attempt.hint.iter().map(|hint| format!("              hint: {hint}")))
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
