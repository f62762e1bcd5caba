//! The front desk: wire in, service, wire out. The route table fits one screen.

mod admin;
mod api_keys;
mod body;
mod bundle;
mod caller;
mod decisions;
mod desk;
mod live;
mod live_set;
mod local;
mod machine;
mod oauth;
mod ops;
mod problem;
mod server;
mod signals;
mod trust;
mod unix;
mod visitor;
mod wire_form;
mod workload;

use std::sync::Arc;

use axum::{
    Extension, Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use countersign_api::paths;

use crate::service::Ca;
pub use oauth::Form;
use server::Desk;
pub use server::{Server, StartError};

/// What machines reach over TLS.
fn machine_routes() -> Router<Arc<Ca>> {
    Router::new()
        .route(paths::ENROLL, post(machine::enroll))
        .route(paths::RENEW, post(machine::renew))
        .route(paths::RECOVER, post(machine::recover))
        .route(paths::BUNDLE, get(machine::bundle))
        .route(paths::ROOTS, get(machine::roots))
}

/// The authorization server.
fn oauth_routes() -> Router<Arc<Ca>> {
    Router::new()
        .route(paths::TOKEN, post(oauth::token))
        .route(paths::INTROSPECT, post(oauth::introspect))
        .route(paths::TOKEN_REVOKE, post(oauth::revoke))
        .route(paths::JWKS, get(oauth::jwks))
        .route(paths::OAUTH_METADATA, get(oauth::metadata))
        .route(paths::OPENID_METADATA, get(oauth::metadata))
}

/// What machines and services do with a live certificate beside renewing it.
fn live_routes() -> Router<Arc<Ca>> {
    Router::new()
        .route(paths::RENEWAL, get(workload::renewal))
        .route(paths::DEPLOYED, post(workload::deployed))
        .route(paths::WORKLOAD, post(workload::workload))
        .route(paths::JWT_SVID, post(workload::jwt_svid))
        .route(paths::REGISTRATIONS, get(workload::registrations))
        .route(paths::EVENTS, post(decisions::report))
}

/// What verifiers read, with a live certificate unless the configuration opens it to everybody.
fn trust_routes() -> Router<Arc<Ca>> {
    Router::new().route(paths::TRUST, get(trust::snapshot)).route(paths::TRUST_PART, get(trust::part))
}

/// What operators reach, over the unix socket or as an identity the policy allows.
fn admin_routes() -> Router<Arc<Ca>> {
    Router::new()
        .route(paths::ADMIN_INVITATIONS, post(admin::invite))
        .route(
            paths::ADMIN_REGISTRATIONS,
            get(admin::registrations).put(admin::set_registration).delete(admin::remove_registration),
        )
        .route(paths::ADMIN_REGISTRATIONS_IMPORT, post(admin::import_registrations))
        .route(paths::ADMIN_MACHINES, get(admin::machines))
        .route(paths::ADMIN_MACHINES_ACT, post(admin::order_machines))
        .route(paths::ADMIN_ISSUED, get(admin::issued))
        .route(paths::ADMIN_REVOKE, post(admin::revoke))
        .route(paths::ADMIN_ISSUERS, get(admin::issuers))
        .route(paths::ADMIN_STATUS, get(admin::status))
        .route(paths::ADMIN_EVENTS, get(admin::events))
        .route(paths::ADMIN_API_KEYS, get(api_keys::list).post(api_keys::create))
        .route(paths::ADMIN_API_KEYS_ROTATE, post(api_keys::rotate))
        .route(paths::ADMIN_API_KEYS_REVOKE, post(api_keys::revoke))
        .route(paths::ADMIN_POLICY, get(admin::policy).post(admin::apply_policy))
        .route(paths::ADMIN_USES, get(admin::uses))
        .route(paths::ADMIN_TRUST, get(trust::file))
}

/// What only this machine's operator reaches: acts on the state directory itself.
fn local_routes() -> Router<Arc<Ca>> {
    Router::new()
        .route(paths::ADMIN_ISSUERS_ADOPT, post(local::adopt_issuer))
        .route(paths::ADMIN_RELOAD, post(local::reload))
        .route(paths::ADMIN_BACKUP, post(local::backup))
}

/// The TLS listener's router.
fn public_router(ca: &Arc<Ca>) -> Router {
    Router::new()
        .merge(machine_routes())
        .merge(oauth_routes())
        .merge(live_routes().route_layer(from_fn_with_state(Arc::clone(ca), live::by_live_certificate)))
        .merge(trust_routes().route_layer(from_fn_with_state(Arc::clone(ca), trust::by_live_certificate)))
        .merge(admin_routes().route_layer(from_fn_with_state(Arc::clone(ca), caller::by_certificate)))
        .fallback(desk::not_found)
        .method_not_allowed_fallback(desk::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(ca), desk::admit_source))
        .layer(from_fn_with_state(Arc::clone(ca), desk::measure))
        .with_state(Arc::clone(ca))
}

/// The unix socket's router: the kernel has said who calls.
fn local_router(desk: &Arc<Desk>) -> Router {
    let ca = desk.ca();
    Router::new()
        .merge(admin_routes())
        .merge(local_routes().layer(Extension(Arc::clone(desk))))
        .merge(trust_routes())
        .route(paths::BUNDLE, get(machine::bundle))
        .route(paths::ROOTS, get(machine::roots))
        .fallback(desk::not_found)
        .method_not_allowed_fallback(desk::method_not_allowed)
        .layer(from_fn(caller::by_uid))
        .layer(from_fn_with_state(Arc::clone(ca), desk::measure))
        .with_state(Arc::clone(ca))
}
