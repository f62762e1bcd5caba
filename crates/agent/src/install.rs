//! Hardened systemd units for the agent, and for the reload that follows a new certificate.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::at_rest::CREDENTIAL;
use crate::config::Config;
use crate::durable;
use crate::error::AgentError;
use crate::reload::Reload;

/// The agent's unit.
const AGENT: &str = "countersign-agent.service";
/// Notices that a new certificate was published.
const WATCH: &str = "countersign-agent-reload.path";
/// Reloads the service then.
const RELOAD: &str = "countersign-agent-reload.service";

/// What is to be installed.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The configuration, and where it lies.
    pub config: Config,
    /// Where the configuration lies.
    pub config_file: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// The user the agent runs as; default the owner of the identity's directory.
    pub user: Option<String>,
    /// Where units go.
    pub to: PathBuf,
}

/// Writes the units and says which.
///
/// # Errors
/// When they cannot be written, or a name cannot stand in a unit.
pub fn install(installation: &Installation) -> Result<Vec<PathBuf>, AgentError> {
    let mut units = vec![(AGENT, agent(installation)?)];
    if let Some(how) = &installation.config.reload {
        units.push((WATCH, watch(installation)?));
        units.push((RELOAD, reload(how)?));
    }
    let write = |(name, text): (&str, String)| {
        let path = installation.to.join(name);
        durable::replace(&path, text.as_bytes(), durable::PUBLIC).map(|()| path)
    };
    units.into_iter().map(write).collect()
}

/// What no agent needs.
const CLOSED: &str = "NoNewPrivileges=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
KeyringMode=private
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
";

/// The agent itself. Files only, it needs nothing but its directory and the network; to know processes of other users it
/// needs to see them, and one capability.
fn agent(it: &Installation) -> Result<String, AgentError> {
    let program = word(&it.program.display().to_string())?;
    let config = word(&it.config_file.display().to_string())?;
    let dir = word(&it.config.dir.display().to_string())?;
    let metrics = match it.config.metrics.as_deref().and_then(Path::parent) {
        Some(parent) if parent != it.config.dir => format!(" {}", word(&parent.display().to_string())?),
        _ => String::new(),
    };
    let owner = fs::metadata(&it.config.dir).map_or(0, |found| found.uid());
    let user = word(it.user.as_deref().unwrap_or(&owner.to_string()))?;
    let chown = if it.config.files == crate::Outputs::default() { "" } else { "CAP_CHOWN CAP_FOWNER " };
    let calls = if chown.is_empty() { "~@privileged @resources" } else { "~@resources" };
    #[cfg(feature = "workload-api")]
    let socket = it.config.workload_api.as_ref().map(|settings| settings.socket.clone());
    #[cfg(not(feature = "workload-api"))]
    let socket: Option<PathBuf> = None;
    let credential =
        socket.as_ref().map_or_else(String::new, |_| format!("LoadCredentialEncrypted={CREDENTIAL}\n"));
    let (capabilities, sight) = match socket.as_deref().and_then(Path::parent) {
        Some(parent) => (format!("{chown}CAP_SYS_PTRACE"), seeing(parent)?),
        None => (chown.trim().to_owned(), "PrivateUsers=yes\nProtectProc=invisible\nProcSubset=pid\n".into()),
    };
    Ok(format!(
        "# Written by countersign-agent install.
[Unit]
Description=Countersign agent
Wants=network-online.target
After=network-online.target time-sync.target

[Service]
Type=notify
WatchdogSec=180
ExecStart={program} run --config {config}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
User={user}
UMask=0077
LimitCORE=0
MemorySwapMax=0

ReadWritePaths={dir}{metrics}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
{credential}{sight}CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
{CLOSED}SystemCallFilter={calls}
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
    ))
}

/// What an agent needs that serves processes of other users. One whose socket is in a directory of `/run` makes that.
fn seeing(parent: &Path) -> Result<String, AgentError> {
    let own = parent.strip_prefix("/run").ok().filter(|name| name.components().count() == 1);
    let place = match own {
        Some(name) => {
            format!("RuntimeDirectory={}\nRuntimeDirectoryMode=0755\n", word(&name.display().to_string())?)
        }
        None => format!("ReadWritePaths={}\n", word(&parent.display().to_string())?),
    };
    Ok(format!("{place}PrivateUsers=no\nProtectProc=default\nProcSubset=pid\n"))
}

/// The link `current` is swapped with each certificate. The hook runs in a unit of its own: it is no child of the agent,
/// has none of its rights, and the agent has none of the hook's.
fn watch(it: &Installation) -> Result<String, AgentError> {
    let current = word(&it.config.dir.join("current").display().to_string())?;
    Ok(format!(
        "# Written by countersign-agent install.
[Unit]
Description=A new certificate of the Countersign agent

[Path]
PathChanged={current}
Unit={RELOAD}

[Install]
WantedBy=multi-user.target
"
    ))
}

fn reload(how: &Reload) -> Result<String, AgentError> {
    let command = match how {
        Reload::Command(words) => words.iter().map(|it| word(it)).collect::<Result<Vec<_>, _>>()?.join(" "),
        Reload::Unit(unit) => format!("/bin/systemctl reload-or-restart -- {}", word(unit)?),
        Reload::Signal { pid_file, signal } => {
            format!("/bin/pkill -{} -F {}", signal.as_str(), word(&pid_file.display().to_string())?)
        }
    };
    Ok(format!(
        "# Written by countersign-agent install.
[Unit]
Description=Take up the new certificate of the Countersign agent

[Service]
Type=oneshot
ExecStart={command}
TimeoutStartSec=30
"
    ))
}

/// A word of a unit file, quoted where it must be (systemd.service(5)).
fn word(text: &str) -> Result<String, AgentError> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(AgentError::usage(format!("{text:?} cannot stand in a unit")));
    }
    let text = text.replace('%', "%%").replace('$', "$$");
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+=:@%$,".contains(c));
    Ok(if is_plain { text } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit_are_quoted_and_what_cannot_be_is_refused() {
        assert_eq!(word("/opt/a-b/c.toml").unwrap(), "/opt/a-b/c.toml");
        assert_eq!(word("a \"b\" $c %d").unwrap(), "\"a \\\"b\\\" $$c %%d\"");
        word("a\nExecStart=/bin/evil").unwrap_err();
    }
}
