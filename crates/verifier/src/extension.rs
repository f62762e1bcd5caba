//! Certificate extensions, each read in the one form the standards give it (RFC 5280 §4.2).

use crate::der::{
    BIT_STRING, DerFault, INTEGER, OCTET_STRING, Reader, SEQUENCE, constructed, context, minimal_integer,
    named_bits,
};
use crate::distribution::points;
use crate::name::{GeneralName, general_names};

/// More extensions than any certificate has a use for.
const LIMIT: usize = 64;

/// What the extensions of a certificate say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extensions<'a> {
    pub(crate) basic_constraints: Option<Marked<BasicConstraints>>,
    pub(crate) key_usage: Option<Marked<KeyUsage>>,
    pub(crate) purposes: Option<Purposes>,
    pub(crate) subject_names: Option<Marked<SubjectNames<'a>>>,
    pub(crate) authority_key: Option<AuthorityKey<'a>>,
    pub(crate) subject_key: Option<&'a [u8]>,
    /// The content of `Extensions`, for those only a few certificates have.
    pub(crate) content: &'a [u8],
    /// The content of `CRLDistributionPoints`.
    pub(crate) crl_points: Option<&'a [u8]>,
    /// The first that is critical and must not be, or the other way round.
    pub(crate) wrongly_marked: Option<&'static Kind>,
    /// The first that has its place in certificates of authorities.
    pub(crate) for_authorities: Option<&'static Kind>,
    /// The identifier of the first critical one nobody here acts upon.
    pub(crate) unknown_critical: Option<&'a [u8]>,
}

/// A value with its `critical`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marked<T> {
    pub(crate) critical: bool,
    pub(crate) value: T,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BasicConstraints {
    pub(crate) ca: bool,
    pub(crate) path_length: bool,
}

/// The bits of a keyUsage, the first one on top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyUsage(u16);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Purposes {
    pub(crate) server: bool,
    pub(crate) client: bool,
}

/// The subject alternative names: how many URIs, and the first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SubjectNames<'a> {
    pub(crate) uris: usize,
    pub(crate) first_uri: Option<&'a str>,
    content: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AuthorityKey<'a> {
    pub(crate) key_id: Option<&'a [u8]>,
    /// The content of `GeneralNames`.
    pub(crate) issuer: Option<&'a [u8]>,
    pub(crate) serial: Option<&'a [u8]>,
}

/// What RFC 5280 says of an extension as such.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    oid: &'static [u8],
    pub(crate) name: &'static str,
    pub(crate) critical: Critical,
    for_authorities: bool,
    acted_upon: bool,
}

/// Whether an extension is marked critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Critical {
    Must,
    May,
    MustNot,
}

const fn kind(oid: &'static [u8], name: &'static str, critical: Critical) -> Kind {
    Kind { oid, name, critical, for_authorities: false, acted_upon: false }
}

impl Kind {
    const fn acted_upon(self) -> Self {
        Self { acted_upon: true, ..self }
    }

    const fn for_authorities(self) -> Self {
        Self { for_authorities: true, ..self }
    }
}

static BASIC_CONSTRAINTS: Kind = kind(&[0x55, 0x1d, 19], "basicConstraints", Critical::May).acted_upon();
static KEY_USAGE: Kind = kind(&[0x55, 0x1d, 15], "keyUsage", Critical::May).acted_upon();
static PURPOSES: Kind = kind(&[0x55, 0x1d, 37], "extendedKeyUsage", Critical::May).acted_upon();
static SUBJECT_NAMES: Kind = kind(&[0x55, 0x1d, 17], "subjectAltName", Critical::May).acted_upon();
static AUTHORITY_KEY: Kind = kind(&[0x55, 0x1d, 35], "authorityKeyIdentifier", Critical::MustNot);
static SUBJECT_KEY: Kind = kind(&[0x55, 0x1d, 14], "subjectKeyIdentifier", Critical::MustNot);
static CRL_POINTS: Kind = kind(&[0x55, 0x1d, 31], "cRLDistributionPoints", Critical::May).acted_upon();
// RFC 5280 §4.2.1.10 wants it critical; roots of the web rarely have it so, and it is obeyed either way.
static NAME_CONSTRAINTS: Kind =
    kind(&[0x55, 0x1d, 30], "nameConstraints", Critical::May).acted_upon().for_authorities();
static ISSUER_NAMES: Kind = kind(&[0x55, 0x1d, 18], "issuerAltName", Critical::May);
static DIRECTORY: Kind = kind(&[0x55, 0x1d, 9], "subjectDirectoryAttributes", Critical::MustNot);
static POLICIES: Kind = kind(&[0x55, 0x1d, 32], "certificatePolicies", Critical::May);
static POLICY_MAPPINGS: Kind = kind(&[0x55, 0x1d, 33], "policyMappings", Critical::May).for_authorities();
static POLICY_CONSTRAINTS: Kind =
    kind(&[0x55, 0x1d, 36], "policyConstraints", Critical::Must).for_authorities();
static NO_ANY_POLICY: Kind = kind(&[0x55, 0x1d, 54], "inhibitAnyPolicy", Critical::Must).for_authorities();
static FRESHEST: Kind = kind(&[0x55, 0x1d, 46], "freshestCRL", Critical::MustNot);
static AUTHORITY_ACCESS: Kind = kind(&[0x2b, 6, 1, 5, 5, 7, 1, 1], "authorityInfoAccess", Critical::MustNot);
static SUBJECT_ACCESS: Kind = kind(&[0x2b, 6, 1, 5, 5, 7, 1, 11], "subjectInfoAccess", Critical::MustNot);

static KINDS: [&Kind; 17] = [
    &BASIC_CONSTRAINTS,
    &KEY_USAGE,
    &PURPOSES,
    &SUBJECT_NAMES,
    &AUTHORITY_KEY,
    &SUBJECT_KEY,
    &CRL_POINTS,
    &NAME_CONSTRAINTS,
    &ISSUER_NAMES,
    &DIRECTORY,
    &POLICIES,
    &POLICY_MAPPINGS,
    &POLICY_CONSTRAINTS,
    &NO_ANY_POLICY,
    &FRESHEST,
    &AUTHORITY_ACCESS,
    &SUBJECT_ACCESS,
];

const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Where in a certificate something is broken, and how.
pub(crate) type Broken = (&'static str, DerFault);

/// One `Extension`, as certificates and revocation lists hold it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    pub(crate) content: &'a [u8],
}

impl<'a> Extension<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DerFault> {
        let mut fields = reader.inside(SEQUENCE)?;
        let extension =
            Self { oid: fields.oid()?, critical: fields.flag()?, content: fields.take(OCTET_STRING)? };
        fields.end()?;
        Ok(extension)
    }

    /// Hands every one of `Extensions`, of which there is at least one and no two of a kind, to `each`.
    pub(crate) fn each<E: From<Broken>>(
        content: &'a [u8],
        mut each: impl FnMut(Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let broken = |fault| E::from(("list of extensions", fault));
        let mut list = Reader::new(content);
        let mut seen: Vec<&[u8]> = Vec::new();
        if list.is_empty() {
            return Err(broken(DerFault::Empty));
        }
        while !list.is_empty() {
            let extension = Self::read(&mut list).map_err(broken)?;
            // RFC 5280 §4.2: at most one of a kind.
            if seen.contains(&extension.oid) || seen.len() == LIMIT {
                return Err(broken(DerFault::Twice));
            }
            seen.push(extension.oid);
            each(extension)?;
        }
        Ok(())
    }
}

impl<'a> Extensions<'a> {
    /// Reads the content of `Extensions`.
    pub(crate) fn read(content: &'a [u8]) -> Result<Self, Broken> {
        let mut extensions = Self { content, ..Self::default() };
        Extension::each(content, |extension| extensions.remember(extension))?;
        Ok(extensions)
    }

    fn remember(&mut self, extension: Extension<'a>) -> Result<(), Broken> {
        let known = KINDS.iter().copied().find(|kind| kind.oid == extension.oid);
        if let Some(kind) = known {
            self.keep(kind, extension).map_err(|fault| (kind.name, fault))?;
            if kind.for_authorities {
                self.for_authorities.get_or_insert(kind);
            }
            if kind.critical == if extension.critical { Critical::MustNot } else { Critical::Must } {
                self.wrongly_marked.get_or_insert(kind);
            }
        }
        if extension.critical && !known.is_some_and(|kind| kind.acted_upon) {
            self.unknown_critical.get_or_insert(extension.oid);
        }
        Ok(())
    }

    fn keep(&mut self, kind: &'static Kind, extension: Extension<'a>) -> Result<(), DerFault> {
        let critical = extension.critical;
        let mut whole = Reader::new(extension.content);
        let value = whole.any()?;
        whole.end()?;
        let content = value.content;
        match (kind.oid, value.tag) {
            (oid, BIT_STRING) if oid == KEY_USAGE.oid => {
                self.key_usage = Some(Marked { critical, value: KeyUsage(named_bits(content)?) });
            }
            (oid, OCTET_STRING) if oid == SUBJECT_KEY.oid => {
                self.subject_key = Some(content).filter(|key| !key.is_empty());
                self.subject_key.ok_or(DerFault::Empty)?;
            }
            (oid, INTEGER) if oid == NO_ANY_POLICY.oid => count(content)?,
            (_, SEQUENCE) => return self.keep_sequence(kind, critical, content),
            _ => return Err(DerFault::Unexpected),
        }
        Ok(())
    }

    fn keep_sequence(
        &mut self,
        kind: &'static Kind,
        critical: bool,
        content: &'a [u8],
    ) -> Result<(), DerFault> {
        match kind.oid {
            oid if oid == BASIC_CONSTRAINTS.oid => {
                self.basic_constraints = Some(Marked { critical, value: BasicConstraints::read(content)? });
            }
            oid if oid == PURPOSES.oid => self.purposes = Some(Purposes::read(content)?),
            oid if oid == SUBJECT_NAMES.oid => {
                self.subject_names = Some(Marked { critical, value: SubjectNames::read(content)? });
            }
            oid if oid == AUTHORITY_KEY.oid => self.authority_key = Some(AuthorityKey::read(content)?),
            oid if oid == CRL_POINTS.oid => {
                points(content, |_| {})?;
                self.crl_points = Some(content);
            }
            oid if oid == NAME_CONSTRAINTS.oid => name_constraints(content)?,
            oid if oid == ISSUER_NAMES.oid => general_names(content, |_| Ok(()))?,
            oid if oid == FRESHEST.oid => points(content, |_| {})?,
            oid if oid == AUTHORITY_ACCESS.oid || oid == SUBJECT_ACCESS.oid => access(content)?,
            oid if oid == POLICY_CONSTRAINTS.oid => policy_constraints(content)?,
            oid if oid == POLICIES.oid || oid == POLICY_MAPPINGS.oid || oid == DIRECTORY.oid => {
                sequences(content)?;
            }
            _ => return Err(DerFault::Unexpected),
        }
        Ok(())
    }
}

impl KeyUsage {
    const fn bit(self, at: u16) -> bool {
        self.0 & (0x8000 >> at) != 0
    }

    pub(crate) const fn digital_signature(self) -> bool {
        self.bit(0)
    }

    pub(crate) const fn key_cert_sign(self) -> bool {
        self.bit(5)
    }

    pub(crate) const fn crl_sign(self) -> bool {
        self.bit(6)
    }
}

impl BasicConstraints {
    fn read(content: &[u8]) -> Result<Self, DerFault> {
        let mut fields = Reader::new(content);
        let ca = fields.flag()?;
        let path_length = fields.optional(INTEGER)?;
        fields.end()?;
        if let Some(length) = path_length {
            count(length)?;
        }
        Ok(Self { ca, path_length: path_length.is_some() })
    }
}

impl Purposes {
    fn read(content: &[u8]) -> Result<Self, DerFault> {
        let mut list = Reader::new(content);
        if list.is_empty() {
            return Err(DerFault::Empty);
        }
        let mut purposes = Self::default();
        while !list.is_empty() {
            match list.oid()? {
                SERVER_AUTH => purposes.server = true,
                CLIENT_AUTH => purposes.client = true,
                _ => {}
            }
        }
        Ok(purposes)
    }
}

impl<'a> SubjectNames<'a> {
    fn read(content: &'a [u8]) -> Result<Self, DerFault> {
        let mut names = Self { content, ..Self::default() };
        general_names(content, |name| {
            if let GeneralName::Uri(uri) = name {
                names.uris = names.uris.saturating_add(1);
                names.first_uri.get_or_insert(uri);
            }
            name.names_somebody()
        })?;
        Ok(names)
    }

    /// The first URI other than this one.
    pub(crate) fn other_uri(&self, than: &str) -> Option<&'a str> {
        let mut other = None;
        // It was read before, so nothing can be wrong with it.
        let _ = general_names(self.content, |name| {
            if let GeneralName::Uri(uri) = name
                && uri != than
            {
                other.get_or_insert(uri);
            }
            Ok(())
        });
        other
    }
}

impl<'a> AuthorityKey<'a> {
    fn read(content: &'a [u8]) -> Result<Self, DerFault> {
        let mut fields = Reader::new(content);
        let key_id = fields.optional(context(0))?;
        let issuer = fields.optional(constructed(1))?;
        let serial = fields.optional(context(2))?;
        fields.end()?;
        if let Some(issuer) = issuer {
            general_names(issuer, |_| Ok(()))?;
        }
        if let Some(serial) = serial {
            minimal_integer(serial)?;
        }
        if key_id.is_some_and(<[u8]>::is_empty) {
            return Err(DerFault::Empty);
        }
        Ok(Self { key_id, issuer, serial })
    }
}

/// A number from zero up.
fn count(content: &[u8]) -> Result<(), DerFault> {
    match minimal_integer(content)?.first() {
        Some(0..=0x7f) => Ok(()),
        _ => Err(DerFault::Value),
    }
}

/// RFC 5280 §4.2.1.10: something is permitted or excluded, and every base has the form of its kind.
fn name_constraints(content: &[u8]) -> Result<(), DerFault> {
    let mut fields = Reader::new(content);
    let permitted = fields.optional(constructed(0))?;
    let excluded = fields.optional(constructed(1))?;
    fields.end()?;
    if permitted.is_none() && excluded.is_none() {
        return Err(DerFault::Empty);
    }
    for subtrees in [permitted, excluded].into_iter().flatten() {
        let mut list = Reader::new(subtrees);
        if list.is_empty() {
            return Err(DerFault::Empty);
        }
        while !list.is_empty() {
            let mut subtree = list.inside(SEQUENCE)?;
            if let GeneralName::Ip(range) = GeneralName::read(&mut subtree)?
                && !is_range(range)
            {
                return Err(DerFault::Value);
            }
            // minimum is zero, hence left out, and maximum must be absent.
            subtree.end()?;
        }
    }
    Ok(())
}

/// An address and a mask of ones before zeros.
fn is_range(octets: &[u8]) -> bool {
    let (_, mask) = octets.split_at(octets.len() / 2);
    let bits = mask.iter().fold(0_u128, |sum, octet| sum << 8 | u128::from(*octet));
    let width = match mask.len() {
        4 => 32,
        16 => 128,
        _ => return false,
    };
    octets.len().is_multiple_of(2) && bits.count_ones() + bits.trailing_zeros().min(width) == width
}

/// `AuthorityInfoAccessSyntax` and its sibling: methods and places.
fn access(content: &[u8]) -> Result<(), DerFault> {
    let mut list = Reader::new(content);
    if list.is_empty() {
        return Err(DerFault::Empty);
    }
    while !list.is_empty() {
        let mut description = list.inside(SEQUENCE)?;
        description.oid()?;
        GeneralName::read(&mut description)?;
        description.end()?;
    }
    Ok(())
}

/// RFC 5280 §4.2.1.11: never empty.
fn policy_constraints(content: &[u8]) -> Result<(), DerFault> {
    let mut fields = Reader::new(content);
    let counts = [fields.optional(context(0))?, fields.optional(context(1))?];
    fields.end()?;
    if counts.iter().all(Option::is_none) {
        return Err(DerFault::Empty);
    }
    counts.into_iter().flatten().try_for_each(count)
}

/// A list, not empty, of sequences that begin with an object identifier.
fn sequences(content: &[u8]) -> Result<(), DerFault> {
    let mut list = Reader::new(content);
    if list.is_empty() {
        return Err(DerFault::Empty);
    }
    while !list.is_empty() {
        let entry = list.value(SEQUENCE)?;
        entry.is_der()?;
        Reader::new(entry.content).oid()?;
    }
    Ok(())
}
