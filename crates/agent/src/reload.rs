//! The command that makes a service take up a new certificate.

use std::process::Stdio;
use std::time::Duration;

use countersign_identity::{Clock, Serial};
use tokio::process::Command;
use tokio::time::timeout;

use crate::attempt::Action;
use crate::dir::Dir;
use crate::error::AgentError;

/// How long a reload command may take: a command that hangs must not keep the next renewal from happening.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the command for the certificate `serial` and writes down how it ended. Once it has succeeded it is not due for
/// that certificate any more; until then it is, whatever happens to this process.
///
/// # Errors
/// When it cannot be started, does not end in time, or does not end well.
pub async fn reload(
    dir: &Dir,
    command: &[String],
    serial: Serial,
    clock: &dyn Clock,
) -> Result<(), AgentError> {
    let end = execute(command).await.map_err(|error| {
        error.with_hint(
            "the new certificate is in place; put the command right, or reload the service by hand",
        )
    });
    match dir.hold() {
        Ok(held) => held.note(|record| match &end {
            Ok(()) => record.reloaded = Some(serial.to_string()),
            Err(_) => record.ended(Action::Reload, clock.now(), &end),
        }),
        Err(error) => tracing::warn!(%error, "the end of the reload command could not be written down"),
    }
    end
}

async fn execute(command: &[String]) -> Result<(), AgentError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let shown = command.join(" ");
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(LIMIT, child.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => {
            Err(AgentError::failed(format!("the reload command `{shown}` ended with {status}")))
        }
        Ok(Err(error)) => {
            Err(AgentError::failed(format!("cannot start the reload command `{shown}`: {error}")))
        }
        Err(_) => Err(AgentError::failed(format!(
            "the reload command `{shown}` was stopped: it did not end within {} s",
            LIMIT.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use countersign_identity::{ManualClock, Timestamp};

    use super::*;

    async fn try_reload(dir: &Dir, command: &[&str]) -> Result<(), AgentError> {
        let command: Vec<_> = command.iter().map(ToString::to_string).collect();
        let clock = ManualClock::new(Timestamp::from_unix(0));
        reload(dir, &command, "ab".parse().unwrap(), &clock).await
    }

    #[tokio::test]
    async fn a_reload_is_due_until_it_has_succeeded() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::at(scratch.path());
        let error = try_reload(&dir, &["false"]).await.unwrap_err();
        assert!(error.to_string().contains("`false` ended with"), "{error}");
        assert!(dir.record().unwrap().wants_reload("ab".parse().unwrap()));
        try_reload(&dir, &["true"]).await.unwrap();
        assert!(!dir.record().unwrap().wants_reload("ab".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_command_that_does_not_exist_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let error = try_reload(&Dir::at(scratch.path()), &["/no/such/program", "x"]).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/program x"), "{error}");
    }
}
