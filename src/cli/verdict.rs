//! What a verifier would say of a chain, and what other programs would stumble over.

use std::{net::IpAddr, sync::Arc};

use countersign_identity::{ManualClock, SpiffeId, Timestamp, TrustBundle};
use countersign_verifier::{SvidVerifier, TrustStore, Usage, provider};
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use super::certificate::CertificateFacts;

/// One thing that holds, or would fail.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// Whether it holds.
    pub(crate) holds: bool,
    /// What was found, and if it fails, why.
    pub(crate) text: String,
}

/// Which certificates are taken for roots.
#[derive(Clone, Debug)]
pub(crate) enum Roots {
    /// The caller named them; where from, in words.
    Given(Vec<CertificateDer<'static>>, String),
    /// Nobody did: what comes with the chain must do, and is said so.
    Own,
}

impl Finding {
    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self { holds: true, text: text.into() }
    }

    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self { holds: false, text: text.into() }
    }
}

/// Judges a chain, leaf first, as of `now`.
pub(crate) fn judge(
    chain: &[CertificateDer<'static>],
    facts: &[CertificateFacts],
    roots: &Roots,
    now: Timestamp,
) -> Vec<Finding> {
    let Some(leaf) = facts.first() else { return vec![Finding::bad("there is no certificate")] };
    let mut findings = Vec::new();
    if leaf.ca {
        findings.push(Finding::good(format!(
            "the first certificate is a {}: it signs others and authenticates nobody",
            leaf.role
        )));
        findings.extend(facts.iter().map(|facts| in_time(facts, now)));
        return findings;
    }
    let (anchors, whose) = anchors(chain, facts, roots);
    if anchors.is_empty() {
        findings.push(in_time(leaf, now));
        findings.push(Finding::bad(
            "no root is at hand, so the signatures were not checked; name one with --bundle FILE",
        ));
        return findings;
    }
    findings.extend(usage_findings(chain, leaf, anchors, &whose, now));
    findings.extend(disorder(facts));
    findings
}

/// The verifier's word for both directions, once where both are the same.
fn usage_findings(
    chain: &[CertificateDer<'static>],
    leaf: &CertificateFacts,
    anchors: Vec<CertificateDer<'static>>,
    whose: &str,
    now: Timestamp,
) -> Vec<Finding> {
    let verdicts =
        [Usage::Client, Usage::Server].map(|usage| verdict(chain, leaf, anchors.clone(), usage, now));
    match &verdicts {
        [Ok(id), Ok(_)] => {
            vec![Finding::good(format!(
                "a verifier accepts it as {id}, as client and as server, under {whose}"
            ))]
        }
        [Err(one), Err(other)] if one == other => {
            vec![Finding::bad(format!("a verifier refuses it under {whose}: {one}"))]
        }
        both => both
            .iter()
            .zip(["client", "server"])
            .map(|(verdict, side)| match verdict {
                Ok(id) => Finding::good(format!("a verifier accepts it as {id}, as {side}, under {whose}")),
                Err(why) => Finding::bad(format!("a verifier refuses it as {side} under {whose}: {why}")),
            })
            .collect(),
    }
}

/// What our own verifier says, in its words.
pub(crate) fn verdict(
    chain: &[CertificateDer<'static>],
    leaf: &CertificateFacts,
    roots: Vec<CertificateDer<'static>>,
    usage: Usage,
    now: Timestamp,
) -> Result<SpiffeId, String> {
    let domain =
        leaf.spiffe_id.as_deref().and_then(|id| id.parse::<SpiffeId>().ok()).map(|id| id.trust_domain());
    let bundle =
        domain.map(|domain| TrustBundle::new(domain, roots.iter().map(|root| root.to_vec()).collect()));
    let trust = TrustStore::new(bundle).map_err(|error| error.to_string())?;
    let verifier = SvidVerifier::new(provider(), Arc::new(trust), Arc::new(ManualClock::new(now)));
    verifier.verify(chain, usage).map(|peer| peer.spiffe_id().clone()).map_err(|refusal| refusal.to_string())
}

/// The certificates to start from, and in words whose they are.
fn anchors(
    chain: &[CertificateDer<'static>],
    facts: &[CertificateFacts],
    roots: &Roots,
) -> (Vec<CertificateDer<'static>>, String) {
    if let Roots::Given(roots, whose) = roots {
        return (roots.clone(), whose.clone());
    }
    let with = |wanted: &dyn Fn(&CertificateFacts) -> bool| -> Vec<_> {
        chain.iter().zip(facts).filter(|(_, facts)| wanted(facts)).map(|(der, _)| der.clone()).collect()
    };
    let own = with(&|facts| facts.ca && facts.is_self_issued());
    if !own.is_empty() {
        return (
            own,
            "the root that came with it (whether it is the right one, only you can tell)".to_owned(),
        );
    }
    let issuers = with(&|facts| facts.ca);
    (issuers, "the issuer that came with it (no root is at hand; name one with --bundle FILE)".to_owned())
}

fn in_time(facts: &CertificateFacts, now: Timestamp) -> Finding {
    let role = facts.role;
    if now < facts.not_before {
        Finding::bad(format!(
            "the {role} is not valid before {}",
            super::output::relative(facts.not_before, now)
        ))
    } else if now > facts.not_after {
        Finding::bad(format!("the {role} ended at {}", super::output::relative(facts.not_after, now)))
    } else {
        Finding::good(format!("the {role} is valid until {}", super::output::relative(facts.not_after, now)))
    }
}

/// Our verifier takes a chain in any order; nginx, Java and others do not (RFC 5246 §7.4.2).
fn disorder(facts: &[CertificateFacts]) -> Option<Finding> {
    let (below, above) =
        facts.iter().zip(facts.iter().skip(1)).find(|(below, above)| below.issuer != above.subject)?;
    Some(Finding::bad(format!(
        "the chain is out of order: after the certificate signed by {:?} comes {:?}; some programs refuse that",
        below.issuer, above.subject
    )))
}

/// Whether programs that go by host names find theirs in the certificate.
pub(crate) fn named(leaf: &CertificateFacts, host: &str) -> Finding {
    let address = host.parse::<IpAddr>();
    let found = match &address {
        Ok(address) => leaf.ip.contains(address),
        Err(_) => leaf.dns.iter().any(|dns| covers(dns, host)),
    };
    if found {
        Finding::good(format!("it names {host}, as curl and browsers ask"))
    } else {
        Finding::bad(format!(
            "it does not name {host}: curl and browsers refuse it; programs that go by SPIFFE IDs do not mind"
        ))
    }
}

/// RFC 6125 §6.4.3: a wildcard stands for the whole first label.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest)),
        None => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(covers("*.example", "a.example"));
        assert!(!covers("*.example", "a.b.example"));
        assert!(!covers("*.example", "example"));
        assert!(covers("A.example", "a.example"));
    }
}
