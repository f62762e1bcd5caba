//! The services a policy knows, with the permissions each declares.

use crate::permission::Permission;
use crate::template::Template;
use countersign_identity::nearest;
use std::collections::BTreeMap;

/// The CA's own service, known to every policy and declared by none.
pub const RESERVED_SERVICE: &str = "countersign";

/// What the CA lets be granted on itself.
const RESERVED_ACTIONS: [&str; 9] =
    ["read", "invite", "revoke", "registrations", "policy", "keys", "issuers", "log-read", "report-events"];

#[derive(Debug, Clone)]
pub(crate) struct Catalog(BTreeMap<String, Vec<Template>>);

/// Why a catalog does not know what a rule gives.
pub(crate) enum Unknown {
    Service { nearest: Option<String> },
    Permission { nearest: Option<String> },
}

impl Catalog {
    /// The catalog of a policy that declares nothing: the CA's own service.
    pub(crate) fn new() -> Self {
        let own =
            RESERVED_ACTIONS.iter().filter_map(|action| Template::of_service(RESERVED_SERVICE, action).ok());
        Self(BTreeMap::from([(RESERVED_SERVICE.to_owned(), own.collect())]))
    }

    /// Adds a permission, unless one already declared could be the same: then it is handed back.
    pub(crate) fn declare(&mut self, service: &str, template: Template) -> Result<(), Template> {
        let declared = self.0.entry(service.to_owned()).or_default();
        match declared.iter().find(|known| known.overlaps(&template)) {
            Some(known) => Err(known.clone()),
            None => {
                declared.push(template);
                Ok(())
            }
        }
    }

    pub(crate) fn check(&self, wanted: &Template) -> Result<(), Unknown> {
        let Some(declared) = self.0.get(wanted.service()) else {
            let known = self.0.keys().map(String::as_str);
            return Err(Unknown::Service { nearest: nearest(wanted.service(), known).map(str::to_owned) });
        };
        if declared.iter().any(|known| known.declares(wanted)) {
            return Ok(());
        }
        let known: Vec<String> = declared.iter().map(Template::to_string).collect();
        let nearest = nearest(&wanted.to_string(), known.iter().map(String::as_str)).map(str::to_owned);
        Err(Unknown::Permission { nearest })
    }

    pub(crate) fn knows(&self, permission: &Permission) -> bool {
        let declared = self.0.get(permission.service());
        declared.is_some_and(|known| known.iter().any(|template| template.solve(permission).is_some()))
    }

    /// Each service with its permissions as declared, captures included.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = String>)> {
        self.0.iter().map(|(name, declared)| (name.as_str(), declared.iter().map(Template::to_string)))
    }
}
