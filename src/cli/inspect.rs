//! `inspect`: a certificate file or a live endpoint, explained.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign_api::{Bundle, Invitation, InvitationError};
use countersign_identity::{Timestamp, hex};
use countersign_verifier::{certificates_from_pem, provider};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::{
    CliError, Output,
    certificate::CertificateFacts,
    endpoint::{HostPort, Met},
    keystore,
    own::Own,
    trust_file::{self, SnapshotFacts},
    verdict::{self, Finding, Roots},
};

/// Explain a certificate file, a trust snapshot, a live TLS endpoint or an invitation: chain, identity, times, what would
/// fail and why.
///
/// A file may hold certificates (PEM or DER), a SPIFFE bundle, a trust snapshot as `bundle export` writes it, or an
/// invitation; private keys in it are mentioned and never shown, and of a PKCS#12 file only how it is protected. Exit
/// code 0 says that it could be read, not that all is well.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A file, the HOST:PORT of a TLS endpoint, or an invitation, csinv1_….
    #[arg(value_name = "FILE|HOST:PORT|INVITATION")]
    target: String,

    /// The roots to judge by, PEM. Default: bundle.pem beside the file, else what comes with the chain.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Handshake with the certificate in this directory, as `countersign-agent enroll` left it, and say what becomes of it.
    /// Default: show no certificate.
    #[arg(long = "as", value_name = "DIR")]
    own: Option<PathBuf>,

    /// With --as: what to ask for over HTTP after the handshake, to see what the service's policy says.
    #[arg(long, value_name = "PATH", default_value = "/", requires = "own")]
    path: String,

    /// Judge as of this moment, such as 2027-01-01T00:00:00Z. Default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// How every invitation begins.
const INVITATION: &str = "csinv1_";

pub(crate) fn run(args: InspectArgs, out: &Output) -> Result<(), CliError> {
    let now = args.at.unwrap_or_else(|| out.now());
    // Whatever else is wrong with it: what holds a secret is not repeated (invariant 8).
    if args.target.contains(INVITATION) {
        show_invitation(&args.target.parse::<Invitation>().map_err(CliError::refused)?, out);
        return Ok(());
    }
    let file = Path::new(&args.target);
    if file.exists() {
        return inspect_file(&args, file, now, out);
    }
    let Ok(endpoint) = args.target.parse::<HostPort>() else {
        // What is no place may be a secret, and is not shown.
        if args.target.starts_with(countersign_api::API_KEY_PREFIX) {
            return Err(CliError::refused("an API key says nothing of itself")
                .hint("countersign keys list shows what is known of it, by the id in it"));
        }
        return Err(CliError::refused(format_args!("{} is no file, and no HOST:PORT", args.target)));
    };
    inspect_endpoint(&args, &endpoint, now, out)
}

fn inspect_file(args: &InspectArgs, file: &Path, now: Timestamp, out: &Output) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::failed(format_args!("cannot read {}: {error}", file.display()))
    };
    let content = zeroize::Zeroizing::new(std::fs::read(file).map_err(|error| failed(&error))?);
    if let Some(text) = std::str::from_utf8(&content).ok().filter(|text| text.trim().starts_with(INVITATION))
    {
        let invitation = text.parse().map_err(|error: InvitationError| {
            CliError::refused(format_args!("{}: {error}", file.display()))
        })?;
        show_invitation(&invitation, out);
        return Ok(());
    }
    let roots = || match args.bundle.as_deref() {
        Some(bundle) => read_roots(bundle),
        None => beside(file).map_or(Ok(Roots::Own), |bundle| read_roots(&bundle)),
    };
    if trust_file::is_one(&content) {
        let (facts, findings) = trust_file::read(&content, &roots()?, now).map_err(|error| failed(&error))?;
        show_snapshot(&facts, &findings, now, out);
        return Ok(());
    }
    let (chain, asides) = certificates(&content).map_err(|error| failed(&error))?;
    if chain.is_empty() && !asides.is_empty() {
        show(&Report { asides, ..Report::default() }, now, out);
        return Ok(());
    }
    let facts = read_all(&chain)?;
    let findings = verdict::judge(&chain, &facts, &roots()?, now);
    show(&Report { facts, asides, findings, tls: Value::Null }, now, out);
    Ok(())
}

fn inspect_endpoint(
    args: &InspectArgs,
    endpoint: &HostPort,
    now: Timestamp,
    out: &Output,
) -> Result<(), CliError> {
    let own = args.own.as_deref().map(Own::read).transpose()?;
    let met = match &own {
        Some(own) => own.meet(endpoint)?,
        None => endpoint.meet(provider())?,
    };
    let facts = read_all(&met.chain)?;
    let roots = match (args.bundle.as_deref(), &own) {
        (Some(bundle), _) => read_roots(bundle)?,
        (None, Some(own)) => Roots::Given(own.roots.clone(), "your own roots".to_owned()),
        (None, None) => Roots::Own,
    };
    let mut findings = verdict::judge(&met.chain, &facts, &roots, now);
    findings.extend(facts.first().map(|leaf| verdict::named(leaf, endpoint.host())));
    findings.push(quantum(&met.group));
    let tls = connection(&met);
    findings.extend(own.map(|own| own.findings(met, &args.path, now)).unwrap_or_default());
    show(&Report { facts, findings, tls, asides: Vec::new() }, now, out);
    Ok(())
}

fn connection(met: &Met) -> Value {
    json!({
        "version": "TLS 1.3",
        "group": met.group,
        "suite": met.suite,
        "client_certificate": if met.asks_for_certificate { "asked for" } else { "not asked for" },
    })
}

fn quantum(group: &str) -> Finding {
    if group.to_ascii_uppercase().contains("MLKEM") {
        Finding::good(format!("the key exchange {group} also holds against a quantum computer of tomorrow"))
    } else {
        Finding::bad(format!(
            "the key exchange {group} is not post-quantum: what is recorded today may be read one day"
        ))
    }
}

#[derive(Default)]
struct Report {
    facts: Vec<CertificateFacts>,
    /// What else the file holds, in words.
    asides: Vec<String>,
    findings: Vec<Finding>,
    tls: Value,
}

fn show(report: &Report, now: Timestamp, out: &Output) {
    if out.is_json() {
        out.json(&json!({
            "certificates": report.facts,
            "also": report.asides,
            "findings": report.findings,
            "tls": report.tls,
        }));
        return;
    }
    if let Some(tls) = report.tls.as_object() {
        out.heading("connection");
        for (name, value) in tls {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.field(&name.replace('_', " "), text);
        }
    }
    for facts in &report.facts {
        facts.show(out, now);
        out.line("");
    }
    for aside in &report.asides {
        let also = if report.facts.is_empty() { "" } else { "also " };
        out.line(format_args!("The file {also}holds {aside}."));
    }
    show_verdict(&report.findings, out);
}

fn show_verdict(findings: &[Finding], out: &Output) {
    if !findings.is_empty() {
        out.heading("verdict");
    }
    for finding in findings {
        if finding.holds { out.success(&finding.text) } else { out.failure(&finding.text) }
    }
}

fn show_snapshot(facts: &SnapshotFacts, findings: &[Finding], now: Timestamp, out: &Output) {
    if out.is_json() {
        out.json(&json!({ "trust_snapshot": facts, "findings": findings }));
        return;
    }
    facts.show(out, now);
    show_verdict(findings, out);
}

/// Everything but the secret (invariant 8).
fn show_invitation(invitation: &Invitation, out: &Output) {
    let root = hex::encode(&invitation.root_sha256);
    if out.is_json() {
        out.json(&json!({
            "invitation": { "url": invitation.url, "trust_domain": invitation.trust_domain, "root_sha256": root },
        }));
        return;
    }
    out.heading("invitation");
    out.field("CA", &invitation.url);
    out.field("trust domain", &invitation.trust_domain);
    out.field("root SHA-256", root);
    out.line("Its secret is not shown. Whether it can still be redeemed, only the CA knows.");
}

fn read_all(chain: &[CertificateDer<'_>]) -> Result<Vec<CertificateFacts>, CliError> {
    let read = |(n, der): (usize, &CertificateDer<'_>)| {
        CertificateFacts::read(der)
            .map_err(|why| CliError::refused(format_args!("certificate {}: {why}", n + 1)))
    };
    chain.iter().enumerate().map(read).collect()
}

fn read_roots(bundle: &Path) -> Result<Roots, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::failed(format_args!("cannot read {}: {error}", bundle.display()))
    };
    let content = std::fs::read(bundle).map_err(|error| failed(&error))?;
    let (roots, _) = certificates(&content).map_err(|error| failed(&error))?;
    Ok(Roots::Given(roots, format!("the roots in {}", bundle.display())))
}

/// `bundle.pem` in the same directory, as `enroll` leaves it.
fn beside(file: &Path) -> Option<PathBuf> {
    let bundle = file.with_file_name("bundle.pem");
    (bundle.is_file() && file.file_name() != bundle.file_name()).then_some(bundle)
}

/// The certificates of a file, and in words what else it holds.
fn certificates(content: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Vec<String>), String> {
    if content.starts_with(b"{") {
        let bundle: Bundle =
            serde_json::from_slice(content).map_err(|error| format!("no SPIFFE bundle: {error}"))?;
        return Ok((from_bundle(&bundle)?, Vec::new()));
    }
    let text = String::from_utf8_lossy(content);
    let labels: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .collect();
    if labels.is_empty() {
        return Ok(match private_key(content) {
            Some(what) => (Vec::new(), vec![what.to_owned()]),
            None if keystore::is_one(content) => (Vec::new(), vec![keystore::in_words(content)]),
            // DER of a certificate begins with a SEQUENCE.
            None if content.first() == Some(&0x30) => {
                (vec![CertificateDer::from(content.to_vec())], Vec::new())
            }
            None => return Err("it holds neither PEM nor DER, no SPIFFE bundle and no invitation".to_owned()),
        });
    }
    let asides = labels.iter().filter(|label| **label != "CERTIFICATE").map(|label| aside(label)).collect();
    if !labels.contains(&"CERTIFICATE") {
        return Ok((Vec::new(), asides));
    }
    Ok((certificates_from_pem(content).map_err(|error| error.to_string())?, asides))
}

fn from_bundle(bundle: &Bundle) -> Result<Vec<CertificateDer<'static>>, String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let texts = bundle.keys.iter().filter_map(|key| key.x5c.as_ref()?.first());
    texts
        .map(|text| {
            STANDARD
                .decode(text)
                .map(CertificateDer::from)
                .map_err(|error| format!("x5c is no base64: {error}"))
        })
        .collect()
}

fn aside(label: &str) -> String {
    match label {
        "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => {
            "a private key, not encrypted (it is not shown)".to_owned()
        }
        "ENCRYPTED PRIVATE KEY" => "an encrypted private key (it is not shown)".to_owned(),
        "CERTIFICATE REQUEST" => "a certificate signing request".to_owned(),
        "PUBLIC KEY" => "a public key".to_owned(),
        other => format!("a PEM block {other:?}"),
    }
}

/// DER that is a key and no certificate.
fn private_key(der: &[u8]) -> Option<&'static str> {
    let plain = pkcs8::PrivateKeyInfoRef::try_from(der).is_ok();
    let sealed = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der).is_ok();
    match (plain, sealed) {
        (true, _) => Some("a private key, not encrypted (it is not shown)"),
        (_, true) => Some("an encrypted private key (it is not shown)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_mentioned_and_never_a_certificate() {
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let (chain, asides) = certificates(pem.as_bytes()).unwrap();
        assert!(chain.is_empty());
        assert_eq!(asides, ["a private key, not encrypted (it is not shown)"]);
    }

    #[test]
    fn a_file_of_another_kind_is_refused_by_name() {
        assert!(certificates(b"root:x:0:0").unwrap_err().contains("neither PEM nor DER"));
    }

    #[test]
    fn a_post_quantum_key_exchange_is_told_apart() {
        assert!(quantum("X25519MLKEM768").holds);
        assert!(!quantum("X25519").holds);
    }
}
