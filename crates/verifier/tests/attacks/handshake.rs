//! Real TLS over loopback sockets, both ways.

use std::io;
use std::time::Duration;

use countersign_testkit::{Authority, ExtendedKeyUsagePurpose, noon};
use countersign_verifier::{
    AcceptError, ClientConnector, ConnectError, OwnIdentity, PeerRule, Refusal, ServerAcceptor, SetupError,
    VerifiedPeer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{LEDGER, PAYMENTS, World, only, own};

type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;
pub(crate) type Accepted = Result<VerifiedPeer, AcceptError>;
pub(crate) type Connected = Result<(ClientStream, VerifiedPeer), ConnectError>;

/// One connection: what the server made of it and what the client did. The server greets whom it accepts.
pub(crate) async fn meet(acceptor: &ServerAcceptor, connector: &ClientConnector) -> (Accepted, Connected) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let serve = async {
        let (socket, _) = listener.accept().await.expect("a connection");
        let (mut stream, peer) = acceptor.accept(socket).await?;
        stream.write_all(b"hello").await.expect("a greeting");
        stream.shutdown().await.expect("an orderly end");
        Ok(peer)
    };
    let call = async {
        let socket = TcpStream::connect(addr).await.expect("a connection");
        connector.connect(socket).await
    };
    tokio::join!(serve, call)
}

async fn read(mut stream: ClientStream) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn two_services_know_each_other() {
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let connector = world.client(PAYMENTS).build().expect("a client");
    let (accepted, connected) = meet(&acceptor, &connector).await;
    assert_eq!(accepted.expect("accepted").spiffe_id().as_str(), PAYMENTS);
    let (stream, server) = connected.expect("connected");
    assert_eq!(server.spiffe_id().as_str(), LEDGER);
    assert_eq!(read(stream).await.expect("the greeting"), b"hello");
}

#[tokio::test]
#[cfg(feature = "aws-lc-rs")]
async fn the_key_exchange_is_hybrid_and_the_protocol_tls_13() {
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let (_, connected) = meet(&acceptor, &world.client(PAYMENTS).build().expect("a client")).await;
    let (stream, _) = connected.expect("connected");
    let (_, tls) = stream.get_ref();
    let group = tls.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));
    assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn a_client_the_rule_does_not_name_is_refused_and_learns_it_on_its_first_read() {
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let connector = world.client("spiffe://prod.example/reporting").build().expect("a client");
    let (accepted, connected) = meet(&acceptor, &connector).await;
    let refusal = match accepted {
        Err(AcceptError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, found {other:?}"),
    };
    assert!(matches!(refusal, Refusal::NotAllowed { .. }));
    assert_eq!(
        refusal.to_string(),
        "spiffe://prod.example/reporting is not admitted here: only spiffe://prod.example/payments is"
    );
    // TLS 1.3: the client's side of the handshake is done before the server has judged.
    let (mut stream, _) = connected.expect("the client's half succeeds");
    let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
    let fault = read(stream).await.expect_err("the first read fails");
    assert!(fault.to_string().contains("AccessDenied"), "{fault}");
}

#[tokio::test]
async fn each_bad_client_is_refused_over_the_wire_for_its_own_reason() {
    let world = World::new();
    let acceptor = world.server(PeerRule::dangerous().any_peer()).build().expect("a server");
    let leaf = || world.issuer.leaf(PAYMENTS);
    let bad = [
        (leaf().ends(noon() - Duration::from_secs(1)).forge(), "certificate_expired"),
        (leaf().begins(noon() + Duration::from_secs(9)).forge(), "certificate_not_yet_valid"),
        (leaf().key_usages(&[]).forge(), "certificate_not_svid"),
        (leaf().extended_key_usages(&[ExtendedKeyUsagePurpose::ClientAuth]).forge(), "certificate_not_svid"),
        (leaf().uris(&[PAYMENTS, LEDGER]).forge(), "certificate_not_svid"),
        (Authority::root("prod.example").leaf(PAYMENTS).forge(), "certificate_foreign"),
        (Authority::root("other.example").leaf("spiffe://other.example/x").forge(), "certificate_foreign"),
        (leaf().forge().with_broken_signature(), "certificate_chain_invalid"),
    ];
    for (forged, code) in bad {
        let connector = world.client(PAYMENTS).identity(own(&forged)).build().expect("a client");
        let (accepted, connected) = meet(&acceptor, &connector).await;
        match accepted {
            Err(AcceptError::Refused(refusal)) => assert_eq!(refusal.code(), code, "{refusal}"),
            other => panic!("expected {code}, found {other:?}"),
        }
        let (stream, _) = connected.expect("the client's half succeeds");
        assert!(read(stream).await.is_err(), "{code}: the client must not read a clean end");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let world = World::new();
    let acceptor = world.server(PeerRule::dangerous().any_peer()).build().expect("a server");
    let anonymous = countersign_verifier::ClientBuilder::new(world.trust.clone())
        .expect(only(LEDGER))
        .clock(world.clock.clone())
        .build()
        .expect("a client");
    let (accepted, connected) = meet(&acceptor, &anonymous).await;
    assert!(matches!(accepted, Err(AcceptError::Refused(Refusal::NoCertificate))), "{accepted:?}");
    let fault = read(connected.expect("the client's half succeeds").0).await.expect_err("refused");
    assert!(fault.to_string().contains("CertificateRequired"), "{fault}");
}

#[tokio::test]
async fn a_client_with_another_key_than_its_certificate_proves_nothing() {
    let world = World::new();
    let stolen = world.issuer.leaf(PAYMENTS).forge();
    let thief = world.issuer.leaf("spiffe://prod.example/thief").forge();
    let mismatch = OwnIdentity::new(stolen.chain(), thief.key_der());
    assert!(matches!(mismatch, Err(SetupError::KeyMismatch)), "our own client would notice");

    let key = countersign_verifier::provider().key_provider.load_private_key(thief.key_der()).expect("a key");
    let certified = std::sync::Arc::new(rustls::sign::CertifiedKey::new(stolen.chain(), key));
    let mut config = rustls::ClientConfig::clone(world.client(PAYMENTS).build().expect("a client").config());
    config.client_auth_cert_resolver = std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let serve = async {
        let (socket, _) = listener.accept().await.expect("a connection");
        acceptor.accept(socket).await.map(|_| ())
    };
    let call = async {
        let socket = TcpStream::connect(addr).await.expect("a connection");
        let name = rustls_pki_types::ServerName::try_from("nobody").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        match connector.connect(name, socket).await {
            Ok(stream) => read(stream).await.map(|_| ()),
            Err(fault) => Err(fault),
        }
    };
    let (accepted, called) = tokio::join!(serve, call);
    assert!(matches!(accepted, Err(AcceptError::Handshake(_))), "{accepted:?}");
    assert!(called.is_err());
}

#[tokio::test]
async fn each_bad_server_is_refused_and_the_client_knows_why() {
    let world = World::new();
    let connector = world.client(PAYMENTS).build().expect("a client");
    let leaf = || world.issuer.leaf(LEDGER);
    let bad = [
        (world.issuer.leaf("spiffe://prod.example/other").forge(), "peer_not_allowed"),
        (leaf().ends(noon() - Duration::from_secs(240)).forge(), "certificate_expired"),
        (leaf().ca().forge(), "certificate_not_svid"),
        (leaf().uris(&[]).dns("ledger.example").forge(), "certificate_not_svid"),
        (Authority::root("prod.example").leaf(LEDGER).forge(), "certificate_foreign"),
        (leaf().forge().with_broken_signature(), "certificate_chain_invalid"),
    ];
    for (forged, code) in bad {
        let acceptor = countersign_verifier::ServerBuilder::new(own(&forged), world.trust.clone())
            .admit(only(PAYMENTS))
            .clock(world.clock.clone())
            .build()
            .expect("a server");
        let (accepted, connected) = meet(&acceptor, &connector).await;
        match connected {
            Err(ConnectError::Refused(refusal)) => assert_eq!(refusal.code(), code, "{refusal}"),
            other => panic!("expected {code}, found {other:?}"),
        }
        assert!(accepted.is_err());
    }
}

#[tokio::test]
async fn nothing_is_ever_resumed() {
    // DEPENDENCIES §0.4: a resumed session would skip the verifier.
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    // A client that would love to resume.
    let mut eager = rustls::ClientConfig::clone(world.client(PAYMENTS).build().expect("a client").config());
    eager.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let eager = tokio_rustls::TlsConnector::from(std::sync::Arc::new(eager));
    for _ in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let serve = async {
            let (socket, _) = listener.accept().await.expect("a connection");
            let (mut stream, _) = acceptor.accept(socket).await.expect("accepted");
            stream.write_all(b"hello").await.expect("a greeting");
            stream.shutdown().await.expect("an orderly end");
        };
        let call = async {
            let socket = TcpStream::connect(addr).await.expect("a connection");
            let name = rustls_pki_types::ServerName::try_from("ledger").expect("a name");
            let mut stream = eager.connect(name, socket).await.expect("connected");
            let mut text = Vec::new();
            stream.read_to_end(&mut text).await.expect("the greeting");
            stream.get_ref().1.handshake_kind()
        };
        let ((), kind) = tokio::join!(serve, call);
        assert_ne!(kind, Some(rustls::HandshakeKind::Resumed));
    }
}

#[tokio::test]
async fn a_client_revoked_between_two_connections_does_not_come_back() {
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let connector = world.client(PAYMENTS).build().expect("a client");
    assert!(meet(&acceptor, &connector).await.0.is_ok());
    world.trust.remove(&"prod.example".parse().expect("a domain"));
    let (accepted, _) = meet(&acceptor, &connector).await;
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_replaced_identity_is_shown_at_the_next_handshake() {
    let world = World::new();
    let identity = own(&world.issuer.leaf(LEDGER).forge());
    let acceptor = countersign_verifier::ServerBuilder::new(identity.clone(), world.trust.clone())
        .admit(only(PAYMENTS))
        .clock(world.clock.clone())
        .build()
        .expect("a server");
    let connector = world.client(PAYMENTS).build().expect("a client");
    let before = meet(&acceptor, &connector).await.1.expect("connected").1;
    let renewed = world.issuer.leaf(LEDGER).forge();
    identity.replace(renewed.chain(), renewed.key_der()).expect("a matching pair");
    let after = meet(&acceptor, &connector).await.1.expect("connected").1;
    assert_ne!(before.thumbprint(), after.thumbprint());
    assert_eq!(after.leaf_der(), renewed.leaf());
}

#[tokio::test]
async fn a_silent_client_is_dropped_in_time() {
    let world = World::new();
    let limit = Duration::from_millis(50);
    let acceptor = world.server(only(PAYMENTS)).handshake_timeout(limit).build().expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let _silent = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let (socket, _) = listener.accept().await.expect("a connection");
    assert!(matches!(acceptor.accept(socket).await, Err(AcceptError::Timeout(_))));
}

#[test]
fn an_identity_is_read_from_the_files_an_agent_keeps() {
    let world = World::new();
    let forged = world.issuer.leaf(LEDGER).forge();
    let dir = tempfile::tempdir().expect("a directory");
    let (chain, key) = (dir.path().join("svid.pem"), dir.path().join("svid.key"));
    std::fs::write(&chain, forged.chain_pem()).expect("written");
    std::fs::write(&key, forged.key_pem()).expect("written");
    let identity = OwnIdentity::from_files(&chain, &key).expect("an identity");
    assert_eq!(identity.chain(), forged.chain());

    let other = world.issuer.leaf(LEDGER).forge();
    std::fs::write(&key, other.key_pem()).expect("written");
    assert!(matches!(identity.replace_from_files(&chain, &key), Err(SetupError::KeyMismatch)));
    assert_eq!(identity.chain(), forged.chain(), "what was held stays");
    let missing = identity.replace_from_files(dir.path().join("none"), &key).expect_err("no such file");
    assert!(missing.to_string().contains("none"), "{missing}");
}

#[test]
fn a_private_key_never_shows_in_debug_output() {
    // Invariant 8.
    let world = World::new();
    let forged = world.issuer.leaf(LEDGER).forge();
    let shown = format!("{:?}", own(&forged));
    assert_eq!(shown, "OwnIdentity { certificates: 2, .. }");
}

#[tokio::test]
async fn a_chain_too_large_for_a_handshake_costs_that_connection_alone() {
    let world = World::new();
    let acceptor = world.server(only(PAYMENTS)).build().expect("a server");
    let mut leaf = world.issuer.leaf(PAYMENTS);
    for name in 0..1000 {
        leaf = leaf.dns(&format!("name-{name}.a-long-name-of-no-use.prod.example"));
    }
    let leaf = leaf.forge();
    let chain = [leaf.chain(), leaf.chain()].concat();
    let giant = OwnIdentity::new(chain, leaf.key_der()).expect("an identity");
    let giant = world.client(PAYMENTS).identity(giant).build().expect("a client");
    let (accepted, _) = meet(&acceptor, &giant).await;
    assert!(matches!(accepted, Err(AcceptError::Handshake(_))), "{accepted:?}");
    let (accepted, _) = meet(&acceptor, &world.client(PAYMENTS).build().expect("a client")).await;
    assert!(accepted.is_ok(), "{accepted:?}");
}
