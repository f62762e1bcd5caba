//! Commands on their way to the committer: a bounded line, and beside it certificates to be kept.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::StoreError;

/// How long kept certificates may wait for company, so that each does not cost a flush of its own.
const LINGER: Duration = Duration::from_millis(50);

/// Two lines to one reader. `urgent` ones wake it; `idle` ones ride along, at the latest after [`LINGER`].
pub(crate) struct Queue<J> {
    lines: Mutex<Lines<J>>,
    ready: Condvar,
    limit: usize,
}

struct Lines<J> {
    urgent: VecDeque<J>,
    idle: VecDeque<J>,
    closed: bool,
    reader: Reader,
}

/// What the reader does. To wake one that is awake costs a system call and nothing comes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Working,
    /// Sleeps until there is urgent work, at most for [`LINGER`].
    Lingering,
    /// Sleeps until there is work.
    Asleep,
}

impl<J> Queue<J> {
    pub(crate) fn new(limit: usize) -> Self {
        let (urgent, idle) = (VecDeque::new(), VecDeque::new());
        let lines = Lines { urgent, idle, closed: false, reader: Reader::Working };
        Self { lines: Mutex::new(lines), ready: Condvar::new(), limit }
    }

    /// Lines a command up, or says that there is no room.
    pub(crate) fn push(&self, job: J) -> Result<(), StoreError> {
        let mut lines = self.lock();
        if lines.closed {
            return Err(StoreError::Closed);
        }
        if lines.urgent.len() >= self.limit {
            return Err(StoreError::Busy { limit: self.limit });
        }
        lines.urgent.push_back(job);
        self.wake(lines, |reader| reader != Reader::Working);
        Ok(())
    }

    /// Lines up what may wait; false if there is no room.
    pub(crate) fn push_idle(&self, job: J) -> bool {
        let mut lines = self.lock();
        if lines.closed || lines.idle.len() >= self.limit.saturating_mul(4) {
            return false;
        }
        lines.idle.push_back(job);
        self.wake(lines, |reader| reader == Reader::Asleep);
        true
    }

    fn wake(&self, mut lines: MutexGuard<'_, Lines<J>>, needs_it: impl FnOnce(Reader) -> bool) {
        let wake = needs_it(lines.reader);
        if wake {
            // Once is enough: whoever lines up next finds it awake.
            lines.reader = Reader::Working;
        }
        drop(lines);
        if wake {
            self.ready.notify_one();
        }
    }

    /// Waits for work and takes at most `most` of it, idle jobs first; `None` once closed and empty.
    pub(crate) fn take(&self, most: usize) -> Option<Vec<J>> {
        let mut lines = self.lock();
        // After a group its certificates are on their way: lingering first spares them the waking.
        let mut lingered = false;
        while lines.urgent.is_empty() && !lines.closed {
            if !lingered {
                lines.reader = Reader::Lingering;
                let waited = self.ready.wait_timeout(lines, LINGER).unwrap_or_else(PoisonError::into_inner);
                (lines, lingered) = (waited.0, waited.1.timed_out());
            } else if lines.idle.is_empty() {
                lines.reader = Reader::Asleep;
                lines = self.ready.wait(lines).unwrap_or_else(PoisonError::into_inner);
                lingered = false;
            } else {
                break;
            }
        }
        lines.reader = Reader::Working;
        let idle = lines.idle.len().min(most / 2);
        let mut jobs: Vec<J> = lines.idle.drain(..idle).collect();
        let urgent = lines.urgent.len().min(most - idle);
        jobs.extend(lines.urgent.drain(..urgent));
        (!jobs.is_empty()).then_some(jobs)
    }

    /// Takes nothing more in; what is lined up is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    /// Commands lined up.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().urgent.len()
    }

    fn lock(&self) -> MutexGuard<'_, Lines<J>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_line_refuses_and_never_grows() {
        let queue = Queue::new(2);
        queue.push(1).unwrap();
        queue.push(2).unwrap();
        assert_eq!(queue.push(3), Err(StoreError::Busy { limit: 2 }));
        assert_eq!(queue.take(8), Some(vec![1, 2]));
        queue.push(3).unwrap();
    }

    #[test]
    fn idle_work_rides_along_or_is_done_after_a_while() {
        let queue = Queue::new(8);
        assert!(queue.push_idle(1));
        queue.push(2).unwrap();
        assert_eq!(queue.take(8), Some(vec![1, 2]));
        assert!(queue.push_idle(3));
        assert_eq!(queue.take(8), Some(vec![3]), "after lingering");
    }

    #[test]
    fn a_closed_line_is_emptied_and_then_ends() {
        let queue = Queue::new(8);
        queue.push(1).unwrap();
        queue.close();
        assert_eq!(queue.push(2), Err(StoreError::Closed));
        assert_eq!(queue.take(8), Some(vec![1]));
        assert_eq!(queue.take(8), None);
    }
}
