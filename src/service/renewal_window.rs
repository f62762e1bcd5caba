//! When a machine should renew, as the CA sees it now: the seconds of its profile's window that the calendar gives it, unless
//! an operator is in a hurry.

use std::{sync::PoisonError, time::Duration};

use countersign_identity::{MachineId, Serial, SpiffeId, Timestamp};
use countersign_store::{Hurry, Issuance, Standing};

use super::{Ca, Refused};

/// How soon a machine asks again: an operator in a hurry waits no longer than this for the last of them to hear of it.
const ASK_AGAIN: Duration = Duration::from_secs(300);

/// Workloads told of at once: with the longest names and reasons they fit into the 256 KiB an agent reads of an answer.
const MOST_TOLD: usize = 100;

/// The window of one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Window {
    /// Renew no earlier than this.
    pub after: Timestamp,
    /// Renew no later than this.
    pub before: Timestamp,
    /// Why an operator wants it sooner.
    pub reason: Option<String>,
    /// How soon to ask again.
    pub ask_again: Duration,
}

impl Ca {
    /// The renewal window of the certificate with this serial, and those of the machine's workloads that an operator is in a
    /// hurry about: they renew through their machine, and hear of it through it.
    ///
    /// # Errors
    /// When the book does not know it or cannot be read.
    pub fn renewal_windows(&self, serial: Serial) -> Result<(Window, Vec<(SpiffeId, Window)>), Refused> {
        let unknown = || Refused::CertificateUnknown(serial.to_string());
        let Standing { issuance, machine, .. } = self.book().standing(serial)?.ok_or_else(unknown)?;
        let workloads = machine.as_ref().map(|machine| self.hurried_workloads(machine.id)).transpose()?;
        let usual = self.usual_window(&issuance)?;
        let window = match machine.and_then(|machine| Some((machine.id, machine.hurry?))) {
            Some((id, hurry)) if issuance.recorded <= hurry.since => hurried(usual, id, hurry),
            _ => self.planned(serial, usual),
        };
        Ok((window, workloads.unwrap_or_default()))
    }

    /// As its profile has it.
    fn usual_window(&self, issuance: &Issuance) -> Result<Window, Refused> {
        let (after, before) = self.profile(&issuance.profile)?.renewal_window(&issuance.validity);
        Ok(Window { after, before, reason: None, ask_again: ASK_AGAIN })
    }

    /// As the calendar has room in it.
    fn planned(&self, serial: Serial, usual: Window) -> Window {
        let mut calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
        match calendar.plan(serial, (usual.after, usual.before), self.now()) {
            Some((after, before)) => Window { after, before, ..usual },
            None => usual,
        }
    }

    /// The first of them, if they are many: whoever has renewed makes room.
    fn hurried_workloads(&self, parent: MachineId) -> Result<Vec<(SpiffeId, Window)>, Refused> {
        let mut found = Vec::new();
        for workload in self.book().workloads(parent)? {
            let Some(hurry) = workload.hurry else { continue };
            let newest = workload.pending.unwrap_or(workload.confirmed).serial;
            let issued = self.book().issuance(newest)?.map(|issued| issued.issuance);
            let Some(issuance) = issued.filter(|one| one.recorded <= hurry.since) else { continue };
            // Under a profile that is gone nothing is renewed.
            let Ok(usual) = self.usual_window(&issuance) else { continue };
            found.push((workload.spiffe_id, hurried(usual, workload.id, hurry)));
        }
        Ok(soonest(found))
    }
}

/// Those that are to renew sooner than they would by themselves, the first ones first.
fn soonest(mut windows: Vec<(SpiffeId, Window)>) -> Vec<(SpiffeId, Window)> {
    windows.retain(|(_, window)| window.reason.is_some());
    windows.sort_by_key(|(_, window)| window.before);
    windows.truncate(MOST_TOLD);
    windows
}

/// Each machine of a hurried fleet has a moment of its own, drawn by its id, so that they do not come all at once.
fn hurried(window: Window, id: MachineId, hurry: Hurry) -> Window {
    let span = hurry.until.since(hurry.since);
    let [a, b, ..] = *id.as_bytes();
    let share = f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX);
    let moment = hurry.since + span.mul_f64(share);
    if window.before <= moment {
        return window;
    }
    Window { after: moment.min(window.after), before: moment, reason: Some(hurry.reason), ..window }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let at = Timestamp::from_unix;
        Window { after: at(2_000), before: at(3_000), reason: None, ask_again: ASK_AGAIN }
    }

    fn moment_of(first: u8, until: i64) -> Window {
        let hurry = Hurry {
            since: Timestamp::from_unix(1_000),
            until: Timestamp::from_unix(until),
            reason: "a leaked key".into(),
        };
        hurried(window(), MachineId::from_random([first, 0, 0, 0, 0, 0, 0, 0]), hurry)
    }

    #[test]
    fn a_hurried_fleet_is_spread_over_the_time_given() {
        let moments: Vec<i64> = [0, 64, 128, 255].map(|first| moment_of(first, 1_600).before.unix()).into();
        assert_eq!(moments.first(), Some(&1_000));
        assert!(moments.is_sorted() && moments.iter().all(|moment| (1_000..=1_600).contains(moment)));
        assert_eq!(moment_of(128, 1_600).reason.as_deref(), Some("a leaked key"));
    }

    #[test]
    fn of_many_hurried_workloads_the_first_are_told() {
        let windows = (0_u8..=255).rev().map(|n| {
            let id: SpiffeId = format!("spiffe://td/{n:03}").parse().unwrap();
            (id, moment_of(n, 1_600))
        });
        let told = soonest(windows.chain([("spiffe://td/calm".parse().unwrap(), window())]).collect());
        assert_eq!(told.len(), MOST_TOLD);
        assert!(told.first().is_some_and(|(id, _)| id.path() == "/000"));
        assert!(told.is_sorted_by_key(|(_, window)| window.before));
        assert!(told.iter().all(|(_, window)| window.reason.is_some()));
    }

    #[test]
    fn a_hurry_never_makes_a_window_later() {
        assert_eq!(moment_of(255, 1_000_000), window());
    }
}
