//! The corridor from outside: what other rooms see of it
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by panicking")]

mod approval;
mod authority;
mod book;
mod certificates;
mod csr;
mod openssl;
mod premises;
mod profiles;
mod requests;
mod signing;
