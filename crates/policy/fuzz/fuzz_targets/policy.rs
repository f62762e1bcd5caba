//! Runs [`countersign_policy_fuzz::policy`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_policy_fuzz::policy(octets));
