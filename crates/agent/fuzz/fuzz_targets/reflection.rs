//! Runs [`countersign_agent_fuzz::reflection`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_agent_fuzz::reflection(octets));
