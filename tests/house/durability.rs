//! The book and the disk, watched and broken by strace (invariant 2).

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    ca::{Ca, id},
    machine::Machine,
    program::tool,
    wire,
};

/// strace on every thread of a CA.
struct Tracer {
    process: Child,
    calls: std::path::PathBuf,
}

impl Tracer {
    /// Follows a CA from now on; it is attached when this returns.
    fn attach(ca: &Ca, rules: &[&str]) -> Option<Self> {
        let calls = ca.scratch("calls");
        let process = Command::new(tool("strace")?)
            .args(["-f", "-qq", "-p", &ca.pid().as_raw_nonzero().to_string(), "-o"])
            .arg(&calls)
            .args(rules)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while !is_traced(ca) {
            assert!(Instant::now() < until, "strace did not attach");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { process, calls })
    }

    fn syncs(&self) -> usize {
        fs::read_to_string(&self.calls).unwrap().matches("fdatasync(").count()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended with the CA.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether every thread has a tracer.
fn is_traced(ca: &Ca) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", ca.pid().as_raw_nonzero())).unwrap();
    tasks.filter_map(Result::ok).all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
    })
}

#[test]
fn every_acknowledged_act_was_synced_to_the_disk_first() {
    let ca = Ca::start();
    let mut machine = Machine::enrolled(&ca, "/payments");
    let Some(tracer) = Tracer::attach(&ca, &["-e", "trace=fdatasync"]) else { return };
    let mut seen = tracer.syncs();
    let mut synced = |what: &str| {
        let now = tracer.syncs();
        assert!(now > seen, "{what} was acknowledged without an fdatasync");
        seen = now;
    };
    for _ in 0..5 {
        machine = machine.renewed(&ca);
        synced("a renewal");
    }
    let other = Machine::enrolled(&ca, "/reporting");
    synced("an invitation and an enrollment");
    ca.run(&["revoke", "serial", &other.serial()]).succeeded();
    synced("a revocation");
}

#[test]
fn many_at_once_share_syncs() {
    let ca = Ca::start();
    let machines: Vec<Machine> = (0..8).map(|n| Machine::enrolled(&ca, &format!("/crowd/{n}"))).collect();
    let Some(tracer) = Tracer::attach(&ca, &["-e", "trace=fdatasync"]) else { return };
    std::thread::scope(|scope| {
        for machine in &machines {
            scope.spawn(|| machine.renewed(&ca).renewed(&ca).renewed(&ca));
        }
    });
    // What is kept afterwards may cost a few more.
    let syncs = tracer.syncs();
    assert!((1..2 * 24).contains(&syncs), "{syncs} syncs for 24 renewals");
}

/// The standard library panics there.
#[test]
fn a_disk_that_fails_where_a_listed_directory_is_closed_stops_neither_reload_nor_backup_nor_rotation() {
    let ca = Ca::start();
    let Some(tracer) = Tracer::attach(&ca, &["-e", "trace=close", "-e", "inject=close:error=EIO"]) else {
        return;
    };
    ca.run(&["reload"]).succeeded();
    ca.run(&["backup", "backup.tar"]).succeeded();
    ca.run(&["issuer", "rotate", "--passphrase-file", "passphrase"]).succeeded();
    assert!(fs::read_to_string(&tracer.calls).unwrap().contains("(INJECTED)"));
}

/// A backup without the keys of its issuers would be found wanting on the day it is needed.
#[test]
fn a_directory_that_cannot_be_looked_at_is_not_left_out_of_a_backup() {
    let ca = Ca::start();
    let issuer = ca.state().join("issuers/1").display().to_string();
    let rules = ["-P", &issuer, "-e", "trace=statx", "-e", "inject=statx:error=EIO"];
    let Some(tracer) = Tracer::attach(&ca, &rules) else { return };
    ca.run(&["backup", "backup.tar"]).ended(1, &["the CA has a fault"]);
    drop(tracer);
    ca.run(&["backup", "backup.tar"]).succeeded();
}

#[test]
fn a_sync_that_fails_fails_its_commands_and_latches_the_book() {
    let mut ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let rules = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"];
    let Some(tracer) = Tracer::attach(&ca, &rules) else { return };
    let problem = machine.ask_renewal(&ca).refused(503, "store_read_only");
    assert!(problem.retry_after.is_some() && problem.hint.is_some());
    // Only the first sync failed, and yet: what the disk holds is known only to the next start.
    machine.ask_renewal(&ca).refused(503, "store_read_only");
    ca.run(&["invite", &id("/reporting")]).failed(3, &["store_read_only"]);
    assert_eq!(tracer.syncs(), 1, "a latched book writes nothing");
    let (status, why) = wire::plain_get(ca.ops(), "/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(why.contains("read-only"), "{why}");
    assert_eq!(wire::plain_get(ca.ops(), "/healthz").unwrap().0, 200, "it lives, it only does not write");
    let (_, metrics) = wire::plain_get(ca.ops(), "/metrics").unwrap();
    assert!(metrics.contains("countersign_store_read_only 1"), "{metrics}");
    // Reading goes on.
    assert_eq!(ca.json(&["issued", "show", &machine.serial()])["spiffe_id"], id("/payments"));
    drop(tracer);
    ca.stop();
    ca.start_again();
    machine.renewed(&ca);
}

#[test]
fn an_enrollment_on_a_failing_disk_completes_after_the_repair() {
    let mut ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let enroll = ["enroll", "--invitation", &invitation, "--dir", "m"];
    let rules = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    let Some(tracer) = Tracer::attach(&ca, &rules) else { return };
    ca.agent(&enroll).failed(3, &["store_read_only"]);
    drop(tracer);
    ca.kill();
    ca.start_again();
    ca.agent(&enroll).succeeded();
    assert_eq!(ca.json(&["machines", "list"]).as_array().unwrap().len(), 1);
}
