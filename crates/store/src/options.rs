//! What a book needs from outside.

use std::sync::Arc;

use crate::Archive;
use crate::observer::{Observer, Unobserved};

/// Fills a slice with octets no one can guess.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// What a book needs from outside.
pub struct Options {
    /// Where salts come from.
    pub entropy: Entropy,
    /// Who is told about groups of commands.
    pub observer: Arc<dyn Observer>,
    /// Where old events go; without an archive all of them stay in the book.
    pub archive: Option<Archive>,
    /// Commands that may wait. 1024 is four full groups: at one flush a millisecond the last waits a few of them.
    pub queue_depth: usize,
}

impl Options {
    /// Options with nobody watching.
    pub fn new(entropy: Entropy) -> Self {
        Self { entropy, observer: Arc::new(Unobserved), archive: None, queue_depth: 1024 }
    }

    /// With someone watching.
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// With an archive for old events.
    pub fn archived(self, archive: Archive) -> Self {
        Self { archive: Some(archive), ..self }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("queue_depth", &self.queue_depth).finish_non_exhaustive()
    }
}
