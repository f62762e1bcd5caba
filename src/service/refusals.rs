//! Refused attempts of those we know are written down, within a rate: a stranger's leave a count and a log line, or
//! anyone could fill the book.

use countersign_identity::{Serial, hex};
use countersign_issuance::Source;
use countersign_store::Event;
use sha2::{Digest as _, Sha256};

use super::Ca;

impl Ca {
    /// An invitation of ours was brought and refused with `code`.
    pub async fn note_refused_enrollment(&self, secret: &[u8; 32], code: &'static str, source: Source) {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let Ok(Some(invitation)) = self.book().invitation(&hash) else { return };
        let event = Event::new("enrollment.refused", self.now()).text("spiffe_id", &invitation.spiffe_id);
        self.note(event, &hex::encode(&hash), code, source).await;
    }

    /// A certificate of ours was presented for renewal and refused with `code`.
    pub async fn note_refused_renewal(&self, presented: Serial, code: &'static str, source: Source) {
        let Ok(Some(standing)) = self.book().standing(presented) else { return };
        let id = &standing.issuance.spiffe_id;
        let mut event =
            Event::new("renewal.refused", self.now()).text("spiffe_id", id).text("serial", presented);
        if let Some(machine) = standing.issuance.machine {
            event = event.text("machine", machine);
        }
        self.note(event, &presented.to_string(), code, source).await;
    }

    pub(super) async fn note(&self, event: Event, subject: &str, code: &'static str, source: Source) {
        if !self.rates().refusal_counts(subject) {
            return;
        }
        let event = event.text("code", code);
        let event = match source.addr {
            Some(address) => event.personal("source", address),
            None => event,
        };
        if let Err(error) = self.book().append_events(vec![event]).await {
            tracing::warn!(%error, code, "a refusal could not be written down");
        }
    }
}
