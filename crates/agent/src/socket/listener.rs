//! The listening socket and its limits.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{self, Connection};
use super::rarely::Rarely;
use super::routes::Routes;
use super::settings::WorkloadApi;
use crate::attest::Caller;
use crate::custody::Custody;
use crate::error::AgentError;

/// Open connections; one more is closed at once. Each costs some 20 KiB at most.
const CONNECTIONS: usize = 1024;
/// Open connections of one user: one user's processes cannot keep the others out.
const CONNECTIONS_PER_USER: usize = 256;
/// After a failed `accept`, as when file descriptors run out.
const BREATH: Duration = Duration::from_millis(100);

/// Opens the socket and serves on it for as long as the set of tasks lives.
pub(crate) fn open(
    settings: &WorkloadApi,
    custody: &Arc<Custody>,
    tasks: &mut JoinSet<()>,
) -> Result<(), AgentError> {
    let listener = bind(&settings.socket, settings.mode)?;
    let routes = Arc::new(Routes::new(custody)?);
    tracing::info!(socket = %settings.socket.display(), "serving the SPIFFE Workload API");
    tasks.spawn(accept(
        listener,
        Removed(settings.socket.clone()),
        routes,
        Arc::clone(custody),
        settings.without_pidfd,
    ));
    Ok(())
}

/// Takes the place of a socket that nobody serves any more, and of nothing else.
fn bind(path: &Path, mode: u32) -> Result<UnixListener, AgentError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AgentError::failed(format!("{} exists and is no socket", path.display()))
                .with_hint("move it away, or choose another workload_api.socket"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(AgentError::failed(format!("somebody else serves {}", path.display()))
                .with_hint("stop that program, or choose another workload_api.socket"));
        }
        Ok(_) => fs::remove_file(path).map_err(|error| AgentError::file("remove", path, &error))?,
        Err(_) => {}
    }
    make_parent(path)?;
    let listener = UnixListener::bind(path).map_err(|error| AgentError::file("listen on", path, &error))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| AgentError::file("set the mode of", path, &error))?;
    Ok(listener)
}

/// Makes the directory of the socket, open to all, where that alone is missing: `/run` is empty after each start.
fn make_parent(path: &Path) -> Result<(), AgentError> {
    let Some(parent) = path.parent().filter(|parent| !parent.exists()) else { return Ok(()) };
    let made =
        fs::create_dir(parent).and_then(|()| fs::set_permissions(parent, Permissions::from_mode(0o755)));
    made.map_err(|error| {
        AgentError::file("make the directory of the socket", parent, &error).with_hint(format!(
            "as root: install -d -o USER {} (the unit of `countersign-agent install` does that), or choose another workload_api.socket",
            parent.display()
        ))
    })
}

/// The socket's file, removed at the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn accept(
    listener: UnixListener,
    _removed: Removed,
    routes: Arc<Routes>,
    custody: Arc<Custody>,
    without_pidfd: bool,
) {
    let (mut serving, users) = (JoinSet::new(), Arc::new(Users::default()));
    let (refused, strangers) = (Rarely::default(), Arc::default());
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            Some(_) = serving.join_next() => continue,
        };
        match stream.and_then(|(stream, _)| admit(stream, &users, serving.len(), &refused)) {
            Ok((stream, caller, place)) => {
                let connection = Connection::new(caller, Arc::clone(&custody), without_pidfd, &strangers);
                let routes = Arc::clone(&routes);
                serving.spawn(async move {
                    connection::serve(stream, Arc::new(connection), &routes).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection is not taken");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Asks the kernel who connected, and keeps to the limits. A connection past them is closed.
fn admit(
    stream: UnixStream,
    users: &Arc<Users>,
    open: usize,
    refused: &Rarely,
) -> io::Result<(UnixStream, Caller, Place)> {
    let caller = Caller::of(&stream)?;
    match users.enter(caller.uid()) {
        Some(place) if open < CONNECTIONS => Ok((stream, caller, place)),
        _ => {
            if let Some(passed_over) = refused.due(caller.uid(), Instant::now()) {
                let (uid, pid) = (caller.uid(), caller.pid());
                tracing::warn!(uid, pid, passed_over, "a connection past the limit is closed");
            }
            Err(io::ErrorKind::QuotaExceeded.into())
        }
    }
}

/// How many connections each user has.
#[derive(Debug, Default)]
struct Users {
    open: Mutex<BTreeMap<u32, usize>>,
}

/// One of a user's connections, given back when it is dropped.
struct Place {
    users: Arc<Users>,
    uid: u32,
}

impl Users {
    fn enter(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(uid).or_default();
        if *count >= CONNECTIONS_PER_USER {
            return None;
        }
        *count += 1;
        Some(Place { users: Arc::clone(self), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.users.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_replaced_and_nothing_else_is() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.sock");
        let first = bind(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = bind(&path, 0o666).unwrap_err();
        assert!(error.to_string().contains("somebody else serves"), "{error}");
        drop(first);
        bind(&path, 0o666).unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "keep me").unwrap();
        let error = bind(&file, 0o666).unwrap_err();
        assert!(error.to_string().contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(file).unwrap(), "keep me");
    }

    #[tokio::test]
    async fn a_missing_directory_is_made_and_more_than_that_is_explained() {
        let scratch = tempfile::tempdir().unwrap();
        let parent = scratch.path().join("countersign");
        let _listener = bind(&parent.join("agent.sock"), 0o666).unwrap();
        assert_eq!(fs::metadata(&parent).unwrap().permissions().mode() & 0o777, 0o755);
        let error = bind(&scratch.path().join("a/b/agent.sock"), 0o666).unwrap_err();
        assert!(error.to_string().contains("a/b"), "{error}");
        assert!(error.hint().unwrap().contains("install -d"), "{error:?}");
    }

    #[test]
    fn one_user_cannot_take_every_connection() {
        let users = Arc::new(Users::default());
        let places: Vec<_> = (0..CONNECTIONS_PER_USER).map_while(|_| users.enter(1)).collect();
        assert_eq!(places.len(), CONNECTIONS_PER_USER);
        assert!(users.enter(1).is_none());
        assert!(users.enter(2).is_some());
        drop(places);
        assert!(users.enter(1).is_some());
    }
}
