//! A registration as the caller states it in flags: what was said, and what was left to defaults.

use clap::{Args, ValueEnum};
use countersign_api::admin::Registration;
use countersign_identity::{Selector, SpiffeId, Timestamp};

/// The flags that describe a registration.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatedRegistration {
    /// The identity, such as spiffe://prod.example/payments/api.
    #[arg(value_name = "SPIFFE-ID")]
    spiffe_id: SpiffeId,

    /// The profile that shapes its certificates. Default: workload.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// A DNS name its certificates carry; may be given several times. Default: none.
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,

    /// An IP address its certificates carry; may be given several times. Default: none.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<std::net::IpAddr>,

    /// The last moment anything is issued, such as 2027-01-01T00:00:00Z. Default: no end.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,

    /// Who answers for this identity, in free words. Default: nobody is named.
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,

    /// How many machines may hold the identity at a time; with `one`, a new enrollment replaces the machine before.
    /// Default: one.
    #[arg(long, value_name = "HOW-MANY")]
    machines: Option<Machines>,

    /// What its access tokens are worth without its key: `bound` ones nothing, `bearer` ones all they say, for callers
    /// behind something that ends TLS. Default: bound.
    #[arg(long, value_name = "WORTH")]
    tokens: Option<Tokens>,

    /// Let another identity that is also shared hold the same DNS names or addresses. Default: names belong to one
    /// identity.
    #[arg(long)]
    shared: bool,

    /// The SPIFFE ID of the machine under which this workload runs. Default: it is a machine itself.
    #[arg(long, value_name = "SPIFFE-ID", requires = "selector")]
    parent: Option<SpiffeId>,

    /// Which local process under the parent gets this identity, such as unix:uid:1000; may be given several times, and
    /// then all must hold. Default: none.
    #[arg(long, value_name = "SELECTOR", requires = "parent")]
    selector: Vec<Selector>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tokens {
    Bound,
    Bearer,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Machines {
    One,
    Many,
}

impl StatedRegistration {
    /// The SPIFFE ID.
    pub(crate) const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The fields the caller stated, by their names in the registration.
    pub(crate) fn fields(&self) -> Vec<String> {
        [
            ("profile", self.profile.is_some()),
            ("dns", !self.dns.is_empty()),
            ("ip", !self.ip.is_empty()),
            ("until", self.until.is_some()),
            ("owner", self.owner.is_some()),
            ("machines", self.machines.is_some()),
            ("tokens", self.tokens.is_some()),
            ("shared", self.shared),
            ("parent", self.parent.is_some()),
            ("selectors", !self.selector.is_empty()),
        ]
        .into_iter()
        .filter(|(_, stated)| *stated)
        .map(|(name, _)| name.to_owned())
        .collect()
    }

    /// The registration, with what stands in `before` where nothing was stated.
    pub(crate) fn over(self, before: &Registration) -> Registration {
        let stated = self.fields();
        let is_stated = |field: &str| stated.iter().any(|one| one == field);
        let (mut after, new) = (before.clone(), self.into_registration());
        let words = [
            ("profile", &mut after.profile, new.profile),
            ("machines", &mut after.machines, new.machines),
            ("tokens", &mut after.tokens, new.tokens),
        ];
        words.into_iter().filter(|(field, ..)| is_stated(field)).for_each(|(_, old, new)| *old = new);
        let lists = [
            ("dns", &mut after.dns, new.dns),
            ("ip", &mut after.ip, new.ip),
            ("selectors", &mut after.selectors, new.selectors),
        ];
        lists.into_iter().filter(|(field, ..)| is_stated(field)).for_each(|(_, old, new)| *old = new);
        after.until = new.until.or(after.until);
        after.owner = new.owner.or(after.owner);
        after.parent = new.parent.or(after.parent);
        after.shared |= new.shared;
        after
    }

    /// The registration, with defaults where nothing was stated.
    pub(crate) fn into_registration(self) -> Registration {
        Registration {
            spiffe_id: self.spiffe_id.to_string(),
            profile: self.profile.unwrap_or_else(|| "workload".to_owned()),
            dns: self.dns,
            ip: self.ip.iter().map(ToString::to_string).collect(),
            until: self.until.map(|time| time.to_string()),
            owner: self.owner,
            machines: match self.machines {
                None | Some(Machines::One) => "one".to_owned(),
                Some(Machines::Many) => "many".to_owned(),
            },
            tokens: match self.tokens {
                None | Some(Tokens::Bound) => "bound".to_owned(),
                Some(Tokens::Bearer) => "bearer".to_owned(),
            },
            token_keys: Vec::new(),
            shared: self.shared,
            parent: self.parent.map(|id| id.to_string()),
            selectors: self.selector.iter().map(ToString::to_string).collect(),
            created: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        stated: StatedRegistration,
    }

    fn stated(flags: &[&str]) -> StatedRegistration {
        let words = ["x", "spiffe://td/a"].iter().chain(flags);
        Cli::try_parse_from(words).map(|cli| cli.stated).unwrap()
    }

    #[test]
    fn only_what_was_given_is_stated() {
        assert_eq!(stated(&[]).fields(), Vec::<String>::new());
        assert_eq!(stated(&["--dns", "a.example", "--machines", "one"]).fields(), ["dns", "machines"]);
    }

    #[test]
    fn defaults_are_those_of_the_wire() {
        let wire: Registration = serde_json::from_str(r#"{"spiffe_id":"spiffe://td/a"}"#).unwrap();
        assert_eq!(stated(&[]).into_registration(), wire);
    }

    #[test]
    fn over_another_only_what_was_given_changes() {
        let flags = ["--dns", "a.example", "--owner", "us", "--shared", "--machines", "many"];
        let before = stated(&flags).into_registration();
        assert_eq!(stated(&[]).over(&before), before);
        let after = stated(&["--tokens", "bearer", "--dns", "b.example"]).over(&before);
        let expected = Registration { tokens: "bearer".into(), dns: vec!["b.example".into()], ..before };
        assert_eq!(after, expected);
    }

    #[test]
    fn a_parent_without_selector_is_refused() {
        assert!(Cli::try_parse_from(["x", "spiffe://td/a", "--parent", "spiffe://td/m"]).is_err());
    }
}
