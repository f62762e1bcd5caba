//! The fuzz corpus as a plain test: what a fuzzer began from or once found stays tried.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests: targets that cannot set up what they attack have found nothing"
)]

#[path = "../fuzz/targets.rs"]
pub mod targets;

#[test]
fn every_seed_of_the_fuzz_corpus_holds() {
    let targets: &[countersign_testkit::Target] = &[
        ("agent_config", targets::agent_config),
        ("attestation", targets::attestation),
        ("header_block", targets::header_block),
        ("reflection", targets::reflection),
        ("sds", targets::sds),
        ("workload_api", targets::workload_api),
    ];
    countersign_testkit::replay(env!("CARGO_MANIFEST_DIR"), targets);
}
