//! Runs [`countersign_fuzz::ca_config`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_fuzz::ca_config(octets));
