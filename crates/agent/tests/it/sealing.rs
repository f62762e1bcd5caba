//! Keys of workloads at rest: sealed under a secret of the machine, taken up after a restart without the CA, refused when
//! they are not what they should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use countersign_agent::Dir;
use tonic::Code;

use crate::ca::{Answer, Ca, PAYMENTS, problem};
use crate::grpc::{X509Response, X509Svid};
use crate::socket::{API, Machine, own, uid};

pub(crate) const OTHER: &str = "spiffe://prod.example/other";
pub(crate) const SECRET: &str = "unlock";

/// The agent's directory.
pub(crate) fn identity(machine: &Machine) -> PathBuf {
    machine.scratch.path().join("identity")
}

/// The directory of a workload.
pub(crate) fn place(machine: &Machine, id: &str) -> PathBuf {
    let homes = fs::read_dir(identity(machine).join("workloads")).unwrap();
    let homes = homes.map(|home| home.unwrap().path()).filter(|home| home.is_dir());
    let names = |home: &PathBuf| {
        Dir::at(home).identity().unwrap().is_some_and(|found| found.spiffe_id().to_string() == id)
    };
    homes.filter(|home| names(home)).last().unwrap()
}

/// What is there; an agent at work may take it away after it was listed.
fn there<T>(found: std::io::Result<T>) -> Option<T> {
    match found {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        other => Some(other.unwrap()),
    }
}

/// Every file below a directory, links not followed.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in there(fs::read_dir(dir)).into_iter().flatten() {
        let path = entry.unwrap().path();
        match (path.is_symlink(), path.is_dir()) {
            (false, true) => found.extend(files(&path)),
            (false, false) => found.push(path),
            (true, _) => {}
        }
    }
    found
}

/// Every file of workloads that holds a private key, and whether it lies in the clear.
pub(crate) fn keys(machine: &Machine) -> Vec<(PathBuf, bool)> {
    let kind = |path: PathBuf| {
        let text = String::from_utf8_lossy(&there(fs::read(&path))?).into_owned();
        let is_clear = text.contains("BEGIN PRIVATE KEY");
        (is_clear || text.contains("BEGIN ENCRYPTED PRIVATE KEY")).then_some((path, is_clear))
    };
    files(&identity(machine).join("workloads")).into_iter().filter_map(kind).collect()
}

/// The key in a file as openssl reads it with the secret in another.
fn opened(key: &Path, secret: &Path) -> Option<String> {
    let mut openssl = Command::new("openssl");
    openssl.args(["pkey", "-passin", &format!("file:{}", secret.display()), "-in"]).arg(key);
    let output = openssl.stdin(Stdio::null()).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// A machine with two workloads, both served to this process.
pub(crate) async fn serving() -> (Machine, X509Response) {
    let machine = Machine::start(&own()).await;
    register(&machine.ca);
    let told = all_three(&machine).await;
    (machine, told)
}

fn register(ca: &Ca) {
    ca.register(&[(API, &[&uid()]), (OTHER, &[&uid()])]);
}

/// What a process is told once both workloads are there, which belongs together.
pub(crate) async fn all_three(machine: &Machine) -> X509Response {
    let mut stream = machine.client().await.x509_svids().await.unwrap();
    loop {
        let told = tokio::time::timeout(Duration::from_secs(20), stream.message());
        let told = told.await.unwrap().unwrap().unwrap();
        told.svids.iter().for_each(belongs);
        if told.svids.len() == 3 {
            return told;
        }
    }
}

/// Key and certificate are a pair, and the certificate names whom it is said to name.
pub(crate) fn belongs(svid: &X509Svid) {
    let (_, leaf) = x509_parser::parse_x509_certificate(&svid.x509_svid).unwrap();
    let key = rcgen::KeyPair::try_from(svid.x509_svid_key.as_slice()).unwrap();
    assert_eq!(leaf.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    let names_it = |name: &x509_parser::extensions::GeneralName<'_>| matches!(name, x509_parser::extensions::GeneralName::URI(uri) if *uri == svid.spiffe_id);
    assert!(names.iter().any(names_it), "{names:?}");
}

pub(crate) fn of<'a>(told: &'a X509Response, id: &str) -> &'a X509Svid {
    told.svids.iter().find(|svid| svid.spiffe_id == id).unwrap()
}

/// No certificate is given to anybody.
pub(crate) fn away(_: &Ca, asked: &crate::ca::Asked) -> Option<Answer> {
    ["/v1/workload", "/v1/renew"].contains(&asked.path.as_str()).then(|| (503, String::new()))
}

#[tokio::test]
async fn a_copied_directory_without_the_secret_gives_no_key_of_a_workload() {
    // Invariant 8.
    let (machine, told) = serving().await;
    let (keys, secret) = (keys(&machine), identity(&machine).join(SECRET));
    assert_eq!(keys.len(), 2, "in no other file: {keys:?}");
    let wrong = machine.scratch.path().join("wrong");
    fs::write(&wrong, "00".repeat(32)).unwrap();
    for (path, is_clear) in keys {
        assert!(!is_clear, "{path:?}");
        assert_eq!(opened(&path, &wrong), None);
        let key = rcgen::KeyPair::from_pem(&opened(&path, &secret).unwrap()).unwrap();
        assert!(told.svids.iter().any(|svid| svid.x509_svid_key == key.serialize_der()), "{path:?}");
    }
}

#[tokio::test]
async fn the_key_of_an_issuance_under_way_is_sealed_and_used_again_after_a_restart() {
    // Invariant 8.
    let mut machine = Machine::start("").await;
    machine.ca.behave(away);
    machine.ca.register(&[(API, &[&uid()])]);
    let asked = |machine: &Machine| -> Vec<_> {
        machine.ca.asked().into_iter().filter(|asked| asked.path == "/v1/workload").collect()
    };
    let status = machine.client().await.x509_svids().await.unwrap().message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let found = keys(&machine);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.ends_with("pending-first.key") && !found[0].1, "{found:?}");
    let key = asked(&machine)[0].spki.clone();
    machine.ca.behave_well();
    machine.restart("").await;
    let told = machine.client().await.x509_svids().await.unwrap().message().await.unwrap().unwrap();
    belongs(&told.svids[0]);
    assert_eq!(asked(&machine).last().unwrap().spki, key, "no second key for the answer that was lost");
}

#[tokio::test]
async fn without_its_secret_the_agent_gets_new_certificates_and_the_machine_goes_on() {
    let (mut machine, before) = serving().await;
    let secret = identity(&machine).join(SECRET);
    for spoil in [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, "x").unwrap()] {
        spoil(&secret);
        machine.restart(&own()).await;
        let after = all_three(&machine).await;
        for id in [API, OTHER] {
            assert_ne!(of(&after, id).x509_svid_key, of(&before, id).x509_svid_key);
        }
        assert_eq!(of(&after, PAYMENTS), of(&before, PAYMENTS), "the machine's own is read by services");
        assert!(keys(&machine).iter().all(|(_, is_clear)| !is_clear));
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "x", "what an operator may put right is left alone");
    fs::remove_file(&secret).unwrap();
    machine.restart(&own()).await;
    let healed = all_three(&machine).await;
    machine.ca.behave(away);
    machine.restart(&own()).await;
    assert_eq!(all_three(&machine).await.svids, healed.svids, "kept again");
}

/// One way to put what does not belong there into the directories of two workloads.
type Spoil = fn(&Path, &Path);

fn swap(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    fs::rename(one, &aside).unwrap();
    fs::rename(other, one).unwrap();
    fs::rename(&aside, other).unwrap();
}

fn change(one: &Path, other: &Path, name: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    for home in [one, other] {
        let path = home.join("current").join(name);
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    }
}

#[tokio::test]
async fn what_was_swapped_tampered_with_or_cut_off_is_issued_anew_and_never_served() {
    let (mut machine, first) = serving().await;
    let ways: [(&str, Spoil); 9] = [
        ("keys of two", |one, other| swap(&one.join("current/svid.key"), &other.join("current/svid.key"))),
        ("certificates of two", |one, other| {
            swap(&one.join("current/svid.pem"), &other.join("current/svid.pem"));
        }),
        ("pairs of two", |one, other| {
            for name in ["svid.pem", "svid.key"] {
                swap(&one.join("current").join(name), &other.join("current").join(name));
            }
        }),
        ("directories of two", swap),
        ("a cut key", |one, other| {
            change(one, other, "svid.key", |key| key[..key.len() / 2].to_vec());
        }),
        ("an empty key", |one, other| change(one, other, "svid.key", |_| Vec::new())),
        ("a changed key", |one, other| {
            change(one, other, "svid.key", |mut key| {
                let at = key.len() - 60;
                key[at] = if key[at] == b'A' { b'B' } else { b'A' };
                key
            });
        }),
        ("a cut meaning", |one, other| {
            change(one, other, "meta.json", |meta| meta[..meta.len() / 2].to_vec());
        }),
        ("a missing key", |one, other| {
            for home in [one, other] {
                fs::remove_file(home.join("current/svid.key")).unwrap();
            }
        }),
    ];
    let mut before = first;
    for (what, spoil) in ways {
        let (one, other) = (place(&machine, API), place(&machine, OTHER));
        let secret = fs::read(identity(&machine).join(SECRET)).unwrap();
        spoil(&one, &other);
        machine.restart(&own()).await;
        let after = all_three(&machine).await;
        for id in [API, OTHER] {
            assert_ne!(of(&after, id).x509_svid_key, of(&before, id).x509_svid_key, "{what}");
        }
        assert_eq!(fs::read(identity(&machine).join(SECRET)).unwrap(), secret, "{what}");
        before = after;
    }
}

/// Makes the directory of a workload what an agent before this one left: the key in the clear, in two files, and in the
/// generation before, too.
pub(crate) fn unseal(home: &Path, secret: &Path) {
    let generation = fs::canonicalize(home.join("current")).unwrap();
    let key = opened(&generation.join("svid.key"), secret).unwrap();
    let chain = fs::read_to_string(generation.join("svid.pem")).unwrap();
    fs::write(generation.join("svid.key"), &key).unwrap();
    fs::write(generation.join("svid-combined.pem"), format!("{key}{chain}")).unwrap();
    std::os::unix::fs::symlink("current/svid-combined.pem", home.join("svid-combined.pem")).unwrap();
    let before = generation.parent().unwrap().join("0-00");
    fs::create_dir(&before).unwrap();
    for file in fs::read_dir(&generation).unwrap().map(|file| file.unwrap()) {
        fs::copy(file.path(), before.join(file.file_name())).unwrap();
    }
    fs::write(home.join("pending-renew-00.key"), &key).unwrap();
    fs::write(home.join(".pending-renew-00.key.new"), &key[..50]).unwrap();
}

#[tokio::test]
async fn keys_that_an_older_agent_left_in_the_clear_are_sealed_and_served_without_the_ca() {
    let (mut machine, before) = serving().await;
    let secret = identity(&machine).join(SECRET);
    for id in [API, OTHER] {
        unseal(&place(&machine, id), &secret);
    }
    assert_eq!(keys(&machine).iter().filter(|(_, is_clear)| *is_clear).count(), 12);
    fs::remove_file(&secret).unwrap();
    machine.ca.behave(away);
    machine.restart(&own()).await;
    assert_eq!(all_three(&machine).await.svids, before.svids);
    let left = keys(&machine);
    assert!(left.iter().all(|(_, is_clear)| !is_clear), "{left:?}");
    for id in [API, OTHER] {
        let home = place(&machine, id);
        assert!(fs::symlink_metadata(home.join("svid-combined.pem")).is_err());
        assert!(opened(&home.join("svid.key"), &secret).is_some());
    }
    machine.restart(&own()).await;
    assert_eq!(all_three(&machine).await.svids, before.svids, "and after the next start");
}

#[tokio::test]
async fn a_workload_whose_registration_was_not_remembered_is_served_from_the_disk() {
    let (mut machine, before) = serving().await;
    machine.ca.behave(|_, asked| {
        (asked.path == "/v1/workload").then(|| problem(403, countersign_api::ProblemCode::RegistrationGone))
    });
    fs::remove_file(identity(&machine).join("workloads/registrations.json")).unwrap();
    machine.restart(&own()).await;
    assert_eq!(all_three(&machine).await.svids, before.svids);
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-agent");
/// The calls by which a start changes the disk.
const CALLS: [&str; 6] = ["fsync", "rename", "unlink", "symlink", "mkdir", "write"];

/// The real program on the machine's directory, under strace with these options.
pub(crate) fn traced(machine: &Machine, options: &[&str], log: &Path) -> Child {
    let config = machine.scratch.path().join("agent.toml");
    let text = format!("dir = \"identity\"\n[workload_api]\nsocket = {:?}\n", machine.socket());
    fs::write(&config, text).unwrap();
    let _ = fs::remove_file(machine.socket());
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o"])
        .arg(log)
        .args(options)
        .arg(PROGRAM)
        .arg("run")
        .arg("--config")
        .arg(config);
    strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Ends it well, unless it has met its fault since.
pub(crate) fn end(mut strace: Child) {
    let of = format!("/proc/{0}/task/{0}/children", strace.id());
    let child = fs::read_to_string(of).ok().and_then(|child| child.trim().parse().ok());
    if let Some(child) = child.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(child, rustix::process::Signal::TERM);
    }
    strace.wait().unwrap();
}

/// Starts it; returns when it has ended by itself, or serves and was ended.
fn start_traced(machine: &Machine, options: &[&str], log: &Path) {
    let mut strace = traced(machine, options, log);
    for _ in 0..1000 {
        if strace.try_wait().unwrap().is_some() {
            return;
        }
        if std::os::unix::net::UnixStream::connect(machine.socket()).is_ok() {
            return end(strace);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the program neither serves nor ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_killed_or_whose_disk_fails_while_it_seals_is_completed_by_the_next() {
    // Invariants 2 and 8.
    let mut machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let told = machine.client().await.x509_svids().await.unwrap().message().await.unwrap().unwrap();
    machine.stop().await;
    unseal(&place(&machine, API), &identity(&machine).join(SECRET));
    fs::remove_file(identity(&machine).join(SECRET)).unwrap();
    machine.ca.behave(away);
    let template = machine.scratch.path().join("template");
    fs::rename(identity(&machine), &template).unwrap();
    let anew = |machine: &Machine| {
        let _ = fs::remove_dir_all(identity(machine));
        let copied = Command::new("cp").arg("-a").arg(&template).arg(identity(machine)).status();
        assert!(copied.unwrap().success());
    };
    let log = machine.scratch.path().join("strace");
    anew(&machine);
    let trace = format!("trace={}", CALLS.join(","));
    tokio::task::block_in_place(|| start_traced(&machine, &["-e", &trace], &log));
    let undisturbed = fs::read_to_string(&log).unwrap();
    let mut felt = 0;
    for call in CALLS {
        let count = undisturbed.matches(&format!(" {call}(")).count();
        assert!(count > 0, "{call}");
        for (n, fault) in (1..=count).flat_map(|n| ["signal=KILL", "error=EIO"].map(|fault| (n, fault))) {
            anew(&machine);
            let inject = format!("inject={call}:{fault}:when={n}");
            let trace = format!("trace={call}");
            tokio::task::block_in_place(|| start_traced(&machine, &["-e", &trace, "-e", &inject], &log));
            let said = fs::read_to_string(&log).unwrap();
            felt += usize::from(said.contains("killed by SIGKILL") || said.contains("(INJECTED)"));
            let _ = fs::remove_file(machine.socket());
            machine.start_again("").await;
            let mut stream = machine.client().await.x509_svids().await.unwrap();
            assert_eq!(stream.message().await.unwrap().unwrap().svids, told.svids, "{call} {n} {fault}");
            let left = keys(&machine);
            assert!(left.iter().all(|(_, is_clear)| !is_clear), "{call} {n} {fault}: {left:?}");
            machine.stop().await;
        }
    }
    assert!(felt > 40, "faults were felt: {felt}");
}
