//! Programs run to their end, and tools that a machine may not have.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// What it printed, once it has ended well.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// It ended with this code and said each of these things.
    #[track_caller]
    pub(crate) fn ended(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "expected {word:?} in: {}", self.err);
        }
        self.err
    }

    /// Likewise, and it gave a hint what to do.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) -> String {
        self.ended(code, &[words, &["hint: "]].concat())
    }
}

/// Runs a program with nothing to read from.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The CA under test.
pub(crate) fn countersign() -> Command {
    clean(env!("CARGO_BIN_EXE_countersign"))
}

/// The agent. It is another package's program, so Cargo does not build it for this test: `scripts/check` builds the
/// whole workspace first.
pub(crate) fn agent() -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_countersign")).with_file_name("countersign-agent");
    assert!(path.exists(), "{} is not there: cargo build --workspace", path.display());
    clean(path)
}

/// A command that sees nothing of the developer's own settings.
fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_remove("COUNTERSIGN_CONFIG").env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// A program on the search path.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.or_else(|| missing(name))
}

/// A program of the Python packages that `scripts/check` installs into `.venv`.
pub(crate) fn python_tool(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin").join(name);
    if path.is_file() { Some(path) } else { missing(&path.display().to_string()) }
}

/// Whether a package is there that `scripts/check` installs for `node` into `tests/peers`.
pub(crate) fn node_modules(package: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/node_modules").join(package);
    path.is_dir() || missing::<()>(&path.display().to_string()).is_some()
}

/// The library that shows a program another time.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let found =
        folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|file| file.is_file());
    found.or_else(|| missing("libfaketime"))
}

/// On a developer's machine a missing tool skips the test, and says so; CI has them all or fails.
fn missing<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing: scripts/check installs it");
    eprintln!("SKIPPED: {what} is missing: scripts/check installs it");
    None
}
