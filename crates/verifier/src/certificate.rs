//! One certificate, read strictly: DER in its one form, every field in its place, every extension understood or named.
//!
//! rustls-webpki builds and verifies the path from the same octets and is lenient where the web is; what this reader
//! refuses never reaches it. No copy is made.

use countersign_identity::{Lineage, Validity};
use rustls::pki_types::SignatureVerificationAlgorithm;
use sha2::{Digest, Sha256};

use crate::der::{DerFault, INTEGER, PRINTABLE_STRING, Reader, SEQUENCE, SET, Value, constructed};
use crate::extension::{Broken, Extensions};
use crate::key::PublicKey;
use crate::name::distinguished_name;
use crate::time::Time;

/// X.520 §6.2.9, the attribute, not the certificate's serial number.
const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];

/// A certificate's fields. Nothing about it is proven, and no rule but those of its form is checked.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    tbs: &'a [u8],
    /// The content of the algorithm's identifier, the same inside and outside.
    algorithm: &'a [u8],
    signature: &'a [u8],
    pub(crate) serial: &'a [u8],
    /// The content of the issuer's name.
    pub(crate) issuer: &'a [u8],
    /// The content of the subject's name.
    pub(crate) subject: &'a [u8],
    pub(crate) validity: Validity,
    /// One of the times has four digits for a year before 2050.
    pub(crate) long_years: bool,
    pub(crate) key: PublicKey<'a>,
    pub(crate) extensions: Extensions<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate with nothing behind it.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, String> {
        Self::fields(der).map_err(|(part, fault)| format!("its {part} {fault}"))
    }

    fn fields(der: &'a [u8]) -> Result<Self, Broken> {
        let outer = |fault| ("outermost sequence", fault);
        let mut file = Reader::new(der);
        let mut certificate = file.inside(SEQUENCE).map_err(outer)?;
        file.end().map_err(outer)?;
        let tbs = certificate.value(SEQUENCE).map_err(outer)?;
        let algorithm = certificate.value(SEQUENCE).and_then(algorithm).map_err(SIGNATURE)?;
        let signature = certificate.octets_in_bits().map_err(SIGNATURE)?;
        certificate.end().map_err(outer)?;
        Self::signed(tbs, algorithm, signature)
    }

    fn signed(tbs: Value<'a>, algorithm: &'a [u8], signature: &'a [u8]) -> Result<Self, Broken> {
        let part = |name: &'static str| move |fault| (name, fault);
        let mut fields = Reader::new(tbs.content);
        version(&mut fields).map_err(part("version"))?;
        let serial = fields.integer().map_err(part("serial number"))?;
        let inner = fields.value(SEQUENCE).and_then(self::algorithm).map_err(SIGNATURE)?;
        // RFC 5280 §4.1.1.2.
        if inner != algorithm {
            return Err(("signature algorithm inside and outside", DerFault::Value));
        }
        let issuer = name(&mut fields).map_err(part("issuer"))?;
        let (validity, long_years) = validity(&mut fields).map_err(part("validity"))?;
        let subject = name(&mut fields).map_err(part("subject"))?;
        let key = fields.value(SEQUENCE).and_then(PublicKey::read).map_err(part("public key"))?;
        // RFC 5280 §4.1.2.8 forbids unique identifiers; version 3 is about the extensions.
        let mut explicit = fields.inside(constructed(3)).map_err(part("list of extensions"))?;
        fields.end().map_err(part("list of fields"))?;
        let extensions = explicit.take(SEQUENCE).map_err(part("list of extensions"))?;
        explicit.end().map_err(part("list of extensions"))?;
        let extensions = Extensions::read(extensions)?;
        let tbs = tbs.whole;
        Ok(Self { tbs, algorithm, signature, serial, issuer, subject, validity, long_years, key, extensions })
    }

    /// Whether `issuer` is who it names as its issuer, and made its signature. Nothing else of the path is judged.
    pub(crate) fn is_signed_by(
        &self,
        issuer: &Certificate<'_>,
        known: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        self.issuer == issuer.subject && issuer.key.signed(known, self.algorithm, self.tbs, self.signature)
    }

    /// SHA-256 of its to-be-signed part.
    pub(crate) fn tbs_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.tbs).into()
    }

    /// Named as its own issuer.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    pub(crate) fn is_ca(&self) -> bool {
        self.extensions.basic_constraints.is_some_and(|found| found.value.ca)
    }

    /// The subject's serialNumber, where exactly one stands there and it is a lineage.
    pub(crate) fn lineage(&self) -> Option<Lineage> {
        let mut found = None;
        let mut name = Reader::new(self.subject);
        while !name.is_empty() {
            let mut set = name.inside(SET).ok()?;
            while !set.is_empty() {
                let mut attribute = set.inside(SEQUENCE).ok()?;
                if attribute.oid().ok()? == SERIAL_NUMBER {
                    let text = attribute.take(PRINTABLE_STRING).ok()?;
                    let several = found.replace(text).is_some();
                    if several {
                        return None;
                    }
                }
            }
        }
        str::from_utf8(found?).ok()?.parse().ok()
    }
}

const SIGNATURE: fn(DerFault) -> Broken = |fault| ("signature", fault);

fn version(fields: &mut Reader<'_>) -> Result<(), DerFault> {
    let mut explicit = fields.inside(constructed(0))?;
    let version = explicit.take(INTEGER)?;
    explicit.end()?;
    // Version 3 is written as 2. Without extensions nobody has a SPIFFE ID, and nobody may sign.
    if version == [2] { Ok(()) } else { Err(DerFault::Value) }
}

/// The content of an `AlgorithmIdentifier`.
pub(crate) fn algorithm(value: Value<'_>) -> Result<&[u8], DerFault> {
    let mut fields = Reader::new(value.content);
    fields.oid()?;
    if !fields.is_empty() {
        fields.any()?.is_der()?;
    }
    fields.end()?;
    Ok(value.content)
}

fn name<'a>(fields: &mut Reader<'a>) -> Result<&'a [u8], DerFault> {
    let content = fields.take(SEQUENCE)?;
    distinguished_name(content)?;
    Ok(content)
}

fn validity(fields: &mut Reader<'_>) -> Result<(Validity, bool), DerFault> {
    let mut times = fields.inside(SEQUENCE)?;
    let (first, last) = (Time::read(&mut times)?, Time::read(&mut times)?);
    times.end()?;
    let validity = Validity::new(first.at, last.at).map_err(|_| DerFault::Value)?;
    Ok((validity, first.long_form || last.long_form))
}
