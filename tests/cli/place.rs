//! A scratch directory with a CA in it, and the program run there with a clean environment.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use countersign_agent::{EnrollOptions, Identity};

/// Where a test happens. The CA ends with it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    server: Option<Child>,
}

/// How a command ended.
#[must_use]
#[derive(Debug)]
pub(crate) struct End {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Place {
    /// A directory with nothing in it.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), server: None }
    }

    /// A CA of the trust domain `prod.example`, made in `ca-config` and serving.
    pub(crate) fn with_ca() -> Self {
        let mut place = Self::empty();
        fs::write(place.path("passphrase"), "correct horse battery staple\n").unwrap();
        let (listen, ops) = (free_address(), free_address());
        place
            .run(&[
                "init",
                "--trust-domain",
                "prod.example",
                "--dir",
                "ca-config",
                "--listen",
                &listen,
                "--ops-listen",
                &ops,
                "--passphrase-file",
                "passphrase",
            ])
            .done();
        place.serve();
        place
    }

    /// Starts the CA and waits until it answers.
    fn serve(&mut self) {
        let server = self.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.server = Some(server);
        let patience = Instant::now() + Duration::from_secs(30);
        while self.run(&["issuer", "list"]).code != 0 {
            assert!(Instant::now() < patience, "the CA does not answer");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the CA.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program in the directory: it finds the CA as ./ca-config/countersign.toml.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(words).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, words: &[&str]) -> End {
        End::of(&mut self.command(words))
    }

    /// Runs the program with one variable in its environment.
    pub(crate) fn run_with(&self, (name, value): (&str, &str), words: &[&str]) -> End {
        End::of(self.command(words).env(name, value))
    }

    /// Runs the program with a standard output that takes nothing.
    pub(crate) fn run_into_a_full_disk(&self, words: &[&str]) -> End {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = self.command(words).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        End::from(child.wait_with_output().unwrap())
    }

    /// Starts the quickstart, and sends it SIGTERM once its CA is being made in `scratch`.
    pub(crate) fn interrupt_quickstart(&self, scratch: &Path) -> End {
        let mut command = self.command(&["quickstart"]);
        command.env("TMPDIR", scratch).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let patience = Instant::now() + Duration::from_secs(30);
        let serving = |path: PathBuf| path.join("ca/serve.log").exists();
        while !fs::read_dir(scratch).unwrap().flatten().any(|entry| serving(entry.path())) {
            assert!(Instant::now() < patience, "the quickstart does not begin");
            thread::sleep(Duration::from_millis(5));
        }
        let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(killed.success());
        End::from(child.wait_with_output().unwrap())
    }

    /// What `countersign … --json` prints.
    pub(crate) fn json(&self, words: &[&str]) -> serde_json::Value {
        let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.run(&words).done()).unwrap()
    }

    /// A machine of `id`, enrolled into the directory `name`.
    pub(crate) fn enroll(&self, id: &str, name: &str) -> Identity {
        let invitation = self.run(&["invite", id]).done().trim().parse().unwrap();
        let options = EnrollOptions::new(invitation, self.path(name));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(countersign_agent::enroll(&options)).unwrap()
    }
}

impl Place {
    /// The next certificate of the machine in the directory `name`.
    pub(crate) fn renew(&self, name: &str) -> Identity {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = countersign_agent::Dir::at(self.path(name));
        runtime.block_on(countersign_agent::renew(&dir, &countersign_agent::RenewOptions::default())).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop();
    }
}

impl End {
    fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().expect("the program ends by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    /// Asserts the exit code and what standard error says.
    pub(crate) fn fails(self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.err.contains(says), "expected {says:?} in {self:#?}");
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
