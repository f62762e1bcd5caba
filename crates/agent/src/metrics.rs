//! Metrics as a file in the text format of Prometheus, for a collector that reads files: the agent listens nowhere.

use std::path::Path;

use countersign_identity::Timestamp;

use crate::durable;
use crate::error::AgentError;
use crate::identity::Identity;
use crate::schedule::{Event, State};

/// What a running agent counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    renewed: u64,
    failed: u64,
}

impl Counts {
    /// Takes note of what happened.
    pub(crate) const fn note(&mut self, event: &Event) {
        match event {
            Event::Renewed(_) => self.renewed += 1,
            Event::Failed { .. } => self.failed += 1,
            _ => {}
        }
    }

    /// Puts the file in place whole. Times are absolute, so it need not be written again for time to pass.
    pub(crate) fn write(
        self,
        path: &Path,
        identity: &Identity,
        state: State,
        next: Option<Timestamp>,
    ) -> Result<(), AgentError> {
        durable::replace(path, self.text(identity, state, next).as_bytes(), durable::PUBLIC)
    }

    fn text(self, identity: &Identity, state: State, next: Option<Timestamp>) -> String {
        let id = identity.spiffe_id();
        let state = format!("{state:?}").to_lowercase();
        let gauge = |name: &str, help: &str, value: i64| {
            format!(
                "# HELP countersign_agent_{name} {help}\n# TYPE countersign_agent_{name} gauge\ncountersign_agent_{name}{{spiffe_id=\"{id}\"}} {value}\n"
            )
        };
        let counter = |name: &str, help: &str, value: u64| {
            format!(
                "# HELP countersign_agent_{name}_total {help}\n# TYPE countersign_agent_{name}_total counter\ncountersign_agent_{name}_total {value}\n"
            )
        };
        [
            gauge("not_after_seconds", "The end of the certificate, Unix time.", identity.validity().not_after().unix()),
            gauge("next_attempt_seconds", "When the next attempt is planned, Unix time.", next.map_or(0, Timestamp::unix)),
            format!("# HELP countersign_agent_state How things stand.\n# TYPE countersign_agent_state gauge\ncountersign_agent_state{{state=\"{state}\"}} 1\n"),
            counter("renewals", "Certificates obtained since the start.", self.renewed),
            counter("failures", "Attempts that failed since the start.", self.failed),
        ]
        .concat()
    }
}
