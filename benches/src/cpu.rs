//! The CPU time a process has used, all its threads together.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// User and system time of a process so far.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime(Duration);

/// `USER_HZ`: the unit of `/proc/PID/stat` on every Linux we run on (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

impl CpuTime {
    /// Of a process by its id.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("no process {pid}"))?;
        Self::parse(&text).with_context(|| format!("{path} is not as proc(5) describes it"))
    }

    /// The second field is a name in parentheses that may hold blanks, so counting starts after the last `)`.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = times.next()?.ok()? + times.next()?.ok()?;
        Some(Self(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)))
    }

    /// What was used between an earlier reading and this one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_shifts_nothing() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(CpuTime::parse(stat).unwrap().0, Duration::from_secs(3));
    }

    #[test]
    fn this_process_has_a_cpu_time() {
        CpuTime::of(std::process::id()).unwrap();
    }
}
