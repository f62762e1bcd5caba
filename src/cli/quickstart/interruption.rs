//! SIGINT and SIGTERM: they end the story early, and still leave nothing behind.

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::cli::CliError;

/// Whether a signal came. While it is watched for, the signals do not kill the process.
#[derive(Clone, Debug)]
pub(super) struct Interruption(watch::Receiver<bool>);

impl Interruption {
    /// Begins to watch.
    pub(super) fn watch(runtime: &Runtime) -> Result<Self, CliError> {
        let _inside = runtime.enter();
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
        let (tell, heard) = watch::channel(false);
        runtime.spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = tell.send(true);
        });
        Ok(Self(heard))
    }

    /// Waits for one.
    pub(super) async fn come(&self) {
        let mut heard = self.0.clone();
        // The watcher goes only with the runtime, and then nothing waits any more.
        let _ = heard.wait_for(|came| *came).await;
    }

    /// An error if one came.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if *self.0.borrow() { Err(Self::error()) } else { Ok(()) }
    }

    /// What the story ends with.
    pub(super) fn error() -> CliError {
        CliError::failed("interrupted; the CA is stopped and the scratch directory removed")
    }
}
