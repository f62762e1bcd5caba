//! The run: load, kills, and looks into the book.

use std::{
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_api::{admin::Event, paths};
use countersign_bench::tls;
use tokio::task::JoinSet;

use crate::{
    Options,
    agents::Agent,
    ca::Ca,
    checker::{self, Dump, PLANTED},
    dice::Dice,
    machines::{self, World},
    receipts::Receipts,
};

const ARROWS: [&str; 8] = [
    "AfterApprove",
    "AfterPrepare",
    "BeforeApply",
    "AfterApply",
    "AfterSync",
    "AfterRecord",
    "AfterSign",
    "BeforeAnswer",
];

/// Between two kills.
const LONGEST_LIFE_MS: u64 = 120;

/// What was done and found.
#[derive(Default)]
pub(crate) struct Report {
    kills: u64,
    seed: u64,
    of_servers: u64,
    at_arrows: u64,
    of_agents: u64,
    looks: u64,
    certificates: usize,
    revocations: usize,
    events_seen: usize,
    issued: usize,
    events: usize,
    archived: u64,
    planted: usize,
    slowest_start: Duration,
    took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} kills with seed {} in {:.0} s: {} of the server ({} at an arrow), {} of agents",
            self.kills,
            self.seed,
            self.took.as_secs_f64(),
            self.of_servers,
            self.at_arrows,
            self.of_agents
        )?;
        writeln!(
            f,
            "acknowledged: {} certificates, {} revocations; {} events were seen on the way; slowest start {} ms",
            self.certificates,
            self.revocations,
            self.events_seen,
            self.slowest_start.as_millis()
        )?;
        write!(
            f,
            "the book, looked into {} times: {} issuances, {} events ({} of them in the archive); nothing lost, nothing twice; {} of {} faults were planted and found",
            self.looks,
            self.issued,
            self.events,
            self.archived,
            self.planted,
            PLANTED.len()
        )
    }
}

/// A scratch directory, removed at the end unless it shall be kept.
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// Runs all kills; an error if anything is wrong.
pub(crate) async fn run(options: Options) -> Result<Report> {
    let scratch = Scratch { path: tempfile::tempdir()?.keep(), keep: options.keep };
    let outcome = Run::new(&options, &scratch.path).await?.all().await;
    if outcome.is_err() && options.keep {
        return outcome.with_context(|| format!("see {}", scratch.path.display()));
    }
    outcome
}

struct Run {
    options: Options,
    world: Arc<World>,
    agents: Vec<Arc<Agent>>,
    tasks: JoinSet<Result<()>>,
    dice: Dice,
    report: Report,
}

impl Run {
    async fn new(options: &Options, scratch: &Path) -> Result<Self> {
        let ca = Ca::init(scratch, &options.bin_dir)?;
        ca.start().await?;
        let roots = tls::roots(&ca.root()?)?;
        let world = Arc::new(World { ca, roots, ledger: Default::default(), acts: Default::default() });
        let mut tasks = JoinSet::new();
        for number in 0..options.machines {
            tasks.spawn(machines::live(Arc::clone(&world), number, options.seed));
        }
        let agents: Vec<_> =
            (0..options.agents).map(|n| Arc::new(Agent::new(n, &options.bin_dir, scratch))).collect();
        for agent in &agents {
            tasks.spawn(Arc::clone(agent).live(Arc::clone(&world), options.seed));
        }
        tasks.spawn(watch(Arc::clone(&world)));
        let report = Report { kills: options.kills, seed: options.seed, ..Report::default() };
        Ok(Self { options: options.clone(), world, agents, tasks, dice: Dice::new(options.seed), report })
    }

    async fn all(mut self) -> Result<Report> {
        let begun = Instant::now();
        let mut left = self.options.kills;
        while left > 0 {
            let share = left.min(self.options.check_every);
            for _ in 0..share {
                self.kill().await?;
            }
            left -= share;
            let (receipts, dump) = self.look().await?;
            let (done, held) = (self.options.kills - left, receipts.held.len());
            writeln!(
                std::io::stderr(),
                "{done} kills, {held} certificates acknowledged: nothing lost, nothing twice"
            )?;
            if left == 0 {
                self.report.planted = planted(&receipts, &dump)?;
            }
        }
        self.report.took = begun.elapsed();
        self.tasks.abort_all();
        Ok(self.report)
    }

    async fn kill(&mut self) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(5 + self.dice.below(LONGEST_LIFE_MS))).await;
        self.complaints()?;
        let victim = self.dice.below(4 + self.agents.len() as u64);
        if let Some(agent) = victim.checked_sub(4).and_then(|n| self.agents.get(usize::try_from(n).ok()?)) {
            self.report.of_agents += u64::from(agent.kill().await);
            return Ok(());
        }
        let arrow = ARROWS.get(usize::try_from(self.dice.below(2 * ARROWS.len() as u64))?);
        match arrow.filter(|_| self.options.arrows) {
            Some(arrow) => self.report.at_arrows += u64::from(self.world.ca.kill_at(arrow).await?),
            None => self.world.ca.kill()?,
        }
        self.report.of_servers += 1;
        let took = self.world.ca.start().await?;
        self.report.slowest_start = self.report.slowest_start.max(took);
        Ok(())
    }

    /// A machine or an agent that was refused what it must get has ended.
    fn complaints(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(refused) = ended? {
                bail!("refused after a crash: {refused:#}");
            }
        }
        Ok(())
    }

    /// Waits until every act under way is answered, then compares.
    async fn look(&mut self) -> Result<(Receipts, Dump)> {
        let world = Arc::clone(&self.world);
        let _quiet = world.acts.write().await;
        self.complaints()?;
        let dump = world.ca.dump().await?;
        let receipts = world.ledger.open().clone();
        let faults = checker::faults(&receipts, &dump);
        ensure!(
            faults.is_empty(),
            "seed {}, after {} kills: {} faults:\n  {}",
            self.options.seed,
            self.report.of_servers + self.report.of_agents,
            faults.len(),
            faults.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ")
        );
        self.report.looks += 1;
        self.report.certificates = receipts.held.len();
        self.report.revocations = receipts.revoked.len();
        self.report.events_seen = receipts.seen.len();
        self.report.issued = dump.issued.len();
        self.report.events = dump.events.len();
        self.report.archived = dump.archived;
        Ok((receipts, dump))
    }
}

/// A checker that finds nothing in a book that is wrong has proved nothing. A short run may leave nothing to plant some
/// fault in.
fn planted(receipts: &Receipts, dump: &Dump) -> Result<usize> {
    let mut count = 0;
    for (plant, said) in PLANTED {
        let (mut receipts, mut dump) = (receipts.clone(), dump.clone());
        if plant.into(&mut receipts, &mut dump) {
            let found = checker::faults(&receipts, &dump);
            ensure!(
                found.iter().any(|fault| fault.contains(said)),
                "a planted fault was not found: {plant:?}"
            );
            count += 1;
        }
    }
    Ok(count)
}

/// Reads events as they come: what a reader has seen must never go away.
async fn watch(world: Arc<World>) -> Result<()> {
    let mut after = 0;
    loop {
        if let Ok(page) = world.ca.page::<Event>(paths::ADMIN_EVENTS, Some(&after.to_string())).await {
            let mut receipts = world.ledger.open();
            for event in page.items {
                let seq = event.fields.get("seq").and_then(serde_json::Value::as_u64).context("no number")?;
                receipts.seen.insert(seq, checker::canonical(&event.fields));
                after = after.max(seq);
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
