//! How the last attempt ended, kept in `status.json` for `status` and for the next start.

use std::path::Path;

use countersign_identity::{Serial, Timestamp};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::AgentError;
use crate::schedule::State;

const FILE: &str = "status.json";

/// What was attempted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Redeeming an invitation.
    Enroll,
    /// Renewing the certificate.
    Renew,
    /// Coming back after expiry.
    Recover,
    /// Running the reload command.
    Reload,
}

impl Action {
    /// One word, as people and `status.json` read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Renew => "renew",
            Self::Recover => "recover",
            Self::Reload => "reload",
        }
    }
}

/// One attempt and its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Attempt {
    /// What was attempted.
    pub action: Action,
    /// When it ended, RFC 3339.
    pub time: String,
    /// `done`, or the kind of the error.
    pub outcome: String,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Attempt {
    fn ended<T>(action: Action, at: Timestamp, end: &Result<T, AgentError>) -> Self {
        let error = end.as_ref().err();
        Self {
            action,
            time: at.to_string(),
            outcome: error.map_or("done", |error| error.kind().as_str()).to_owned(),
            error: error.map(ToString::to_string),
            hint: error.and_then(AgentError::hint_of_agent).map(str::to_owned),
        }
    }
}

/// What `status.json` holds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Attempt>,
    /// The refusal to renew that only an operator can change, for as long as no certificate has come after it. It
    /// outlasts the attempts that did not even reach the CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Attempt>,
    /// The serial of the certificate for which the reload command last succeeded. A crash between publishing and
    /// reloading is noticed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reloaded: Option<String>,
    /// What a running agent last planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// How things stood for a running agent, and what it meant to do next.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// How things stood.
    pub state: State,
    /// When the next attempt was planned, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
}

impl Record {
    /// Whether the reload command has yet to run for the certificate `serial`.
    #[must_use]
    pub fn wants_reload(&self, serial: Serial) -> bool {
        self.reloaded.as_deref() != Some(serial.to_string().as_str())
    }

    /// Takes note of how an attempt ended.
    pub(crate) fn ended<T>(&mut self, action: Action, at: Timestamp, end: &Result<T, AgentError>) {
        let attempt = Attempt::ended(action, at, end);
        match end {
            Ok(_) if action != Action::Reload => self.refusal = None,
            Err(error) if matches!(action, Action::Renew | Action::Recover) && error.is_lasting() => {
                self.refusal = Some(attempt.clone())
            }
            _ => {}
        }
        self.last_attempt = Some(attempt);
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, AgentError> {
        let path = dir.join(FILE);
        let Some(text) = durable::read(&path)? else { return Ok(Self::default()) };
        serde_json::from_slice(&text)
            .map_err(|error| AgentError::failed(format!("cannot understand {}: {error}", path.display())))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), AgentError> {
        let path = dir.join(FILE);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| AgentError::failed(format!("cannot write {}: {error}", path.display())))?;
        durable::replace(&path, &text, durable::PUBLIC)
    }
}

#[cfg(test)]
mod tests {
    use countersign_api::ProblemCode;

    use super::*;

    #[test]
    fn what_is_written_down_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), Record::default());
        let end: Result<(), _> = Err(AgentError::refused("no").with_hint("ask"));
        let attempt = Attempt::ended(Action::Renew, Timestamp::from_unix(0), &end);
        let record =
            Record { last_attempt: Some(attempt), refusal: None, reloaded: Some("ab".into()), plan: None };
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), record);
        assert!(!record.wants_reload("ab".parse().unwrap()));
        assert!(record.wants_reload("cd".parse().unwrap()));
    }

    #[test]
    fn a_refusal_for_good_is_remembered_until_a_certificate_comes() {
        let mut record = Record::default();
        let at = Timestamp::from_unix(0);
        let suspended = AgentError::refused("no").with_code(Some(ProblemCode::MachineSuspended));
        let (no, away): (Result<(), _>, Result<(), _>) =
            (Err(suspended), Err(AgentError::unreachable("away")));
        record.ended(Action::Enroll, at, &no);
        assert_eq!(record.refusal, None, "another invitation was refused, not this identity");
        record.ended(Action::Renew, at, &no);
        record.ended(Action::Renew, at, &away);
        record.ended(Action::Reload, at, &Ok(()));
        assert_eq!(record.refusal.as_ref().unwrap().error.as_deref(), Some("no"));
        record.ended(Action::Renew, at, &Ok(()));
        assert_eq!(record.refusal, None);
    }
}
