//! The configuration the program uses: every value parsed, every path resolved.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use countersign_identity::TrustDomain;

use super::{ConfigFile, LimitsTable, StateDir};

/// A configuration that holds together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read from.
    pub file: PathBuf,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Where machines connect.
    pub listen: SocketAddr,
    /// Where health and metrics are served.
    pub ops_listen: SocketAddr,
    /// `https://HOST:PORT`, as invitations carry it.
    pub url: String,
    /// The host part of `url`.
    pub host: String,
    /// Keys, book, socket.
    pub state: StateDir,
    /// The directory of profiles.
    pub profiles: PathBuf,
    /// How the book is kept.
    pub engine: Engine,
    /// The `tracing` filter.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Key-exchange groups, most wanted first.
    pub groups: Vec<KeyExchange>,
    /// Whether the trust snapshot is read without a certificate.
    pub trust_public: bool,
    /// Every limit.
    pub limits: Limits,
}

/// The engine under the book.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// On disk, as a log-structured merge tree.
    Fjall,
    /// On disk, as a tree of pages.
    Sled,
    /// Forgotten at exit.
    Memory,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// A TLS 1.3 key-exchange group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyExchange {
    /// Hybrid of X25519 and ML-KEM-768.
    X25519MlKem768,
    /// X25519 (RFC 7748).
    X25519,
    /// NIST P-256.
    Secp256r1,
    /// NIST P-384.
    Secp384r1,
}

/// Every limit of invariant 10, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Handshakes under way at once.
    pub handshakes: usize,
    /// Connections open at once.
    pub connections: usize,
    /// Connections open at once from one address.
    pub connections_per_source: usize,
    /// Time for a handshake.
    pub handshake: Duration,
    /// Time for a request.
    pub request: Duration,
    /// Age at which a connection is closed.
    pub connection_age: Duration,
    /// Requests a second from one address.
    pub requests_per_second_per_source: u32,
    /// Burst of one address.
    pub burst_per_source: u32,
    /// Renewals a minute of one machine.
    pub renewals_per_minute_per_machine: u32,
    /// Access tokens a second of one identity.
    pub tokens_per_second_per_identity: u32,
    /// Depth of the book's queue.
    pub store_queue: usize,
}

/// Why a configuration cannot be used: which file, what was found, what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not TOML, or a key that does not exist.
    #[error("{path}, line {line}, column {column}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What was found, and the nearest known key if one is near.
        what: String,
    },
    /// A value that is not allowed.
    #[error("{path}: {key} = {found:?}: expected {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What would be allowed.
        expected: String,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Names the file and the key, what was found and what was expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Checks `text` as if it had been read from `path`, against which relative paths are resolved.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| malformed(path, text, &error))?;
        let value = |key, found: &str, expected: String| ConfigError::Value {
            path: path.into(),
            key,
            found: found.into(),
            expected,
        };
        let address = |key, text: &str| {
            text.parse::<SocketAddr>()
                .map_err(|_| value(key, text, "ADDRESS:PORT, for example \"127.0.0.1:8443\"".into()))
        };
        let ops_listen = address("ops_listen", &file.ops_listen)?;
        if !ops_listen.ip().is_loopback() {
            let expected = "a loopback address: health and metrics are plain HTTP without authentication";
            return Err(value("ops_listen", &file.ops_listen, expected.into()));
        }
        let base = path.parent().unwrap_or(Path::new("."));
        let listen = address("listen", &file.listen)?;
        let url = file.url.clone().unwrap_or_else(|| format!("https://{listen}"));
        let host = host_of(&url).ok_or_else(|| value("url", &url, "https://HOST:PORT".into()))?;
        Ok(Self {
            file: path.into(),
            trust_domain: file.trust_domain.parse().map_err(|error| {
                value("trust_domain", &file.trust_domain, format!("a trust domain: {error}"))
            })?,
            listen,
            ops_listen,
            url,
            host,
            state: StateDir::new(base.join(&file.state)),
            profiles: base.join(&file.profiles),
            engine: match file.store.engine.as_str() {
                "fjall" => Engine::Fjall,
                "sled" => Engine::Sled,
                "memory" => Engine::Memory,
                other => {
                    return Err(value("store.engine", other, "\"fjall\", \"sled\" or \"memory\"".into()));
                }
            },
            log_level: log_level(&file.log.level, &value)?,
            log_format: match file.log.format.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(value("log.format", other, "\"text\" or \"json\"".into())),
            },
            groups: groups(&file, &value)?,
            trust_public: file.trust.public,
            limits: limits(&file.limits, &value)?,
        })
    }

    /// The unix socket the admin commands talk to.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.state.admin_socket()
    }
}

type ValueError<'a> = dyn Fn(&'static str, &str, String) -> ConfigError + 'a;

/// `LEVEL` or `TARGET=LEVEL`, with commas between. A mistyped level would otherwise be taken for a target and silence
/// everything.
fn log_level(text: &str, value: &ValueError<'_>) -> Result<String, ConfigError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let expected = format!("LEVEL or TARGET=LEVEL, with LEVEL one of {}", LEVELS.join(", "));
            return Err(value("log.level", directive, expected));
        }
    }
    Ok(text.to_owned())
}

fn groups(file: &ConfigFile, value: &ValueError<'_>) -> Result<Vec<KeyExchange>, ConfigError> {
    const KNOWN: &str = "a list of \"X25519MLKEM768\", \"X25519\", \"secp256r1\", \"secp384r1\"";
    let groups = file
        .tls
        .groups
        .iter()
        .map(|name| match name.to_ascii_lowercase().as_str() {
            "x25519mlkem768" => Ok(KeyExchange::X25519MlKem768),
            "x25519" => Ok(KeyExchange::X25519),
            "secp256r1" | "p-256" => Ok(KeyExchange::Secp256r1),
            "secp384r1" | "p-384" => Ok(KeyExchange::Secp384r1),
            _ => Err(value("tls.groups", name, KNOWN.into())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if groups.is_empty() { Err(value("tls.groups", "[]", KNOWN.into())) } else { Ok(groups) }
}

fn limits(table: &LimitsTable, value: &ValueError<'_>) -> Result<Limits, ConfigError> {
    let at_least_one = |key, n: u64| {
        if n == 0 { Err(value(key, "0", "at least 1".into())) } else { Ok(n) }
    };
    let size = |key, n: u64| at_least_one(key, n).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let seconds = |key, n: u64| at_least_one(key, n).map(Duration::from_secs);
    let rate = |key, n: u32| at_least_one(key, n.into()).map(|_| n);
    Ok(Limits {
        body_bytes: size("limits.body_bytes", table.body_bytes)?,
        handshakes: size("limits.handshakes", table.handshakes.into())?,
        connections: size("limits.connections", table.connections.into())?,
        connections_per_source: size("limits.connections_per_source", table.connections_per_source.into())?,
        handshake: seconds("limits.handshake_seconds", table.handshake_seconds)?,
        request: seconds("limits.request_seconds", table.request_seconds)?,
        connection_age: seconds("limits.connection_age_seconds", table.connection_age_seconds)?,
        requests_per_second_per_source: rate(
            "limits.requests_per_second_per_source",
            table.requests_per_second_per_source,
        )?,
        burst_per_source: rate("limits.burst_per_source", table.burst_per_source)?,
        tokens_per_second_per_identity: rate(
            "limits.tokens_per_second_per_identity",
            table.tokens_per_second_per_identity,
        )?,
        renewals_per_minute_per_machine: rate(
            "limits.renewals_per_minute_per_machine",
            table.renewals_per_minute_per_machine,
        )?,
        store_queue: size("limits.store_queue", table.store_queue.into())?,
    })
}

/// The host of an `https://HOST[:PORT]` URL without path, query or user.
fn host_of(url: &str) -> Option<String> {
    let authority = url.strip_prefix("https://")?.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
        return None;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    ConfigError::Malformed { path: path.into(), line, column, what: with_nearest(error.message()) }
}

/// serde says "unknown field `x`, expected one of `a`, `b`": add which of them was probably meant.
fn with_nearest(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let found = if message.starts_with("unknown field") { words.next() } else { None };
    let nearest = found.and_then(|found| {
        words
            .map(|known| (strsim::damerau_levenshtein(found, known), known))
            .filter(|(distance, _)| *distance <= 3)
            .min()
            .map(|(_, known)| known)
    });
    match nearest {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/countersign/countersign.toml"))
    }

    #[test]
    fn a_trust_domain_is_all_that_must_be_said() {
        let config = parse("trust_domain = \"prod.example\"").unwrap();
        assert_eq!(config.url, "https://127.0.0.1:8443");
        assert_eq!(config.host, "127.0.0.1");
        assert_eq!(config.admin_socket(), Path::new("/etc/countersign/state/admin.sock"));
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known() {
        let error = parse("trust_domain = \"td\"\nlisen = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("`lisen`"), "{error}");
        assert!(error.contains("did you mean `listen`"), "{error}");
    }

    #[test]
    fn an_unknown_key_in_a_table_is_named_too() {
        let error = parse("trust_domain = \"td\"\n[limits]\nbody_byte = 3").unwrap_err().to_string();
        assert!(error.contains("did you mean `body_bytes`"), "{error}");
    }

    #[test]
    fn a_wrong_value_says_what_was_expected() {
        for (text, expected) in [
            ("trust_domain = \"TD\"", "a trust domain"),
            ("trust_domain = \"td\"\nlisten = \"here\"", "ADDRESS:PORT"),
            ("trust_domain = \"td\"\nops_listen = \"192.0.2.1:9443\"", "a loopback address"),
            ("trust_domain = \"td\"\nurl = \"http://ca\"", "https://HOST:PORT"),
            ("trust_domain = \"td\"\n[store]\nengine = \"redb\"", "\"fjall\", \"sled\" or \"memory\""),
            ("trust_domain = \"td\"\n[tls]\ngroups = [\"ffdhe2048\"]", "X25519MLKEM768"),
            ("trust_domain = \"td\"\n[log]\nlevel = \"debgu\"", "LEVEL one of"),
            ("trust_domain = \"td\"\n[log]\nlevel = \"info,h2=loud\"", "LEVEL one of"),
            ("trust_domain = \"td\"\n[limits]\nhandshakes = 0", "at least 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_host_of_a_url_may_be_an_address() {
        assert_eq!(host_of("https://[::1]:8443").as_deref(), Some("::1"));
        assert_eq!(host_of("https://CA.example").as_deref(), Some("ca.example"));
        assert_eq!(host_of("https://user@ca"), None);
        assert_eq!(host_of("https://ca/path"), None);
    }
}
