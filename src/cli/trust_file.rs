//! A trust snapshot in a file, as `bundle export` writes it: what it says, and what a verifier would say of it.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_api::trust::{IssuersPart, PartRef, RevokedPart, TrustPayload};
use countersign_identity::{Timestamp, TrustBundle, TrustDomain, duration, hex};
use countersign_verifier::{HardLimit, Parts, SnapshotFile, Trusted, provider};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Output,
    certificate::CertificateFacts,
    verdict::{Finding, Roots},
};

/// What a snapshot says, whatever it is worth.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotFacts {
    #[serde(flatten)]
    says: TrustPayload,
    /// Who signed it, if the certificate that came with it can be read.
    signer: Option<CertificateFacts>,
    /// The issuers that certificates may be under.
    trusted_issuers: Vec<CertificateFacts>,
    /// What it counts of each kind.
    counts: Counts,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    serials: usize,
    lineages: usize,
    identities: usize,
    api_keys: usize,
    tokens: usize,
    token_keys: usize,
}

/// Whether a file is one; nothing in it is read for that.
pub(crate) fn is_one(content: &[u8]) -> bool {
    serde_json::from_slice::<Value>(content).is_ok_and(|file| file.get("countersign_trust").is_some())
}

/// What a file says, and what holds of it by `roots` at `now`.
///
/// # Errors
/// In words, when it is no snapshot.
pub(crate) fn read(
    content: &[u8],
    roots: &Roots,
    now: Timestamp,
) -> Result<(SnapshotFacts, Vec<Finding>), String> {
    let file = SnapshotFile::read(content).map_err(|fault| fault.to_string())?;
    let says = payload_of(file.jws()).ok_or("its payload is not that of a trust snapshot")?;
    let signer = header_of(file.jws()).and_then(|der| CertificateFacts::read(&der).ok());
    let issuers: IssuersPart = part(file.parts(), &says.issuers.sha256).unwrap_or_default();
    let issuers = issuers.issuers.iter().filter_map(|one| STANDARD.decode(one).ok());
    let trusted_issuers = issuers.filter_map(|der| CertificateFacts::read(&der).ok()).collect();
    let counts = Counts::of(&says, file.parts());
    let mut findings = believed(&says, &file, roots, now);
    findings.extend(fresh(&says, now));
    Ok((SnapshotFacts { says, signer, trusted_issuers, counts }, findings))
}

impl Counts {
    fn of(says: &TrustPayload, parts: &Parts) -> Self {
        let mut counts = Self::default();
        for revoked in says.revoked.iter().filter_map(|of| part::<RevokedPart>(parts, &of.sha256).ok()) {
            counts.serials += revoked.serials.iter().map(|one| one.entries.len()).sum::<usize>();
            counts.lineages += revoked.lineages.len();
            counts.identities += revoked.subjects.len();
            counts.api_keys += revoked.api_keys.len();
            counts.tokens += revoked.token_ids.len();
        }
        let keys = part::<Value>(parts, &says.token_keys.sha256).unwrap_or_default();
        counts.token_keys = keys.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
        counts
    }

    fn in_words(&self) -> String {
        let Self { serials, lineages, identities, api_keys, tokens, .. } = self;
        format!(
            "certificates: {serials}, lineages: {lineages}, identities: {identities}, API keys: {api_keys}, tokens: {tokens}"
        )
    }
}

impl SnapshotFacts {
    pub(crate) fn show(&self, out: &Output, now: Timestamp) {
        let says = &self.says;
        out.heading("trust snapshot");
        out.field("trust domain", &says.trust_domain);
        out.field("epoch, sequence", format_args!("{}, {}", says.epoch, says.sequence));
        out.field("issued", out.when(&says.issued));
        out.field("fresh until", out.when(&says.expires));
        out.field("roots documents", says.roots.len());
        out.field("revoked", self.counts.in_words());
        out.field("token keys", self.counts.token_keys);
        let policy = says.policy.sha256.get(..12).unwrap_or(&says.policy.sha256);
        out.field("policy", format_args!("{policy}…, {} octets", says.policy.size));
        out.field(
            "parts",
            format_args!("{} named, {} octets", says.parts().count(), octets_of(says.parts())),
        );
        out.line("");
        if let Some(signer) = &self.signer {
            signer.show(out, now);
            out.line("");
        }
        for issuer in &self.trusted_issuers {
            out.line(format_args!("It trusts the issuer {}, until {}.", issuer.serial, issuer.not_after));
        }
    }
}

fn octets_of<'a>(parts: impl Iterator<Item = &'a PartRef>) -> u64 {
    // What nobody has believed yet may say anything.
    parts.fold(0, |sum, part| sum.saturating_add(part.size))
}

/// The verifier's word: who signed it, and whether its parts are the ones that were signed.
fn believed(says: &TrustPayload, file: &SnapshotFile, roots: &Roots, now: Timestamp) -> Vec<Finding> {
    let Ok(trust_domain) = says.trust_domain.parse::<TrustDomain>() else {
        return vec![Finding::bad(format!("{:?} is no trust domain", says.trust_domain))];
    };
    let (anchors, whose) = match roots {
        Roots::Given(roots, whose) => (roots.iter().map(|root| root.to_vec()).collect(), whose.clone()),
        Roots::Own => (
            first_roots(says).unwrap_or_default(),
            "the roots that it brings itself (whether they are the right ones, only you can tell: --bundle FILE)"
                .to_owned(),
        ),
    };
    let trusted = Trusted::anchored(TrustBundle::new(trust_domain, anchors));
    let judged = match trusted.judge(file.jws(), now, &provider()) {
        Ok(judged) => judged,
        Err(fault) => return vec![Finding::bad(format!("a verifier refuses it under {whose}: {fault}"))],
    };
    let signed = Finding::good(format!("its signer is certified and its signature verifies under {whose}"));
    match judged.complete(None, file.parts(), &provider()) {
        Ok(_) => vec![signed, Finding::good("every part is there, and is the one that was signed")],
        Err(fault) => vec![signed, Finding::bad(format!("a verifier takes nothing of it: {fault}"))],
    }
}

/// How old it is: past one time services say so, past the other they let nobody in.
fn fresh(says: &TrustPayload, now: Timestamp) -> Option<Finding> {
    let (issued, expires): (Timestamp, Timestamp) = (says.issued.parse().ok()?, says.expires.parse().ok()?);
    let end = HardLimit::default().end(issued);
    Some(if now <= expires {
        Finding::good(format!("it is fresh until {expires}"))
    } else if now <= end {
        let since = duration::format(now.since(expires));
        Finding::bad(format!("it has been stale for {since}: services go on with it by default until {end}"))
    } else {
        Finding::bad(format!(
            "it was issued at {issued}: by default services let nobody in with it since {end}"
        ))
    })
}

/// The roots of the first document that it brings, as the document says.
fn first_roots(says: &TrustPayload) -> Option<Vec<Vec<u8>>> {
    let payload = says.roots.first()?.get("payload")?.as_str()?;
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let roots = payload.get("roots")?.as_array()?;
    roots.iter().map(|root| STANDARD.decode(root.as_str()?).ok()).collect()
}

/// The certificate that came with a snapshot, DER.
fn header_of(jws: &[u8]) -> Option<Vec<u8>> {
    let header: Value = segment(jws, 0)?;
    STANDARD.decode(header.get("x5c")?.get(0)?.as_str()?).ok()
}

/// What a snapshot says, before it is believed.
pub(crate) fn payload_of(jws: &[u8]) -> Option<TrustPayload> {
    segment(jws, 1)
}

fn segment<T: DeserializeOwned>(jws: &[u8], number: usize) -> Option<T> {
    let segment = jws.split(|octet| *octet == b'.').nth(number)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
}

/// A part that is JSON.
///
/// # Errors
/// In words, when it is not there or cannot be read.
pub(crate) fn part<T: DeserializeOwned>(parts: &Parts, sha256: &str) -> Result<T, String> {
    serde_json::from_slice(octets(parts, sha256)?).map_err(|error| error.to_string())
}

/// A part.
///
/// # Errors
/// In words, when it is not there.
pub(crate) fn octets<'a>(parts: &'a Parts, sha256: &str) -> Result<&'a Vec<u8>, String> {
    let digest = hex::decode(sha256).ok().and_then(|digest| <[u8; 32]>::try_from(digest).ok());
    digest.and_then(|digest| parts.get(&digest)).ok_or_else(|| format!("it lacks the part {sha256}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_file_can_have_are_summed_up_all_the_same() {
        let part = |size| PartRef { sha256: String::new(), size };
        assert_eq!(octets_of([part(2), part(3)].iter()), 5);
        assert_eq!(octets_of([part(u64::MAX), part(1)].iter()), u64::MAX);
    }
}
