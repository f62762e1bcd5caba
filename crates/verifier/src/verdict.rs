//! The verdict of one handshake, carried from inside rustls to whoever awaits that handshake.
//!
//! rustls asks its certificate verifier in the middle of a handshake and keeps nothing of the answer but yes or no. A
//! task-local slot around the handshake keeps the rest, so that no certificate is judged twice and no two connections
//! can see each other's verdict.

use std::cell::RefCell;

use crate::peer::VerifiedPeer;
use crate::refusal::Refusal;

/// What the verifier said.
pub(crate) type Verdict = Result<VerifiedPeer, Refusal>;

tokio::task_local! {
    static VERDICT: RefCell<Option<Verdict>>;
}

/// Leaves the verdict for the handshake this runs in; without one around it, it goes nowhere.
pub(crate) fn leave(verdict: Verdict) {
    // No slot: the configuration is used by somebody else's handshake code, which knows yes and no only.
    let _ = VERDICT.try_with(|slot| slot.replace(Some(verdict)));
}

/// Runs a handshake and hands out the verdict it left, if it came that far.
pub(crate) async fn around<F: Future>(handshake: F) -> (F::Output, Option<Verdict>) {
    let inside = async {
        let output = handshake.await;
        (output, VERDICT.with(RefCell::take))
    };
    VERDICT.scope(RefCell::new(None), inside).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_handshake_sees_its_own_verdict() {
        let ((), first) = around(async { leave(Err(Refusal::NoCertificate)) }).await;
        assert!(matches!(first, Some(Err(Refusal::NoCertificate))));
        let ((), second) = around(async {}).await;
        assert!(second.is_none());
        leave(Err(Refusal::NoCertificate));
    }
}
