//! B6: what our verifier adds to the server's half of a handshake, beside rustls' own `WebPkiClientVerifier`.
//!
//! Handshakes in memory; the server has a thread of its own, whose instructions scripts/bench counts under callgrind. The
//! client shows a leaf and its issuer, both below one root; each is another one, unless the path is to be known.

#![expect(clippy::expect_used, reason = "a bench stops at a broken fixture")]

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use countersign_identity::Timestamp;
use countersign_testkit::{Authority, Forged, SnapshotForge, noon, noon_clock};
use countersign_verifier::{
    ClientBuilder, HardLimit, OwnIdentity, PeerRule, ServerBuilder, SnapshotFile, TrustStore, Trusted,
    provider,
};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

const CALLER: &str = "spiffe://prod.example/payments";
const SERVICE: &str = "spiffe://prod.example/ledger";

#[derive(Parser)]
struct Run {
    /// Who judges the client.
    verifier: Judge,
    /// Handshakes.
    #[arg(long)]
    times: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Judge {
    /// rustls' own, by path.
    Webpki,
    /// Ours, by path; every client is a new one, as none of theirs is known again.
    Ours,
    /// Ours, by path, with a client whose path was judged before.
    Seen,
    /// Ours, with a trust snapshot that lists the issuer.
    Anchored,
}

fn main() {
    let Run { verifier, times } = Run::parse();
    let root = Authority::root("prod.example");
    let issuer = root.issuer();
    let trust = trust(verifier, &root, &issuer);
    let service = issuer.leaf(SERVICE).forge();
    let server = match verifier {
        Judge::Webpki => webpki(&root, own(&service)),
        Judge::Ours | Judge::Seen | Judge::Anchored => {
            let rule = PeerRule::one_of([CALLER.parse().expect("an ID")]);
            let settings =
                ServerBuilder::new(own(&service), Arc::clone(&trust)).admit(rule).clock(noon_clock());
            Arc::clone(settings.build().expect("a server").config())
        }
    };
    let rule = PeerRule::one_of([SERVICE.parse().expect("an ID")]);
    let client = || {
        let caller = own(&issuer.leaf(CALLER).forge());
        let client = ClientBuilder::new(Arc::clone(&trust)).expect(rule.clone()).identity(caller);
        client.clock(noon_clock()).build().expect("a client")
    };
    let known = client();
    let (to_server, said) = mpsc::channel();
    let (answered, from_server) = mpsc::channel();
    let serving = thread::spawn(move || serve(&server, &said, &answered));
    for _ in 0..times {
        let client = if matches!(verifier, Judge::Seen) { known.clone() } else { client() };
        handshake(client.config(), &to_server, &from_server);
    }
    drop(to_server);
    serving.join().expect("the server ended well");
}

/// What both sides believe: roots, and where issuers are anchors, a snapshot.
fn trust(judge: Judge, root: &Authority, issuer: &Authority) -> Arc<TrustStore> {
    let trust = TrustStore::new([root.bundle()]).expect("a root");
    if matches!(judge, Judge::Anchored) {
        let signer = root.trust_signer(1);
        let file = SnapshotForge::new(root, &signer).issuer(issuer).forge().file();
        let file = SnapshotFile::read(&file).expect("a snapshot");
        let judged = Trusted::anchored(root.bundle()).judge(file.jws(), noon(), &provider());
        let snapshot = judged.expect("a good one").complete(None, file.parts(), &provider());
        trust.adopt(&snapshot.expect("all its parts"), HardLimit::default()).expect("good roots");
    }
    Arc::new(trust)
}

/// The settings of our server, but for who judges.
fn webpki(root: &Authority, identity: Arc<OwnIdentity>) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate().clone()).expect("a root");
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Noon))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(clients.build().expect("a verifier"))
        .with_cert_resolver(identity);
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn own(forged: &Forged) -> Arc<OwnIdentity> {
    OwnIdentity::new(forged.chain(), forged.key_der()).expect("an identity")
}

/// The client's half of one handshake.
fn handshake(config: &Arc<ClientConfig>, to_server: &Sender<Vec<u8>>, from_server: &Receiver<Vec<u8>>) {
    let name = ServerName::try_from("ledger.prod.example").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    loop {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("memory takes all");
        }
        to_server.send(said).expect("the server listens");
        if !client.is_handshaking() {
            return;
        }
        let answer = from_server.recv().expect("the server answers");
        let mut left = answer.as_slice();
        while !left.is_empty() {
            client.read_tls(&mut left).expect("memory gives all");
            client.process_new_packets().expect("the server is good");
        }
    }
}

/// The server's half of every handshake, one after the other.
fn serve(config: &Arc<ServerConfig>, said: &Receiver<Vec<u8>>, answered: &Sender<Vec<u8>>) {
    let mut server: Option<ServerConnection> = None;
    while let Ok(flight) = said.recv() {
        let connection =
            server.get_or_insert_with(|| ServerConnection::new(Arc::clone(config)).expect("a server"));
        let mut left = flight.as_slice();
        while !left.is_empty() {
            connection.read_tls(&mut left).expect("memory gives all");
            connection.process_new_packets().expect("the client is good");
        }
        if !connection.is_handshaking() {
            server = None;
            continue;
        }
        let mut answer = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut answer).expect("memory takes all");
        }
        answered.send(answer).expect("the client listens");
    }
}

/// The noon of the testkit, as rustls asks for it.
#[derive(Debug)]
struct Noon;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        let since: Duration = noon().since(Timestamp::from_unix(0));
        Some(UnixTime::since_unix_epoch(since))
    }
}
