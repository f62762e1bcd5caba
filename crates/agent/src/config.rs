//! The configuration of `run`: as written, and as meant.

use std::fs;
use std::path::{Path, PathBuf};

use countersign_identity::nearest;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::endpoint::Endpoint;
use crate::error::AgentError;
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
///     "/etc/countersign/agent.toml".as_ref(),
/// )?;
/// assert_eq!(config.reload, ["systemctl", "reload", "nginx"]);
/// # Ok::<(), countersign_agent::AgentError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The identity's directory. Whoever can write there chooses who this machine is.
    pub dir: PathBuf,
    /// Addresses of the CA, most wanted first; default the one that led to the identity. Not trusted: whoever answers
    /// there must still be the pinned CA.
    pub ca: Vec<Endpoint>,
    /// The command that makes a service take up a new certificate, program first; default none. It runs with the
    /// agent's rights.
    pub reload: Vec<String>,
    /// How much is logged: error, warn, info, debug or trace; default info, a line for each renewal.
    pub log: String,
    /// The local socket for processes of this machine; default none.
    #[cfg(feature = "workload-api")]
    pub workload_api: Option<WorkloadApi>,
}

/// The keys, for "did you mean".
const KEYS: &[&str] = &[
    "dir",
    "ca",
    "url",
    "reload",
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
    #[serde(default = "default_log")]
    log: String,
    #[cfg(feature = "workload-api")]
    workload_api: Option<WorkloadApiFile>,
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
            reload: Vec::new(),
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
        if file.reload.first().is_some_and(|program| program.is_empty()) {
            return Err(wrong(
                "reload: found an empty program name, expected [\"program\", \"argument\", …]".into(),
            ));
        }
        if !LEVELS.contains(&file.log.as_str()) {
            return Err(wrong(format!("log: found {:?}, expected one of {}", file.log, LEVELS.join(", "))));
        }
        let dir = path.parent().map_or_else(|| file.dir.clone(), |parent| parent.join(&file.dir));
        Ok(Self {
            dir,
            ca,
            reload: file.reload,
            log: file.log,
            #[cfg(feature = "workload-api")]
            workload_api: file.workload_api.map(read_settings).transpose().map_err(wrong)?,
        })
    }
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
    fn values_that_cannot_be_are_refused() {
        for text in [
            "",
            "dir = 1",
            "dir = \"d\"\nurl = \"http://ca\"",
            "dir = \"d\"\nlog = \"loud\"",
            "dir = \"d\"\nreload = [\"\"]",
            "dir = \"d\"\nreload = \"systemctl reload nginx\"",
            "dir = ",
        ] {
            assert_eq!(parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
