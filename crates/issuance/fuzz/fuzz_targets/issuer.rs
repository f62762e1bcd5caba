//! Runs [`countersign_issuance_fuzz::issuer`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_issuance_fuzz::issuer(octets));
