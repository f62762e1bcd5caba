//! Where a command finds its CA: the configuration file, and through it the admin socket; or a CA elsewhere, by its address.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::config::{Config, ConfigError};

use super::{CliError, Client, endpoint::HostPort, remote};

const VARIABLE: &str = "COUNTERSIGN_CONFIG";
const NEAR: &str = "ca-config/countersign.toml";
const SYSTEM: &str = "/etc/countersign/countersign.toml";
/// What to do about a file that only the CA's user may read.
const AS_THE_CA: &str =
    "run the command as root, or as the user the CA runs as: sudo -u countersign countersign …";

/// The flag by which a command finds its CA; flattened into the arguments of every command that needs one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CaArgs {
    /// The CA's configuration file. Default: $COUNTERSIGN_CONFIG, then ./ca-config/countersign.toml, then
    /// /etc/countersign/countersign.toml.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options", display_order = 1000)]
    pub(crate) config: Option<PathBuf>,

    /// A CA elsewhere, reached over mutual TLS as the identity that --as names. Default: the CA of this machine, at its
    /// unix socket.
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "COUNTERSIGN_CA",
        requires = "own",
        conflicts_with = "config",
        help_heading = "Global options",
        display_order = 1001
    )]
    ca: Option<HostPort>,

    /// With --ca: who asks. A directory that `countersign-agent enroll` made; the CA's policy says what it may do. Default: none.
    #[arg(
        long = "as",
        id = "own",
        global = true,
        value_name = "DIR",
        env = "COUNTERSIGN_AS",
        help_heading = "Global options",
        display_order = 1002
    )]
    own: Option<PathBuf>,
}

impl CaArgs {
    /// The configuration file, by the order of DESIGN §6. A place that is named must hold; only defaults are skipped.
    pub(crate) fn path(&self) -> Result<PathBuf, CliError> {
        find(self.config.as_deref(), env::var_os(VARIABLE).map(PathBuf::from), look)
    }

    /// The configuration.
    pub(crate) fn load(&self) -> Result<Config, CliError> {
        if let Some(ca) = &self.ca {
            return Err(CliError::usage(format_args!(
                "--ca {ca}: this command works on the CA's own machine"
            ))
            .hint("run it there, without --ca"));
        }
        let path = self.path()?;
        Config::load(&path).map_err(|error| match &error {
            ConfigError::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                CliError::refused(&error).hint(AS_THE_CA)
            }
            ConfigError::Unreadable { .. } => CliError::failed(&error),
            ConfigError::Malformed { .. } | ConfigError::Value { .. } => CliError::usage(&error)
                .hint("correct the file; `countersign init` writes a complete one to compare with"),
        })
    }

    /// A connection to the CA's admin socket, or to a CA elsewhere.
    pub(crate) fn connect(&self) -> Result<Client, CliError> {
        match (&self.ca, &self.own) {
            (Some(ca), Some(own)) => remote::connect(ca, own),
            _ => self.connect_here(),
        }
    }

    /// A connection to the admin socket, for what nobody may do from elsewhere.
    pub(crate) fn connect_here(&self) -> Result<Client, CliError> {
        Client::connect(&self.load()?.admin_socket())
    }
}

/// Whether a file is there; an error where this user may not look.
fn look(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Err(_) => Ok(false),
    }
}

fn find(
    flag: Option<&Path>,
    variable: Option<PathBuf>,
    look: impl Fn(&Path) -> io::Result<bool>,
) -> Result<PathBuf, CliError> {
    let is_file = |path: &Path| {
        look(path).map_err(|error| {
            CliError::refused(format_args!("cannot look at {}: {error}", path.display())).hint(AS_THE_CA)
        })
    };
    let named =
        flag.map(|path| (path.to_owned(), "--config")).or(variable.map(|path| (path, "$COUNTERSIGN_CONFIG")));
    if let Some((path, by)) = named {
        return if is_file(&path)? {
            Ok(path)
        } else {
            Err(CliError::refused(format_args!("{by} names {}, which is not a file", path.display()))
                .hint("`countersign init` makes a CA and its configuration"))
        };
    }
    for path in [NEAR, SYSTEM].map(PathBuf::from) {
        if is_file(&path)? {
            return Ok(path);
        }
    }
    Err(CliError::refused(format_args!(
        "no configuration found: no --config, ${VARIABLE} is not set, no ./{NEAR}, no {SYSTEM}"
    ))
    .hint("name it with --config FILE, or make a CA with `countersign init`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flag: Option<&str>, variable: Option<&str>, files: &[&str]) -> Result<String, String> {
        find(flag.map(Path::new), variable.map(PathBuf::from), |path| match path.starts_with("/closed") {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(files.iter().any(|f| path == Path::new(f))),
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
    fn a_file_this_user_may_not_see_is_not_called_missing() {
        assert_eq!(
            found(Some("/closed/c.toml"), None, &[]).unwrap_err(),
            "cannot look at /closed/c.toml: permission denied"
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
