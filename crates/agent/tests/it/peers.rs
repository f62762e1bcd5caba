//! Workloads that were written for other agents of the standard: they run unchanged against this one.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::run::Order;
use countersign_verifier::{PeerRule, ServerBuilder, TrustStore, WorkloadApi};
use rustls_pki_types::ServerName;
use spiffe::{JwtSource, TrustDomain, WorkloadApiClient, X509Source};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::ca::PAYMENTS;
use crate::socket::{API, Machine, own, uid};

/// A program of the Python packages that `scripts/check` installs into `.venv`.
pub(crate) fn of_venv(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin").join(name);
    assert!(path.exists(), "run scripts/check once: it installs {name} and others into .venv");
    path
}

/// A story of `peers.py` that is under way.
struct Python {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    input: Option<ChildStdin>,
}

impl Python {
    fn tell(machine: &Machine, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers.py");
        let mut child = Command::new("timeout")
            .arg("60")
            .arg(of_venv("python"))
            .arg(script)
            .arg(format!("unix://{}", machine.socket().display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take();
        Self { child, lines, input }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn rest(mut self) -> Vec<String> {
        drop(self.input.take());
        let lines: Vec<_> = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success(), "{lines:?}");
        lines
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // `timeout` hands it on; a kill would leave the story running.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

pub(crate) async fn source(machine: &Machine) -> X509Source {
    let endpoint = format!("unix://{}", machine.socket().display());
    X509Source::builder().endpoint(endpoint).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_in_rust_follows_three_rotations_and_a_killed_agent() {
    let mut machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let source = source(&machine).await;
    let serial = || source.svid().unwrap().cert_chain()[0].as_bytes().to_vec();
    let mut updates = source.updated();
    let mut seen = vec![serial()];
    assert_eq!(source.svid().unwrap().spiffe_id().to_string(), API);
    for _ in 0..3 {
        machine.orders.send(Order::RenewNow).await.unwrap();
        while seen.contains(&serial()) {
            tokio::time::timeout(Duration::from_secs(10), updates.changed()).await.unwrap().unwrap();
        }
        seen.push(serial());
    }
    let domain = TrustDomain::new("prod.example").unwrap();
    assert_eq!(source.try_bundle_for_trust_domain(&domain).unwrap().authorities().len(), 1);
    machine.kill("").await;
    for _ in 0..60 {
        if !seen.contains(&serial()) {
            return;
        }
        // Heard by whoever keeps the identity, so once the source has come back.
        machine.orders.send(Order::RenewNow).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the source never came back to the agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_verifier_takes_trust_and_identity_from_the_socket_and_follows_their_rotation() {
    let machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let trust = Arc::new(TrustStore::default());
    let endpoint = format!("unix://{}", machine.socket().display());
    let api = WorkloadApi::connect(Some(&endpoint), Arc::clone(&trust)).await.unwrap();
    let own = api.identity();
    let following = tokio::spawn(api.follow());
    let rule = PeerRule::one_of([API.parse().unwrap()]);
    let acceptor = ServerBuilder::new(Arc::clone(&own), Arc::clone(&trust)).admit(rule).build().unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let chain = own.chain();
        assert_eq!(
            acceptor.judge(&chain).unwrap().spiffe_id().as_str(),
            API,
            "known by the bundle of the same socket"
        );
        seen.push(chain);
        machine.orders.send(Order::RenewNow).await.unwrap();
        for _ in 0..100 {
            if !seen.contains(&own.chain()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!seen.contains(&own.chain()), "the next certificate is pushed");
    }
    following.abort();
    trust.remove(&"prod.example".parse().unwrap());
    assert!(acceptor.judge(&own.chain()).is_err(), "it was the bundle of the socket that counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_in_rust_gets_and_checks_tokens() {
    let machine = Machine::start(&own()).await;
    let endpoint = format!("unix://{}", machine.socket().display());
    let source = JwtSource::builder().endpoint(endpoint.clone()).build().await.unwrap();
    let token = source.fetch_jwt_svid(["ledger"]).await.unwrap();
    assert_eq!(token.spiffe_id().to_string(), PAYMENTS);
    let bundle = source.try_bundle_for_trust_domain(&TrustDomain::new("prod.example").unwrap()).unwrap();
    assert!(bundle.find_jwt_authority(token.key_id()).is_some());
    let client = WorkloadApiClient::connect_to(&endpoint).await.unwrap();
    let good = client.validate_jwt_token("ledger", token.token()).await.unwrap();
    assert_eq!(good.spiffe_id().to_string(), PAYMENTS);
    client.validate_jwt_token("other", token.token()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_in_python_fetches_everything_and_validates() {
    let machine = Machine::start(&own()).await;
    let lines = tokio::task::block_in_place(|| Python::tell(&machine, &["fetch"]).rest());
    let expected = [
        format!("x509 {PAYMENTS} 2"),
        "bundle 1".into(),
        format!("jwt {PAYMENTS}"),
        "jwt-bundle 1".into(),
        format!("valid {PAYMENTS}"),
    ];
    assert_eq!(lines[..5], expected);
    assert!(lines[5].starts_with("refused "), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_in_python_follows_three_rotations() {
    let machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let mut python = Python::tell(&machine, &["watch"]);
    assert_eq!(tokio::task::block_in_place(|| python.line()), "rotation 1");
    for n in 2..=4 {
        machine.orders.send(Order::RenewNow).await.unwrap();
        assert_eq!(tokio::task::block_in_place(|| python.line()), format!("rotation {n}"));
    }
    tokio::task::block_in_place(|| python.rest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_in_python_and_one_in_rust_speak_mutual_tls_both_ways() {
    let machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    // Rust calls Python.
    let mut server = Python::tell(&machine, &["serve"]);
    let line = tokio::task::block_in_place(|| server.line());
    let port: u16 = line.strip_prefix("port ").unwrap().parse().unwrap();
    let expected = [API.to_owned()];
    let authorizer = || spiffe_rustls::authorizer::exact(expected.clone()).unwrap();
    let client = spiffe_rustls::mtls_client(source(&machine).await).authorize(authorizer()).build().unwrap();
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::new(client)).connect(name, tcp).await.unwrap();
    let mut heard = vec![0; 200];
    let count = tls.read(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard[..count]), format!("hello {API}\n"));
    // Python calls Rust.
    let config = spiffe_rustls::mtls_server(source(&machine).await).authorize(authorizer()).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let serving = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
        tls.write_all(b"hello python\n").await.unwrap();
        tls.shutdown().await.unwrap();
    });
    let heard = tokio::task::block_in_place(|| Python::tell(&machine, &["call", &port]).rest());
    assert_eq!(heard, ["hello python"]);
    serving.await.unwrap();
}
