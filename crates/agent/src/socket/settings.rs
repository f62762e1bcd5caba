//! How the socket is configured: as written, and as meant.

use std::path::PathBuf;

use serde::Deserialize;

use crate::attest::Selector;

/// The table `[workload_api]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkloadApi {
    /// Where the socket is; its directory is made if that alone is missing. Whoever can write there can put another agent's socket in place.
    pub socket: PathBuf,
    /// The socket's mode; default 0666, every local process may ask: who gets what is decided by what a process is. A
    /// narrower one keeps strangers from even asking.
    pub mode: u32,
    /// Believe `/proc` of a caller where the kernel gives no pidfd (before Linux 6.5); default false, since a pid that is
    /// used again could then speak for its predecessor.
    pub without_pidfd: bool,
    /// Which processes may have the machine's own identity: those that are all of any of these; default none.
    pub own: Vec<Vec<Selector>>,
}

/// The table as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadApiFile {
    socket: PathBuf,
    #[serde(default = "open_to_all")]
    mode: String,
    #[serde(default)]
    without_pidfd: bool,
    #[serde(default)]
    own: Vec<OwnFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnFile {
    selectors: Vec<String>,
}

/// As other agents of this standard have it.
fn open_to_all() -> String {
    "0666".to_owned()
}

/// Understands the table.
pub(crate) fn read(file: WorkloadApiFile) -> Result<WorkloadApi, String> {
    if !file.socket.is_absolute() {
        return Err(format!("workload_api.socket: found {:?}, expected an absolute path", file.socket));
    }
    let mode =
        u32::from_str_radix(&file.mode, 8).ok().filter(|mode| mode & !0o777 == 0 && mode & 0o600 == 0o600);
    let mode = mode.ok_or_else(|| {
        format!("workload_api.mode: found {:?}, expected an octal mode such as \"0660\"", file.mode)
    })?;
    let own = file.own.iter().map(|own| selectors(&own.selectors)).collect::<Result<_, _>>()?;
    Ok(WorkloadApi { socket: file.socket, mode, without_pidfd: file.without_pidfd, own })
}

fn selectors(texts: &[String]) -> Result<Vec<Selector>, String> {
    if texts.is_empty() {
        return Err("workload_api.own: found no selectors, expected at least one: without any, every process would get the machine's identity".into());
    }
    texts.iter().map(|text| text.parse().map_err(|error| format!("workload_api.own: {error}"))).collect()
}
