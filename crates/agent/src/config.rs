//! The configuration of `run`: as written, and as meant.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use countersign_identity::nearest;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::endpoint::Endpoint;
use crate::error::AgentError;
use crate::keystore::KeystoreFile;
use crate::outputs::{OutputFile, Outputs};
use crate::reload::{Reload, ReloadSignal};
#[cfg(feature = "workload-api")]
use crate::socket::{WorkloadApi, WorkloadApiFile, read_settings};

/// What `run` works by.
///
/// ```
/// use countersign_agent::config::Config;
///
/// let config = Config::parse(
///     r#"
///     dir = "/var/lib/payments/identity"
///     reload = ["systemctl", "reload", "nginx"]
///     "#,
///     "/etc/countersign-agent/agent.toml".as_ref(),
/// )?;
/// assert_eq!(config.reload.unwrap().to_string(), "the reload command `systemctl reload nginx`");
/// # Ok::<(), countersign_agent::AgentError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The identity's directory. Whoever can write there chooses who this machine is.
    pub dir: PathBuf,
    /// Addresses of the CA, most wanted first; default the one that led to the identity. Not trusted: whoever answers
    /// there must still be the pinned CA.
    pub ca: Vec<Endpoint>,
    /// What makes a service take up a new certificate; default nothing.
    pub reload: Option<Reload>,
    /// Where a service serves the certificate, `HOST:PORT`: after each reload the agent looks whether it does, and tells
    /// the CA. Default nowhere.
    pub served_at: Option<String>,
    /// Who may read which of the files beside their owner, and whether a PKCS#12 file is among them; default nobody but
    /// the owner reads keys, and there is none.
    pub files: Outputs,
    /// A file for metrics in the text format of Prometheus, written at every change; default none.
    pub metrics: Option<PathBuf>,
    /// How much is logged: error, warn, info, debug or trace; default info, a line for each renewal.
    pub log: String,
    /// The local socket for processes of this machine; default none.
    #[cfg(feature = "workload-api")]
    pub workload_api: Option<WorkloadApi>,
}

/// The keys, for "did you mean".
pub(crate) const KEYS: &[&str] = &[
    "dir",
    "ca",
    "url",
    "reload",
    "reload_signal",
    "reload_unit",
    "served_at",
    "metrics",
    "files",
    "pkcs12",
    "log",
    #[cfg(feature = "workload-api")]
    "workload_api",
];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    dir: PathBuf,
    #[serde(default)]
    ca: Vec<String>,
    /// One address, as files of version 0.1 have it.
    url: Option<String>,
    #[serde(default)]
    reload: Vec<String>,
    reload_signal: Option<SignalFile>,
    reload_unit: Option<String>,
    served_at: Option<String>,
    metrics: Option<PathBuf>,
    #[serde(default)]
    files: BTreeMap<String, OutputFile>,
    pkcs12: Option<KeystoreFile>,
    #[serde(default = "default_log")]
    log: String,
    #[cfg(feature = "workload-api")]
    workload_api: Option<WorkloadApiFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalFile {
    pid_file: PathBuf,
    #[serde(default = "default_signal")]
    signal: String,
}

/// What most services reload by.
fn default_signal() -> String {
    "HUP".to_owned()
}

/// A line for each renewal, and for whatever goes wrong.
fn default_log() -> String {
    "info".to_owned()
}

impl Config {
    /// What `run --dir` works by: no file, all defaults.
    #[must_use]
    pub fn for_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            ca: Vec::new(),
            reload: None,
            served_at: None,
            metrics: None,
            files: Outputs::default(),
            log: default_log(),
            #[cfg(feature = "workload-api")]
            workload_api: None,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, holds an unknown key, or a value that cannot be.
    pub fn read(path: &Path) -> Result<Self, AgentError> {
        let text = fs::read_to_string(path).map_err(|error| AgentError::file("read", path, &error))?;
        Self::parse(&text, path)
    }

    /// Understands the text of the file at `path`; a relative `dir` in it counts from where the file is.
    ///
    /// # Errors
    /// When it holds an unknown key, or a value that cannot be.
    pub fn parse(text: &str, path: &Path) -> Result<Self, AgentError> {
        let wrong = |what: String| AgentError::usage(format!("{}: {}", path.display(), what.trim_end()));
        let table = DeTable::parse(text).map_err(|error| wrong(error.to_string()))?;
        let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        for key in table.get_ref().keys() {
            if !KEYS.contains(&key.get_ref().as_ref()) {
                return Err(unknown_key(key.get_ref(), line(key.span().start), &wrong));
            }
        }
        if let Some(reload) = table.get_ref().get("reload")
            && let DeValue::String(command) = reload.get_ref()
        {
            let line = line(reload.span().start);
            return Err(wrong(format!(
                "line {line}: reload: found a string, expected an array: program, arguments"
            ))
            .with_hint(format!("write reload = {:?}", words(command))));
        }
        let file: ConfigFile = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if file.url.is_some() && !file.ca.is_empty() {
            return Err(wrong("found both ca and url, expected one of them: ca = [\"https://…\", …]".into()));
        }
        let ca = file.ca.iter().map(|url| url.parse().map_err(|error| wrong(format!("ca: {error}"))));
        let url = file.url.iter().map(|url| url.parse().map_err(|error| wrong(format!("url: {error}"))));
        let ca = ca.chain(url).collect::<Result<_, _>>()?;
        if let Some(at) = file.served_at.as_deref().filter(|at| !is_host_and_port(at)) {
            return Err(wrong(format!("served_at: found {at:?}, expected HOST:PORT")));
        }
        if !LEVELS.contains(&file.log.as_str()) {
            return Err(wrong(format!("log: found {:?}, expected one of {}", file.log, LEVELS.join(", "))));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            dir: base.join(&file.dir),
            ca,
            reload: reload(file.reload, file.reload_signal, file.reload_unit).map_err(&wrong)?,
            served_at: file.served_at,
            metrics: file.metrics.map(|metrics| base.join(metrics)),
            files: Outputs::read(file.files, file.pkcs12.map(|it| it.read(base))).map_err(&wrong)?,
            log: file.log,
            #[cfg(feature = "workload-api")]
            workload_api: file.workload_api.map(read_settings).transpose().map_err(wrong)?,
        })
    }
}

/// The one way to reload that the file names.
fn reload(
    command: Vec<String>,
    signal: Option<SignalFile>,
    unit: Option<String>,
) -> Result<Option<Reload>, String> {
    if command.first().is_some_and(String::is_empty) {
        return Err("reload: found an empty program name, expected [\"program\", \"argument\", …]".into());
    }
    match (command.is_empty(), signal, unit) {
        (true, None, None) => Ok(None),
        (false, None, None) => Ok(Some(Reload::Command(command))),
        (true, Some(SignalFile { pid_file, signal }), None) => {
            let known = ReloadSignal::ALL.into_iter().find(|known| known.as_str() == signal);
            let signal = known.ok_or_else(|| {
                format!("reload_signal.signal: found {signal:?}, expected HUP, USR1 or USR2")
            })?;
            Ok(Some(Reload::Signal { pid_file, signal }))
        }
        (true, None, Some(unit)) if unit.contains('.') && !unit.starts_with('-') => {
            Ok(Some(Reload::Unit(unit)))
        }
        (true, None, Some(unit)) => {
            Err(format!("reload_unit: found {unit:?}, expected a unit such as nginx.service"))
        }
        _ => Err("found several of reload, reload_signal and reload_unit, expected one of them".into()),
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// The program and arguments that somebody meant by a line; a shell where only a shell understands it.
fn words(command: &str) -> Vec<&str> {
    if command.contains(|c: char| "\"'\\`$&|;<>*?~()".contains(c)) {
        return vec!["sh", "-c", command];
    }
    command.split_whitespace().collect()
}

fn unknown_key(key: &str, line: usize, wrong: &impl Fn(String) -> AgentError) -> AgentError {
    let error = wrong(format!("line {line}: unknown key {key:?}, expected one of {}", KEYS.join(", ")));
    match nearest(key, KEYS.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean {near:?}?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, AgentError> {
        Config::parse(text, Path::new("/etc/agent.toml"))
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known() {
        let error = parse("dir = \"d\"\nreloda = [\"x\"]\n").unwrap_err();
        assert!(error.to_string().contains("/etc/agent.toml: line 2: unknown key \"reloda\""), "{error}");
        assert_eq!(error.hint(), Some("did you mean \"reload\"?"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_key_like_no_other_comes_without_a_guess() {
        assert_eq!(parse("dir = \"d\"\ninterval = 3\n").unwrap_err().hint(), None);
    }

    #[test]
    fn a_file_with_the_directory_alone_has_all_defaults() {
        assert_eq!(parse("dir = \"/d\"").unwrap(), Config::for_dir("/d"));
    }

    #[test]
    fn a_relative_directory_counts_from_the_file() {
        assert_eq!(parse("dir = \"identity\"").unwrap().dir, Path::new("/etc/identity"));
    }

    #[test]
    fn a_reload_command_in_one_string_is_answered_with_the_array_it_must_be() {
        let error = parse("dir = \"d\"\nreload = \"systemctl reload nginx\"\n").unwrap_err();
        assert!(error.to_string().contains("line 2: reload: found a string, expected an array"), "{error}");
        assert_eq!(error.hint(), Some(r#"write reload = ["systemctl", "reload", "nginx"]"#));
        let error = parse("reload = \"kill -HUP $(cat /run/x.pid)\"\ndir = \"d\"\n").unwrap_err();
        assert_eq!(error.hint(), Some(r#"write reload = ["sh", "-c", "kill -HUP $(cat /run/x.pid)"]"#));
    }

    #[test]
    fn an_address_without_its_host_is_shown_as_it_was_written() {
        let error = parse("dir = \"d\"\nserved_at = \"9001\"").unwrap_err();
        assert!(error.to_string().ends_with("served_at: found \"9001\", expected HOST:PORT"), "{error}");
    }

    #[test]
    #[cfg(feature = "workload-api")]
    fn every_block_of_the_manual_is_understood() {
        let manual = include_str!("../../../docs/AGENT.md");
        let blocks: Vec<_> =
            manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 3);
        for block in blocks {
            let begin = if block.contains("dir = ") { "" } else { "dir = \"d\"\n" };
            // The group of the example is not on every machine.
            let text = format!("{begin}{}", block.replace("\"nginx\"", "0"));
            parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for text in [
            "",
            "dir = 1",
            "dir = \"d\"\nurl = \"http://ca\"",
            "dir = \"d\"\nlog = \"loud\"",
            "dir = \"d\"\nreload = [\"\"]",
            "dir = \"d\"\nreload = \"systemctl reload nginx\"",
            "dir = \"d\"\nreload = [\"x\"]\nreload_unit = \"nginx.service\"",
            "dir = \"d\"\nreload_unit = \"--now\"",
            "dir = \"d\"\nreload_signal = { pid_file = \"/p\", signal = \"KILL\" }",
            "dir = \"d\"\nserved_at = \"localhost\"",
            "dir = \"d\"\n[files.\"svid.kee\"]\nmode = \"0640\"",
            "dir = \"d\"\n[files.\"svid.key\"]\nmode = \"0644\"",
            "dir = \"d\"\n[files.\"svid.key\"]\ngroup = \"no such group\"",
            "dir = ",
        ] {
            assert_eq!(parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
