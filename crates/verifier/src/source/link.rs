//! Requests to the certificate authority: one HTTP/2 connection, opened when it is needed, under the service's own identity.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::ca::CaAddress;
use super::live::LiveTrust;
use crate::client::{ClientBuilder, ClientConnector, ConnectError};
use crate::own::{OwnIdentity, SetupError};
use crate::rule::PeerRule;

/// From name look-up to the last octet of the answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest answer read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How long a connection is used: what a service may ask is what its newest certificate says.
const AGE: Duration = Duration::from_secs(300);

/// A way to ask the certificate authority, made by [`LiveTrust::link`]. Cloning shares its connection.
///
/// The CA is known by the roots of the trust domain and the name `spiffe://TRUST-DOMAIN/countersign/ca`: nobody else gets a
/// request.
#[derive(Clone, Debug)]
pub struct CaLink(Arc<Link>);

#[derive(Debug)]
struct Link {
    ca: CaAddress,
    connector: ClientConnector,
    random: Arc<rustls::crypto::CryptoProvider>,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// Why the certificate authority gave no answer of use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkFault {
    #[error("cannot reach the certificate authority: {0}")]
    Network(#[from] io::Error),
    #[error("cannot reach the certificate authority: {0}")]
    Connect(#[from] ConnectError),
    #[error("the certificate authority did not answer within {LIMIT:?}")]
    Late,
    #[error("the connection to the certificate authority broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer of the certificate authority cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the certificate authority answers {status}{code}")]
    Status { status: StatusCode, code: String, retry_after: Option<Duration> },
    #[error("the request cannot be made: {0}")]
    Request(#[from] hyper::http::Error),
}

impl LiveTrust {
    /// A way to ask the certificate authority as `own`: to report decisions, or to ask about API keys.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn link(&self, ca: CaAddress, own: Arc<OwnIdentity>) -> Result<CaLink, SetupError> {
        let connector = self.to_the_ca(Some(own), "h2")?;
        let random = Arc::clone(self.provider());
        Ok(CaLink(Arc::new(Link { ca, connector, random, open: Mutex::new(None) })))
    }

    /// Connects to the certificate authority and to nobody else.
    pub(super) fn to_the_ca(
        &self,
        own: Option<Arc<OwnIdentity>>,
        protocol: &str,
    ) -> Result<ClientConnector, SetupError> {
        // A trust domain too long to have a CA's name has no CA: the empty rule admits nobody.
        let name = self.trust_domain().with_path("/countersign/ca").ok();
        let mut settings = ClientBuilder::new(Arc::clone(self.ca()))
            .expect(PeerRule::one_of(name))
            .clock(Arc::clone(self.clock()))
            .provider(Arc::clone(self.provider()))
            .alpn(&[protocol]);
        if let Some(own) = own {
            settings = settings.identity(own);
        }
        settings.build()
    }
}

impl CaLink {
    /// Sends a body and hands out that of a successful answer.
    pub(crate) async fn post(
        &self,
        path: &str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, LinkFault> {
        timeout(LIMIT, self.0.post(path, kind, body.into())).await.map_err(|_| LinkFault::Late)?
    }

    /// To spread waits by.
    pub(crate) fn random(&self) -> u8 {
        let mut octet = [0];
        // Without randomness all wait the same: a crowd, and no fault.
        let _ = self.0.random.secure_random.fill(&mut octet);
        let [octet] = octet;
        octet
    }
}

impl Link {
    async fn post(&self, path: &str, kind: &'static str, body: Bytes) -> Result<Vec<u8>, LinkFault> {
        let mut sender = self.sender().await?;
        let request = Request::post(format!("https://{}{path}", self.ca))
            .header(CONTENT_TYPE, kind)
            .header(ACCEPT, "application/json")
            .body(Full::new(body))?;
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(fault) => {
                self.hang_up().await;
                return Err(fault.into());
            }
        };
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(LinkFault::Body)?.to_bytes();
        if status.is_success() {
            return Ok(body.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            // By another connection it may know us again, under a newer certificate.
            self.hang_up().await;
        }
        Err(LinkFault::Status { status, code: code(&body), retry_after })
    }

    /// The connection there is, or a new one.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, LinkFault> {
        let mut open = self.open.lock().await;
        if let Some(Open { sender, since }) = &mut *open
            && since.elapsed() < AGE
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let tcp = TcpStream::connect((self.ca.host(), self.ca.port())).await?;
        // Small requests must not wait for company. Not being able to say so is no reason to give up.
        let _ = tcp.set_nodelay(true);
        let (stream, _) = self.connector.connect(tcp).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(LIMIT).keep_alive_timeout(LIMIT);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // It ends when the last sender is gone.
        tokio::spawn(async move {
            if let Err(fault) = connection.await {
                tracing::debug!(%fault, "the connection to the certificate authority ended");
            }
        });
        *open = Some(Open { sender: sender.clone(), since: Instant::now() });
        Ok(sender)
    }

    async fn hang_up(&self) {
        *self.open.lock().await = None;
    }
}

impl LinkFault {
    /// What was answered, if anything was.
    pub(crate) const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// How long the CA asks to wait.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// `Retry-After` in seconds; the form with a date is not used by this CA.
pub(super) fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The stable word of a problem document, for the log.
fn code(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
    }
    let problem = serde_json::from_slice::<Problem>(body);
    problem.map_or_else(|_| String::new(), |problem| format!(", {:?}", problem.code))
}
