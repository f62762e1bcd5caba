//! Reports on their way to the certificate authority: in intervals or when one is full, again after failures.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::{MOST, Report, Reporter};
use crate::source::{Backoff, CaLink, LinkFault};

/// How old an outcome becomes before it is told, where few happen.
const EVERY: Duration = Duration::from_secs(1);

/// `POST` (DESIGN §7).
const EVENTS: &str = "/v1/events";

#[derive(Deserialize)]
struct Answer {
    accepted: u64,
}

impl Reporter {
    /// Sends what is noted to the certificate authority, each second or as soon as a report is full, for as long as it is not
    /// dropped. What cannot be sent waits, as far as there is room, and is tried again after waits that grow to a minute.
    ///
    /// A report whose answer was lost is sent again, so that the CA may have it twice: a decision too many in a list is better
    /// than one that is missing.
    pub async fn send_over(self, link: CaLink) {
        let mut backoff = Backoff::default();
        loop {
            let _ = timeout(EVERY, self.is_full()).await;
            while let Some(report) = self.take() {
                let whole = report.len() == MOST;
                match link.post(EVENTS, "application/json", report.body()).await {
                    Ok(answer) => {
                        backoff.reset();
                        self.sent(&report);
                        said(&report, &answer);
                    }
                    Err(fault) => self.not_sent(report, &fault, &link, &mut backoff).await,
                }
                if !whole {
                    break;
                }
            }
        }
    }

    async fn not_sent(&self, report: Report, fault: &LinkFault, link: &CaLink, backoff: &mut Backoff) {
        tracing::warn!(service = %self.0.service, reason = %fault, "decisions not reported");
        match fault.status() {
            // The same octets will not be read the next time either.
            Some(
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY,
            ) => {
                self.given_up(&report);
            }
            _ => self.failed(report),
        }
        sleep(backoff.wait(link.random(), fault.retry_after())).await;
    }
}

fn said(report: &Report, answer: &[u8]) {
    match serde_json::from_slice::<Answer>(answer) {
        Ok(Answer { accepted }) => tracing::debug!(accepted, entries = report.len(), "decisions reported"),
        Err(fault) => tracing::debug!(%fault, "decisions reported; the answer cannot be read"),
    }
}
