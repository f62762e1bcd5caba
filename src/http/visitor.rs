//! Who stands at the front door of one connection, judged anew whenever time has moved past the last verdict.

use std::sync::Arc;

use countersign_identity::Timestamp;
use countersign_verifier::{FrontDoor, Presented};
use prometheus_client::metrics::gauge::Gauge;
use rustls_pki_types::CertificateDer;

/// What a connection presented, and the door that judges it.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    door: FrontDoor,
    chain: Arc<[CertificateDer<'static>]>,
    first: Presented,
    _open: Arc<OpenConnection>,
}

/// Counts one open connection for as long as anything of it is left.
#[derive(Debug)]
struct OpenConnection(Gauge);

impl OpenConnection {
    fn counted_in(gauge: &Gauge) -> Arc<Self> {
        gauge.inc();
        Arc::new(Self(gauge.clone()))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Visitor {
    /// Judges a connection's certificates right after its handshake.
    pub(super) fn arrive(
        door: &FrontDoor,
        certificates: Option<&[CertificateDer<'static>]>,
        connections: &Gauge,
    ) -> Self {
        Self {
            first: door.judge(certificates),
            chain: certificates.unwrap_or_default().into(),
            door: door.clone(),
            _open: OpenConnection::counted_in(connections),
        }
    }

    /// The verdict about certificates that came another way than in the handshake.
    pub(super) fn judge(&self, chain: &[CertificateDer<'static>]) -> Presented {
        self.door.judge(Some(chain))
    }

    /// The verdict for a request that arrives at `now`.
    pub(super) fn presented(&self, now: Timestamp) -> Presented {
        match &self.first {
            Presented::Verified(peer) if !peer.validity().contains(now) => self.door.judge(Some(&self.chain)),
            // A certificate that was early when the connection began may be good by now.
            Presented::Refused(_) => self.door.judge(Some(&self.chain)),
            other => other.clone(),
        }
    }
}
