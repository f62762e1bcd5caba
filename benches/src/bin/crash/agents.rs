//! Real agents: processes that enroll and renew into directories, and are killed like the server.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};

use crate::{
    ca::TRUST_DOMAIN,
    dice::Dice,
    machines::{World, invited},
    receipts::Held,
};

/// How long an agent is run again and again: it is killed now and then, and so is its CA, which on a busy machine is
/// away most of the time.
const PATIENCE: Duration = Duration::from_mins(10);
/// Between two runs, as a supervisor leaves it.
const PAUSE: Duration = Duration::from_millis(10);
/// What the agent says when the CA cannot be reached: try again later.
const UNREACHABLE: i32 = 3;

/// An agent's directory and the process at work on it.
pub(crate) struct Agent {
    number: u64,
    program: PathBuf,
    dir: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Agent {
    pub(crate) fn new(number: u64, bin_dir: &Path, scratch: &Path) -> Self {
        let (program, dir) = (bin_dir.join("countersign-agent"), scratch.join(format!("agent{number}")));
        Self { number, program, dir, process: Mutex::default() }
    }

    /// Kills the process at work, if there is one.
    pub(crate) async fn kill(&self) -> bool {
        match self.process.lock().await.as_mut() {
            Some(process) => process.start_kill().is_ok(),
            None => false,
        }
    }

    /// Enrolls, then renews until it is aborted.
    pub(crate) async fn live(self: Arc<Self>, world: Arc<World>, seed: u64) -> Result<()> {
        let mut dice = Dice::new(seed ^ (self.number + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
        {
            let _act = world.acts.read().await;
            let spiffe_id = format!("spiffe://{TRUST_DOMAIN}/agent/{}", self.number);
            let invitation = invited(&world, &spiffe_id).await?;
            self.until_done(&["enroll", "--invitation", &invitation]).await?;
            self.note(&world)?;
        }
        loop {
            {
                let _act = world.acts.read().await;
                self.until_done(&["renew"]).await?;
                self.note(&world)?;
            }
            tokio::time::sleep(Duration::from_millis(dice.below(50))).await;
        }
    }

    /// Runs the agent again and again until it has done what it was told.
    async fn until_done(&self, command: &[&str]) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut agent = Command::new(&self.program);
            agent.args(command).arg("--dir").arg(&self.dir).env("NO_COLOR", "1").kill_on_drop(true);
            let process = agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
            *self.process.lock().await = Some(process);
            let (status, said) = self.ended().await?;
            match status.code() {
                Some(0) => return Ok(()),
                // Killed, or the CA was.
                None | Some(UNREACHABLE) => tokio::time::sleep(PAUSE).await,
                Some(_) => bail!("agent {}: {}: {said}", self.number, command.first().unwrap_or(&"")),
            }
        }
        bail!("agent {}: not done within {PATIENCE:?}", self.number)
    }

    async fn ended(&self) -> Result<(std::process::ExitStatus, String)> {
        use tokio::io::AsyncReadExt as _;

        let mut said = String::new();
        let pipe = self.process.lock().await.as_mut().and_then(|process| process.stderr.take());
        // What it says ends when it does; the lock is free for who kills it.
        pipe.context("no pipe")?.read_to_string(&mut said).await?;
        let mut process = self.process.lock().await.take().context("no process")?;
        Ok((process.wait().await?, said))
    }

    fn note(&self, world: &World) -> Result<()> {
        let chain = std::fs::read_to_string(self.dir.join("svid.pem"))?;
        world.ledger.open().held.push(Held::read(&chain)?);
        Ok(())
    }
}
