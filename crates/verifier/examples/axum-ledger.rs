//! A ledger over HTTP: who may read and write is in the policy of the trust snapshot.
//!
//! ```text
//! axum-ledger DIR TRUST [ADDRESS]
//! ```
//!
//! DIR is where `countersign-agent` keeps an identity. TRUST is the URL of the CA, or a file that `countersign bundle
//! export` wrote and something replaces.

#![expect(clippy::print_stdout, reason = "an example says where it listens")]

use std::error::Error;
use std::future::pending;
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use axum::Router;
use axum::routing::get;
use countersign_verifier::{
    Allowed, LiveTrust, OwnIdentity, PeerRule, ServerBuilder, axum_serve_gated, bundle_from_pem,
    follow_identity_files, permissions,
};
use tokio::net::TcpListener;

permissions! {
    /// What may be done with the ledger.
    mod ledger = "ledger" {
        /// See entries.
        Read = "read",
        /// Add entries.
        Write = "write",
    }
}

async fn entries(allowed: Allowed<ledger::Read>) -> String {
    format!("entries for {}\n", allowed.caller().spiffe_id())
}

async fn add(allowed: Allowed<ledger::Write>) -> String {
    format!("written for {}\n", allowed.caller().spiffe_id())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(dir), Some(trust)) = (arguments.next(), arguments.next()) else {
        return Err("usage: axum-ledger DIR TRUST [ADDRESS]".into());
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let file = |name: &str| Path::new(&dir).join(name);

    let me = OwnIdentity::from_files(file("svid.pem"), file("svid.key"))?;
    let files = (file("svid.pem"), file("svid.key"));
    tokio::spawn(follow_identity_files(me.clone(), files, Duration::from_secs(1)));

    let domain = "prod.example".parse()?;
    let roots = bundle_from_pem(domain, &fs::read(file("bundle.pem"))?)?;
    let live = LiveTrust::anchored(roots).kept_in(file("trust")).open()?;
    if trust.starts_with("https://") {
        tokio::spawn(live.clone().follow_ca(trust.parse()?, Some(me.clone())));
    } else {
        tokio::spawn(live.clone().follow_file(trust.into(), Duration::from_secs(1)));
    }
    live.ready().await;

    let gate = live.gate();
    for permission in gate.unknown(ledger::ALL) {
        println!("nobody can hold {permission}: the policy does not declare it");
    }
    let acceptor = ServerBuilder::new(me, live.store())
        .admit(PeerRule::trust_domain("prod.example".parse()?))
        .build()?;
    let router = Router::new().route("/entries", get(entries).post(add));
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}, trust is {}", listener.local_addr()?, live.health().state.as_str());
    axum_serve_gated(listener, acceptor, gate, router, pending()).await?;
    Ok(())
}
