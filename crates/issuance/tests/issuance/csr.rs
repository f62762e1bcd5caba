//! Which signing requests prove a key, and which are refused

use countersign_issuance::{Csr, CsrError, KeyKind, MAX_CSR, ProvenKey};
use proptest::prelude::*;
use rcgen::PublicKeyData;

use crate::requests::{
    algorithms, der, dns, extension, extension_request, forged, forged_info, key_of, p256, proven, refusal,
    request, uri,
};

#[test]
fn every_kind_of_key_that_profiles_know_is_proven_by_its_own_request() {
    for (algorithm, kind) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, KeyKind::P256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, KeyKind::P384),
        (&rcgen::PKCS_ED25519, KeyKind::Ed25519),
    ] {
        let key = key_of(algorithm);
        let proven = proven(&key, vec![dns("a.example")]);
        assert_eq!(proven.kind(), kind);
        assert_eq!(proven.spki(), key.subject_public_key_info());
    }
}

#[test]
fn a_request_without_attributes_or_with_empty_ones_is_read() {
    let key = p256();
    let empty_names = extension(17, &[0x30, 0]);
    for attributes in [vec![], extension_request(&[]), extension_request(&empty_names)] {
        assert!(ProvenKey::from_csr(&forged(&key, &attributes), algorithms()).is_ok(), "{attributes:02x?}");
    }
    let none_at_all = [&[2, 1, 0, 0x30, 0][..], &key.subject_public_key_info()].concat();
    assert!(ProvenKey::from_csr(&forged_info(&key, &none_at_all), algorithms()).is_ok());
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let key = p256();
    let info = [&[2, 1, 0, 0x30, 0][..], &key.subject_public_key_info(), &[0xa0, 0]].concat();
    let error = refusal(&forged_info(&p256(), &info));
    assert_eq!((&error, error.code()), (&CsrError::BadSignature, "csr_signature_bad"));
}

#[test]
fn keys_that_are_never_certified_are_refused_by_name() {
    for (algorithm, name) in [(&rcgen::PKCS_RSA_SHA256, "RSA"), (&rcgen::PKCS_ECDSA_P521_SHA512, "P-521")] {
        let error = refusal(&request(&key_of(algorithm), vec![]));
        assert_eq!(error, CsrError::UnsupportedKey { found: name.to_owned() });
        assert_eq!(error.code(), "csr_key_unsupported");
    }
}

#[test]
fn a_signature_algorithm_that_nobody_accepts_is_refused() {
    let error = ProvenKey::from_csr(&request(&p256(), vec![]), &[]).unwrap_err();
    assert_eq!(error.code(), "csr_key_unsupported");
    assert!(error.to_string().contains("1.2.840.10045.4.3.2"), "{error}");
}

#[test]
fn a_csr_with_trailing_bytes_is_refused() {
    let key = p256();
    let whole = [request(&key, vec![]), vec![0]].concat();
    assert_eq!(refusal(&whole), CsrError::TrailingBytes(1));
    let inside = [&[2, 1, 0, 0x30, 0][..], &key.subject_public_key_info(), &[0xa0, 0, 5, 0]].concat();
    assert_eq!(refusal(&forged_info(&key, &inside)), CsrError::TrailingBytes(2));
}

#[test]
fn lengths_that_are_not_minimal_or_indefinite_are_refused() {
    let key = p256();
    let subject_in_two = [&[2, 1, 0, 0x30, 0x81, 0][..], &key.subject_public_key_info(), &[0xa0, 0]].concat();
    assert_eq!(refusal(&forged_info(&key, &subject_in_two)), CsrError::NonMinimal);
    let indefinite = [&[2, 1, 0, 0x30, 0x80, 0, 0][..], &key.subject_public_key_info(), &[0xa0, 0]].concat();
    assert_eq!(refusal(&forged_info(&key, &indefinite)), CsrError::Indefinite);
}

#[test]
fn a_request_beyond_8_kib_is_refused_unread() {
    let error = refusal(&vec![0x30; MAX_CSR + 1]);
    assert_eq!((&error, error.code()), (&CsrError::TooLarge { found: MAX_CSR + 1 }, "csr_too_large"));
}

#[test]
fn deep_nesting_is_refused() {
    let nested = (0..2_000).fold(Vec::new(), |inner, _| der(0x30, &inner));
    assert_eq!(refusal(&nested), CsrError::TooDeep);
    let key = p256();
    let subject = (0..20).fold(Vec::new(), |inner, _| der(0x30, &inner));
    let info = [&[2, 1, 0][..], &subject, &key.subject_public_key_info(), &[0xa0, 0]].concat();
    assert_eq!(refusal(&forged_info(&key, &info)), CsrError::TooDeep);
}

#[test]
fn a_request_that_is_something_else_is_refused() {
    let key = p256();
    let spki = key.subject_public_key_info();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    for (what, bytes) in [
        ("nothing", vec![]),
        ("text", b"-----BEGIN CERTIFICATE REQUEST-----".to_vec()),
        ("a certificate", certificate.der().to_vec()),
        ("half a request", request(&key, vec![])[..100].to_vec()),
        ("version 1", forged_info(&key, &[&[2, 1, 1, 0x30, 0][..], &spki, &[0xa0, 0]].concat())),
        ("no subject", forged_info(&key, &[&[2, 1, 0][..], &spki, &[0xa0, 0]].concat())),
        ("no key", forged_info(&key, &[2, 1, 0, 0x30, 0, 0xa0, 0])),
    ] {
        assert_eq!(refusal(&bytes).code(), "csr_malformed", "{what}");
    }
}

#[test]
fn requested_extensions_that_are_ambiguous_or_unreadable_are_refused() {
    let key = p256();
    let names = extension(17, &der(0x30, &der(0x82, b"a.example")));
    let twice = [names.clone(), names.clone()].concat();
    let two_requests = [extension_request(&names), extension_request(&names)].concat();
    let default_written = der(0x30, &[&[6, 3, 0x55, 0x1d, 17, 1, 1, 0][..], &der(4, &[0x30, 0])].concat());
    for (why, attributes) in [
        ("an extension twice", extension_request(&twice)),
        ("two requests", two_requests),
        ("a default written out", extension_request(&default_written)),
        ("names that are none", extension_request(&extension(17, &[5, 0]))),
        ("bytes behind the names", extension_request(&extension(17, &[0x30, 0, 5, 0]))),
        (
            "a name that is not ASCII",
            extension_request(&extension(17, &der(0x30, &der(0x82, "ä".as_bytes())))),
        ),
        (
            "an address of five octets",
            extension_request(&extension(17, &der(0x30, &der(0x87, &[1, 2, 3, 4, 5])))),
        ),
        ("an attribute that is none", der(0x31, &[])),
    ] {
        assert_eq!(refusal(&forged(&key, &attributes)).code(), "csr_malformed", "{why}");
    }
}

#[test]
fn a_compressed_point_is_refused_though_others_would_verify_it() {
    let key = p256();
    let raw = key.der_bytes();
    let sign = if raw[64] & 1 == 0 { 2 } else { 3 };
    let point = [&[0, sign][..], &raw[1..33]].concat();
    let algorithm =
        [0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let spki = der(0x30, &[&algorithm[..], &der(3, &point)].concat());
    let info = [&[2, 1, 0, 0x30, 0][..], &spki, &[0xa0, 0]].concat();
    assert_eq!(refusal(&forged_info(&key, &info)).code(), "csr_malformed");
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let key = p256();
    let mut spki = key.subject_public_key_info();
    let last = spki.len() - 1;
    spki[last] ^= 1;
    let info = [&[2, 1, 0, 0x30, 0][..], &spki, &[0xa0, 0]].concat();
    assert_eq!(refusal(&forged_info(&key, &info)), CsrError::BadSignature);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1_024)) {
        prop_assert!(ProvenKey::from_csr(&bytes, algorithms()).is_err());
    }

    /// Nested DER without meaning goes deeper into the reader than noise does.
    #[test]
    fn no_well_formed_values_make_the_reader_panic(
        values in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12)
    ) {
        let key = [0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let spki = der(0x30, &[&key[..], &der(3, &[&[0, 4][..], &[7; 64]].concat())].concat());
        let inner: Vec<u8> = values.iter().flat_map(|(tag, content)| der(*tag, content)).collect();
        for attributes in [inner.clone(), extension_request(&inner), extension_request(&extension(17, &inner)),
                           extension_request(&extension(17, &der(0x30, &inner)))] {
            let info = der(0x30, &[&[2, 1, 0, 0x30, 0][..], &spki, &der(0xa0, &attributes)].concat());
            let _ = Csr::read(&der(0x30, &[&info[..], &[0x30, 0], &der(3, &[0])].concat()));
        }
    }

    /// Every octet of a request is either signed, the signature, or fixed by DER: changed, it proves nothing.
    #[test]
    fn a_changed_request_is_never_accepted(
        at in any::<prop::sample::Index>(), octet in any::<u8>(), how in 0..3u8
    ) {
        let key = p256();
        let original = request(&key, vec![uri("spiffe://prod.example/a"), dns("a.example")]);
        let at = at.index(original.len());
        let mut changed = original.clone();
        match how {
            0 => changed[at] = octet,
            1 => changed.insert(at, octet),
            _ => { changed.remove(at); }
        }
        prop_assume!(changed != original);
        prop_assert!(ProvenKey::from_csr(&changed, algorithms()).is_err());
    }
}
