//! What the CA's refusals mean for a machine, in words.

use std::time::Duration;

use countersign_api::{Problem, ProblemCode};
use countersign_identity::{Timestamp, duration};
use countersign_verifier::{ChainFault, Refusal};
use hyper::StatusCode;
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::error::AgentError;
use crate::identity::Pin;
use crate::plain::plain;
use crate::schedule::Failure;

/// Clocks this close are as good as equal: certificates are backdated by a minute.
const CLOSE: Duration = Duration::from_secs(60);

/// The longest hint of the CA's, in characters.
const LONGEST: usize = 1000;

/// The CA answered with a problem document.
pub(crate) fn of_problem(
    problem: &Problem,
    status: StatusCode,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> AgentError {
    let code = ProblemCode::from_text(&problem.code);
    let words = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    let message = format!("the CA refused: {words} ({})", problem.code);
    let wait = problem.retry_after.map(Duration::from_secs).max(retry_after);
    let skew = problem
        .server_time
        .as_deref()
        .filter(|_| {
            matches!(
                code,
                Some(
                    ProblemCode::CertificateExpired
                        | ProblemCode::CertificateNotYetValid
                        | ProblemCode::RecoveryOver
                )
            )
        })
        .and_then(|time| time.parse().ok())
        .and_then(|server| skew(server, now));
    let hints: Vec<_> =
        skew.into_iter().chain(problem.hint.as_deref().map(|hint| plain(hint, LONGEST))).collect();
    let error = if is_busy(status) { AgentError::unreachable(message) } else { AgentError::refused(message) };
    let error = error.with_code(code).with_retry_after(wait);
    if hints.is_empty() { error } else { error.with_hint(hints.join("; ")) }
}

/// How the token endpoint refuses (RFC 6749 §5.2).
#[derive(Deserialize)]
pub(crate) struct OAuthError {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The token endpoint refused.
pub(crate) fn of_oauth(error: &OAuthError, status: StatusCode, wait: Option<Duration>) -> AgentError {
    let OAuthError { error, error_description } = error;
    let message = format!("the CA refused: {error_description} ({error})");
    let refused =
        if is_busy(status) { AgentError::unreachable(message) } else { AgentError::refused(message) };
    let refused = refused.with_retry_after(wait);
    match error.as_str() {
        "invalid_scope" | "invalid_target" => {
            refused.with_hint("the CA's policy decides: countersign policy explain SPIFFE-ID, at the CA")
        }
        _ => refused,
    }
}

/// Something answered, but not with a problem document: a proxy, or a CA in trouble.
pub(crate) fn of_status(status: StatusCode, wait: Option<Duration>, endpoint: &Endpoint) -> AgentError {
    let message = format!("{endpoint} answered {status} without saying why");
    let error = if status.is_server_error() || is_busy(status) {
        AgentError::unreachable(message)
    } else {
        AgentError::refused(message).with_hint("is the URL that of a Countersign CA?")
    };
    error.with_retry_after(wait)
}

/// The server is not the CA it must be.
pub(crate) fn of_server(refusal: &Refusal, pin: &Pin, endpoint: &Endpoint, now: Timestamp) -> AgentError {
    let by_clock = match refusal {
        Refusal::Expired { by, .. } | Refusal::Chain { fault: ChainFault::Expired { by }, .. } => Some(*by),
        Refusal::NotYetValid { by, .. } | Refusal::Chain { fault: ChainFault::NotYetValid { by }, .. } => {
            Some(*by)
        }
        _ => None,
    };
    if let Some(by) = by_clock {
        let by = duration::format(by);
        let message = format!("the certificate of {endpoint} is out of its time by {by}: {refusal}");
        return AgentError::refused(message).with_hint(format!(
            "compare the clocks: this machine's says {now}, and either it or the CA's certificate is off by {by} or more"
        ));
    }
    let root = pin.fingerprint();
    let message = match refusal {
        Refusal::NotPinned { .. } => format!(
            "this server is not the CA of the invitation: pinned root {root}, found a server that does not show it at {endpoint}"
        ),
        other => format!(
            "this server is not the CA of the invitation: pinned root {root}, found at {endpoint}: {other}"
        ),
    };
    AgentError::refused(message).with_hint(
        "nothing was sent; check the URL, and compare the root fingerprint with what `countersign bundle show` prints at the CA",
    )
}

/// By how much this machine's clock differs from the CA's, if it matters.
pub(crate) fn skew(server: Timestamp, now: Timestamp) -> Option<String> {
    let (by, word) =
        if now > server { (now.since(server), "ahead of") } else { (server.since(now), "behind") };
    (by > CLOSE).then(|| {
        format!(
            "this machine's clock is {} {word} the CA's ({now} here, {server} there)",
            duration::format(by)
        )
    })
}

/// Answers that say "later" rather than "no".
fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT
    )
}

/// Whether only an operator can change this answer. Everything unknown is worth another try.
pub(crate) const fn is_lasting(code: ProblemCode) -> bool {
    matches!(
        code,
        ProblemCode::CertificateExpired
            | ProblemCode::CertificateForeign
            | ProblemCode::CertificateMalformed
            | ProblemCode::CertificateNotSvid
            | ProblemCode::CertificateChainInvalid
            | ProblemCode::CertificateRevoked
            | ProblemCode::CertificateUnknown
            | ProblemCode::CertificateSuperseded
            | ProblemCode::TooManyPending
            | ProblemCode::MachineHeld
            | ProblemCode::MachineSuspended
            | ProblemCode::MachineRemoved
            | ProblemCode::MachineReplaced
            | ProblemCode::MachineUnknown
            | ProblemCode::RegistrationUnknown
            | ProblemCode::RegistrationGone
            | ProblemCode::KeyKindRefused
            | ProblemCode::TrustDomainForeign
    )
}

/// What a lasting refusal means for the next attempt.
pub(crate) const fn failure(code: ProblemCode) -> Failure {
    match code {
        ProblemCode::CertificateExpired => Failure::Expired,
        ProblemCode::MachineHeld | ProblemCode::MachineSuspended => Failure::Suspended,
        _ => Failure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: ProblemCode) -> Problem {
        Problem {
            kind: "about:blank".into(),
            status: 403,
            title: "Forbidden".into(),
            code: code.as_str().into(),
            detail: "the certificate is not valid yet".into(),
            hint: Some("ask an operator".into()),
            server_time: Some("2026-11-23T12:00:00Z".into()),
            retry_after: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_wrong_clock_is_told_by_how_much() {
        let problem = problem(ProblemCode::CertificateNotYetValid);
        let late = of_problem(&problem, StatusCode::FORBIDDEN, None, at("2026-11-23T14:03:00Z"));
        assert!(late.hint().unwrap().contains("2h 3m ahead of the CA's"), "{late:?}");
        assert!(late.hint().unwrap().contains("ask an operator"));
        let early = of_problem(&problem, StatusCode::FORBIDDEN, None, at("2026-11-23T11:00:00Z"));
        assert!(early.hint().unwrap().contains("1h behind the CA's"), "{early:?}");
        let right = of_problem(&problem, StatusCode::FORBIDDEN, None, at("2026-11-23T12:00:30Z"));
        assert_eq!(right.hint(), Some("ask an operator"));
    }

    #[test]
    fn a_refusal_exits_1_and_a_busy_ca_exits_3() {
        let now = at("2026-11-23T12:00:00Z");
        let refused = of_problem(&problem(ProblemCode::InvitationUsed), StatusCode::FORBIDDEN, None, now);
        assert_eq!((refused.exit_code(), refused.code()), (1, Some(ProblemCode::InvitationUsed)));
        let busy = Problem { retry_after: Some(7), ..problem(ProblemCode::RateLimited) };
        let busy = of_problem(&busy, StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(5)), now);
        assert_eq!((busy.exit_code(), busy.retry_after()), (3, Some(Duration::from_secs(7))));
    }

    #[test]
    fn what_a_server_says_neither_moves_the_cursor_nor_begins_a_line() {
        let now = at("2026-11-23T12:00:00Z");
        let evil = "x\u{1b}[2J\nerror: pay here".to_owned();
        let problem = Problem {
            code: evil.clone(),
            detail: evil.clone(),
            hint: Some(evil.clone()),
            ..problem(ProblemCode::NotFound)
        };
        let refused = of_problem(&problem, StatusCode::FORBIDDEN, None, now);
        let busy = of_problem(&problem, StatusCode::SERVICE_UNAVAILABLE, None, now);
        let oauth = OAuthError { error: evil.clone(), error_description: evil };
        let oauth = of_oauth(&oauth, StatusCode::BAD_REQUEST, None);
        for error in [refused, busy, oauth] {
            let shown = format!("{error}{}", error.hint().unwrap_or_default());
            assert!(shown.contains(r"\u{1b}[2J\u{a}error") && !shown.contains(char::is_control), "{shown}");
        }
    }

    #[test]
    fn an_answer_without_a_problem_document_is_told_apart() {
        let endpoint = "https://ca.example".parse().unwrap();
        assert_eq!(of_status(StatusCode::BAD_GATEWAY, None, &endpoint).exit_code(), 3);
        assert_eq!(of_status(StatusCode::NOT_FOUND, None, &endpoint).exit_code(), 1);
    }
}
