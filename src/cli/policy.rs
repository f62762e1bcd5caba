//! `policy`: the permission policy, seen, checked and questioned.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use countersign_api::{admin::PolicyDocument, paths};
use countersign_identity::{SpiffeId, Timestamp, duration};
use countersign_policy::{
    Expectation, Explanation, Force, Holder, Permission, Policy, RuleKind, RuleRef, TestFailure,
};
use serde_json::{Value, json};

use super::{CaArgs, CliError, Output, policy_diff};

/// See, check and question the permission policy: which identity may do what.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    ca: CaArgs,

    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Print the policy in force.
    Show,
    /// Check a policy file and run the tests it carries; no CA is needed.
    Check {
        /// The policy file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Apply a policy file: it is in force from then on, here and at every verifier that follows this CA.
    ///
    /// The tests the file carries must hold. The policy counts as a whole or not at all.
    Apply {
        /// The policy file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show what a policy file would give and take, compared with the policy in force.
    ///
    /// A line that begins with + is new, one that begins with - would go. A grant that goes, or a deny that comes, takes a
    /// permission away; who used one of those lately, as services report their decisions, is named with it.
    Diff {
        /// The policy file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// End with exit code 1 if somebody would lose a permission that was used lately. Default: only show it.
        #[arg(long)]
        ci: bool,
        /// What lately means. The CA keeps what services report for 100 days.
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration::parse)]
        used_within: Duration,
    },
    /// Say what an identity may do, and by which rules.
    ///
    /// Both answers, allowed and refused, are exit code 0; a policy that cannot be read, or a permission that no service
    /// declares, is 1.
    Explain {
        /// The identity.
        #[arg(value_name = "SPIFFE-ID")]
        spiffe_id: SpiffeId,
        /// Only this permission, service:action. Default: all.
        #[arg(value_name = "PERMISSION")]
        permission: Option<Permission>,
        #[command(flatten)]
        of: Of,
    },
    /// List the identities that hold a permission.
    WhoCan {
        /// The permission, service:action.
        #[arg(value_name = "PERMISSION")]
        permission: Permission,
        #[command(flatten)]
        of: Of,
    },
}

/// Which policy is asked, and as of when.
#[derive(Args, Debug)]
struct Of {
    /// Ask this policy file; no CA is needed. Default: the policy in force.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask as of this moment, such as 2027-01-01T00:00:00Z. Default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

pub(crate) fn run(args: PolicyArgs, out: &Output) -> Result<(), CliError> {
    match args.command {
        PolicyCommand::Show => show(&args.ca, out),
        PolicyCommand::Check { file } => check(&file, out),
        PolicyCommand::Apply { file } => apply(&args.ca, &file, out),
        PolicyCommand::Diff { file, ci, used_within } => {
            policy_diff::run(&args.ca, &file, ci, used_within, out)
        }
        PolicyCommand::Explain { spiffe_id, permission, of } => {
            let policy = of.policy(&args.ca)?;
            let now = of.at.unwrap_or_else(|| out.now());
            match permission {
                Some(permission) => decide(&policy, &spiffe_id, &permission, now, out),
                None => explain(&policy, &spiffe_id, now, out),
            }
        }
        PolicyCommand::WhoCan { permission, of } => who_can(&of.policy(&args.ca)?, &permission, out),
    }
}

impl Of {
    fn policy(&self, ca: &CaArgs) -> Result<Policy, CliError> {
        match &self.file {
            Some(file) => read(file),
            None => parse(&in_force(ca)?.text, "the policy in force"),
        }
    }
}

pub(super) fn in_force(ca: &CaArgs) -> Result<PolicyDocument, CliError> {
    ca.connect()?.get(paths::ADMIN_POLICY)
}

pub(super) fn read(file: &Path) -> Result<Policy, CliError> {
    parse(&text_of(file)?, &file.display().to_string())
}

fn text_of(file: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(file)
        .map_err(|error| CliError::failed(format_args!("cannot read {}: {error}", file.display())))
}

/// The error carries file, line and column.
pub(super) fn parse(text: &str, name: &str) -> Result<Policy, CliError> {
    Policy::parse(text, name).map_err(CliError::refused)
}

fn show(ca: &CaArgs, out: &Output) -> Result<(), CliError> {
    let document = in_force(ca)?;
    if out.is_json() {
        out.json(&document);
    } else {
        out.text(&document.text);
    }
    Ok(())
}

fn check(file: &Path, out: &Output) -> Result<(), CliError> {
    let policy = read(file)?;
    let failures = policy.run_tests(out.now());
    let tests = policy.test_count();
    if out.is_json() {
        let failed: Vec<_> = failures.iter().map(failure_json).collect();
        out.json(&json!({ "version": policy.version().to_string(), "tests": tests, "failures": failed }));
    } else {
        for failure in &failures {
            out.failure(failure);
        }
        if failures.is_empty() {
            out.success(format_args!("{} is valid; its {tests} tests hold", file.display()));
            out.field("version", policy.version());
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let failed = failures.len();
    Err(CliError::refused(format_args!("{failed} of the expectations in {} failed", file.display())).hint(
        format_args!(
            "`countersign policy explain SPIFFE-ID --file {}` shows which rules are about an identity",
            file.display()
        ),
    ))
}

/// Read here first: its mistakes are then told with the file's own name.
fn apply(ca: &CaArgs, file: &Path, out: &Output) -> Result<(), CliError> {
    let text = text_of(file)?;
    parse(&text, &file.display().to_string())?;
    let client = ca.connect()?;
    let before: PolicyDocument = client.get(paths::ADMIN_POLICY)?;
    let applied: PolicyDocument =
        client.post(paths::ADMIN_POLICY, &PolicyDocument { version: None, text })?;
    let version = applied.version.unwrap_or_default();
    let changed = before.version.as_deref() != Some(&version);
    if out.is_json() {
        out.json(&json!({ "version": version, "changed": changed }));
    } else if changed {
        out.success(format_args!("{} is in force", file.display()));
        out.field("version", version);
    } else {
        out.success(format_args!("{} was in force already", file.display()));
    }
    Ok(())
}

fn explain(policy: &Policy, id: &SpiffeId, now: Timestamp, out: &Output) -> Result<(), CliError> {
    let explanation = countersign_policy::explain(policy, id, now);
    if out.is_json() {
        out.json(&explanation_json(&explanation));
    } else {
        out.line(&explanation);
    }
    Ok(())
}

/// Both answers are answers: a refusal explained is exit code 0.
fn decide(
    policy: &Policy,
    id: &SpiffeId,
    permission: &Permission,
    now: Timestamp,
    out: &Output,
) -> Result<(), CliError> {
    known(policy, permission)?;
    let decision = policy.decide(id, permission, now);
    if out.is_json() {
        out.json(&json!({
            "id": id.as_str(),
            "permission": decision.permission.as_str(),
            "allowed": decision.allowed,
            "rule": decision.rule.as_deref().map(rule_json),
            "version": decision.version.to_string(),
            "valid_until": decision.valid_until.map(|time| time.to_string()),
        }));
    } else {
        out.line(format_args!("{id}: {decision}"));
    }
    Ok(())
}

fn who_can(policy: &Policy, permission: &Permission, out: &Output) -> Result<(), CliError> {
    known(policy, permission)?;
    let holders = countersign_policy::who_can(policy, permission);
    if out.is_json() {
        out.json(&holders.iter().map(holder_json).collect::<Vec<_>>());
        return Ok(());
    }
    if holders.is_empty() {
        out.line(format_args!("nobody can {permission}"));
    }
    for holder in holders {
        out.line(holder);
    }
    Ok(())
}

/// A permission that no service declares is a typing mistake, not an answer of "nobody".
fn known(policy: &Policy, permission: &Permission) -> Result<(), CliError> {
    if policy.knows(permission) {
        return Ok(());
    }
    let declared: Vec<_> = policy.services().flat_map(|(_, permissions)| permissions).collect();
    Err(CliError::refused(format_args!("no service declares the permission {permission}"))
        .hint(format_args!("declared are {}", declared.join(", "))))
}

fn failure_json(failure: &TestFailure) -> Value {
    json!({
        "line": failure.line,
        "id": failure.id.as_str(),
        "permission": failure.decision.permission.as_str(),
        "expected": match failure.expected { Expectation::May => "may", Expectation::MayNot => "may_not" },
        "rule": failure.decision.rule.as_deref().map(rule_json),
    })
}

fn explanation_json(explanation: &Explanation) -> Value {
    let rules: Vec<_> = explanation
        .rules
        .iter()
        .map(|explained| {
            json!({
                "rule": rule_json(&explained.rule),
                "permissions": explained.permissions.iter().map(Permission::as_str).collect::<Vec<_>>(),
                "in_force": explained.force == Force::InForce,
            })
        })
        .collect();
    json!({
        "id": explanation.id.as_str(),
        "version": explanation.version.to_string(),
        "may": explanation.may.iter().map(Permission::as_str).collect::<Vec<_>>(),
        "rules": rules,
        "valid_until": explanation.valid_until.map(|time| time.to_string()),
    })
}

fn holder_json(holder: &Holder) -> Value {
    json!({
        "id": holder.id.to_string(),
        "rule": rule_json(&holder.grant),
        "except": holder.except.iter().map(|rule| rule_json(rule)).collect::<Vec<_>>(),
    })
}

fn rule_json(rule: &RuleRef) -> Value {
    json!({
        "kind": kind_text(rule.kind),
        "line": rule.line,
        "id": rule.id.to_string(),
        "from": rule.window.from.map(|time| time.to_string()),
        "until": rule.window.until.map(|time| time.to_string()),
        "owner": rule.owner,
        "reason": rule.reason,
    })
}

pub(super) const fn kind_text(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::Grant => "grant",
        RuleKind::Deny => "deny",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://td/payments/**"
permissions = ["ledger:read"]
"#;

    #[test]
    fn an_undeclared_permission_is_refused_with_the_declared_ones() {
        let policy = parse(POLICY, "policy.toml").unwrap();
        let error = known(&policy, &"ledger:reed".parse().unwrap()).unwrap_err();
        assert!(error.advice().unwrap().ends_with("ledger:read, ledger:write"), "{error:?}");
    }

    #[test]
    fn a_broken_policy_is_refused_with_file_line_and_column() {
        let error = parse("version = 1\ngrants = 1\n", "policy.toml").unwrap_err().to_string();
        assert!(error.starts_with("policy.toml:2:1: "), "{error}");
    }
}
