//! A CA of the real program, in a directory and at ports of its own.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    program::{self, Ended, agent, countersign},
    wire,
};

/// The trust domain of every CA here.
pub(crate) const TRUST_DOMAIN: &str = "prod.example";
/// What a CA may take to be ready: a loaded machine with two cores, and strace around the process.
const PATIENCE: Duration = Duration::from_secs(30);
const PASSPHRASE: &str = "correct horse battery staple";

/// How a CA shall be.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    settings: Vec<(&'static str, toml::Value)>,
    profiles: Vec<(&'static str, String)>,
    policy: Option<String>,
    launch: Launch,
}

/// How its process is started.
#[derive(Clone, Debug, Default)]
struct Launch {
    environment: Vec<(&'static str, String)>,
    under: Vec<String>,
    clock: Option<PathBuf>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A key of the configuration, dotted.
    pub(crate) fn set(mut self, key: &'static str, value: impl Into<toml::Value>) -> Self {
        self.settings.push((key, value.into()));
        self
    }

    /// A profile more, or another text for one.
    pub(crate) fn profile(mut self, name: &'static str, text: &str) -> Self {
        self.profiles.push((name, text.to_owned()));
        self
    }

    /// The first policy.
    pub(crate) fn policy(mut self, text: &str) -> Self {
        self.policy = Some(text.to_owned());
        self
    }

    /// A variable in the server's environment; `{dir}` stands for the CA's scratch directory.
    #[cfg(feature = "failpoints")]
    pub(crate) fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.launch.environment.push((name, value.to_owned()));
        self
    }

    /// The server runs under this command; `{dir}` stands for the CA's scratch directory.
    pub(crate) fn under(mut self, command: &[&str]) -> Self {
        self.launch.under = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The server's clock can be set by [`Ca::set_clock`].
    pub(crate) fn clock(mut self, library: PathBuf) -> Self {
        self.launch.clock = Some(library);
        self
    }

    /// Makes the CA, but does not start it.
    #[track_caller]
    pub(crate) fn init(&self) -> Ca {
        let dir = tempfile::tempdir().unwrap();
        let (listen, ops) = (free_address(), free_address());
        fs::write(dir.path().join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        fs::write(dir.path().join("clock"), "+0\n").unwrap();
        let mut init = countersign();
        init.args(["init", "--trust-domain", TRUST_DOMAIN, "--dir"]).arg(dir.path().join("ca"));
        init.args(["--listen", &listen.to_string(), "--ops-listen", &ops.to_string()]);
        init.arg("--passphrase-file").arg(dir.path().join("passphrase"));
        program::run(&mut init).succeeded();
        let ca = Ca { dir, listen, ops, launch: self.launch.clone(), server: None };
        for (key, value) in &self.settings {
            ca.set(key, value.clone());
        }
        for (name, text) in &self.profiles {
            fs::write(ca.home().join("profiles").join(format!("{name}.toml")), text).unwrap();
        }
        if let Some(text) = &self.policy {
            fs::write(ca.home().join("policy.toml"), text).unwrap();
        }
        ca
    }

    /// Makes the CA and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Ca {
        // Between finding a free port and using it, another process may take it.
        for _ in 0..5 {
            let mut ca = self.init();
            match ca.try_start() {
                Ok(()) => return ca,
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("the CA did not start: {log}"),
            }
        }
        panic!("no free port was found in five tries");
    }
}

/// A CA; its process is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Ca {
    dir: TempDir,
    listen: SocketAddr,
    ops: SocketAddr,
    launch: Launch,
    server: Option<Child>,
}

impl Ca {
    /// A CA as `init` makes it, ready.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Setup::new().start()
    }

    /// A place beside the CA's directory.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The CA's directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.scratch("ca")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home().join("state")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home().join("countersign.toml")
    }

    pub(crate) const fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) const fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// Changes a key of the configuration file.
    #[track_caller]
    pub(crate) fn set(&self, key: &str, value: toml::Value) {
        let mut file: toml::Table = fs::read_to_string(self.config()).unwrap().parse().unwrap();
        match key.split_once('.') {
            None => file.insert(key.to_owned(), value),
            Some((table, key)) => file
                .entry(table)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .unwrap()
                .insert(key.to_owned(), value),
        };
        fs::write(self.config(), toml::to_string(&file).unwrap()).unwrap();
    }

    /// What the server has written to stderr.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.scratch("log")).unwrap_or_default()
    }

    /// The server's process.
    #[track_caller]
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.server.as_ref().expect("the server runs"))
    }

    /// The `serve` command, as it would be started.
    pub(crate) fn serve(&self) -> Command {
        let program = countersign();
        let mut command = match self.launch.under.split_first() {
            None => program,
            Some((first, rest)) => {
                let mut wrapper = Command::new(self.filled(first));
                wrapper.args(rest.iter().map(|word| self.filled(word))).arg(program.get_program());
                wrapper
            }
        };
        command.args(["serve", "--config"]).arg(self.config()).env_remove("COUNTERSIGN_CONFIG");
        for (name, value) in &self.launch.environment {
            command.env(name, self.filled(value));
        }
        if let Some(library) = &self.launch.clock {
            at_clock(&mut command, library, &self.scratch("clock"));
        }
        command
    }

    fn filled(&self, word: &str) -> String {
        word.replace("{dir}", &self.dir.path().display().to_string())
    }

    /// Starts the server and waits until it is ready; else what it said.
    pub(crate) fn try_start(&mut self) -> Result<(), String> {
        let log = File::options().create(true).append(true).open(self.scratch("log")).unwrap();
        let started = self.serve().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut server = started.map_err(|error| error.to_string())?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if server.try_wait().unwrap().is_some() {
                return Err(self.log());
            }
            if wire::plain_get(self.ops, "/readyz").is_ok_and(|(status, _)| status == 200) {
                self.server = Some(server);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.server = Some(server);
        Err(format!("not ready within {PATIENCE:?}: {}", self.log()))
    }

    /// Starts a server that was stopped or killed.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        if let Err(log) = self.try_start() {
            panic!("the CA did not start again: {log}");
        }
    }

    /// Stops it as an operator does.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.wait()
    }

    /// Stops it as a power cut does, the disk's cache excepted.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        kill_process(self.pid(), Signal::KILL).unwrap();
        self.wait();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let server = self.server.as_mut().expect("the server runs");
            if let Some(status) = server.try_wait().unwrap() {
                self.server = None;
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not end within {PATIENCE:?}: {}", self.log());
    }

    /// Moves the server's clock by so much from the real time, such as `+90m`.
    #[track_caller]
    pub(crate) fn set_clock(&self, offset: &str) {
        assert!(self.launch.clock.is_some(), "this CA has a real clock");
        // By rename: the server reads it at any moment.
        fs::write(self.scratch("clock.new"), format!("{offset}\n")).unwrap();
        fs::rename(self.scratch("clock.new"), self.scratch("clock")).unwrap();
    }

    /// A `countersign` command for this CA.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = countersign();
        command.args(arguments).env("COUNTERSIGN_CONFIG", self.config()).current_dir(self.dir.path());
        command
    }

    /// Runs a `countersign` command for this CA.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        program::run(&mut self.command(arguments))
    }

    /// What a `countersign` command shows with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--json"]].concat()).succeeded();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Every event of a kind.
    #[track_caller]
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let all = self.json(&["events", "list"]);
        all.as_array().unwrap().iter().filter(|event| event["kind"] == kind).cloned().collect()
    }

    /// An invitation for `/path` of the trust domain.
    #[track_caller]
    pub(crate) fn invite(&self, path: &str, flags: &[&str]) -> String {
        let id = id(path);
        self.run(&[&["invite", &id], flags].concat()).succeeded().trim().to_owned()
    }

    /// Runs `countersign-agent`.
    #[track_caller]
    pub(crate) fn agent(&self, arguments: &[&str]) -> Ended {
        program::run(agent().args(arguments).current_dir(self.dir.path()))
    }

    /// Runs `countersign-agent` on a machine whose clock is off by so much.
    #[track_caller]
    pub(crate) fn agent_at(&self, library: &Path, offset: &str, arguments: &[&str]) -> Ended {
        let clock = self.scratch("agent-clock");
        fs::write(&clock, format!("{offset}\n")).unwrap();
        let mut command = agent();
        at_clock(&mut command, library, &clock);
        program::run(command.args(arguments).current_dir(self.dir.path()))
    }

    /// Enrolls with the agent into a directory of this name.
    #[track_caller]
    pub(crate) fn enroll_agent(&self, path: &str, name: &str) -> PathBuf {
        let dir = self.scratch(name);
        let invitation = self.invite(path, &[]);
        self.agent(&["enroll", "--invitation", &invitation, "--dir", name]).succeeded();
        dir
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the CA ---\n{}", self.log());
        }
    }
}

/// A SPIFFE ID of the trust domain.
pub(crate) fn id(path: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}{path}")
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

/// Runs a command at the time a file says, and lets monotonic clocks alone: timers go on as ever.
fn at_clock(command: &mut Command, library: &Path, clock: &Path) {
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}
