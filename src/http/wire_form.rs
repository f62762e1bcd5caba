//! Between the wire's strings and the house's values, both ways.

use countersign_api::admin;
use countersign_identity::{ApiKeyId, KeyHash, Lineage, MachineId, Selector, Serial, SpiffeId, Timestamp};
use countersign_issuance::{Registration, TokenKey};
use countersign_store::{
    ApiKeyFilter, Cursor, Issuance, IssuanceFilter, IssuedCertificate, Listing, Machine, MachineFilter,
    MachineStatus, Order, PermissionUse, StoredEvent, Target, Whom,
};
use serde::Deserialize;
use std::{str::FromStr, time::Duration};

use super::problem::Failure;
use crate::service::{Ca, Refused, pem};

/// The longest page.
const PAGE: usize = 1000;

/// The query of every list route; each takes what it understands.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
    id: Option<String>,
    spiffe_id: Option<String>,
    machine: Option<String>,
    serial: Option<String>,
    key: Option<String>,
    service: Option<String>,
    status: Option<String>,
    expiring_within_seconds: Option<u64>,
}

impl ListQuery {
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE)
    }

    pub(super) fn cursor(&self) -> Result<Option<Cursor>, Failure> {
        optional("after", self.after.as_deref(), "the `next` of the page before")
    }

    pub(super) fn after_number(&self) -> Result<u64, Failure> {
        Ok(optional("after", self.after.as_deref(), "the number of an event")?.unwrap_or(0))
    }

    pub(super) fn registration(&self) -> Result<Option<SpiffeId>, Failure> {
        optional("id", self.id.as_deref(), "a SPIFFE ID")
    }

    pub(super) fn machine(&self) -> Result<Option<MachineId>, Failure> {
        optional("machine", self.machine.as_deref(), "a machine id, m-…")
    }

    pub(super) fn serial(&self) -> Result<Option<Serial>, Failure> {
        optional("serial", self.serial.as_deref(), "a serial in hex")
    }

    pub(super) fn api_key(&self) -> Result<Option<ApiKeyId>, Failure> {
        optional("key", self.key.as_deref(), "the id of an API key")
    }

    pub(super) fn api_key_filter(&self) -> Result<ApiKeyFilter, Failure> {
        Ok(ApiKeyFilter { identity: self.identity()?, service: self.service.clone() })
    }

    pub(super) fn machine_filter(&self) -> Result<MachineFilter, Failure> {
        Ok(MachineFilter { identity: self.identity()?, status: self.machine_status()? })
    }

    pub(super) fn issuance_filter(&self, now: Timestamp) -> Result<IssuanceFilter, Failure> {
        let within = self.expiring_within_seconds.map(|seconds| now + Duration::from_secs(seconds));
        let live = within.is_some() || self.status.as_deref() == Some("live");
        Ok(IssuanceFilter {
            identity: self.identity()?,
            machine: self.machine()?,
            live_at: live.then_some(now),
            ending_before: within,
        })
    }

    /// Whether a row of this status was asked for.
    pub(super) fn wants_status(&self, status: &str) -> bool {
        self.status.as_deref().is_none_or(|wanted| wanted == status)
    }

    fn identity(&self) -> Result<Option<SpiffeId>, Failure> {
        optional("spiffe_id", self.spiffe_id.as_deref(), "a SPIFFE ID")
    }

    fn machine_status(&self) -> Result<Option<MachineStatus>, Failure> {
        use MachineStatus as S;
        let Some(text) = self.status.as_deref() else { return Ok(None) };
        let all = [S::Active, S::Held, S::Suspended, S::Removed, S::Replaced, S::Revoked];
        match all.into_iter().find(|status| status.to_string() == text) {
            Some(status) => Ok(Some(status)),
            None => Err(parameter("status", text, "active, held, suspended, removed, replaced or revoked")),
        }
    }
}

fn parameter(what: &'static str, found: &str, expected: impl Into<String>) -> Failure {
    Refused::Parameter { what, found: found.to_owned(), expected: expected.into() }.into()
}

fn value<T: FromStr>(what: &'static str, text: &str, expected: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| parameter(what, text, expected))
}

/// Like [`value`], with the rule that the text breaks.
pub(super) fn explained<T: FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| Refused::Malformed { what, why: error.to_string() }.into())
}

fn optional<T: FromStr>(
    what: &'static str,
    text: Option<&str>,
    expected: &str,
) -> Result<Option<T>, Failure> {
    text.map(|text| value(what, text, expected)).transpose()
}

/// A page as it goes out.
pub(super) fn page<T, U>(listing: Listing<T>, out: impl Fn(&T) -> U) -> admin::Page<U> {
    admin::Page {
        items: listing.items.iter().map(out).collect(),
        next: listing.next.map(|cursor| cursor.to_string()),
    }
}

/// Each as text.
pub(super) fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// A registration as it comes in.
pub(super) fn registration(wire: &admin::Registration, now: Timestamp) -> Result<Registration, Failure> {
    Ok(Registration {
        id: explained("spiffe_id", &wire.spiffe_id)?,
        profile: wire.profile.clone(),
        dns: wire.dns.iter().map(|name| explained("dns", name)).collect::<Result<_, _>>()?,
        ip: wire.ip.iter().map(|address| value("ip", address, "an IP address")).collect::<Result<_, _>>()?,
        until: optional("until", wire.until.as_deref(), "a time such as 2027-01-01T00:00:00Z")?,
        owner: wire.owner.clone(),
        machines: value("machines", &wire.machines, "\"one\" or \"many\"")?,
        tokens: value("tokens", &wire.tokens, "\"bound\" or \"bearer\"")?,
        token_keys: wire.token_keys.iter().map(token_key).collect::<Result<_, _>>()?,
        shared: wire.shared,
        parent: wire.parent.as_deref().map(|id| explained("parent", id)).transpose()?,
        selectors: wire.selectors.iter().map(|one| selector(one)).collect::<Result<_, _>>()?,
        created: now,
    })
}

/// A selector that an agent will understand; it is kept as it is written.
fn selector(text: &str) -> Result<String, Failure> {
    explained::<Selector>("selectors", text).map(|selector| selector.to_string())
}

fn token_key(wire: &admin::TokenKey) -> Result<TokenKey, Failure> {
    let expected = "one PEM block \"PUBLIC KEY\"";
    let spki = pem::public_key(&wire.public_key);
    Ok(TokenKey {
        id: wire.kid.clone().unwrap_or_default(),
        spki: spki.ok_or_else(|| parameter("public_key", &pem::kind(&wire.public_key), expected))?,
        until: value("until", &wire.until, "a time such as 2027-01-01T00:00:00Z")?,
        owner: wire.owner.clone(),
        // Which of the CA's keys it stands under is for the CA to say.
        under: KeyHash::from_bytes([0; 32]),
    })
}

fn token_key_out(ca: &Ca, one: &TokenKey) -> Result<admin::TokenKey, Failure> {
    Ok(admin::TokenKey {
        kid: Some(one.id.clone()),
        public_key: pem::encode("PUBLIC KEY", &one.spki),
        until: one.until.to_string(),
        owner: one.owner.clone(),
        status: Some(ca.token_key_status(one)?.to_owned()),
    })
}

/// A registration as it goes out.
pub(super) fn registration_out(ca: &Ca, one: &Registration) -> Result<admin::Registration, Failure> {
    let token_keys = one.token_keys.iter().map(|key| token_key_out(ca, key));
    Ok(admin::Registration {
        spiffe_id: one.id.to_string(),
        profile: one.profile.clone(),
        dns: texts(&one.dns),
        ip: texts(&one.ip),
        until: one.until.map(|until| until.to_string()),
        owner: one.owner.clone(),
        machines: one.machines.to_string(),
        tokens: one.tokens.to_string(),
        token_keys: token_keys.collect::<Result<_, _>>()?,
        shared: one.shared,
        parent: one.parent.as_ref().map(ToString::to_string),
        selectors: one.selectors.clone(),
        created: Some(one.created.to_string()),
    })
}

/// A machine as it goes out.
pub(super) fn machine_out(one: &Machine) -> admin::Machine {
    admin::Machine {
        machine: one.id.to_string(),
        spiffe_id: one.spiffe_id.to_string(),
        status: one.status.to_string(),
        lineage: one.lineage.to_string(),
        confirmed: one.confirmed.serial.to_string(),
        pending: one.pending.map(|pending| pending.serial.to_string()),
        profile: one.profile.clone(),
        enrolled: one.enrolled.to_string(),
        last_seen: one.last_seen.to_string(),
        not_after: one.not_after.to_string(),
        parent: one.parent.map(|parent| parent.to_string()),
        last_source: one.last_source.map(|source| source.to_string()),
        deployed: one.deployed.as_ref().map(|seen| admin::DeployedCertificate {
            serial: seen.serial.to_string(),
            address: seen.address.clone(),
            at: seen.at.to_string(),
        }),
        recovery: one.recovery.map(|recovery| admin::MachineRecovery {
            used: recovery.used.map(|at| at.to_string()),
            asked: recovery.asked,
            approved: recovery.approved,
            barred: recovery.barred,
        }),
        renew_by: one.hurry.as_ref().map(|hurry| hurry.until.to_string()),
    }
}

/// A use of a permission as it goes out.
pub(super) fn use_out(one: &PermissionUse) -> admin::PermissionUse {
    admin::PermissionUse {
        spiffe_id: one.spiffe_id.to_string(),
        permission: one.permission.clone(),
        last: one.last.to_string(),
    }
}

/// An issuance as it goes out.
pub(super) fn issued_out(one: &Issuance) -> admin::Issued {
    let status = match (&one.revoked, one.signed) {
        (Some(_), _) => "revoked",
        (None, true) => "live",
        (None, false) => "intended",
    };
    admin::Issued {
        serial: one.serial.to_string(),
        spiffe_id: one.spiffe_id.to_string(),
        machine: one.machine.map(|machine| machine.to_string()),
        lineage: one.lineage.to_string(),
        profile: one.profile.clone(),
        status: status.into(),
        not_before: one.validity.not_before().to_string(),
        not_after: one.validity.not_after().to_string(),
        key: one.key_hash.to_string(),
        certificate: None,
    }
}

/// An issuance with its certificate.
pub(super) fn issued_with_certificate(one: &IssuedCertificate) -> admin::Issued {
    let certificate = one.certificate.as_ref().map(|der| pem::encode("CERTIFICATE", der));
    admin::Issued { certificate, ..issued_out(&one.issuance) }
}

/// An event as it goes out: the bytes as written, with its personal fields beside them.
pub(super) fn event_out(event: &StoredEvent) -> Option<admin::Event> {
    let mut fields: serde_json::Map<_, _> = serde_json::from_slice(&event.bytes).ok()?;
    for personal in &event.personal {
        fields.insert(personal.field.clone(), personal.value.clone().into());
    }
    Some(admin::Event { fields })
}

/// An order as it comes in.
pub(super) fn order(request: &admin::MachineActRequest) -> Order {
    match request.act {
        admin::MachineAct::Suspend => Order::Suspend,
        admin::MachineAct::Resume => Order::Resume,
        admin::MachineAct::Approve => Order::Approve,
        admin::MachineAct::Remove => Order::Remove,
        admin::MachineAct::ResetRecovery => Order::ResetRecovery,
        admin::MachineAct::Renew => {
            Order::Renew { within: request.within_seconds.map_or(RENEW_WITHIN, Duration::from_secs) }
        }
    }
}

/// How long a hurried fleet has: ten minutes are two questions of every agent, and little for a leaked key.
const RENEW_WITHIN: Duration = Duration::from_secs(600);

/// An operator's words. They stand in every event and record of the act, so they are short.
pub(super) fn reason(text: Option<String>) -> Result<String, Failure> {
    words("reason", text.unwrap_or_default(), 256)
}

/// Free words that are kept.
pub(super) fn words(what: &'static str, text: String, longest: usize) -> Result<String, Failure> {
    if text.len() > longest {
        let found = format!("{} octets", text.len());
        return Err(parameter(what, &found, format!("at most {longest} octets")));
    }
    Ok(text)
}

/// What a revocation names.
pub(super) fn target(ca: &Ca, request: &admin::RevokeRequest) -> Result<Target, Failure> {
    let text = request.target.as_str();
    Ok(match request.kind {
        admin::RevokeKind::Machine => match ca.whom(text, request.all || request.dry_run)? {
            Whom::Machine(id) => Target::Machine(id),
            Whom::Identity(id) => Target::Identity(id),
        },
        admin::RevokeKind::Lineage => Target::Lineage(value::<Lineage>("target", text, "a lineage, l-…")?),
        admin::RevokeKind::Serial => Target::Serial(value::<Serial>("target", text, "a serial in hex")?),
        admin::RevokeKind::Key => {
            Target::Key(value::<KeyHash>("target", text, "the SHA-256 of a public key in hex")?)
        }
    })
}
