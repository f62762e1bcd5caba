//! What an identity costs against 10,000 rules: once to resolve (at most 1 µs), then for each request (at most 10 ns).
//! `cargo bench -p countersign-policy`; exits 1 past a limit.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints its figures and stops at a broken fixture"
)]

use countersign_identity::{SpiffeId, Timestamp};
use countersign_policy::{Permission, Policy};
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

const RULES: usize = 10_000;

fn policy() -> Policy {
    let mut text = String::from(
        "version = 1\n[service.ledger]\npermissions = [\"read\", \"write\", \"close\", \"tenant:{tenant}\"]\n",
    );
    for n in 0..RULES - 3 {
        let (area, team) = (n % 100, n / 100);
        write!(
            text,
            "[[grant]]\nid = \"spiffe://prod.example/area{area}/team{team}/*\"\npermissions = [\"ledger:read\"]\n"
        )
        .expect("a string takes any text");
    }
    text.push_str(
        r#"
        [[grant]]
        id = "spiffe://prod.example/area7/{tenant}/*"
        permissions = ["ledger:tenant:{tenant}", "ledger:write"]
        [[grant]]
        id = "spiffe://prod.example/**"
        permissions = ["ledger:close"]
        until = 2099-01-01T00:00:00Z
        [[deny]]
        id = "spiffe://prod.example/*/*/api"
        permissions = ["ledger:close"]
        "#,
    );
    Policy::parse(&text, "bench.toml").expect("the fixture is a policy")
}

/// The best of 9 rounds, in nanoseconds a call: what the code costs, without what the machine adds.
fn measure(calls: u32, mut call: impl FnMut()) -> f64 {
    let rounds = (0..9).map(|_| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn main() -> ExitCode {
    let start = Instant::now();
    let policy = policy();
    println!("parse {RULES} rules        {:10.1} ms", start.elapsed().as_secs_f64() * 1e3);

    let id: SpiffeId = "spiffe://prod.example/area7/team42/api".parse().expect("an ID");
    let now = Timestamp::from_unix(1_800_000_000);
    let resolve = measure(20_000, || drop(black_box(policy.resolve(black_box(&id), now))));
    println!("resolve                  {resolve:10.1} ns (limit 1000)");

    let standing = policy.resolve(&id, now);
    let held: Permission = "ledger:tenant:team42".parse().expect("a permission");
    let lacking: Permission = "ledger:close".parse().expect("a permission");
    assert!(standing.check(&held) && !standing.check(&lacking), "the fixture says otherwise");
    let hit = measure(1_000_000, || _ = black_box(standing.check(black_box(&held))));
    let miss = measure(1_000_000, || _ = black_box(standing.check(black_box(&lacking))));
    println!("check, allowed / refused {hit:10.1} / {miss:.1} ns (limit 10)");
    if resolve <= 1_000.0 && hit <= 10.0 && miss <= 10.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
