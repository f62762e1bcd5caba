//! Optional limits upon peers: each refused with its own reason, over real connections where it is about those.

use std::sync::Arc;
use std::time::Duration;

use countersign_testkit::{Forged, KeyPair, noon};
use countersign_verifier::{KeyKind, LimitFault, Refusal, SvidVerifier, Usage};

use crate::world::{PAYMENTS, World};

fn refused(verifier: &SvidVerifier, forged: &Forged) -> LimitFault {
    match verifier.verify(&forged.chain(), Usage::Client) {
        Err(Refusal::Limit { spiffe_id, fault }) => {
            assert_eq!(spiffe_id.as_str(), PAYMENTS);
            fault
        }
        other => panic!("expected a limit, found {other:?}"),
    }
}

#[test]
fn a_certificate_that_lives_too_long_is_refused_and_one_second_less_is_not() {
    let world = World::new();
    let verifier = world.verifier().with_lifetime_limit(Duration::from_secs(3600));
    let of = |seconds| {
        let leaf = world.issuer.leaf(PAYMENTS).begins(noon() - Duration::from_secs(60));
        leaf.ends(noon() - Duration::from_secs(60) + Duration::from_secs(seconds)).forge()
    };
    // Both ends count (RFC 5280 §4.1.2.5).
    assert!(verifier.verify(&of(3599).chain(), Usage::Client).is_ok());
    let fault = refused(&verifier, &of(3600));
    let (found, limit) = (Duration::from_secs(3601), Duration::from_secs(3600));
    assert_eq!(fault, LimitFault::Lifetime { found, limit });
}

#[test]
fn a_key_of_a_kind_that_is_not_accepted_is_refused() {
    let world = World::new();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let ed25519 = world.issuer.leaf(PAYMENTS).key(ed25519).forge();
    let p256 = world.issuer.leaf(PAYMENTS).forge();
    let only = |kinds: &[KeyKind]| world.verifier().with_key_kinds(kinds);
    assert!(only(&[KeyKind::P256]).verify(&p256.chain(), Usage::Client).is_ok());
    assert!(only(&[KeyKind::P256, KeyKind::Ed25519]).verify(&ed25519.chain(), Usage::Client).is_ok());
    let fault = refused(&only(&[KeyKind::P256, KeyKind::P384]), &ed25519);
    let accepted = "p256, p384".to_owned();
    assert_eq!(fault, LimitFault::KeyKind { found: Some(KeyKind::Ed25519), accepted });
    assert!(matches!(refused(&only(&[]), &p256), LimitFault::KeyKind { .. }));
}

#[test]
fn a_limit_vouches_for_nobody() {
    let world = World::new();
    let verifier = world.verifier().with_lifetime_limit(Duration::MAX).with_key_kinds(&[KeyKind::P256]);
    let broken = world.issuer.leaf(PAYMENTS).forge().with_broken_signature();
    assert!(matches!(verifier.verify(&broken.chain(), Usage::Client), Err(Refusal::Chain { .. })));
}

#[cfg(feature = "aws-lc-rs")]
mod hybrid {
    use countersign_verifier::{AcceptError, ConnectError, provider};
    use rustls::NamedGroup;
    use rustls::crypto::CryptoProvider;

    use super::*;
    use crate::handshake::meet;
    use crate::world::only;

    fn classical() -> Arc<CryptoProvider> {
        let mut provider = CryptoProvider::clone(&provider());
        provider.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
        Arc::new(provider)
    }

    #[tokio::test]
    async fn a_client_without_the_hybrid_key_exchange_is_refused_where_it_is_required() {
        let world = World::new();
        let acceptor = world.server(only(PAYMENTS)).require_hybrid().build().expect("a server");
        let client = world.client(PAYMENTS).provider(classical()).build().expect("a client");
        let (accepted, connected) = meet(&acceptor, &client).await;
        assert!(matches!(accepted, Err(AcceptError::Refused(Refusal::NotHybrid))), "{accepted:?}");
        assert!(connected.is_err());
        let client = world.client(PAYMENTS).build().expect("a client");
        let (accepted, _) = meet(&acceptor, &client).await;
        assert!(accepted.is_ok(), "{accepted:?}");
    }

    #[tokio::test]
    async fn a_server_without_the_hybrid_key_exchange_is_refused_where_it_is_required() {
        let world = World::new();
        let acceptor = world.server(only(PAYMENTS)).provider(classical()).build().expect("a server");
        let client = world.client(PAYMENTS).require_hybrid().build().expect("a client");
        let (accepted, connected) = meet(&acceptor, &client).await;
        let fault = connected.err();
        assert!(matches!(fault, Some(ConnectError::Refused(Refusal::NotHybrid))), "{fault:?}");
        assert!(matches!(accepted, Err(AcceptError::Handshake(_))), "{accepted:?}");
    }

    #[test]
    fn requiring_what_the_provider_has_not_is_an_error_of_configuration() {
        let world = World::new();
        let server = world.server(only(PAYMENTS)).provider(classical()).require_hybrid().build();
        let client = world.client(PAYMENTS).provider(classical()).require_hybrid().build();
        for fault in [server.err().map(|it| it.to_string()), client.err().map(|it| it.to_string())] {
            assert!(fault.is_some_and(|fault| fault.contains("hybrid")));
        }
    }
}
