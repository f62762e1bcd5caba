//! Problem documents (RFC 9457) and their stable codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The body of every refusal, `application/problem+json`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// `about:blank`: the code says more than a link could.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The HTTP status again.
    pub status: u16,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// The stable code; programs match on this.
    pub code: String,
    /// What was found, what was expected.
    #[serde(default)]
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The CA's clock, RFC 3339: a machine with a wrong clock sees by how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_time: Option<String>,
    /// Seconds to wait before another try, as in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// Every code a problem document can carry. `docs/API.md` lists them with their status.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum ProblemCode { $($(#[$doc])+ $name,)+ }

        impl ProblemCode {
            /// All codes, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The code a text stands for.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

codes! {
    /// The body is not JSON of the expected shape.
    BodyMalformed = "body_malformed",
    /// The body is larger than the limit.
    BodyTooLarge = "body_too_large",
    /// The request's `Content-Type` is not the one the route takes.
    ContentTypeUnsupported = "content_type_unsupported",
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout",
    /// No such route.
    NotFound = "not_found",
    /// The route exists, the method does not.
    MethodNotAllowed = "method_not_allowed",
    /// A query parameter or field has a value that is not allowed.
    ParameterInvalid = "parameter_invalid",
    /// The CSR is not a well-formed PKCS#10 request.
    CsrMalformed = "csr_malformed",
    /// The CSR is larger than any honest one.
    CsrTooLarge = "csr_too_large",
    /// The CSR's key is of a kind that is not issued to.
    CsrKeyUnsupported = "csr_key_unsupported",
    /// The CSR is not signed by the key it carries.
    CsrSignatureBad = "csr_signature_bad",
    /// The CSR asks for names or extensions that the registration does not give.
    CsrNamesRefused = "csr_names_refused",
    /// The profile does not take this kind of key.
    KeyKindRefused = "key_kind_refused",
    /// The key is already in an unexpired certificate, or is a key of the CA.
    KeyInUse = "key_in_use",
    /// The key was revoked by an operator.
    KeyRevoked = "key_revoked",
    /// Not an invitation: wrong prefix, checksum or content.
    InvitationMalformed = "invitation_malformed",
    /// No such invitation was ever made here, or it was swept away.
    InvitationUnknown = "invitation_unknown",
    /// The invitation's time is over.
    InvitationExpired = "invitation_expired",
    /// The invitation was redeemed by another key.
    InvitationUsed = "invitation_used",
    /// The route needs a client certificate and none was presented.
    CertificateRequired = "certificate_required",
    /// The client certificate has expired.
    CertificateExpired = "certificate_expired",
    /// The client certificate is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid",
    /// The client certificate is not one of this CA's.
    CertificateForeign = "certificate_foreign",
    /// The client certificate cannot be read.
    CertificateMalformed = "certificate_malformed",
    /// The client certificate breaks a rule of X509-SVID.
    CertificateNotSvid = "certificate_not_svid",
    /// The client certificate has no valid path to a root.
    CertificateChainInvalid = "certificate_chain_invalid",
    /// The client certificate was revoked.
    CertificateRevoked = "certificate_revoked",
    /// The certificate is valid but this CA has no record of it.
    CertificateUnknown = "certificate_unknown",
    /// The certificate was replaced by a later one: two holders share a lineage.
    CertificateSuperseded = "certificate_superseded",
    /// More certificates were requested and never presented than a machine may.
    TooManyPending = "too_many_pending",
    /// The certificate presented for a recovery has not expired.
    CertificateUnexpired = "certificate_unexpired",
    /// The certificate expired longer ago than its profile lets a machine recover.
    RecoveryOver = "recovery_over",
    /// The machine has come back by itself before.
    RecoveryUsed = "recovery_used",
    /// The machine may not come back by itself: a second holder was seen, or a certificate of it was revoked.
    RecoveryBarred = "recovery_barred",
    /// The identity is not one of the calling machine's workloads.
    WorkloadForeign = "workload_foreign",
    /// A workload's certificate came to a door of machines.
    WorkloadCertificate = "workload_certificate",
    /// Another renewal of the same machine went first.
    LineageMoved = "lineage_moved",
    /// The machine waits for an operator.
    MachineHeld = "machine_held",
    /// The machine is suspended.
    MachineSuspended = "machine_suspended",
    /// The machine was removed.
    MachineRemoved = "machine_removed",
    /// A newer enrollment replaced the machine.
    MachineReplaced = "machine_replaced",
    /// No such machine.
    MachineUnknown = "machine_unknown",
    /// No snapshot names this part, or none has for a while.
    PartUnknown = "part_unknown",
    /// The CA has no trust snapshot to show.
    TrustUnavailable = "trust_unavailable",
    /// No such registration.
    RegistrationUnknown = "registration_unknown",
    /// The registration was removed or has ended: nothing more is issued under it.
    RegistrationGone = "registration_gone",
    /// The registration changed while the request was under way.
    RegistrationChanged = "registration_changed",
    /// The registration exists with other values.
    RegistrationDiffers = "registration_differs",
    /// The registration's values break a rule.
    RegistrationInvalid = "registration_invalid",
    /// A DNS name or address belongs to another identity.
    NameTaken = "name_taken",
    /// The name is the CA's own.
    NameReserved = "name_reserved",
    /// The SPIFFE ID is of another trust domain.
    TrustDomainForeign = "trust_domain_foreign",
    /// No such profile.
    ProfileUnknown = "profile_unknown",
    /// No live certificate is what the revocation names.
    NothingToRevoke = "nothing_to_revoke",
    /// The machine's status does not allow it.
    MachineStatus = "machine_status",
    /// The identity has several machines and `all` was not said.
    SeveralMachines = "several_machines",
    /// An invitation with several uses needs a registration for many machines.
    UsesNeedMany = "uses_need_many",
    /// No such API key.
    ApiKeyUnknown = "api_key_unknown",
    /// The API key is revoked or over.
    ApiKeyEnded = "api_key_ended",
    /// No API key like this is made: the identity or its permissions do not allow it.
    ApiKeyRefused = "api_key_refused",
    /// The policy text is not valid.
    PolicyInvalid = "policy_invalid",
    /// The configuration could not be reloaded.
    ReloadRefused = "reload_refused",
    /// The new issuer could not be taken up.
    IssuerRefused = "issuer_refused",
    /// A backup finds no room on the CA's disk.
    BackupRefused = "backup_refused",
    /// The caller's identity may not do this.
    PermissionDenied = "permission_denied",
    /// Too many requests from this source or identity.
    RateLimited = "rate_limited",
    /// More work is queued than the limit allows.
    Overloaded = "overloaded",
    /// The store is read-only after an I/O error.
    StoreReadOnly = "store_read_only",
    /// A file with old events is missing or damaged; the detail names it.
    EventsUnreadable = "events_unreadable",
    /// The issuer expires too soon to issue under it.
    IssuerExpiring = "issuer_expiring",
    /// A fault of the CA; its log says more.
    Internal = "internal",
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_snake_case_and_unique() {
        for (n, code) in ProblemCode::ALL.iter().enumerate() {
            assert!(code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            assert_eq!(ProblemCode::from_text(code.as_str()), Some(*code));
            assert!(!ProblemCode::ALL[n + 1..].iter().any(|other| other.as_str() == code.as_str()));
        }
    }
}
