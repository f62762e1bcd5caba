//! Thousands of simulated days of renewals.

use std::time::Duration;

use countersign_agent::Window;
use countersign_agent::schedule::{Action, Event, Failure, Lease, Schedule, TICK};
use countersign_identity::{Timestamp, Validity};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const START: Timestamp = Timestamp::from_unix(1_795_000_000);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What the CA issues at `now`: backdated by a minute, the window from a third to half of its life.
fn issue(now: Timestamp, life: Duration) -> Lease {
    Lease {
        validity: Validity::new(now - seconds(60), now + life - seconds(1)).unwrap(),
        window: Window { after: now + life / 3, before: now + life / 2 },
    }
}

const FAILED: Event = Event::Failed { failure: Failure::Passing, retry_after: None };

/// A machine, its clock and its CA.
struct World {
    now: Timestamp,
    schedule: Schedule<StdRng>,
    lease: Lease,
    life: Duration,
    attempts: Vec<Timestamp>,
}

impl World {
    fn new(seed: u64, life: Duration) -> Self {
        let schedule = Schedule::new(StdRng::seed_from_u64(seed));
        Self { now: START, schedule, lease: issue(START, life), life, attempts: Vec::new() }
    }

    /// Lives until `end`; `is_up` says whether the CA answers. Returns whether the certificate ever expired.
    fn live(&mut self, end: Timestamp, is_up: impl Fn(Timestamp) -> bool) -> bool {
        let mut event = Event::Loaded(self.lease);
        let mut expired = false;
        while self.now < end {
            expired |= self.now > self.lease.validity.not_after();
            event = match self.schedule.on(event, self.now).1 {
                Action::Wait(pause) => {
                    assert!(!pause.is_zero() && pause <= TICK, "waits {pause:?}");
                    self.now = self.now + pause;
                    Event::Tick
                }
                Action::AskWindow => panic!("nobody asked it to ask"),
                Action::Renew | Action::Recover => {
                    self.attempts.push(self.now);
                    if is_up(self.now) {
                        let window = self.lease.window;
                        self.lease = issue(self.now, self.life);
                        assert!(self.now >= window.after, "renewed before the window");
                        Event::Renewed(self.lease)
                    } else {
                        FAILED
                    }
                }
            };
        }
        expired
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn while_the_ca_is_there_each_renewal_is_inside_its_window(seed: u64, life in 60_u64..=604_800, days in 10_u64..40) {
        let mut world = World::new(seed, seconds(life));
        let mut before = world.lease;
        let mut event = Event::Loaded(before);
        let end = START + seconds(days * 86_400).min(seconds(life * 2_000));
        while world.now < end {
            event = match world.schedule.on(event, world.now).1 {
                Action::Wait(pause) => {
                    world.now = world.now + pause;
                    Event::Tick
                }
                Action::AskWindow | Action::Recover => panic!("neither asked for nor expired"),
                Action::Renew => {
                    prop_assert!(world.now >= before.window.after && world.now <= before.window.before);
                    before = issue(world.now, seconds(life));
                    Event::Renewed(before)
                }
            };
        }
    }

    #[test]
    fn an_outage_that_leaves_a_tenth_of_the_life_never_costs_the_identity(
        seed: u64,
        life in 300_u64..=86_400,
        outages in proptest::collection::vec((0.0_f64..3.0, 0.0_f64..0.39), 1..12),
    ) {
        let mut down = Vec::new();
        let mut at = START;
        for (up_for, down_for) in outages {
            let from = at + seconds(life).mul_f64(up_for);
            at = from + seconds(life).mul_f64(down_for);
            down.push(from..at);
            // The CA stays at least long enough for a machine to come through.
            at = at + seconds(life) / 10;
        }
        let mut world = World::new(seed, seconds(life));
        let expired = world.live(at + seconds(2 * life), |now| !down.iter().any(|outage| outage.contains(&now)));
        prop_assert!(!expired);
    }

    #[test]
    fn a_ca_that_never_comes_back_is_not_hammered(seed: u64, life in 60_u64..=604_800) {
        let mut world = World::new(seed, seconds(life));
        let end = world.lease.validity.not_after() + seconds(86_400);
        world.live(end, |_| false);
        let after: Vec<_> = world.attempts.iter().filter(|at| **at > world.lease.validity.not_after()).collect();
        // A day after expiry: pauses of at most five minutes, and on average far longer than the base.
        prop_assert!((288..2_000).contains(&after.len()), "{} attempts", after.len());
        let pairs = world.attempts.windows(2);
        prop_assert!(pairs.clone().all(|pair| pair[1].since(pair[0]) >= seconds(1)));
        prop_assert!(pairs.clone().all(|pair| pair[1].since(pair[0]) <= seconds(300)));
    }

    #[test]
    fn whatever_happens_and_however_the_clock_jumps_there_is_no_tight_loop(
        seed: u64,
        steps in proptest::collection::vec((0_u8..7, -100_000_i64..100_000), 1..400),
    ) {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
        let mut now = START;
        let mut event = Event::Loaded(issue(now, seconds(3600)));
        for (kind, jump) in steps {
            match schedule.on(event, now).1 {
                Action::AskWindow => panic!("nobody asked it to ask"),
                Action::Renew | Action::Recover => {
                    event = match kind {
                        0 => Event::Renewed(issue(now, seconds(3600))),
                        // A certificate whose window is over before it arrives: a clock is wrong.
                        1 => Event::Renewed(issue(now - seconds(50_000), seconds(3600))),
                        2 => Event::Failed { failure: Failure::Refused, retry_after: None },
                        3 => Event::Failed { failure: Failure::Passing, retry_after: Some(seconds(u64::MAX)) },
                        _ => FAILED,
                    };
                    let next = schedule.on(event, now).1;
                    prop_assert!(matches!(next, Action::Wait(pause) if pause >= seconds(1)), "{:?} then {:?}", event, next);
                    event = Event::Tick;
                }
                Action::Wait(pause) => {
                    prop_assert!(!pause.is_zero() && pause <= TICK);
                    now = now + pause;
                    event = if kind == 6 { Event::RenewNow } else { Event::Tick };
                    if kind == 5 {
                        now = Timestamp::from_unix(now.unix() + jump);
                    }
                }
            }
        }
    }

    #[test]
    fn retry_after_is_honoured_up_to_an_hour(seed: u64, asked in 1_u64..10_000) {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
        schedule.on(Event::Loaded(issue(START, seconds(3600))), START);
        schedule.on(Event::Failed { failure: Failure::Passing, retry_after: Some(seconds(asked)) }, START);
        let next = schedule.next_attempt().unwrap().since(START);
        prop_assert!(next >= seconds(asked.min(3600)) && next <= seconds(3960), "{next:?} for {asked}");
    }

    #[test]
    fn a_refusal_for_good_is_tried_again_every_five_to_ten_minutes(seed: u64) {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
        schedule.on(Event::Loaded(issue(START, seconds(3600))), START);
        schedule.on(Event::Failed { failure: Failure::Refused, retry_after: None }, START);
        let next = schedule.next_attempt().unwrap().since(START);
        prop_assert!(next >= seconds(300) && next <= seconds(600), "{next:?}");
    }

    #[test]
    fn a_clock_set_back_makes_no_wait_longer(seed: u64, elapsed in 0_u64..1_000, back in 1_u64..1_000_000) {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
        schedule.on(Event::Loaded(issue(START, seconds(3600))), START);
        let now = START + seconds(elapsed);
        schedule.on(Event::Tick, now);
        let distance = schedule.next_attempt().unwrap().since(now);
        let then = now - seconds(back);
        schedule.on(Event::Tick, then);
        prop_assert_eq!(schedule.next_attempt().unwrap().since(then), distance);
    }
}

#[test]
fn machines_enrolled_together_drift_apart() {
    let lease = issue(START, seconds(3600));
    let planned = |seed| {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
        schedule.on(Event::Loaded(lease), START);
        schedule.next_attempt().unwrap()
    };
    let thirds: [usize; 3] = (0..3_000).map(planned).fold([0; 3], |mut thirds, at| {
        thirds[usize::try_from(at.since(lease.window.after).as_secs() / 201).unwrap()] += 1;
        thirds
    });
    assert!(thirds.iter().all(|count| (850..1_150).contains(count)), "{thirds:?}");
}

#[test]
fn a_jump_past_the_instant_renews_at_once() {
    let mut schedule = Schedule::new(StdRng::seed_from_u64(1));
    schedule.on(Event::Loaded(issue(START, seconds(3600))), START);
    assert_eq!(schedule.on(Event::Tick, START + seconds(3_000)).1, Action::Renew);
}
