//! Where a command finds its CA: the configuration file, and through it the admin socket.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::config::Config;

use super::{CliError, Client};

const VARIABLE: &str = "COUNTERSIGN_CONFIG";
const NEAR: &str = "ca-config/countersign.toml";
const SYSTEM: &str = "/etc/countersign/countersign.toml";

/// The flag by which a command finds its CA; flattened into the arguments of every command that needs one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CaArgs {
    /// The CA's configuration file. Default: $COUNTERSIGN_CONFIG, then ./ca-config/countersign.toml, then
    /// /etc/countersign/countersign.toml.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
}

impl CaArgs {
    /// The configuration file, by the order of DESIGN §6. A place that is named must hold; only defaults are skipped.
    pub(crate) fn path(&self) -> Result<PathBuf, CliError> {
        find(self.config.as_deref(), env::var_os(VARIABLE).map(PathBuf::from), Path::is_file)
    }

    /// The configuration.
    pub(crate) fn load(&self) -> Result<Config, CliError> {
        let path = self.path()?;
        Config::load(&path).map_err(|error| {
            CliError::refused(error)
                .hint("correct the file; `countersign init` writes a complete one to compare with")
        })
    }

    /// A connection to the CA's admin socket.
    pub(crate) fn connect(&self) -> Result<Client, CliError> {
        Client::connect(&self.load()?.admin_socket())
    }
}

fn find(
    flag: Option<&Path>,
    variable: Option<PathBuf>,
    is_file: impl Fn(&Path) -> bool,
) -> Result<PathBuf, CliError> {
    let named =
        flag.map(|path| (path.to_owned(), "--config")).or(variable.map(|path| (path, "$COUNTERSIGN_CONFIG")));
    if let Some((path, by)) = named {
        return if is_file(&path) {
            Ok(path)
        } else {
            Err(CliError::refused(format_args!("{by} names {}, which is not a file", path.display()))
                .hint("`countersign init` makes a CA and its configuration"))
        };
    }
    [NEAR, SYSTEM].into_iter().map(PathBuf::from).find(|path| is_file(path)).ok_or_else(|| {
        CliError::refused(format_args!(
            "no configuration found: no --config, ${VARIABLE} is not set, no ./{NEAR}, no {SYSTEM}"
        ))
        .hint("name it with --config FILE, or make a CA with `countersign init`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flag: Option<&str>, variable: Option<&str>, files: &[&str]) -> Result<String, String> {
        find(flag.map(Path::new), variable.map(PathBuf::from), |path| {
            files.iter().any(|f| path == Path::new(f))
        })
        .map(|path| path.display().to_string())
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_flag_goes_before_the_variable_before_the_defaults() {
        let all = ["flag", "variable", NEAR, SYSTEM];
        assert_eq!(found(Some("flag"), Some("variable"), &all).unwrap(), "flag");
        assert_eq!(found(None, Some("variable"), &all).unwrap(), "variable");
        assert_eq!(found(None, None, &all).unwrap(), NEAR);
        assert_eq!(found(None, None, &[SYSTEM]).unwrap(), SYSTEM);
    }

    #[test]
    fn a_named_file_that_is_missing_is_never_passed_over() {
        assert_eq!(
            found(Some("gone"), None, &[NEAR]).unwrap_err(),
            "--config names gone, which is not a file"
        );
        assert!(
            found(None, Some("gone"), &[NEAR]).unwrap_err().starts_with("$COUNTERSIGN_CONFIG names gone")
        );
    }

    #[test]
    fn every_place_that_was_tried_is_named() {
        let error = found(None, None, &[]).unwrap_err();
        for place in ["--config", VARIABLE, NEAR, SYSTEM] {
            assert!(error.contains(place), "{error} does not name {place}");
        }
    }
}
