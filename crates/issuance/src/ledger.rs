//! The door to the book: what is about to be signed is made durable through it

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::{KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp, Validity};
use thiserror::Error;

use crate::dns_name::DnsName;
use crate::signer::BoxFuture;

/// The book, as the corridor sees it.
pub trait Ledger: Send + Sync {
    /// Makes the intent durable, or refuses it, in **one atomic step**: the serial is new, the key unused, the act
    /// (redeeming an invitation, a step of the lineage) permitted *now* and carried out, the event appended.
    ///
    /// `Ok` means that all of it survives a power cut; nothing is signed before.
    fn record(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Keeps the signed certificate until it expires. It may become durable later, with other writes: should it be
    /// lost, its recorded intent still counts as a live certificate and the machine is given a new one on retry.
    fn keep(&self, serial: Serial, certificate: Arc<[u8]>);
}

/// What is about to be signed. Only [`Prepared::record`](crate::Prepared::record) makes one, so whatever a ledger is
/// asked to record has been approved and judged.
#[derive(Debug, Clone)]
pub struct Intent {
    pub(crate) serial: Serial,
    pub(crate) tbs: Arc<[u8]>,
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) lineage: Lineage,
    pub(crate) key_hash: KeyHash,
    pub(crate) validity: Validity,
    pub(crate) profile: Arc<str>,
    pub(crate) issuer: KeyHash,
    pub(crate) time: Timestamp,
    pub(crate) dns: Arc<[DnsName]>,
    pub(crate) ip: Arc<[IpAddr]>,
    pub(crate) act: Act,
}

impl Intent {
    /// The certificate's serial number.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// The exact bytes that will be signed (TBSCertificate, DER).
    #[must_use]
    pub const fn tbs(&self) -> &Arc<[u8]> {
        &self.tbs
    }

    /// The identity the certificate will speak for.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The lineage named in the certificate's subject.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// SHA-256 of the certified key's SubjectPublicKeyInfo.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// When the certificate will be valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The name of the profile it was approved under; [`OWN_PROFILE`](crate::OWN_PROFILE) for the CA's own.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// SHA-256 of the issuer's SubjectPublicKeyInfo.
    #[must_use]
    pub const fn issuer(&self) -> KeyHash {
        self.issuer
    }

    /// When it was approved.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// The DNS names in the certificate, as the registration gave them when it was approved.
    #[must_use]
    pub fn dns(&self) -> &[DnsName] {
        &self.dns
    }

    /// The addresses in the certificate, likewise.
    #[must_use]
    pub fn ip(&self) -> &[IpAddr] {
        &self.ip
    }

    /// What the caller does by it.
    #[must_use]
    pub const fn act(&self) -> &Act {
        &self.act
    }
}

/// What a caller does by having a certificate issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Redeems an invitation.
    Enroll {
        /// SHA-256 of the invitation's secret.
        invitation: [u8; 32],
        /// The id the machine gets if this is its first redemption.
        machine: MachineId,
        /// Where the request came from.
        source: Source,
    },
    /// Takes the next step of a lineage.
    Renew {
        /// The machine that renews.
        machine: MachineId,
        /// The serial of the certificate it presented.
        presented: Serial,
        /// Where the request came from.
        source: Source,
    },
    /// Comes back after its certificate has expired.
    Recover {
        /// The machine that comes back.
        machine: MachineId,
        /// The key of the expired certificate, of which the machine has given proof.
        presented: KeyHash,
        /// How long after its end that certificate still speaks for the machine, as its profile says.
        allowance: Duration,
        /// Whether the profile wants an operator's approval.
        approval: bool,
        /// Where the request came from.
        source: Source,
    },
    /// A machine fetches a certificate for one of its workloads.
    Workload {
        /// The machine.
        parent: MachineId,
        /// The id the workload gets if this is its first certificate there.
        workload: MachineId,
        /// Where the request came from.
        source: Source,
    },
    /// The CA certifies its own server key.
    Own,
}

/// Where a request came from, for the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Source {
    /// The caller's address; none over the unix socket.
    pub addr: Option<IpAddr>,
}

/// Why an intent is not in the book.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// The book refuses the act.
    #[error(transparent)]
    Refused(#[from] LedgerRefusal),
    /// The book writes nothing any more.
    #[error("the book is read-only: {why}")]
    ReadOnly {
        /// What happened to it.
        why: String,
    },
    /// The book cannot be asked now.
    #[error("the book cannot be reached: {why}")]
    Unavailable {
        /// What happened to it.
        why: String,
    },
}

/// Why the book refuses an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum LedgerRefusal {
    /// No such invitation.
    #[error("this invitation is not known here, ask for a new one")]
    InvitationUnknown,
    /// The invitation's time is over.
    #[error("this invitation has expired, ask for a new one")]
    InvitationExpired,
    /// All uses are bound to other keys.
    #[error("this invitation has been used by another key, ask for a new one")]
    InvitationUsed,
    /// An unexpired certificate has this key.
    #[error("this key is in an unexpired certificate already, generate a new one for each renewal")]
    KeyInUse,
    /// Another renewal of the same machine was recorded first.
    #[error("another renewal of this machine went first, try again with the newest certificate")]
    LineageMoved,
    /// The presented certificate was replaced by a later one of its lineage.
    #[error("the presented certificate is not the newest of its lineage, enroll again with a new invitation")]
    Superseded,
    /// No such machine.
    #[error("this machine is not known here, enroll it with an invitation")]
    MachineUnknown,
    /// The machine waits for an operator.
    #[error("this machine is held until an operator approves it")]
    MachineHeld,
    /// The machine is suspended.
    #[error("this machine is suspended until an operator resumes it")]
    MachineSuspended,
    /// The machine was removed.
    #[error("this machine was removed, enroll it again with an invitation")]
    MachineRemoved,
    /// A newer enrollment replaced the machine.
    #[error("another enrollment has replaced this machine")]
    MachineReplaced,
    /// The presented certificate is revoked.
    #[error("the presented certificate is revoked, enroll again with a new invitation")]
    CertificateRevoked,
    /// The registration no longer exists or has ended.
    #[error("the registration of this identity no longer stands")]
    RegistrationGone,
    /// The registration changed between the approval and this moment.
    #[error("the registration of this identity has just changed, ask again")]
    RegistrationChanged,
    /// The key was revoked.
    #[error("this key was revoked, generate a new one")]
    KeyRevoked,
    /// More pending certificates were superseded in this window than a machine may.
    #[error("too many certificates were requested and never presented, present the newest one first")]
    TooManyPending,
    /// The presented certificate has not expired.
    #[error("the presented certificate has not expired, renew it")]
    NotExpired,
    /// The presented certificate expired longer ago than the profile lets a machine recover.
    #[error("the presented certificate expired too long ago, enroll again with a new invitation")]
    RecoveryOver,
    /// The machine came back by itself before.
    #[error("this machine has come back by itself before, an operator must allow it again")]
    RecoveryUsed,
    /// Two holders of the lineage were seen, or a certificate of it was revoked.
    #[error(
        "this machine may not come back by itself: a second holder was seen or its certificate was revoked"
    )]
    RecoveryBarred,
    /// The registration does not name the caller as its parent.
    #[error("this identity is not one of the caller's workloads")]
    NotItsWorkload,
    /// A workload came to a door of machines.
    #[error("a workload's certificate is renewed by its machine, not by itself")]
    IsWorkload,
    /// The serial number exists.
    #[error("this serial number is taken, ask again")]
    SerialTaken,
    /// The act is not one this certificate is issued by: the CA's own is made by [`Act::Own`] and no other.
    #[error("this certificate cannot be issued by this act")]
    ActMismatch,
}

impl LedgerRefusal {
    /// The stable problem code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            LedgerRefusal::InvitationUnknown => "invitation_unknown",
            LedgerRefusal::InvitationExpired => "invitation_expired",
            LedgerRefusal::InvitationUsed => "invitation_used",
            LedgerRefusal::KeyInUse => "key_in_use",
            LedgerRefusal::LineageMoved => "lineage_moved",
            LedgerRefusal::Superseded => "certificate_superseded",
            LedgerRefusal::MachineUnknown => "machine_unknown",
            LedgerRefusal::MachineHeld => "machine_held",
            LedgerRefusal::MachineSuspended => "machine_suspended",
            LedgerRefusal::MachineRemoved => "machine_removed",
            LedgerRefusal::MachineReplaced => "machine_replaced",
            LedgerRefusal::CertificateRevoked => "certificate_revoked",
            LedgerRefusal::RegistrationGone => "registration_gone",
            LedgerRefusal::RegistrationChanged => "registration_changed",
            LedgerRefusal::KeyRevoked => "key_revoked",
            LedgerRefusal::TooManyPending => "too_many_pending",
            LedgerRefusal::NotExpired => "certificate_unexpired",
            LedgerRefusal::RecoveryOver => "recovery_over",
            LedgerRefusal::RecoveryUsed => "recovery_used",
            LedgerRefusal::RecoveryBarred => "recovery_barred",
            LedgerRefusal::NotItsWorkload => "workload_foreign",
            LedgerRefusal::IsWorkload => "workload_certificate",
            // Neither is the caller's doing: 18 random octets met twice, or a service passed the wrong act.
            LedgerRefusal::SerialTaken | LedgerRefusal::ActMismatch => "internal",
        }
    }
}
