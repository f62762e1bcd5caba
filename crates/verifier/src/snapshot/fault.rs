//! Why a trust snapshot is refused: each forgery has its own reason.

use std::time::Duration;

use countersign_identity::{Timestamp, TrustDomain, duration, hex};

use crate::profile::ProfileRule;
use crate::refusal::AuthorityRule;

/// Why a snapshot is not believed. What was believed before stays.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// Larger than any honest one.
    #[error("{what} has {found} octets, at most {limit} are read")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// How many it has.
        found: u64,
        /// How many are read.
        limit: u64,
    },
    /// The bytes are no compact JWS over a trust snapshot.
    #[error("the trust snapshot cannot be read: {what}")]
    Malformed {
        /// What is wrong with the bytes.
        what: String,
    },
    /// The header is not the one of a trust snapshot.
    #[error("the header of the trust snapshot is not that of one: {what}")]
    Header {
        /// What is wrong with it.
        what: String,
    },
    /// It speaks for another trust domain.
    #[error("the trust snapshot is of trust domain {found}, expected {expected}")]
    ForeignDomain {
        /// Whose it is.
        found: String,
        /// Whose it must be.
        expected: TrustDomain,
    },
    /// Its roots documents do not lead on from the roots held.
    #[error("the roots documents of the trust snapshot are refused: {0}")]
    Roots(#[from] RootsFault),
    /// Its signer may not sign trust.
    #[error("the certificate that came with the trust snapshot may not sign it: {0}")]
    Signer(#[from] SignerFault),
    /// It was changed, or signed by another key.
    #[error("the signature of the trust snapshot does not verify")]
    Signature,
    /// The epoch is the root's to raise, in the signer's certificate.
    #[error("the trust snapshot claims epoch {found}, its signer was certified for {expected}")]
    Epoch {
        /// What it claims.
        found: u64,
        /// What its signer's certificate says.
        expected: u64,
    },
    /// A restore has raised the epoch since.
    #[error("the trust snapshot is of epoch {found}, one of epoch {held} was seen before")]
    OlderEpoch {
        /// Its epoch.
        found: u64,
        /// The newest seen.
        held: u64,
    },
    /// Something was revoked since.
    #[error("the trust snapshot is number {found}, number {held} was seen before")]
    OlderSequence {
        /// Its sequence.
        found: u64,
        /// The newest seen.
        held: u64,
    },
    /// The same was signed again since.
    #[error("the trust snapshot was issued at {found}, one of {held} was seen before")]
    OlderIssue {
        /// When it was issued.
        found: Timestamp,
        /// When the newest seen was.
        held: Timestamp,
    },
    /// Two different ones in the same second under the same number: one is forged, or two authorities share a key.
    #[error("the trust snapshot contradicts one of the same epoch, sequence and second")]
    Contradiction,
    /// Believing it would make it fresh for as long as its clock is ahead.
    #[error("the trust snapshot was issued {} in the future: compare the clocks", duration::format(*by))]
    FromTheFuture {
        /// How far.
        by: Duration,
    },
    /// It ends before it begins.
    #[error("the trust snapshot expires before it was issued")]
    Backwards,
    /// A part was not at hand.
    #[error("part {} of the trust snapshot is missing", hex::encode(sha256))]
    PartMissing {
        /// Its hash.
        sha256: [u8; 32],
    },
    /// A part is not the one the snapshot names.
    #[error("a part of the trust snapshot is {found}, expected {expected}")]
    PartChanged {
        /// Its size and hash in words.
        found: String,
        /// What the snapshot says.
        expected: String,
    },
    /// A part is the right one and makes no sense.
    #[error("the part `{part}` of the trust snapshot cannot be read: {what}")]
    PartMalformed {
        /// Which.
        part: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// An issuer of the list is none.
    #[error("issuer {number} of the trust snapshot is none: {fault}")]
    Issuer {
        /// Which of them, counted from 1.
        number: usize,
        /// Why not.
        fault: IssuerFault,
    },
}

/// Why roots documents do not lead on from the roots held.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootsFault {
    /// One is no roots document.
    #[error("document {number} cannot be read: {what}")]
    Malformed {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// One is of another trust domain.
    #[error("document {number} is of trust domain {found}")]
    ForeignDomain {
        /// Which, counted from 1.
        number: usize,
        /// Whose it is.
        found: String,
    },
    /// The versions do not grow by one.
    #[error("version {found} follows version {before}")]
    Gap {
        /// The version that follows.
        found: u64,
        /// The one before it.
        before: u64,
    },
    /// They end before the version held.
    #[error("they end with version {found}, version {held} was seen before")]
    Older {
        /// The last of them.
        found: u64,
        /// The newest seen.
        held: u64,
    },
    /// Another document of the version held.
    #[error("version {version} is not the one seen before")]
    Forked {
        /// Which version.
        version: u64,
    },
    /// None of the roots before signed it: somebody else wants to be a root.
    #[error("version {version} is signed by no root of the version before")]
    NotByRoot {
        /// Which version.
        version: u64,
    },
    /// A new root did not sign for itself.
    #[error("version {version} has a new root that did not sign it")]
    NotByNewRoot {
        /// Which version.
        version: u64,
    },
    /// It names another document as the one before.
    #[error("version {version} does not follow the document before it")]
    Previous {
        /// Which version.
        version: u64,
    },
    /// There is no root left.
    #[error("version {version} has no root")]
    Empty {
        /// Which version.
        version: u64,
    },
    /// One of the roots is none.
    #[error("a root of version {version} may not sign: {rule}")]
    NotARoot {
        /// Which version.
        version: u64,
        /// The broken rule.
        rule: AuthorityRule,
    },
    /// None of them is signed by a root held.
    #[error("none of them is signed by a root held here: is this another certificate authority?")]
    Unanchored,
}

/// Why a certificate may not sign trust.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignerFault {
    /// The bytes are no certificate.
    #[error("it cannot be read: {what}")]
    Malformed {
        /// What is wrong with the bytes.
        what: String,
    },
    /// An authority signs certificates and nothing else.
    #[error("it is a certificate authority's")]
    Authority,
    /// It is for something else, as the certificate of a workload is.
    #[error("its extendedKeyUsage is not the critical one of a trust signer and nothing else")]
    Purpose,
    /// It names somebody else.
    #[error("its one URI is not {expected}")]
    Name {
        /// What it must be.
        expected: String,
    },
    /// It may not sign data.
    #[error("its keyUsage is not digitalSignature and nothing else that signs")]
    KeyUsage,
    /// It breaks a rule for every certificate.
    #[error("{0}")]
    Profile(ProfileRule),
    /// No root certified it: an issuer may have, and may not.
    #[error("no root certified it directly")]
    NotByRoot,
    /// It was out of its time when the snapshot was issued.
    #[error("it, or the root above it, was not valid at {issued}, when the snapshot was issued")]
    NotInTime {
        /// When the snapshot was issued.
        issued: Timestamp,
    },
    /// It carries no epoch.
    #[error("it lacks the extension that carries the epoch")]
    NoEpoch,
}

/// Why a certificate of the list is no issuer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssuerFault {
    /// It may not sign certificates.
    #[error("{0}")]
    Authority(AuthorityRule),
    /// No root of the snapshot certified it.
    #[error("no root of the snapshot certified it")]
    NotByRoot,
    /// It and its root are never valid together.
    #[error("it and the root above it are never valid together")]
    NeverValid,
}
