//! The Rust crate `spiffe-rustls` on the other side of a connection, both ways. It takes its identity from a Workload API, so that one
//! is here: as much of it as a source of X.509 SVIDs asks for.

#![cfg(all(feature = "axum", feature = "tonic"))]
#![expect(clippy::expect_used, reason = "tests: a panic says where the fixture broke")]

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http;
use countersign_testkit::{Authority, Forged};
use countersign_verifier::{
    AcceptError, ClientBuilder, Clock as _, ConnectError, OwnIdentity, PeerRule, Refusal, ServerBuilder,
    SystemClock, TrustStore, axum_serve,
};
use rustls::pki_types::ServerName;
use spiffe::X509Source;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::body::Body;
use tonic::codegen::tokio_stream::{self, Stream, StreamExt as _};
use tonic::server::{Grpc, ServerStreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

const PATIENCE: Duration = Duration::from_secs(30);
const LEDGER: &str = "spiffe://prod.example/ledger";
const PAYMENTS: &str = "spiffe://prod.example/payments";

/// `X509SVIDRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct Ask {}

/// `X509SVIDResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct Svids {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
}

/// `X509SVID`
#[derive(Clone, PartialEq, prost::Message)]
struct Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    chain: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
}

/// A Workload API that knows one workload.
#[derive(Clone)]
struct WorkloadApi(Svids);

type Svid1 = Pin<Box<dyn Stream<Item = Result<Svids, Status>> + Send>>;

impl ServerStreamingService<Ask> for WorkloadApi {
    type Response = Svids;
    type ResponseStream = Svid1;
    type Future = Ready<Result<Response<Svid1>, Status>>;

    fn call(&mut self, _: Request<Ask>) -> Self::Future {
        // All there is, and then nothing new for as long as the caller listens.
        let news = tokio_stream::once(Ok(self.0.clone())).chain(tokio_stream::pending());
        ready(Ok(Response::new(Box::pin(news))))
    }
}

impl Service<http::Request<axum::body::Body>> for WorkloadApi {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<axum::body::Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).server_streaming(api, request).await) })
    }
}

struct House {
    dir: TempDir,
    root: Authority,
    issuer: Authority,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Authority::root("prod.example");
        let issuer = root.issuer_with(|params| params.not_after += time::Duration::days(3000));
        Self { dir, root, issuer }
    }

    fn machine(&self, id: &str) -> Forged {
        self.issuer.leaf(id).ends(SystemClock.now() + Duration::from_secs(1800)).forge()
    }

    fn own(&self, id: &str) -> Arc<OwnIdentity> {
        let machine = self.machine(id);
        OwnIdentity::new(machine.chain(), machine.key_der()).expect("an identity")
    }

    fn trust(&self) -> Arc<TrustStore> {
        Arc::new(TrustStore::new([self.root.bundle()]).expect("a root"))
    }

    /// What the other crate takes its identity from.
    async fn source(&self, id: &str) -> X509Source {
        let machine = self.machine(id);
        let svid = Svid {
            spiffe_id: id.to_owned(),
            chain: machine.chain().iter().flat_map(|der| der.to_vec()).collect(),
            key: machine.key_der().secret_der().to_vec(),
            bundle: self.root.certificate().to_vec(),
        };
        let socket = self.dir.path().join("workload.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let api = WorkloadApi(Svids { svids: vec![svid] });
        let router = Router::new().route_service("/SpiffeWorkloadAPI/FetchX509SVID", api);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let endpoint = format!("unix://{}", socket.display());
        let source = X509Source::builder().endpoint(endpoint).build();
        timeout(PATIENCE, source).await.expect("in time").expect("a source")
    }
}

fn exactly(id: &str) -> PeerRule {
    PeerRule::one_of([id.parse().expect("an ID")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_spiffe_rustls_is_let_in_as_whom_it_is() {
    let house = House::new();
    let acceptor = |rule| ServerBuilder::new(house.own(LEDGER), house.trust()).admit(rule).alpn(&[]).build();
    let source = house.source(PAYMENTS).await;
    let authorizer = spiffe_rustls::authorizer::exact([LEDGER.to_owned()]).expect("an ID");
    let client = spiffe_rustls::mtls_client(source).authorize(authorizer).build().expect("a client");
    let client = TlsConnector::from(Arc::new(client));
    for (rule, admitted) in [(exactly(PAYMENTS), true), (exactly("spiffe://prod.example/other"), false)] {
        let acceptor = acceptor(rule).expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let call = async {
            let tcp = TcpStream::connect(addr).await.expect("a connection");
            let name = ServerName::try_from("localhost").expect("a name");
            let mut tls = client.connect(name, tcp).await.expect("their half");
            let mut said = Vec::new();
            let heard = tls.read_to_end(&mut said).await;
            heard.map(|_| said)
        };
        let serve = async {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let (mut tls, peer) = acceptor.accept(tcp).await?;
            tls.write_all(b"hello").await.expect("a greeting");
            tls.shutdown().await.expect("an orderly end");
            Ok::<_, AcceptError>(peer)
        };
        let (heard, peer) = timeout(PATIENCE, async { tokio::join!(call, serve) }).await.expect("in time");
        match peer {
            Ok(peer) => assert!(admitted && peer.spiffe_id().as_str() == PAYMENTS),
            Err(AcceptError::Refused(Refusal::NotAllowed { .. })) => assert!(!admitted),
            Err(other) => unreachable!("{other}"),
        }
        assert_eq!(heard.is_ok_and(|heard| heard == b"hello"), admitted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_spiffe_rustls_is_known_by_its_spiffe_id() {
    let house = House::new();
    let source = house.source(LEDGER).await;
    let authorizer = spiffe_rustls::authorizer::exact([PAYMENTS.to_owned()]).expect("an ID");
    let config = spiffe_rustls::mtls_server(source).authorize(authorizer).build().expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((tcp, _)) = listener.accept().await {
            // Whoever is turned away, or turns away, is the next one's predecessor.
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let _ = tls.write_all(b"hello").await;
                let _ = tls.shutdown().await;
            }
        }
    });
    let connect = |me: &str, server: &str| {
        let client = ClientBuilder::new(house.trust()).expect(exactly(server)).identity(house.own(me));
        let client = client.build().expect("a client");
        async move {
            let tcp = TcpStream::connect(addr).await.expect("a connection");
            timeout(PATIENCE, client.connect(tcp)).await.expect("in time")
        }
    };
    let (mut tls, server) = connect(PAYMENTS, LEDGER).await.expect("the ledger");
    assert_eq!(server.spiffe_id().as_str(), LEDGER);
    let mut said = String::new();
    tls.read_to_string(&mut said).await.expect("a greeting");
    assert_eq!(said, "hello");
    let other = connect(PAYMENTS, "spiffe://prod.example/archive").await.err();
    assert!(matches!(other, Some(ConnectError::Refused(Refusal::NotAllowed { .. }))), "{other:?}");
    let (mut tls, _) = connect("spiffe://prod.example/stranger", LEDGER).await.expect("our half");
    assert!(tls.read_to_string(&mut said).await.is_err(), "they turn a stranger away");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_of_spiffe_rustls_reaches_an_axum_service() {
    let house = House::new();
    let acceptor = ServerBuilder::new(house.own(LEDGER), house.trust()).admit(exactly(PAYMENTS)).build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let who = |peer: countersign_verifier::VerifiedPeer| async move { peer.spiffe_id().to_string() };
    let router = Router::new().route("/who", axum::routing::get(who));
    tokio::spawn(axum_serve(listener, acceptor.expect("a server"), router, pending()));
    let source = house.source(PAYMENTS).await;
    let authorizer = spiffe_rustls::authorizer::exact([LEDGER.to_owned()]).expect("an ID");
    let client = spiffe_rustls::mtls_client(source).authorize(authorizer).build().expect("a client");
    let tcp = TcpStream::connect(addr).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = TlsConnector::from(Arc::new(client)).connect(name, tcp).await.expect("their half");
    let request = b"GET /who HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n";
    tls.write_all(request).await.expect("a request");
    let mut answer = String::new();
    timeout(PATIENCE, tls.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.ends_with(PAYMENTS), "{answer}");
}
