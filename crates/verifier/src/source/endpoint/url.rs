//! The URL of a bundle endpoint (SPIFFE Federation §5.1): https, a host, no user, and nothing that is not sent.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// `https://HOST[:PORT]/PATH`, as both profiles of SPIFFE Federation have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl {
    host: String,
    port: u16,
    target: String,
}

/// Why a text is not the URL of a bundle endpoint.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("found {found:?}, expected the URL of a bundle endpoint such as https://partner.example/bundle.json")]
pub struct EndpointUrlError {
    found: String,
}

impl EndpointUrl {
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// `HOST` or `HOST:PORT`, as in a `Host` header.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }

    /// Where a redirection leads: a URL that keeps the same rules, or a path of this host.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, EndpointUrlError> {
        let location = location.split_once('#').map_or(location, |(before, _)| before);
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(Self { target: location.to_owned(), ..self.clone() });
        }
        location.parse()
    }
}

impl FromStr for EndpointUrl {
    type Err = EndpointUrlError;

    fn from_str(text: &str) -> Result<Self, EndpointUrlError> {
        let wrong = || EndpointUrlError { found: text.to_owned() };
        let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || text.contains('#') {
            return Err(wrong());
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong());
        }
        let port = match (authority.port(), authority.as_str().ends_with(':')) {
            (Some(port), _) => port.as_u16(),
            (None, false) => 443,
            (None, true) => return Err(wrong()),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { host: host.to_owned(), port, target })
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_as_it_was_written() {
        for text in
            ["https://partner.example/bundle.json", "https://partner.example:8443/", "https://[::1]:9/x?y=z"]
        {
            assert_eq!(text.parse::<EndpointUrl>().expect(text).to_string(), text);
        }
        let bare: EndpointUrl = "https://partner.example".parse().expect("a URL");
        assert_eq!(bare.to_string(), "https://partner.example/");
    }

    #[test]
    fn anything_but_plain_https_is_refused() {
        for text in [
            "http://partner.example/x",
            "https://user@partner.example/x",
            "https://user:word@partner.example/x",
            "https:///x",
            "https://partner.example/x#y",
            "https://partner.example:/x",
            "partner.example/x",
            "file:///etc/bundle",
            "",
        ] {
            assert!(text.parse::<EndpointUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_redirection_keeps_the_rules() {
        let from: EndpointUrl = "https://partner.example:8443/a".parse().expect("a URL");
        let to = |location: &str| from.redirected(location).map(|url| url.to_string());
        assert_eq!(to("/b?c=d"), Ok("https://partner.example:8443/b?c=d".to_owned()));
        assert_eq!(to("https://other.example/b#part"), Ok("https://other.example/b".to_owned()));
        for location in ["http://partner.example/b", "//evil.example/b", "b", "https://u@partner.example/"] {
            assert!(to(location).is_err(), "{location}");
        }
    }
}
