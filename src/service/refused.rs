//! Why a use case did not do what it was asked: one enum for all of them, so that the front desk can answer each.

use countersign_identity::SpiffeId;
use countersign_issuance::{CsrError, Denial, LedgerError, LintError, RegistrationError, SignerError};
use countersign_store::StoreError;

/// A refusal or a fault. Exhaustive on purpose (invariant 7): a new case does not compile until it has an answer.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The request for a certificate.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// Issuance policy.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The book, asked to record an intent.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The book, asked for anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A registration that breaks a rule.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A profile that is not there.
    #[error("there is no profile {found:?}: this CA has {known}")]
    ProfileUnknown {
        /// The name asked for.
        found: String,
        /// Those there are.
        known: String,
    },
    /// A certificate under our own issuers that the book does not know.
    #[error("the certificate with serial {0} is valid, but this CA has no record of it")]
    CertificateUnknown(String),
    /// The certificate was revoked.
    #[error("the certificate of {id} with serial {serial} was revoked")]
    CertificateRevoked {
        /// Whose.
        id: SpiffeId,
        /// Which.
        serial: String,
    },
    /// An older certificate of the lineage came back: two holders.
    #[error(
        "the certificate of {id} was replaced by a newer one: a copy of this machine's key is in use elsewhere, or an old backup was restored"
    )]
    Superseded {
        /// Whose.
        id: SpiffeId,
    },
    /// A SPIFFE ID names several machines.
    #[error("{id} has {count} machines: name one, or say that all are meant")]
    SeveralMachines {
        /// The identity.
        id: SpiffeId,
        /// How many.
        count: usize,
    },
    /// What was named is not of the form it should have.
    #[error("{what} = {found:?}: expected {expected}")]
    Parameter {
        /// The field.
        what: &'static str,
        /// What stands there.
        found: String,
        /// What would be allowed.
        expected: String,
    },
    /// The identity renews too often.
    #[error("{id} asked more often than {limit} times a minute")]
    TooOften {
        /// Who.
        id: SpiffeId,
        /// The limit.
        limit: u32,
        /// Seconds until it may ask again.
        retry_after: u64,
    },
    /// What was named breaks a rule of its form.
    #[error("{what}: {why}")]
    Malformed {
        /// The field.
        what: &'static str,
        /// The rule, with what was found.
        why: String,
    },
    /// The configuration cannot be taken up.
    #[error("{0}")]
    Reload(String),
    /// The new issuer cannot be taken up.
    #[error("{0}")]
    Issuer(String),
    /// A backup cannot be written now.
    #[error("{0}")]
    Backup(String),
    /// No such API key is made.
    #[error("{0}")]
    ApiKey(String),
    /// A key is not registered.
    #[error("the key {id:?}: {why}")]
    TokenKey {
        /// What it would be called.
        id: String,
        /// What speaks against it.
        why: String,
    },
    /// The policy text is wrong.
    #[error("{0}")]
    Policy(String),
    /// Grants of the CA's own permissions were to change over mTLS.
    #[error("{permission} of {id} would change: grants on this CA change only at its unix socket")]
    OwnGrants {
        /// Whose.
        id: String,
        /// Which.
        permission: String,
    },
    /// The policy does not let the caller do this.
    #[error("{id}: {why}")]
    NotAllowed {
        /// Who.
        id: SpiffeId,
        /// What speaks against it.
        why: String,
    },
    /// The judge found a certificate we were about to sign wrong: our own fault.
    #[error("a certificate of our own making broke a rule: {0}")]
    Lint(#[from] LintError),
    /// The pen failed.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A file of the CA's own.
    #[error("{0}")]
    File(String),
}
