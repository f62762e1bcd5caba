//! Revocation as the verifier asks for it.

use crate::peer::PeerFacts;

/// Answers whether a certificate, good in everything else, was revoked.
///
/// Asked once per handshake, after path and leaf rules hold; the answer must come from memory.
pub trait Revocation: Send + Sync + std::fmt::Debug {
    /// Whether the holder of this certificate must be refused.
    fn is_revoked(&self, facts: &PeerFacts) -> bool;
}
