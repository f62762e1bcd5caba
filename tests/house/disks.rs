//! Disks that are full, locked or written by others, and files with mistakes.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use countersign_testkit::csr;
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    program::{self, agent, countersign, tool},
    wire,
};

/// A command under which `dir` is mounted as said, for that command alone.
fn mounted(mount: &str) -> Option<[String; 5]> {
    let unshare = tool("unshare")?;
    let shell = format!("{mount} && exec \"$0\" \"$@\"");
    let allowed = Command::new(&unshare).args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !allowed {
        assert!(std::env::var_os("CI").is_none(), "no mount namespace may be made here");
        eprintln!("SKIPPED: no mount namespace may be made here");
        return None;
    }
    Some([unshare.display().to_string(), "-m".into(), "sh".into(), "-c".into(), shell])
}

/// The command run under [`mounted`].
fn under(mounted: &[String; 5], inner: &Command) -> Command {
    let mut command = Command::new(&mounted[0]);
    command.args(&mounted[1..]).arg(inner.get_program()).args(inner.get_args());
    command
}

#[test]
fn a_full_disk_latches_the_book_and_loses_nothing_that_was_acknowledged() {
    let book = "{dir}/ca/state/book";
    let Some(mount) = mounted(&format!("mkdir -p {book} && mount -t tmpfs -o size=1m none {book}")) else {
        return;
    };
    let mount: Vec<&str> = mount.iter().map(String::as_str).collect();
    let ca = Setup::new().under(&mount).start();
    let machine = Machine::enrolled(&ca, "/payments");
    // Registrations until the disk is full.
    let many: Vec<String> = (0..4000)
        .map(|n| json!({ "spiffe_id": id(&format!("/filler/{n}")), "owner": "x".repeat(200) }).to_string())
        .collect();
    fs::write(ca.scratch("many"), many.join("\n")).unwrap();
    let full =
        (0..20).map(|_| ca.run(&["registrations", "import", "many"])).find(|ended| ended.code != Some(0));
    let full = full.expect("the disk never became full");
    assert_eq!(full.code, Some(3), "{}", full.err);
    assert!(full.err.contains("store_read_only") && full.err.contains("disk"), "{}", full.err);
    let problem = machine.ask_renewal(&ca).refused(503, "store_read_only");
    assert!(problem.retry_after.is_some() && problem.hint.is_some());
    let (status, why) = wire::plain_get(ca.ops(), "/readyz").unwrap();
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("read-only"), "{why}");
    assert_eq!(wire::plain_get(ca.ops(), "/healthz").unwrap().0, 200);
    ca.run(&["invite", &id("/late")]).ended(3, &["store_read_only"]);
}

/// Cut in the first row that is written, or in one soon after. scripts/faults walks many more, and every other call.
#[test]
fn a_write_that_is_cut_short_latches_the_book_and_loses_nothing_that_was_acknowledged() {
    // Without this the system ends a process that writes past its limit.
    let mut ca = Setup::new().under(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).start();
    let mut machine = Machine::enrolled(&ca, "/payments");
    for more in [0, 1, 40, 2500] {
        let book = fs::read_dir(ca.state().join("book")).unwrap().map(|entry| entry.unwrap());
        let journal = book.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "jnl"));
        // What it was made long for beforehand holds no blocks yet.
        let longest = journal.map(|entry| entry.metadata().unwrap().blocks() * 512).max().unwrap();
        let limit = Rlimit { current: Some(longest + more), maximum: None };
        prlimit(Some(ca.pid()), Resource::Fsize, limit).unwrap();
        let refused = (0..20).find_map(|_| {
            let key = csr::p256();
            let answer = machine.renew_with(&ca, &csr::plain(&key));
            if answer.status == 200 {
                machine = Machine::from(&answer, key);
                return None;
            }
            Some(answer)
        });
        refused.expect("the limit was never reached").refused(503, "store_read_only");
        assert_eq!(wire::plain_get(ca.ops(), "/readyz").unwrap().0, 503);
        ca.kill();
        ca.start_again();
        assert_eq!(ca.json(&["issued", "show", &machine.serial()])["spiffe_id"], id("/payments"));
        machine = machine.renewed(&ca);
    }
}

#[test]
fn a_ca_whose_directory_is_read_only_says_so() {
    let mut ca = Setup::new().init();
    ca.start_again();
    assert!(ca.stop().success());
    let home = ca.home().display().to_string();
    let Some(mount) = mounted(&format!("mount --bind {home} {home} && mount -o remount,ro,bind {home}"))
    else {
        return;
    };
    let ended = program::run(&mut under(&mount, &ca.serve()));
    ended.ended(1, &["Read-only file system", "book", "a directory this user can write"]);
    // And nothing was harmed.
    ca.start_again();
}

#[test]
fn init_into_a_read_only_place_says_so_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("passphrase"), "correct horse battery\n").unwrap();
    let place = dir.path().display().to_string();
    let Some(mount) = mounted(&format!("mount --bind {place} {place} && mount -o remount,ro,bind {place}"))
    else {
        return;
    };
    let mut init = countersign();
    init.args(["init", "--trust-domain", "prod.example", "--dir"]).arg(dir.path().join("ca"));
    init.arg("--passphrase-file").arg(dir.path().join("passphrase"));
    let ended = program::run(&mut under(&mount, &init));
    ended.ended(1, &["Read-only file system"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_agent_on_a_full_disk_says_so_and_completes_when_there_is_space() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let dir = ca.scratch("m");
    fs::create_dir(&dir).unwrap();
    let place = dir.display().to_string();
    let Some(mount) = mounted(&format!("mount -t tmpfs -o size=8k,mode=700 none {place}")) else { return };
    let mut enroll = agent();
    enroll.args(["enroll", "--invitation", &invitation, "--dir", &place]);
    program::run(&mut under(&mount, &enroll)).failed(1, &["No space left", "free space"]);
    // That disk is gone with its key; only an operator can tell that no second machine is at work.
    let fresh = ca.invite("/payments", &[]);
    ca.agent(&["enroll", "--invitation", &fresh, "--dir", "m"]).succeeded();
}

#[test]
fn an_agent_on_a_read_only_disk_says_so_and_keeps_its_identity() {
    let ca = Ca::start();
    let dir = ca.enroll_agent("/payments", "m");
    let before = fs::read(dir.join("svid.pem")).unwrap();
    let place = dir.display().to_string();
    let Some(mount) = mounted(&format!("mount --bind {place} {place} && mount -o remount,ro,bind {place}"))
    else {
        return;
    };
    let mut renew = agent();
    renew.args(["renew", "--dir", &place]);
    program::run(&mut under(&mount, &renew)).failed(1, &["Read-only file system", "mounted read-only"]);
    assert_eq!(fs::read(dir.join("svid.pem")).unwrap(), before);
    ca.agent(&["renew", "--dir", "m"]).succeeded();
}

#[test]
fn a_second_server_on_the_same_book_is_refused() {
    let ca = Ca::start();
    let ended = program::run(&mut ca.serve());
    ended.ended(1, &["in use by another process", "stop that one, or give this one its own directory"]);
    Machine::enrolled(&ca, "/payments");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (first, second) = (Ca::start(), Setup::new().init());
    second.set("listen", first.listen().to_string().into());
    let said = program::run(&mut second.serve()).failed(1, &["Address already in use"]);
    assert!(said.contains(&first.listen().to_string()), "{said}");
}

#[test]
fn an_unknown_key_of_the_configuration_is_named_with_the_nearest_known() {
    let ca = Setup::new().init();
    let text = fs::read_to_string(ca.config()).unwrap();
    for (wrong, key, nearest) in [
        (text.replace("ops_listen", "ops_lisen"), "ops_lisen", "ops_listen"),
        (text.replace("body_bytes", "body_byte"), "body_byte", "body_bytes"),
        (text.replace("[limits]", "[limit]"), "limit", "limits"),
    ] {
        assert_ne!(wrong, text);
        fs::write(ca.config(), wrong).unwrap();
        let hint = format!("did you mean `{nearest}`");
        program::run(&mut ca.serve()).failed(2, &[key, &hint, "countersign.toml", "line"]);
    }
}

#[test]
fn a_wrong_value_of_the_configuration_is_named_with_what_is_expected() {
    for (key, value, expected) in [
        ("listen", "localhost:8443", "ADDRESS:PORT"),
        ("url", "http://127.0.0.1:8443", "https://HOST:PORT"),
        ("store.engine", "oracle", "sled"),
        ("trust_domain", "Prod.Example", "trust domain"),
        ("log.level", "loud=very", "log.level"),
    ] {
        let ca = Setup::new().set(key, value).init();
        program::run(&mut ca.serve()).failed(2, &[key, expected]);
    }
}

#[test]
fn an_unknown_key_of_a_profile_or_policy_is_named_with_the_nearest_known() {
    let profile = Setup::new().profile("workload", "lifetim = \"1h\"\n").init();
    program::run(&mut profile.serve()).ended(1, &["workload.toml", "\"lifetim\"", "\"lifetime\""]);
    let policy = Setup::new().policy("version = 1\n[[gran]]\nid = \"spiffe://prod.example/x\"\n").init();
    program::run(&mut policy.serve()).ended(1, &["policy.toml", "\"gran\"", "\"grant\""]);
}

#[test]
fn init_on_a_directory_that_is_not_empty_touches_nothing() {
    let ca = Setup::new().init();
    let root = fs::read(ca.state().join("root.pem")).unwrap();
    let mut again = countersign();
    again.args(["init", "--trust-domain", "prod.example", "--dir"]).arg(ca.home());
    again.arg("--passphrase-file").arg(ca.scratch("passphrase"));
    program::run(&mut again).failed(1, &["not empty", "never overwrites"]);
    assert_eq!(fs::read(ca.state().join("root.pem")).unwrap(), root);
}

#[test]
fn init_without_a_passphrase_and_without_a_terminal_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let mut init = countersign();
    init.args(["init", "--trust-domain", "prod.example", "--dir"]).arg(dir.path().join("ca"));
    program::run(&mut init).failed(2, &["passphrase", "--passphrase-file"]);
    assert!(!dir.path().join("ca").exists());
}

#[test]
fn a_damaged_key_file_stops_the_start_and_is_named() {
    let ca = Setup::new().init();
    let key = ca.state().join("issuers/1/key.pem");
    fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
        .unwrap();
    program::run(&mut ca.serve()).ended(1, &["issuers/1/key.pem"]);
}
