//! What must hold of any octets that come over the wire.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_api::{
    API_KEY_PREFIX, ApiKey, Bundle, CertificateResponse, DecisionReport, DeployedRequest, EnrollRequest,
    Invitation, InvitationError, JwtSvidRequest, JwtSvidResponse, Problem, RecoverRequest, RenewRequest,
    RenewalWindow, ReportResponse, RootsResponse, WorkloadRegistrations, WorkloadRequest, admin, trust,
};
use serde::{Serialize, de::DeserializeOwned};

/// An invitation, as typed, and as the content of one whose checksum holds.
pub fn invitation(octets: &[u8]) {
    if let Ok(text) = str::from_utf8(octets) {
        invitation_text(text);
    }
    let head = format!("csinv1_{}", URL_SAFE_NO_PAD.encode(octets));
    invitation_text(&format!("{head}.{:08x}", crc32fast::hash(head.as_bytes())));
}

fn invitation_text(text: &str) {
    match text.parse::<Invitation>() {
        Ok(read) => {
            let written = read.to_string();
            // What this program could not have written, being longer than what it reads, is no loss.
            if written.len() <= 4096 {
                assert_eq!(written.parse().as_ref(), Ok(&read));
            }
            assert!(!format!("{read:?}").contains(&URL_SAFE_NO_PAD.encode(read.secret)));
        }
        Err(InvitationError::Content(why)) => assert!(why.len() < 200, "no more than a reason: {why}"),
        Err(InvitationError::Prefix | InvitationError::Checksum) => {}
    }
}

/// An API key, as brought, and one whose checksum holds.
pub fn api_key(octets: &[u8]) {
    if let Ok(text) = str::from_utf8(octets) {
        api_key_text(text);
    }
    let head = format!("{API_KEY_PREFIX}00000000000000a1_{}", URL_SAFE_NO_PAD.encode(octets));
    api_key_text(&format!("{head}.{:08x}", crc32fast::hash(head.as_bytes())));
}

fn api_key_text(text: &str) {
    if let Ok(key) = text.parse::<ApiKey>() {
        assert_eq!(key.reveal().as_str(), text, "one key, one text");
        assert!(!format!("{key:?}").contains(&text[22..65]));
    }
}

/// A body of any route, either way: whatever is read as one is written so that it is read as the same.
pub fn body(octets: &[u8]) {
    is_read_back::<EnrollRequest>(octets);
    is_read_back::<RenewRequest>(octets);
    is_read_back::<CertificateResponse>(octets);
    is_read_back::<RenewalWindow>(octets);
    is_read_back::<RecoverRequest>(octets);
    is_read_back::<DeployedRequest>(octets);
    is_read_back::<WorkloadRegistrations>(octets);
    is_read_back::<WorkloadRequest>(octets);
    is_read_back::<JwtSvidRequest>(octets);
    is_read_back::<JwtSvidResponse>(octets);
    is_read_back::<DecisionReport>(octets);
    is_read_back::<ReportResponse>(octets);
    is_read_back::<trust::TrustPayload>(octets);
    is_read_back::<trust::IssuersPart>(octets);
    is_read_back::<trust::RevokedPart>(octets);
    is_read_back::<trust::TrustFile>(octets);
    is_read_back::<Problem>(octets);
    is_read_back::<Bundle>(octets);
    is_read_back::<RootsResponse>(octets);
    is_read_back::<admin::Registration>(octets);
    is_read_back::<admin::InviteRequest>(octets);
    is_read_back::<admin::InviteResponse>(octets);
    is_read_back::<admin::ImportRequest>(octets);
    is_read_back::<admin::ImportResponse>(octets);
    is_read_back::<admin::MachineActRequest>(octets);
    is_read_back::<admin::RevokeRequest>(octets);
    is_read_back::<admin::ActResponse>(octets);
    is_read_back::<admin::ReloadResponse>(octets);
    is_read_back::<admin::Status>(octets);
    is_read_back::<admin::PolicyDocument>(octets);
    is_read_back::<admin::Page<admin::Registration>>(octets);
    is_read_back::<admin::Page<admin::Machine>>(octets);
    is_read_back::<admin::Page<admin::Issued>>(octets);
    is_read_back::<admin::Page<admin::Issuer>>(octets);
    is_read_back::<admin::Page<admin::Event>>(octets);
}

fn is_read_back<T: Serialize + DeserializeOwned>(octets: &[u8]) {
    let Ok(body) = serde_json::from_slice::<T>(octets) else { return };
    let written = serde_json::to_vec(&body).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).ok(), Some(written));
}
