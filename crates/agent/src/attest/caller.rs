//! One connection's caller, as the kernel vouches for it, held for as long as the connection.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use super::Selector;
use super::cgroup::Cgroup;
use super::program::{self, proc};

/// Which evidence is worth its cost: the digest of a program is taken only if some registration asks for one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Evidence {
    /// Take the digest of the caller's program.
    pub(crate) digest: bool,
    /// Believe `/proc` even where the kernel gives no pidfd. A pid that was used again between the call and the look would
    /// then speak for its predecessor.
    pub(crate) without_pidfd: bool,
}

/// The process at the other end.
#[derive(Debug)]
pub(crate) struct Caller {
    uid: u32,
    gid: u32,
    pid: Option<u32>,
    /// Refers to that very process, whatever becomes of its number (`SO_PEERPIDFD`, Linux 6.5).
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Caller {
    /// Asks the kernel who connected.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pidfd = getsockopt(stream, sockopt::PeerPidfd).ok().map(watched).transpose()?;
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
            pidfd,
        })
    }

    /// The number of the process, for log lines.
    pub(crate) const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The user, for limits and log lines.
    pub(crate) const fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether the process still runs; with no pidfd to ask, whether its number is in use.
    pub(crate) fn is_alive(&self) -> bool {
        match (&self.pidfd, self.pid) {
            // A pidfd is readable once its process has ended (pidfd_open(2)).
            (Some(pidfd), _) => {
                let mut end = [PollFd::new(pidfd.get_ref(), PollFlags::IN)];
                matches!(poll(&mut end, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
            }
            (None, Some(pid)) => proc(pid, "stat").exists(),
            (None, None) => false,
        }
    }

    /// Waits for the end of the process; for ever where the kernel gives no pidfd.
    pub(crate) async fn gone(&self) {
        match &self.pidfd {
            Some(pidfd) => drop(pidfd.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Everything that is true of the process. Reads files: not for the thread that serves.
    ///
    /// What `/proc` says counts only if the process still lives after the reading: then its number was its own all the
    /// time.
    pub(crate) fn selectors(&self, evidence: Evidence) -> BTreeSet<Selector> {
        let mut found = BTreeSet::from([Selector::Uid(self.uid), Selector::Gid(self.gid)]);
        let Some(pid) = self.pid.filter(|_| self.pidfd.is_some() || evidence.without_pidfd) else {
            return found;
        };
        let mut read = Vec::new();
        let cgroup =
            fs::read_to_string(proc(pid, "cgroup")).map(|text| Cgroup::read(&text)).unwrap_or_default();
        read.extend(cgroup.unit.map(Selector::Unit));
        read.extend(cgroup.container.map(Selector::Container));
        read.extend(program::path(pid).map(Selector::Path));
        if evidence.digest {
            read.extend(program::digest(pid).map(Selector::Sha256).ok());
        }
        if self.is_alive() {
            found.extend(read);
        }
        found
    }

    /// The same caller as it would be seen by a kernel before Linux 6.5.
    #[cfg(test)]
    fn without_pidfd(self) -> Self {
        Self { pidfd: None, ..self }
    }
}

#[expect(
    deprecated,
    reason = "`register` is unsafe; all it asks for is what an `OwnedFd` is: open, and the same to the end"
)]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    const ALL: Evidence = Evidence { digest: true, without_pidfd: false };

    fn kinds(found: &BTreeSet<Selector>) -> (bool, bool) {
        (
            found.iter().any(|s| matches!(s, Selector::Path(_))),
            found.iter().any(|s| matches!(s, Selector::Sha256(_))),
        )
    }

    /// A connection made by another process than this one.
    async fn connected() -> (UnixStream, Child, tempfile::TempDir) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let code =
            "import socket,sys,time; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); time.sleep(60)";
        let child = Command::new("python3").args(["-c", code]).arg(&path).spawn().unwrap();
        (listener.accept().await.unwrap().0, child, scratch)
    }

    #[tokio::test]
    async fn a_caller_is_who_the_kernel_says() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let caller = Caller::of(&ours).unwrap();
        let found = caller.selectors(ALL);
        let uid = rustix::process::geteuid().as_raw();
        assert!(found.contains(&Selector::Uid(uid)) && caller.uid() == uid);
        let own = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        assert!(found.contains(&Selector::Path(own)), "{found:?}");
        assert_eq!(kinds(&found), (true, true));
        assert_eq!(
            kinds(&caller.selectors(Evidence::default())),
            (true, false),
            "a digest only where asked for"
        );
    }

    #[tokio::test]
    async fn a_process_that_has_ended_is_nothing_but_its_user() {
        let (stream, mut child, _scratch) = connected().await;
        let caller = Caller::of(&stream).unwrap();
        assert_eq!(caller.pid(), Some(child.id()));
        assert!(caller.is_alive());
        assert_eq!(kinds(&caller.selectors(ALL)), (true, true));
        child.kill().unwrap();
        caller.gone().await;
        assert!(!caller.is_alive(), "before anybody waits for it, so before its number can be used again");
        assert_eq!(kinds(&caller.selectors(ALL)), (false, false));
        child.wait().unwrap();
        assert!(!caller.is_alive());
    }

    #[tokio::test]
    async fn without_a_pidfd_only_user_and_group_count_unless_allowed() {
        let (stream, mut child, _scratch) = connected().await;
        let caller = Caller::of(&stream).unwrap().without_pidfd();
        assert_eq!(kinds(&caller.selectors(ALL)), (false, false));
        let allowed = Evidence { without_pidfd: true, ..ALL };
        assert_eq!(kinds(&caller.selectors(allowed)), (true, true));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
