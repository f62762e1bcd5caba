//! Runs [`countersign_api_fuzz::api_key`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_api_fuzz::api_key(octets));
