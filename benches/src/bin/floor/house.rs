//! The files of a yardstick: root, issuer, server certificate and client identities.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use countersign_bench::{Identity, IdentityFile};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

const CLIENTS: &str = "identities.json";

/// What `serve` needs of a house.
pub(crate) struct House {
    pub(crate) root: String,
    pub(crate) issuer: String,
    pub(crate) issuer_key: String,
    pub(crate) server: String,
    pub(crate) server_key: String,
    pub(crate) names: Vec<String>,
}

/// Makes a house in `dir`.
pub(crate) fn init(dir: &Path, identities: usize) -> Result<()> {
    fs::create_dir_all(dir)?;
    let root = CertifiedIssuer::self_signed(authority("floor root", None), KeyPair::generate()?)?;
    let issuer = CertifiedIssuer::signed_by(authority("floor issuer", Some(0)), KeyPair::generate()?, &root)?;
    let write = |name: &str, text: String| fs::write(dir.join(name), text);
    write("root.pem", root.pem())?;
    write("issuer.pem", issuer.pem())?;
    write("issuer.key", issuer.key().serialize_pem())?;
    let server_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let (chain, key) = leaf(server_names, &issuer, &issuer.pem())?;
    write("server.pem", chain)?;
    write("server.key", key)?;
    let identities = (0..identities)
        .map(|n| {
            let spiffe_id = format!("spiffe://bench.example/bench/{n:06}");
            let (chain, key) =
                leaf(vec![SanType::URI(spiffe_id.as_str().try_into()?)], &issuer, &issuer.pem())?;
            Ok(Identity { spiffe_id, key, chain })
        })
        .collect::<Result<_>>()?;
    IdentityFile { root: root.pem(), identities }.save(&dir.join(CLIENTS))
}

/// Reads what `init` wrote.
pub(crate) fn open(dir: &Path) -> Result<House> {
    let read = |name: &str| {
        fs::read_to_string(dir.join(name)).with_context(|| format!("{name} missing: run `floor init` first"))
    };
    Ok(House {
        root: read("root.pem")?,
        issuer: read("issuer.pem")?,
        issuer_key: read("issuer.key")?,
        server: read("server.pem")?,
        server_key: read("server.key")?,
        names: IdentityFile::load(&dir.join(CLIENTS))?.identities.into_iter().map(|i| i.spiffe_id).collect(),
    })
}

fn params(name: Option<&str>, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::minutes(1);
    params.not_after = now + lifetime;
    params.use_authority_key_identifier_extension = true;
    params
}

fn authority(name: &str, path_length: Option<u8>) -> CertificateParams {
    let mut params = params(Some(name), Duration::days(7));
    params.is_ca =
        IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A chain and its key, PEM.
fn leaf(names: Vec<SanType>, issuer: &Issuer<'_, KeyPair>, issuer_pem: &str) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = params(None, Duration::days(1));
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem() + issuer_pem, key.serialize_pem()))
}
