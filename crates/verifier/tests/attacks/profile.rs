//! Certificates in broken DER, or against the profile of RFC 5280 §4: leaves, intermediates and roots.

use countersign_identity::TrustBundle;
use countersign_testkit::{Authority, Forged};
use countersign_verifier::{
    AuthorityRule, ChainFault, KeyRule, LeafRule, ProfileRule, Refusal, TrustError, TrustStore, Usage,
};
use rcgen::{CustomExtension, SanType};

use crate::resigned::{
    ALGORITHM, EXTENSIONS, INTEGER, ISSUER, KEY, SEQUENCE, SERIAL, SET, SUBJECT, VALIDITY, VERSION, ce, der,
    extension, extensions, inside, resigned, with, without,
};
use crate::world::{PAYMENTS, World};

type Fields = Vec<Vec<u8>>;
type Change = fn(&mut Fields);

const AKI: u8 = 35;
const SKI: u8 = 14;
const BASIC: u8 = 19;
const USAGE: u8 = 15;
const NAMES: u8 = 17;
const CONSTRAINTS: u8 = 30;
/// authorityInfoAccess
const AIA: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 1, 1];
/// Of nobody.
const UNKNOWN: [u8; 5] = [0x2b, 6, 1, 4, 1];

fn leaf(world: &World, change: Change) -> Forged {
    let forged = world.issuer.leaf(PAYMENTS).forge();
    forged.with_leaf(|leaf| resigned(leaf, world.issuer.key(), change))
}

fn refused_leaf(change: Change) -> Refusal {
    let world = World::new();
    world.refuse(&leaf(&world, change))
}

fn leaf_rule(change: Change) -> LeafRule {
    match refused_leaf(change) {
        Refusal::LeafRule { rule } => rule,
        other => panic!("expected a broken rule, found {other}"),
    }
}

/// The verdict on a good leaf below a changed issuer.
fn below(change: Change) -> Result<(), AuthorityRule> {
    let world = World::new();
    let good = world.issuer.leaf(PAYMENTS).forge();
    let issuer = resigned(world.issuer.certificate(), world.root.key(), change);
    let chain = [good.leaf().clone(), issuer.into()];
    match world.verifier().verify(&chain, Usage::Client) {
        Ok(_) => Ok(()),
        Err(Refusal::Chain { fault: ChainFault::NotAnAuthority(rule), .. }) => Err(rule),
        Err(other) => panic!("expected a broken rule, found {other}"),
    }
}

/// The verdict on a changed root.
fn root(change: Change) -> Result<(), AuthorityRule> {
    let world = World::new();
    let changed = resigned(world.root.certificate(), world.root.key(), change);
    match TrustStore::new([bundle(changed)]) {
        Ok(_) => Ok(()),
        Err(TrustError::NotARoot { rule, number: 1, .. }) => Err(rule),
        Err(other) => panic!("expected a broken rule, found {other}"),
    }
}

fn bundle(root: Vec<u8>) -> TrustBundle {
    TrustBundle::new("prod.example".parse().expect("a domain"), vec![root])
}

#[test]
fn a_certificate_signed_again_unchanged_is_accepted() {
    let world = World::new();
    assert!(world.verify(&leaf(&world, |_| {})).is_ok());
    assert_eq!(below(|_| {}), Ok(()));
    assert_eq!(root(|_| {}), Ok(()));
}

#[test]
fn certificates_that_are_not_der_of_version_3_are_malformed() {
    let cases: [(&str, Change); 26] = [
        ("version 1", |f| f[VERSION] = der(0xa0, &[&[INTEGER, 1, 0]])),
        ("no version", |f| drop(f.remove(VERSION))),
        ("a serial with a superfluous octet", |f| f[SERIAL] = vec![INTEGER, 2, 0, 1]),
        ("another algorithm inside", |f| f[ALGORITHM] = der(SEQUENCE, &[&[6, 3, 0x2b, 0x65, 0x70]])),
        ("an empty attribute set", |f| f[SUBJECT] = der(SEQUENCE, &[&[SET, 0]])),
        ("text of the wrong set", |f| {
            let attribute = der(SEQUENCE, &[&[6, 3, 0x55, 4, 3], &[0x13, 1, b'@']]);
            f[SUBJECT] = der(SEQUENCE, &[&der(SET, &[&attribute])]);
        }),
        ("times without seconds", |f| f[VALIDITY] = times(0x17, b"2611231200Z", b"2611231300Z")),
        ("times with fractions", |f| f[VALIDITY] = times(0x18, b"20261123120000.5Z", b"20261123130000Z")),
        ("times elsewhere", |f| f[VALIDITY] = times(0x17, b"261123120000+0100", b"261123130000+0100")),
        ("an end before the beginning", |f| f[VALIDITY] = times(0x17, b"261123130000Z", b"261123120000Z")),
        ("a unique identifier", |f| f.insert(EXTENSIONS, vec![0x81, 2, 0, 1])),
        ("something behind the extensions", |f| f.push(vec![5, 0])),
        ("no extensions", |f| drop(f.remove(EXTENSIONS))),
        ("an empty list of extensions", |f| extensions(f, Vec::clear)),
        ("the same extension twice", |f| extensions(f, |list| list.push(list[0].clone()))),
        ("an unknown extension twice", |f| {
            extensions(f, |list| {
                list.extend([extension(&UNKNOWN, false, &[5, 0]), extension(&UNKNOWN, false, &[])])
            });
        }),
        ("critical spelled out as false", |f| {
            let spelled = der(SEQUENCE, &[&der(6, &[&UNKNOWN]), &[1, 1, 0], &[4, 2, 5, 0]]);
            extensions(f, |list| list.push(spelled));
        }),
        ("no authority, spelled out", |f| with(f, &ce(BASIC), true, &[SEQUENCE, 3, 1, 1, 0])),
        ("true, but not all ones", |f| with(f, &ce(BASIC), true, &[SEQUENCE, 3, 1, 1, 1])),
        ("a key usage with zeros behind", |f| with(f, &ce(USAGE), true, &[3, 2, 0, 0x80])),
        ("a key usage of nothing", |f| with(f, &ce(USAGE), true, &[3, 1, 0])),
        ("something behind an extension", |f| with(f, &ce(USAGE), true, &[3, 2, 7, 0x80, 5, 0])),
        ("no purposes", |f| with(f, &ce(37), false, &[SEQUENCE, 0])),
        ("no names", |f| with(f, &ce(NAMES), false, &[SEQUENCE, 0])),
        ("no access to anything", |f| with(f, &AIA, false, &[SEQUENCE, 0])),
        ("constraints upon nothing", |f| with(f, &ce(CONSTRAINTS), true, &[SEQUENCE, 0])),
    ];
    for (what, change) in cases {
        let refusal = refused_leaf(change);
        assert_eq!(refusal.code(), "certificate_malformed", "{what}: {refusal}");
    }
}

fn times(tag: u8, first: &[u8], last: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[&der(tag, &[first]), &der(tag, &[last])])
}

#[test]
fn names_that_can_name_nobody_are_malformed() {
    let world = World::new();
    for name in ["127.0.0.1", "", " ", ".example.com", "a..example.com", "db.example.com.", "*"] {
        let refusal = world.refuse(&world.issuer.leaf(PAYMENTS).dns(name).forge());
        assert_eq!(refusal.code(), "certificate_malformed", "{name}: {refusal}");
    }
    for name in ["db.internal", "*.example.com", "a_b.example.com"] {
        assert!(world.verify(&world.issuer.leaf(PAYMENTS).dns(name).forge()).is_ok(), "{name}");
    }
    let refusal = refused_leaf(|fields| {
        let names = [der(0x86, &[PAYMENTS.as_bytes()]), vec![0x87, 3, 127, 0, 1]].concat();
        with(fields, &ce(NAMES), false, &der(SEQUENCE, &[&names]));
    });
    assert_eq!(refusal.code(), "certificate_malformed", "{refusal}");
}

#[test]
fn leaves_against_the_profile_are_refused_each_for_its_reason() {
    let profile: [(Change, ProfileRule); 12] = [
        (|f| f[SERIAL] = vec![INTEGER, 1, 0], ProfileRule::SerialNotPositive),
        (|f| f[SERIAL] = vec![INTEGER, 1, 0x80], ProfileRule::SerialNotPositive),
        (|f| f[SERIAL] = der(INTEGER, &[&[1; 21]]), ProfileRule::SerialTooLong { found: 21 }),
        (|f| f[VALIDITY] = times(0x18, b"20261123110000Z", b"20261123130000Z"), ProfileRule::LongYear),
        (
            |f| with(f, &UNKNOWN, true, &[5, 0]),
            ProfileRule::UnknownCritical { oid: "1.3.6.1.4.1".to_owned() },
        ),
        (|f| critical(f, AKI), ProfileRule::Critical { extension: "authorityKeyIdentifier" }),
        (
            |f| with(f, &ce(SKI), true, &[4, 1, 7]),
            ProfileRule::Critical { extension: "subjectKeyIdentifier" },
        ),
        (
            |f| {
                let place = der(SEQUENCE, &[&[6, 1, 0x2b], &[0x86, 1, b'x']]);
                with(f, &AIA, true, &der(SEQUENCE, &[&place]));
            },
            ProfileRule::Critical { extension: "authorityInfoAccess" },
        ),
        (|f| f[SUBJECT] = vec![SEQUENCE, 0], ProfileRule::NoSubject),
        (|f| with(f, &ce(BASIC), true, &[SEQUENCE, 3, INTEGER, 1, 0]), ProfileRule::PathLength),
        (|f| extensions(f, |list| without(list, &ce(AKI))), ProfileRule::NoAuthorityKey),
        (|f| with(f, &ce(AKI), false, &[SEQUENCE, 3, 0x82, 1, 7]), ProfileRule::HalfAuthorityKey),
    ];
    for (change, rule) in profile {
        assert_eq!(leaf_rule(change), LeafRule::Profile(rule));
    }
    assert_eq!(
        leaf_rule(|f| with(f, &ce(AKI), false, &[SEQUENCE, 0])),
        LeafRule::Profile(ProfileRule::NoAuthorityKeyId)
    );
}

/// Marks an extension critical.
fn critical(fields: &mut Fields, last: u8) {
    extensions(fields, |list| {
        let oid = ce(last);
        let place = list.iter().position(|one| inside(one)[0][2..] == oid).expect("it has one");
        let content = inside(&list[place]).pop().expect("a value");
        list[place] = der(SEQUENCE, &[&der(6, &[&oid]), &[1, 1, 0xff], &content]);
    });
}

#[test]
fn what_belongs_to_authorities_is_refused_on_leaves() {
    // One permitted DNS name.
    let tree = |f: &mut Fields, mark| {
        with(f, &ce(CONSTRAINTS), mark, &[SEQUENCE, 7, 0xa0, 5, SEQUENCE, 3, 0x82, 1, b'a']);
    };
    let expected = LeafRule::ForAuthorities { extension: "nameConstraints" };
    let world = World::new();
    for mark in [true, false] {
        let forged = world.issuer.leaf(PAYMENTS).forge();
        let forged = forged.with_leaf(|leaf| resigned(leaf, world.issuer.key(), |f| tree(f, mark)));
        let refusal = world.refuse(&forged);
        assert!(matches!(&refusal, Refusal::LeafRule { rule } if *rule == expected), "{refusal}");
    }
    let policy = leaf_rule(|f| with(f, &ce(36), false, &[SEQUENCE, 3, 0x80, 1, 0]));
    assert_eq!(policy, LeafRule::ForAuthorities { extension: "policyConstraints" });
}

#[test]
fn keys_nobody_can_verify_with_are_refused() {
    let key = |rule| LeafRule::Profile(ProfileRule::Key(rule));
    // P-192: ansip192r1.
    let p192 = leaf_rule(|f| f[KEY] = spki(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1], &[4; 49]));
    assert_eq!(p192, key(KeyRule::Point));
    // secp256k1 has points as long as P-256 has.
    let koblitz = leaf_rule(|f| f[KEY] = spki(&[0x2b, 0x81, 4, 0, 10], &[4; 65]));
    assert_eq!(koblitz, key(KeyRule::Kind));
    let compressed = leaf_rule(|f| f[KEY] = spki(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], &[2; 33]));
    assert_eq!(compressed, key(KeyRule::Point));
    assert_eq!(leaf_rule(|f| f[KEY] = rsa(1024, 3)), key(KeyRule::ModulusSize { found: 1024 }));
    assert_eq!(leaf_rule(|f| f[KEY] = rsa(2052, 3)), key(KeyRule::ModulusSize { found: 2052 }));
    assert_eq!(leaf_rule(|f| f[KEY] = rsa(16_384, 3)), key(KeyRule::ModulusSize { found: 16_384 }));
    assert_eq!(leaf_rule(|f| f[KEY] = rsa(2048, 1)), key(KeyRule::Exponent));
    assert_eq!(leaf_rule(|f| f[KEY] = rsa(2048, 4)), key(KeyRule::Exponent));
    let world = World::new();
    assert!(world.verify(&leaf(&world, |f| f[KEY] = rsa(2048, 3))).is_ok());
}

/// A key on a curve.
fn spki(curve: &[u8], point: &[u8]) -> Vec<u8> {
    let algorithm = [der(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]]), der(6, &[curve])].concat();
    der(SEQUENCE, &[&der(SEQUENCE, &[&algorithm]), &der(3, &[&[0], point])])
}

/// An RSA key of so many bits; nobody knows its factors.
fn rsa(bits: usize, exponent: u8) -> Vec<u8> {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    match bits % 8 {
        0 => modulus.insert(0, 0),
        some => modulus[0] = 0xff >> (8 - some),
    }
    let key = der(SEQUENCE, &[&der(INTEGER, &[&modulus]), &[INTEGER, 1, exponent]]);
    let algorithm = [der(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1]]), vec![5, 0]].concat();
    der(SEQUENCE, &[&der(SEQUENCE, &[&algorithm]), &der(3, &[&[0], &key])])
}

#[test]
fn authorities_against_the_profile_are_refused_each_for_its_reason() {
    let both: [(Change, AuthorityRule); 7] = [
        (|f| with(f, &ce(BASIC), false, &[SEQUENCE, 3, 1, 1, 0xff]), AuthorityRule::NotCritical),
        (|f| extensions(f, |list| without(list, &ce(BASIC))), AuthorityRule::NotCa),
        (|f| with(f, &ce(USAGE), true, &[3, 2, 1, 2]), AuthorityRule::NoKeyCertSign),
        (|f| extensions(f, |list| without(list, &ce(SKI))), AuthorityRule::NoSubjectKey),
        (
            |f| critical(f, SKI),
            AuthorityRule::Profile(ProfileRule::Critical { extension: "subjectKeyIdentifier" }),
        ),
        (
            |f| with(f, &ce(36), false, &[SEQUENCE, 3, 0x80, 1, 0]),
            AuthorityRule::Profile(ProfileRule::NotCritical { extension: "policyConstraints" }),
        ),
        (|f| f[SERIAL] = vec![INTEGER, 1, 0], AuthorityRule::Profile(ProfileRule::SerialNotPositive)),
    ];
    for (change, rule) in both {
        assert_eq!(below(change), Err(rule.clone()));
        assert_eq!(root(change), Err(rule));
    }
    let no_key = AuthorityRule::Profile(ProfileRule::NoAuthorityKey);
    assert_eq!(below(|f| extensions(f, |list| without(list, &ce(AKI)))), Err(no_key));
}

#[test]
fn a_root_is_judged_like_what_it_signs() {
    let unknown = AuthorityRule::Profile(ProfileRule::UnknownCritical { oid: "1.3.6.1.4.1".to_owned() });
    assert_eq!(root(|f| with(f, &UNKNOWN, true, &[5, 0])), Err(unknown));
    assert_eq!(root(|f| with(f, &UNKNOWN, false, &[5, 0])), Ok(()));
    let foreign = AuthorityRule::Profile(ProfileRule::ForeignAuthorityKey);
    assert_eq!(root(|f| with(f, &ce(AKI), false, &[SEQUENCE, 3, 0x80, 1, 7])), Err(foreign));
    let no_id = AuthorityRule::Profile(ProfileRule::NoAuthorityKeyId);
    assert_eq!(root(|f| with(f, &ce(AKI), false, &[SEQUENCE, 0])), Err(no_id));
    assert_eq!(root(|f| f[SUBJECT] = vec![SEQUENCE, 0]), Err(AuthorityRule::Profile(ProfileRule::NoSubject)));
    let no_issuer = AuthorityRule::Profile(ProfileRule::NoIssuer);
    assert_eq!(root(|f| f[ISSUER] = vec![SEQUENCE, 0]), Err(no_issuer));
    assert!(matches!(
        root(|f| f[VERSION] = der(0xa0, &[&[INTEGER, 1, 0]])),
        Err(AuthorityRule::Malformed(_))
    ));
    // Limited in nothing, and vouched for by the bundle.
    assert_eq!(root(|f| extensions(f, |list| without(list, &ce(USAGE)))), Ok(()));
}

#[test]
fn a_root_that_names_another_as_its_signer_is_refused() {
    let name_self = |f: &mut Fields, serial: &[u8]| {
        let list = inside(&inside(&f[EXTENSIONS])[0]);
        let ski = list.iter().find(|one| inside(one)[0][2..] == ce(SKI)).expect("it has one");
        let key = inside(ski)[1][4..].to_vec();
        let issuer = der(0xa1, &[&der(0xa4, &[&f[ISSUER]])]);
        let content = der(SEQUENCE, &[&der(0x80, &[&key]), &issuer, &der(0x82, &[serial])]);
        with(f, &ce(AKI), false, &content);
    };
    let world = World::new();
    let resign = |serial: Option<&[u8]>| {
        resigned(world.root.certificate(), world.root.key(), |f| {
            let real = f[SERIAL][2..].to_vec();
            name_self(f, serial.unwrap_or(&real));
        })
    };
    assert!(TrustStore::new([bundle(resign(None))]).is_ok());
    assert!(TrustStore::new([bundle(resign(Some(&[4, 0xd2])))]).is_err());
}

#[test]
fn issuers_that_leave_out_what_is_optional_are_accepted() {
    let world = World::new();
    // A leaf as `openssl` makes it with the least configuration: no basicConstraints, no extendedKeyUsage.
    let bare = world.issuer.leaf(PAYMENTS).no_basic_constraints().extended_key_usages(&[]);
    assert!(world.verify(&bare.forge()).is_ok());
    // As Go makes it: no subject, hence critical names.
    assert!(world.verify(&leaf(&world, nameless)).is_ok());
    // A root without an ID, an issuer with purposes, policies and places to find things.
    let root = Authority::root_with("prod.example", |params| params.subject_alt_names = vec![]);
    let issuer = root.issuer_with(|params| {
        params.subject_alt_names = vec![SanType::DnsName("ca.example.com".try_into().expect("ASCII"))];
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let any_policy = [SEQUENCE, 8, SEQUENCE, 6, 6, 4, 0x55, 0x1d, 0x20, 0].to_vec();
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 32], any_policy));
    });
    let world = World { trust: crate::world::trust([root.bundle()]), ..World::new() };
    assert!(world.verify(&issuer.leaf(PAYMENTS).forge()).is_ok());
}

/// No subject, and critical names instead (RFC 5280 §4.2.1.6).
fn nameless(fields: &mut Fields) {
    fields[SUBJECT] = vec![SEQUENCE, 0];
    critical(fields, NAMES);
}
