//! Where each kind of row stands: one letter, then fields of fixed length or text that ends with a zero octet.
//!
//! Rows that end with their certificates carry the hour of `notAfter` in front, so that expiry removes whole ranges.

use countersign_identity::{ApiKeyId, KeyHash, Lineage, MachineId, Serial, SpiffeId, Timestamp};

use crate::engine::Key;

/// Registrations by SPIFFE ID.
pub(crate) const REGISTRATION: u8 = b'R';
/// DNS and IP names to the SPIFFE IDs that have them.
pub(crate) const NAME: u8 = b'N';
/// Invitations by the hash of their secret.
pub(crate) const INVITATION: u8 = b'I';
/// SPIFFE IDs to the invitations that lead to them.
pub(crate) const INVITATION_TO: u8 = b'i';
/// Redemptions by invitation and key.
pub(crate) const REDEMPTION: u8 = b'J';
/// Machines by id.
pub(crate) const MACHINE: u8 = b'M';
/// SPIFFE IDs to their machines.
pub(crate) const MACHINE_OF: u8 = b'm';
/// Lineages to their machine.
pub(crate) const LINEAGE: u8 = b'L';
/// Issuances by serial, with their bytes.
pub(crate) const ISSUANCE: u8 = b'S';
/// The newest serial with a key.
pub(crate) const KEY: u8 = b'K';
/// Keys revoked for good, by hash.
pub(crate) const KEY_REVOKED: u8 = b'k';
/// Serials by hour and lineage: the list of a partition, and of a lineage within it.
pub(crate) const ENDING: u8 = b'B';
/// Revoked and suspended serials by hour and serial.
pub(crate) const REVOKED: u8 = b'V';
/// What was put on the list of revoked serials or taken off it, by trust sequence and serial.
pub(crate) const RELISTED: u8 = b'T';
/// Events by number, with what they commit to.
pub(crate) const EVENT: u8 = b'E';
/// Issuers by key.
pub(crate) const ISSUER: u8 = b'C';
/// Policies by number.
pub(crate) const POLICY: u8 = b'P';
/// Roots documents by version.
pub(crate) const ROOTS: u8 = b'O';
/// Machines and the identities of their workloads to the workloads' own ids.
pub(crate) const WORKLOAD: u8 = b'W';
/// Parents to the registrations under them.
pub(crate) const CHILD: u8 = b'c';
/// How often the registrations under a parent have changed.
pub(crate) const CHILDREN_CHANGED: u8 = b'h';
/// When an identity last used a permission, as verifiers report it.
pub(crate) const USE: u8 = b'U';

/// API keys by id.
pub(crate) const API_KEY: u8 = b'A';
/// API keys by the hour of their end and id.
pub(crate) const API_KEY_END: u8 = b'a';
/// Revoked access tokens by the hour of their end and id.
pub(crate) const DEAD_TOKEN: u8 = b'D';

/// Rows of which there is one.
pub(crate) const HOUSEKEEPING: u8 = b'X';
/// The version of this layout.
pub(crate) const FORMAT: &[u8] = b"Xformat";
/// How many there are of everything.
pub(crate) const COUNTS: &[u8] = b"Xcounts";
/// The number of the policy that applies.
pub(crate) const POLICY_NUMBER: &[u8] = b"Xpolicy";
/// How far the sweep over machines, invitations and uses of permissions has come.
pub(crate) const SWEEP: &[u8] = b"Xsweep";
/// When the book was restored from a backup.
pub(crate) const RESTORED: &[u8] = b"Xrestored";
/// The trust sequence.
pub(crate) const TRUST: &[u8] = b"Xtrust";
/// How far the handing on of events to the archive has come.
pub(crate) const ARCHIVED: &[u8] = b"Xarchived";
/// How often registrations under any parent have changed.
pub(crate) const CHILDREN: &[u8] = b"Xchildren";
/// Up to which trust sequence the changes of the list have left.
pub(crate) const RELISTED_FROM: &[u8] = b"Xrelisted";

/// How often the list of revoked API keys and tokens has changed.
pub(crate) const WITHDRAWN: &[u8] = b"Xwithdrawn";

/// Behind all keys of the book.
pub(crate) const END: &[u8] = &[0x80];

pub(crate) fn registration(id: &SpiffeId) -> Key {
    key(REGISTRATION, &[id.as_str().as_bytes()])
}

pub(crate) fn names(name: &str) -> Key {
    key(NAME, &[name.as_bytes(), &[0]])
}

pub(crate) fn name(name: &str, id: &SpiffeId) -> Key {
    key(NAME, &[name.as_bytes(), &[0], id.as_str().as_bytes()])
}

pub(crate) fn invitation(hash: &[u8; 32]) -> Key {
    key(INVITATION, &[hash])
}

pub(crate) fn invitations_to(id: &SpiffeId) -> Key {
    key(INVITATION_TO, &[id.as_str().as_bytes(), &[0]])
}

pub(crate) fn invitation_to(id: &SpiffeId, hash: &[u8; 32]) -> Key {
    key(INVITATION_TO, &[id.as_str().as_bytes(), &[0], hash])
}

pub(crate) fn redemptions(invitation: &[u8; 32]) -> Key {
    key(REDEMPTION, &[invitation])
}

pub(crate) fn redemption(invitation: &[u8; 32], by: &KeyHash) -> Key {
    key(REDEMPTION, &[invitation, by.as_bytes()])
}

pub(crate) fn machine(id: MachineId) -> Key {
    key(MACHINE, &[id.as_bytes()])
}

pub(crate) fn machines_of(id: &SpiffeId) -> Key {
    key(MACHINE_OF, &[id.as_str().as_bytes(), &[0]])
}

pub(crate) fn machine_of(id: &SpiffeId, machine: MachineId) -> Key {
    key(MACHINE_OF, &[id.as_str().as_bytes(), &[0], machine.as_bytes()])
}

pub(crate) fn revoked_key(key_hash: &KeyHash) -> Key {
    key(KEY_REVOKED, &[key_hash.as_bytes()])
}

pub(crate) fn lineage(lineage: Lineage) -> Key {
    key(LINEAGE, &[lineage.as_bytes()])
}

pub(crate) fn issuance(serial: Serial) -> Key {
    key(ISSUANCE, &[serial.as_bytes()])
}

pub(crate) fn ending(not_after: Timestamp, lineage: Lineage, serial: Serial) -> Key {
    key(ENDING, &[&hour(not_after), lineage.as_bytes(), serial.as_bytes()])
}

/// Where the serials of a lineage stand in the partition `at` falls in.
pub(crate) fn ending_of(at: Timestamp, lineage: Lineage) -> Key {
    key(ENDING, &[&hour(at), lineage.as_bytes()])
}

pub(crate) fn key_hash(hash: &KeyHash) -> Key {
    key(KEY, &[hash.as_bytes()])
}

pub(crate) fn revoked(not_after: Timestamp, serial: Serial) -> Key {
    key(REVOKED, &[&hour(not_after), serial.as_bytes()])
}

pub(crate) fn api_key(id: ApiKeyId) -> Key {
    key(API_KEY, &[id.as_bytes()])
}

pub(crate) fn api_key_end(expires: Timestamp, id: ApiKeyId) -> Key {
    key(API_KEY_END, &[&hour(expires), id.as_bytes()])
}

pub(crate) fn dead_token(expires: Timestamp, id: &[u8; 16]) -> Key {
    key(DEAD_TOKEN, &[&hour(expires), id])
}

/// The first key of the partition `at` falls in, of a kind whose keys begin with an hour.
pub(crate) fn partition(kind: u8, at: Timestamp) -> Key {
    key(kind, &[&hour(at)])
}

/// What the change that raised the trust sequence to `sequence` did to a serial.
pub(crate) fn relisted(sequence: u64, serial: Serial) -> Key {
    key(RELISTED, &[&sequence.to_be_bytes(), serial.as_bytes()])
}

/// Where the changes behind `sequence` begin.
pub(crate) fn relisted_behind(sequence: u64) -> Key {
    key(RELISTED, &[&sequence.saturating_add(1).to_be_bytes()])
}

pub(crate) fn workloads(parent: MachineId) -> Key {
    key(WORKLOAD, &[parent.as_bytes()])
}

pub(crate) fn workload(parent: MachineId, id: &SpiffeId) -> Key {
    key(WORKLOAD, &[parent.as_bytes(), id.as_str().as_bytes()])
}

pub(crate) fn children(parent: &SpiffeId) -> Key {
    key(CHILD, &[parent.as_str().as_bytes(), &[0]])
}

pub(crate) fn child(parent: &SpiffeId, id: &SpiffeId) -> Key {
    key(CHILD, &[parent.as_str().as_bytes(), &[0], id.as_str().as_bytes()])
}

pub(crate) fn children_changed(parent: &SpiffeId) -> Key {
    key(CHILDREN_CHANGED, &[parent.as_str().as_bytes()])
}

pub(crate) fn used(id: &SpiffeId, permission: &str) -> Key {
    key(USE, &[id.as_str().as_bytes(), &[0], permission.as_bytes()])
}

pub(crate) fn event(number: u64) -> Key {
    key(EVENT, &[&number.to_be_bytes()])
}

pub(crate) fn issuer(hash: &KeyHash) -> Key {
    key(ISSUER, &[hash.as_bytes()])
}

pub(crate) fn policy(number: u64) -> Key {
    key(POLICY, &[&number.to_be_bytes()])
}

/// Where a long policy goes on.
pub(crate) fn policy_rest(number: u64, piece: u32) -> Key {
    key(POLICY, &[&number.to_be_bytes(), &piece.to_be_bytes()])
}

pub(crate) fn roots(version: u64) -> Key {
    key(ROOTS, &[&version.to_be_bytes()])
}

/// The last `N` octets of a key: the field it ends with.
pub(crate) fn tail<const N: usize>(key: &[u8]) -> Option<[u8; N]> {
    key.last_chunk().copied()
}

fn hour(at: Timestamp) -> [u8; 4] {
    u32::try_from(at.unix().div_euclid(3600).max(0)).unwrap_or(u32::MAX).to_be_bytes()
}

fn key(kind: u8, fields: &[&[u8]]) -> Key {
    let length = fields.iter().map(|field| field.len()).sum::<usize>();
    let mut key = Vec::with_capacity(length + 1);
    key.push(kind);
    for field in fields {
        key.extend_from_slice(field);
    }
    key
}
