//! The CA's own names, which no machine may have (DESIGN §4).

use std::net::IpAddr;

use countersign_issuance::ReservedNames;

use super::StartError;
use crate::config::Config;

/// The host of the URL and the listen address, each as the kind of name it is.
///
/// # Errors
/// When the host of the URL is neither a DNS name nor an address.
pub(super) fn names_of(config: &Config) -> Result<ReservedNames, StartError> {
    let mut names = ReservedNames { dns: Vec::new(), ip: Vec::new() };
    match config.host.parse::<IpAddr>() {
        Ok(address) => names.ip.push(address),
        Err(_) => names.dns.push(
            config
                .host
                .parse()
                .map_err(|error| StartError::Url { url: config.url.clone(), why: format!("{error}") })?,
        ),
    }
    let listen = config.listen.ip();
    if !listen.is_unspecified() && !names.ip.contains(&listen) {
        names.ip.push(listen);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> ReservedNames {
        names_of(&Config::parse(text, "c.toml".as_ref()).unwrap()).unwrap()
    }

    #[test]
    fn the_host_and_the_listen_address_are_the_cas_own() {
        let own = names("trust_domain = \"td\"\nurl = \"https://ca.example:1\"\nlisten = \"127.0.0.1:1\"");
        assert_eq!(own.dns.len(), 1);
        assert_eq!(own.ip, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn an_address_that_means_every_interface_is_no_name() {
        let own = names("trust_domain = \"td\"\nurl = \"https://ca.example:1\"\nlisten = \"0.0.0.0:1\"");
        assert!(own.ip.is_empty());
    }
}
