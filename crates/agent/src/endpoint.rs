//! Where a CA listens.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use rustls_pki_types::ServerName;

/// `https://HOST:PORT`, nothing else: no user, no path, no query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is not the URL of a CA.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("found {found:?}, expected the URL of a CA such as https://ca.example:8443{because}")]
pub struct EndpointError {
    found: String,
    because: &'static str,
}

/// The port of `https` where the URL names none (RFC 9110 §4.2.2).
const HTTPS: u16 = 443;

impl Endpoint {
    /// The host: a DNS name or an address, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT` as it stands in a URL and in the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = |because| EndpointError { found: text.to_owned(), because };
        let uri: Uri = text.trim().parse().map_err(|_| wrong(""))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong(": the scheme is https"));
        }
        let authority = uri.authority().ok_or_else(|| wrong(""))?;
        if authority.as_str().contains('@') {
            return Err(wrong(", without a user"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong(", without a path"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_owned();
        let after_host = authority.as_str().rsplit(']').next().unwrap_or_default();
        let port = match authority.port_u16() {
            Some(port) if port > 0 => port,
            None if !after_host.contains(':') => HTTPS,
            _ => return Err(wrong(": the port is between 1 and 65535")),
        };
        // Host names are judged here, so that a typo is a usage error and not a failed look-up.
        ServerName::try_from(host.as_str()).map_err(|_| wrong(": the host is not a valid name"))?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_addresses_are_understood() {
        let cases = [
            ("https://ca.example:8443", "ca.example", 8443),
            ("https://ca.example", "ca.example", 443),
            ("https://127.0.0.1:8443/", "127.0.0.1", 8443),
            ("https://[::1]:8443", "::1", 8443),
            ("https://[::1]", "::1", 443),
        ];
        for (text, host, port) in cases {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{text}");
            assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn anything_but_a_plain_https_url_is_refused() {
        for text in [
            "",
            "ca.example:8443",
            "http://ca.example:8443",
            "https://",
            "https://user@ca.example",
            "https://ca.example/path",
            "https://ca.example/?q",
            "https://ca.example:0",
            "https://ca.example:99999",
            "https://ca_.exa mple",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Endpoint>();
            let _ = format!("https://{text}").parse::<Endpoint>();
        }
    }
}
