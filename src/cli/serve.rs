//! `countersign serve`: run the CA until SIGTERM.

use std::io::IsTerminal as _;

use clap::Args;
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

use super::{CaArgs, CliError, Output};
use crate::{
    config::{Config, LogFormat},
    http,
    service::LogLevel,
};

/// Run the CA until SIGTERM or SIGINT, then finish what is under way and exit 0. SIGHUP reloads the configuration.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: ServeArgs, out: &Output) -> Result<(), CliError> {
    // What the CA writes is its user's alone, the files of the storage engine among it.
    umask(Mode::RWXG | Mode::RWXO);
    let config = args.ca.load()?;
    let level = start_log(&config)?;
    raise_file_limit(config.limits.connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(async {
        let server = http::Server::start(config, level).await.map_err(explain)?;
        out.remark(format!("{} is served at {}", server.trust_domain(), server.url()));
        server.until_stopped().await;
        Ok(())
    })
}

/// Takes as many file descriptors as the system lets this process have: each connection is one, and the usual soft limit
/// is below what the configuration allows.
fn raise_file_limit(connections: usize) {
    /// Listeners, the book, log files.
    const BESIDES: u64 = 64;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDES) {
        tracing::warn!(
            allowed,
            connections,
            "fewer files may be open than limits.connections: raise LimitNOFILE"
        );
    }
}

/// Runs `future` on a runtime of its own, for commands that wait for one thing.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(future))
        .map_err(|e| CliError::failed(format!("cannot start the runtime: {e}")))
}

fn explain(error: http::StartError) -> CliError {
    let cli = CliError::failed(&error);
    match error.hint() {
        Some(hint) => cli.hint(hint),
        None => cli,
    }
}

/// Starts logging to stderr; what comes back changes the level at reload.
fn start_log(config: &Config) -> Result<LogLevel, CliError> {
    let filter: Targets = config.log_level.parse().map_err(|e| {
        CliError::failed(format!("{}: log.level = {:?}: {e}", config.file.display(), config.log_level))
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Json => registry.with(lines.json()).try_init(),
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
    };
    started.map_err(|e| CliError::failed(format!("cannot start logging: {e}")))?;
    Ok(LogLevel::new(move |text| {
        let filter: Targets = text.parse().map_err(|e| format!("{e}"))?;
        handle.reload(filter).map_err(|e| e.to_string())
    }))
}
