//! A service whose callers may come with tokens of an authorization server that is not ours. It knows them by that server's keys
//! (JWTs, verified offline) or by asking it (RFC 7662); either way its own policy has the last word.
//!
//! ```text
//! external DIR CA-URL ISSUER AUDIENCE ROOTS keys JWKS-URL
//! external DIR CA-URL ISSUER AUDIENCE ROOTS asked INTROSPECTION-URL CLIENT-ID
//! ```
//!
//! DIR holds the service's identity, as `countersign-agent enroll` leaves it; ROOTS is a PEM file of the authorities that the
//! other server's certificate is under. `GET /entries` needs `ledger:read`, which `entries.read` in a token's scope carries, if the
//! policy grants it to `spiffe://login.example/CLIENT`.

use std::{
    error::Error,
    fs,
    future::pending,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use axum::{Router, routing::get};
use countersign_verifier::{
    Allowed, ClientProof, ForeignIssuer, ForeignKeys, Introspection, KnownBy, LiveTrust, Members,
    OwnIdentity, PeerRule, Permission, ResourceServer, ServerBuilder, SpiffeId, WebRoots,
    axum_serve_resource, bundle_from_pem, permissions,
};
use tokio::net::TcpListener;

/// The identities of that server's clients are of a trust domain made up for it: it can name no machine of ours.
const LOGIN: &str = "login.example";

permissions! {
    /// What may be done with the ledger.
    mod ledger = "ledger" {
        /// See entries.
        Read = "read",
    }
}

/// Anything that stops the example.
pub(crate) type Fault = Box<dyn Error + Send + Sync>;

/// What the service is told.
pub(crate) struct External {
    /// Its identity's directory, and the CA that it follows.
    pub(crate) dir: PathBuf,
    pub(crate) ca: String,
    /// The other server, as it stands in `iss`, and this service, as it stands in `aud`.
    pub(crate) issuer: String,
    pub(crate) audience: String,
    /// How its tokens are known.
    pub(crate) known_by: KnownBy,
}

impl External {
    /// Serves on a port of loopback.
    pub(crate) async fn serve(self) -> Result<SocketAddr, Fault> {
        let me = OwnIdentity::from_files(self.dir.join("svid.pem"), self.dir.join("svid.key"))?;
        let bundle = fs::read(self.dir.join("bundle.pem"))?;
        let domain: countersign_verifier::TrustDomain = "prod.example".parse()?;
        let trust = LiveTrust::anchored(bundle_from_pem(domain.clone(), &bundle)?).open()?;
        tokio::spawn(trust.clone().follow_ca(self.ca.parse()?, Some(me.clone())));
        trust.ready().await;
        let login =
            ForeignIssuer::new(&self.issuer, &self.audience, LOGIN.parse()?, self.known_by, whom_and_what);
        let resource = ResourceServer::of("ledger", &trust).tokens_of(&self.ca).also(login).build()?;
        let acceptor = ServerBuilder::new(me, trust.store()).admit(PeerRule::trust_domain(domain));
        let acceptor = acceptor.certificate_optional().build()?;
        let router = Router::new().route("/entries", get(entries));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(axum_serve_resource(listener, acceptor, resource, router, pending()));
        Ok(address)
    }
}

/// Whom the claims of a token name here, and what its scope carries here: words that mean nothing here carry nothing.
fn whom_and_what(claims: &Members) -> Option<(SpiffeId, Vec<Permission>)> {
    let client: SpiffeId = format!("spiffe://{LOGIN}/{}", claims.text("client_id")?).parse().ok()?;
    let words = claims.text("scope").unwrap_or_default().split(' ');
    let scope = words.filter_map(|word| match word {
        "entries.read" => "ledger:read".parse().ok(),
        _ => None,
    });
    Some((client, scope.collect()))
}

async fn entries(allowed: Allowed<ledger::Read>) -> String {
    format!("entries for {}", allowed.caller().spiffe_id())
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [dir, ca, issuer, audience, roots, how @ ..] = arguments.as_slice() else {
        return Err("usage: external DIR CA-URL ISSUER AUDIENCE ROOTS keys|asked URL [CLIENT-ID]".into());
    };
    let (dir, roots) = (Path::new(dir), WebRoots::from_pem(&fs::read(roots)?)?);
    let known_by = match how {
        ["keys", url] => ForeignKeys::at(url.parse()?, &roots)?.into(),
        ["asked", url, client_id] => {
            let me = OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key"))?;
            Introspection::at(url.parse()?, &roots, ClientProof::certificate(client_id, me))?.into()
        }
        _ => return Err("expected `keys JWKS-URL` or `asked INTROSPECTION-URL CLIENT-ID`".into()),
    };
    let (issuer, audience) = ((*issuer).to_owned(), (*audience).to_owned());
    let external = External { dir: dir.into(), ca: (*ca).to_owned(), issuer, audience, known_by };
    let address = external.serve().await?;
    #[expect(clippy::print_stdout, reason = "an example says where it listens")]
    {
        println!("the ledger listens at https://{address}");
    }
    pending().await
}
