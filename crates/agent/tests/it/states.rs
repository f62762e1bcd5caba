//! Every state a machine can be in, and years of everything that can happen to it.

use std::time::Duration;

use countersign_agent::Window;
use countersign_agent::schedule::{Action, Event, Failure, Lease, Schedule, State, TICK};
use countersign_identity::{Timestamp, Validity};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const START: Timestamp = Timestamp::from_unix(1_795_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn issue(now: Timestamp, life: Duration) -> Lease {
    Lease {
        validity: Validity::new(now - minutes(1), now + life - Duration::from_secs(1)).unwrap(),
        window: Window { after: now + life / 3, before: now + life / 2 },
    }
}

fn failed(failure: Failure) -> Event {
    Event::Failed { failure, retry_after: None }
}

fn loaded() -> Schedule<StdRng> {
    let mut schedule = Schedule::new(StdRng::seed_from_u64(1)).asking();
    assert_eq!(schedule.on(Event::Tick, START).0, State::Enrolling);
    assert_eq!(schedule.on(Event::Loaded(issue(START, HOUR)), START).0, State::Fresh);
    schedule
}

#[test]
fn a_machine_goes_from_fresh_by_stale_to_expired_and_recovers() {
    let mut schedule = loaded();
    let (state, action) = schedule.on(Event::Tick, START + minutes(31));
    assert_eq!((state, action), (State::Renewing, Action::Renew));
    assert_eq!(schedule.on(failed(Failure::Passing), START + minutes(31)).0, State::Stale);
    assert_eq!(schedule.on(Event::Tick, START + minutes(61)), (State::Expired, Action::Recover));
    let back = START + minutes(62);
    assert_eq!(schedule.on(Event::Renewed(issue(back, HOUR)), back).0, State::Fresh);
}

#[test]
fn whose_clock_is_behind_the_cas_recovers_at_once_when_told_and_slowly_after_a_second_no() {
    let mut schedule = loaded();
    let now = START + minutes(31);
    schedule.on(Event::Tick, now);
    let (state, action) = schedule.on(failed(Failure::Expired), now);
    assert_eq!(state, State::Expired);
    assert_eq!(action, Action::Wait(Duration::from_secs(1)));
    assert_eq!(schedule.on(Event::Tick, now + Duration::from_secs(1)).1, Action::Recover);
    let (state, _) = schedule.on(failed(Failure::Expired), now + Duration::from_secs(2));
    assert_eq!(state, State::Refused, "the allowance is used up");
    assert!(schedule.next_attempt().unwrap().since(now) >= minutes(5));
}

#[test]
fn a_suspended_machine_asks_rarely_and_goes_on_once_it_is_resumed() {
    let mut schedule = loaded();
    let now = START + minutes(31);
    schedule.on(Event::Tick, now);
    assert_eq!(schedule.on(failed(Failure::Suspended), now).0, State::Suspended);
    let next = schedule.next_attempt().unwrap();
    assert!(next.since(now) >= minutes(5) && next.since(now) <= minutes(10));
    assert_eq!(schedule.on(Event::Tick, next).1, Action::Renew);
    assert_eq!(schedule.on(Event::Renewed(issue(next, HOUR)), next).0, State::Fresh);
}

#[test]
fn a_window_that_the_ca_pulls_to_now_is_followed_within_seconds() {
    let mut schedule = loaded();
    let now = START + minutes(7);
    assert_eq!(schedule.on(Event::Tick, now), (State::Fresh, Action::AskWindow));
    let window = Window { after: START, before: now };
    let event = Event::Window { window, ask_again: minutes(5) };
    let (state, _) = schedule.on(event, now);
    assert_eq!(state, State::Renewing);
    assert!(schedule.next_attempt().unwrap().since(now) <= Duration::from_secs(5));
    assert_eq!(schedule.on(Event::Tick, now + Duration::from_secs(5)).1, Action::Renew);
}

#[test]
fn a_window_that_the_ca_pulls_to_the_next_minutes_spreads_the_fleet_over_them() {
    let now = START + minutes(7);
    let window = Window { after: now, before: now + minutes(10) };
    let mut thirds = [0; 3];
    for seed in 0..3000 {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed)).asking();
        schedule.on(Event::Loaded(issue(START, HOUR)), START);
        schedule.on(Event::Window { window, ask_again: minutes(5) }, now);
        thirds[usize::try_from(schedule.next_attempt().unwrap().since(now).as_secs() / 201).unwrap()] += 1;
    }
    assert!(thirds.iter().all(|count| (850..1_150).contains(count)), "{thirds:?}");
}

/// The CA names a few seconds of the window, so that its machines do not come together.
#[test]
fn a_part_of_the_window_is_followed_and_whoever_misses_it_is_not_late_yet() {
    let mut schedule = loaded();
    let told = Window { after: START + minutes(24), before: START + minutes(24) + Duration::from_secs(3) };
    let event = Event::Window { window: told, ask_again: minutes(5) };
    schedule.on(event, START + minutes(7));
    let due = schedule.next_attempt().unwrap();
    assert!(told.after <= due && due <= told.before);
    schedule.on(event, START + minutes(12));
    assert_eq!(schedule.next_attempt(), Some(due), "the same answer changes nothing");
    assert_eq!(schedule.on(Event::Tick, due), (State::Renewing, Action::Renew));
    assert_eq!(schedule.on(failed(Failure::Passing), due + Duration::from_secs(9)).0, State::Renewing);
    assert_eq!(schedule.state(START + minutes(31)), State::Stale);
}

#[test]
fn a_window_moves_no_pause_that_is_being_kept() {
    let mut schedule = loaded();
    let now = START + minutes(31);
    schedule.on(Event::Tick, now);
    schedule.on(failed(Failure::Refused), now);
    let before = schedule.next_attempt();
    let window = Window { after: START, before: now };
    schedule.on(Event::Window { window, ask_again: Duration::ZERO }, now);
    assert_eq!(schedule.next_attempt(), before);
}

/// What may happen to a machine at one moment.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Well,
    Away,
    Busy(u64),
    No(Failure),
    Pulled,
    Asleep(u64),
    Back(i64),
    Order,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Well),
        3 => Just(Fate::Away),
        1 => (0_u64..10_000).prop_map(Fate::Busy),
        1 => prop_oneof![
            Just(Failure::Passing), Just(Failure::Expired), Just(Failure::Refused), Just(Failure::Suspended)
        ].prop_map(Fate::No),
        1 => Just(Fate::Pulled),
        1 => (0_u64..10 * 86_400).prop_map(Fate::Asleep),
        1 => (0_i64..86_400).prop_map(Fate::Back),
        1 => Just(Fate::Order),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A year of waking hours: whatever happens, no two attempts within a second, nobody asks in a loop, an expired
    /// certificate is never renewed but recovered, and once the CA is well for long enough the machine is fresh.
    #[test]
    fn a_year_of_everything_ends_well_and_never_in_a_tight_loop(
        seed: u64,
        fates in proptest::collection::vec((fate(), 1_u64..6 * 3600), 200..600),
    ) {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(seed)).asking();
        let mut now = START;
        // Time as it passed, whatever the clock said.
        let mut lived = Duration::ZERO;
        let mut lease = issue(now, HOUR);
        let mut event = Event::Loaded(lease);
        let mut last: Option<Duration> = None;
        let mut last_ask: Option<Duration> = None;
        let end = fates.len();
        for (n, (fate, lasts)) in fates.into_iter().chain([(Fate::Well, 3 * 3600)]).enumerate() {
            match fate {
                Fate::Asleep(seconds) => now = now + Duration::from_secs(seconds),
                Fate::Back(seconds) => now = Timestamp::from_unix(now.unix() - seconds),
                Fate::Order => event = Event::RenewNow,
                _ => {}
            }
            let until = lived + Duration::from_secs(lasts);
            while lived < until {
                let (state, action) = schedule.on(event, now);
                event = match action {
                    Action::Wait(pause) => {
                        prop_assert!(!pause.is_zero() && pause <= TICK);
                        (lived, now) = (lived + pause, now + pause);
                        Event::Tick
                    }
                    Action::AskWindow => {
                        prop_assert!(state <= State::Renewing, "{state:?}");
                        prop_assert!(last_ask.is_none_or(|last| lived - last >= Duration::from_secs(1)));
                        last_ask = Some(lived);
                        match fate {
                            Fate::Pulled => Event::Window {
                                window: Window { after: lease.window.after, before: now },
                                ask_again: Duration::ZERO,
                            },
                            Fate::Away => Event::WindowUnknown,
                            _ => Event::Window { window: lease.window, ask_again: minutes(5) },
                        }
                    }
                    Action::Renew | Action::Recover => {
                        prop_assert!(last.is_none_or(|last| lived - last >= Duration::from_secs(1)), "{event:?}");
                        last = Some(lived);
                        if now > lease.validity.not_after() {
                            prop_assert_eq!(action, Action::Recover);
                            prop_assert!(matches!(state, State::Expired | State::Refused | State::Suspended));
                        }
                        match fate {
                            Fate::Away => failed(Failure::Passing),
                            Fate::Busy(seconds) => Event::Failed {
                                failure: Failure::Passing,
                                retry_after: Some(Duration::from_secs(seconds)),
                            },
                            Fate::No(failure) => failed(failure),
                            _ => {
                                lease = issue(now, HOUR);
                                Event::Renewed(lease)
                            }
                        }
                    }
                };
            }
            if n == end {
                prop_assert!(schedule.state(now) <= State::Renewing, "{:?}", schedule.state(now));
            }
        }
    }
}
