//! The command line of `countersign-agent`.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgGroup, Args, Parser, Subcommand};
use countersign_api::{Invitation, ProblemCode};
use countersign_identity::Clock as _;
use countersign_verifier::SystemClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::Config;
use crate::dir::Dir;
use crate::endpoint::Endpoint;
use crate::enroll::{EnrollOptions, Enrolled, enroll_or_keep};
use crate::error::AgentError;
use crate::identity::Identity;
use crate::install::{Installation, install};
use crate::notify::Notify;
use crate::output;
use crate::reload::reload;
use crate::renew::{RenewOptions, recover, renew};
use crate::run::{Agent, Order};
use crate::stages;
use crate::status::{State, Status, from_now};
use crate::token::{TokenWish, token};

/// Threads for look-ups of names and of callers: a machine has few of either at a time, and memory for each.
const BLOCKING: usize = 8;

/// Gives this machine an identity from a Countersign CA and keeps it valid.
///
/// Exit status: 0 done, 1 refused or failed, 2 usage, 3 the CA is unreachable (retry later).
#[derive(Parser)]
#[command(name = "countersign-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Redeem an invitation: afterwards DIR holds svid.pem, svid.key, bundle.pem and svid-combined.pem.
    ///
    /// Does nothing if this invitation was redeemed into DIR already and its identity is still valid. Gives up within 10 s; running it again goes
    /// on where it stopped.
    Enroll(EnrollArgs),
    /// Get the next certificate now, for a new key; also after expiry, for as long as the CA allows it.
    Renew(Place),
    /// Keep the identity valid: renew in time, run the reload command. SIGHUP renews now, SIGTERM ends.
    Run(Place),
    /// Say whom the identity names, until when it is valid, and how long the CA may be away.
    ///
    /// Exit status 1 if the identity is missing or cannot be used.
    Status(StatusArgs),
    /// Buy an access token for a service with this machine's certificate, and print it.
    ///
    /// For calls that cannot be mutual TLS to the end. The token serves this machine alone, for a quarter of an hour at
    /// most: curl --cert svid.pem --key svid.key -H "Authorization: Bearer $(countersign-agent token …)" URL
    Token(TokenArgs),
    /// Write hardened systemd units for `run` with this configuration, and for the reload hook in it.
    Install(InstallArgs),
}

#[derive(Args)]
struct EnrollArgs {
    /// The line that `countersign invite` printed; `-` reads it from stdin, where no process list shows it.
    #[arg(long, value_name = "STR")]
    invitation: String,
    /// The directory for the identity; it is made if need be, readable by its owner only.
    #[arg(long)]
    dir: PathBuf,
    /// Another way to the same CA, `https://HOST:PORT`; default: the URL in the invitation.
    #[arg(long)]
    url: Option<Endpoint>,
    /// Redeem the invitation even if it was redeemed into DIR before (the CA allows that while it has uses left), or
    /// DIR holds a valid identity of another SPIFFE ID or another CA; default: no.
    #[arg(long)]
    replace: bool,
}

#[derive(Args)]
#[command(group(ArgGroup::new("place").required(true)))]
struct Place {
    /// The directory of the identity; all other settings have their defaults.
    #[arg(long, group = "place")]
    dir: Option<PathBuf>,
    /// A TOML file as `docs/AGENT.md` has it, with the key dir and, where wanted, ca, reload, reload_signal, reload_unit,
    /// served_at, metrics, files, pkcs12, log, workload_api; default: none.
    #[arg(long, group = "place", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct StatusArgs {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object; default: lines of words.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct TokenArgs {
    #[command(flatten)]
    place: Place,
    /// The service that shall take it, as the CA's policy names it.
    #[arg(long)]
    service: String,
    /// A permission there, such as read; may be given several times; default: all that the policy gives.
    #[arg(long = "permission", value_name = "P")]
    permissions: Vec<String>,
    /// Print one JSON object, with the token's life and scope; default: the token alone.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct InstallArgs {
    /// The TOML file that `run` shall use.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The user the agent runs as; default: the owner of the identity's directory.
    #[arg(long)]
    user: Option<String>,
    /// Where the units go.
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    to: PathBuf,
}

impl Place {
    fn config(&self) -> Result<Config, AgentError> {
        match (&self.config, &self.dir) {
            (Some(file), _) => Config::read(file),
            (None, Some(dir)) => Ok(Config::for_dir(dir)),
            (None, None) => Err(AgentError::usage("expected --dir or --config")),
        }
    }
}

/// Runs the program and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING).build();
    let end = match runtime {
        Ok(runtime) => {
            let end = runtime.block_on(perform(&cli.command));
            // A name look-up that hangs is not waited for: `enroll` is over within 10 s.
            runtime.shutdown_background();
            end
        }
        Err(error) => Err(AgentError::failed(format!("cannot start: {error}"))),
    };
    end.unwrap_or_else(|error| {
        output::complaint(&error);
        ExitCode::from(error.exit_code())
    })
}

async fn perform(command: &Command) -> Result<ExitCode, AgentError> {
    match command {
        Command::Enroll(args) => enroll_command(args).await,
        Command::Renew(place) => renew_command(&place.config()?).await,
        Command::Run(place) => run_command(place.config()?).await,
        Command::Status(args) => status_command(args),
        Command::Install(args) => install_command(args),
        Command::Token(args) => token_command(args).await,
    }
}

async fn enroll_command(args: &EnrollArgs) -> Result<ExitCode, AgentError> {
    log_to_stderr("warn");
    let options = EnrollOptions::new(invitation(&args.invitation)?, &args.dir)
        .replace(args.replace)
        .stages(stages::of_program());
    let options = match &args.url {
        Some(url) => options.url(url.clone()),
        None => options,
    };
    match enroll_or_keep(&options).await? {
        Enrolled::Now(identity) => show("enrolled as", &identity, &args.dir),
        Enrolled::Before(identity) => {
            show("already enrolled as", &identity, &args.dir);
            output::result(
                "nothing was sent: this invitation was redeemed here already; `renew` gets a new certificate",
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn invitation(text: &str) -> Result<Invitation, AgentError> {
    let mut from_stdin = String::new();
    let text = if text == "-" {
        std::io::stdin()
            .take(64 * 1024)
            .read_to_string(&mut from_stdin)
            .map_err(|error| AgentError::failed(format!("cannot read the invitation from stdin: {error}")))?;
        &from_stdin
    } else {
        text
    };
    text.parse().map_err(|error| {
        AgentError::refused(format!("{error}"))
            .with_hint("`countersign invite SPIFFE-ID` at the CA prints a new invitation, one line")
    })
}

async fn renew_command(config: &Config) -> Result<ExitCode, AgentError> {
    log_to_stderr("warn");
    let dir = Dir::at(&config.dir);
    let options = RenewOptions::default()
        .addresses(&config.ca)
        .outputs(config.files.clone())
        .stages(stages::of_program());
    let identity = match renew(&dir, &options).await {
        Err(error) if error.code() == Some(ProblemCode::CertificateExpired) => {
            let identity = recover(&dir, &options).await?;
            show("recovered", &identity, &config.dir);
            identity
        }
        end => {
            let identity = end?;
            show("renewed", &identity, &config.dir);
            identity
        }
    };
    if let Some(how) = &config.reload {
        reload(&dir, how, identity.serial(), &SystemClock).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_command(config: Config) -> Result<ExitCode, AgentError> {
    log_to_stderr(&config.log);
    let listen = |kind| {
        signal(kind).map_err(|error| AgentError::failed(format!("cannot listen for signals: {error}")))
    };
    let (mut hangup, mut term, mut int) =
        (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (orders, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let order = tokio::select! {
                _ = hangup.recv() => Order::RenewNow,
                _ = term.recv() => Order::Stop,
                _ = int.recv() => Order::Stop,
            };
            if orders.send(order).await.is_err() {
                return;
            }
        }
    });
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let agent =
        Agent::new(config, Arc::new(SystemClock)).stages(stages::of_program()).credentials(credentials);
    agent.notify(Notify::of_environment()).run(receiver).await?;
    Ok(ExitCode::SUCCESS)
}

async fn token_command(args: &TokenArgs) -> Result<ExitCode, AgentError> {
    log_to_stderr("warn");
    let config = args.place.config()?;
    let wish = TokenWish { service: args.service.clone(), permissions: args.permissions.clone() };
    let bought = token(&Dir::at(&config.dir), &config.ca, &wish, Arc::new(SystemClock)).await?;
    if args.json {
        let text = serde_json::to_string_pretty(&bought)
            .map_err(|error| AgentError::failed(format!("cannot write JSON: {error}")))?;
        output::result(&text);
    } else {
        output::result(&bought.access_token);
    }
    Ok(ExitCode::SUCCESS)
}

fn install_command(args: &InstallArgs) -> Result<ExitCode, AgentError> {
    let whole = |path: &std::path::Path| {
        std::path::absolute(path).map_err(|error| AgentError::file("find", path, &error))
    };
    let config_file = whole(&args.config)?;
    let config = Config::read(&config_file)?;
    let program = std::env::current_exe()
        .map_err(|error| AgentError::failed(format!("where is this program? {error}")))?;
    let to = whole(&args.to)?;
    let units = install(&Installation { config, config_file, program, user: args.user.clone(), to })?;
    units.iter().for_each(|unit| output::result(&format!("written {}", unit.display())));
    let names: Vec<_> =
        units.iter().filter_map(|unit| unit.file_name()).map(|name| name.to_string_lossy()).collect();
    let wanted: Vec<_> =
        names.iter().filter(|name| !name.ends_with("reload.service")).map(|n| &**n).collect();
    output::result(&format!("next: systemctl daemon-reload && systemctl enable --now {}", wanted.join(" ")));
    if units.len() > 1 {
        output::result(
            "the hook has units of its own now: take reload, reload_signal or reload_unit out of the configuration",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn status_command(args: &StatusArgs) -> Result<ExitCode, AgentError> {
    let status = Status::read(&Dir::at(args.place.config()?.dir), SystemClock.now())?;
    if args.json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| AgentError::failed(format!("cannot write JSON: {error}")))?;
        output::result(&text);
    } else {
        status.lines().iter().for_each(|line| output::result(line));
    }
    Ok(if status.state == State::Valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(verb: &str, identity: &Identity, dir: &std::path::Path) {
    let (now, not_after) = (SystemClock.now(), identity.validity().not_after());
    output::result(&format!("{verb} {} (machine {})", identity.spiffe_id(), identity.machine()));
    output::result(&format!(
        "certificate in {}, valid until {not_after} ({})",
        dir.display(),
        from_now(not_after, now)
    ));
}

fn log_to_stderr(level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let others = [("h2", LevelFilter::WARN), ("hyper", LevelFilter::INFO), ("rustls", LevelFilter::INFO)];
    let filter = Targets::new().with_default(level).with_targets(others);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(output::is_coloured());
    // A second call, as from a test, finds a logger in place; that is as good.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_help_of_a_configuration_names_every_key() {
        let mut cli = Cli::command();
        let run = cli.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        // One that is still taken, and no longer told of.
        for key in crate::config::KEYS.iter().filter(|key| **key != "url") {
            assert!(run.contains(key), "{key}: {run}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_mistyped_invitation_is_refused_with_a_hint_and_not_repeated() {
        // Invariant 8.
        let error = invitation("csinv1_c2VjcmV0.00000000").unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.hint().is_some());
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    }
}
