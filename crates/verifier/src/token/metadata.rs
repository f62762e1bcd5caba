//! What a resource server says of itself: its metadata (RFC 9728) and its challenges (RFC 6750 §3).

use countersign_policy::PermissionLiteral;
use serde::Serialize;

/// Where metadata are (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata of one service.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    path: String,
    url: String,
    document: String,
}

#[derive(Serialize)]
struct Document<'a> {
    resource: &'a str,
    resource_name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    authorization_servers: &'a [&'a str],
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<&'static str>,
    tls_client_certificate_bound_access_tokens: bool,
}

impl Metadata {
    /// For the service at this URL; nothing if it is no URL of a resource.
    pub(super) fn of(
        resource: &str,
        service: &str,
        issuers: &[&str],
        permissions: &[PermissionLiteral],
    ) -> Option<Self> {
        let rest = resource.strip_prefix("https://")?;
        let plain =
            |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b'#' | b'?' | b'@');
        if !rest.bytes().all(plain) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() {
            return None;
        }
        // RFC 9728 §3.1: the well-known part stands between host and path, and a path of `/` alone is none.
        let path = format!("{WELL_KNOWN}{}", path.strip_suffix('/').unwrap_or(path));
        let document = Document {
            resource,
            resource_name: service,
            authorization_servers: issuers,
            bearer_methods_supported: ["header"],
            scopes_supported: permissions.iter().map(|permission| permission.as_str()).collect(),
            tls_client_certificate_bound_access_tokens: true,
        };
        let url = format!("https://{authority}{path}");
        Some(Self { path, url, document: serde_json::to_string(&document).ok()? })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn document(&self) -> &str {
        &self.document
    }
}

/// The value of `WWW-Authenticate`. Nothing of the reason is in it but the word that the standard has for it.
pub(super) fn challenge(metadata: Option<&Metadata>, error: Option<&str>, scope: Option<&str>) -> String {
    let where_to = metadata.map(|metadata| ("resource_metadata", metadata.url.as_str()));
    let parameters = [error.map(|error| ("error", error)), scope.map(|scope| ("scope", scope)), where_to];
    let parameters: Vec<String> =
        parameters.into_iter().flatten().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    // RFC 6750 §3: the scheme must be followed by a parameter.
    match parameters.is_empty() {
        true => "Bearer realm=\"\"".to_owned(),
        false => format!("Bearer {}", parameters.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Option<Metadata> {
        Metadata::of(url, "ledger", &["https://ca.example:8443"], &[PermissionLiteral::new("ledger:read")])
    }

    #[test]
    fn metadata_stand_between_host_and_path() {
        let path = |url| at(url).map(|metadata| metadata.path().to_owned());
        assert_eq!(path("https://a.example").as_deref(), Some(WELL_KNOWN));
        assert_eq!(path("https://a.example:8444/").as_deref(), Some(WELL_KNOWN));
        let below = format!("{WELL_KNOWN}/ledger/v1");
        assert_eq!(path("https://a.example/ledger/v1"), Some(below));
        for url in
            ["http://a.example", "https://", "https:///x", "https://a/?b", "https://a/#b", "https://u@a", "a"]
        {
            assert!(path(url).is_none(), "{url}");
        }
    }

    #[test]
    fn the_document_names_the_resource_and_who_makes_tokens_for_it() {
        let metadata = at("https://a.example").expect("metadata");
        let document: serde_json::Value = serde_json::from_str(metadata.document()).expect("JSON");
        assert_eq!(document["resource"], "https://a.example");
        assert_eq!(document["authorization_servers"], serde_json::json!(["https://ca.example:8443"]));
        assert_eq!(document["scopes_supported"], serde_json::json!(["ledger:read"]));
        assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
    }

    #[test]
    fn a_challenge_says_where_to_look_and_no_reason() {
        assert_eq!(challenge(None, None, None), "Bearer realm=\"\"");
        let metadata = at("https://a.example").expect("metadata");
        assert_eq!(
            challenge(Some(&metadata), Some("insufficient_scope"), Some("ledger:write")),
            "Bearer error=\"insufficient_scope\", scope=\"ledger:write\", \
             resource_metadata=\"https://a.example/.well-known/oauth-protected-resource\""
        );
    }
}
