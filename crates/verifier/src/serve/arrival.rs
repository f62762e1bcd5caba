//! A connection that just finished its handshake, as whoever admits it sees it.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;

use crate::peer::VerifiedPeer;
use crate::vigil::{OnLoss, Vigil};

/// A finished handshake.
#[derive(Debug)]
pub struct Arrival<'a> {
    source: SocketAddr,
    tls: &'a ServerConnection,
    verified: Option<VerifiedPeer>,
}

/// What is known of a connection besides its peer; in every request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The peer's socket address.
    pub source: SocketAddr,
    /// The negotiated key exchange by its registered name, such as `X25519MLKEM768`.
    pub key_exchange: &'static str,
    /// Whether the connection speaks HTTP/2.
    pub http2: bool,
}

/// Leave for a connection to send requests.
#[derive(Debug)]
pub struct Admission<C> {
    pub(super) context: C,
    pub(super) at_most: Option<Duration>,
    pub(super) watch: Option<(Vigil, OnLoss)>,
}

impl<'a> Arrival<'a> {
    pub(super) const fn new(
        source: SocketAddr,
        tls: &'a ServerConnection,
        verified: Option<VerifiedPeer>,
    ) -> Self {
        Self { source, tls, verified }
    }

    /// The certificates the client presented, leaf first.
    #[must_use]
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.tls.peer_certificates()
    }

    /// The peer, where the TLS settings are those of a [`ServerAcceptor`](crate::ServerAcceptor).
    #[must_use]
    pub const fn verified(&self) -> Option<&VerifiedPeer> {
        self.verified.as_ref()
    }

    /// Address and protocols.
    #[must_use]
    pub fn wire(&self) -> Wire {
        let group = self.tls.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
        Wire {
            source: self.source,
            key_exchange: group.unwrap_or("unknown"),
            http2: self.tls.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl<C> Admission<C> {
    /// Lets the connection in; `context` is put in the extensions of each of its requests.
    #[must_use]
    pub const fn new(context: C) -> Self {
        Self { context, at_most: None, watch: None }
    }

    /// The same with another context.
    pub(super) fn map<D>(self, change: impl FnOnce(C) -> D) -> Admission<D> {
        let Self { context, at_most, watch } = self;
        Admission { context: change(context), at_most, watch }
    }

    /// Ends the connection after this time, if its age limit does not do so before.
    #[must_use]
    pub fn at_most(self, lifetime: Duration) -> Self {
        Self { at_most: Some(lifetime), ..self }
    }

    /// Watches over the peer while the connection lives.
    #[must_use]
    pub fn watched(self, vigil: Vigil, on_loss: OnLoss) -> Self {
        Self { watch: Some((vigil, on_loss)), ..self }
    }
}
