//! What the service manager is told: ready, still alive, ending (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager; none where nobody listens.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// The manager that started this process, by `NOTIFY_SOCKET`.
    #[must_use]
    pub fn of_environment() -> Self {
        env::var_os("NOTIFY_SOCKET").map_or_else(Self::default, |name| Self::at(&name))
    }

    /// The manager that listens at a path, or under an abstract name that begins with `@`.
    #[must_use]
    pub fn at(name: &OsStr) -> Self {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(name),
        };
        let to = address.and_then(|address| UnixDatagram::unbound().map(|socket| (socket, address)));
        match to {
            Ok(to) => Self { to: Some(to) },
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// The agent keeps an identity, and serves if it was told to.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The agent is alive, and this is how things stand.
    pub(crate) fn alive(&self, status: Option<&str>) {
        match status {
            Some(status) => self.tell(&format!("WATCHDOG=1\nSTATUS={}", status.replace('\n', " "))),
            None => self.tell("WATCHDOG=1"),
        }
    }

    /// The agent is about to end.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// A manager that does not listen is no reason to fail.
    fn tell(&self, words: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(words.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_at_a_path_and_under_an_abstract_name() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("notify");
        let name = format!("countersign-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, at) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let notify = Notify::at(&at);
            notify.ready();
            notify.alive(Some("valid\nfor an hour"));
            notify.stopping();
            let mut heard = [0; 100];
            for expected in ["READY=1", "WATCHDOG=1\nSTATUS=valid for an hour", "STOPPING=1"] {
                let count = socket.recv(&mut heard).unwrap();
                assert_eq!(std::str::from_utf8(&heard[..count]).unwrap(), expected);
            }
        }
        Notify::default().ready();
    }
}
