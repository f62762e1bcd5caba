//! `inspect --as`: a handshake with a machine's own certificate, and in words what becomes of it.

use countersign_identity::{Timestamp, duration};
use countersign_verifier::Usage;
use rustls::AlertDescription;
use serde_json::Value;

use super::{
    certificate::CertificateFacts,
    endpoint::{Late, Met, http_date},
    own::Own,
    verdict::{Finding, verdict},
};

impl Own {
    /// What a service with the same roots thinks of this machine, before it is asked.
    fn own_finding(&self, now: Timestamp) -> Finding {
        match verdict(&self.chain, &self.leaf, self.roots.clone(), Usage::Client, now) {
            Ok(id) => {
                Finding::good(format!("your certificate is good for {id}, by your own bundle and clock"))
            }
            Err(why) => Finding::bad(format!("your certificate: {why}{}", remedy_of_time(&self.leaf, now))),
        }
    }

    /// What became of the handshake: whether the certificate was wanted, taken, and what the service says.
    pub(super) fn findings(&self, met: Met, path: &str, now: Timestamp) -> Vec<Finding> {
        let mut findings = vec![self.own_finding(now)];
        if !met.asks_for_certificate {
            findings.push(Finding::bad(
                "the server asks for no client certificate: it cannot know who you are. Its TLS settings must ask for one",
            ));
        }
        let asked = met.asks_for_certificate;
        match met.answer(path) {
            Err(Late::Alert(alert)) => findings.push(Finding::bad(refused(alert))),
            Err(Late::Broken(why)) => findings.push(Finding::bad(format!(
                "the connection ended after the handshake, without a word: {why}. Servers that check certificates late do that; their log says why"
            ))),
            Ok(answer) => findings.extend(said(&answer, asked, now)),
        }
        findings
    }
}

fn remedy_of_time(leaf: &CertificateFacts, now: Timestamp) -> String {
    if now > leaf.not_after {
        ". Renew it: countersign-agent renew --dir DIR; is `countersign-agent run` alive?".to_owned()
    } else if now < leaf.not_before {
        ". Compare this machine's clock with the CA's".to_owned()
    } else {
        String::new()
    }
}

/// A late refusal (RFC 8446 §6.2): with TLS 1.3 the client learns of it on its first read.
fn refused(alert: AlertDescription) -> String {
    let (why, remedy) = match alert {
        AlertDescription::CertificateRequired => {
            ("it wants a client certificate and saw none", "give --as a directory with svid.pem and svid.key")
        }
        AlertDescription::CertificateExpired => {
            ("it finds your certificate expired or not yet valid", "compare the clocks on both sides; renew")
        }
        AlertDescription::CertificateRevoked => (
            "your certificate, machine or lineage is revoked or suspended",
            "ask the CA: countersign machines show, countersign issued show SERIAL",
        ),
        AlertDescription::UnknownCA => (
            "it does not know your issuer or trust domain",
            "its bundle or trust snapshot must have your root; compare the roots: countersign bundle show",
        ),
        AlertDescription::DecryptError | AlertDescription::BadCertificate => (
            "it finds your certificate or its signature broken",
            "svid.pem and svid.key must belong together: countersign inspect svid.pem",
        ),
        AlertDescription::UnsupportedCertificate => (
            "it finds your certificate made for another purpose",
            "countersign inspect svid.pem names the rule",
        ),
        AlertDescription::CertificateUnknown | AlertDescription::AccessDenied => (
            "it does not admit your identity: its peer rule, its limits, or a name it does not take",
            "its log names the rule, under the reference of this moment",
        ),
        AlertDescription::BadCertificateStatusResponse => {
            ("its own trust is stale", "the service must reach the CA, or be given a newer trust file")
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => (
            "nothing was agreed on: a key exchange or signature that one side lacks",
            "compare TLS versions, groups and key kinds; it may demand a post-quantum key exchange",
        ),
        AlertDescription::ProtocolVersion => {
            ("it does not speak TLS 1.3", "this CA's certificates are for TLS 1.3")
        }
        _ => ("the reason is its own", "its log says more"),
    };
    format!("the server refused you after the handshake, with the alert {alert:?}: {why}. Remedy: {remedy}")
}

/// What the service answered over HTTP.
fn said(answer: &str, asked: bool, now: Timestamp) -> Vec<Finding> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    let mut findings = Vec::new();
    if asked {
        findings.push(Finding::good("the server completed the handshake with your certificate"));
    }
    match status {
        Some(status @ (401 | 403)) => findings.push(Finding::bad(turned_away(status, body))),
        Some(status) => findings.push(Finding::good(format!("it answers HTTP {status}"))),
        None => findings.push(Finding::good("it speaks, but not HTTP/1.1")),
    }
    findings.extend(skew(head, now));
    findings
}

/// A refusal over HTTP: in the service's words if it has any; a permission that is missing leads to the policy.
fn turned_away(status: u16, body: &str) -> String {
    let from = body.find('{').and_then(|from| body.get(from..)).unwrap_or_default();
    let said: Value = serde_json::from_str(from.trim()).unwrap_or_default();
    let field = |name: &str| said.get(name).and_then(Value::as_str);
    let words = match (field("code"), field("detail")) {
        (Some(code), Some(detail)) => format!(" {code}: {detail}"),
        _ => String::new(),
    };
    let reference =
        field("reference").map(|told| format!("; its log has the rule under the reference {told}"));
    let remedy = match (field("hint"), status) {
        (Some(hint), _) => hint,
        (None, 401) => "it does not believe your certificate: its log has the reason",
        (None, _) => "countersign policy explain YOUR-ID PERMISSION names the rule",
    };
    format!("it answers {status}{words}{}. Remedy: {remedy}", reference.unwrap_or_default())
}

/// Clocks that are a minute apart will not agree on young certificates.
fn skew(head: &str, now: Timestamp) -> Option<Finding> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, date) = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("date"))?;
    let theirs = http_date(date.trim())?;
    let apart = now.since(theirs).max(theirs.since(now));
    (apart.as_secs() > 30).then(|| {
        let side = if theirs > now { "ahead of" } else { "behind" };
        Finding::bad(format!(
            "its clock is {} {side} this machine's: compare the clocks",
            duration::format(apart)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(answer: &str) -> Vec<String> {
        said(answer, true, Timestamp::from_unix(0)).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn every_alert_that_servers_send_about_certificates_has_a_reason_and_a_remedy() {
        for (alert, word) in [
            (AlertDescription::CertificateRequired, "saw none"),
            (AlertDescription::CertificateExpired, "clocks"),
            (AlertDescription::CertificateRevoked, "revoked"),
            (AlertDescription::UnknownCA, "does not know your issuer"),
            (AlertDescription::BadCertificate, "belong together"),
            (AlertDescription::UnsupportedCertificate, "another purpose"),
            (AlertDescription::CertificateUnknown, "peer rule"),
            (AlertDescription::AccessDenied, "peer rule"),
            (AlertDescription::HandshakeFailure, "key exchange"),
        ] {
            let text = refused(alert);
            assert!(text.contains(word) && text.contains("Remedy: "), "{text}");
        }
    }

    #[test]
    fn a_refusal_in_words_is_passed_on_and_one_without_leads_to_the_policy() {
        let problem =
            r#"{"status":403,"code":"machine_suspended","detail":"it is suspended","hint":"resume it"}"#;
        let shown = texts(&format!("HTTP/1.1 403 Forbidden\r\n\r\n{problem}"));
        assert!(shown[1].contains("machine_suspended: it is suspended. Remedy: resume it"), "{shown:?}");
        let shown = texts("HTTP/1.1 403 Forbidden\r\n\r\n{\"reference\":\"r-17\"}");
        assert!(shown[1].contains("policy explain") && shown[1].contains("r-17"), "{shown:?}");
    }
}
