//! Verifies one case a line: JSON on standard input, JSON on standard output. Path validation suites drive it.
//!
//! `verify-jsonl` judges client SVIDs; `verify-jsonl --mode path` judges paths alone, whatever the leaf.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use countersign_identity::{Clock, ManualClock, Timestamp, TrustBundle, TrustDomain};
use countersign_verifier::{
    PathVerifier, SvidVerifier, SystemClock, TrustStore, Usage, certificates_from_pem, provider,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

type Fault = Box<dyn Error>;

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verify = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--mode", "svid"] => svid,
        ["--mode", "path"] => path,
        other => return Err(format!("found {other:?}, expected nothing or `--mode svid|path`").into()),
    };
    let mut answers = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let (result, spiffe_id, context) = match verify(&case) {
            Ok(spiffe_id) => ("SUCCESS", spiffe_id, String::new()),
            Err(fault) => ("FAILURE", None, fault.to_string()),
        };
        let answer =
            json!({ "id": case["id"], "result": result, "spiffe_id": spiffe_id, "context": context });
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    Ok(())
}

/// Judges a client SVID, and says whose it is.
fn svid(case: &Value) -> Result<Option<String>, Fault> {
    let mut verifier = SvidVerifier::new(provider(), Arc::new(bundles(case)?), clock(case)?);
    if let Some(limit) = case["max_chain_depth"].as_u64() {
        verifier = verifier.with_depth_limit(usize::try_from(limit)?);
    }
    let peer = verifier.verify(&chain(case)?, Usage::Client)?;
    Ok(Some(peer.spiffe_id().to_string()))
}

/// Judges a path.
fn path(case: &Value) -> Result<Option<String>, Fault> {
    let roots = certificates(&case["trusted_certs"])?;
    let verifier = PathVerifier::new(provider(), &roots, clock(case)?)?;
    verifier.verify(&chain(case)?)?;
    Ok(None)
}

/// The bundles of the case; a root that may not be one is left out, as by an operator who reads the error.
fn bundles(case: &Value) -> Result<TrustStore, Fault> {
    let single = json!({ case["trust_domain"].as_str().unwrap_or_default(): case["trusted_certs"] });
    let named = match &case["bundles"] {
        Value::Object(bundles) if !bundles.is_empty() => bundles,
        _ => single.as_object().ok_or("no bundle")?,
    };
    let mut good = Vec::new();
    for (name, pems) in named {
        let trust_domain: TrustDomain = name.parse()?;
        let roots = certificates(pems)?.into_iter().map(|root| root.to_vec());
        let bundle = |roots| TrustBundle::new(trust_domain.clone(), roots);
        let roots = roots.filter(|root| TrustStore::new([bundle(vec![root.clone()])]).is_ok()).collect();
        good.push(bundle(roots));
    }
    Ok(TrustStore::new(good)?)
}

fn chain(case: &Value) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let mut chain = certificates(&json!([case["peer_certificate"]]))?;
    chain.extend(certificates(&case["untrusted_intermediates"])?);
    Ok(chain)
}

fn certificates(pems: &Value) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let mut found = Vec::new();
    for pem in pems.as_array().into_iter().flatten().filter_map(Value::as_str) {
        found.extend(certificates_from_pem(pem.as_bytes())?);
    }
    Ok(found)
}

/// The time of the case, or of the machine where it names none.
fn clock(case: &Value) -> Result<Arc<dyn Clock>, Fault> {
    match case["validation_time"].as_str() {
        Some(time) => Ok(Arc::new(ManualClock::new(time.parse::<Timestamp>()?))),
        None => Ok(Arc::new(SystemClock)),
    }
}
