//! A leaf certificate, correct until told otherwise.

use std::time::Duration;

use countersign_identity::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};

use crate::authority::Authority;
use crate::forged::Forged;
use crate::noon::{noon, to_rcgen};

const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];
const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];

/// A leaf in the making; each method breaks or sets one thing.
#[derive(Debug)]
pub struct LeafForge<'a> {
    authority: &'a Authority,
    params: CertificateParams,
    key: Option<KeyPair>,
}

impl<'a> LeafForge<'a> {
    pub(crate) fn new(authority: &'a Authority, uri: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = to_rcgen(noon() - Duration::from_secs(60));
        params.not_after = to_rcgen(noon() + Duration::from_secs(3599));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(ia5(uri))];
        params.use_authority_key_identifier_extension = true;
        Self { authority, params, key: None }.lineage("l-00112233445566778899aabbccddeeff")
    }

    /// Signs it.
    #[must_use]
    pub fn forge(mut self) -> Forged {
        let key = self.key.unwrap_or_else(crate::csr::p256);
        if self.params.serial_number.is_none() {
            let octets = key.public_key_raw().iter().rev().take(18).copied();
            let mut octets: Vec<u8> = octets.collect();
            if let Some(first) = octets.first_mut() {
                *first = *first & 0x7f | 1;
            }
            self.params.serial_number = Some(SerialNumber::from(octets));
        }
        let leaf = self.authority.sign(&self.params, &key);
        Forged { full: self.authority.above(leaf), key }
    }

    /// Anything else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }

    /// For this key.
    #[must_use]
    pub fn key(self, key: KeyPair) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Exactly these URI names, none included, beside any DNS names.
    #[must_use]
    pub fn uris(self, uris: &[&str]) -> Self {
        self.with(|params| {
            params.subject_alt_names.retain(|name| !matches!(name, SanType::URI(_)));
            params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI(ia5(uri))));
        })
    }

    /// A DNS name more.
    #[must_use]
    pub fn dns(self, name: &str) -> Self {
        self.with(|params| params.subject_alt_names.push(SanType::DnsName(ia5(name))))
    }

    /// Its first second.
    #[must_use]
    pub fn begins(self, at: Timestamp) -> Self {
        self.with(|params| params.not_before = to_rcgen(at))
    }

    /// Its last second; it begins an hour before that, or as it would have if that is earlier.
    #[must_use]
    pub fn ends(self, at: Timestamp) -> Self {
        self.with(|params| {
            params.not_after = to_rcgen(at);
            params.not_before = params.not_before.min(to_rcgen(at - Duration::from_secs(3599)));
        })
    }

    /// A certificate authority in everything but its key usage.
    #[must_use]
    pub fn ca(self) -> Self {
        self.with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
    }

    /// Without basicConstraints.
    #[must_use]
    pub fn no_basic_constraints(self) -> Self {
        self.with(|params| params.is_ca = IsCa::NoCa)
    }

    /// With these key usages; none leaves the extension out.
    #[must_use]
    pub fn key_usages(self, usages: &[KeyUsagePurpose]) -> Self {
        self.with(|params| params.key_usages = usages.to_vec())
    }

    /// With digitalSignature in a keyUsage that is not critical.
    #[must_use]
    pub fn key_usage_not_critical(self) -> Self {
        // BIT STRING, 7 unused bits, bit 0 set: digitalSignature.
        let extension = CustomExtension::from_oid_content(&KEY_USAGE, vec![3, 2, 7, 0x80]);
        self.key_usages(&[]).with(|params| params.custom_extensions.push(extension))
    }

    /// With these extended key usages; none leaves the extension out.
    #[must_use]
    pub fn extended_key_usages(self, usages: &[ExtendedKeyUsagePurpose]) -> Self {
        self.with(|params| params.extended_key_usages = usages.to_vec())
    }

    /// With this serial number.
    #[must_use]
    pub fn serial(self, octets: &[u8]) -> Self {
        self.with(|params| params.serial_number = Some(SerialNumber::from(octets.to_vec())))
    }

    /// With this as the serialNumber of its subject.
    #[must_use]
    pub fn lineage(self, text: &str) -> Self {
        let value = DnValue::PrintableString(text.try_into().expect("a printable lineage"));
        self.with(|params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), value);
        })
    }
}

pub(crate) fn ia5(text: &str) -> Ia5String {
    text.try_into().expect("ASCII")
}
