//! The matrix: a trace, cut at its changes, each cut in many ways, and what the judge says of each remainder.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::disk::{Disk, Fate};
use crate::engines::Kind;
use crate::judge::{Promised, Verdict, judge};
use crate::subject::Task;
use crate::trace::Step;
use crate::ways::{self, Dice};

/// Sentences of one kind that are kept.
const TOLD: usize = 12;

/// How closely a trace is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Moments at which it is cut, spread over the whole.
    pub(crate) cuts: usize,
    /// Random ways besides the simple ones, for each.
    pub(crate) random: u64,
}

impl Depth {
    pub(crate) const ALL: Self = Self { cuts: usize::MAX, random: 3 };
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// Syncs in the traces.
    pub(crate) syncs: usize,
    /// Moments at which a trace was cut.
    pub(crate) cuts: usize,
    /// Directories that were built and opened.
    pub(crate) images: usize,
    /// Those that lack something that was written.
    pub(crate) lossy: usize,
    /// How often a file came or went around which the trace was to be cut.
    pub(crate) marks: usize,
    /// Commands acknowledged in the traces.
    pub(crate) acknowledged: usize,
    /// Some of those that did not open, and why.
    pub(crate) refused: Vec<String>,
    /// Some of those that lost or broke something, and what.
    pub(crate) guilty: Vec<String>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { syncs, cuts, images, lossy, acknowledged, refused, guilty, .. } = self;
        write!(
            f,
            "{acknowledged} commands acknowledged, {syncs} syncs, {cuts} cuts, {images} disks opened ({lossy} of them \
             lack something written): {} refused, {} guilty",
            refused.len(),
            guilty.len()
        )?;
        refused.iter().chain(guilty).try_for_each(|what| write!(f, "\n  {what}"))
    }
}

impl Findings {
    fn add(&mut self, more: Self) {
        self.syncs += more.syncs;
        self.cuts += more.cuts;
        self.images += more.images;
        self.lossy += more.lossy;
        self.marks += more.marks;
        self.acknowledged += more.acknowledged;
        self.refused.extend(more.refused);
        self.guilty.extend(more.guilty);
        self.refused.truncate(TOLD);
        self.guilty.truncate(TOLD);
    }
}

/// A disk that a cut has left and a book was opened on, to go on from.
struct Remainder {
    image: PathBuf,
    promised: Promised,
}

/// Runs subjects and cuts their traces.
pub(crate) struct Matrix {
    pub(crate) strace: PathBuf,
    pub(crate) depth: Depth,
    /// Files around whose coming and going alone it cuts; none for cuts everywhere.
    pub(crate) around: &'static [&'static str],
}

/// Steps before and after the moment at which such a file comes or goes.
const AROUND: usize = 12;

/// One trace with what came before it.
struct Run<'a> {
    kind: Kind,
    root: &'a Path,
    before: &'a Path,
    steps: &'a [Step],
    promised: Promised,
    scratch: &'a Path,
    name: String,
}

impl Matrix {
    /// Cuts a first run, then `again` runs that each begin on a disk that a cut has left.
    pub(crate) fn run(&self, task: &Task, again: usize) -> Findings {
        let scratch = scratch();
        let empty = scratch.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let mut findings = Findings::default();
        let mut from = Remainder { image: empty, promised: Promised::by(0, &Promised::default()) };
        for round in 0..=again {
            let place = scratch.path().join(format!("run{round}"));
            let root = place.join("state");
            fs::create_dir(&place).unwrap();
            copy(&from.image, &root);
            let steps = Task { run: round as u64, ..task.clone() }.traced(&self.strace, &place);
            let run = Run {
                kind: task.kind,
                root: &root,
                before: &from.image,
                steps: &steps,
                promised: from.promised.clone(),
                scratch: scratch.path(),
                name: format!("run{round}"),
            };
            findings.add(self.cut(&run));
            if round < again {
                from = run.remainder(round);
            }
        }
        findings
    }

    /// Cuts one trace, on all cores.
    fn cut(&self, run: &Run<'_>) -> Findings {
        let moments = self.moments(run);
        let next = AtomicUsize::new(0);
        let findings = Mutex::new(Findings { cuts: moments.len(), ..Findings::default() });
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let (moments, next, findings) = (&moments, &next, &findings);
                scope.spawn(move || {
                    let found = self.work(run, moments, next, worker);
                    findings.lock().unwrap().add(found);
                });
            }
        });
        let mut findings = findings.into_inner().unwrap();
        let (disk, promised) = run.replay(run.steps.len());
        findings.syncs = disk.syncs;
        findings.marks = run.steps.iter().filter(|step| self.is_mark(step)).count();
        findings.acknowledged = promised.acknowledged() - run.promised.acknowledged();
        findings
    }

    /// The steps after which the disk may look otherwise, or so many of them: those before a sync ends come first,
    /// because then the most is at stake.
    fn moments(&self, run: &Run<'_>) -> Vec<usize> {
        let mut disk = Disk::new(run.root, run.before);
        let changing: Vec<usize> =
            run.steps.iter().enumerate().filter(|(_, step)| disk.step(step)).map(|(n, _)| n + 1).collect();
        let syncs: Vec<usize> = (0..run.steps.len())
            .filter(|n| matches!(run.steps[*n], Step::SyncEnds { .. }))
            .flat_map(|n| [n, n + 1])
            .collect();
        let marks: Vec<usize> = (0..run.steps.len()).filter(|n| self.is_mark(&run.steps[*n])).collect();
        let near = |n: &usize| self.around.is_empty() || marks.iter().any(|mark| mark.abs_diff(*n) <= AROUND);
        let (changing, syncs): (Vec<_>, Vec<_>) =
            (changing.into_iter().filter(near).collect(), syncs.into_iter().filter(near).collect());
        let mut chosen: BTreeSet<usize> = spread(&syncs, self.depth.cuts.div_ceil(2)).collect();
        chosen.extend(spread(&changing, self.depth.cuts / 2));
        chosen.into_iter().collect()
    }

    fn is_mark(&self, step: &Step) -> bool {
        let (Step::Open { path, create: true, .. } | Step::Remove(path)) = step else { return false };
        path.file_name().is_some_and(|name| self.around.iter().any(|mark| name == *mark))
    }

    fn work(&self, run: &Run<'_>, moments: &[usize], next: &AtomicUsize, worker: usize) -> Findings {
        let mut findings = Findings::default();
        let mut disk = Disk::new(run.root, run.before);
        let mut promised = run.promised.clone();
        let mut done = 0;
        let state = run.scratch.join(format!("image{worker}"));
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let Some(moment) = moments.get(turn) else { return findings };
            run.on(&mut disk, &mut promised, done..*moment);
            done = *moment;
            for way in ways::of(&disk, *moment as u64, self.depth.random) {
                disk.image(&way, &state);
                findings.images += 1;
                findings.lossy += usize::from(way.iter().any(|fate| *fate != Fate::Kept));
                let verdict = judge(run.kind, &state.join("book"), &promised);
                fs::remove_dir_all(&state).unwrap();
                let tell = |why| {
                    format!(
                        "{} cut after step {moment} ({}), {}: {why}",
                        run.name,
                        run.steps[moment - 1].brief(),
                        brief(&way)
                    )
                };
                match verdict {
                    Verdict::Kept(_) => {}
                    Verdict::Refused(why) => findings.refused.push(tell(why)),
                    Verdict::Guilty(what) => findings.guilty.push(tell(what)),
                }
            }
            findings.refused.truncate(TOLD);
            findings.guilty.truncate(TOLD);
        }
    }
}

impl Run<'_> {
    fn on(&self, disk: &mut Disk, promised: &mut Promised, steps: std::ops::Range<usize>) {
        for step in &self.steps[steps] {
            if let Step::Receipt(receipt) = step {
                promised.note(receipt);
            }
            disk.step(step);
        }
    }

    fn replay(&self, to: usize) -> (Disk, Promised) {
        let mut disk = Disk::new(self.root, self.before);
        let mut promised = self.promised.clone();
        self.on(&mut disk, &mut promised, 0..to);
        (disk, promised)
    }

    /// The disk that some cut leaves, in a random way.
    fn remainder(&self, seed: usize) -> Remainder {
        let mut dice = Dice(seed as u64 + 17);
        loop {
            let third = self.steps.len() / 3;
            let moment = third + (dice.number() % (2 * third) as u64) as usize;
            let (disk, promised) = self.replay(moment);
            let ways = ways::of(&disk, dice.number(), 6);
            let way = &ways[(dice.number() % ways.len() as u64) as usize];
            let image = self.scratch.join(format!("{}-left", self.name));
            let looked_at = self.scratch.join("looked-at");
            disk.image(way, &looked_at);
            let verdict = judge(self.kind, &looked_at.join("book"), &promised);
            fs::remove_dir_all(&looked_at).unwrap();
            // A guilty disk is in the findings, or will be.
            if let Verdict::Kept(state) = verdict {
                disk.image(way, &image);
                return Remainder { image, promised: Promised::by(state, &promised) };
            }
        }
    }
}

/// At most `count` of them, the same distance apart.
fn spread(all: &[usize], count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(all.len());
    (0..count).map(move |n| all[n * all.len() / count])
}

fn brief(way: &[Fate]) -> String {
    let some = |wanted: fn(&Fate) -> bool| way.iter().filter(|fate| wanted(fate)).count();
    let kept = some(|fate| *fate == Fate::Kept);
    let torn = some(|fate| matches!(fate, Fate::Sectors(_)));
    format!("{} changes pending, {kept} kept, {torn} in part", way.len())
}

/// In memory where that is possible: nothing here needs a disk.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn copy(from: &Path, to: &Path) {
    let disk = Disk::new(from, from);
    disk.image(&[], to);
}
