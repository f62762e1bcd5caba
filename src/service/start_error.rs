//! Why a CA does not start.

use std::path::PathBuf;

use countersign_store::StoreError;

use super::{KeySetError, ProfilesError, RootActError};

/// Why a CA does not start, with the file or address it is about.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Keys and certificates.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// The unlock secret.
    #[error(transparent)]
    Unlock(#[from] RootActError),
    /// Profiles.
    #[error(transparent)]
    Profiles(#[from] ProfilesError),
    /// The book.
    #[error(transparent)]
    Book(#[from] StoreError),
    /// The book is not where it was.
    #[error(
        "the book {0} is missing: put it back from a backup; only if it is to begin anew, make an empty directory there"
    )]
    BookMissing(PathBuf),
    /// The URL's host.
    #[error("url = {url:?}: {why}")]
    Url {
        /// What stands there.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}
