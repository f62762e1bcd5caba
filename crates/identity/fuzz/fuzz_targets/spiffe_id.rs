//! Runs [`countersign_identity_fuzz::spiffe_id`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_identity_fuzz::spiffe_id(octets));
