//! Access tokens for what a machine calls beyond mutual TLS (RFC 6749 §4.4): the machine's certificate buys them, and they
//! are bound to it.

use std::sync::Arc;

use countersign_api::paths;
use countersign_identity::Clock;
use serde::{Deserialize, Serialize};

use crate::as_machine::AsMachine;
use crate::dir::Dir;
use crate::endpoint::Endpoint;
use crate::error::{AgentError, ErrorKind};
use crate::route::Route;

/// What a token is wanted for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenWish {
    /// The service that shall take it, as the policy names it.
    pub service: String,
    /// The permissions at that service, `action` or `service:action`; none asks for all that the policy gives.
    pub permissions: Vec<String>,
}

/// An access token (RFC 6749 §5.1).
#[derive(Clone, Deserialize, Serialize)]
pub struct AccessToken {
    /// The token.
    pub access_token: String,
    /// How to show it: `Bearer`, though it serves its machine alone.
    pub token_type: String,
    /// Seconds it is good for.
    pub expires_in: u64,
    /// The permissions it carries, separated by blanks.
    #[serde(default)]
    pub scope: String,
}

/// A token is a secret: only what it is for is shown.
impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Buys a token with the certificate in `dir`, at one of the CA's `addresses` or, without any, where the certificate came
/// from.
///
/// # Errors
/// When there is no usable identity, the CA cannot be reached, or the policy gives none of what was asked for.
pub async fn token(
    dir: &Dir,
    addresses: &[Endpoint],
    wish: &TokenWish,
    clock: Arc<dyn Clock>,
) -> Result<AccessToken, AgentError> {
    let route = (!addresses.is_empty()).then(|| Arc::new(Route::new(addresses.iter().cloned())));
    let bought = AsMachine::new(dir.clone(), route, clock).form(paths::TOKEN, &wish.form()).await;
    bought.map_err(|error| match error.kind() {
        // No key is waiting for it, unlike for a certificate.
        ErrorKind::Unreachable => error.with_hint("run the same command again later"),
        _ => error,
    })
}

impl TokenWish {
    fn form(&self) -> String {
        let mut form = format!("grant_type=client_credentials&audience={}", encoded(&self.service));
        if !self.permissions.is_empty() {
            let whole = |permission: &String| match permission.contains(':') {
                true => permission.clone(),
                false => format!("{}:{permission}", self.service),
            };
            let scope: Vec<String> = self.permissions.iter().map(whole).collect();
            form.push_str("&scope=");
            form.push_str(&encoded(&scope.join(" ")));
        }
        form
    }
}

/// As forms write it (URL Standard §5.2): everything but letters, digits and `-._` by its octets.
fn encoded(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => form.push(octet.into()),
            b' ' => form.push('+'),
            _ => form.push_str(&format!("%{octet:02X}")),
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_of_the_service_unless_they_say_so_and_stand_as_a_form_wants_them() {
        let wish =
            TokenWish { service: "ledger".into(), permissions: vec!["read".into(), "ledger:a&b=é".into()] };
        assert_eq!(
            wish.form(),
            "grant_type=client_credentials&audience=ledger&scope=ledger%3Aread+ledger%3Aa%26b%3D%C3%A9"
        );
        let all = TokenWish { service: "ledger".into(), ..TokenWish::default() };
        assert_eq!(all.form(), "grant_type=client_credentials&audience=ledger");
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = AccessToken {
            access_token: "eyJ".into(),
            token_type: "Bearer".into(),
            expires_in: 900,
            scope: "ledger:read".into(),
        };
        assert!(!format!("{token:?}").contains("eyJ"));
    }
}
