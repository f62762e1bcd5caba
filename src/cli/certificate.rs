//! A certificate told in words: what it says, whatever it is worth.

use std::net::IpAddr;

use countersign_identity::{KeyHash, SpiffeId, Timestamp, Validity, duration, hex};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{OID_X509_SERIALNUMBER, Oid, OidRegistry},
    prelude::FromDer as _,
    public_key::PublicKey,
};

use super::{Output, output::relative};

/// What one certificate says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CertificateFacts {
    /// What it is for, in words.
    pub(crate) role: &'static str,
    pub(crate) spiffe_id: Option<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) ip: Vec<IpAddr>,
    /// Names of other kinds, and other URIs.
    pub(crate) other_names: Vec<String>,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) lineage: Option<String>,
    pub(crate) serial: String,
    #[serde(serialize_with = "as_text")]
    pub(crate) not_before: Timestamp,
    #[serde(serialize_with = "as_text")]
    pub(crate) not_after: Timestamp,
    pub(crate) key: String,
    pub(crate) key_sha256: String,
    pub(crate) usages: Vec<String>,
    pub(crate) ca: bool,
    pub(crate) sha256: String,
}

fn as_text<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

impl CertificateFacts {
    /// Reads a certificate; the error says what is wrong with its bytes.
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let parsed = match X509Certificate::from_der(der) {
            Ok(([], parsed)) => parsed,
            Ok((rest, _)) => return Err(format!("{} octets follow the certificate's end", rest.len())),
            Err(error) => return Err(format!("not an X.509 certificate ({error})")),
        };
        let names = Names::of(&parsed)?;
        let ca = parsed.basic_constraints().ok().flatten().is_some_and(|found| found.value.ca);
        let time = |time: x509_parser::time::ASN1Time| Timestamp::from_unix(time.timestamp());
        Ok(Self {
            role: role(&parsed, ca, names.spiffe_id.as_deref()),
            spiffe_id: names.spiffe_id,
            dns: names.dns,
            ip: names.ip,
            other_names: names.other,
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            lineage: lineage(&parsed),
            serial: serial(parsed.raw_serial()),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
            key: key(&parsed),
            key_sha256: KeyHash::from_bytes(Sha256::digest(parsed.public_key().raw).into()).to_string(),
            usages: usages(&parsed),
            ca,
            sha256: hex::encode(&Sha256::digest(der)),
        })
    }

    /// Whether its issuer has its own name, as a root's has.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Prints it.
    pub(crate) fn show(&self, out: &Output, now: Timestamp) {
        let list = |name: &str, values: &[String]| {
            if !values.is_empty() {
                out.field(name, values.join(", "));
            }
        };
        out.heading(self.role);
        list("SPIFFE ID", self.spiffe_id.as_slice());
        list("DNS names", &self.dns);
        list("IP addresses", &self.ip.iter().map(ToString::to_string).collect::<Vec<_>>());
        list("other names", &self.other_names);
        list("lineage", self.lineage.as_slice());
        out.field("serial", &self.serial);
        out.field("subject", &self.subject);
        out.field("issuer", &self.issuer);
        out.field("not before", relative(self.not_before, now));
        out.field("not after", relative(self.not_after, now));
        if let Ok(validity) = Validity::new(self.not_before, self.not_after) {
            out.field("lifetime", duration::format(validity.lifetime()));
        }
        out.field("key", format_args!("{}, SHA-256 {}", self.key, self.key_sha256));
        list("usages", &self.usages);
        out.field("SHA-256", &self.sha256);
    }
}

#[derive(Default)]
struct Names {
    spiffe_id: Option<String>,
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    other: Vec<String>,
}

impl Names {
    fn of(parsed: &X509Certificate<'_>) -> Result<Self, String> {
        let mut names = Self::default();
        let found =
            parsed.subject_alternative_name().map_err(|_| "its subjectAltName extension is broken")?;
        for name in found.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default() {
            match name {
                GeneralName::URI(uri) if names.spiffe_id.is_none() && uri.parse::<SpiffeId>().is_ok() => {
                    names.spiffe_id = Some((*uri).to_owned());
                }
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                GeneralName::IPAddress(octets) => names.ip.extend(address(octets)),
                other => names.other.push(other.to_string()),
            }
        }
        Ok(names)
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

fn role(parsed: &X509Certificate<'_>, ca: bool, spiffe_id: Option<&str>) -> &'static str {
    let path = spiffe_id.and_then(|id| id.parse::<SpiffeId>().ok()).map(|id| id.path().to_owned());
    match (ca, path.as_deref()) {
        (true, _) if parsed.subject() == parsed.issuer() => "root certificate",
        (true, _) => "issuer certificate",
        (false, Some("/countersign/ca")) => "the CA's own server certificate",
        (false, Some("/countersign/trust")) => "trust signer certificate",
        (false, Some(path)) if !path.is_empty() => "workload certificate (X.509 SVID)",
        (false, _) => "certificate that names no workload",
    }
}

/// The lineage stands as `serialNumber` in the subject (DESIGN §3).
fn lineage(parsed: &X509Certificate<'_>) -> Option<String> {
    let text = parsed.subject().iter_by_oid(&OID_X509_SERIALNUMBER).next()?.as_str().ok()?;
    text.parse::<countersign_identity::Lineage>().ok().map(|lineage| lineage.to_string())
}

/// Without the zero octet that only keeps the DER positive.
fn serial(octets: &[u8]) -> String {
    match octets {
        [0, rest @ ..] if !rest.is_empty() => hex::encode(rest),
        all => hex::encode(all),
    }
}

fn key(parsed: &X509Certificate<'_>) -> String {
    let spki = parsed.public_key();
    let curve =
        spki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
    match (spki.algorithm.algorithm.to_id_string().as_str(), curve.as_deref()) {
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => "ECDSA P-256".to_owned(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => "ECDSA P-384".to_owned(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => "ECDSA P-521".to_owned(),
        ("1.3.101.112", _) => "Ed25519".to_owned(),
        (oid, curve) => match spki.parsed() {
            Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
            _ => format!("{oid}{}", curve.map(|curve| format!(" on {curve}")).unwrap_or_default()),
        },
    }
}

fn usages(parsed: &X509Certificate<'_>) -> Vec<String> {
    let mut usages = Vec::new();
    if let Ok(Some(found)) = parsed.key_usage() {
        usages.extend(found.value.to_string().split(", ").map(str::to_lowercase));
    }
    if let Ok(Some(found)) = parsed.extended_key_usage() {
        let purposes = [
            (found.value.any, "any purpose"),
            (found.value.server_auth, "server authentication"),
            (found.value.client_auth, "client authentication"),
            (found.value.code_signing, "code signing"),
            (found.value.email_protection, "e-mail protection"),
            (found.value.time_stamping, "time stamping"),
            (found.value.ocsp_signing, "OCSP signing"),
        ];
        usages.extend(purposes.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()));
        usages.extend(found.value.other.iter().map(purpose));
    }
    usages
}

fn purpose(oid: &Oid<'_>) -> String {
    let registry = OidRegistry::default().with_x509();
    registry.get(oid).map_or_else(|| oid.to_id_string(), |entry| entry.description().to_owned())
}
