//! A ledger over gRPC: a tonic service on the accept loop of ours, a permission for each of its methods.
//!
//! ```text
//! tonic-ledger DIR TRUST [ADDRESS]
//! ```
//!
//! DIR is where `countersign-agent` keeps an identity; TRUST is a file that `countersign bundle export` wrote and
//! something replaces. What `tonic-prost-build` would write from a `.proto` file is written out here, so that nothing needs `protoc`.

#![expect(clippy::print_stdout, reason = "an example says where it listens")]

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, pending, ready};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{env, fs};

use axum::Router;
use axum::http;
use countersign_verifier::{
    Allowed, LiveTrust, NamedPermission, OwnIdentity, PeerRule, ServerBuilder, axum_serve_gated,
    bundle_from_pem, permissions,
};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

permissions! {
    /// What may be done with the ledger.
    mod ledger = "ledger" {
        /// See entries.
        Read = "read",
        /// Add entries.
        Write = "write",
    }
}

/// `message Line { string text = 1; }`
#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(string, tag = "1")]
    text: String,
}

/// `service Ledger { rpc Read (Line) returns (Line); rpc Write (Line) returns (Line); }`
#[derive(Clone)]
struct Ledger;

impl Ledger {
    fn read(&self, call: &Request<Line>) -> Result<Response<Line>, Status> {
        let allowed = Allowed::<ledger::Read>::of_call(call, "Read")?;
        Ok(line(format!("entries for {}", allowed.caller().spiffe_id())))
    }

    fn write(&self, call: &Request<Line>) -> Result<Response<Line>, Status> {
        let allowed = Allowed::<ledger::Write>::of_call(call, "Write")?;
        Ok(line(format!("{:?} written for {}", call.get_ref().text, allowed.caller().spiffe_id())))
    }
}

fn line(text: String) -> Response<Line> {
    Response::new(Line { text })
}

/// One method, as the generated code has it.
struct Method(fn(&Ledger, &Request<Line>) -> Result<Response<Line>, Status>);

impl UnaryService<Line> for Method {
    type Response = Line;
    type Future = Ready<Result<Response<Line>, Status>>;

    fn call(&mut self, call: Request<Line>) -> Self::Future {
        ready((self.0)(&Ledger, &call))
    }
}

impl Service<http::Request<axum::body::Body>> for Ledger {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<axum::body::Body>) -> Self::Future {
        let method = match request.uri().path() {
            "/ledger.Ledger/Read" => Method(Ledger::read),
            "/ledger.Ledger/Write" => Method(Ledger::write),
            _ => Method(|_, _| Err(Status::unimplemented("there is no such method"))),
        };
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(method, request).await) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(dir), Some(trust)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tonic-ledger DIR TRUST [ADDRESS]".into());
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let file = |name: &str| Path::new(&dir).join(name);

    let me = OwnIdentity::from_files(file("svid.pem"), file("svid.key"))?;
    let roots = bundle_from_pem("prod.example".parse()?, &fs::read(file("bundle.pem"))?)?;
    let live = LiveTrust::anchored(roots).open()?;
    tokio::spawn(live.clone().follow_file(trust.into(), Duration::from_secs(1)));
    live.ready().await;

    let gate = live.gate();
    for permission in gate.unknown(ledger::ALL) {
        println!("nobody can hold {permission}: the policy does not declare it");
    }
    let rule = PeerRule::trust_domain("prod.example".parse()?);
    let acceptor = ServerBuilder::new(me, live.store()).admit(rule).alpn(&["h2"]).build()?;
    // Whoever may not even read gets no further than this.
    let behind = tonic::service::InterceptorLayer::new(gate.require_grpc(ledger::Read::permission().clone()));
    let router = Router::new().route_service("/ledger.Ledger/{method}", tower::Layer::layer(&behind, Ledger));
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum_serve_gated(listener, acceptor, gate, router, pending()).await?;
    Ok(())
}
