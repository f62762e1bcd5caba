//! The admin socket: 0600, so only its owner and root reach it.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{net::UnixListener, sync::watch, task::JoinHandle};

use super::{caller::PeerUid, local_router, server::Desk};

/// The admin socket, listening.
#[derive(Debug)]
pub(super) struct AdminSocket {
    path: PathBuf,
    task: JoinHandle<io::Result<()>>,
}

impl AdminSocket {
    /// Listens at `path`. The book is locked to this process by now, so a socket that is there is a leftover.
    pub(super) fn start(
        desk: &Arc<Desk>,
        path: &Path,
        mut stopping: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        // The state directory is 0700, so nobody else connects in the moment before this.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let service = local_router(desk).into_make_service_with_connect_info::<PeerUid>();
        let until = async move {
            // The sender is gone only when the server is.
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let task = tokio::spawn(async { axum::serve(listener, service).with_graceful_shutdown(until).await });
        Ok(Self { path: path.into(), task })
    }

    /// Waits for requests under way and removes the socket.
    pub(super) async fn stopped(self) {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(10), self.task).await;
        let _ = std::fs::remove_file(&self.path);
    }
}
