//! A ledger is asked to record what the corridor prepared, and nothing else.

use countersign_identity::Serial;
use countersign_issuance::Intent;

fn changed(mut intent: Intent, serial: Serial) -> Intent {
    intent.serial = serial;
    intent
}

fn main() {}
