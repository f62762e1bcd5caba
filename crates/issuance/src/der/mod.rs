//! The few rules of DER (X.690 §10) the corridor reads and writes by

pub(crate) mod oid;
mod reader;
mod writer;

pub use reader::DerError;
pub(crate) use reader::{Reader, Tlv, bit_string_without_unused, walk};
pub(crate) use writer::Writer;

/// Identifier octets. Only low tag numbers exist in certificates, so one octet says it all.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[n] IMPLICIT` around a primitive type.
    pub(crate) const fn context(n: u8) -> u8 {
        0x80 | n
    }
    /// `[n]` around a constructed type.
    pub(crate) const fn context_constructed(n: u8) -> u8 {
        0xa0 | n
    }
}
