//! The live set: certificates an authority knows as its own without looking for a path.

use std::fmt::Debug;

use countersign_identity::{KeyHash, Serial};

/// What an authority remembers of the certificates it signed (DESIGN §3, Front door).
///
/// Whoever recorded the exact bytes it signed needs no signature check to know them again: the same serial with the same
/// hash is the same certificate, name, key and all. That its presenter holds the key, the handshake has shown. A
/// certificate the set does not know goes the long way, by path.
pub trait LiveSet: Send + Sync + Debug {
    /// SHA-256 of the key that signed exactly this to-be-signed part under this serial, if it was signed here and its
    /// issuer is still good.
    fn signed_here(&self, serial: Serial, tbs_sha256: &[u8; 32]) -> Option<KeyHash>;
}
