//! What is only prepared has nothing to sign with.

use countersign_issuance::{Ledger, Prepared, Signer};

async fn unrecorded(prepared: Prepared, signer: &dyn Signer, ledger: &dyn Ledger) {
    let _ = prepared.sign(signer, ledger).await;
}

fn main() {}
