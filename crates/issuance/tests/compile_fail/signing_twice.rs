//! A recorded certificate is signed once: signing consumes it.

use countersign_issuance::{Ledger, Recorded, Signer};

async fn twice(recorded: Recorded, signer: &dyn Signer, ledger: &dyn Ledger) {
    let _ = recorded.sign(signer, ledger).await;
    let _ = recorded.sign(signer, ledger).await;
}

fn main() {}
