//! The to-be-signed bytes of a certificate (RFC 5280 §4.1)

use std::net::IpAddr;

use countersign_identity::{Serial, Validity};

use crate::der::{Writer, oid, tag};
use crate::dns_name::DnsName;
use crate::signer::SigningAlgorithm;

/// A certificate before it is signed, field by field.
#[derive(Debug, Clone)]
pub(crate) struct Tbs<'a> {
    pub(crate) serial: Serial,
    pub(crate) algorithm: SigningAlgorithm,
    /// Name, DER.
    pub(crate) issuer: &'a [u8],
    pub(crate) validity: Validity,
    pub(crate) subject: Vec<Attribute>,
    /// SubjectPublicKeyInfo, DER.
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: Vec<Extension>,
}

/// One attribute of a subject, in an RDN of its own.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) oid: &'static [u8],
    pub(crate) string: u8,
    pub(crate) value: String,
}

impl Attribute {
    pub(crate) fn printable(oid: &'static [u8], value: String) -> Self {
        Attribute { oid, string: tag::PRINTABLE_STRING, value }
    }

    pub(crate) fn utf8(oid: &'static [u8], value: String) -> Self {
        Attribute { oid, string: tag::UTF8_STRING, value }
    }
}

/// One extension.
#[derive(Debug, Clone)]
pub(crate) struct Extension {
    pub(crate) oid: &'static [u8],
    pub(crate) critical: bool,
    /// What stands in its OCTET STRING.
    pub(crate) value: Vec<u8>,
}

impl Tbs<'_> {
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(1_024);
        w.sequence(|w| {
            w.nested(tag::context_constructed(0), |w| w.unsigned(&[2]));
            w.unsigned(self.serial.as_bytes());
            w.sequence(|w| w.oid(self.algorithm.oid()));
            w.raw(self.issuer);
            w.sequence(|w| {
                w.time(self.validity.not_before());
                w.time(self.validity.not_after());
            });
            w.raw(&name(&self.subject));
            w.raw(self.spki);
            w.nested(tag::context_constructed(3), |w| {
                w.sequence(|w| self.extensions.iter().for_each(|extension| extension.write(w)));
            });
        });
        w.into_bytes()
    }
}

/// A Name of one attribute to each RDN.
pub(crate) fn name(attributes: &[Attribute]) -> Vec<u8> {
    let mut w = Writer::with_capacity(64);
    w.sequence(|w| {
        for attribute in attributes {
            w.nested(tag::SET, |w| {
                w.sequence(|w| {
                    w.oid(attribute.oid);
                    w.value(attribute.string, attribute.value.as_bytes());
                });
            });
        }
    });
    w.into_bytes()
}

impl Extension {
    fn new(oid: &'static [u8], critical: bool, value: impl FnOnce(&mut Writer)) -> Self {
        let mut w = Writer::with_capacity(64);
        value(&mut w);
        Extension { oid, critical, value: w.into_bytes() }
    }

    fn write(&self, w: &mut Writer) {
        w.sequence(|w| {
            w.oid(self.oid);
            // FALSE is the default and so is not written (X.690 §11.5).
            if self.critical {
                w.value(tag::BOOLEAN, &[0xff]);
            }
            w.value(tag::OCTET_STRING, &self.value);
        });
    }

    /// keyUsage of whatever authenticates: digitalSignature and nothing else.
    pub(crate) fn signs_data() -> Self {
        Extension::new(oid::KEY_USAGE, true, |w| w.value(tag::BIT_STRING, &[7, 0b1000_0000]))
    }

    /// keyUsage of a CA: keyCertSign and cRLSign.
    pub(crate) fn signs_certificates() -> Self {
        Extension::new(oid::KEY_USAGE, true, |w| w.value(tag::BIT_STRING, &[1, 0b0000_0110]))
    }

    pub(crate) fn extended_key_usage(critical: bool, purposes: &[&[u8]]) -> Self {
        Extension::new(oid::EXTENDED_KEY_USAGE, critical, |w| {
            w.sequence(|w| purposes.iter().for_each(|purpose| w.oid(purpose)));
        })
    }

    /// basicConstraints that say CA:FALSE: the default value, so an empty SEQUENCE (STANDARDS §1.10.1).
    pub(crate) fn no_authority() -> Self {
        Extension::new(oid::BASIC_CONSTRAINTS, true, |w| w.sequence(|_| {}))
    }

    /// basicConstraints that say CA:TRUE.
    pub(crate) fn authority(path_length: Option<u8>) -> Self {
        Extension::new(oid::BASIC_CONSTRAINTS, true, |w| {
            w.sequence(|w| {
                w.value(tag::BOOLEAN, &[0xff]);
                if let Some(length) = path_length {
                    w.unsigned(&[length]);
                }
            });
        })
    }

    pub(crate) fn authority_key_id(id: &[u8]) -> Self {
        Extension::new(oid::AUTHORITY_KEY_ID, false, |w| w.sequence(|w| w.value(tag::context(0), id)))
    }

    pub(crate) fn subject_key_id(id: &[u8]) -> Self {
        Extension::new(oid::SUBJECT_KEY_ID, false, |w| w.value(tag::OCTET_STRING, id))
    }

    /// subjectAltName; not critical, because the subject is not empty (RFC 5280 §4.2.1.6).
    pub(crate) fn names(uri: &str, dns: &[DnsName], ip: &[IpAddr]) -> Self {
        Extension::new(oid::SUBJECT_ALT_NAME, false, |w| {
            w.sequence(|w| {
                w.value(tag::context(6), uri.as_bytes());
                for name in dns {
                    w.value(tag::context(2), name.as_str().as_bytes());
                }
                for address in ip {
                    match address {
                        IpAddr::V4(v4) => w.value(tag::context(7), &v4.octets()),
                        IpAddr::V6(v6) => w.value(tag::context(7), &v6.octets()),
                    }
                }
            });
        })
    }

    /// The epoch of a trust signer: an INTEGER.
    pub(crate) fn trust_epoch(epoch: u64) -> Self {
        Extension::new(oid::TRUST_EPOCH, false, |w| w.unsigned(&epoch.to_be_bytes()))
    }
}

/// A certificate: the to-be-signed bytes exactly as they are, the algorithm, the signature.
pub(crate) fn certificate(tbs: &[u8], algorithm: SigningAlgorithm, signature: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(tbs.len() + signature.len() + 32);
    w.sequence(|w| {
        w.raw(tbs);
        w.raw(&algorithm.identifier());
        w.bit_string(signature);
    });
    w.into_bytes()
}
