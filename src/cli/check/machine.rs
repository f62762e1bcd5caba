//! The checks of a machine's directory: files, key, time, and the CA it renews at.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use countersign_agent::{Dir, Identity};
use countersign_api::paths;
use countersign_identity::{Timestamp, ValidityState, duration};
use countersign_verifier::{Usage, certificates_from_pem, provider};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};

use super::{Findings, compare_clocks};
use crate::cli::{
    certificate::CertificateFacts,
    endpoint::{HostPort, Met, http_date},
    output::relative,
    verdict::verdict,
};

/// How to begin again in `dir`; only the invitation is left to fill in.
fn enroll_again(dir: &Path) -> String {
    format!(
        "enroll again with a new invitation: countersign-agent enroll --invitation INVITATION --dir {}",
        dir.display()
    )
}

fn renew(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "countersign-agent run --dir {dir} renews in time; countersign-agent renew --dir {dir} does it once"
    )
}

pub(super) fn check(dir: &Path, now: Timestamp, findings: &mut Findings) {
    let identity = match Dir::at(dir).identity() {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            return findings.failed(format!("nobody enrolled in {}", dir.display()), enroll_again(dir));
        }
        Err(error) => {
            let remedy = error.hint().map_or_else(|| enroll_again(dir), str::to_owned);
            return findings.failed(error.to_string(), remedy);
        }
    };
    findings.good(format!("{} is {} ({})", dir.display(), identity.spiffe_id(), identity.machine()));
    modes(dir, findings);
    links(dir, findings);
    times(dir, &identity, now, findings);
    last_attempt(dir, findings);
    let Some((chain, roots)) = certificates(dir, &identity, findings) else { return };
    key_matches(dir, &identity, &chain, findings);
    roots_pinned(dir, &identity, &roots, findings);
    accepted(dir, &chain, &roots, now, findings);
    authority(&identity, &roots, now, findings);
}

/// The names other programs are configured with.
fn links(dir: &Path, findings: &mut Findings) {
    let missing: Vec<_> = ["svid.pem", "svid.key", "bundle.pem", "svid-combined.pem"]
        .into_iter()
        .filter(|name| fs::metadata(dir.join(name)).is_err())
        .collect();
    if missing.is_empty() {
        findings.good("svid.pem, svid.key, bundle.pem and svid-combined.pem are there");
    } else {
        findings.failed(
            format!("{} cannot be read in {}", missing.join(", "), dir.display()),
            format!("renew once, which puts the links back: countersign-agent renew --dir {}", dir.display()),
        );
    }
}

/// Its owner alone; or, as the agent's configuration may say, a group that passes through the directory and reads the key.
fn modes(dir: &Path, findings: &mut Findings) {
    let key = dir.join("svid.key");
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    match (mode(dir), mode(&key)) {
        (Ok(home), Ok(file)) if (home | file) & 0o077 != 0 && home & 0o026 == 0 && file & 0o037 == 0 => {
            findings.warning(
                format!("{} is open to a group (mode {file:o}, in a directory of {home:o})", key.display()),
                "right if the agent's configuration says so (files.\"svid.key\"); else chmod 600 and 700",
            );
        }
        _ => findings.private(&[dir.to_owned(), key]),
    }
}

fn times(dir: &Path, identity: &Identity, now: Timestamp, findings: &mut Findings) {
    let validity = identity.validity();
    let window = identity.window();
    match validity.state(now) {
        ValidityState::Expired { by } => {
            findings.failed(
                format!("the certificate ended {} ago", duration::format(by)),
                format!(
                    "{}, which comes back within the profile's recovery; else {}",
                    renew(dir),
                    enroll_again(dir)
                ),
            );
        }
        ValidityState::NotYet { by } => findings.failed(
            format!("the certificate is not valid for another {}", duration::format(by)),
            "set this host's clock",
        ),
        ValidityState::Current if now > window.before => findings.warning(
            format!(
                "the certificate should have been renewed by {}; it ends {}",
                relative(window.before, now),
                relative(validity.not_after(), now)
            ),
            format!("is the agent running? {}", renew(dir)),
        ),
        ValidityState::Current => findings.good(format!(
            "the certificate is valid until {}, to be renewed from {}",
            relative(validity.not_after(), now),
            relative(window.after, now)
        )),
    }
}

fn last_attempt(dir: &Path, findings: &mut Findings) {
    let Ok(record) = Dir::at(dir).record() else { return };
    let Some(attempt) = record.last_attempt else { return };
    if let Some(error) = attempt.error {
        let remedy = attempt.hint.unwrap_or_else(|| renew(dir));
        findings.warning(format!("the last attempt, at {}, ended with: {error}", attempt.time), remedy);
    }
}

type Certificates = Vec<CertificateDer<'static>>;

fn certificates(
    dir: &Path,
    identity: &Identity,
    findings: &mut Findings,
) -> Option<(Certificates, Certificates)> {
    let read = |name: &str| -> Result<Certificates, String> {
        let path = identity.home().join(name);
        let text = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        certificates_from_pem(&text).map_err(|error| format!("{}: {error}", path.display()))
    };
    match read("svid.pem").and_then(|chain| Ok((chain, read("bundle.pem")?))) {
        Ok(both) => Some(both),
        Err(error) => {
            findings.failed(error, enroll_again(dir));
            None
        }
    }
}

fn key_matches(dir: &Path, identity: &Identity, chain: &[CertificateDer<'static>], findings: &mut Findings) {
    let path: PathBuf = identity.home().join("svid.key");
    let matching = PrivateKeyDer::from_pem_file(&path).map_err(|error| error.to_string()).and_then(|key| {
        CertifiedKey::from_der(chain.to_vec(), key, &provider()).map_err(|error| error.to_string())
    });
    match matching {
        Ok(_) => findings.good("the key belongs to the certificate"),
        Err(why) => {
            findings.failed(format!("the key does not belong to the certificate: {why}"), enroll_again(dir))
        }
    }
}

fn roots_pinned(dir: &Path, identity: &Identity, roots: &[CertificateDer<'static>], findings: &mut Findings) {
    let pin = identity.pin();
    // Since the enrollment, roots documents may have led to others.
    let believed = Dir::at(dir).roots(identity).unwrap_or_else(|_| vec![pin.root_sha256]);
    if roots.iter().any(|root| believed.contains(&Sha256::digest(root).into())) {
        let named = if believed.contains(&pin.root_sha256) {
            "the invitation named"
        } else {
            "roots documents led to from the one that the invitation named"
        };
        findings.good(format!("the bundle holds the root that {named}"));
    } else {
        findings.failed(
            format!("bundle.pem lacks the root that the invitation named (SHA-256 {})", pin.fingerprint()),
            enroll_again(dir),
        );
    }
}

/// What a service says when this machine calls it, and the other way round.
fn accepted(
    dir: &Path,
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    now: Timestamp,
    findings: &mut Findings,
) {
    let verdicts = chain.first().ok_or_else(|| "there is no certificate".to_owned()).and_then(|leaf| {
        let leaf = CertificateFacts::read(leaf)?;
        verdict(chain, &leaf, roots.to_vec(), Usage::Client, now)?;
        verdict(chain, &leaf, roots.to_vec(), Usage::Server, now)
    });
    match verdicts {
        Ok(_) => findings.good("others in the trust domain accept the certificate"),
        Err(why) => findings.failed(format!("others refuse the certificate: {why}"), renew(dir)),
    }
}

fn authority(
    identity: &Identity,
    roots: &[CertificateDer<'static>],
    now: Timestamp,
    findings: &mut Findings,
) {
    let url = identity.url();
    let ca = HostPort::new(url.host().to_owned(), url.port());
    let met = match ca.meet(provider()) {
        Ok(met) => met,
        Err(error) => {
            return findings.failed(
                error.to_string(),
                "is the CA running, and the way to it open (name, route, firewall)?",
            );
        }
    };
    match is_the_authority(identity, &met, roots, now) {
        Ok(()) => findings.good(format!("{url} is the CA ({})", met.group)),
        Err(why) => findings.failed(
            format!("{url} is not the CA this machine knows: {why}"),
            "does the name lead to the right host? is somebody in between?",
        ),
    }
    let date = met.get(paths::BUNDLE).and_then(|(_, date)| date).as_deref().and_then(http_date);
    if let Some(theirs) = date {
        compare_clocks(theirs, now, "the CA", findings);
    }
}

fn is_the_authority(
    identity: &Identity,
    met: &Met,
    roots: &[CertificateDer<'static>],
    now: Timestamp,
) -> Result<(), String> {
    let leaf = CertificateFacts::read(met.chain.first().ok_or("no certificate was shown")?)?;
    let id = verdict(&met.chain, &leaf, roots.to_vec(), Usage::Server, now)?;
    let expected = format!("{}/countersign/ca", identity.pin().trust_domain.id());
    if id.as_str() == expected { Ok(()) } else { Err(format!("it is {id}, expected {expected}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::State;

    #[test]
    fn an_empty_directory_fails_with_how_to_enroll() {
        let dir = tempfile::tempdir().unwrap();
        let mut findings = Findings::default();
        check(dir.path(), Timestamp::from_unix(0), &mut findings);
        assert_eq!(findings.0.len(), 1);
        assert_eq!(findings.0[0].state, State::Failed);
        assert!(findings.0[0].remedy.as_ref().unwrap().contains("countersign-agent enroll"));
    }
}
