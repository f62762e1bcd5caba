//! The values of this crate, judged from outside, a file for each.

#![expect(clippy::expect_used, reason = "a refused fixture should say which")]

mod numbers;
mod pattern;
mod spiffe_id;
mod time;
mod verdicts;
