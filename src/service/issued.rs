//! Certificates issued and not yet expired.

use countersign_identity::Serial;
use countersign_store::{Cursor, Issuance, IssuanceFilter, IssuedCertificate, Listing};

use super::{Ca, Refused};

impl Ca {
    /// A page of issuances.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn issuances(
        &self,
        filter: &IssuanceFilter,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listing<Issuance>, Refused> {
        Ok(self.book().issuances(filter, after, limit)?)
    }

    /// One issuance with its certificate.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn issuance(&self, serial: Serial) -> Result<Option<IssuedCertificate>, Refused> {
        Ok(self.book().issuance(serial)?)
    }
}
