//! The fuzz corpus as a plain test: what a fuzzer began from or once found stays tried.

#[path = "../fuzz/targets.rs"]
pub mod targets;

#[test]
fn every_seed_of_the_fuzz_corpus_holds() {
    let targets: &[countersign_testkit::Target] =
        &[("ca_config", targets::ca_config), ("form", targets::form), ("assertion", targets::assertion)];
    countersign_testkit::replay(env!("CARGO_MANIFEST_DIR"), targets);
}
