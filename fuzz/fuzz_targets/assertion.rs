//! Runs [`countersign_fuzz::assertion`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_fuzz::assertion(octets));
