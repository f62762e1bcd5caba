//! Trust from the certificate authority itself: asked once, then told of each change (`GET /v1/trust`, DESIGN §4).

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use countersign_identity::hex;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, ETAG, HOST, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::link::retry_after;
use super::live::LiveTrust;
use crate::client::ConnectError;
use crate::own::{OwnIdentity, SetupError};
use crate::snapshot::{PartRef, Parts, SnapshotFault};

/// Name look-up, TCP and TLS together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// An answer may be held for 55 s; whoever is silent for longer is gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);

/// The largest snapshot read.
const SNAPSHOT_LIMIT: usize = 1 << 20;

/// Where a certificate authority listens: `https://HOST:PORT`, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaAddress {
    host: String,
    port: u16,
}

/// Why a text is not the address of a certificate authority.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("found {found:?}, expected the URL of a certificate authority such as https://ca.example:8443")]
pub struct CaAddressError {
    found: String,
}

/// Why nothing could be had.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot set up TLS to {0}")]
    Setup(#[from] SetupError),
    #[error("cannot reach the certificate authority: {0}")]
    Network(#[from] io::Error),
    #[error("cannot reach the certificate authority: {0}")]
    Connect(#[from] ConnectError),
    #[error("the certificate authority did not answer within {0:?}")]
    Late(Duration),
    #[error("the connection to the certificate authority broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer of the certificate authority cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the certificate authority answers {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error(transparent)]
    Refused(#[from] SnapshotFault),
    #[error("the request cannot be made: {0}")]
    Request(#[from] hyper::http::Error),
}

impl CaAddress {
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

/// One connection, and what came over it.
struct Conversation<'a> {
    live: &'a LiveTrust,
    host: &'a HeaderValue,
    sender: SendRequest<Empty<Bytes>>,
    /// The `ETag` of the snapshot in force, once it came from there.
    tag: Option<HeaderValue>,
}

impl LiveTrust {
    /// Asks the certificate authority for snapshots, as `own`, for as long as it is not dropped. Each change is there
    /// as soon as the CA has it. While it cannot be reached, what is in force stays, and it is asked again after waits
    /// that grow to a minute.
    ///
    /// The CA is known by the roots of the trust domain and the name `spiffe://TRUST-DOMAIN/countersign/ca`, and by
    /// nothing else: the host name only says where to connect.
    ///
    /// ```no_run
    /// # async fn example(trust: countersign_verifier::LiveTrust) -> Result<(), Box<dyn std::error::Error>> {
    /// use countersign_verifier::OwnIdentity;
    /// let me = OwnIdentity::from_files("svid.pem", "svid.key")?;
    /// tokio::spawn(trust.clone().follow_ca("https://ca.example:8443".parse()?, Some(me)));
    /// trust.ready().await;
    /// # Ok(()) }
    /// ```
    pub async fn follow_ca(self, ca: CaAddress, own: Option<Arc<OwnIdentity>>) {
        let mut backoff = Backoff::default();
        loop {
            let fault = match self.converse(&ca, own.clone(), &mut backoff).await {
                Ok(never) => match never {},
                Err(fault) => fault,
            };
            let asked = match &fault {
                Fault::Status { retry_after, .. } => *retry_after,
                _ => None,
            };
            // A forgery was counted and said where it was judged.
            if !matches!(fault, Fault::Refused(_)) {
                self.unreachable(fault.to_string());
            }
            sleep(backoff.wait(self.random(), asked)).await;
        }
    }

    /// Talks over one connection until it breaks.
    async fn converse(
        &self,
        ca: &CaAddress,
        own: Option<Arc<OwnIdentity>>,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Fault> {
        let connector = self.to_the_ca(own, "http/1.1")?;
        let connect = async {
            let tcp = TcpStream::connect((ca.host.as_str(), ca.port)).await?;
            // Small requests must not wait for company. Not being able to say so is no reason to give up.
            let _ = tcp.set_nodelay(true);
            Ok::<_, Fault>(connector.connect(tcp).await?)
        };
        let late = |_| Fault::Late(CONNECT_LIMIT);
        let (stream, _) = timeout(CONNECT_LIMIT, connect).await.map_err(late)??;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let host = HeaderValue::try_from(ca.to_string()).map_err(|fault| Fault::Request(fault.into()))?;
        let mut conversation = Conversation { live: self, host: &host, sender, tag: None };
        let rounds = async {
            loop {
                conversation.round().await?;
                backoff.reset();
            }
        };
        tokio::pin!(rounds);
        // The connection is driven here and ends with the conversation: nothing is left running behind.
        tokio::select! {
            broken = &mut rounds => broken,
            ended = connection => match timeout(CONNECT_LIMIT, rounds).await {
                Ok(broken) => broken,
                Err(_) => Err(ended.err().map_or(Fault::Late(CONNECT_LIMIT), Fault::Http)),
            },
        }
    }

    fn random(&self) -> u8 {
        let mut octet = [0];
        // Without randomness all wait the same: a crowd, and no fault.
        let _ = self.provider().secure_random.fill(&mut octet);
        let [octet] = octet;
        octet
    }
}

impl Conversation<'_> {
    /// Asks for what comes after the snapshot in force, waits for it, and puts it in force.
    async fn round(&mut self) -> Result<(), Fault> {
        let path = match (&self.tag, self.live.health().sequence) {
            (Some(_), Some(sequence)) => format!("/v1/trust?after={sequence}"),
            _ => "/v1/trust".to_owned(),
        };
        let tag = self.tag.clone();
        let response = self.ask(&path, tag).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED => {
                self.live.no_news();
                return Ok(());
            }
            StatusCode::OK => {}
            status => return Err(Fault::Status { status, retry_after: retry_after(&response) }),
        }
        let tag = response.headers().get(ETAG).cloned();
        let jws = read(response, SNAPSHOT_LIMIT).await?;
        let mut parts = Parts::new();
        for part in self.live.missing(&jws)? {
            parts.insert(*part.sha256(), self.part(&part).await?);
        }
        let live = self.live.clone();
        let offer = tokio::task::spawn_blocking(move || live.offer(&jws, &parts));
        offer.await.map_err(|fault| Fault::Body(Box::new(fault)))??;
        self.tag = tag;
        Ok(())
    }

    async fn part(&mut self, part: &PartRef) -> Result<Vec<u8>, Fault> {
        let path = format!("/v1/trust/part/{}", hex::encode(part.sha256()));
        let response = self.ask(&path, None).await?;
        match response.status() {
            StatusCode::OK => read(response, usize::try_from(part.size()).unwrap_or(usize::MAX)).await,
            status => Err(Fault::Status { status, retry_after: retry_after(&response) }),
        }
    }

    async fn ask(
        &mut self,
        path: &str,
        tag: Option<HeaderValue>,
    ) -> Result<Response<hyper::body::Incoming>, Fault> {
        let mut request = Request::get(path).header(HOST, self.host).header(ACCEPT, "application/jose, */*");
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let request = request.body(Empty::new())?;
        let answer = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        Ok(timeout(ANSWER_LIMIT, answer).await.map_err(|_| Fault::Late(ANSWER_LIMIT))??)
    }
}

async fn read(response: Response<hyper::body::Incoming>, limit: usize) -> Result<Vec<u8>, Fault> {
    let body = Limited::new(response.into_body(), limit).collect();
    let body = timeout(ANSWER_LIMIT, body).await.map_err(|_| Fault::Late(ANSWER_LIMIT))?;
    Ok(body.map_err(Fault::Body)?.to_bytes().into())
}

impl FromStr for CaAddress {
    type Err = CaAddressError;

    fn from_str(text: &str) -> Result<Self, CaAddressError> {
        let wrong = || CaAddressError { found: text.to_owned() };
        let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let plain = uri.scheme_str() == Some("https")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !authority.as_str().contains('@');
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match authority.port() {
            _ if !plain || host.is_empty() => Err(wrong()),
            None => Ok(Self { host: host.to_owned(), port: 443 }),
            Some(port) => Ok(Self { host: host.to_owned(), port: port.as_u16() }),
        }
    }
}

impl fmt::Display for CaAddress {
    /// `HOST:PORT`, as in a `Host` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_of_a_host_and_nothing_else() {
        for (text, shown) in [
            ("https://ca.example:8443", "ca.example:8443"),
            ("https://ca.example/", "ca.example:443"),
            ("https://[::1]:8443", "[::1]:8443"),
        ] {
            assert_eq!(text.parse::<CaAddress>().expect(text).to_string(), shown);
        }
        for text in
            ["ca.example:8443", "http://ca.example", "https://u@ca.example", "https://ca.example/x", ""]
        {
            assert!(text.parse::<CaAddress>().is_err(), "{text}");
        }
    }
}
