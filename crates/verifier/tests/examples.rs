//! The examples run, and do what they say.

#![cfg(all(feature = "axum", feature = "tonic", feature = "hyper-client"))]
#![expect(clippy::expect_used, reason = "tests: a panic says where the fixture broke")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use countersign_testkit::{Authority, Forged, SnapshotForge};
use countersign_verifier::{ClientBuilder, Clock, OwnIdentity, PeerRule, SystemClock, Timestamp, TrustStore};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(30);
const LEDGER: &str = "spiffe://prod.example/ledger";
const PAYMENTS: &str = "spiffe://prod.example/payments/api";
const REPORTING: &str = "spiffe://prod.example/reporting";

const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://prod.example/payments/**"
permissions = ["ledger:read", "ledger:write"]
[[grant]]
id = "spiffe://prod.example/reporting"
permissions = ["ledger:read"]
"#;

/// A trust domain of today, in files.
struct House {
    dir: TempDir,
    root: Authority,
    issuer: Authority,
    signer: Forged,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Authority::root("prod.example");
        let years = |params: &mut rcgen::CertificateParams| params.not_after += time::Duration::days(3000);
        let issuer = root.issuer_with(years);
        let signer = root.trust_signer_with(1, years);
        let house = Self { dir, root, issuer, signer };
        let me = house.machine(LEDGER);
        fs::write(house.path("svid.pem"), me.chain_pem()).expect("a write");
        fs::write(house.path("svid.key"), me.key_pem()).expect("a write");
        fs::write(house.path("bundle.pem"), pem(house.root.certificate())).expect("a write");
        house.publish(1, None);
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn machine(&self, id: &str) -> Forged {
        self.issuer.leaf(id).ends(now() + Duration::from_secs(1800)).forge()
    }

    /// A snapshot in which a SPIFFE ID may be revoked.
    fn publish(&self, sequence: u64, revoked: Option<&str>) {
        let mut forge = SnapshotForge::new(&self.root, &self.signer).sequence(sequence).policy(POLICY);
        forge = forge.issuer(&self.issuer).issued(now());
        if let Some(id) = revoked {
            let soon = (now() + Duration::from_secs(3600)).unix();
            forge = forge.list("subjects", serde_json::json!([[id, soon, soon]]));
        }
        fs::write(self.path("fresh"), forge.forge().file()).expect("a write");
        fs::rename(self.path("fresh"), self.path("trust.json")).expect("a rename");
    }

    async fn connect(&self, to: SocketAddr, id: &str) -> TlsStream<TcpStream> {
        self.connect_by(to, id, &[]).await
    }

    async fn connect_by(&self, to: SocketAddr, id: &str, protocols: &[&str]) -> TlsStream<TcpStream> {
        let machine = self.machine(id);
        let mine = OwnIdentity::new(machine.chain(), machine.key_der()).expect("an identity");
        let trust = TrustStore::new([self.root.bundle()]).expect("a root");
        let rule = PeerRule::one_of([LEDGER.parse().expect("an ID")]);
        let connector = ClientBuilder::new(trust.into()).expect(rule).identity(mine).alpn(protocols).build();
        let socket = TcpStream::connect(to).await.expect("a connection");
        connector.expect("a client").connect(socket).await.expect("the ledger").0
    }
}

/// An example that runs; it ends with this.
struct Example {
    process: Child,
    addr: SocketAddr,
}

impl Example {
    /// Starts an example, as cargo built it beside this test.
    fn start(name: &str, house: &House) -> Self {
        let mut process = Command::new(program(name))
            .args([house.dir.path(), &house.path("trust.json")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().expect("its output"));
        said.read_line(&mut line).expect("where it listens");
        let addr = line.strip_prefix("listening on ").expect("where it listens");
        let addr = addr.split([',', '\n']).next().and_then(|addr| addr.parse().ok()).expect("an address");
        Self { process, addr }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a path");
    let profile = this.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let program = profile.join("examples").join(name);
    assert!(program.is_file(), "{} is not built: run the tests of the package", program.display());
    program
}

/// Runs an example that calls a service, as this machine; what it says, and whether it succeeded.
fn call(name: &str, house: &House, id: &str, server: &str, addr: SocketAddr) -> (String, bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let machine = house.machine(id);
    fs::write(dir.path().join("svid.pem"), machine.chain_pem()).expect("a write");
    fs::write(dir.path().join("svid.key"), machine.key_pem()).expect("a write");
    fs::copy(house.path("bundle.pem"), dir.path().join("bundle.pem")).expect("a copy");
    let url = format!("https://localhost:{}/entries", addr.port());
    let output = Command::new(program(name)).arg(dir.path()).args([server, &url]).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.success())
}

async fn request(house: &House, example: &Example, id: &str, method: &str) -> String {
    let mut stream = house.connect(example.addr, id).await;
    let request = format!("{method} /entries HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    answer
}

#[tokio::test]
async fn the_ledger_asks_for_a_permission_by_its_type() {
    let house = House::new();
    let ledger = Example::start("axum-ledger", &house);
    let read = request(&house, &ledger, REPORTING, "GET").await;
    assert!(read.starts_with("HTTP/1.1 200") && read.contains("entries for spiffe://"), "{read}");
    let written = request(&house, &ledger, PAYMENTS, "POST").await;
    assert!(written.contains("written for spiffe://prod.example/payments/api"), "{written}");
    let refused = request(&house, &ledger, REPORTING, "POST").await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let body = refused.split("\r\n\r\n").nth(1).expect("a body");
    let problem: serde_json::Value = serde_json::from_str(body).expect("a problem document");
    assert_eq!(problem["code"], "permission_denied");
    assert_eq!(problem["reference"].as_str().map(str::len), Some(12));
    assert!(!body.contains("reporting"), "nothing is revealed: {body}");
}

#[tokio::test]
async fn the_same_ledger_stands_on_hyper_alone() {
    let house = House::new();
    let ledger = Example::start("hyper-ledger", &house);
    let read = request(&house, &ledger, REPORTING, "GET").await;
    assert!(read.starts_with("HTTP/1.1 200") && read.contains("entries for spiffe://"), "{read}");
    let written = request(&house, &ledger, PAYMENTS, "POST").await;
    assert!(written.contains("written for spiffe://prod.example/payments/api"), "{written}");
    let refused = request(&house, &ledger, REPORTING, "POST").await;
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("permission_denied"), "{refused}");
    assert!(refused.contains("content-type: application/problem+json"), "{refused}");
}

#[tokio::test]
async fn clients_know_a_server_by_its_spiffe_id_whatever_its_host_is_called() {
    let house = House::new();
    let ledger = Example::start("axum-ledger", &house);
    let (said, done) = call("hyper-call", &house, REPORTING, LEDGER, ledger.addr);
    let expected =
        "spiffe://prod.example/ledger answers HTTP/2.0 200 OK: entries for spiffe://prod.example/reporting";
    assert!(done && said.trim() == expected, "{said}");
    let (said, done) = call("reqwest-call", &house, REPORTING, LEDGER, ledger.addr);
    assert!(done && said.trim() == "200 OK: entries for spiffe://prod.example/reporting", "{said}");
    for client in ["hyper-call", "reqwest-call"] {
        let (said, done) = call(client, &house, REPORTING, "spiffe://prod.example/archive/*", ledger.addr);
        assert!(!done, "{client} talks to somebody else: {said}");
    }
}

/// One gRPC call; the status, and the message of it or of the answer.
async fn grpc(house: &House, example: &Example, id: &str, method: &str) -> (String, String) {
    let stream = house.connect_by(example.addr, id, &["h2"]).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    // Not compressed, seven octets: field 1, a text of five.
    let frame = Bytes::from_static(b"\0\0\0\0\x07\x0a\x05hello");
    let request = hyper::Request::post(format!("https://ledger/ledger.Ledger/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(frame))
        .expect("a request");
    let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("in time").expect("an answer");
    let head = answer.headers().clone();
    let body = answer.into_body().collect().await.expect("a body");
    let trailers = body.trailers().cloned().unwrap_or_default();
    let of = |name| head.get(name).or_else(|| trailers.get(name)).and_then(|value| value.to_str().ok());
    let status = of("grpc-status").unwrap_or_default().to_owned();
    let message = of("grpc-message").map(str::to_owned);
    let octets = body.to_bytes();
    let text = String::from_utf8_lossy(octets.get(7..).unwrap_or_default()).into_owned();
    (status, message.unwrap_or(text))
}

#[tokio::test]
async fn a_method_of_a_grpc_service_asks_for_its_permission() {
    let house = House::new();
    let ledger = Example::start("tonic-ledger", &house);
    let read = grpc(&house, &ledger, REPORTING, "Read").await;
    assert_eq!(read, ("0".to_owned(), "entries for spiffe://prod.example/reporting".to_owned()));
    let (status, text) = grpc(&house, &ledger, PAYMENTS, "Write").await;
    assert!(status == "0" && text.starts_with("\"hello\" written for spiffe://"), "{status} {text}");
    let (status, text) = grpc(&house, &ledger, REPORTING, "Write").await;
    assert!(status == "7" && text.contains("ledger:write"), "PERMISSION_DENIED: {status} {text}");
    let (status, text) = grpc(&house, &ledger, "spiffe://prod.example/stranger", "Read").await;
    assert!(status == "7" && text.contains("ledger:read"), "by the interceptor: {status} {text}");
}

#[tokio::test]
async fn the_echo_parts_from_a_peer_that_is_revoked() {
    let house = House::new();
    let echo = Example::start("tokio-echo", &house);
    let mut stream = house.connect(echo.addr, PAYMENTS).await;
    stream.write_all(b"hello").await.expect("a word");
    let mut said = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut said)).await.expect("in time").expect("the word back");
    assert_eq!(&said, b"hello");
    house.publish(2, Some(PAYMENTS));
    let parted = timeout(PATIENCE, stream.read_u8()).await.expect("in time");
    assert!(parted.is_err(), "it is cut off");
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
