//! `policy diff`: what a policy file would give and take, and who would miss what they used lately.

use std::{path::Path, time::Duration};

use countersign_api::{admin::PermissionUse, paths};
use countersign_identity::{SpiffeId, Timestamp};
use countersign_policy::{Change, Effect, Permission, Policy, RuleKind, ServiceChange};
use serde_json::{Value, json};

use super::{
    CaArgs, CliError, Output,
    client::Query,
    policy::{in_force, kind_text, parse, read},
};

pub(super) fn run(
    ca: &CaArgs,
    file: &Path,
    ci: bool,
    used_within: Duration,
    out: &Output,
) -> Result<(), CliError> {
    let new = read(file)?;
    let document = in_force(ca)?;
    // A CA without a policy allows nobody anything.
    let text = if document.version.is_some() { &document.text } else { "version = 1\n" };
    let old = parse(text, "the policy in force")?;
    let changes = countersign_policy::diff(&old, &new);
    let missed = match changes.iter().any(takes_away) {
        true => missed(ca, &old, &new, (out.now() - used_within, out.now()))?,
        false => Vec::new(),
    };
    let effects = countersign_policy::effects(&old, &new, out.now());
    show((&old, &new), &changes, &effects, &missed, out);
    if ci && !missed.is_empty() {
        return Err(CliError::refused(format_args!(
            "{} takes away what was used lately ({})",
            file.display(),
            missed.len()
        ))
        .hint("if that is meant, apply it without --ci in the way"));
    }
    Ok(())
}

/// The uses since a moment that the old policy allows now and the new one would not.
fn missed(
    ca: &CaArgs,
    old: &Policy,
    new: &Policy,
    (since, now): (Timestamp, Timestamp),
) -> Result<Vec<PermissionUse>, CliError> {
    let mut missed = Vec::new();
    ca.connect()?.each(paths::ADMIN_USES, &Query::default(), None, |one: PermissionUse| {
        let late = one.last.parse::<Timestamp>().is_ok_and(|last| last >= since);
        if late && is_lost(&one, old, new, now) {
            missed.push(one);
        }
        Ok(())
    })?;
    Ok(missed)
}

fn is_lost(one: &PermissionUse, old: &Policy, new: &Policy, now: Timestamp) -> bool {
    let (Ok(id), Ok(permission)) = (one.spiffe_id.parse::<SpiffeId>(), one.permission.parse::<Permission>())
    else {
        return false;
    };
    old.decide(&id, &permission, now).allowed && !new.decide(&id, &permission, now).allowed
}

fn show(
    (old, new): (&Policy, &Policy),
    changes: &[Change],
    effects: &[Effect],
    missed: &[PermissionUse],
    out: &Output,
) {
    if out.is_json() {
        out.json(&json!({
            "from": old.version().to_string(),
            "to": new.version().to_string(),
            "changes": changes.iter().map(change_json).collect::<Vec<_>>(),
            "services": countersign_policy::service_changes(old, new).iter().map(service_json).collect::<Vec<_>>(),
            "effects": effects.iter().map(effect_json).collect::<Vec<_>>(),
            "lost": changes.iter().filter(|change| takes_away(change)).count(),
            "used_lately": missed,
        }));
        return;
    }
    let hands = countersign_policy::service_changes(old, new);
    hands.iter().for_each(|change| out.line(change));
    if changes.is_empty() && hands.is_empty() {
        out.line("no identity gains or loses anything");
    }
    for change in changes {
        out.line(change);
        for told in in_words(change, effects) {
            out.line(format_args!("    {told}"));
        }
    }
    for one in missed {
        let (id, permission) = (&one.spiffe_id, &one.permission);
        out.line(format_args!("! {id} used {permission} {} and would lose it", out.distance(&one.last)));
    }
}

/// What a change comes to, unless the line of the rule says it all.
fn in_words(change: &Change, effects: &[Effect]) -> Vec<String> {
    let of_it: Vec<&Effect> = effects.iter().filter(|effect| effect.change == *change).collect();
    if of_it.is_empty() {
        return vec!["changes nothing: other rules say the same".to_owned()];
    }
    let plain = |effect: &&Effect| change.id.is_exact().is_some() && effect.gained != takes_away(change);
    let told = of_it.into_iter().filter(|effect| !plain(effect));
    told.map(|effect| {
        let verb = if effect.gained { "gains" } else { "loses" };
        let when = change.window.from.filter(|from| *from == effect.at);
        let when = when.map(|from| format!(" from {from}")).unwrap_or_default();
        format!("so {} {verb} {}{when}", effect.witness, effect.permission)
    })
    .collect()
}

fn service_json(change: &ServiceChange) -> Value {
    json!({ "service": change.service, "before": change.before, "after": change.after })
}

fn effect_json(effect: &Effect) -> Value {
    json!({
        "id": effect.change.id.to_string(),
        "permission": effect.permission.as_str(),
        "gained": effect.gained,
        "witness": effect.witness.as_str(),
        "at": effect.at.to_string(),
    })
}

/// A grant that goes, or a deny that comes.
fn takes_away(change: &Change) -> bool {
    (change.kind == RuleKind::Grant) != change.added
}

fn change_json(change: &Change) -> Value {
    json!({
        "id": change.id.to_string(),
        "permission": change.permission,
        "kind": kind_text(change.kind),
        "from": change.window.from.map(|time| time.to_string()),
        "until": change.window.until.map(|time| time.to_string()),
        "added": change.added,
        "takes_away": takes_away(change),
    })
}
