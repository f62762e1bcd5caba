//! How private keys lie on the disk of a directory: in the clear for services that read them, or sealed.

#[cfg(feature = "workload-api")]
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::AgentError;
#[cfg(feature = "workload-api")]
use crate::seal::Seal;

/// The credential that may hold the secret for sealed keys (systemd.exec(5), Credentials).
pub(crate) const CREDENTIAL: &str = "countersign-agent.unlock";
/// How the file of a sealed key begins.
const SEALED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Whether the content of a file is a sealed key, or means to be one.
pub(crate) fn is_sealed(content: &[u8]) -> bool {
    content.starts_with(SEALED)
}

/// How the keys of one directory lie there.
#[derive(Clone, Debug, Default)]
pub(crate) enum AtRest {
    /// As every TLS library reads them: the machine's own, which services take from its files.
    #[default]
    Clear,
    /// Under a secret of the machine: a workload's, which leaves the agent by its socket alone.
    #[cfg(feature = "workload-api")]
    Sealed(Arc<Seal>),
}

impl AtRest {
    /// The content of the file for a key in PEM.
    pub(crate) fn close(&self, key: &Zeroizing<String>) -> Result<Zeroizing<String>, AgentError> {
        match self {
            Self::Clear => Ok(key.clone()),
            #[cfg(feature = "workload-api")]
            Self::Sealed(seal) => seal.close(key).map(Zeroizing::new),
        }
    }

    /// The key in PEM, by the content of its file; `None` where it does not open. One that an older agent left in the
    /// clear is taken as it is.
    pub(crate) fn open(&self, content: &[u8]) -> Option<Zeroizing<String>> {
        let text = str::from_utf8(content).ok()?;
        match self {
            #[cfg(feature = "workload-api")]
            Self::Sealed(seal) if is_sealed(content) => seal.open(text),
            _ => Some(Zeroizing::new(text.to_owned())),
        }
    }

    /// Whether programs read the files, and so want key and chain in one, too.
    pub(crate) const fn is_for_programs(&self) -> bool {
        matches!(self, Self::Clear)
    }
}
