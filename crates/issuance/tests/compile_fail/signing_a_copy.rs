//! A recorded certificate cannot be copied to be signed again.

use countersign_issuance::Recorded;

fn copy(recorded: &Recorded) -> Recorded {
    recorded.clone()
}

fn main() {}
