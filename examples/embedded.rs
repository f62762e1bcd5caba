//! One process that is its own authorization server: it has a CA inside, mints tokens for callers that it knows by
//! certificate, and protects its routes with them.
//!
//! ```text
//! embedded DIR
//! ```
//!
//! DIR is a new directory: the CA and the identities go there. `POST /token` gives the caller a token for the ledger,
//! `GET /entries` takes one; the same token works at any other service that follows this CA.

use std::{
    error::Error,
    fs,
    future::pending,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use countersign::{
    config::Config,
    http::Server,
    service::{Bootstrap, Ca, InvitationWish, LogLevel, Shown, TokenWish},
    signer::Entropy,
};
use countersign_agent::EnrollOptions;
use countersign_api::Invitation;
use countersign_issuance::{Machines, Registration, Source, Tokens};
use countersign_store::Actor;
use countersign_verifier::{
    Allowed, LiveTrust, OwnIdentity, PeerRule, ResourceServer, ServerBuilder, SystemClock, VerifiedPeer,
    Wire, axum_serve_resource, bundle_from_pem, permissions,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const TRUST_DOMAIN: &str = "prod.example";
const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://prod.example/payments"
permissions = ["ledger:read"]
"#;

permissions! {
    /// What may be done with the ledger.
    mod ledger = "ledger" {
        /// See entries.
        Read = "read",
    }
}

/// Anything that stops the example.
pub(crate) type Fault = Box<dyn Error + Send + Sync>;

/// The process, running.
pub(crate) struct Embedded {
    /// Where the ledger listens.
    pub(crate) address: SocketAddr,
    ca: Arc<Ca>,
    dir: PathBuf,
}

impl Embedded {
    /// Makes the CA in `dir` and serves: the CA for machines and the trust snapshot, and the ledger.
    pub(crate) async fn start(dir: &Path) -> Result<Self, Fault> {
        let ca = certificate_authority(dir).await?;
        let mut embedded = Self { address: ([127, 0, 0, 1], 0).into(), ca, dir: dir.into() };
        let identity = embedded.enroll("/ledger").await?;
        embedded.address = embedded.serve(&identity).await?;
        Ok(embedded)
    }

    /// Gives a machine an identity; its files are in the directory that comes back.
    pub(crate) async fn enroll(&self, path: &str) -> Result<PathBuf, Fault> {
        let registration = Registration {
            id: format!("spiffe://{TRUST_DOMAIN}{path}").parse()?,
            profile: "workload".into(),
            dns: Vec::new(),
            ip: Vec::new(),
            until: None,
            owner: None,
            machines: Machines::One,
            token_keys: Vec::new(),
            tokens: Tokens::Bound,
            shared: false,
            parent: None,
            selectors: Vec::new(),
            created: self.ca.now(),
        };
        let wish = InvitationWish { registration, stated: Vec::new(), ttl: Duration::from_secs(60), uses: 1 };
        let invited = self.ca.invite(wish, Actor::House).await?;
        let invitation = Invitation {
            url: self.ca.url().to_owned(),
            trust_domain: TRUST_DOMAIN.to_owned(),
            root_sha256: invited.root_sha256,
            secret: invited.secret.ok_or("a machine is invited by a secret")?,
        };
        let dir = self.dir.join(path.trim_start_matches('/'));
        countersign_agent::enroll(&EnrollOptions::new(invitation, &dir)).await?;
        Ok(dir)
    }

    async fn serve(&self, identity: &Path) -> Result<SocketAddr, Fault> {
        let me = OwnIdentity::from_files(identity.join("svid.pem"), identity.join("svid.key"))?;
        let domain: countersign_verifier::TrustDomain = TRUST_DOMAIN.parse()?;
        let roots = bundle_from_pem(domain.clone(), &fs::read(identity.join("bundle.pem"))?)?;
        let trust = LiveTrust::anchored(roots).kept_in(identity.join("trust")).open()?;
        tokio::spawn(trust.clone().follow_ca(self.ca.url().parse()?, Some(me.clone())));
        trust.ready().await;
        let resource = ResourceServer::of("ledger", &trust).tokens_of(self.ca.token_issuer()).build()?;
        let acceptor = ServerBuilder::new(me, trust.store()).admit(PeerRule::trust_domain(domain)).build()?;
        let router = Router::new()
            .route("/token", post(token).with_state(Arc::clone(&self.ca)))
            .route("/entries", get(entries));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(axum_serve_resource(listener, acceptor, resource, router, pending()));
        Ok(address)
    }
}

/// A CA in this process, with its listeners on loopback.
async fn certificate_authority(dir: &Path) -> Result<Arc<Ca>, Fault> {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let (listen, ops_listen) = (free()?, free()?);
    let (trust_domain, url, home) = (TRUST_DOMAIN.parse()?, format!("https://{listen}"), dir.join("ca"));
    let plan = Bootstrap { trust_domain: &trust_domain, dir: &home, listen, ops_listen, url: &url };
    let passphrase: [u8; 32] = Entropy::system().octets();
    let made = plan.run(&passphrase, &Entropy::system(), &SystemClock).await?;
    fs::write(home.join("policy.toml"), POLICY)?;
    let server = Server::start(Config::load(&made.config)?, LogLevel::new(|_| Ok(()))).await?;
    let ca = Arc::clone(server.ca());
    tokio::spawn(server.until_stopped());
    Ok(ca)
}

/// Mints a token for whoever called: no second handshake, no second server.
async fn token(
    State(ca): State<Arc<Ca>>,
    peer: VerifiedPeer,
    axum::Extension(wire): axum::Extension<Wire>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let refused = |why: &dyn std::fmt::Display| (StatusCode::FORBIDDEN, why.to_string());
    let shown = Shown {
        serial: peer.serial().ok_or((StatusCode::FORBIDDEN, "not one of ours".to_owned()))?,
        spiffe_id: peer.spiffe_id(),
        lineage: peer.lineage(),
        thumbprint: *peer.thumbprint(),
        not_after: peer.not_after(),
    };
    let client = ca.client_by_certificate(&shown).await.map_err(|why| refused(&why))?;
    let wish = TokenWish { service: Some("ledger".to_owned()), scope: None };
    let source = Source { addr: Some(wire.source.ip()) };
    let granted = ca.grant(&client, &wish, source).await.map_err(|why| refused(&why))?;
    Ok(Json(json!({ "access_token": granted.token, "expires_in": granted.expires_in.as_secs() })))
}

async fn entries(allowed: Allowed<ledger::Read>) -> String {
    format!("entries for {}", allowed.caller().spiffe_id())
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let dir = std::env::args().nth(1).ok_or("usage: embedded DIR")?;
    let embedded = Embedded::start(Path::new(&dir)).await?;
    let payments = embedded.enroll("/payments").await?;
    #[expect(clippy::print_stdout, reason = "an example says where it listens")]
    {
        println!("the ledger listens at https://{}; {} may read", embedded.address, payments.display());
    }
    pending().await
}
