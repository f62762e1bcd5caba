//! Permissions as types: declared once, named in the signatures of handlers.

use std::collections::{BTreeMap, BTreeSet};

use countersign_policy::{Permission, PermissionLiteral};

/// A permission that is a type; made by [`permissions!`](crate::permissions).
pub trait NamedPermission: Send + Sync + 'static {
    /// Its text.
    const LITERAL: PermissionLiteral;

    /// The permission, parsed once for the whole program.
    fn permission() -> &'static Permission;
}

/// These permissions as the policy file declares them: what a service prints for whoever writes the policy.
///
/// ```
/// use countersign_verifier::{PermissionLiteral, Policy, inventory};
///
/// const ALL: [PermissionLiteral; 2] = [PermissionLiteral::new("ledger:read"), PermissionLiteral::new("ledger:write")];
/// let declared = inventory(&ALL);
/// assert_eq!(declared, "[service.ledger]\npermissions = [\"read\", \"write\"]\n");
/// assert!(Policy::parse(&format!("version = 1\n{declared}"), "policy.toml").is_ok());
/// ```
#[must_use]
pub fn inventory(permissions: &[PermissionLiteral]) -> String {
    let mut services: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (service, action) in permissions.iter().filter_map(|permission| permission.as_str().split_once(':')) {
        services.entry(service).or_default().insert(action);
    }
    let declared = services.iter().map(|(service, actions)| {
        let actions: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
        // A service may be called what TOML takes for two names.
        let service = if service.contains('.') { format!("{service:?}") } else { (*service).to_owned() };
        format!("[service.{service}]\npermissions = [{}]\n", actions.join(", "))
    });
    declared.collect()
}

/// Declares the permissions of a service, each as a type. A text that is no permission does not compile.
///
/// `ALL` lists them: hand it to [`Gate::unknown`](crate::Gate::unknown) and [`Gate::ungranted`](crate::Gate::ungranted) at the start,
/// and to [`inventory`] for whoever writes the policy. Permissions with captures, as `tenant:{tenant}`, are asked for by
/// [`Admitted::authorize`](crate::Admitted::authorize), since only a request knows the tenant.
///
/// ```
/// countersign_verifier::permissions! {
///     /// What may be done with the ledger.
///     pub mod ledger = "ledger" {
///         /// See entries.
///         Read = "read",
///         /// Add entries.
///         Write = "write",
///     }
/// }
///
/// use countersign_verifier::NamedPermission as _;
/// assert_eq!(ledger::Read::permission().to_string(), "ledger:read");
/// assert_eq!(ledger::ALL.len(), 2);
/// ```
///
/// ```compile_fail,E0080
/// countersign_verifier::permissions! {
///     mod ledger = "ledger" { Everything = "*" }
/// }
/// # fn main() { let _ = ledger::ALL; }
/// ```
#[macro_export]
macro_rules! permissions {
    (
        $(#[$about:meta])*
        $visible:vis mod $module:ident = $service:literal {
            $( $(#[$what:meta])* $name:ident = $action:literal ),+ $(,)?
        }
    ) => {
        $(#[$about])*
        $visible mod $module {
            $(
                $(#[$what])*
                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                pub struct $name;

                impl $crate::NamedPermission for $name {
                    const LITERAL: $crate::PermissionLiteral =
                        $crate::PermissionLiteral::new(::core::concat!($service, ":", $action));

                    fn permission() -> &'static $crate::Permission {
                        static HELD: ::std::sync::LazyLock<$crate::Permission> =
                            ::std::sync::LazyLock::new(|| <$name as $crate::NamedPermission>::LITERAL.into());
                        &HELD
                    }
                }
            )+

            /// Every permission declared here.
            pub const ALL: &[$crate::PermissionLiteral] =
                &[$( <$name as $crate::NamedPermission>::LITERAL ),+];
        }
    };
}
