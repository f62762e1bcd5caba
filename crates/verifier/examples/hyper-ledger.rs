//! A ledger on hyper and tower alone: an accept loop of the service's own, the peer told to each request, a permission in each answer.
//!
//! ```text
//! hyper-ledger DIR TRUST [ADDRESS]
//! ```
//!
//! DIR is where `countersign-agent` keeps an identity; TRUST is a file that `countersign bundle export` wrote and
//! something replaces.

#![expect(clippy::print_stdout, reason = "an example says where it listens")]

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use countersign_verifier::{
    Allowed, Gate, LiveTrust, NotAllowed, OwnIdentity, PeerRule, ServerAcceptor, ServerBuilder,
    bundle_from_pem, permissions,
};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer as _, service_fn};

permissions! {
    /// What may be done with the ledger.
    mod ledger = "ledger" {
        /// See entries.
        Read = "read",
        /// Add entries.
        Write = "write",
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(request: &Request<Incoming>) -> Result<Answer, NotAllowed> {
    let (extensions, path) = (request.extensions(), request.uri().path());
    let text = match *request.method() {
        Method::POST => {
            let allowed = Allowed::<ledger::Write>::of(extensions, path)?;
            format!("written for {}\n", allowed.caller().spiffe_id())
        }
        _ => {
            let allowed = Allowed::<ledger::Read>::of(extensions, path)?;
            format!("entries for {}\n", allowed.caller().spiffe_id())
        }
    };
    Ok(Response::new(Full::from(text)))
}

async fn serve(
    acceptor: ServerAcceptor,
    gate: Gate,
    socket: TcpStream,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (stream, peer) = acceptor.accept(socket).await?;
    let (mut vigil, lifetime) = (acceptor.vigil(&peer), acceptor.lifetime(&peer));
    let ledger = service_fn(|request: Request<Incoming>| async move {
        Ok::<Answer, Infallible>(answer(&request).unwrap_or_else(NotAllowed::answer))
    });
    let service = TowerToHyperService::new(gate.admit(peer).layer().layer(ledger));
    let builder = Builder::new(TokioExecutor::new());
    tokio::select! {
        ended = builder.serve_connection(TokioIo::new(stream), service) => ended,
        refusal = vigil.lost() => Err(refusal.into()),
        () = tokio::time::sleep(lifetime) => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(dir), Some(trust)) = (arguments.next(), arguments.next()) else {
        return Err("usage: hyper-ledger DIR TRUST [ADDRESS]".into());
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
    let acceptor = ServerBuilder::new(me, live.store()).admit(rule).build()?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(fault) => return Err(fault.into()),
        };
        let serving = serve(acceptor.clone(), gate.clone(), socket);
        tokio::spawn(async move {
            if let Err(fault) = serving.await {
                println!("{from}: {fault}");
            }
        });
    }
}
