//! Runs [`countersign_issuance_fuzz::profile`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_issuance_fuzz::profile(octets));
