//! What a signing request asks for: read only to be compared with what the registration gives

use std::net::IpAddr;

use crate::der::{DerError, Reader, oid, tag};

/// The names and extensions asked for in a request. None of it reaches a certificate (Invariant 1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requested {
    pub(crate) uris: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) ip: Vec<IpAddr>,
    /// Names of types that are never certified, and extensions other than subjectAltName: in words.
    pub(crate) foreign: Vec<String>,
}

/// Reads the attributes of a request (the content of its SET); other attributes than extension requests, such as a
/// challenge password, ask for nothing and are skipped.
pub(crate) fn from_attributes(content: &[u8]) -> Result<Requested, DerError> {
    let mut requested = Requested::default();
    let mut attributes = Reader::new(content);
    let mut seen = false;
    while !attributes.is_empty() {
        let mut attribute = attributes.sequence()?;
        let kind = attribute.expect(tag::OBJECT_IDENTIFIER)?.content;
        let mut values = Reader::new(attribute.expect(tag::SET)?.content);
        attribute.finish()?;
        if !matches!(kind, oid::EXTENSION_REQUEST | oid::MICROSOFT_EXTENSION_REQUEST) {
            continue;
        }
        if std::mem::replace(&mut seen, true) {
            return Err(DerError::Value("extensions are requested twice"));
        }
        let extensions = values.sequence()?;
        // RFC 2985 §5.4.2: single-valued.
        values.finish()?;
        read_extensions(extensions, &mut requested)?;
    }
    Ok(requested)
}

fn read_extensions<'a>(mut extensions: Reader<'a>, requested: &mut Requested) -> Result<(), DerError> {
    let mut seen: Vec<&'a [u8]> = Vec::new();
    while !extensions.is_empty() {
        let mut extension = extensions.sequence()?;
        let kind = extension.expect(tag::OBJECT_IDENTIFIER)?.content;
        let critical = extension.optional(tag::BOOLEAN)?;
        let value = extension.expect(tag::OCTET_STRING)?.content;
        extension.finish()?;
        if critical.is_some_and(|critical| critical.content != [0xff]) {
            return Err(DerError::Value("a default value is written out (X.690 §11.5)"));
        }
        if seen.contains(&kind) {
            return Err(DerError::Value("an extension is requested twice"));
        }
        seen.push(kind);
        if kind == oid::SUBJECT_ALT_NAME {
            read_names(value, requested)?;
        } else {
            requested.foreign.push(format!("the extension {}", oid::dotted(kind)));
        }
    }
    Ok(())
}

/// GeneralNames (RFC 5280 §4.2.1.6).
fn read_names(value: &[u8], requested: &mut Requested) -> Result<(), DerError> {
    const DNS: u8 = tag::context(2);
    const URI: u8 = tag::context(6);
    const IP: u8 = tag::context(7);
    let mut outer = Reader::new(value);
    let mut names = outer.sequence()?;
    outer.finish()?;
    while !names.is_empty() {
        let name = names.next()?;
        match name.tag {
            DNS => requested.dns.push(ia5(name.content)?),
            URI => requested.uris.push(ia5(name.content)?),
            IP => requested.ip.push(ip(name.content)?),
            other => requested.foreign.push(format!("a name of the type [{}]", other & 0x1f)),
        }
    }
    Ok(())
}

fn ia5(content: &[u8]) -> Result<String, DerError> {
    match std::str::from_utf8(content) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(DerError::Value("a name holds octets that are not ASCII")),
    }
}

fn ip(content: &[u8]) -> Result<IpAddr, DerError> {
    if let Ok(v4) = <[u8; 4]>::try_from(content) {
        return Ok(IpAddr::from(v4));
    }
    match <[u8; 16]>::try_from(content) {
        Ok(v6) => Ok(IpAddr::from(v6)),
        Err(_) => Err(DerError::Value("an IP address has 4 or 16 octets")),
    }
}
