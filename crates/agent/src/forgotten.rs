//! A certificate that the CA's book does not know, as after a restore: only a renewal makes the machine known again.

use std::sync::{Mutex, PoisonError};

use countersign_identity::Serial;
use tokio::sync::Notify;

/// Which certificate the CA did not know last, for whoever renews.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    serial: Mutex<Option<Serial>>,
    noticed: Notify,
}

impl Forgotten {
    /// The CA does not know this certificate. Each is told of once: a renewal that is refused as well is tried again as
    /// the schedule has it.
    pub(crate) fn note(&self, serial: Serial) {
        let mut known = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != Some(serial) {
            *known = Some(serial);
            self.noticed.notify_one();
        }
    }

    /// Waits until this certificate is one that the CA does not know; any other was renewed already.
    pub(crate) async fn is(&self, serial: Serial) {
        loop {
            self.noticed.notified().await;
            if *self.serial.lock().unwrap_or_else(PoisonError::into_inner) == Some(serial) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn each_certificate_is_told_of_once_and_one_that_was_renewed_is_not() {
        let forgotten = Forgotten::default();
        let serial = |n| Serial::from_be_bytes(&[n]).unwrap();
        let told = |n| timeout(Duration::from_millis(20), forgotten.is(serial(n)));
        forgotten.note(serial(1));
        told(1).await.unwrap();
        forgotten.note(serial(1));
        told(1).await.unwrap_err();
        forgotten.note(serial(2));
        told(3).await.unwrap_err();
    }
}
