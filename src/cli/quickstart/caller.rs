//! One call to the ledger over mutual TLS: a fresh connection, one request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use countersign_verifier::{ClientBuilder, ClientConnector, OwnIdentity, PeerRule, SpiffeId, TrustStore};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::cli::CliError;

const PATIENCE: Duration = Duration::from_secs(5);
/// The ledger's answers are short.
const LONGEST_ANSWER: usize = 16 * 1024;

/// What the ledger answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The body, or the reason in it.
    pub(super) words: String,
}

/// Calls the ledger as somebody.
#[derive(Clone)]
pub(super) struct Caller {
    connector: Arc<ClientConnector>,
    address: SocketAddr,
}

impl Caller {
    /// As `identity`, or as nobody, to the server that must be `service`.
    pub(super) fn new(
        identity: Option<Arc<OwnIdentity>>,
        trust: Arc<TrustStore>,
        service: &SpiffeId,
        address: SocketAddr,
    ) -> Result<Self, CliError> {
        let mut settings =
            ClientBuilder::new(trust).expect(PeerRule::one_of([service.clone()])).alpn(&["http/1.1"]);
        if let Some(identity) = identity {
            settings = settings.identity(identity);
        }
        let connector = Arc::new(settings.build().map_err(CliError::failed)?);
        Ok(Self { connector, address })
    }

    /// One request; an error is the connection's, in words.
    pub(super) async fn call(&self, method: Method, path: &str) -> Result<Answer, String> {
        timeout(PATIENCE, self.talk(method, path)).await.map_err(|_| "no answer in time".to_owned())?
    }

    async fn talk(&self, method: Method, path: &str) -> Result<Answer, String> {
        let socket = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        let (stream, _peer) = self.connector.connect(socket).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(reason)?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "ledger")
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(reason)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            Ok(Answer { status, words: words(&String::from_utf8_lossy(&body)) })
        }
        .await;
        driver.abort();
        answer
    }
}

/// With TLS 1.3 a refused client learns it at its first read, so the alert is deep inside the HTTP error; and the closing
/// connection may overtake it.
fn reason(error: impl std::error::Error + 'static) -> String {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(one) = next {
        if let Some(tls) = one.downcast_ref::<rustls::Error>() {
            return tls.to_string();
        }
        // What an I/O error wraps is not always its source.
        let wrapped = one.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|inner| inner as _).or_else(|| one.source());
    }
    "connection closed by the ledger".to_owned()
}

/// The detail of a problem document, or the text itself.
fn words(body: &str) -> String {
    let problem: Option<countersign_api::Problem> = serde_json::from_str(body).ok();
    problem.map_or_else(|| body.trim().to_owned(), |problem| problem.detail)
}
