//! What a running agent does for the processes of its machine, beside keeping files.

use std::future::pending;
use std::path::Path;

use countersign_api::WorkloadWindow;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::as_machine::AsMachine;
use crate::config::Config;
use crate::error::AgentError;
use crate::identity::Identity;

/// The socket and all that stands behind it; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    #[cfg(feature = "workload-api")]
    custody: Option<std::sync::Arc<crate::custody::Custody>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Serving {
    /// Serves what the configuration asks for.
    #[cfg(feature = "workload-api")]
    pub(crate) fn begin(
        config: &Config,
        machine: &AsMachine,
        credentials: Option<&Path>,
    ) -> Result<Self, AgentError> {
        use crate::custody::Custody;

        let mut tasks = JoinSet::new();
        let Some(settings) = &config.workload_api else {
            return Ok(Self { custody: None, tasks: Mutex::new(tasks) });
        };
        let custody = Custody::open(&config.dir, machine.clone(), settings.own.clone(), credentials)?;
        crate::socket::open(settings, &custody, &mut tasks)?;
        custody.keep(&mut tasks);
        Ok(Self { custody: Some(custody), tasks: Mutex::new(tasks) })
    }

    /// Nothing: this program was built to keep files only.
    #[cfg(not(feature = "workload-api"))]
    pub(crate) fn begin(_: &Config, _: &AsMachine, _: Option<&Path>) -> Result<Self, AgentError> {
        Ok(Self { tasks: Mutex::default() })
    }

    /// Ends all of it; the socket is gone when this returns.
    pub(crate) async fn end(self) {
        self.tasks.into_inner().shutdown().await;
    }

    /// Waits until a part of it has ended, which none does by itself.
    pub(crate) async fn broken(&self) -> AgentError {
        let Some(end) = self.tasks.lock().await.join_next().await else { return pending().await };
        let why = end.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
        AgentError::failed(format!("a part of what serves processes has ended: {why}"))
            .with_hint("the service manager starts the agent again; please report this")
    }

    /// Renews what processes were given.
    pub(crate) fn renew_now(&self) {
        #[cfg(feature = "workload-api")]
        if let Some(custody) = &self.custody {
            custody.renew_now();
        }
    }

    /// The CA wants these workloads renewed by a certain time.
    pub(crate) fn hurry(&self, workloads: &[WorkloadWindow]) {
        #[cfg(feature = "workload-api")]
        if let Some(custody) = &self.custody {
            custody.hurry(workloads);
        }
        #[cfg(not(feature = "workload-api"))]
        let _ = workloads;
    }

    /// The machine's identity is this one now.
    pub(crate) fn machine_is(&self, identity: &Identity) {
        #[cfg(feature = "workload-api")]
        if let Some(custody) = &self.custody
            && let Err(error) = custody.machine_is(identity)
        {
            tracing::error!(hint = error.hint(), "processes keep the identity before: {error}");
        }
        #[cfg(not(feature = "workload-api"))]
        let _ = identity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_noticed_and_nothing_else_is() {
        let serving = Serving {
            #[cfg(feature = "workload-api")]
            custody: None,
            tasks: Mutex::default(),
        };
        let soon = std::time::Duration::from_millis(50);
        tokio::time::timeout(soon, serving.broken()).await.unwrap_err();
        serving.tasks.lock().await.spawn(pending());
        tokio::time::timeout(soon, serving.broken()).await.unwrap_err();
        serving.tasks.lock().await.spawn(async { panic!("broken by this test") });
        let told = tokio::time::timeout(soon * 200, serving.broken()).await.unwrap();
        assert!(told.to_string().contains("broken by this test"));
        serving.end().await;
    }
}
