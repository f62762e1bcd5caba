//! An issued certificate

use std::sync::Arc;

use countersign_identity::{Lineage, Serial, SpiffeId, Validity};

use crate::ledger::Intent;

/// The end of the corridor: a signed certificate whose intent is in the book.
#[derive(Debug, Clone)]
pub struct Issued {
    der: Arc<[u8]>,
    serial: Serial,
    spiffe_id: SpiffeId,
    lineage: Lineage,
    validity: Validity,
}

impl Issued {
    /// Only [`Recorded::sign`](crate::Recorded::sign) calls it.
    pub(crate) fn new(intent: &Intent, der: Arc<[u8]>) -> Self {
        Issued {
            der,
            serial: intent.serial(),
            spiffe_id: intent.spiffe_id().clone(),
            lineage: intent.lineage(),
            validity: intent.validity(),
        }
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn shared_der(&self) -> Arc<[u8]> {
        Arc::clone(&self.der)
    }

    /// Its serial number.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// Whom it speaks for.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The lineage it belongs to.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// When it is valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }
}
