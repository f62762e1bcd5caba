//! What others need to verify our machines: the bundle and the roots documents.

use super::{Ca, Refused, pem};

impl Ca {
    /// The roots of the trust domain, PEM.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        pem::encode("CERTIFICATE", self.keys().root().der())
    }

    /// The version of the newest roots document: the bundle's sequence, since both change together.
    #[must_use]
    pub fn roots_version(&self) -> u64 {
        self.roots_documents().map_or(1, |documents| u64::try_from(documents.len()).unwrap_or(u64::MAX))
    }

    /// The roots documents, oldest first, as the root left them; the running CA cannot make one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn roots_documents(&self) -> Result<Vec<serde_json::Value>, Refused> {
        let path = self.state().roots_documents();
        let failed = |why: String| Refused::File(format!("{}: {why}", path.display()));
        let text = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))
    }
}
