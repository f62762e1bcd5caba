//! How a service is made to take up a new certificate: by a command, by a signal, or by its systemd unit.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use countersign_identity::{Clock, Serial};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;

use crate::attempt::Action;
use crate::dir::Dir;
use crate::error::AgentError;

/// How long a reload command may take: a command that hangs must not keep the next renewal from happening.
const LIMIT: Duration = Duration::from_secs(30);

/// What makes a service take up a new certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reload {
    /// A command, program first. It runs with the agent's rights.
    Command(Vec<String>),
    /// A signal to the process whose number is in a file. Whoever can write the file chooses which process.
    Signal {
        /// The file.
        pid_file: PathBuf,
        /// Which signal.
        signal: ReloadSignal,
    },
    /// A systemd unit, which systemd reloads, or restarts if it cannot: nothing of it runs as a child of the agent.
    Unit(String),
}

/// The signals that services reload by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReloadSignal {
    /// `HUP`, as most have it.
    Hup,
    /// `USR1`.
    Usr1,
    /// `USR2`.
    Usr2,
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "the reload command `{}`", command.join(" ")),
            Self::Signal { pid_file, signal } => {
                write!(f, "the signal {} to the process of {}", signal.as_str(), pid_file.display())
            }
            Self::Unit(unit) => write!(f, "the reload of {unit}"),
        }
    }
}

impl ReloadSignal {
    /// All, in the order of the manual.
    pub const ALL: [Self; 3] = [Self::Hup, Self::Usr1, Self::Usr2];

    /// As the configuration spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }

    const fn number(self) -> Signal {
        match self {
            Self::Hup => Signal::HUP,
            Self::Usr1 => Signal::USR1,
            Self::Usr2 => Signal::USR2,
        }
    }
}

/// Reloads for the certificate `serial` and writes down how it ended. Once it has succeeded it is not due for that
/// certificate any more; until then it is, whatever happens to this process.
///
/// # Errors
/// When it cannot be started, does not end in time, or does not end well.
pub async fn reload(dir: &Dir, how: &Reload, serial: Serial, clock: &dyn Clock) -> Result<(), AgentError> {
    let end = match how {
        Reload::Command(command) => execute(how, command).await,
        Reload::Signal { pid_file, signal } => send(pid_file, *signal),
        Reload::Unit(unit) => {
            let command = ["systemctl", "reload-or-restart", "--", unit].map(str::to_owned);
            execute(how, &command).await
        }
    };
    let end = end.map_err(|error| {
        error
            .with_hint("the new certificate is in place; put the reload right, or reload the service by hand")
    });
    match dir.hold() {
        Ok(held) => held.note(|record| match &end {
            Ok(()) => record.reloaded = Some(serial.to_string()),
            Err(_) => record.ended(Action::Reload, clock.now(), &end),
        }),
        Err(error) => tracing::warn!(%error, "the end of the reload could not be written down"),
    }
    end
}

async fn execute(how: &Reload, command: &[String]) -> Result<(), AgentError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(LIMIT, child.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(AgentError::failed(format!("{how} ended with {status}"))),
        Ok(Err(error)) => Err(AgentError::failed(format!("cannot start {how}: {error}"))),
        Err(_) => {
            Err(AgentError::failed(format!("{how} was stopped: it did not end within {} s", LIMIT.as_secs())))
        }
    }
}

/// Sends the signal to the process whose number is in the file.
fn send(pid_file: &Path, signal: ReloadSignal) -> Result<(), AgentError> {
    let text = fs::read_to_string(pid_file).map_err(|error| AgentError::file("read", pid_file, &error))?;
    // 1 is the system itself; a negative number would be a whole group of processes.
    let number = text.trim().parse().ok().filter(|number| *number > 1);
    let pid = number.and_then(Pid::from_raw).ok_or_else(|| {
        let found: String = text.trim().chars().take(40).collect();
        AgentError::failed(format!(
            "{} holds {found:?}, expected the number of a process",
            pid_file.display()
        ))
    })?;
    kill_process(pid, signal.number()).map_err(|error| {
        AgentError::failed(format!("cannot send {} to process {pid:?}: {error}", signal.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use countersign_identity::{ManualClock, Timestamp};

    use super::*;

    async fn try_reload(dir: &Dir, command: &[&str]) -> Result<(), AgentError> {
        let how = Reload::Command(command.iter().map(ToString::to_string).collect());
        let clock = ManualClock::new(Timestamp::from_unix(0));
        reload(dir, &how, "ab".parse().unwrap(), &clock).await
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

    #[tokio::test]
    async fn a_signal_reaches_the_process_of_the_file_and_no_other_number_is_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let pid_file = scratch.path().join("pid");
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        fs::write(&pid_file, format!("{}\n", child.id())).unwrap();
        send(&pid_file, ReloadSignal::Hup).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(1));
        for text in ["", "0", "1", "-1", "-5", "12x", "99999999999"] {
            fs::write(&pid_file, text).unwrap();
            let error = send(&pid_file, ReloadSignal::Hup).unwrap_err();
            assert!(error.to_string().contains("expected the number of a process"), "{error}");
        }
    }
}
