//! Why the book did not do or show what it was asked.

use countersign_identity::{ApiKeyId, MachineId, SpiffeId};
use countersign_issuance::{Difference, LedgerError};
use thiserror::Error;

use crate::machines::MachineStatus;

/// Why a command or a query failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The book refuses the command; it has left nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An earlier write failed. Whether the commands of that group survive is known only after a restart.
    #[error("the book is read-only since a write failed ({why}): free or repair the disk, then restart")]
    ReadOnly {
        /// The first failure.
        why: String,
    },
    /// More commands wait than the book takes.
    #[error("{limit} commands are waiting for the book already, try again in a second")]
    Busy {
        /// The limit that was reached.
        limit: usize,
    },
    /// Another process has the book open.
    #[error(
        "the book in {dir} is in use by another process: stop that one, or give this one its own directory"
    )]
    Locked {
        /// The directory.
        dir: String,
    },
    /// The directory cannot hold a book.
    #[error(
        "the book in {dir} cannot be opened ({why}): it must be a directory this user can write, with space left"
    )]
    CannotOpen {
        /// The directory.
        dir: String,
        /// What the system said.
        why: String,
    },
    /// The files are there and are not what was written.
    #[error(
        "the book in {dir} is damaged ({why}): copy the directory as it is, then restore the newest backup; docs/OPERATIONS.md says how"
    )]
    Damaged {
        /// The directory.
        dir: String,
        /// What is damaged.
        why: String,
    },
    /// The disk refused.
    #[error("cannot {doing}: {why}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        why: String,
    },
    /// A row cannot be read: damaged, or written by a newer version.
    #[error(
        "the book holds a row that cannot be read ({what}): restore a backup, or run the version that wrote it"
    )]
    Corrupt {
        /// The row and what is wrong with it.
        what: String,
    },
    /// A value is longer than a row can be.
    #[error("{found} octets are more than the {limit} the book holds in one row")]
    TooLarge {
        /// Its length.
        found: usize,
        /// The longest that fits.
        limit: usize,
    },
    /// The file is no backup, or a damaged one.
    #[error("{file} is not a whole backup of a book: {why}")]
    BadBackup {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the archive is missing between others.
    #[error(
        "events {first} to {last} are missing: {file} is not there, though older ones are, or it leads nowhere; put it back from where it was moved, or from a backup; until then `--after {last}` shows later events"
    )]
    ArchiveMissing {
        /// The file.
        file: String,
        /// The first event in it.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A file of the archive is not what was written.
    #[error("{file} is damaged ({why}): {remedy}")]
    ArchiveDamaged {
        /// The file.
        file: String,
        /// What is damaged.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The system does not let the archive be read.
    #[error("{file} cannot be read: {why}")]
    ArchiveUnreadable {
        /// The file or directory.
        file: String,
        /// What the system said.
        why: String,
    },
    /// Events could not be handed on to the archive; they stay in the book.
    #[error(
        "old events cannot leave the book for {file} ({why}): they stay in it and it grows until that is put right"
    )]
    ArchiveUnwritten {
        /// The file or directory.
        file: String,
        /// What the system said.
        why: String,
    },
    /// The book was opened without its archive.
    #[error("events 1 to {last} are in an archive that this book was opened without")]
    NoArchive {
        /// The last event that was handed on.
        last: u64,
    },
    /// Another backup is being written.
    #[error("a backup is being written already, wait for it")]
    BackupRunning,
    /// The book is shutting down.
    #[error("the book is closed")]
    Closed,
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::ReadOnly { why } => LedgerError::ReadOnly { why },
            other => LedgerError::Unavailable { why: other.to_string() },
        }
    }
}

/// Why the book refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No such registration.
    #[error("{id} is not registered, create it with an invitation or an import")]
    RegistrationUnknown {
        /// The identity asked for.
        id: SpiffeId,
    },
    /// The registration exists and says something else.
    #[error("{id} is registered otherwise: {}", list(.differences))]
    RegistrationDiffers {
        /// The identity.
        id: SpiffeId,
        /// What stands there (ours) against what was asked (theirs).
        differences: Vec<Difference>,
    },
    /// Another identity has this name.
    #[error("the name {name} belongs to {by}, which is shared only if both registrations say so")]
    NameTaken {
        /// The DNS name or IP address.
        name: String,
        /// Who has it.
        by: SpiffeId,
    },
    /// Several uses need a registration for many machines.
    #[error("an invitation with {uses} uses needs a registration for many machines, {id} has one")]
    UsesNeedMany {
        /// The identity.
        id: SpiffeId,
        /// The uses asked for.
        uses: u32,
    },
    /// An invitation with this hash exists.
    #[error("this invitation exists already, make a new secret")]
    InvitationExists,
    /// No such machine.
    #[error("no machine {id} is known")]
    MachineUnknown {
        /// The id asked for.
        id: MachineId,
    },
    /// No machine of this identity.
    #[error("no machine of {id} is known")]
    NoMachineOf {
        /// The identity asked for.
        id: SpiffeId,
    },
    /// The machine's status does not allow it.
    #[error("machine {id} is {found}, this needs one that is {expected}")]
    WrongStatus {
        /// The machine.
        id: MachineId,
        /// Its status.
        found: MachineStatus,
        /// What it would have to be.
        expected: &'static str,
    },
    /// No live certificate is meant.
    #[error("no live certificate has the {what}")]
    NothingToRevoke {
        /// What was named, in words.
        what: String,
    },
    /// No such API key.
    #[error("no API key {id} is known")]
    ApiKeyUnknown {
        /// The id asked for.
        id: ApiKeyId,
    },
    /// The API key is revoked or over.
    #[error("the API key {id} has ended, make a new one with `countersign keys create`")]
    ApiKeyEnded {
        /// The key.
        id: ApiKeyId,
    },
    /// A roots document must follow the newest one.
    #[error("roots document {found} does not follow version {newest}")]
    RootsOutOfOrder {
        /// The version offered.
        found: u64,
        /// The newest version in the book.
        newest: u64,
    },
}

impl Refusal {
    /// The stable problem code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RegistrationUnknown { .. } => "registration_unknown",
            Self::RegistrationDiffers { .. } => "registration_differs",
            Self::NameTaken { .. } => "name_taken",
            Self::UsesNeedMany { .. } => "uses_need_many",
            Self::InvitationExists => "invitation_exists",
            Self::MachineUnknown { .. } | Self::NoMachineOf { .. } => "machine_unknown",
            Self::WrongStatus { .. } => "machine_status",
            Self::NothingToRevoke { .. } => "nothing_to_revoke",
            Self::ApiKeyUnknown { .. } => "api_key_unknown",
            Self::ApiKeyEnded { .. } => "api_key_ended",
            Self::RootsOutOfOrder { .. } => "roots_out_of_order",
        }
    }
}

fn list(differences: &[Difference]) -> String {
    let words: Vec<String> =
        differences.iter().map(|d| format!("{} is {}, not {}", d.field, d.ours, d.theirs)).collect();
    words.join("; ")
}
