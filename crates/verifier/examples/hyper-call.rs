//! Calls a service with hyper's pooled client and says what it answers; the server is known by its SPIFFE ID.
//!
//! ```text
//! hyper-call DIR SERVER URL
//! ```
//!
//! DIR is where `countersign-agent` keeps an identity; SERVER is a pattern of SPIFFE IDs.

#![expect(clippy::print_stdout, reason = "an example says what it was answered")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use countersign_verifier::{ClientBuilder, OwnIdentity, PeerRule, TrustStore, VerifiedPeer, bundle_from_pem};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(dir), Some(server), Some(url)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: hyper-call DIR SERVER URL".into());
    };
    let file = |name: &str| Path::new(&dir).join(name);
    let me = OwnIdentity::from_files(file("svid.pem"), file("svid.key"))?;
    let bundle = bundle_from_pem("prod.example".parse()?, &fs::read(file("bundle.pem"))?)?;
    let connector = ClientBuilder::new(Arc::new(TrustStore::new([bundle])?))
        .expect(PeerRule::matching([server.parse()?]))
        .identity(me)
        .alpn(&["h2", "http/1.1"])
        .build()?;

    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector.for_hyper());
    let answer = client.get(url.parse()?).await?;
    let who = answer.extensions().get::<VerifiedPeer>().map(|peer| peer.spiffe_id().to_string());
    let (status, version) = (answer.status(), answer.version());
    let text = answer.into_body().collect().await?.to_bytes();
    println!(
        "{} answers {version:?} {status}: {}",
        who.unwrap_or_default(),
        String::from_utf8_lossy(&text).trim()
    );
    Ok(())
}
