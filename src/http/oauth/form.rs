//! Forms: `application/x-www-form-urlencoded` bodies, read strictly (RFC 6749 appendix B, WHATWG URL §5.1).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::header::CONTENT_TYPE,
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::fault::Fault;
use crate::{
    http::desk::drain,
    service::{Ca, Ungranted},
};

/// Fields one form has at most; an honest one stays below ten.
const MOST: usize = 32;

/// The fields of a form. They may hold secrets: wiped when dropped, and no `Debug`.
pub struct Form(BTreeMap<String, Vec<Zeroizing<String>>>);

impl Form {
    /// The fields in `text`.
    ///
    /// # Errors
    /// `invalid_request`, when it is no form, or one of more fields than any honest one.
    pub fn parse(text: &[u8]) -> Result<Self, Ungranted> {
        let malformed = |why: &str| Ungranted::Request(format!("the body is no form: {why}"));
        let mut fields = BTreeMap::<String, Vec<_>>::new();
        for (count, pair) in text.split(|octet| *octet == b'&').filter(|pair| !pair.is_empty()).enumerate() {
            if count >= MOST {
                return Err(malformed("more fields than any honest request has"));
            }
            let at = pair.iter().position(|octet| *octet == b'=').unwrap_or(pair.len());
            let (name, value) = (pair.get(..at).unwrap_or(pair), pair.get(at + 1..).unwrap_or_default());
            let name = decoded(name).ok_or_else(|| malformed("a name is not percent-encoded UTF-8"))?;
            let value = decoded(value).ok_or_else(|| malformed("a value is not percent-encoded UTF-8"))?;
            fields.entry(name).or_default().push(Zeroizing::new(value));
        }
        Ok(Self(fields))
    }

    /// The one value of a field; sent without a value it counts as left out (RFC 6749 §3.2).
    ///
    /// # Errors
    /// `invalid_request`, when there are several.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Ungranted> {
        match self.all(name) {
            [] => Ok(None),
            [value] => Ok(Some(value.as_str()).filter(|value| !value.is_empty())),
            _ => Err(Ungranted::Request(format!("{name} is there more than once"))),
        }
    }

    /// Every value of a field.
    #[must_use]
    pub fn all(&self, name: &str) -> &[Zeroizing<String>] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A request body that is a form.
pub(in crate::http) struct FormBody(pub(in crate::http) Form);

impl FromRequest<Arc<Ca>> for FormBody {
    type Rejection = Fault;

    async fn from_request(request: Request, ca: &Arc<Ca>) -> Result<Self, Fault> {
        let limits = ca.limits();
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !is_form(kind) {
            let why = format!("content-type {kind:?}: expected \"application/x-www-form-urlencoded\"");
            drain(request.into_body()).await;
            return Err(Ungranted::Request(why).into());
        }
        Ok(Self(read(request, limits.body_bytes, limits.request).await?))
    }
}

async fn read(request: Request, limit: usize, patience: Duration) -> Result<Form, Ungranted> {
    let body = timeout(patience, to_bytes(request.into_body(), limit)).await;
    let body = body.map_err(|_| Ungranted::Request("the body did not arrive in time".to_owned()))?;
    let body = body
        .map_err(|_| Ungranted::Request(format!("the body broke off, or is larger than {limit} octets")))?;
    Form::parse(&body)
}

fn is_form(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Percent-decoding with `+` for a blank; `None` if it is not whole or no UTF-8.
pub(super) fn decoded(text: &[u8]) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'+' => octets.push(b' '),
            b'%' => {
                let (high, low) = (rest.first()?, rest.get(1)?);
                octets.push(nibble(*high)? << 4 | nibble(*low)?);
                rest = rest.get(2..)?;
            }
            other => octets.push(*other),
        }
    }
    String::from_utf8(octets).ok()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_once() {
        let form = Form::parse(b"scope=a%3Ab+c&empty=&resource=x&resource=y&%61=%2525").unwrap();
        assert_eq!(form.one("scope").unwrap(), Some("a:b c"));
        assert_eq!(form.one("empty").unwrap(), None);
        assert_eq!(form.one("a").unwrap(), Some("%25"));
        assert_eq!(form.all("resource").len(), 2);
        assert!(form.one("resource").is_err());
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for bad in [&b"a=%"[..], b"a=%2", b"a=%zz", b"a=%ff", b"%c3=1"] {
            assert!(Form::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Form::parse("a=1&".repeat(MOST).as_bytes()).is_ok());
        assert!(Form::parse("a=1&".repeat(MOST + 1).as_bytes()).is_err());
    }
}
