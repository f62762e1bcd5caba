//! A live TLS endpoint, met without believing it: who answers, with what chain and which key exchange.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use countersign_identity::Timestamp;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::TLS13,
};

use time::{PrimitiveDateTime, macros::format_description};

use super::CliError;

/// How long connecting, and each answer after it, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read; its head is all that matters.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// `HOST:PORT`, the host a name or an address (IPv6 in brackets).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostPort {
    host: String,
    port: u16,
}

/// What a handshake showed.
pub(crate) struct Met {
    /// The chain as sent, leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The key-exchange group.
    pub(crate) group: String,
    /// The cipher suite.
    pub(crate) suite: String,
    /// Whether the server asked for a client certificate.
    pub(crate) asks_for_certificate: bool,
    authority: String,
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// How a connection ended after the handshake, before an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Late {
    /// With this TLS alert (RFC 8446 §6).
    Alert(AlertDescription),
    /// Some other way, in words.
    Broken(String),
}

impl From<&std::io::Error> for Late {
    fn from(error: &std::io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl HostPort {
    /// The host, IPv6 without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The host and port as given.
    pub(crate) const fn new(host: String, port: u16) -> Self {
        Self { host, port }
    }

    /// Handshakes with TLS 1.3, accepting any certificate, for looking only: nothing secret is ever sent.
    pub(crate) fn meet(&self, provider: Arc<CryptoProvider>) -> Result<Met, CliError> {
        self.meet_as(provider, None)
    }

    /// The same, with a certificate to show if one is asked for.
    pub(crate) fn meet_as(
        &self,
        provider: Arc<CryptoProvider>,
        own: Option<Arc<CertifiedKey>>,
    ) -> Result<Met, CliError> {
        let failed = |error: &dyn fmt::Display| {
            CliError::unreachable(format_args!("no TLS 1.3 connection to {self}: {error}"))
        };
        let asked = Arc::new(AtomicBool::new(false));
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| failed(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_client_cert_resolver(Arc::new(Shown { asked: Arc::clone(&asked), own }));
        let name = ServerName::try_from(self.host.clone()).map_err(|error| failed(&error))?;
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(|error| failed(&error))?;
        let mut tcp = self.connect()?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).map_err(|error| failed(&error))?;
        }
        Ok(Met {
            chain: tls.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
            group: tls
                .negotiated_key_exchange_group()
                .map(|group| format!("{:?}", group.name()))
                .unwrap_or_default(),
            suite: tls
                .negotiated_cipher_suite()
                .map(|suite| format!("{:?}", suite.suite()))
                .unwrap_or_default(),
            asks_for_certificate: asked.load(Ordering::Relaxed),
            authority: self.to_string(),
            stream: StreamOwned::new(tls, tcp),
        })
    }

    /// A plain TCP connection.
    pub(crate) fn connect(&self) -> Result<TcpStream, CliError> {
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| CliError::unreachable(format_args!("cannot look up {}: {error}", self.host)))?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    // A socket that takes no time limit only makes the wait longer.
                    let _ =
                        stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
        Err(CliError::unreachable(format_args!("cannot connect to {self}: {why}")))
    }
}

impl Met {
    /// `GET path`, down to the body. A server of TLS 1.3 refuses a client certificate only now, with an alert.
    pub(crate) fn answer(mut self, path: &str) -> Result<String, Late> {
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.authority)
            .map_err(|error| Late::from(&error))?;
        let mut answer = Vec::new();
        match (&mut self.stream).take(LONGEST_ANSWER).read_to_end(&mut answer) {
            // A peer that closes without a TLS goodbye has still said what it had to say.
            Err(error) if answer.is_empty() => Err(Late::from(&error)),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }

    /// `GET path`; the answer's status and `Date` header (RFC 9110 §6.6.1).
    pub(crate) fn get(mut self, path: &str) -> Option<(u16, Option<String>)> {
        head(&mut self.stream, &self.authority, path)
    }
}

/// `GET path` on an open connection; the answer's status and `Date` header.
pub(crate) fn head(
    stream: &mut (impl std::io::Read + std::io::Write),
    authority: &str,
    path: &str,
) -> Option<(u16, Option<String>)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    // A peer that closes without a TLS goodbye has still said all that is read here.
    let _ = stream.take(LONGEST_ANSWER).read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let date = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("date"));
    Some((status, date.map(|(_, value)| value.trim().to_owned())))
}

/// IMF-fixdate (RFC 9110 §5.6.7).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let time = PrimitiveDateTime::parse(text, format).ok()?;
    Some(Timestamp::from_unix(time.assume_utc().unix_timestamp()))
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected HOST:PORT, such as ca.example:8443 or [::1]:8443";
        let text = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| EXPECTED)?;
        ServerName::try_from(host).map_err(|_| EXPECTED)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Accepts any certificate whose key is really there; what it is worth is judged afterwards.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Shows the client certificate there is, if any, and remembers that one was asked for.
#[derive(Debug)]
struct Shown {
    asked: Arc<AtomicBool>,
    own: Option<Arc<CertifiedKey>>,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.own.clone()
    }

    fn has_certs(&self) -> bool {
        // Without a yes here the question never arrives.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_a_port_are_understood() {
        for (text, host) in
            [("ca.example:8443", "ca.example"), ("[::1]:1", "::1"), ("https://127.0.0.1:2/", "127.0.0.1")]
        {
            assert_eq!(text.parse::<HostPort>().unwrap().host(), host);
        }
        for text in ["ca.example", "ca.example:port", ":1", "a b:1", "ca.example:99999"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
        assert_eq!("[::1]:1".parse::<HostPort>().unwrap().to_string(), "[::1]:1");
    }

    #[test]
    fn nobody_at_the_door_is_unreachable() {
        // Port 1 on loopback is closed wherever tests run.
        let met = HostPort::new("127.0.0.1".into(), 1).meet(countersign_verifier::provider());
        assert_eq!(met.err().unwrap().kind(), crate::cli::error::Kind::Unreachable);
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Timestamp::from_unix(784_111_777)));
        assert_eq!(http_date("yesterday"), None);
    }
}
