//! Nobody says "recorded" but the corridor, after the book said yes.

use countersign_issuance::{Intent, Recorded};

fn forged(intent: Intent) -> Recorded {
    Recorded { intent }
}

fn main() {}
