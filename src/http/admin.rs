//! The admin routes: what the command line says to a running CA.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use countersign_api::{
    Invitation, ProblemCode,
    admin::{
        ActResponse, Event, ImportRequest, ImportResponse, InviteRequest, InviteResponse, Issued, Issuer,
        Machine, MachineActRequest, Page, PermissionUse, PolicyDocument, Registration, RevokeRequest, Status,
    },
};
use countersign_identity::{SpiffeId, hex};
use countersign_store::{Order, Whom};
use std::time::Duration;

use super::{
    body::{JsonBody, LargeJsonBody},
    caller::Caller,
    problem::Failure,
    wire_form::{self, ListQuery},
};
use crate::service::{Ca, InvitationWish, Refused, life_left_percent};

type Answer<T> = Result<Json<T>, Failure>;

/// `POST /v1/admin/invitations`
pub(super) async fn invite(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    JsonBody(request): JsonBody<InviteRequest>,
) -> Answer<InviteResponse> {
    let registration = wire_form::registration(&request.registration, ca.now())?;
    caller.may_touch(&ca, &registration.id)?;
    let wish = InvitationWish {
        registration,
        stated: request.stated,
        ttl: Duration::from_secs(request.ttl_seconds),
        uses: request.uses,
    };
    let invited = ca.invite(wish, caller.actor()).await?;
    let invitation = invited.secret.map(|secret| Invitation {
        url: ca.url().to_owned(),
        trust_domain: ca.trust_domain().to_string(),
        root_sha256: invited.root_sha256,
        secret,
    });
    Ok(Json(InviteResponse {
        invitation: invitation.map(|invitation| invitation.to_string()).unwrap_or_default(),
        expires: invited.expires.to_string(),
        registration_created: invited.registration_created,
    }))
}

/// `GET /v1/admin/registrations`
pub(super) async fn registrations(
    State(ca): State<Arc<Ca>>,
    Query(query): Query<ListQuery>,
) -> Answer<Page<Registration>> {
    if let Some(id) = query.registration()? {
        let one = ca.registration(&id)?.ok_or_else(|| unregistered(&id))?;
        return Ok(Json(Page { items: vec![wire_form::registration_out(&ca, &one)?], next: None }));
    }
    let page = ca.registrations(query.cursor()?.as_ref(), query.limit())?;
    let items = page.items.iter().map(|one| wire_form::registration_out(&ca, one));
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(Json(Page { items: items.collect::<Result<_, _>>()?, next }))
}

/// `PUT /v1/admin/registrations`
pub(super) async fn set_registration(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    JsonBody(request): JsonBody<Registration>,
) -> Result<StatusCode, Failure> {
    let registration = wire_form::registration(&request, ca.now())?;
    caller.may_touch(&ca, &registration.id)?;
    ca.set_registration(registration, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/admin/registrations?id=`
pub(super) async fn remove_registration(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<StatusCode, Failure> {
    let id = query.registration()?.ok_or_else(|| {
        Failure::new(ProblemCode::ParameterInvalid, "id: expected the registration to remove")
    })?;
    caller.may_touch(&ca, &id)?;
    ca.remove_registration(id, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/admin/registrations/import`
pub(super) async fn import_registrations(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    LargeJsonBody(request): LargeJsonBody<ImportRequest>,
) -> Answer<ImportResponse> {
    let now = ca.now();
    let mut registrations = Vec::with_capacity(request.registrations.len());
    for one in &request.registrations {
        let registration = wire_form::registration(one, now)?;
        caller.may_touch(&ca, &registration.id)?;
        registrations.push(registration);
    }
    let done = ca.import_registrations(registrations, request.dry_run, caller.actor()).await?;
    let count = |ids: &[SpiffeId]| u64::try_from(ids.len()).unwrap_or(u64::MAX);
    Ok(Json(ImportResponse {
        created: count(&done.created),
        changed: count(&done.changed),
        unchanged: count(&done.unchanged),
    }))
}

/// `GET /v1/admin/machines`
pub(super) async fn machines(
    State(ca): State<Arc<Ca>>,
    Query(query): Query<ListQuery>,
) -> Answer<Page<Machine>> {
    if let Some(id) = query.machine()? {
        let one = ca.machine(id)?.ok_or_else(|| {
            Failure::new(ProblemCode::MachineUnknown, format_args!("no machine {id} is known"))
        })?;
        return Ok(Json(Page { items: vec![wire_form::machine_out(&one)], next: None }));
    }
    let page = ca.machines(&query.machine_filter()?, query.cursor()?.as_ref(), query.limit())?;
    Ok(Json(wire_form::page(page, wire_form::machine_out)))
}

/// `POST /v1/admin/machines/act`
pub(super) async fn order_machines(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    JsonBody(request): JsonBody<MachineActRequest>,
) -> Answer<ActResponse> {
    let whom = ca.whom(&request.target, request.all || request.dry_run)?;
    let order = wire_form::order(&request);
    // Taking a privilege away is not giving one: who may revoke may stop a stolen operator from anywhere.
    if matches!(order, Order::Resume | Order::Approve | Order::ResetRecovery) {
        may_touch_whom(&ca, &caller, &whom)?;
    }
    let reached = if request.dry_run {
        ca.would_reach(order, &whom)?
    } else {
        ca.order(order, whom, wire_form::reason(request.reason)?, caller.actor()).await?
    };
    Ok(Json(ActResponse { machines: wire_form::texts(&reached), serials: Vec::new(), workloads: Vec::new() }))
}

/// `GET /v1/admin/issued`
pub(super) async fn issued(
    State(ca): State<Arc<Ca>>,
    Query(query): Query<ListQuery>,
) -> Answer<Page<Issued>> {
    if let Some(serial) = query.serial()? {
        let one = ca.issuance(serial)?.ok_or_else(|| {
            Failure::new(
                ProblemCode::NotFound,
                format_args!("no unexpired certificate has the serial {serial}"),
            )
        })?;
        return Ok(Json(Page { items: vec![wire_form::issued_with_certificate(&one)], next: None }));
    }
    let page = ca.issuances(&query.issuance_filter(ca.now())?, query.cursor()?.as_ref(), query.limit())?;
    let mut page = wire_form::page(page, wire_form::issued_out);
    page.items.retain(|one| query.wants_status(&one.status));
    Ok(Json(page))
}

/// `POST /v1/admin/revoke`
pub(super) async fn revoke(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    JsonBody(request): JsonBody<RevokeRequest>,
) -> Answer<ActResponse> {
    let target = wire_form::target(&ca, &request)?;
    let reason = wire_form::reason(request.reason)?;
    let revoked = ca.revoke(target, reason, caller.actor(), request.dry_run).await?;
    Ok(Json(ActResponse {
        machines: wire_form::texts(&revoked.machines),
        serials: wire_form::texts(&revoked.serials),
        workloads: wire_form::texts(&revoked.workloads),
    }))
}

/// `GET /v1/admin/issuers`
pub(super) async fn issuers(State(ca): State<Arc<Ca>>) -> Json<Page<Issuer>> {
    issuer_page(&ca)
}

/// Every issuer, the one that signs first.
pub(super) fn issuer_page(ca: &Ca) -> Json<Page<Issuer>> {
    let now = ca.now();
    let keys = ca.keys();
    let items = keys.issuers().iter().enumerate().map(|(n, issuer)| {
        let validity = issuer.validity();
        let state = match n {
            _ if validity.not_after() < now => "ended",
            0 => "signing",
            _ => "trusted",
        };
        Issuer {
            key: issuer.key_hash().to_string(),
            serial: hex::encode(issuer.serial_octets()),
            state: state.into(),
            not_before: validity.not_before().to_string(),
            not_after: validity.not_after().to_string(),
            life_left_percent: u8::try_from(life_left_percent(&validity, now)).unwrap_or(100),
        }
    });
    Json(Page { items: items.collect(), next: None })
}

/// `GET /v1/admin/status`
pub(super) async fn status(State(ca): State<Arc<Ca>>) -> Answer<Status> {
    let status = ca.status()?;
    Ok(Json(Status {
        trust_domain: ca.trust_domain().to_string(),
        server_time: ca.now().to_string(),
        store_read_only: status.health.read_only,
        machines: status.counts.active,
        certificates: status.counts.issuances,
        registrations: status.counts.registrations,
        events: status.counts.events,
        events_archived: status.counts.archived,
        archive_failing: status.archive_failing,
        issuer_not_after: status.issuer_end.to_string(),
        server_not_after: ca.server_certificate_end().map(|end| end.to_string()).unwrap_or_default(),
        started: ca.started().to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
    }))
}

/// `GET /v1/admin/events`
pub(super) async fn events(State(ca): State<Arc<Ca>>, Query(query): Query<ListQuery>) -> Answer<Page<Event>> {
    let after = query.after_number()?;
    let limit = query.limit();
    // Old ones are read and unpacked from files.
    let read = move || Ok::<_, Refused>((ca.events(after, limit)?, ca.status()?.counts.events));
    let (events, newest) = tokio::task::spawn_blocking(read)
        .await
        .map_err(|e| Refused::File(format!("reading the events broke off: {e}")))??;
    // A page that ends early goes on at what cannot be read, which is refused by name.
    let next = events.last().filter(|last| last.seq < newest).map(|last| last.seq.to_string());
    let items = events.iter().filter_map(wire_form::event_out).collect();
    Ok(Json(Page { items, next }))
}

/// `GET /v1/admin/policy`
pub(super) async fn policy(State(ca): State<Arc<Ca>>) -> Answer<PolicyDocument> {
    let record = ca.policy()?;
    Ok(Json(match record {
        Some(record) => PolicyDocument { version: Some(hex::encode(&record.version)), text: record.text },
        None => PolicyDocument { version: None, text: String::new() },
    }))
}

/// `POST /v1/admin/policy`
pub(super) async fn apply_policy(
    State(ca): State<Arc<Ca>>,
    caller: Caller,
    LargeJsonBody(document): LargeJsonBody<PolicyDocument>,
) -> Answer<PolicyDocument> {
    let version = match &caller {
        Caller::Remote(id) => ca.apply_policy_for(id, document.text.clone()).await?,
        Caller::Local { .. } => ca.apply_policy(document.text.clone(), caller.actor()).await?,
    };
    Ok(Json(PolicyDocument { version: Some(hex::encode(&version)), text: document.text }))
}

/// `GET /v1/admin/uses`
pub(super) async fn uses(
    State(ca): State<Arc<Ca>>,
    Query(query): Query<ListQuery>,
) -> Answer<Page<PermissionUse>> {
    let page = ca.permission_uses(query.cursor()?.as_ref(), query.limit())?;
    Ok(Json(wire_form::page(page, wire_form::use_out)))
}

fn may_touch_whom(ca: &Ca, caller: &Caller, whom: &Whom) -> Result<(), Failure> {
    match whom {
        Whom::Identity(id) => caller.may_touch(ca, id),
        Whom::Machine(id) => match ca.machine(*id)? {
            Some(machine) => caller.may_touch(ca, &machine.spiffe_id),
            None => Ok(()),
        },
    }
}

fn unregistered(id: &SpiffeId) -> Failure {
    Failure::new(ProblemCode::RegistrationUnknown, format_args!("{id} is not registered"))
}
