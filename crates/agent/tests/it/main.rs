//! The agent against a certificate authority in the same process, over real TLS and real files.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod ca;
mod complaints;
mod crash;
mod damage;
mod enrollment;
mod envoy;
mod faults;
mod forgotten;
mod generated;
mod grpc;
mod herd;
mod hurries;
mod installing;
mod keeping;
mod keystore;
mod killed;
mod limits;
mod load;
mod outage;
mod peers;
mod program;
mod proxies;
mod renewal;
mod roots;
mod schedule;
mod sealing;
mod serving;
mod socket;
mod states;
mod workloads;
