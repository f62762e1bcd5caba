//! Who gives an order to the book.

use std::fmt;

use countersign_identity::SpiffeId;

/// Who gives an order; every event of an order names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Someone at the unix socket.
    Local {
        /// Their user id, as the kernel tells it.
        uid: u32,
    },
    /// An identity over mTLS.
    Identity(SpiffeId),
    /// The CA by itself.
    House,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid } => write!(f, "uid:{uid}"),
            Self::Identity(id) => write!(f, "{id}"),
            Self::House => f.write_str("house"),
        }
    }
}
