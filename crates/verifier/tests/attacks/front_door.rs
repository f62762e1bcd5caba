//! The front door: everybody with a key of their own gets through the handshake, and is judged afterwards.

use std::sync::Arc;
use std::time::Duration;

use countersign_testkit::{Authority, Forged, noon};
use countersign_verifier::{ClientBuilder, FrontDoor, Presented};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::world::{LEDGER, PAYMENTS, World, only, own};

/// Knocks with this certificate, over a socket, and says what the door saw.
async fn knock(world: &World, with: Option<&Forged>) -> Presented {
    let door = FrontDoor::new(world.verifier());
    let config = door.config(own(&world.issuer.leaf(LEDGER).forge())).expect("a server");
    let settings = ClientBuilder::new(Arc::clone(&world.trust))
        .expect(only(LEDGER))
        .clock(Arc::clone(&world.clock) as _);
    let connector = match with {
        Some(forged) => settings.identity(own(forged)),
        None => settings,
    };
    let connector = connector.build().expect("a client");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let serve = async {
        let (socket, _) = listener.accept().await.expect("a connection");
        let stream = tokio_rustls::TlsAcceptor::from(config).accept(socket).await.expect("a handshake");
        door.judge(stream.get_ref().1.peer_certificates())
    };
    let call = async {
        let socket = TcpStream::connect(addr).await.expect("a connection");
        let (mut stream, _) = connector.connect(socket).await.expect("the door is open");
        let _ = stream.read_u8().await;
    };
    tokio::join!(serve, call).0
}

fn code(presented: &Presented) -> &'static str {
    match presented {
        Presented::Refused(refusal) => refusal.code(),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[tokio::test]
async fn nobody_is_turned_away_for_lack_of_a_certificate() {
    assert!(matches!(knock(&World::new(), None).await, Presented::None));
}

#[tokio::test]
async fn a_good_certificate_is_verified() {
    let world = World::new();
    let forged = world.issuer.leaf(PAYMENTS).forge();
    match knock(&world, Some(&forged)).await {
        Presented::Verified(peer) => assert_eq!(peer.spiffe_id().as_str(), PAYMENTS),
        other => panic!("expected a verified peer, found {other:?}"),
    }
}

#[tokio::test]
async fn bad_certificates_get_through_and_are_told_why() {
    let world = World::new();
    let leaf = || world.issuer.leaf(PAYMENTS);
    let expired = leaf().ends(noon() - Duration::from_secs(240)).forge();
    let presented = knock(&world, Some(&expired)).await;
    match &presented {
        Presented::Refused(refusal) => assert!(refusal.to_string().contains("expired 4m ago"), "{refusal}"),
        other => panic!("expected a refusal, found {other:?}"),
    }
    let foreign = Authority::root("other.example").leaf("spiffe://other.example/x").forge();
    assert_eq!(code(&knock(&world, Some(&foreign)).await), "certificate_foreign");
    let future = leaf().begins(noon() + Duration::from_secs(60)).forge();
    assert_eq!(code(&knock(&world, Some(&future)).await), "certificate_not_yet_valid");
    assert_eq!(code(&knock(&world, Some(&leaf().ca().forge())).await), "certificate_not_svid");
}

#[tokio::test]
async fn a_verdict_can_be_asked_again_and_follows_the_clock() {
    let world = World::new();
    let door = FrontDoor::new(world.verifier());
    let chain = world.issuer.leaf(PAYMENTS).ends(noon()).forge().chain();
    assert!(matches!(door.judge(Some(&chain)), Presented::Verified(_)));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(code(&door.judge(Some(&chain))), "certificate_expired");
}
