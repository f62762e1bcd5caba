//! `check`: preflight of this CA or machine, each failure with its remedy.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use countersign_identity::Timestamp;
use serde::Serialize;

use super::{CaArgs, CliError, Output};

mod authority;
mod machine;
mod state;

/// Check this CA, or a machine's directory: clock, configuration, files, keys, disk, reachability, expiry.
///
/// Everything that fails comes with its remedy. Exit code 1 if anything failed; warnings alone are exit code 0.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The directory that `countersign-agent enroll` filled. Default: check the CA.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: CheckArgs, out: &Output) -> Result<(), CliError> {
    let mut findings = Findings::default();
    match &args.dir {
        Some(dir) => machine::check(dir, out.now(), &mut findings),
        None => authority::check(&args.ca, out.now(), &mut findings),
    }
    findings.show(out);
    let failed = findings.0.iter().filter(|finding| finding.state == State::Failed).count();
    match failed {
        0 => Ok(()),
        1 => Err(CliError::refused("one check failed")),
        n => Err(CliError::refused(format_args!("{n} checks failed"))),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Finding {
    state: State,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default, Serialize)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, text: impl Into<String>) {
        self.0.push(Finding { state: State::Good, text: text.into(), remedy: None });
    }

    fn warning(&mut self, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { state: State::Warning, text: text.into(), remedy: Some(remedy.into()) });
    }

    fn failed(&mut self, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { state: State::Failed, text: text.into(), remedy: Some(remedy.into()) });
    }

    /// Only their owner may enter the directories and read the files that hold keys (invariant 8).
    fn private(&mut self, paths: &[PathBuf]) {
        let open: Vec<_> = paths.iter().filter(|path| !self.is_private(path)).collect();
        if let (true, Some(first)) = (open.is_empty(), paths.first()) {
            let more = paths.len() - 1;
            self.good(format!(
                "only their owner may use {} and what holds keys in it (files: {more})",
                first.display()
            ));
        }
    }

    fn is_private(&mut self, path: &Path) -> bool {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(found) if found.permissions().mode() & 0o077 == 0 => return true,
            Ok(found) => {
                let right = if found.is_dir() { "700" } else { "600" };
                let mode = found.permissions().mode() & 0o777;
                self.failed(
                    format!("{shown} is open to others (mode {mode:o}, expected {right})"),
                    format!(
                        "chmod {right} {shown}; if others had access to this host, count its keys as stolen"
                    ),
                );
            }
            Err(error) => self.failed(
                format!("cannot look at {shown}: {error}"),
                "run the check as the user that owns it, or restore it from a backup",
            ),
        }
        false
    }

    fn show(&self, out: &Output) {
        if out.is_json() {
            out.json(self);
            return;
        }
        for finding in &self.0 {
            match finding.state {
                State::Good => out.success(&finding.text),
                State::Warning => out.caution(&finding.text),
                State::Failed => out.failure(&finding.text),
            }
            if let Some(remedy) = &finding.remedy {
                out.detail(format_args!("→ {remedy}"));
            }
        }
    }
}

/// Seconds by which two clocks may differ before certificates fail: they are backdated by a minute (DESIGN §3).
const TOLERANCE: u64 = 60;

/// Compares this host's clock with another's.
fn compare_clocks(theirs: Timestamp, now: Timestamp, whose: &str, findings: &mut Findings) {
    let apart = theirs.unix().abs_diff(now.unix());
    let direction = if theirs > now { "behind" } else { "ahead of" };
    match apart {
        0..=2 => findings.good(format!("this clock agrees with {whose}'s")),
        3..=TOLERANCE => findings.warning(
            format!("this clock is {apart} s {direction} {whose}'s"),
            "keep both clocks by NTP: from a minute on, fresh certificates look not yet valid",
        ),
        _ => findings.failed(
            format!("this clock is {apart} s {direction} {whose}'s"),
            "set the clock (`timedatectl set-ntp true`, `chronyc makestep`), then check again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(theirs: i64) -> State {
        let mut findings = Findings::default();
        let now = Timestamp::from_unix(1_800_000_000);
        compare_clocks(Timestamp::from_unix(1_800_000_000 + theirs), now, "the CA", &mut findings);
        findings.0[0].state
    }

    #[test]
    fn a_clock_that_breaks_certificates_fails_and_a_near_one_warns() {
        assert_eq!(clocks(1), State::Good);
        assert_eq!(clocks(-30), State::Warning);
        assert_eq!(clocks(61), State::Failed);
        assert_eq!(clocks(-3600), State::Failed);
    }

    #[test]
    fn a_key_that_others_can_read_fails_with_the_right_mode() {
        // Invariant 8.
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key.pem");
        fs::write(&key, "key").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let mut findings = Findings::default();
        findings.private(std::slice::from_ref(&key));
        assert_eq!(findings.0[0].state, State::Failed);
        assert!(findings.0[0].remedy.as_ref().unwrap().starts_with("chmod 600"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        findings.private(std::slice::from_ref(&key));
        assert_eq!(findings.0[1].state, State::Good);
    }
}
