//! `countersign init`: a new CA in a new directory.

use std::{
    io::{IsTerminal as _, stdin},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use countersign_identity::{TrustDomain, hex};
use countersign_verifier::SystemClock;
use zeroize::Zeroizing;

use super::{CliError, Output, serve::block_on};
use crate::{
    config::{Config, ConfigError},
    service::{Bootstrap, BootstrapError},
    signer::Entropy,
};

/// Make a new CA in a new directory: a root (its key encrypted under your passphrase), an issuer for 90 days, and the
/// files you edit: countersign.toml, policy.toml and profiles/.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The trust domain, for example prod.example. It is in every certificate and cannot be changed later.
    #[arg(long, value_name = "TD")]
    trust_domain: TrustDomain,
    /// The directory to make; it must be absent or empty.
    #[arg(long)]
    dir: PathBuf,
    /// The address and port machines connect to.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The address and port of health and metrics; keep it on loopback.
    #[arg(long, default_value = "127.0.0.1:9443", value_name = "ADDRESS:PORT")]
    ops_listen: SocketAddr,
    /// The URL invitations carry; needed when --listen names no address of its own, such as 0.0.0.0. Default: https:// and
    /// the listen address.
    #[arg(long, value_name = "https://HOST:PORT")]
    url: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Where the root's passphrase comes from.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// A file whose first line is the root's passphrase. Default: ask at the terminal.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase; `twice` asks again to catch a typing mistake.
    pub(crate) fn read(&self, twice: bool) -> Result<Zeroizing<Vec<u8>>, CliError> {
        match &self.passphrase_file {
            Some(path) => from_file(path),
            None if stdin().is_terminal() => from_terminal(twice),
            None => {
                Err(CliError::usage("no passphrase for the root's key, and no terminal to ask for one at")
                    .hint("give one with --passphrase-file FILE"))
            }
        }
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let text =
        Zeroizing::new(std::fs::read_to_string(path).map_err(|e| {
            CliError::failed(format!("cannot read the passphrase file {}: {e}", path.display()))
        })?);
    accept(text.lines().next().unwrap_or_default())
}

fn from_terminal(twice: bool) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|e| CliError::failed(format!("cannot read the passphrase: {e}")))
    };
    let first = ask("Passphrase for the root's key: ")?;
    let accepted = accept(&first)?;
    if twice && *ask("The same again: ")? != *first {
        return Err(CliError::usage("the two passphrases differ").hint("run the command again"));
    }
    Ok(accepted)
}

/// Short passphrases fall to anyone who copies the key file, however many rounds protect it.
fn accept(text: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    const SHORTEST: usize = 8;
    let found = text.chars().count();
    if found < SHORTEST {
        return Err(CliError::usage(format!(
            "the passphrase has {found} characters: expected at least {SHORTEST}"
        ))
        .hint("four random words make a good one"));
    }
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

pub(crate) fn run(args: InitArgs, out: &Output) -> Result<(), CliError> {
    let url = args.reachable_url()?;
    let passphrase = args.passphrase.read(true)?;
    let plan = Bootstrap {
        trust_domain: &args.trust_domain,
        dir: &args.dir,
        listen: args.listen,
        ops_listen: args.ops_listen,
        url: &url,
    };
    let made = block_on(plan.run(&passphrase, &Entropy::system(), &SystemClock))?.map_err(explain)?;
    let fingerprint = hex::encode(&made.root_fingerprint);
    if out.is_json() {
        out.json(&serde_json::json!({
            "trust_domain": args.trust_domain.as_str(),
            "config": made.config,
            "url": url,
            "root_sha256": fingerprint,
        }));
        return Ok(());
    }
    out.success(format!("{} has a root and an issuer in {}", args.trust_domain, args.dir.display()));
    out.field("root SHA-256", &fingerprint);
    out.field("machines connect to", &url);
    out.note(format!("next: countersign serve --config {}", made.config.display()));
    Ok(())
}

impl InitArgs {
    /// The URL, judged as the configuration file will be.
    fn reachable_url(&self) -> Result<String, CliError> {
        if self.url.is_none() && self.listen.ip().is_unspecified() {
            return Err(CliError::usage(format_args!(
                "invitations would send machines to https://{}, which is no address",
                self.listen
            ))
            .hint(format_args!(
                "say how machines reach this CA, such as --url https://ca.{}:{}",
                self.trust_domain,
                self.listen.port()
            )));
        }
        let url = self.url.clone().unwrap_or_else(|| format!("https://{}", self.listen));
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let file = format!(
            "trust_domain = {}\nlisten = {}\nops_listen = {}\nurl = {}\n",
            quoted(self.trust_domain.as_str()),
            quoted(&self.listen.to_string()),
            quoted(&self.ops_listen.to_string()),
            quoted(&url),
        );
        let config = Config::parse(&file, &self.dir).map_err(|error| match error {
            ConfigError::Value { key, found, expected, .. } => {
                CliError::usage(format_args!("--{} {found:?}: expected {expected}", key.replace('_', "-")))
            }
            other => CliError::usage(other),
        })?;
        if config.host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
            return Err(CliError::usage(format_args!(
                "--url {url:?}: expected a host that machines can reach"
            )));
        }
        Ok(url)
    }
}

fn explain(error: BootstrapError) -> CliError {
    match &error {
        BootstrapError::NotEmpty { .. } => CliError::refused(&error)
            .hint("choose another --dir, or look at what is there: init never overwrites a key"),
        BootstrapError::Nameless { .. } => CliError::usage(&error),
        BootstrapError::File { .. } | BootstrapError::Root(_) => CliError::failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::error::Kind;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        init: InitArgs,
    }

    fn url(flags: &[&str]) -> Result<String, CliError> {
        let words = ["x", "--trust-domain", "td", "--dir", "d"].iter().chain(flags);
        Cli::try_parse_from(words).map(|cli| cli.init).unwrap().reachable_url()
    }

    #[test]
    fn an_address_nobody_can_connect_to_needs_a_url_beside_it() {
        let error = url(&["--listen", "0.0.0.0:8443"]).unwrap_err();
        assert_eq!((error.kind(), error.advice().unwrap().contains("--url")), (Kind::Usage, true), "{error}");
        assert!(url(&["--listen", "[::]:8443"]).is_err());
        assert!(url(&["--url", "https://0.0.0.0:8443"]).is_err());
        assert_eq!(
            url(&["--listen", "0.0.0.0:8443", "--url", "https://ca:8443"]).unwrap(),
            "https://ca:8443"
        );
    }

    #[test]
    fn what_the_configuration_would_not_take_is_wrong_usage_at_once() {
        for flags in [["--url", "http://ca"], ["--url", "https://ca/path"], ["--ops-listen", "192.0.2.1:1"]] {
            let error = url(&flags).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().starts_with(flags[0]), "{error}");
        }
    }
}
