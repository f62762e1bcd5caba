//! `countersign init`: a new CA in a new directory.

use std::{
    io::{IsTerminal as _, stdin},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use countersign_identity::{TrustDomain, hex};
use countersign_verifier::SystemClock;
use zeroize::Zeroizing;

use super::{CliError, Output, serve::block_on};
use crate::{
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
    /// The URL invitations carry. Default: https:// and the listen address.
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
    if twice && *ask("The same again: ")? != *first {
        return Err(CliError::usage("the two passphrases differ").hint("run the command again"));
    }
    accept(&first)
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
    let url = args.url.clone().unwrap_or_else(|| format!("https://{}", args.listen));
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

fn explain(error: BootstrapError) -> CliError {
    match &error {
        BootstrapError::NotEmpty { .. } => CliError::refused(&error)
            .hint("choose another --dir, or look at what is there: init never overwrites a key"),
        BootstrapError::Nameless { .. } => CliError::usage(&error),
        BootstrapError::File { .. } | BootstrapError::Root(_) => CliError::failed(&error),
    }
}
