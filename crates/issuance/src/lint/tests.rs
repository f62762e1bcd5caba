//! Certificates that break one rule each, and the rule they are refused by

use std::net::IpAddr;
use std::time::Duration;

use countersign_identity::{Lineage, Serial, SpiffeId, Timestamp, TrustDomain, Validity};

use super::*;
use crate::authority;
use crate::der::Writer;
use crate::dns_name::DnsName;
use crate::signer::{BoxFuture, Signer, SignerError};
use crate::tbs::{Attribute, Extension, Tbs};

const NOW: Timestamp = Timestamp::from_unix(1_795_428_000);

/// A P-256 key in form: the judge leaves it to the signature whether a point is on its curve.
fn spki(seed: u8) -> Vec<u8> {
    let mut w = Writer::default();
    w.sequence(|w| {
        w.sequence(|w| {
            w.oid(oid::EC_PUBLIC_KEY);
            w.oid(oid::SECP256R1);
        });
        w.bit_string(&[&[4][..], &[seed; 64]].concat());
    });
    w.into_bytes()
}

/// Signs with a signature in form.
struct Stamp(Vec<u8>);

impl Signer for Stamp {
    fn public_key(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::EcdsaP256Sha256
    }

    fn sign<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>> {
        Box::pin(async { Ok(vec![0x30, 6, 2, 1, 1, 2, 1, 1]) })
    }
}

/// A good leaf and what is expected of it: each test spoils one thing.
struct Bench {
    issuer: IssuerCertificate,
    id: SpiffeId,
    spki: Vec<u8>,
    lineage: Lineage,
    dns: Vec<DnsName>,
    ip: Vec<IpAddr>,
    validity: Validity,
    own: bool,
}

impl Bench {
    async fn new() -> Self {
        let domain: TrustDomain = "prod.example".parse().unwrap();
        let (begins, ends) = (NOW - Duration::from_secs(3_600), NOW + Duration::from_secs(3_600));
        let validity = Validity::new(begins, ends).unwrap();
        let root = authority::self_signed_root(&domain, serial(), validity, &Stamp(spki(1))).await.unwrap();
        Bench {
            issuer: IssuerCertificate::parse(&root).unwrap(),
            id: "spiffe://prod.example/payments".parse().unwrap(),
            spki: spki(2),
            lineage: Lineage::from_random([7; 16]),
            dns: vec!["pay.example".parse().unwrap()],
            ip: vec!["10.0.0.7".parse().unwrap()],
            validity: Validity::new(NOW - Duration::from_secs(60), NOW + Duration::from_secs(3_599)).unwrap(),
            own: false,
        }
    }

    fn tbs(&self) -> Tbs<'_> {
        Tbs {
            serial: serial(),
            algorithm: SigningAlgorithm::EcdsaP256Sha256,
            issuer: self.issuer.subject(),
            validity: self.validity,
            subject: vec![Attribute::printable(oid::SERIAL_NUMBER, self.lineage.to_string())],
            spki: &self.spki,
            extensions: vec![
                Extension::signs_data(),
                Extension::extended_key_usage(false, &[oid::SERVER_AUTH, oid::CLIENT_AUTH]),
                Extension::no_authority(),
                Extension::subject_key_id(
                    &PublicKey::read(&self.spki).map(|key| key.id()).unwrap_or_default(),
                ),
                Extension::authority_key_id(self.issuer.subject_key_id()),
                Extension::names(self.id.as_str(), &self.dns, &self.ip),
            ],
        }
    }

    fn judge(&self, tbs: &[u8], serial: Serial) -> Option<Rule> {
        let common =
            Expectation { serial, spki: &self.spki, validity: self.validity, issuer: (&self.issuer).into() };
        let expected = LeafExpectation {
            common,
            id: &self.id,
            own: self.own,
            lineage: self.lineage,
            dns: &self.dns,
            ip: &self.ip,
            time: NOW,
            lifetime: Duration::from_secs(3_600),
        };
        judge_leaf(tbs, &expected).err().map(|error| error.rule())
    }

    /// The rule that a leaf with one field spoiled breaks.
    fn spoiled(&self, spoil: impl FnOnce(&mut Tbs<'_>)) -> Option<Rule> {
        let mut tbs = self.tbs();
        spoil(&mut tbs);
        self.judge(&tbs.to_der(), serial())
    }

    /// The same with one extension exchanged for others.
    fn exchanged(&self, kind: &[u8], others: Vec<Extension>) -> Option<Rule> {
        self.spoiled(|tbs| {
            tbs.extensions.retain(|extension| extension.oid != kind);
            tbs.extensions.extend(others);
        })
    }

    /// The same with octets exchanged in one of its fields.
    fn rewritten(&self, field: usize, rewrite: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Rule> {
        let der = self.tbs().to_der();
        let mut fields = Reader::new(&der).sequence().unwrap();
        let mut content: Vec<Vec<u8>> = Vec::new();
        while !fields.is_empty() {
            content.push(fields.next().unwrap().raw.to_vec());
        }
        content[field] = rewrite(&content[field]);
        let mut w = Writer::default();
        w.sequence(|w| w.raw(&content.concat()));
        self.judge(&w.into_bytes(), serial())
    }
}

fn serial() -> Serial {
    Serial::from_random([3; 18])
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    write(&mut w);
    w.into_bytes()
}

fn other(oid: &'static [u8], critical: bool, value: Vec<u8>) -> Vec<Extension> {
    vec![Extension { oid, critical, value }]
}

#[tokio::test]
async fn a_good_leaf_is_let_through() {
    let bench = Bench::new().await;
    assert_eq!(bench.spoiled(|_| {}), None);
    assert_eq!(bench.rewritten(0, <[u8]>::to_vec), None);
}

#[tokio::test]
async fn bytes_that_are_not_one_canonical_value_are_refused() {
    let bench = Bench::new().await;
    let good = bench.tbs().to_der();
    assert_eq!(bench.judge(&[], serial()), Some(Rule::Encoding));
    assert_eq!(bench.judge(&[&good[..], &[5, 0]].concat(), serial()), Some(Rule::Encoding));
    assert_eq!(bench.judge(&good[..good.len() - 1], serial()), Some(Rule::Encoding));
    let empty_null = |raw: &[u8]| [raw, &[5, 0]].concat();
    assert_eq!(bench.rewritten(7, empty_null), Some(Rule::Encoding), "something behind the extensions");
}

#[tokio::test]
async fn every_fixed_field_is_held_to_its_rule() {
    let bench = Bench::new().await;
    assert_eq!(bench.rewritten(0, |_| vec![0xa0, 3, 2, 1, 1]), Some(Rule::Version));
    assert_eq!(bench.rewritten(1, |_| vec![2, 1, 3]), Some(Rule::Serial), "too short");
    assert_eq!(
        bench.rewritten(1, |_| [&[2, 18, 0xff][..], &[3; 17]].concat()),
        Some(Rule::Serial),
        "negative"
    );
    assert_eq!(bench.spoiled(|tbs| tbs.serial = Serial::from_random([4; 18])), Some(Rule::Serial), "another");
    let with_null = |raw: &[u8]| written(|w| w.sequence(|w| w.raw(&[&raw[2..], &[5, 0]].concat())));
    assert_eq!(bench.rewritten(2, with_null), Some(Rule::SignatureAlgorithm), "parameters");
    let algorithm = SigningAlgorithm::EcdsaP384Sha384;
    assert_eq!(bench.spoiled(|tbs| tbs.algorithm = algorithm), Some(Rule::SignatureAlgorithm));
    assert_eq!(bench.spoiled(|tbs| tbs.issuer = &[0x30, 0]), Some(Rule::Issuer));
    let unique_id = |raw: &[u8]| [&[0x81, 2, 0, 1][..], raw].concat();
    assert_eq!(bench.rewritten(7, unique_id), Some(Rule::UniqueId));
}

#[tokio::test]
async fn a_serial_of_fewer_octets_is_refused_though_it_was_asked_for() {
    let bench = Bench::new().await;
    let short = Serial::from_be_bytes(&[5]).unwrap();
    let mut tbs = bench.tbs();
    tbs.serial = short;
    assert_eq!(bench.judge(&tbs.to_der(), short), Some(Rule::Serial));
}

#[tokio::test]
async fn times_in_another_form_are_refused() {
    let bench = Bench::new().await;
    let times = |tag: u8, not_before: &str, not_after: &str| {
        written(|w| {
            w.sequence(|w| {
                w.value(tag, not_before.as_bytes());
                w.value(tag, not_after.as_bytes());
            });
        })
    };
    let (utc, generalized) = (tag::UTC_TIME, tag::GENERALIZED_TIME);
    let stamp = |time: Timestamp, form: &str| {
        let digits: String = time.to_string().chars().filter(char::is_ascii_digit).collect();
        format!("{}{form}", &digits[2..])
    };
    let (begin, end) = (bench.validity.not_before(), bench.validity.not_after());
    let good = times(utc, &stamp(begin, "Z"), &stamp(end, "Z"));
    assert_eq!(bench.rewritten(4, |_| good), None);
    let offset = times(utc, &stamp(begin, "+0000"), &stamp(end, "+0000"));
    assert_eq!(bench.rewritten(4, |_| offset), Some(Rule::ValidityForm));
    let early = format!("20{}", stamp(begin, "Z"));
    let early = times(generalized, &early, &format!("20{}", stamp(end, "Z")));
    assert_eq!(bench.rewritten(4, |_| early), Some(Rule::ValidityForm), "GeneralizedTime before 2050");
    let third = |raw: &[u8]| written(|w| w.sequence(|w| w.raw(&[&raw[2..], &raw[2..17]].concat())));
    assert!(bench.rewritten(4, third).is_some(), "three times");
}

/// Invariant 4, judged by the second hand.
#[tokio::test]
async fn a_life_beyond_its_limits_is_refused() {
    let mut bench = Bench::new().await;
    let second = Duration::from_secs(1);
    let (begin, end) = (bench.validity.not_before(), bench.validity.not_after());
    let others = |begin, end| Validity::new(begin, end).unwrap();
    assert_eq!(bench.spoiled(|tbs| tbs.validity = others(begin, end - second)), Some(Rule::Validity));
    for validity in [others(begin, end + second), others(begin - second, end), others(NOW + second, end)] {
        bench.validity = validity;
        assert_eq!(bench.spoiled(|_| {}), Some(Rule::Lifetime), "{validity}");
    }
    bench.validity = others(begin, bench.issuer.validity().not_after() + second);
    assert_eq!(bench.spoiled(|_| {}), Some(Rule::OutlivesIssuer));
}

#[tokio::test]
async fn a_subject_other_than_the_lineage_alone_is_refused() {
    let bench = Bench::new().await;
    let lineage = bench.lineage.to_string();
    for subject in [
        vec![],
        vec![Attribute::printable(oid::COMMON_NAME, lineage.clone())],
        vec![Attribute::utf8(oid::SERIAL_NUMBER, lineage.clone())],
        vec![Attribute::printable(oid::SERIAL_NUMBER, Lineage::from_random([8; 16]).to_string())],
        vec![
            Attribute::printable(oid::SERIAL_NUMBER, lineage.clone()),
            Attribute::utf8(oid::COMMON_NAME, "x".into()),
        ],
    ] {
        assert_eq!(bench.spoiled(|tbs| tbs.subject = subject), Some(Rule::Subject));
    }
}

#[tokio::test]
async fn another_key_or_one_that_is_never_certified_is_refused() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.rewritten(6, |_| spki(9)), Some(Rule::PublicKey));
    bench.spki = written(|w| {
        w.sequence(|w| {
            w.sequence(|w| {
                w.oid(oid::RSA);
                w.value(tag::NULL, &[]);
            });
            w.bit_string(&[0x30, 6, 2, 1, 3, 2, 1, 3]);
        });
    });
    assert_eq!(bench.spoiled(|_| {}), Some(Rule::PublicKey), "though it was asked for");
}

#[tokio::test]
async fn names_other_than_one_spiffe_id_and_the_registered_ones_are_refused() {
    let bench = Bench::new().await;
    let id = bench.id.as_str();
    let san = |names: Vec<Extension>| bench.exchanged(oid::SUBJECT_ALT_NAME, names);
    let raw = |names: &[(u8, &[u8])]| {
        let value = written(|w| {
            w.sequence(|w| names.iter().for_each(|(kind, name)| w.value(tag::context(*kind), name)));
        });
        san(other(oid::SUBJECT_ALT_NAME, false, value))
    };
    let (uri, dns, ip) = ((6, id.as_bytes()), (2, &b"pay.example"[..]), (7, &[10, 0, 0, 7][..]));
    assert_eq!(raw(&[uri, dns, ip]), None);
    assert_eq!(san(vec![]), Some(Rule::SubjectAltName));
    let mut critical = Extension::names(id, &bench.dns, &bench.ip);
    critical.critical = true;
    assert_eq!(san(vec![critical]), Some(Rule::SubjectAltName));
    assert_eq!(san(vec![Extension::names(id, &bench.dns, &bench.ip); 2]), Some(Rule::SubjectAltName));
    for names in [
        &[dns, ip][..],
        &[uri, uri, dns, ip],
        &[uri, dns],
        &[uri, ip],
        &[uri, dns, dns, ip],
        &[uri, dns, ip, ip],
        &[uri, dns, ip, (1, b"root@pay.example")],
        &[uri, dns, ip, (8, &[0x2a])],
        &[uri, (2, b"PAY.example"), ip],
        &[uri, (2, b"*.example"), ip],
        &[uri, dns, (7, &[10, 0, 0, 8])],
        &[uri, dns, (7, &[10, 0, 0, 0, 255, 0, 0, 0])],
    ] {
        assert_eq!(raw(names), Some(Rule::SubjectAltName), "{names:?}");
    }
    for id in [
        "spiffe://prod.example/other",
        "SPIFFE://prod.example/payments",
        "spiffe://prod.example/payments?x",
        "",
    ] {
        assert_eq!(raw(&[(6, id.as_bytes()), dns, ip]), Some(Rule::SpiffeId), "{id}");
    }
}

/// Invariant 11: a machine's certificate never carries the CA's name, the CA's own never a machine's.
#[tokio::test]
async fn reserved_identities_stand_in_the_cas_own_certificate_only() {
    let mut bench = Bench::new().await;
    bench.own = true;
    assert_eq!(bench.spoiled(|_| {}), Some(Rule::SpiffeId));
    bench.id = "spiffe://prod.example/countersign/ca".parse().unwrap();
    assert_eq!(bench.spoiled(|_| {}), None);
    bench.own = false;
    assert_eq!(bench.spoiled(|_| {}), Some(Rule::SpiffeId));
    bench.id = "spiffe://prod.example".parse().unwrap();
    assert_eq!(bench.spoiled(|_| {}), Some(Rule::SpiffeId), "an identity without a path");
}

#[tokio::test]
async fn usages_of_a_leaf_are_exactly_those_of_both_ends_of_tls() {
    let bench = Bench::new().await;
    let usage = |critical, octets: &[u8]| {
        let value = written(|w| w.value(tag::BIT_STRING, octets));
        bench.exchanged(oid::KEY_USAGE, other(oid::KEY_USAGE, critical, value))
    };
    assert_eq!(usage(true, &[7, 0x80]), None);
    assert_eq!(usage(false, &[7, 0x80]), Some(Rule::KeyUsage), "not critical");
    for octets in [&[2, 0x84][..], &[1, 0x82], &[5, 0xa0], &[5, 0x20], &[0, 0x80]] {
        assert_eq!(usage(true, octets), Some(Rule::KeyUsage), "{octets:?}");
    }
    assert_eq!(bench.exchanged(oid::KEY_USAGE, vec![]), Some(Rule::KeyUsage));

    let any: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
    for purposes in [
        &[][..],
        &[oid::SERVER_AUTH],
        &[oid::CLIENT_AUTH],
        &[oid::SERVER_AUTH, oid::CLIENT_AUTH, any],
        &[oid::SERVER_AUTH, oid::CLIENT_AUTH, oid::TRUST_SIGNING],
    ] {
        let spoiled =
            bench.exchanged(oid::EXTENDED_KEY_USAGE, vec![Extension::extended_key_usage(false, purposes)]);
        assert_eq!(spoiled, Some(Rule::ExtendedKeyUsage), "{purposes:02x?}");
    }
    assert_eq!(bench.exchanged(oid::EXTENDED_KEY_USAGE, vec![]), Some(Rule::ExtendedKeyUsage));
}

#[tokio::test]
async fn a_leaf_says_explicitly_that_it_is_no_authority() {
    let bench = Bench::new().await;
    let constraints = |others| bench.exchanged(oid::BASIC_CONSTRAINTS, others);
    let false_written = written(|w| w.sequence(|w| w.value(tag::BOOLEAN, &[0])));
    for others in [
        vec![],
        vec![Extension::authority(None)],
        vec![Extension::authority(Some(0))],
        vec![Extension::no_authority(), Extension::authority(None)],
        other(oid::BASIC_CONSTRAINTS, false, vec![0x30, 0]),
        other(oid::BASIC_CONSTRAINTS, true, false_written),
        other(oid::BASIC_CONSTRAINTS, true, vec![5, 0]),
    ] {
        assert_eq!(constraints(others), Some(Rule::BasicConstraints));
    }
}

#[tokio::test]
async fn the_authority_key_identifier_is_the_issuers_alone() {
    let bench = Bench::new().await;
    let id = bench.issuer.subject_key_id();
    let with_serial = written(|w| {
        w.sequence(|w| {
            w.value(tag::context(0), id);
            w.value(tag::context(2), &[1]);
        });
    });
    let mut critical = Extension::authority_key_id(id);
    critical.critical = true;
    for others in [
        vec![],
        vec![critical],
        vec![Extension::authority_key_id(&[1; 20])],
        vec![Extension::authority_key_id(id); 2],
        other(oid::AUTHORITY_KEY_ID, false, vec![0x30, 0]),
        other(oid::AUTHORITY_KEY_ID, false, with_serial),
    ] {
        assert_eq!(bench.exchanged(oid::AUTHORITY_KEY_ID, others), Some(Rule::AuthorityKeyId));
    }
}

#[tokio::test]
async fn the_subject_key_identifier_is_reckoned_from_the_key() {
    let bench = Bench::new().await;
    let id = PublicKey::read(&bench.spki).unwrap().id();
    let mut critical = Extension::subject_key_id(&id);
    critical.critical = true;
    for others in [
        vec![],
        vec![critical],
        vec![Extension::subject_key_id(&[1; 20])],
        vec![Extension::subject_key_id(&id[..19])],
        vec![Extension::subject_key_id(&[])],
        vec![Extension::subject_key_id(&id); 2],
    ] {
        assert_eq!(bench.exchanged(oid::SUBJECT_KEY_ID, others), Some(Rule::SubjectKeyId));
    }
}

#[tokio::test]
async fn extensions_that_no_leaf_has_are_refused() {
    let bench = Bench::new().await;
    for extension in [
        Extension::trust_epoch(1),
        // nameConstraints, cRLDistributionPoints, certificatePolicies
        Extension { oid: &[0x55, 0x1d, 0x1e], critical: true, value: vec![0x30, 0] },
        Extension { oid: &[0x55, 0x1d, 0x1f], critical: false, value: vec![0x30, 0] },
        Extension { oid: &[0x55, 0x1d, 0x20], critical: false, value: vec![0x30, 0] },
    ] {
        assert_eq!(bench.spoiled(|tbs| tbs.extensions.push(extension)), Some(Rule::ForeignExtension));
    }
}

#[tokio::test]
async fn a_certificate_too_large_for_a_first_flight_is_refused() {
    let mut bench = Bench::new().await;
    bench.dns = (0..60).map(|n| format!("host-{n}.a-rather-long-name.example").parse().unwrap()).collect();
    assert_eq!(bench.spoiled(|_| {}), Some(Rule::Size));
}

/// The authority's judge: what a root, an issuer and a trust signer may not say.
mod authorities {
    use super::*;

    const ISSUER: AuthorityShape = AuthorityShape::Issuer;
    const TRUST: AuthorityShape = AuthorityShape::TrustSigner { epoch: 7 };

    async fn judged(shape: AuthorityShape, spoil: impl FnOnce(&mut Tbs<'_>)) -> Option<Rule> {
        let bench = Bench::new().await;
        let domain: TrustDomain = "prod.example".parse().unwrap();
        let subject = vec![Attribute::utf8(oid::COMMON_NAME, "x".to_owned())];
        let name = crate::tbs::name(&subject);
        let key_id = PublicKey::read(&bench.spki).unwrap().id();
        let mut tbs = bench.tbs();
        tbs.subject = subject;
        tbs.extensions = match shape {
            AuthorityShape::TrustSigner { epoch } => vec![
                Extension::signs_data(),
                Extension::extended_key_usage(true, &[oid::TRUST_SIGNING]),
                Extension::no_authority(),
                Extension::subject_key_id(&key_id),
                Extension::authority_key_id(bench.issuer.subject_key_id()),
                Extension::names("spiffe://prod.example/countersign/trust", &[], &[]),
                Extension::trust_epoch(epoch),
            ],
            AuthorityShape::Root | AuthorityShape::Issuer => vec![
                Extension::signs_certificates(),
                Extension::authority(Some(0)),
                Extension::subject_key_id(&key_id),
                Extension::authority_key_id(bench.issuer.subject_key_id()),
                Extension::names("spiffe://prod.example", &[], &[]),
            ],
        };
        spoil(&mut tbs);
        let common = Expectation {
            serial: serial(),
            spki: &bench.spki,
            validity: bench.validity,
            issuer: (&bench.issuer).into(),
        };
        let expected = AuthorityExpectation { common, trust_domain: &domain, subject: &name, shape };
        judge_authority(&tbs.to_der(), &expected).err().map(|error| error.rule())
    }

    async fn exchanged(shape: AuthorityShape, extension: Extension) -> Option<Rule> {
        judged(shape, |tbs| {
            tbs.extensions.retain(|other| other.oid != extension.oid);
            tbs.extensions.push(extension);
        })
        .await
    }

    #[tokio::test]
    async fn good_ones_are_let_through() {
        assert_eq!(judged(ISSUER, |_| {}).await, None);
        assert_eq!(judged(TRUST, |_| {}).await, None);
    }

    #[tokio::test]
    async fn an_issuer_says_no_more_and_no_less_than_an_issuer_should() {
        for (extension, rule) in [
            (Extension::authority(None), Rule::BasicConstraints),
            (Extension::authority(Some(1)), Rule::BasicConstraints),
            (Extension::no_authority(), Rule::BasicConstraints),
            (Extension::signs_data(), Rule::KeyUsage),
            (Extension::subject_key_id(&[6; 20]), Rule::SubjectKeyId),
            (Extension::authority_key_id(&[6; 20]), Rule::AuthorityKeyId),
            (Extension::names("spiffe://prod.example/issuer", &[], &[]), Rule::SpiffeId),
            (Extension::names("spiffe://other.example", &[], &[]), Rule::SpiffeId),
            (
                Extension::names("spiffe://prod.example", &["a.example".parse().unwrap()], &[]),
                Rule::SubjectAltName,
            ),
            (Extension::extended_key_usage(false, &[oid::SERVER_AUTH]), Rule::ForeignExtension),
            (
                Extension { oid: &[0x55, 0x1d, 0x1e], critical: true, value: vec![0x30, 0] },
                Rule::ForeignExtension,
            ),
        ] {
            assert_eq!(exchanged(ISSUER, extension.clone()).await, Some(rule), "{extension:02x?}");
        }
        assert_eq!(judged(ISSUER, |tbs| tbs.subject.clear()).await, Some(Rule::Subject));
        assert_eq!(judged(AuthorityShape::Root, |_| {}).await, Some(Rule::Subject), "a root issues itself");
    }

    /// Invariant 11: neither a workload's certificate nor an issuer can be made to sign trust, nor the other way round.
    #[tokio::test]
    async fn a_trust_signer_is_nothing_else() {
        for (extension, rule) in [
            (Extension::extended_key_usage(false, &[oid::TRUST_SIGNING]), Rule::ExtendedKeyUsage),
            (
                Extension::extended_key_usage(true, &[oid::TRUST_SIGNING, oid::CLIENT_AUTH]),
                Rule::ExtendedKeyUsage,
            ),
            (
                Extension::extended_key_usage(true, &[oid::SERVER_AUTH, oid::CLIENT_AUTH]),
                Rule::ExtendedKeyUsage,
            ),
            (Extension::authority(Some(0)), Rule::BasicConstraints),
            (Extension::signs_certificates(), Rule::KeyUsage),
            (Extension::trust_epoch(8), Rule::TrustEpoch),
            (Extension::names("spiffe://prod.example/payments", &[], &[]), Rule::SpiffeId),
        ] {
            assert_eq!(exchanged(TRUST, extension.clone()).await, Some(rule), "{extension:02x?}");
        }
    }
}
