//! What came back, looked at once nothing is measured any more.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use countersign_api::{CertificateResponse, Problem};
use countersign_bench::{IdentityFile, pem};

use crate::load::Done;

/// One in this many certificates is verified by openssl.
const ONE_IN: usize = 1000;

/// The verdict on a run.
#[derive(Default)]
pub(crate) struct Verdict {
    /// Certificates that carry the key asked for.
    pub(crate) issued: usize,
    /// Of these, how many another implementation accepted.
    pub(crate) verified: usize,
    /// Everything else, by problem code, status or error.
    pub(crate) refused: BTreeMap<String, usize>,
}

/// Judges every answer and hands each identity its newest certificate.
pub(crate) fn judge(done: &[Done], file: &mut IdentityFile) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for one in done {
        match chain_of(one) {
            Ok(chain) => {
                let leaf = pem::certificates(&chain)?;
                let leaf = leaf.first().context("an empty chain")?;
                ensure!(contains(leaf, &one.proposal.spki()), "a certificate came back with another key");
                if verdict.issued.is_multiple_of(ONE_IN) {
                    openssl_verify(&file.root, &chain)?;
                    verdict.verified += 1;
                }
                verdict.issued += 1;
                let identity =
                    file.identities.get_mut(one.identity).context("an identity of another file")?;
                (identity.chain, identity.key) = (chain, one.proposal.key_pem());
            }
            Err(why) => *verdict.refused.entry(why).or_default() += 1,
        }
    }
    Ok(verdict)
}

fn chain_of(one: &Done) -> Result<String, String> {
    let answer = one.answer.as_ref().map_err(|error| format!("{error:#}"))?;
    if !answer.status.is_success() {
        let problem = serde_json::from_slice::<Problem>(&answer.body);
        return Err(problem.map_or_else(|_| answer.status.to_string(), |p| p.code));
    }
    serde_json::from_slice::<CertificateResponse>(&answer.body).map(|r| r.chain).map_err(|e| e.to_string())
}

fn contains(der: &[u8], part: &[u8]) -> bool {
    der.windows(part.len()).any(|window| window == part)
}

fn openssl_verify(root: &str, chain: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = |name: &str, text: &str| -> Result<_> {
        let path = dir.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let (root, chain) = (place("root.pem", root)?, place("chain.pem", chain)?);
    let verify = |purpose: &str| verify_for(purpose, &root, &chain);
    verify("sslclient")?;
    verify("sslserver")
}

/// openssl takes the first certificate of `chain` as the leaf and the rest as helpers.
fn verify_for(purpose: &str, root: &Path, chain: &Path) -> Result<()> {
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
        .args([root.as_os_str(), "-untrusted".as_ref(), chain.as_os_str(), chain.as_os_str()])
        .output()
        .context("cannot run openssl")?;
    ensure!(
        output.status.success(),
        "openssl refuses a certificate: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
