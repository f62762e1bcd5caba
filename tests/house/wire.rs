//! A TLS client that trusts anybody and sends anything.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use countersign_api::Problem;
use rustix::net;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, SignatureScheme,
    StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde::de::DeserializeOwned;

/// Longer than anything here takes; past it the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate chain and its key, honest or not.
#[derive(Debug)]
pub(crate) struct Papers {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of an answer that is no refusal.
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem document of a refusal with this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Problem {
        let problem: Problem = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("expected {status} {code}, found {} {}", self.status, self.text()));
        assert_eq!((self.status, problem.code.as_str()), (status, code), "{}", problem.detail);
        assert_eq!(problem.status, status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert!(!problem.detail.is_empty(), "{code} says nothing");
        problem
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects to `to` and completes the handshake.
    pub(crate) fn open(to: SocketAddr, papers: Option<&Papers>) -> io::Result<Self> {
        Self::open_with(to, config(papers))
    }

    /// Likewise, with settings that may be shared by connections.
    pub(crate) fn open_with(to: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::over(TcpStream::connect(to)?, to, config)
    }

    /// Connects from one of this machine's addresses.
    pub(crate) fn open_from(from: IpAddr, to: SocketAddr, papers: Option<&Papers>) -> io::Result<Self> {
        Self::over(connect_from(from, to)?, to, config(papers))
    }

    fn over(tcp: TcpStream, to: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        tcp.set_read_timeout(Some(PATIENCE))?;
        // Head and body are two writes.
        tcp.set_nodelay(true)?;
        let client = ClientConnection::new(config, ServerName::from(to.ip())).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(client, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) fn group(&self) -> Option<NamedGroup> {
        self.stream.conn.negotiated_key_exchange_group().map(|group| group.name())
    }

    pub(crate) fn kind(&self) -> Option<HandshakeKind> {
        self.stream.conn.handshake_kind()
    }

    /// Session tickets received so far.
    pub(crate) fn tickets(&self) -> u32 {
        self.stream.conn.tls13_tickets_received()
    }

    pub(crate) fn server_chain(&self) -> Vec<CertificateDer<'static>> {
        self.stream
            .conn
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|one| one.clone().into_owned())
            .collect()
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)?;
        self.stream.flush()
    }

    /// Sends a request and reads the answer; the connection stays open.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &[u8])>,
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: ca\r\n");
        if let Some((kind, body)) = body {
            let _ = write!(head, "content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        }
        self.send(format!("{head}\r\n").as_bytes())?;
        if let Some((_, body)) = body {
            // A server that refuses by size may close before it has read everything.
            let _ = self.send(body);
        }
        if method == "HEAD" { self.head() } else { self.read() }
    }

    /// Posts JSON.
    pub(crate) fn post(&mut self, path: &str, body: &serde_json::Value) -> io::Result<Answer> {
        self.ask("POST", path, Some(("application/json", body.to_string().as_bytes())))
    }

    /// Reads one answer.
    pub(crate) fn read(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let length = answer.header("content-length").map_or(0, |value| value.parse().unwrap());
        while self.unread.len() < length {
            self.more()?;
        }
        answer.body = self.unread.drain(..length).collect();
        Ok(answer)
    }

    /// Reads the status and headers of an answer.
    fn head(&mut self) -> io::Result<Answer> {
        let head = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.unread.drain(..end + 4).collect::<Vec<_>>();
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Ok(Answer { status: status.unwrap(), headers, body: Vec::new() })
    }

    /// Whether the server closes within `patience` without saying anything more.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.stream.sock.set_read_timeout(Some(patience)).unwrap();
        match self.stream.read(&mut [0; 1]) {
            Ok(octets) => octets == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        match self.stream.read(&mut octets)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.unread.extend_from_slice(&octets[..read]);
                Ok(())
            }
        }
    }
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn post(to: SocketAddr, papers: Option<&Papers>, path: &str, body: &serde_json::Value) -> Answer {
    Connection::open(to, papers).and_then(|mut connection| connection.post(path, body)).unwrap()
}

/// One request without a body on a connection of its own.
#[track_caller]
pub(crate) fn get(to: SocketAddr, papers: Option<&Papers>, path: &str) -> Answer {
    Connection::open(to, papers).and_then(|mut connection| connection.ask("GET", path, None)).unwrap()
}

/// Connects from one of this machine's addresses, of which a loopback network has many.
pub(crate) fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::new(from, 0))?;
    net::connect(&socket, &to)?;
    Ok(socket.into())
}

/// A plain HTTP request, as the ops listener takes it.
pub(crate) fn plain_get(to: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// A client's settings; whoever shares them may resume sessions.
pub(crate) fn config(papers: Option<&Papers>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    Arc::new(match papers {
        Some(papers) => {
            let key = provider().key_provider.load_private_key(papers.key.clone_key()).unwrap();
            // Whether the key is that of the certificate is not this side's to ask.
            let shown = SingleCertAndKey::from(CertifiedKey::new(papers.chain.clone(), key));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Takes every server for the right one: what the CA does is under test here, not its callers.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
