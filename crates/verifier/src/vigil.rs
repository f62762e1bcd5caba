//! The watch over a live connection: whether its peer still stands.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::outcome;
use crate::peer::VerifiedPeer;
use crate::refusal::Refusal;
use crate::report::Reporter;
use crate::svid::SvidVerifier;

/// How long at most between two looks. News of snapshots and the end of the certificate are not waited for; this is for
/// lists of the service's own, for clocks that were set, and for machines that slept.
const LOOK: Duration = Duration::from_secs(30);

/// What becomes of a live connection whose peer no longer stands: revoked, its issuer gone, expired, or trust in its
/// domain too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It is cut. The default: whoever holds a stolen key loses it at once, with whatever was under way.
    #[default]
    Drop,
    /// Requests under way finish, further ones are refused.
    Refuse,
    /// It is said in the log and goes on, as during a first roll-out.
    Report,
}

/// Watches over one live connection; made by [`ServerAcceptor::vigil`](crate::ServerAcceptor::vigil) and
/// [`ClientConnector::vigil`](crate::ClientConnector::vigil).
///
/// ```no_run
/// # use countersign_verifier::*;
/// # use tokio::io::AsyncReadExt;
/// # async fn example(acceptor: ServerAcceptor, socket: tokio::net::TcpStream) -> Result<(), AcceptError> {
/// let (mut stream, peer) = acceptor.accept(socket).await?;
/// let mut vigil = acceptor.vigil(&peer);
/// let mut octets = [0; 1024];
/// loop {
///     tokio::select! {
///         read = stream.read(&mut octets) => println!("{read:?}"),
///         refusal = vigil.lost() => return Err(AcceptError::Refused(refusal)),
///     }
/// }
/// # }
/// ```
pub struct Vigil {
    verifier: SvidVerifier,
    peer: VerifiedPeer,
    changes: watch::Receiver<()>,
    reporter: Option<Reporter>,
}

impl Vigil {
    pub(crate) fn over(verifier: &SvidVerifier, peer: &VerifiedPeer) -> Self {
        let changes = verifier.trust().changes();
        Self { verifier: verifier.clone(), peer: peer.clone(), changes, reporter: None }
    }

    pub(crate) fn reporting(self, reporter: Option<Reporter>) -> Self {
        Self { reporter, ..self }
    }

    #[cfg(feature = "axum")]
    pub(crate) const fn reporter(&self) -> Option<&Reporter> {
        self.reporter.as_ref()
    }

    /// Over whom.
    #[must_use]
    pub const fn peer(&self) -> &VerifiedPeer {
        &self.peer
    }

    /// Waits until the peer no longer stands, and says why. Looks at once, at each change of trust, and when the
    /// certificate ends.
    pub async fn lost(&mut self) -> Refusal {
        loop {
            if let Err(refusal) = self.verifier.still_stands(&self.peer) {
                outcome::lost(&self.peer, &refusal, self.reporter.as_ref());
                return refusal;
            }
            // `not_after` is itself a valid second.
            let rest = self.peer.not_after().since(self.verifier.clock().now()) + Duration::from_secs(1);
            tokio::select! {
                // The sender lives in the store, which the verifier holds.
                _ = self.changes.changed() => {}
                () = sleep(rest.min(LOOK)) => {}
            }
        }
    }
}

impl fmt::Debug for Vigil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vigil").field(&self.peer).finish()
    }
}
