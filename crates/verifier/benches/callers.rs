//! What it costs to know a caller: a token for the first time, a token seen before on its connection (at most 1 µs), and a
//! certificate. `cargo bench -p countersign-verifier --features tokens`; exits 1 past a limit.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints its figures and stops at a broken fixture"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use countersign_testkit::{Authority, SnapshotForge, TokenForge, TokenKey, noon_clock};
use countersign_verifier::{LiveTrust, Permission, ResourceServer, SvidVerifier, Usage, provider};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use tokio::runtime::Builder;

const CA: &str = "https://ca.prod.example:8443";
const PAYMENTS: &str = "spiffe://prod.example/payments";
const LINEAGE: &str = "l-00112233445566778899aabbccddeeff";
const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://prod.example/payments"
permissions = ["ledger:read", "ledger:write"]
"#;

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
    let root = Authority::root("prod.example");
    let (issuer, signer, key) = (root.issuer(), root.trust_signer(1), TokenKey::new("key-1"));
    let live = LiveTrust::anchored(root.bundle()).clock(noon_clock()).open().expect("a root");
    let forged =
        SnapshotForge::new(&root, &signer).issuer(&issuer).policy(POLICY).token_keys(&key.jwks()).forge();
    live.offer(forged.jws(), forged.parts()).expect("a good snapshot");

    let machine = issuer.leaf(PAYMENTS).lineage(LINEAGE).forge();
    let verifier = SvidVerifier::new(provider(), live.store(), noon_clock());
    let chain = machine.chain();
    let peer = verifier.verify(&chain, Usage::Client).expect("a good certificate");
    let token = TokenForge::new(CA, "ledger", PAYMENTS).scope("ledger:read ledger:write");
    let token = token.bound_to(&machine, LINEAGE).sign(&key);
    let resource = ResourceServer::of("ledger", &live).tokens_of(CA).build().expect("a resource server");

    let signature = measure(500, || drop(black_box(verifier.verify(black_box(&chain), Usage::Client))));
    let first = measure(500, || drop(black_box(resource.judge(black_box(&token), Some(&peer)))));
    println!("certificate under a snapshot     {signature:10.0} ns");
    println!("token for the first time         {first:10.0} ns");

    let visitor = resource.visitor(Some(peer));
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let (without, mut with) = (HeaderMap::new(), HeaderMap::new());
    let value = HeaderValue::try_from(format!("Bearer {token}")).expect("a header");
    with.insert(AUTHORIZATION, value);
    let write: Permission = "ledger:write".parse().expect("a permission");
    let (by_certificate, again, may) = runtime.block_on(async {
        let caller = visitor.recognise(&with).await.expect("a good token");
        assert!(caller.authorize(&write).allowed, "the fixture says otherwise");
        let ask = |headers: &HeaderMap| {
            let mut recognise = Box::pin(visitor.recognise(headers));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            // Nothing is waited for, so that the first poll is the answer.
            assert!(recognise.as_mut().poll(&mut context).is_ready());
        };
        let by_certificate = measure(200_000, || ask(black_box(&without)));
        let again = measure(200_000, || ask(black_box(&with)));
        let may = measure(200_000, || drop(black_box(caller.authorize(black_box(&write)))));
        (by_certificate, again, may)
    });
    println!("request by certificate           {by_certificate:10.1} ns");
    println!("token seen before                {again:10.1} ns (limit 1000)");
    println!("permission of a caller           {may:10.1} ns");
    if again <= 1_000.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
