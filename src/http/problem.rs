//! The only error table: every refusal, its status, its code and what to do about it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use countersign_api::{Problem, ProblemCode};
use countersign_issuance::{LedgerError, LedgerRefusal, RegistrationError};
use countersign_store::StoreError;
use countersign_verifier::Refusal;

use crate::service::Refused;

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ProblemCode,
    detail: String,
    retry_after: Option<u64>,
    server_time: Option<String>,
}

impl Failure {
    /// A refusal with its code and what was found and expected.
    pub(crate) fn new(code: ProblemCode, detail: impl ToString) -> Self {
        Self { code, detail: detail.to_string(), retry_after: None, server_time: None }
    }

    /// Says when another try makes sense.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Says what the CA's clock shows, so that a machine sees how wrong its own is.
    pub(crate) fn server_time(mut self, now: impl ToString) -> Self {
        self.server_time = Some(now.to_string());
        self
    }

    /// What was found and expected.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The stable code, for events.
    pub(crate) fn code(&self) -> &'static str {
        self.code.as_str()
    }
}

/// The HTTP status of each code.
pub(crate) fn status(code: ProblemCode) -> StatusCode {
    use ProblemCode as C;
    match code {
        C::BodyMalformed | C::ParameterInvalid | C::InvitationMalformed => StatusCode::BAD_REQUEST,
        C::CsrMalformed | C::CsrSignatureBad | C::CsrKeyUnsupported => StatusCode::BAD_REQUEST,
        C::CertificateRequired | C::CertificateExpired | C::CertificateNotYetValid => {
            StatusCode::UNAUTHORIZED
        }
        C::CertificateForeign | C::CertificateMalformed | C::CertificateRevoked => StatusCode::UNAUTHORIZED,
        C::CertificateNotSvid | C::CertificateChainInvalid => StatusCode::UNAUTHORIZED,
        C::CertificateUnknown | C::InvitationUnknown | C::InvitationExpired => StatusCode::UNAUTHORIZED,
        C::CsrNamesRefused | C::KeyKindRefused | C::InvitationUsed => StatusCode::FORBIDDEN,
        C::MachineHeld | C::MachineSuspended | C::MachineRemoved | C::MachineReplaced => {
            StatusCode::FORBIDDEN
        }
        C::RegistrationGone | C::PermissionDenied => StatusCode::FORBIDDEN,
        C::CertificateSuperseded => StatusCode::FORBIDDEN,
        C::RecoveryOver | C::RecoveryUsed | C::RecoveryBarred => StatusCode::FORBIDDEN,
        C::WorkloadForeign | C::WorkloadCertificate => StatusCode::FORBIDDEN,
        C::CertificateUnexpired => StatusCode::CONFLICT,
        C::NotFound
        | C::MachineUnknown
        | C::ApiKeyUnknown
        | C::RegistrationUnknown
        | C::NothingToRevoke
        | C::PartUnknown => StatusCode::NOT_FOUND,
        C::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        C::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        C::KeyInUse
        | C::KeyRevoked
        | C::RegistrationChanged
        | C::LineageMoved
        | C::RegistrationDiffers
        | C::ApiKeyEnded
        | C::NameTaken => StatusCode::CONFLICT,
        C::MachineStatus | C::SeveralMachines | C::ReloadRefused | C::IssuerRefused => StatusCode::CONFLICT,
        C::BackupRefused => StatusCode::INSUFFICIENT_STORAGE,
        C::BodyTooLarge | C::CsrTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        C::ContentTypeUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        C::RegistrationInvalid | C::NameReserved | C::TrustDomainForeign => StatusCode::UNPROCESSABLE_ENTITY,
        C::ProfileUnknown | C::ApiKeyRefused | C::UsesNeedMany | C::PolicyInvalid => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        C::TooManyPending | C::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        C::Overloaded | C::StoreReadOnly | C::IssuerExpiring | C::TrustUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        C::EventsUnreadable | C::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        // A code of a newer api crate: our own fault until it is listed here.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What the caller can do about it.
fn hint(code: ProblemCode) -> Option<&'static str> {
    use ProblemCode as C;
    Some(match code {
        C::InvitationUnknown | C::InvitationExpired | C::InvitationUsed => {
            "ask the operator for a new one: countersign invite SPIFFE-ID"
        }
        C::InvitationMalformed => "copy the whole line that `countersign invite` printed",
        C::CertificateRequired => "connect with a client certificate of this trust domain",
        C::CertificateExpired => {
            "compare the clocks; if the machine was off, it may come back by POST /v1/recover, or enroll again"
        }
        C::CertificateUnexpired => "POST /v1/renew with it",
        C::RecoveryOver => "enroll again with a new invitation",
        C::RecoveryUsed | C::RecoveryBarred => {
            "an operator decides: countersign machines reset-recovery, or enroll again with a new invitation"
        }
        C::WorkloadForeign => {
            "an operator registers it: countersign invite SPIFFE-ID --parent ID --selector S"
        }
        C::WorkloadCertificate => "its machine fetches the next one by POST /v1/workload",
        C::CertificateNotYetValid => "compare the clocks",
        C::BackupRefused => "make room there, or move the oldest files of state/events elsewhere",
        C::CertificateForeign => "connect with a certificate that this CA issued",
        C::CertificateUnknown => {
            "renew first, where another route than renewal says so: a restored CA meets there what it has forgotten; then \
             enroll again with a new invitation"
        }
        C::CertificateRevoked | C::MachineRemoved | C::MachineReplaced => {
            "enroll again with a new invitation"
        }
        C::CertificateSuperseded => "find the other holder before you enroll this machine again",
        C::MachineSuspended => "an operator decides: countersign machines show, then resume or remove",
        C::MachineHeld => "an operator decides: countersign machines show, then approve or remove",
        C::CsrSignatureBad => "sign the request with the key it carries",
        C::CsrKeyUnsupported | C::KeyKindRefused => "make a P-256 key",
        C::CsrNamesRefused => {
            "leave names and extensions out of the request: they come from the registration"
        }
        C::KeyInUse | C::KeyRevoked => "make a new key for each renewal",
        C::LineageMoved => "renew with the newest certificate",
        C::TooManyPending => "present the newest certificate before asking for another",
        C::RegistrationGone => "an operator removed or ended the registration of this identity",
        C::StoreReadOnly => "the operator must look at the disk; nothing more is written until a restart",
        C::EventsUnreadable => {
            "what it names is put back from a backup or from where it was moved, by whoever runs the CA"
        }
        C::PermissionDenied => "the policy decides: countersign policy explain SPIFFE-ID names the rules",
        C::ApiKeyEnded => "make a new one: countersign keys create",
        C::PartUnknown => "read the newest snapshot and the parts it names",
        C::TrustUnavailable => "the operator must look at the CA's log; services go on with what they have",
        C::Overloaded | C::RateLimited => "wait as long as Retry-After says",
        _ => return None,
    })
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = status(self.code);
        let problem = Problem {
            kind: "about:blank".into(),
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().into(),
            code: self.code.as_str().into(),
            detail: self.detail,
            hint: hint(self.code).map(Into::into),
            server_time: self.server_time,
            retry_after: self.retry_after,
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // Metrics count refusals by code without reading bodies.
        response.extensions_mut().insert(self.code);
        response
    }
}

/// What a room below says by its stable code; a code that is not on the wire is a fault of ours.
fn by_code(code: &str, detail: impl ToString) -> Failure {
    match ProblemCode::from_text(code) {
        Some(code) => Failure::new(code, detail),
        None => internal(format_args!("no problem code {code:?}: {}", detail.to_string())),
    }
}

/// Inside words go to the log, never out (RFC 9457 §5).
fn internal(why: impl std::fmt::Display) -> Failure {
    tracing::error!(%why, "internal fault");
    Failure::new(ProblemCode::Internal, "the CA has a fault; its log says which")
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        use ProblemCode as C;
        match refused {
            Refused::Csr(error) => by_code(error.code(), &error),
            Refused::Denied(denial) => by_code(denial.code(), &denial),
            Refused::Ledger(LedgerError::Refused(refusal)) => ledger(refusal),
            Refused::Ledger(LedgerError::ReadOnly { .. }) => read_only(),
            Refused::Ledger(LedgerError::Unavailable { why }) => overloaded(&why),
            Refused::Store(error) => store(error),
            Refused::Registration(error) => registration(&error),
            Refused::ProfileUnknown { .. } => Self::new(C::ProfileUnknown, refused),
            Refused::CertificateUnknown(_) => Self::new(C::CertificateUnknown, refused),
            Refused::CertificateRevoked { .. } => Self::new(C::CertificateRevoked, refused),
            Refused::Superseded { .. } => Self::new(C::CertificateSuperseded, refused),
            Refused::SeveralMachines { .. } => Self::new(C::SeveralMachines, refused),
            Refused::Parameter { .. } | Refused::Malformed { .. } => Self::new(C::ParameterInvalid, refused),
            Refused::TooOften { retry_after, .. } => {
                Self::new(C::RateLimited, refused).retry_after(retry_after)
            }
            Refused::Reload(why) => Self::new(C::ReloadRefused, why),
            Refused::Issuer(why) => Self::new(C::IssuerRefused, why),
            Refused::Backup(why) => Self::new(C::BackupRefused, why),
            Refused::OwnGrants { .. } | Refused::NotAllowed { .. } => Self::new(C::PermissionDenied, refused),
            Refused::TokenKey { .. } => Self::new(C::RegistrationInvalid, refused),
            Refused::ApiKey(why) => Self::new(C::ApiKeyRefused, why),
            Refused::Policy(why) => Self::new(C::PolicyInvalid, why),
            Refused::Lint(_) | Refused::Signer(_) | Refused::File(_) => internal(refused),
        }
    }
}

fn registration(error: &RegistrationError) -> Failure {
    let code = match error {
        RegistrationError::TrustDomain { .. } => ProblemCode::TrustDomainForeign,
        RegistrationError::Reserved { .. } => ProblemCode::NameReserved,
        _ => ProblemCode::RegistrationInvalid,
    };
    Failure::new(code, error)
}

fn ledger(refusal: LedgerRefusal) -> Failure {
    match refusal {
        LedgerRefusal::SerialTaken | LedgerRefusal::ActMismatch => internal(refusal),
        LedgerRefusal::TooManyPending => by_code(refusal.code(), refusal).retry_after(60),
        _ => by_code(refusal.code(), refusal),
    }
}

fn store(error: StoreError) -> Failure {
    match error {
        StoreError::Refused(refusal) => by_code(refusal.code(), &refusal),
        StoreError::ReadOnly { .. } => read_only(),
        StoreError::TooLarge { .. } => Failure::new(ProblemCode::BodyTooLarge, error),
        StoreError::ArchiveMissing { .. }
        | StoreError::ArchiveDamaged { .. }
        | StoreError::ArchiveUnreadable { .. }
        | StoreError::NoArchive { .. } => unreadable_events(&error),
        StoreError::Busy { .. } | StoreError::BackupRunning => overloaded(&error.to_string()),
        _ => internal(error),
    }
}

fn read_only() -> Failure {
    Failure::new(ProblemCode::StoreReadOnly, "the CA's book takes no writes since a write failed")
        .retry_after(60)
}

/// Only who may read events asks for them, and whoever runs the CA must know which file it is.
fn unreadable_events(error: &StoreError) -> Failure {
    tracing::error!(%error, "old events cannot be read");
    Failure::new(ProblemCode::EventsUnreadable, error)
}

fn overloaded(why: &str) -> Failure {
    tracing::warn!(why, "overloaded");
    Failure::new(ProblemCode::Overloaded, "the CA has more work queued than it takes").retry_after(1)
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        by_code(refusal.code(), &refusal)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_refusal_of_the_book_has_its_code_on_the_wire() {
        use LedgerRefusal as L;
        let callers_own = [
            (L::InvitationUnknown, "invitation_unknown"),
            (L::InvitationExpired, "invitation_expired"),
            (L::InvitationUsed, "invitation_used"),
            (L::KeyInUse, "key_in_use"),
            (L::LineageMoved, "lineage_moved"),
            (L::Superseded, "certificate_superseded"),
            (L::MachineUnknown, "machine_unknown"),
            (L::MachineHeld, "machine_held"),
            (L::MachineSuspended, "machine_suspended"),
            (L::MachineRemoved, "machine_removed"),
            (L::MachineReplaced, "machine_replaced"),
            (L::CertificateRevoked, "certificate_revoked"),
            (L::RegistrationGone, "registration_gone"),
            (L::RegistrationChanged, "registration_changed"),
            (L::KeyRevoked, "key_revoked"),
            (L::TooManyPending, "too_many_pending"),
            (L::NotExpired, "certificate_unexpired"),
            (L::RecoveryOver, "recovery_over"),
            (L::RecoveryUsed, "recovery_used"),
            (L::RecoveryBarred, "recovery_barred"),
            (L::NotItsWorkload, "workload_foreign"),
            (L::IsWorkload, "workload_certificate"),
        ];
        for (refusal, code) in callers_own {
            assert_eq!(ledger(refusal).code.as_str(), code, "{refusal:?}");
        }
    }

    #[test]
    fn the_manual_lists_every_code_with_its_status_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/API.md");
        let text = std::fs::read_to_string(path).unwrap();
        let table = text.split("| code | status | meaning |").nth(1).unwrap();
        let listed: BTreeMap<String, u16> = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let code = cells.next().unwrap().trim_matches('`').to_owned();
                (code, cells.next().unwrap().parse().unwrap())
            })
            .collect();
        let known: BTreeMap<_, _> =
            ProblemCode::ALL.iter().map(|code| (code.as_str().to_owned(), status(*code).as_u16())).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn whoever_comes_at_a_bad_moment_is_told_when_to_come_again() {
        let unavailable = LedgerError::Unavailable { why: "the queue is full".into() };
        let busy = [
            store(StoreError::Busy { limit: 1024 }),
            store(StoreError::BackupRunning),
            Refused::Ledger(unavailable).into(),
            ledger(LedgerRefusal::TooManyPending),
            read_only(),
        ];
        for failure in busy {
            let code = failure.code;
            let response = failure.into_response();
            let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            assert!(wait.is_some_and(|wait| wait.parse::<u64>().is_ok_and(|wait| wait > 0)), "{code:?}");
            assert!(matches!(response.status().as_u16(), 429 | 503), "{code:?}");
        }
    }

    #[test]
    fn what_goes_wrong_inside_is_not_told_outside() {
        let failure = store(StoreError::Corrupt { what: "row 7 of /var/lib/secret".into() });
        assert_eq!(failure.code, ProblemCode::Internal);
        assert!(!failure.detail.contains("secret"), "{}", failure.detail);
    }
}
