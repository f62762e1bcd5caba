//! A hundred thousand agents, by the real scheduler in virtual time, against a CA that holds 2,000 renewals a second.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use countersign_agent::Window;
use countersign_agent::schedule::{Action, Event, Failure, Lease, Schedule};
use countersign_identity::{Timestamp, Validity};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const AGENTS: u32 = 100_000;
const CAPACITY: u32 = 2_000;
const START: i64 = 1_795_000_000;
const LIFE: i64 = 3_600;
/// Seconds of one bar of the plots.
const BIN: i64 = 10;
/// Set to draw the plot anew instead of comparing.
const UPDATE: &str = "UPDATE_PLOT";

fn issue(now: i64) -> Lease {
    let at = |seconds: i64| Timestamp::from_unix(now + seconds);
    Lease {
        validity: Validity::new(at(-60), at(LIFE - 1)).unwrap(),
        window: Window { after: at(LIFE / 3), before: at(LIFE / 2) },
    }
}

/// The fleet, its clock and its CA.
struct World {
    agents: Vec<(Schedule<StdRng>, Lease)>,
    /// When each agent looks at its clock next.
    next: BinaryHeap<Reverse<(i64, usize)>>,
    /// The second that the CA is in, and how many it has answered in it.
    second: (i64, u32),
    renewed: Vec<i64>,
    /// The ends of the certificates that were not renewed in time.
    expired: Vec<i64>,
}

impl World {
    /// A fleet that was enrolled over 25 minutes, as it stands an hour later: in the middle of everything.
    fn new() -> Self {
        let mut dice = StdRng::seed_from_u64(7);
        let mut world = Self {
            agents: Vec::new(),
            next: BinaryHeap::new(),
            second: (0, 0),
            renewed: Vec::new(),
            expired: Vec::new(),
        };
        for n in 0..AGENTS {
            let born = START - dice.random_range(0..1_500);
            let schedule = Schedule::new(StdRng::seed_from_u64(u64::from(n)));
            world.agents.push((schedule, issue(born)));
        }
        world.restart(START);
        world.live(START, START + 3_600, |_| true);
        world
    }

    /// Every agent starts anew within one second.
    fn restart(&mut self, now: i64) {
        self.next.clear();
        for n in 0..self.agents.len() {
            let seed = self.renewed.len() as u64 ^ (n as u64) << 20;
            self.agents[n].0 = Schedule::new(StdRng::seed_from_u64(seed));
            let event = Event::Loaded(self.agents[n].1);
            self.step(n, event, now);
        }
    }

    fn live(&mut self, from: i64, until: i64, is_up: impl Fn(i64) -> bool) {
        self.renewed.clear();
        self.expired.clear();
        while let Some(Reverse((at, n))) = self.next.pop() {
            if at >= until {
                self.next.push(Reverse((at, n)));
                return;
            }
            let now = at.max(from);
            let action = self.agents[n].0.on(Event::Tick, Timestamp::from_unix(now)).1;
            if matches!(action, Action::Wait(_)) {
                self.plan(n, now);
                continue;
            }
            if action == Action::Recover {
                self.expired.push(self.agents[n].1.validity.not_after().unix());
            }
            let event = self.answer(n, now, is_up(now));
            self.step(n, event, now);
        }
    }

    fn answer(&mut self, n: usize, now: i64, is_up: bool) -> Event {
        if self.second.0 != now {
            self.second = (now, 0);
        }
        if !is_up {
            return Event::Failed { failure: Failure::Passing, retry_after: None };
        }
        if self.second.1 >= CAPACITY {
            return Event::Failed { failure: Failure::Passing, retry_after: Some(Duration::from_secs(2)) };
        }
        self.second.1 += 1;
        self.renewed.push(now);
        self.agents[n].1 = issue(now);
        Event::Renewed(self.agents[n].1)
    }

    fn step(&mut self, n: usize, event: Event, now: i64) {
        self.agents[n].0.on(event, Timestamp::from_unix(now));
        self.plan(n, now);
    }

    /// Looking at the clock in between changes nothing, so it is left out.
    fn plan(&mut self, n: usize, now: i64) {
        let due = self.agents[n].0.next_attempt().unwrap().unix();
        self.next.push(Reverse((due.max(now + 1), n)));
    }

    /// Renewals a second in each bar from one moment to another.
    fn rates(&self, from: i64, until: i64) -> Vec<f64> {
        let mut bars = vec![0.0; usize::try_from((until - from) / BIN).unwrap()];
        for at in self.renewed.iter().filter(|at| (from..until).contains(at)) {
            bars[usize::try_from((at - from) / BIN).unwrap()] += 1.0 / BIN as f64;
        }
        bars
    }
}

fn peak_over_mean(rates: &[f64]) -> f64 {
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    rates.iter().fold(0.0_f64, |peak, rate| peak.max(*rate)) / mean
}

#[test]
fn a_fleet_that_restarts_or_waits_out_the_ca_comes_evenly_and_nobody_expires() {
    let mut world = World::new();
    let now = START + 3_600;
    world.restart(now);
    world.live(now, now + 3_600, |_| true);
    let restarted = world.rates(now, now + 3_600);
    assert!(world.expired.is_empty());
    assert!(peak_over_mean(&restarted) <= 1.2, "after the restart: {}", peak_over_mean(&restarted));

    let (gone, back) = (now + 3_600, now + 3_600 + 1_800);
    world.live(gone, back + 1_800, |at| at >= back);
    // Who renewed at the very end of the window has thirty minutes left when the CA goes: nobody could save those that
    // end as it comes back.
    let avoidable: Vec<_> = world.expired.iter().filter(|end| **end > back + 5).collect();
    assert!(avoidable.is_empty(), "{avoidable:?}, back at {back}");
    assert!(world.expired.len() < 50, "{}", world.expired.len());
    let returned = world.rates(back, back + 1_800);
    // The herd is back once the whole fleet has renewed.
    let minute = &returned[..6];
    assert!(minute.iter().sum::<f64>() * BIN as f64 >= f64::from(AGENTS) * 0.99, "{minute:?}");
    assert!(peak_over_mean(minute) <= 1.2, "after the outage: {} of {minute:?}", peak_over_mean(minute));
    assert!(minute.iter().all(|rate| *rate <= f64::from(CAPACITY)));

    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/herd.svg");
    let drawn = plot(&restarted, &world.rates(gone, back + 1_800));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&kept, &drawn).unwrap();
    }
    assert!(
        std::fs::read_to_string(kept).unwrap() == drawn,
        "run this test with {UPDATE}=1 and look at docs/herd.svg"
    );
}

/// Two plots, one above the other.
fn plot(restarted: &[f64], returned: &[f64]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 420\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"420\" fill=\"white\"/>\n",
    );
    panel(
        &mut svg,
        30,
        "100,000 agents restarted within one second: renewals/s over the hour after",
        restarted,
        100.0,
    );
    panel(
        &mut svg,
        240,
        "the CA away for 30 minutes, then back: renewals/s over the hour",
        returned,
        2_000.0,
    );
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, top: i32, title: &str, rates: &[f64], scale: f64) {
    let (left, width, height) = (60.0, 680.0, 140.0);
    let base = f64::from(top) + height;
    writeln!(svg, "<text x=\"{left}\" y=\"{}\">{title}</text>", top - 8).unwrap();
    for part in [0.0, 0.5, 1.0] {
        let y = base - height * part;
        writeln!(svg, "<path d=\"M{left} {y:.0}h{width}\" stroke=\"#ccc\"/><text x=\"52\" y=\"{:.0}\" text-anchor=\"end\">{:.0}</text>", y + 4.0, scale * part).unwrap();
    }
    let step = width / rates.len() as f64;
    let mut path = format!("M{left} {base:.0}");
    for (n, rate) in rates.iter().enumerate() {
        let (x, y) = (left + step * n as f64, base - height * rate / scale);
        write!(path, "L{x:.1} {y:.1}h{step:.1}").unwrap();
    }
    writeln!(svg, "<path d=\"{path}V{base:.0}z\" fill=\"#36c\"/>").unwrap();
    for minute in [0, 15, 30, 45, 60] {
        let x = left + width * f64::from(minute) / 60.0;
        writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{minute} min</text>",
            base + 16.0
        )
        .unwrap();
    }
}
