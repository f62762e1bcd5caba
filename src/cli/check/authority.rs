//! The checks of a CA: what it is made of, and whether it answers as it should.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
};

use countersign_agent::Endpoint;
use countersign_api::{
    admin::{Issuer, Page, Status},
    paths,
};
use countersign_identity::Timestamp;
use countersign_verifier::{Usage, certificates_from_pem, provider};

use super::{Findings, compare_clocks, state};
use crate::{
    cli::{
        CaArgs, Client,
        certificate::CertificateFacts,
        endpoint::{HostPort, head},
        error::Kind,
        output::{distance, relative},
        verdict::verdict,
    },
    config::Config,
    service::Profiles,
};

pub(super) fn check(ca: &CaArgs, now: Timestamp, findings: &mut Findings) {
    let Some(config) = configuration(ca, findings) else { return };
    state::check(&config, now, findings);
    match Client::connect(&config.admin_socket()) {
        Ok(client) => {
            findings.good(format!("the CA answers on {}", config.admin_socket().display()));
            running(&client, &config, now, findings);
            doors(&config, now, findings);
        }
        Err(error) => {
            let remedy = match error.kind() {
                Kind::Unreachable => {
                    format!("start it: countersign serve --config {}", config.file.display())
                }
                _ => error.advice().unwrap_or_default().to_owned(),
            };
            findings.failed(error.to_string(), remedy);
            if error.kind() == Kind::Unreachable {
                free(config.listen, "listen", findings);
                free(config.ops_listen, "ops_listen", findings);
            }
        }
    }
}

fn configuration(ca: &CaArgs, findings: &mut Findings) -> Option<Config> {
    let config = match ca.load() {
        Ok(config) => config,
        Err(error) => {
            findings.failed(error.to_string(), error.advice().unwrap_or_default());
            return None;
        }
    };
    findings.good(format!("{} is valid", config.file.display()));
    match Profiles::load(&config.profiles) {
        Ok(profiles) => {
            let names: Vec<_> = profiles.names().collect();
            findings.good(format!("the profiles are valid: {}", names.join(", ")));
        }
        Err(error) => findings.failed(error.to_string(), format!("correct {}", config.profiles.display())),
    }
    Some(config)
}

fn running(client: &Client, config: &Config, now: Timestamp, findings: &mut Findings) {
    match client.get::<Status>(paths::ADMIN_STATUS) {
        Ok(status) => show_status(&status, now, findings),
        Err(error) => findings.failed(format!("the CA does not say how it is: {error}"), "look at its log"),
    }
    match client.get::<Page<Issuer>>(paths::ADMIN_ISSUERS) {
        Ok(page) => match page.items.iter().find(|issuer| issuer.state == "signing") {
            Some(issuer) => issuer_life(issuer, &rotate(config), now, findings),
            None => findings.failed("no issuer signs", rotate(config)),
        },
        Err(error) => {
            findings.failed(format!("the CA does not show its issuers: {error}"), "look at its log")
        }
    }
}

fn show_status(status: &Status, now: Timestamp, findings: &mut Findings) {
    if let Ok(theirs) = status.server_time.parse() {
        compare_clocks(theirs, now, "the CA", findings);
    }
    match &status.store_read_only {
        None => findings.good("the book takes writes"),
        Some(why) => findings.failed(
            format!("the book is read-only: {why}"),
            "repair the disk or make room, then restart the CA",
        ),
    }
    match &status.archive_failing {
        None => findings.good(format!("old events leave the book: {} have", status.events_archived)),
        Some(why) => findings.failed(
            format!("old events stay in the book: {why}"),
            "put right what it names; the CA tries again every half minute and loses nothing meanwhile",
        ),
    }
    match status.server_not_after.parse::<Timestamp>() {
        Ok(end) if end <= now => findings.failed(
            format!("the CA's own server certificate ended {}", distance(end, now)),
            "its log says why it was not renewed; a restart makes a new one",
        ),
        Ok(end) => {
            findings.good(format!("the CA's own server certificate is valid until {}", relative(end, now)))
        }
        Err(_) => {}
    }
}

/// Warns at 50 and 25 percent of life, fails at 10: a rotation needs a person with the root's passphrase.
fn issuer_life(issuer: &Issuer, remedy: &str, now: Timestamp, findings: &mut Findings) {
    let end = issuer.not_after.parse().map_or_else(|_| issuer.not_after.clone(), |end| relative(end, now));
    let percent = issuer.life_left_percent;
    let text = format!("the issuer has {percent} % of its life left, until {end}");
    match percent {
        0..=10 => findings.failed(text, format!("now: {remedy}")),
        11..=25 => findings.warning(text, format!("soon: {remedy}")),
        26..=50 => findings.warning(text, format!("plan for it: {remedy}")),
        _ => findings.good(text),
    }
}

/// How to come by a new issuer.
pub(super) fn rotate(config: &Config) -> String {
    format!(
        "make a new issuer: countersign issuer rotate --config {} (needs the root's passphrase)",
        config.file.display()
    )
}

/// The listeners of a running CA: does it show itself with its own name, under its own root?
fn doors(config: &Config, now: Timestamp, findings: &mut Findings) {
    let listen = HostPort::new(reachable(config.listen).ip().to_string(), config.listen.port());
    match listen.meet(provider()) {
        Ok(met) => match server_identity(config, &met.chain, now) {
            Ok(id) => findings.good(format!("machines that connect to {listen} find {id} ({})", met.group)),
            Err(why) => findings.failed(
                format!("machines that connect to {listen} turn away: {why}"),
                "is another program listening there? its log, or a restart of the CA, says more",
            ),
        },
        Err(error) => findings.failed(error.to_string(), "does the CA's log name another address?"),
    }
    front_door(config, &listen, now, findings);
    ops(config.ops_listen, findings);
}

/// Whether the URL that invitations carry leads here. A CA that cannot reach itself by its own name may still be reached by
/// others, so silence is a warning; somebody else's certificate is not.
fn front_door(config: &Config, listen: &HostPort, now: Timestamp, findings: &mut Findings) {
    let url = &config.url;
    let Ok(endpoint) = url.parse::<Endpoint>() else { return };
    if endpoint.host().parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
        return findings.failed(
            format!("invitations send machines to {url}, which is no address"),
            format!("set url in {} to a name that machines can reach", config.file.display()),
        );
    }
    let door = HostPort::new(endpoint.host().to_owned(), endpoint.port());
    if door == *listen {
        return;
    }
    match door.meet(provider()) {
        Ok(met) => match server_identity(config, &met.chain, now) {
            Ok(_) => findings.good(format!("{url}, which invitations carry, leads to this CA")),
            Err(why) => findings.failed(
                format!("{url}, which invitations carry, leads to somebody else: {why}"),
                format!("correct url in {}, or the name's address", config.file.display()),
            ),
        },
        Err(error) => findings.warning(
            format!("{url}, which invitations carry, cannot be reached from here: {error}"),
            format!(
                "if machines cannot reach it either, correct url in {}, the name's address, or the firewall",
                config.file.display()
            ),
        ),
    }
}

fn server_identity(
    config: &Config,
    chain: &[rustls::pki_types::CertificateDer<'static>],
    now: Timestamp,
) -> Result<String, String> {
    let root = config.state.root_certificate();
    let text = fs::read(&root).map_err(|error| format!("cannot read {}: {error}", root.display()))?;
    let roots = certificates_from_pem(&text).map_err(|error| format!("{}: {error}", root.display()))?;
    let leaf = CertificateFacts::read(chain.first().ok_or("no certificate was shown")?)?;
    let id = verdict(chain, &leaf, roots, Usage::Server, now)?;
    let expected = format!("{}/countersign/ca", config.trust_domain.id());
    if id.as_str() == expected { Ok(expected) } else { Err(format!("it is {id}, expected {expected}")) }
}

fn ops(address: SocketAddr, findings: &mut Findings) {
    let address = reachable(address);
    let ops = HostPort::new(address.ip().to_string(), address.port());
    match ops.connect() {
        // Elsewhere than on loopback it speaks TLS and wants a permission (DESIGN §7): that it listens must do.
        Ok(_) if !address.ip().is_loopback() => findings.good(format!("health and metrics listen on {ops}")),
        Ok(mut stream) => match head(&mut stream, &ops.to_string(), paths::READYZ) {
            Some((200, _)) => findings.good(format!("the CA says on {ops} that it is ready")),
            Some((status, _)) => findings.failed(
                format!("the CA says on {ops} that it is not ready (status {status})"),
                format!("curl http://{ops}{} says why", paths::READYZ),
            ),
            None => findings.failed(
                format!("what listens on {ops} does not answer as the CA"),
                "is another program listening there?",
            ),
        },
        Err(error) => findings.failed(error.to_string(), "does the CA's log name another address?"),
    }
}

/// Where to connect to reach a listener that listens everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (std::net::Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// Whether a CA that does not run could listen there.
fn free(address: SocketAddr, key: &str, findings: &mut Findings) {
    match TcpListener::bind(address) {
        Ok(_) => findings.good(format!("{address} ({key}) is free to listen on")),
        Err(error) => findings.failed(
            format!("cannot listen on {address} ({key}): {error}"),
            format!("stop what listens there, or change {key} in the configuration"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::State;

    fn life(percent: u8) -> State {
        let issuer = Issuer {
            key: String::new(),
            serial: String::new(),
            state: "signing".into(),
            not_before: String::new(),
            not_after: "2027-01-01T00:00:00Z".into(),
            life_left_percent: percent,
        };
        let mut findings = Findings::default();
        issuer_life(&issuer, "rotate", Timestamp::from_unix(0), &mut findings);
        findings.0[0].state
    }

    #[test]
    fn an_issuer_warns_at_half_and_a_quarter_of_its_life_and_fails_at_a_tenth() {
        assert_eq!([51, 50, 25, 10].map(life), [State::Good, State::Warning, State::Warning, State::Failed]);
    }

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
    }

    #[test]
    fn a_port_in_use_fails_and_names_the_key_to_change() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut findings = Findings::default();
        free(taken.local_addr().unwrap(), "ops_listen", &mut findings);
        assert_eq!(findings.0[0].state, State::Failed);
        assert!(findings.0[0].remedy.as_ref().unwrap().contains("change ops_listen"));
    }
}
