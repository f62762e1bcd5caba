//! Verifies one case a line: JSON on standard input, JSON on standard output. Path validation suites drive it.
//!
//! `verify-jsonl` judges client SVIDs; `verify-jsonl --mode path` judges paths alone, whatever the leaf.

#![expect(clippy::indexing_slicing, reason = "a JSON value indexed by a name it lacks is null")]

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use countersign_identity::{Clock, ManualClock, Timestamp, TrustBundle, TrustDomain};
use countersign_verifier::{
    CrlFault, CrlStore, PathVerifier, SvidVerifier, SystemClock, TrustStore, Usage, certificates_from_pem,
    crls_from_pem, provider,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

type Fault = Box<dyn Error>;

/// Judges a case with these revocation lists, and says whose certificate it is.
type Judge = fn(&Value, Option<CrlStore>) -> Result<Option<String>, Fault>;

/// An object identifier, encoded, and what it stands for.
type Foreign = (&'static [u8], &'static str);

/// What is said of a case that is not refused.
enum Answer {
    Good(Option<String>),
    Skipped(&'static str),
}

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (judge, foreign): (Judge, &[Foreign]) =
        match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] | ["--mode", "svid"] => (svid, &[]),
            ["--mode", "path"] => (path, &FOREIGN),
            other => return Err(format!("found {other:?}, expected nothing or `--mode svid|path`").into()),
        };
    let mut answers = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let (result, spiffe_id, context) = match answer(judge, foreign, &case) {
            Ok(Answer::Good(spiffe_id)) => ("SUCCESS", spiffe_id, String::new()),
            Ok(Answer::Skipped(why)) => ("SKIPPED", None, why.to_owned()),
            Err(fault) => ("FAILURE", None, fault.to_string()),
        };
        let answer =
            json!({ "id": case["id"], "result": result, "spiffe_id": spiffe_id, "context": context });
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    Ok(())
}

/// The verdict on a case, unless it is about something this verifier does not have.
fn answer(judge: Judge, foreign: &[Foreign], case: &Value) -> Result<Answer, Fault> {
    let certificates = everything(case)?;
    if let Some((_, what)) = foreign.iter().find(|(oid, _)| certificates.iter().any(|der| mentions(der, oid)))
    {
        return Ok(Answer::Skipped(what));
    }
    let lists = case["crls"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let lists = lists.map(|pem| crls_from_pem(pem.as_bytes())).collect::<Result<Vec<_>, _>>()?.concat();
    if lists.is_empty() {
        return judge(case, None).map(Answer::Good);
    }
    let (store, left_out) = CrlStore::load(&lists, &certificates, &provider(), clock(case)?.now());
    for one in &left_out {
        match one.fault {
            CrlFault::Indirect => return Ok(Answer::Skipped("indirect revocation lists")),
            CrlFault::Delta => return Ok(Answer::Skipped("delta revocation lists")),
            _ => {}
        }
    }
    let left_out: String = left_out.iter().map(|one| format!("; revocation list {one}")).collect();
    // Who hands out lists wants every certificate to be spoken for.
    let verdict = judge(case, Some(store.required()));
    verdict.map(Answer::Good).map_err(|fault| format!("{fault}{left_out}").into())
}

/// What paths of SVIDs never have to do with; a case that is about it says nothing about this verifier.
const FOREIGN: [Foreign; 5] = [
    (&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "DSA"),
    (&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3], "DSA"),
    (&[6, 3, 0x55, 0x1d, 33], "policy trees: policyMappings"),
    (&[6, 3, 0x55, 0x1d, 36], "policy trees: policyConstraints"),
    (&[6, 3, 0x55, 0x1d, 54], "policy trees: inhibitAnyPolicy"),
];

fn mentions(der: &[u8], oid: &[u8]) -> bool {
    der.windows(oid.len()).any(|window| window == oid)
}

fn everything(case: &Value) -> Result<Vec<CertificateDer<'static>>, Fault> {
    Ok([certificates(&case["trusted_certs"])?, chain(case)?].concat())
}

/// Judges a client SVID.
fn svid(case: &Value, lists: Option<CrlStore>) -> Result<Option<String>, Fault> {
    let mut verifier = SvidVerifier::new(provider(), Arc::new(bundles(case)?), clock(case)?);
    if let Some(limit) = case["max_chain_depth"].as_u64() {
        verifier = verifier.with_depth_limit(usize::try_from(limit)?);
    }
    if let Some(lists) = lists {
        verifier = verifier.with_revocation(Arc::new(lists));
    }
    let peer = verifier.verify(&chain(case)?, Usage::Client)?;
    Ok(Some(peer.spiffe_id().to_string()))
}

/// Judges a path.
fn path(case: &Value, lists: Option<CrlStore>) -> Result<Option<String>, Fault> {
    let roots = certificates(&case["trusted_certs"])?;
    let mut verifier = PathVerifier::new(provider(), &roots, clock(case)?)?;
    if let Some(lists) = lists {
        verifier = verifier.with_revocation(Arc::new(lists));
    }
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
