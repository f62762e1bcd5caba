//! How records become rows: CBOR maps with numbered fields, so that old rows stay readable by new code.
//!
//! A field number is never used twice for different things; a new field is optional.

use std::net::IpAddr;

use countersign_identity::{ApiKeyId, KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp, Validity};
use countersign_issuance::{Machines, Registration, TokenKey, Tokens};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::StoreError;

/// A value that is kept as one row.
pub(crate) trait Record: Sized {
    /// The octets of the row.
    fn write(&self, key: &[u8]) -> Result<Vec<u8>, StoreError>;
    /// The value in the octets of a row.
    fn read(key: &[u8], octets: &[u8]) -> Result<Self, StoreError>;
}

impl<T> Record for T
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    fn write(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut octets = Vec::with_capacity(256);
        minicbor::encode(self, &mut octets).map_err(|e| corrupt(key, &e.to_string()))?;
        Ok(octets)
    }

    fn read(key: &[u8], octets: &[u8]) -> Result<Self, StoreError> {
        minicbor::decode(octets).map_err(|e| corrupt(key, &e.to_string()))
    }
}

/// The error for a row that cannot be what it should.
pub(crate) fn corrupt(key: &[u8], why: &str) -> StoreError {
    StoreError::Corrupt { what: format!("row {}: {why}", key.escape_ascii()) }
}

/// Ground-floor values as CBOR: octet strings, integers, texts. For `#[cbor(with = "plain")]`.
pub(crate) mod plain {
    use super::{DecodeError, Decoder, EncodeError, Encoder, Plain, Write};

    pub(crate) fn encode<T: Plain, C, W: Write>(
        value: &T,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        value.put(e)
    }

    pub(crate) fn decode<T: Plain, C>(d: &mut Decoder<'_>, _: &mut C) -> Result<T, DecodeError> {
        T::take(d)
    }

    pub(crate) fn nil<T: Plain>() -> Option<T> {
        T::absent()
    }

    pub(crate) fn is_nil<T: Plain>(value: &T) -> bool {
        value.is_absent()
    }
}

/// A value of another room that has a plain form.
pub(crate) trait Plain: Sized {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>>;
    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    fn absent() -> Option<Self> {
        None
    }

    fn is_absent(&self) -> bool {
        false
    }
}

impl<T: Plain> Plain for Option<T> {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        match self {
            Some(value) => value.put(e),
            None => e.null()?.ok(),
        }
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            d.skip()?;
            return Ok(None);
        }
        T::take(d).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

fn octets<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], DecodeError> {
    d.bytes()?.try_into().map_err(|_| DecodeError::message("octet string of another length"))
}

fn parsed<T: std::str::FromStr>(d: &mut Decoder<'_>) -> Result<T, DecodeError>
where
    T::Err: std::fmt::Display,
{
    d.str()?.parse().map_err(|e: T::Err| DecodeError::message(e.to_string()))
}

impl<const N: usize> Plain for [u8; N] {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self)?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        octets(d)
    }
}

impl Plain for Serial {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Self::from_be_bytes(d.bytes()?).map_err(|e| DecodeError::message(e.to_string()))
    }
}

impl Plain for Lineage {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        octets(d).map(Self::from_random)
    }
}

impl Plain for MachineId {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        octets(d).map(Self::from_random)
    }
}

impl Plain for ApiKeyId {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        octets(d).map(Self::from_random)
    }
}

impl Plain for KeyHash {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        octets(d).map(Self::from_bytes)
    }
}

impl Plain for Timestamp {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.i64(self.unix())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.i64().map(Self::from_unix)
    }
}

impl Plain for Validity {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.array(2)?.i64(self.not_before().unix())?.i64(self.not_after().unix())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        if d.array()? != Some(2) {
            return Err(DecodeError::message("a validity is two times"));
        }
        let ends = (Timestamp::take(d)?, Timestamp::take(d)?);
        Self::new(ends.0, ends.1).map_err(|e| DecodeError::message(e.to_string()))
    }
}

impl Plain for SpiffeId {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.str(self.as_str())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        parsed(d)
    }
}

impl Plain for IpAddr {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.str(&self.to_string())?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        parsed(d)
    }
}

impl Plain for Registration {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), EncodeError<W::Error>> {
        e.encode(RegistrationRow::from(self))?.ok()
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.decode::<RegistrationRow>()?.try_into()
    }
}

/// A registration as it stands in the book.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct RegistrationRow {
    #[cbor(n(0), with = "plain")]
    id: SpiffeId,
    #[n(1)]
    profile: String,
    #[n(2)]
    dns: Vec<String>,
    #[n(3)]
    ip: Vec<String>,
    #[cbor(n(4), with = "plain", has_nil)]
    until: Option<Timestamp>,
    #[n(5)]
    owner: Option<String>,
    #[n(6)]
    many: bool,
    #[n(7)]
    shared: bool,
    #[cbor(n(8), with = "plain", has_nil)]
    parent: Option<SpiffeId>,
    #[n(9)]
    selectors: Vec<String>,
    #[cbor(n(10), with = "plain")]
    created: Timestamp,
    #[n(11)]
    bearer: Option<bool>,
    #[n(12)]
    token_keys: Option<Vec<TokenKeyRow>>,
}

/// A key of a registration as it stands in the book.
#[derive(Encode, Decode)]
#[cbor(map)]
struct TokenKeyRow {
    #[n(0)]
    id: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    spki: Vec<u8>,
    #[cbor(n(2), with = "plain")]
    until: Timestamp,
    #[n(3)]
    owner: Option<String>,
    #[cbor(n(4), with = "plain")]
    under: KeyHash,
}

impl From<&TokenKey> for TokenKeyRow {
    fn from(key: &TokenKey) -> Self {
        let TokenKey { id, spki, until, owner, under } = key.clone();
        Self { id, spki, until, owner, under }
    }
}

impl From<TokenKeyRow> for TokenKey {
    fn from(row: TokenKeyRow) -> Self {
        let TokenKeyRow { id, spki, until, owner, under } = row;
        Self { id, spki, until, owner, under }
    }
}

impl From<&Registration> for RegistrationRow {
    fn from(r: &Registration) -> Self {
        Self {
            id: r.id.clone(),
            profile: r.profile.clone(),
            dns: r.dns.iter().map(ToString::to_string).collect(),
            ip: r.ip.iter().map(ToString::to_string).collect(),
            until: r.until,
            owner: r.owner.clone(),
            many: r.machines == Machines::Many,
            shared: r.shared,
            parent: r.parent.clone(),
            selectors: r.selectors.clone(),
            created: r.created,
            bearer: (r.tokens == Tokens::Bearer).then_some(true),
            token_keys: (!r.token_keys.is_empty()).then(|| r.token_keys.iter().map(Into::into).collect()),
        }
    }
}

impl TryFrom<RegistrationRow> for Registration {
    type Error = DecodeError;

    fn try_from(row: RegistrationRow) -> Result<Self, DecodeError> {
        let unreadable = |e: &dyn std::fmt::Display| DecodeError::message(e.to_string());
        Ok(Self {
            id: row.id,
            profile: row.profile,
            dns: row.dns.iter().map(|n| n.parse().map_err(|e| unreadable(&e))).collect::<Result<_, _>>()?,
            ip: row.ip.iter().map(|n| n.parse().map_err(|e| unreadable(&e))).collect::<Result<_, _>>()?,
            until: row.until,
            owner: row.owner,
            machines: if row.many { Machines::Many } else { Machines::One },
            tokens: if row.bearer == Some(true) { Tokens::Bearer } else { Tokens::Bound },
            token_keys: row.token_keys.into_iter().flatten().map(Into::into).collect(),
            shared: row.shared,
            parent: row.parent,
            selectors: row.selectors,
            created: row.created,
        })
    }
}
