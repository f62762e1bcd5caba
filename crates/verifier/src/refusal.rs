//! Why a peer was turned away, precisely enough to answer it and to find the fault.

use std::time::Duration;

use countersign_identity::{SpiffeId, SpiffeIdError, Timestamp, TrustDomain, duration};
use rustls::CertificateError;

use crate::limit::LimitFault;
use crate::peer::ExpiredPeer;
use crate::profile::ProfileRule;

/// Why a peer was refused.
///
/// Every case has a stable [`code`](Refusal::code) for machines and a sentence for people. The enum is exhaustive on
/// purpose: who answers refusals must think of each.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// No certificate was presented.
    #[error("no certificate was presented: connect with a certificate of this trust domain")]
    NoCertificate,
    /// The bytes are not a certificate this library reads.
    #[error("the certificate cannot be read: {what}")]
    Malformed {
        /// What is wrong with the bytes.
        what: String,
    },
    /// The certificate names nobody, or somebody in no valid form.
    #[error("the certificate is not an X.509 SVID: {0}")]
    NotSpiffe(NotSpiffe),
    /// No bundle is held for the trust domain of the certificate.
    #[error("the certificate is of trust domain {trust_domain}, for which no trust bundle is held")]
    UnknownTrustDomain {
        /// The trust domain the certificate names.
        trust_domain: TrustDomain,
    },
    /// No root of the trust domain signed it.
    #[error("the certificate of {spiffe_id} was not issued by any root of its trust domain")]
    UnknownIssuer {
        /// The name it claims, unproven.
        spiffe_id: SpiffeId,
    },
    /// The path from the certificate to a root has a fault.
    #[error("the certificate of {spiffe_id} has no valid path to a root of its trust domain: {fault}")]
    Chain {
        /// The name it claims, unproven.
        spiffe_id: SpiffeId,
        /// What is wrong with the path.
        fault: ChainFault,
    },
    /// The certificate breaks a rule for X.509 SVID leaves.
    #[error("the certificate may not authenticate anybody: {rule}")]
    LeafRule {
        /// The broken rule.
        rule: LeafRule,
    },
    /// The certificate was good and has ended.
    #[error("the certificate of {} expired {} ago, at {}", peer.spiffe_id(), duration::format(*by), peer.validity().not_after())]
    Expired {
        /// By how much.
        by: Duration,
        /// Who it was, everything but the time proven.
        peer: ExpiredPeer,
    },
    /// The certificate is good and has not begun.
    #[error("the certificate of {spiffe_id} is not valid for another {}, until {not_before}: compare the clocks", duration::format(*by))]
    NotYetValid {
        /// By how much.
        by: Duration,
        /// When it begins.
        not_before: Timestamp,
        /// Whose it is, proven but for the time.
        spiffe_id: SpiffeId,
    },
    /// The certificate was revoked.
    #[error("the certificate of {spiffe_id} with serial {serial} was revoked")]
    Revoked {
        /// Whose it was.
        spiffe_id: SpiffeId,
        /// Its serial, in hex.
        serial: String,
    },
    /// What is known of revocations is too old to let anybody in.
    #[error(
        "trust in {trust_domain} was last heard of {} ago, at {issued}, which is too long to let anybody in: is the certificate authority reachable?",
        duration::format(*age)
    )]
    Stale {
        /// Whose.
        trust_domain: TrustDomain,
        /// When the last snapshot was issued.
        issued: Timestamp,
        /// How long ago that is.
        age: Duration,
    },
    /// A good certificate of somebody the peer rule does not admit.
    #[error("{spiffe_id} is not admitted here: {rule}")]
    NotAllowed {
        /// Who asked.
        spiffe_id: SpiffeId,
        /// The rule in words.
        rule: String,
    },
    /// A good certificate that goes past a limit of this service.
    #[error("the certificate of {spiffe_id} goes past a limit: {fault}")]
    Limit {
        /// Whose it is, proven.
        spiffe_id: SpiffeId,
        /// Which limit.
        fault: LimitFault,
    },
    /// The other side has no hybrid post-quantum key exchange, and one is required.
    #[error("the handshake found no hybrid post-quantum key exchange in common, and one is required")]
    NotHybrid,
    /// The server is not the pinned certificate authority.
    #[error(
        "the server did not show the pinned root certificate (SHA-256 {expected}): it is another certificate authority, or somebody in between"
    )]
    NotPinned {
        /// The pin, in hex; several one after the other.
        expected: String,
        /// SHA-256 of the last certificate it showed above its own, which should be a root; none if there was none.
        found: Option<[u8; 32]>,
    },
}

/// Why a certificate is no SVID at all.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotSpiffe {
    /// No URI among the subject alternative names.
    #[error("it has no URI name, expected exactly one SPIFFE ID")]
    NoUri,
    /// More than one URI (SPIFFE X509-SVID §5.2 demands refusal).
    #[error("it has {found} URI names, expected exactly one")]
    SeveralUris {
        /// How many.
        found: usize,
    },
    /// The URI is no SPIFFE ID.
    #[error("its URI name is not a SPIFFE ID: {0}")]
    NotAnId(SpiffeIdError),
    /// The ID has no path, so it names a signing authority.
    #[error("its SPIFFE ID {0} has no path: that names a trust domain, not a workload")]
    NoPath(SpiffeId),
}

/// The rules of SPIFFE X509-SVID §4 and §5.2, and of RFC 5280 §4, a leaf can break.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LeafRule {
    /// A signing certificate must not authenticate.
    #[error("it is a signing certificate (basicConstraints says CA:TRUE)")]
    IsCa,
    /// keyUsage must be there.
    #[error("it has no keyUsage extension")]
    NoKeyUsage,
    /// keyUsage must be critical.
    #[error("its keyUsage extension is not critical")]
    KeyUsageNotCritical,
    /// digitalSignature must be set.
    #[error("its keyUsage lacks digitalSignature")]
    NoDigitalSignature,
    /// keyCertSign must not be set.
    #[error("its keyUsage allows keyCertSign")]
    KeyCertSign,
    /// cRLSign must not be set.
    #[error("its keyUsage allows cRLSign")]
    CrlSign,
    /// An extendedKeyUsage must name both sides of TLS.
    #[error("its extendedKeyUsage does not hold both serverAuth and clientAuth")]
    ExtendedKeyUsage,
    /// An extension that has its place in certificates of authorities only (RFC 5280 §4.2.1.10, §4.2.1.11, §4.2.1.14).
    #[error("it has a {extension} extension, which belongs into certificates of authorities")]
    ForAuthorities {
        /// Which.
        extension: &'static str,
    },
    /// A rule for every certificate.
    #[error("{0}")]
    Profile(ProfileRule),
}

/// What can be wrong between leaf and root.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainFault {
    /// More certificates than any honest chain has.
    #[error("{found} certificates were presented, at most {limit} are read")]
    TooLong {
        /// How many came.
        found: usize,
        /// How many are read.
        limit: usize,
    },
    /// A signature does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// A signing certificate or root is out of its time.
    #[error("a signing certificate expired {} ago", duration::format(*by))]
    Expired {
        /// By how much.
        by: Duration,
    },
    /// A signing certificate's time has not come.
    #[error("a signing certificate is not valid for another {}", duration::format(*by))]
    NotYetValid {
        /// By how much.
        by: Duration,
    },
    /// A certificate on the path may not sign certificates.
    #[error("a certificate on the path may not sign certificates: {0}")]
    NotAnAuthority(AuthorityRule),
    /// More signing certificates between leaf and root than this verifier allows; self-issued ones do not count.
    #[error("{found} signing certificates stand between it and the root, at most {limit} are allowed")]
    TooDeep {
        /// How many stand there.
        found: usize,
        /// How many may.
        limit: usize,
    },
    /// A signing certificate was revoked.
    #[error("a signing certificate on the path, serial {serial}, was revoked")]
    Revoked {
        /// Its serial, in hex.
        serial: String,
    },
    /// A revocation list is required, and none that is current speaks for a certificate of the path.
    #[error(
        "no current revocation list speaks for the certificate with serial {serial}, and one is required"
    )]
    RevocationUnknown {
        /// Its serial, in hex.
        serial: String,
    },
    /// A root signed its issuer, and the trust snapshot does not list it: so issuers are revoked.
    #[error("its issuer is not one that the trust snapshot lists")]
    IssuerNotListed,
    /// Anything else RFC 5280 §6 forbids.
    #[error("{0}")]
    Other(String),
}

/// The rules a signing certificate can break.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthorityRule {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// basicConstraints must say CA:TRUE.
    #[error("its basicConstraints lack CA:TRUE")]
    NotCa,
    /// basicConstraints must be critical (RFC 5280 §4.2.1.9).
    #[error("its basicConstraints extension is not critical")]
    NotCritical,
    /// It must have a subject (RFC 5280 §4.1.2.6).
    #[error("it has no subject")]
    NoName,
    /// It must name its key (RFC 5280 §4.2.1.2).
    #[error("it lacks a subjectKeyIdentifier")]
    NoSubjectKey,
    /// A rule for every certificate.
    #[error("{0}")]
    Profile(ProfileRule),
    /// keyUsage must be there and hold keyCertSign.
    #[error("its keyUsage lacks keyCertSign")]
    NoKeyCertSign,
    /// Its own SPIFFE ID, if any, must be its trust domain's, without a path.
    #[error("its own SPIFFE ID is {found}, expected {expected} or none")]
    OwnId {
        /// The URI it carries.
        found: String,
        /// The ID of the trust domain.
        expected: String,
    },
}

impl Refusal {
    /// A stable word for this refusal, as problem documents, logs and metrics carry it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "certificate_required",
            Self::Malformed { .. } => "certificate_malformed",
            Self::NotSpiffe(_) | Self::LeafRule { .. } => "certificate_not_svid",
            Self::UnknownTrustDomain { .. } | Self::UnknownIssuer { .. } => "certificate_foreign",
            Self::Chain { .. } => "certificate_chain_invalid",
            Self::Expired { .. } => "certificate_expired",
            Self::NotYetValid { .. } => "certificate_not_yet_valid",
            Self::Revoked { .. } => "certificate_revoked",
            Self::Stale { .. } => "trust_stale",
            Self::NotAllowed { .. } => "peer_not_allowed",
            Self::Limit { fault: LimitFault::Lifetime { .. }, .. } => "certificate_lifetime",
            Self::Limit { fault: LimitFault::KeyKind { .. }, .. } => "certificate_key_kind",
            Self::NotHybrid => "key_exchange_not_hybrid",
            Self::NotPinned { .. } => "server_not_pinned",
        }
    }

    /// The TLS error that sends the fitting alert (RFC 8446 §6.2).
    pub(crate) fn to_tls(&self) -> rustls::Error {
        match self {
            Self::NoCertificate => rustls::Error::NoCertificatesPresented,
            Self::Malformed { .. } => CertificateError::BadEncoding.into(),
            Self::UnknownTrustDomain { .. } | Self::UnknownIssuer { .. } | Self::NotPinned { .. } => {
                CertificateError::UnknownIssuer.into()
            }
            Self::Chain { fault: ChainFault::Signature, .. } => CertificateError::BadSignature.into(),
            Self::Expired { .. } => CertificateError::Expired.into(),
            Self::NotYetValid { .. } => CertificateError::NotValidYet.into(),
            Self::Revoked { .. } | Self::Chain { fault: ChainFault::Revoked { .. }, .. } => {
                CertificateError::Revoked.into()
            }
            Self::Chain { fault: ChainFault::RevocationUnknown { .. }, .. } => {
                CertificateError::UnknownRevocationStatus.into()
            }
            Self::LeafRule { .. } => CertificateError::InvalidPurpose.into(),
            Self::Stale { .. } => CertificateError::UnknownRevocationStatus.into(),
            Self::NotHybrid => rustls::PeerIncompatible::NoKxGroupsInCommon.into(),
            Self::NotSpiffe(_) | Self::Chain { .. } | Self::NotAllowed { .. } | Self::Limit { .. } => {
                CertificateError::ApplicationVerificationFailure.into()
            }
        }
    }
}
