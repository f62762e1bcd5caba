//! The fuzz corpus as a plain test: what a fuzzer began from or once found stays tried.

#![expect(clippy::expect_used, reason = "tests: a panic says what does not hold")]

#[path = "../fuzz/targets.rs"]
pub mod targets;

#[test]
fn every_seed_of_the_fuzz_corpus_holds() {
    let targets: &[countersign_testkit::Target] = &[
        ("answer", targets::answer),
        ("certificate", targets::certificate),
        ("client_chain", targets::client_chain),
        ("crl", targets::crl),
        ("jwks", targets::jwks),
        ("pem", targets::pem),
        ("token", targets::token),
        ("trust_part", targets::trust_part),
        ("trust_snapshot", targets::trust_snapshot),
    ];
    countersign_testkit::replay(env!("CARGO_MANIFEST_DIR"), targets);
}
