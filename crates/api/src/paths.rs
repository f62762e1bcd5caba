//! The paths of the HTTP surface (DESIGN §7), each said once.

/// `POST`: redeem an invitation.
pub const ENROLL: &str = "/v1/enroll";
/// `POST` over mutual TLS: the next certificate.
pub const RENEW: &str = "/v1/renew";
/// `GET` over mutual TLS: the renewal window as it stands now.
pub const RENEWAL: &str = "/v1/renewal";
/// `POST` over an expired certificate: the next one.
pub const RECOVER: &str = "/v1/recover";
/// `POST` over mutual TLS: a certificate was seen being served.
pub const DEPLOYED: &str = "/v1/deployed";
/// `POST` over a machine's certificate: a certificate for one of its workloads.
pub const WORKLOAD: &str = "/v1/workload";
/// `POST` over a machine's certificate: a JWT-SVID.
pub const JWT_SVID: &str = "/v1/jwt-svid";
/// `GET` over a machine's certificate: its workloads; `?after=SEQUENCE` waits for a change.
pub const REGISTRATIONS: &str = "/v1/registrations";
/// `POST` over mutual TLS: what a verifier decided.
pub const EVENTS: &str = "/v1/events";
/// `GET`: the SPIFFE bundle, JWKS or PEM by `Accept`.
pub const BUNDLE: &str = "/v1/bundle";
/// `GET`: the roots documents.
pub const ROOTS: &str = "/v1/roots";
/// `GET`: the trust snapshot; `?after=SEQUENCE` waits for a newer one.
pub const TRUST: &str = "/v1/trust";
/// `GET`: a part of the trust snapshot.
pub const TRUST_PART: &str = "/v1/trust/part/{sha256}";

/// Where the part of a trust snapshot with this SHA-256 (lower-case hex) is.
#[must_use]
pub fn trust_part(sha256: &str) -> String {
    TRUST_PART.replace("{sha256}", sha256)
}

/// `POST`: an access token for whoever proves an identity (RFC 6749 §4.4).
pub const TOKEN: &str = "/oauth2/token";
/// `POST`: whether a token or API key is alive, for the service it is for (RFC 7662).
pub const INTROSPECT: &str = "/oauth2/introspect";
/// `POST`: a token or API key is to die (RFC 7009).
pub const TOKEN_REVOKE: &str = "/oauth2/revoke";
/// `GET`: the keys of access tokens, a JWK set.
pub const JWKS: &str = "/oauth2/jwks";
/// `GET`: what the authorization server can do (RFC 8414).
pub const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
/// `GET`: the same where OpenID clients look for it (OpenID Connect Discovery §4).
pub const OPENID_METADATA: &str = "/.well-known/openid-configuration";

/// `GET`: the process is alive.
pub const HEALTHZ: &str = "/healthz";
/// `GET`: the process can answer renewals.
pub const READYZ: &str = "/readyz";
/// `GET`: metrics in the OpenMetrics text format.
pub const METRICS: &str = "/metrics";

/// `POST`: create an invitation.
pub const ADMIN_INVITATIONS: &str = "/v1/admin/invitations";
/// `GET` lists, `PUT` sets one, `DELETE` with `?id=` removes one.
pub const ADMIN_REGISTRATIONS: &str = "/v1/admin/registrations";
/// `POST`: many registrations at once, all or nothing.
pub const ADMIN_REGISTRATIONS_IMPORT: &str = "/v1/admin/registrations/import";
/// `GET`: machines.
pub const ADMIN_MACHINES: &str = "/v1/admin/machines";
/// `POST`: suspend, resume, approve or remove machines.
pub const ADMIN_MACHINES_ACT: &str = "/v1/admin/machines/act";
/// `GET`: certificates issued and not yet expired.
pub const ADMIN_ISSUED: &str = "/v1/admin/issued";
/// `GET` lists API keys, `POST` makes one.
pub const ADMIN_API_KEYS: &str = "/v1/admin/keys";
/// `POST`: an API key in place of another.
pub const ADMIN_API_KEYS_ROTATE: &str = "/v1/admin/keys/rotate";
/// `POST`: the end of an API key.
pub const ADMIN_API_KEYS_REVOKE: &str = "/v1/admin/keys/revoke";
/// `POST`: revoke.
pub const ADMIN_REVOKE: &str = "/v1/admin/revoke";
/// `GET` lists issuers.
pub const ADMIN_ISSUERS: &str = "/v1/admin/issuers";
/// `POST`: take up the issuer that `issuer rotate` left in the state directory.
pub const ADMIN_ISSUERS_ADOPT: &str = "/v1/admin/issuers/adopt";
/// `GET`: the trust snapshot with all its parts, in one file.
pub const ADMIN_TRUST: &str = "/v1/admin/trust";
/// `POST`: read the configuration again, all or nothing.
pub const ADMIN_RELOAD: &str = "/v1/admin/reload";
/// `POST`: a consistent copy of the book and the state directory, streamed.
pub const ADMIN_BACKUP: &str = "/v1/admin/backup";
/// `GET`: what `check` asks a running CA.
pub const ADMIN_STATUS: &str = "/v1/admin/status";
/// `GET`: events after a sequence number.
pub const ADMIN_EVENTS: &str = "/v1/admin/events";
/// `GET`: the policy in force; `POST`: apply a new one.
pub const ADMIN_POLICY: &str = "/v1/admin/policy";
/// `GET`: which identities used which permissions, as services report it.
pub const ADMIN_USES: &str = "/v1/admin/uses";
