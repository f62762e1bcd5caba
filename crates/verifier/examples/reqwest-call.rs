//! Calls a service with reqwest and says what it answers; the server is known by its SPIFFE ID.
//!
//! ```text
//! reqwest-call DIR SERVER URL
//! ```
//!
//! DIR is where `countersign-agent` keeps an identity; SERVER is a pattern of SPIFFE IDs.

#![expect(clippy::print_stdout, reason = "an example says what it was answered")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use countersign_verifier::{ClientBuilder, OwnIdentity, PeerRule, TrustStore, bundle_from_pem};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(dir), Some(server), Some(url)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: reqwest-call DIR SERVER URL".into());
    };
    let file = |name: &str| Path::new(&dir).join(name);
    let me = OwnIdentity::from_files(file("svid.pem"), file("svid.key"))?;
    let bundle = bundle_from_pem("prod.example".parse()?, &fs::read(file("bundle.pem"))?)?;
    let connector = ClientBuilder::new(Arc::new(TrustStore::new([bundle])?))
        .expect(PeerRule::matching([server.parse()?]))
        .identity(me)
        .build()?;

    // Whoever the server is, these settings judge it; reqwest adds nothing to that and takes nothing away.
    let client =
        reqwest::Client::builder().tls_backend_preconfigured((**connector.config()).clone()).build()?;
    let answer = client.get(url).send().await?;
    let status = answer.status();
    println!("{status}: {}", answer.text().await?.trim());
    Ok(())
}
