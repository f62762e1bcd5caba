//! The write-ahead log: one committer thread, one `fdatasync` for all records that wait.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};
use countersign_bench::Sample;
use tokio::sync::oneshot;

/// The file grows in zeroed steps of this size: a sync inside an allocated file writes no metadata (1.5× faster).
const STEP: usize = 64 << 20;
const MOST_IN_A_GROUP: usize = 1024;

/// The sending half.
pub(crate) struct Log {
    entries: mpsc::Sender<Entry>,
    interval: Arc<Mutex<Interval>>,
}

struct Entry {
    record: Vec<u8>,
    durable: oneshot::Sender<()>,
}

/// What was committed since the last reading.
#[derive(Default)]
struct Interval {
    groups: u64,
    waits_us: Vec<u64>,
}

impl Log {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let (entries, waiting) = mpsc::channel();
        let interval = Arc::<Mutex<Interval>>::default();
        let mut committer = Committer { file, end: 0, allocated: 0, interval: Arc::clone(&interval) };
        // An error ends the thread: every append from then on fails, so nothing is answered that is not durable.
        thread::Builder::new().name("commit".into()).spawn(move || committer.run(&waiting))?;
        Ok(Self { entries, interval })
    }

    /// Returns once the record is on disk.
    pub(crate) async fn append(&self, record: Vec<u8>) -> Result<()> {
        let begun = Instant::now();
        let (durable, done) = oneshot::channel();
        self.entries.send(Entry { record, durable }).ok().context("the log has failed")?;
        done.await.context("the log has failed")?;
        let wait = begun.elapsed().as_micros();
        let mut interval = self.interval.lock().unwrap_or_else(PoisonError::into_inner);
        interval.waits_us.push(u64::try_from(wait)?);
        Ok(())
    }

    /// Records, groups and waits since the last call, JSON.
    pub(crate) fn take_stats(&self) -> String {
        let mut interval = self.interval.lock().unwrap_or_else(PoisonError::into_inner);
        let Interval { groups, waits_us } = std::mem::take(&mut *interval);
        let waits: Sample = waits_us.into_iter().collect();
        serde_json::json!({
            "records": waits.len(),
            "groups": groups,
            "wait_p50_us": waits.percentile(50),
            "wait_p99_us": waits.percentile(99),
        })
        .to_string()
    }
}

struct Committer {
    file: File,
    end: usize,
    allocated: usize,
    interval: Arc<Mutex<Interval>>,
}

impl Committer {
    fn run(&mut self, waiting: &mpsc::Receiver<Entry>) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.allocate(1)?;
        while let Ok(first) = waiting.recv() {
            let group: Vec<Entry> =
                std::iter::once(first).chain(waiting.try_iter()).take(MOST_IN_A_GROUP).collect();
            bytes.clear();
            group.iter().for_each(|entry| bytes.extend_from_slice(&entry.record));
            self.allocate(bytes.len())?;
            self.file.write_all_at(&bytes, self.end as u64)?;
            self.file.sync_data()?;
            self.end += bytes.len();
            self.interval.lock().unwrap_or_else(PoisonError::into_inner).groups += 1;
            for entry in group {
                // A caller that has gone away no longer wants to know.
                let _ = entry.durable.send(());
            }
        }
        Ok(())
    }

    /// Makes room for `more` octets.
    fn allocate(&mut self, more: usize) -> io::Result<()> {
        while self.end + more > self.allocated {
            let zeros = vec![0; 1 << 20];
            for _ in 0..STEP / zeros.len() {
                self.file.write_all(&zeros)?;
            }
            self.file.sync_all()?;
            self.allocated += STEP;
        }
        Ok(())
    }
}
