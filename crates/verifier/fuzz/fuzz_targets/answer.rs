//! Runs [`countersign_verifier_fuzz::answer`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_verifier_fuzz::answer(octets));
