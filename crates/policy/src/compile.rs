//! From the file as written to rules that can be used: every judgement on a policy's text is made here.

use crate::case::Case;
use crate::catalog::{Catalog, RESERVED_SERVICE, Unknown};
use crate::error::{PolicyError, Problem, Source};
use crate::permission::Permission;
use crate::rule::{Given, Rule, RuleKind, RuleRef};
use crate::service::Services;
use crate::template::Template;
use crate::window::Window;
use crate::written::{PolicyFile, RuleFile, TestFile};
use countersign_identity::{IdPattern, Timestamp};
use std::sync::Arc;
use toml::Spanned;
use toml::value::Datetime;

/// What a policy's text says, judged.
pub(crate) struct Compiled {
    pub(crate) catalog: Catalog,
    pub(crate) services: Services,
    pub(crate) rules: Vec<Rule>,
    pub(crate) cases: Vec<Case>,
}

pub(crate) fn compile(text: &str, file: &str) -> Result<Compiled, PolicyError> {
    let source = Source::new(file, text);
    let written: PolicyFile = toml::from_str(text).map_err(|error| source.toml_error(&error))?;
    if *written.version.get_ref() != 1 {
        let found = *written.version.get_ref();
        return Err(source.error(&written.version.span(), Problem::Version { found }));
    }
    let services = services(&source, &written)?;
    let compiler = Compiler { catalog: catalog(&source, &written)?, source };
    let grants = written.grant.iter().enumerate().map(|(at, rule)| compiler.rule(RuleKind::Grant, at, rule));
    let denies = written.deny.iter().enumerate().map(|(at, rule)| compiler.rule(RuleKind::Deny, at, rule));
    let rules = grants.chain(denies).collect::<Result<_, _>>()?;
    let cases = written.test.iter().map(|case| compiler.case(case)).collect::<Result<_, _>>()?;
    Ok(Compiled { catalog: compiler.catalog, services, rules, cases })
}

fn services(source: &Source<'_>, written: &PolicyFile) -> Result<Services, PolicyError> {
    let mut services = Services::default();
    for (name, service) in &written.service {
        let identities = match &service.identities {
            None => None,
            Some(none) if none.get_ref().is_empty() => {
                return Err(source.error(&none.span(), Problem::NoIdentities));
            }
            Some(some) => {
                Some(some.get_ref().iter().map(|id| pattern(source, id)).collect::<Result<_, _>>()?)
            }
        };
        services.insert(name.get_ref(), identities);
    }
    Ok(services)
}

fn pattern(source: &Source<'_>, written: &Spanned<String>) -> Result<IdPattern, PolicyError> {
    let read = written.get_ref().parse();
    read.map_err(|error: countersign_identity::IdPatternError| source.error(&written.span(), error))
}

fn catalog(source: &Source<'_>, written: &PolicyFile) -> Result<Catalog, PolicyError> {
    let mut catalog = Catalog::new();
    for (name, service) in &written.service {
        if name.get_ref() == RESERVED_SERVICE {
            return Err(source.error(&name.span(), Problem::ReservedService));
        }
        if service.permissions.get_ref().is_empty() {
            return Err(source.error(&service.permissions.span(), Problem::NoPermissions));
        }
        for action in service.permissions.get_ref() {
            let template = Template::of_service(name.get_ref(), action.get_ref())
                .map_err(|error| source.error(&action.span(), error))?;
            let found = template.to_string();
            catalog.declare(name.get_ref(), template).map_err(|other| {
                source.error(&action.span(), Problem::Overlap { found, other: other.to_string() })
            })?;
        }
    }
    Ok(catalog)
}

struct Compiler<'a> {
    catalog: Catalog,
    source: Source<'a>,
}

impl Compiler<'_> {
    fn rule(&self, kind: RuleKind, at: usize, written: &Spanned<RuleFile>) -> Result<Rule, PolicyError> {
        let line = self.source.line(written.span().start);
        let rule = written.get_ref();
        let id = pattern(&self.source, &rule.id)?;
        if rule.permissions.get_ref().is_empty() {
            return Err(self.source.error(&rule.permissions.span(), Problem::NoPermissions));
        }
        let gives = rule.permissions.get_ref().iter().map(|text| self.given(text, &id));
        let gives = gives.collect::<Result<_, _>>()?;
        let window = self.window(rule)?;
        let (owner, reason) = (rule.owner.clone(), rule.reason.clone());
        let reference = RuleRef { kind, index: at + 1, line, id, window, owner, reason };
        Ok(Rule { reference: Arc::new(reference), gives })
    }

    fn given(&self, text: &Spanned<String>, id: &IdPattern) -> Result<Given, PolicyError> {
        let template = self.known(text)?;
        let missing = template.captures().find(|name| !id.capture_names().any(|known| known == *name));
        if let Some(capture) = missing {
            let permission = text.get_ref().clone();
            let problem =
                Problem::NotCaptured { permission, capture: capture.to_owned(), id: id.to_string() };
            return Err(self.source.error(&text.span(), problem));
        }
        Ok(Given::new(template))
    }

    /// Reads a permission that some service must declare.
    fn known(&self, text: &Spanned<String>) -> Result<Template, PolicyError> {
        let fail = |problem| self.source.error(&text.span(), problem);
        let template: Template = text.get_ref().parse().map_err(|error| fail(Problem::Permission(error)))?;
        let found = text.get_ref().clone();
        self.catalog.check(&template).map_err(|unknown| {
            fail(match unknown {
                Unknown::Service { nearest } => Problem::UnknownService {
                    found: template.service().to_owned(),
                    permission: found,
                    nearest,
                },
                Unknown::Permission { nearest } => Problem::UnknownPermission { found, nearest },
            })
        })?;
        Ok(template)
    }

    fn window(&self, rule: &RuleFile) -> Result<Window, PolicyError> {
        let (from, until) = (self.time(rule.from.as_ref())?, self.time(rule.until.as_ref())?);
        match (from, until, &rule.until) {
            (Some(from), Some(until), Some(written)) if until <= from => {
                Err(self.source.error(&written.span(), Problem::EmptyWindow))
            }
            _ => Ok(Window { from, until }),
        }
    }

    fn time(&self, written: Option<&Spanned<Datetime>>) -> Result<Option<Timestamp>, PolicyError> {
        let Some(written) = written else { return Ok(None) };
        let found = written.get_ref().to_string();
        match found.parse() {
            Ok(at) => Ok(Some(at)),
            Err(_) => Err(self.source.error(&written.span(), Problem::Time { found })),
        }
    }

    fn case(&self, written: &Spanned<TestFile>) -> Result<Case, PolicyError> {
        let line = self.source.line(written.span().start);
        let case = written.get_ref();
        let id = case.id.get_ref().parse().map_err(|error: countersign_identity::SpiffeIdError| {
            self.source.error(&case.id.span(), error)
        })?;
        let read = |texts: &[Spanned<String>]| {
            texts.iter().map(|text| self.permission(text)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Case { line, id, may: read(&case.may)?, may_not: read(&case.may_not)? })
    }

    /// Reads a permission that is declared and holds no capture.
    fn permission(&self, text: &Spanned<String>) -> Result<Permission, PolicyError> {
        self.known(text)?;
        text.get_ref().parse().map_err(|error: crate::PermissionError| self.source.error(&text.span(), error))
    }
}
