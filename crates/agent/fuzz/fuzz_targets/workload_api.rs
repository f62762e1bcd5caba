//! Runs [`countersign_agent_fuzz::workload_api`] on what libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| countersign_agent_fuzz::workload_api(octets));
