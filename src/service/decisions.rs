//! What verifiers decided: a service reports about itself, and a change of policy is judged by what was used.

use countersign_api::{Decision, DecisionKind, DecisionReport};
use countersign_identity::{SpiffeId, Timestamp};
use countersign_policy::Permission;
use countersign_store::{Cursor, Event, Listing, PermissionUse};

use super::{Ca, Refused};

/// What reporting takes.
const PERMISSION: &str = "countersign:report-events";
/// What any text of a report may have; an identity may have more.
const LONGEST: usize = 256;
/// What an identity may have (SPIFFE-ID §2.3).
const LONGEST_ID: usize = 2048;

impl Ca {
    /// Writes down what a service decided. The reporter needs the permission, and must be that service.
    ///
    /// # Errors
    /// When it may not report, or the report is not what it should be.
    pub async fn report(&self, reporter: &SpiffeId, report: DecisionReport) -> Result<u64, Refused> {
        self.may_report(reporter, &report.service)?;
        if report.decisions.len() > DecisionReport::MOST {
            return Err(Refused::Parameter {
                what: "decisions",
                found: report.decisions.len().to_string(),
                expected: format!("at most {} in one report", DecisionReport::MOST),
            });
        }
        let now = self.now();
        let (mut events, mut uses) = (Vec::with_capacity(report.decisions.len() + 1), Vec::new());
        for decision in &report.decisions {
            let at = check(decision, &report.service)?;
            uses.extend(used(decision, at.min(now)));
            events.push(event(decision, &report.service, reporter, now));
        }
        if report.dropped > 0 {
            let event = Event::new("decisions.dropped", now).text("service", &report.service);
            events.push(event.text("reporter", reporter).number("count", report.dropped));
        }
        let accepted = u64::try_from(report.decisions.len()).unwrap_or(u64::MAX);
        if !events.is_empty() {
            self.book().report(events, uses).await?;
        }
        Ok(accepted)
    }

    fn may_report(&self, reporter: &SpiffeId, service: &str) -> Result<(), Refused> {
        let permission: Permission =
            PERMISSION.parse().map_err(|e| Refused::Policy(format!("{PERMISSION}: {e}")))?;
        let refused = |why: String| Refused::NotAllowed { id: reporter.clone(), why };
        let policy = self.compiled_policy()?.ok_or_else(|| refused("no policy is in force".into()))?;
        let decision = policy.decide(reporter, &permission, self.now());
        if !decision.allowed {
            return Err(refused(decision.to_string()));
        }
        if !policy.serves(reporter, service, self.trust_domain()) {
            return Err(refused(format!("it is not the service {service:?}, and reports about itself only")));
        }
        Ok(())
    }

    /// Which identities used which permissions, as services reported it.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn permission_uses(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Listing<PermissionUse>, Refused> {
        Ok(self.book().uses(after, limit)?)
    }
}

/// The form of one decision, and when it was made.
fn check(decision: &Decision, service: &str) -> Result<Timestamp, Refused> {
    let wrong = |what, found: &str, expected: &str| Refused::Parameter {
        what,
        found: found.chars().take(LONGEST).collect(),
        expected: expected.to_owned(),
    };
    let at = decision
        .time
        .parse()
        .map_err(|_| wrong("time", &decision.time, "a time such as 2026-11-23T10:00:00Z"))?;
    if let Some(id) = &decision.spiffe_id
        && (id.len() > LONGEST_ID || id.parse::<SpiffeId>().is_err())
    {
        return Err(wrong("spiffe_id", id, "a SPIFFE ID"));
    }
    if let Some(permission) = &decision.permission {
        let parsed: Option<Permission> = permission.parse().ok();
        if parsed.is_none_or(|permission| permission.service() != service) {
            return Err(wrong("permission", permission, "a permission at the service that reports"));
        }
    }
    for (what, text) in texts(decision) {
        if text.len() > LONGEST {
            return Err(wrong(what, text, "at most 256 octets"));
        }
    }
    Ok(at)
}

fn texts(decision: &Decision) -> impl Iterator<Item = (&'static str, &String)> {
    [
        ("serial", decision.serial.as_ref()),
        ("permission", decision.permission.as_ref()),
        ("reason", decision.reason.as_ref()),
        ("policy", decision.policy.as_ref()),
        ("reference", decision.reference.as_ref()),
    ]
    .into_iter()
    .filter_map(|(what, text)| Some((what, text?)))
}

/// What an allowed authorization shows to be in use.
fn used(decision: &Decision, at: Timestamp) -> Option<PermissionUse> {
    if !decision.allowed || decision.kind != DecisionKind::Authorization {
        return None;
    }
    let spiffe_id = decision.spiffe_id.as_deref()?.parse().ok()?;
    Some(PermissionUse { spiffe_id, permission: decision.permission.clone()?, last: at })
}

fn event(decision: &Decision, service: &str, reporter: &SpiffeId, now: Timestamp) -> Event {
    let kind = match (decision.kind, decision.allowed) {
        (DecisionKind::Authentication, true) => "authentication.passed",
        (DecisionKind::Authentication, false) => "authentication.refused",
        (DecisionKind::Authorization, true) => "decision.allowed",
        (DecisionKind::Authorization, false) => "decision.denied",
    };
    let mut event = Event::new(kind, now)
        .text("service", service)
        .text("reporter", reporter)
        .text("at", &decision.time)
        .number("count", decision.count.max(1));
    if let Some(id) = &decision.spiffe_id {
        event = event.text("spiffe_id", id);
    }
    texts(decision).fold(event, |event, (field, text)| event.text(field, text))
}
