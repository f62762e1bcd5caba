//! The bodies of `POST /v1/enroll` and `POST /v1/renew`.

use serde::{Deserialize, Serialize};

/// What a machine sends to redeem an invitation.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The invitation string, `csinv1_…`.
    pub invitation: String,
    /// The certificate signing request, PEM.
    pub csr: String,
}

/// An invitation is a secret (invariant 8), so only the shape of the request is shown.
impl std::fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrollRequest").field("invitation", &"…").field("csr", &self.csr).finish()
    }
}

/// What a machine sends, over its certificate, for the next one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The certificate signing request of a new key, PEM.
    pub csr: String,
}

/// The answer to an enrollment and to a renewal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CertificateResponse {
    /// The machine's id, `m-…`.
    pub machine: String,
    /// Leaf first, then the issuer; PEM.
    pub chain: String,
    /// The roots of the trust domain; PEM.
    pub bundle: String,
    /// The last second the certificate is valid, RFC 3339.
    pub not_after: String,
    /// Renew no earlier than this, RFC 3339.
    pub renew_after: String,
    /// Renew no later than this, RFC 3339.
    pub renew_before: String,
    /// The CA's clock as it answered, RFC 3339.
    pub server_time: String,
}
