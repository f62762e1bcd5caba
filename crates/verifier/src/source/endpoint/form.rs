//! A form of another's web server, known by its host name: filled in, sent, and answered. Nothing is sent on to another address,
//! since what is sent is a secret.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_identity::Clock;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use tokio::time::{Instant, timeout};

use super::WebRoots;
use super::fetch::{FetchFault, web_stream};
use super::url::EndpointUrl;
use crate::own::SetupError;
use crate::provider::provider;
use crate::tls;

/// From name look-up to the last octet of the answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest answer read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How long a connection is used: what is shown on it is an identity that is renewed.
const AGE: Duration = Duration::from_secs(300);

/// Where a form is sent, and by what its server is known.
pub(crate) struct WebForm {
    url: EndpointUrl,
    config: Arc<ClientConfig>,
    /// The last connection that was not needed any more.
    idle: Mutex<Option<Line>>,
}

/// An open connection.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl WebForm {
    pub(crate) fn new(
        url: EndpointUrl,
        roots: &WebRoots,
        clock: &Arc<dyn Clock>,
        identity: Option<Arc<dyn ResolvesClientCert>>,
    ) -> Result<Self, SetupError> {
        let config = tls::web_config(&provider(), clock, Arc::clone(&roots.0), identity)?;
        Ok(Self { url, config, idle: Mutex::default() })
    }

    /// What is answered to this form.
    pub(crate) async fn send(
        &self,
        authorization: Option<&HeaderValue>,
        form: String,
    ) -> Result<(StatusCode, Bytes), String> {
        let form = Bytes::from(form);
        let late = |_| format!("it did not answer within {LIMIT:?}");
        let answered = timeout(LIMIT, self.ask(authorization, form)).await.map_err(late)?;
        answered.map_err(|fault| fault.to_string())
    }

    async fn ask(
        &self,
        authorization: Option<&HeaderValue>,
        form: Bytes,
    ) -> Result<(StatusCode, Bytes), FetchFault> {
        if let Some(line) = self.kept() {
            match self.ask_on(line, authorization, form.clone()).await {
                // It was closed over there. Asking twice changes nothing.
                Err(FetchFault::Http(_)) => {}
                answered => return answered,
            }
        }
        let stream = web_stream(&self.config, &self.url).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends when the sender is gone.
        tokio::spawn(async move {
            if let Err(fault) = connection.await {
                tracing::debug!(%fault, "the connection to an authorization server ended");
            }
        });
        self.ask_on(Line { sender, since: Instant::now() }, authorization, form).await
    }

    async fn ask_on(
        &self,
        mut line: Line,
        authorization: Option<&HeaderValue>,
        form: Bytes,
    ) -> Result<(StatusCode, Bytes), FetchFault> {
        line.sender.ready().await?;
        let mut request = Request::post(self.url.target())
            .header(HOST, self.url.authority())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = line.sender.send_request(request.body(Full::new(form))?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(FetchFault::Body)?.to_bytes();
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
        Ok((status, body))
    }

    /// The connection that was kept, if it is young enough.
    fn kept(&self) -> Option<Line> {
        let line = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        line.filter(|line| line.since.elapsed() < AGE)
    }
}

impl fmt::Display for WebForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
