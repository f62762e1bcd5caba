//! How the CA is: for `check`, readiness and metrics.

use countersign_identity::Timestamp;
use countersign_store::{Counts, Health, StoredEvent};

use super::{Ca, Refused};

/// Whether requests can be answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// They cannot, and why.
    Not(String),
}

/// What `check` shows of a running CA.
#[derive(Clone, Debug)]
pub struct Status {
    /// The book.
    pub health: Health,
    /// What is in it.
    pub counts: Counts,
    /// Why old events do not leave the book, if they do not.
    pub archive_failing: Option<String>,
    /// When the signing issuer ends.
    pub issuer_end: Timestamp,
    /// When the newest trust signer ends.
    pub trust_signer_end: Timestamp,
}

impl Ca {
    /// Whether the book takes writes and the issuer stands.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if let Some(why) = self.book().health().read_only {
            return Readiness::Not(format!("the book is read-only: {why}"));
        }
        let end = self.keys().issuer().validity().not_after();
        if end <= self.now() {
            return Readiness::Not(format!("the issuer ended on {end}: countersign issuer rotate"));
        }
        if !self.server_certificate_is_valid() {
            return Readiness::Not(
                "the CA's own server certificate is not valid now; a new one comes at once".into(),
            );
        }
        Readiness::Ready
    }

    /// Everything at a glance.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn status(&self) -> Result<Status, Refused> {
        let keys = self.keys();
        Ok(Status {
            health: self.book().health(),
            counts: self.book().counts()?,
            archive_failing: self.handing_on.failing(),
            issuer_end: keys.issuer().validity().not_after(),
            trust_signer_end: keys.trust_signer().certificate().validity.not_after(),
        })
    }

    /// Events behind number `after`. Old ones are read from the archive, which blocks.
    ///
    /// # Errors
    /// When the book cannot be read, or a file of the archive; the error names it.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, Refused> {
        Ok(self.book().events(after, limit)?)
    }

    /// Brings the gauges up to date; called when they are read.
    pub fn refresh_gauges(&self) {
        let metrics = self.metrics();
        let left = self.keys().issuer().validity().not_after().since(self.now());
        metrics.issuer_left.set(left.as_secs_f64());
        let server =
            self.server_certificate_end().map_or(std::time::Duration::ZERO, |end| end.since(self.now()));
        metrics.server_left.set(server.as_secs_f64());
        metrics.store_read_only.set(i64::from(self.book().health().read_only.is_some()));
        metrics.archive_failing.set(i64::from(self.handing_on.failing().is_some()));
        if let Some(trust) = self.trust() {
            metrics.trust_sequence.set(i64::try_from(trust.sequence()).unwrap_or(i64::MAX));
            metrics.trust_age.set(self.now().since(trust.issued()).as_secs_f64());
        }
        if let Ok(counts) = self.book().counts() {
            metrics.machines.set(i64::try_from(counts.active).unwrap_or(i64::MAX));
            metrics.certificates.set(i64::try_from(counts.issuances).unwrap_or(i64::MAX));
            metrics.events.set(i64::try_from(counts.events).unwrap_or(i64::MAX));
            metrics.events_archived.set(i64::try_from(counts.archived).unwrap_or(i64::MAX));
        }
    }
}
