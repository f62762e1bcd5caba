//! A prepared certificate is recorded once: recording consumes it.

use countersign_issuance::{Act, Ledger, Prepared};

async fn twice(prepared: Prepared, ledger: &dyn Ledger) {
    let _ = prepared.record(ledger, Act::Own).await;
    let _ = prepared.record(ledger, Act::Own).await;
}

fn main() {}
