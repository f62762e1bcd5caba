//! B7 and what verifiers keep in memory: an identity against 10,000 rules, a request, fleets of many identities, and the
//! octets of revoked serials. Prints one line of JSON.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its figures and stops at a broken fixture"
)]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign_identity::{SpiffeId, Timestamp};
use countersign_policy::{Permission, Policy};
use countersign_testkit::{Authority, Seeded, SnapshotForge, noon};
use countersign_verifier::{Snapshot, SnapshotFile, Trusted, provider};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

/// Revoked serials in the snapshot that is weighed.
const REVOKED: usize = 100_000;

fn main() {
    let large = policy(10_000);
    let id: SpiffeId = "spiffe://prod.example/area7/team42/api".parse().expect("an ID");
    let resolve = best(20_000, |_| drop(black_box(large.resolve(black_box(&id), NOW))));
    let standing = large.resolve(&id, NOW);
    assert!(standing.valid_until().is_some(), "a rule about it has an edge in time");
    let held: Permission = "ledger:tenant:team42".parse().expect("a permission");
    let lacking: Permission = "ledger:close".parse().expect("a permission");
    let request = |permission: &Permission| standing.holds_at(black_box(NOW)) && standing.check(permission);
    assert!(request(&held) && !request(&lacking), "the fixture says otherwise");
    let allowed = best(1_000_000, |_| _ = black_box(request(black_box(&held))));
    let refused = best(1_000_000, |_| _ = black_box(request(black_box(&lacking))));
    let small = policy(1_000);
    let [some, many] = [100_000, 1_000_000].map(|count| fleet(&small, count));
    let (heap, resident) = revoked();
    println!(
        "{}",
        json!({
            "resolve_10000_rules_ns": resolve, "request_allowed_ns": allowed, "request_refused_ns": refused,
            "decision_100000_ids_ns": some, "decision_1000000_ids_ns": many, "ids_ratio": many / some,
            "revoked_heap_mb": heap, "revoked_resident_mb": resident,
        })
    );
}

/// Rules over a hundred areas with as many teams as it takes, one that captures, one with an end, one that denies.
fn policy(rules: usize) -> Policy {
    let mut text = String::from(
        "version = 1\n[service.ledger]\npermissions = [\"read\", \"write\", \"close\", \"tenant:{tenant}\"]\n",
    );
    for n in 0..rules - 3 {
        let (area, team) = (n % 100, n / 100);
        let grant = format!("id = \"spiffe://prod.example/area{area}/team{team}/*\"");
        writeln!(text, "[[grant]]\n{grant}\npermissions = [\"ledger:read\"]")
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
fn best(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let rounds = (0..9).map(|_| {
        let start = Instant::now();
        (0..calls).for_each(&mut call);
        start.elapsed().as_secs_f64() * 1e9 / calls as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

/// One decision about each of many identities, drawn at random: what is looked up is in no cache.
fn fleet(policy: &Policy, count: usize) -> f64 {
    let ids: Vec<SpiffeId> = (0..count)
        .map(|n| format!("spiffe://prod.example/area{}/team{}/m{n}", n % 100, n / 100 % 10).parse())
        .collect::<Result<_, _>>()
        .expect("IDs");
    let mut dice = Seeded::new(7);
    let drawn: Vec<usize> = (0..50_000)
        .map(|_| usize::try_from(u64::from_be_bytes(dice.octets())).expect("64 bits") % count)
        .collect();
    let read: Permission = "ledger:read".parse().expect("a permission");
    let ids = drawn.iter().map(|at| ids.get(*at).expect("drawn below the count"));
    let ids: Vec<&SpiffeId> = ids.collect();
    best(ids.len(), |at| {
        let id = ids.get(at).expect("as many as calls");
        _ = black_box(policy.resolve(id, NOW).check(&read));
    })
}

/// Megabytes that a snapshot's revoked serials take, by its own count and as the system sees it grow.
fn revoked() -> (f64, f64) {
    let root = Authority::root("prod.example");
    let (issuer, signer) = (root.issuer(), root.trust_signer(1));
    let mut dice = Seeded::new(8);
    let mut forge = SnapshotForge::new(&root, &signer).issuer(&issuer);
    for _ in 0..REVOKED {
        let serial: String = dice.octets::<18>().iter().fold(String::from("01"), |mut text, octet| {
            write!(text, "{octet:02x}").expect("a string takes any text");
            text
        });
        forge = forge.revoke(&issuer, &serial, noon() + Duration::from_hours(1));
    }
    let file = forge.forge().file();
    // So many that the room readers need and give back is small beside them.
    let before = resident();
    let held: Vec<Snapshot> = (0..100).map(|_| read(&root, &file)).collect();
    let grown = (resident() - before) / held.len() as f64;
    let one = held.first().expect("a hundred of them");
    assert_eq!(one.revoked_serials(), REVOKED);
    (one.heap_octets() as f64 / 1e6, grown)
}

fn read(root: &Authority, file: &[u8]) -> Snapshot {
    let file = SnapshotFile::read(file).expect("a snapshot");
    let judged = Trusted::anchored(root.bundle()).judge(file.jws(), noon(), &provider()).expect("a good one");
    judged.complete(None, file.parts(), &provider()).expect("all its parts")
}

fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc(5)");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0 / 1e6
}
