//! B9, the verifier's half: a token for the first time, in V; one seen before on its connection; a request by certificate.
//! Prints one line of JSON.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints its figures and stops at a broken fixture"
)]

use std::hint::black_box;
use std::task::{Context, Waker};
use std::time::Instant;

use countersign_bench::tls;
use countersign_testkit::{Authority, SnapshotForge, TokenForge, TokenKey, noon_clock};
use countersign_verifier::{LiveTrust, Permission, ResourceServer, SvidVerifier, Usage, Visitor, provider};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::sign::Signer;
use serde_json::json;

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

/// Rounds, in each of which everything is measured: what slows the machine down for a while slows all of it.
const ROUNDS: usize = 41;

fn main() {
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

    let visitor = resource.visitor(Some(peer.clone()));
    let (without, mut with) = (HeaderMap::new(), HeaderMap::new());
    with.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).expect("a header"));
    let caller = resource.judge(&token, Some(&peer)).expect("a good token");
    let write: Permission = "ledger:write".parse().expect("a permission");
    assert!(caller.authorize(&write).allowed, "the fixture says otherwise");
    let verify = one_signature();

    let mut found = Found::default();
    for _ in 0..ROUNDS {
        found.signature.push(cost(200, &verify));
        found
            .certificate
            .push(cost(200, || drop(black_box(verifier.verify(black_box(&chain), Usage::Client)))));
        found.first.push(cost(200, || drop(black_box(resource.judge(black_box(&token), Some(&peer))))));
        found.by_certificate.push(cost(20_000, || recognise(&visitor, black_box(&without))));
        found.again.push(cost(20_000, || recognise(&visitor, black_box(&with))));
        found.permission.push(cost(20_000, || drop(black_box(caller.authorize(black_box(&write))))));
    }
    println!("{}", found.told());
}

/// Nanoseconds a call, one figure for each round.
#[derive(Default)]
struct Found {
    signature: Vec<f64>,
    certificate: Vec<f64>,
    first: Vec<f64>,
    by_certificate: Vec<f64>,
    again: Vec<f64>,
    permission: Vec<f64>,
}

impl Found {
    fn told(self) -> serde_json::Value {
        let per_signature =
            |costs: &[f64]| median(costs.iter().zip(&self.signature).map(|(cost, v)| cost / v).collect());
        let (first, certificate) = (per_signature(&self.first), per_signature(&self.certificate));
        json!({
            "first_v": first, "certificate_v": certificate, "signature_ns": median(self.signature),
            "first_ns": median(self.first), "seen_before_ns": median(self.again),
            "by_certificate_ns": median(self.by_certificate), "permission_ns": median(self.permission),
        })
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().expect("a round was made")
}

/// Nanoseconds of one call.
fn cost(calls: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

/// V: one P-256 signature, checked as the calibration does.
fn one_signature() -> impl Fn() {
    let key = KeyPair::generate().expect("a key");
    let signer: Box<dyn Signer> = tls::p256_signer(&key.serialize_pem()).expect("a signer");
    let message = [7; 512];
    let signature = signer.sign(&message).expect("a signature");
    let verification = tls::p256_verification().expect("the provider has it");
    move || assert!(verification.verify_signature(key.der_bytes(), black_box(&message), &signature).is_ok())
}

/// Nothing is waited for, so that the first poll is the answer.
fn recognise(visitor: &Visitor, headers: &HeaderMap) {
    let mut recognised = std::pin::pin!(visitor.recognise(headers));
    let mut context = Context::from_waker(Waker::noop());
    assert!(recognised.as_mut().poll(&mut context).is_ready());
}
