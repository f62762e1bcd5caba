//! A permission as a rule or a service writes it: with places for captured segments.

use crate::permission::{Permission, PermissionError, check_part};
use std::fmt;
use std::str::FromStr;

/// `ledger:tenant:{tenant}`: the parts of a permission, some of them captures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Template(Box<[Part]>);

/// One part between colons.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Literal(Box<str>),
    Capture(Box<str>),
}

impl Template {
    /// Reads an action as a service declares it, without the service in front.
    pub(crate) fn of_service(service: &str, action: &str) -> Result<Self, PermissionError> {
        check_part(service, service)?;
        format!("{service}:{action}").parse()
    }

    pub(crate) fn service(&self) -> &str {
        match self.0.first() {
            Some(Part::Literal(service)) => service,
            _ => "",
        }
    }

    pub(crate) fn captures(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Capture(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }

    /// Whether some permission is of both shapes.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let meet = |(one, other): (&Part, &Part)| match (one, other) {
            (Part::Literal(one), Part::Literal(other)) => one == other,
            _ => true,
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(meet)
    }

    /// Whether a service that declares `self` declares what the rule's `wanted` gives. A capture of the rule may only
    /// stand where the declaration has one: a name in an SVID must never choose the action.
    pub(crate) fn declares(&self, wanted: &Self) -> bool {
        let within = |(declared, wanted): (&Part, &Part)| match (declared, wanted) {
            (Part::Literal(declared), Part::Literal(wanted)) => declared == wanted,
            (Part::Capture(_), _) => true,
            (Part::Literal(_), Part::Capture(_)) => false,
        };
        self.0.len() == wanted.0.len() && self.0.iter().zip(&wanted.0).all(within)
    }

    /// The permission with every capture replaced. `None` if `value` lacks one, or what it captured is not a legal
    /// part: a `:` or `*` can not come from a SPIFFE ID (§2.2 of the standard), and would give nothing if it did.
    pub(crate) fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<Permission> {
        let mut text = String::with_capacity(64);
        for part in &self.0 {
            let part = match part {
                Part::Literal(literal) => literal,
                Part::Capture(name) => value(name).filter(|value| check_part(value, value).is_ok())?,
            };
            if !text.is_empty() {
                text.push(':');
            }
            text.push_str(part);
        }
        Some(Permission::assertion(&text))
    }

    /// What each capture must have held for this template to give `permission`; `None` if it never gives it.
    pub(crate) fn solve<'t, 'p>(&'t self, permission: &'p Permission) -> Option<Vec<(&'t str, &'p str)>> {
        let mut bound: Vec<(&str, &str)> = Vec::new();
        let mut values = permission.parts();
        for part in &self.0 {
            let value = values.next()?;
            match part {
                Part::Literal(literal) if **literal == *value => {}
                Part::Literal(_) => return None,
                Part::Capture(name) => match bound.iter().find(|(known, _)| *known == &**name) {
                    Some((_, before)) if *before != value => return None,
                    Some(_) => {}
                    None => bound.push((name, value)),
                },
            }
        }
        values.next().is_none().then_some(bound)
    }
}

impl FromStr for Template {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |part: &str| match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => check_part(name, text).map(|()| Part::Capture(name.into())),
            None => check_part(part, text).map(|()| Part::Literal(part.into())),
        };
        let parts: Vec<Part> = text.split(':').map(read).collect::<Result<_, _>>()?;
        match parts.as_slice() {
            [Part::Capture(_), ..] => Err(PermissionError::CapturedService { found: text.to_owned() }),
            [_] | [] => Err(PermissionError::Action { found: text.to_owned() }),
            _ => Ok(Self(parts.into())),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            match part {
                Part::Literal(literal) => write!(f, "{colon}{literal}")?,
                Part::Capture(name) => write!(f, "{colon}{{{name}}}")?,
            }
        }
        Ok(())
    }
}
