//! One request to the CA: connect, prove who the CA is, ask, read the answer; at the next of its addresses if need be.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_api::{Problem, RootsResponse, paths};
use countersign_identity::Clock;
use countersign_verifier::{ClientBuilder, ClientConnector, ConnectError, OwnIdentity, Refusal};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::endpoint::Endpoint;
use crate::error::{AgentError, ErrorKind};
use crate::refusal;
use crate::roots::Roots;
use crate::route::Route;
use crate::stages::{Stage, Stages};

/// Name look-up, TCP and TLS together. Long enough for a lost packet or two, short enough to leave the CA time.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// Everything together: `enroll` is over within 10 s (DESIGN §6).
const WHOLE_LIMIT: Duration = Duration::from_secs(9);
/// The largest answer read. An honest one is below 16 KiB.
const BODY_LIMIT: usize = 256 * 1024;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Whom to ask, and as whom.
pub(crate) struct Contact<'a> {
    pub(crate) route: &'a Route,
    pub(crate) roots: &'a Roots,
    pub(crate) own: Option<Arc<OwnIdentity>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stages: &'a dyn Stages,
}

/// An answer, and which of the CA's addresses gave it.
pub(crate) struct Answer<A> {
    pub(crate) body: A,
    pub(crate) endpoint: Endpoint,
}

/// What is asked for.
struct Question<'a> {
    method: Method,
    path: &'a str,
    kind: &'static str,
    body: Vec<u8>,
    /// How long an answer may take.
    limit: Duration,
}

impl Contact<'_> {
    /// Posts a body and takes the answer.
    pub(crate) async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Answer<A>, AgentError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| AgentError::failed(format!("cannot write the request: {error}")))?;
        self.ask(&Question { method: Method::POST, path, kind: JSON, body, limit: WHOLE_LIMIT }).await
    }

    /// Posts a form and takes the answer.
    pub(crate) async fn form<A: DeserializeOwned>(
        &self,
        path: &str,
        form: &str,
    ) -> Result<Answer<A>, AgentError> {
        let body = form.as_bytes().to_vec();
        self.ask(&Question { method: Method::POST, path, kind: FORM, body, limit: WHOLE_LIMIT }).await
    }

    /// Asks for what is there. The CA may hold the request for as long as `patience`.
    pub(crate) async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        patience: Duration,
    ) -> Result<Answer<A>, AgentError> {
        let limit = WHOLE_LIMIT + patience;
        self.ask(&Question { method: Method::GET, path, kind: JSON, body: Vec::new(), limit }).await
    }

    /// Catches up with the CA's roots, where an answer brought others than are known. What is asked for is judged by the
    /// signatures of roots; without it, the roots known before count.
    pub(crate) async fn follow_roots(&self, bundle: &str) {
        if !self.roots.differ_from(bundle) {
            return;
        }
        let told = self.get::<RootsResponse>(paths::ROOTS, Duration::ZERO).await;
        if let Err(error) = told.and_then(|told| self.roots.walk(&told.body)) {
            tracing::warn!(
                hint = error.hint_of_agent(),
                "the CA names other roots than are known here, which stay: {error}"
            );
        }
    }

    /// Asks at the address that answered last, then at the others. A refusal of the CA is an answer; being away or busy,
    /// or another server than the CA, is not: whoever has one address blocks none of the others.
    async fn ask<A: DeserializeOwned>(&self, question: &Question<'_>) -> Result<Answer<A>, AgentError> {
        let mut worst: Option<(Standing, AgentError)> = None;
        for (at, endpoint) in self.route.in_turn() {
            let end = timeout(question.limit, Exchange { contact: self, endpoint }.perform(question)).await;
            let (standing, error) = match end {
                Ok(Ok(body)) => {
                    self.route.answered(at);
                    return Ok(Answer { body, endpoint: endpoint.clone() });
                }
                Ok(Err(end)) => end,
                Err(_) => {
                    let limit = question.limit.as_secs();
                    let late = format!("{endpoint} did not answer within {limit} s");
                    (Standing::Away, AgentError::unreachable(late))
                }
            };
            match (error.kind(), standing) {
                (ErrorKind::Unreachable, _) => {}
                (ErrorKind::Refused, Standing::Stranger) => tracing::warn!("passed over: {error}"),
                _ => return Err(error),
            }
            if worst.as_ref().is_none_or(|(before, _)| *before < standing) {
                worst = Some((standing, error));
            }
        }
        Err(worst.map_or_else(|| AgentError::failed("no address of the CA is known"), |(_, error)| error))
    }
}

/// Who it was that did not give what was asked for, the one most worth telling of last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Standing {
    /// Nobody.
    Away,
    /// Somebody who did not prove to be the CA.
    Stranger,
    /// The CA.
    Proven,
}

/// One try at one address.
struct Exchange<'a> {
    contact: &'a Contact<'a>,
    endpoint: &'a Endpoint,
}

impl Exchange<'_> {
    async fn perform<A: DeserializeOwned>(
        &self,
        question: &Question<'_>,
    ) -> Result<A, (Standing, AgentError)> {
        let stream = self.connect().await.map_err(|error| match error.kind() {
            ErrorKind::Unreachable => (Standing::Away, error),
            _ => (Standing::Stranger, error),
        })?;
        self.exchange(stream, question).await.map_err(|error| (Standing::Proven, error))
    }

    /// Asks a server that is the CA.
    async fn exchange<A: DeserializeOwned>(
        &self,
        stream: TlsStream<TcpStream>,
        question: &Question<'_>,
    ) -> Result<A, AgentError> {
        self.contact.stages.reached(Stage::BeforeRequest)?;
        let (status, retry_after, body) = self.send(stream, question).await?;
        self.contact.stages.reached(Stage::AfterAnswer)?;
        self.read(status, retry_after, &body)
    }

    /// What an answer says.
    fn read<A: DeserializeOwned>(
        &self,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Result<A, AgentError> {
        if status.is_success() {
            // An answer without content is read as `null`.
            let body = if body.is_empty() { b"null".as_slice() } else { body };
            return serde_json::from_slice(body).map_err(|error| {
                AgentError::refused(format!("the answer of {} is not understood: {error}", self.endpoint))
                    .with_hint("is this program older than the CA?")
            });
        }
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Err(refusal::of_problem(&problem, status, retry_after, self.contact.clock.now())),
            Err(_) => Err(match serde_json::from_slice::<refusal::OAuthError>(body) {
                Ok(error) => refusal::of_oauth(&error, status, retry_after),
                Err(_) => refusal::of_status(status, retry_after, self.endpoint),
            }),
        }
    }

    /// A connection to the CA, known by a root that this machine believes. A machine that was enrolled before its CA
    /// changed roots finds the way to the new ones first; one that is enrolling has a fresh pin, and believes nothing else.
    async fn connect(&self) -> Result<TlsStream<TcpStream>, AgentError> {
        let (contact, endpoint) = (self.contact, self.endpoint);
        let connect = || self.handshake(contact.roots.fingerprints(), contact.own.clone());
        let refusal = match connect().await? {
            Ok(stream) => return Ok(stream),
            Err(refusal) => refusal,
        };
        let said = |refusal: &Refusal| {
            refusal::of_server(refusal, contact.roots.pin(), endpoint, contact.clock.now())
        };
        match &refusal {
            Refusal::NotPinned { found: Some(root), .. } if contact.own.is_some() => {
                if let Err(error) = self.catch_up(*root).await {
                    let message = format!("{}; {error}", said(&refusal));
                    return Err(AgentError::refused(message).with_hint(
                        "no certificate was shown there and nothing asked for but the roots documents; check the URL, and compare the root fingerprint with what `countersign bundle show` prints at the CA",
                    ));
                }
            }
            _ => return Err(said(&refusal)),
        }
        connect().await?.map_err(|refusal| said(&refusal))
    }

    /// Asks a server under an unknown root for the roots documents, and for nothing else: as nobody, and believing nothing
    /// but what known roots have signed. Once they lead to that root it is known.
    async fn catch_up(&self, root: [u8; 32]) -> Result<(), AgentError> {
        let refused = |refusal| AgentError::refused(format!("it does not show the way either: {refusal}"));
        let stream = self.handshake(vec![root], None).await?.map_err(refused)?;
        let body = Vec::new();
        let question =
            Question { method: Method::GET, path: paths::ROOTS, kind: JSON, body, limit: WHOLE_LIMIT };
        let (status, _, body) = self.send(stream, &question).await?;
        // Nobody knows yet whose words these are: of an answer that is none, only the status is told.
        let (true, Ok(told)) = (status.is_success(), serde_json::from_slice::<RootsResponse>(&body)) else {
            return Err(AgentError::refused(format!("asked for its roots documents it answered {status}")));
        };
        self.contact.roots.walk(&told)?;
        if self.contact.roots.fingerprints().contains(&root) {
            return Ok(());
        }
        Err(AgentError::refused("its roots documents do not lead to the root it shows"))
    }

    /// Connects to a CA under one of these roots; inside, why the server is not that.
    async fn handshake(
        &self,
        roots: Vec<[u8; 32]>,
        own: Option<Arc<OwnIdentity>>,
    ) -> Result<Result<TlsStream<TcpStream>, Refusal>, AgentError> {
        let connector = self.connector(&roots, own)?;
        let deadline = Instant::now() + CONNECT_LIMIT;
        let tcp = self.reach(deadline).await?;
        // One small request and one answer: waiting to fill packets only adds delay. Not being able to set it is no
        // reason to give up.
        let _ = tcp.set_nodelay(true);
        match timeout_at(deadline, connector.connect(tcp)).await {
            Ok(Ok((stream, _))) => Ok(Ok(stream)),
            Ok(Err(ConnectError::Refused(refusal))) => Ok(Err(refusal)),
            // What arrived is not TLS 1.3 as we speak it; a broken connection is another kind of error.
            Ok(Err(ConnectError::Handshake(error))) if error.kind() == io::ErrorKind::InvalidData => Err(
                AgentError::refused(format!("{} does not speak TLS as a CA does: {error}", self.endpoint))
                    .with_hint("is the URL that of the CA's main listener?"),
            ),
            Ok(Err(error)) => Err(AgentError::unreachable(format!("{}: {error}", self.endpoint))),
            Err(_) => Err(AgentError::unreachable(format!(
                "{} did not complete the TLS handshake within {} s",
                self.endpoint,
                CONNECT_LIMIT.as_secs()
            ))),
        }
    }

    fn connector(
        &self,
        roots: &[[u8; 32]],
        own: Option<Arc<OwnIdentity>>,
    ) -> Result<ClientConnector, AgentError> {
        let trust_domain = self.contact.roots.pin().trust_domain.clone();
        let settings = ClientBuilder::pinned_roots(trust_domain, roots)
            .map_err(|error| AgentError::refused(format!("the trust domain names no CA: {error}")))?
            .clock(Arc::clone(&self.contact.clock))
            .alpn(&["http/1.1"]);
        let settings = match own {
            Some(own) => settings.identity(own),
            None => settings,
        };
        settings.build().map_err(|error| AgentError::failed(format!("cannot set up TLS: {error}")))
    }

    /// Tries the host's addresses in turn, each for its share of the time left: one that swallows packets must not
    /// use up the time of one that answers.
    async fn reach(&self, deadline: Instant) -> Result<TcpStream, AgentError> {
        let late = || AgentError::unreachable(format!("{} did not answer in time", self.endpoint));
        let addresses: Vec<SocketAddr> =
            timeout_at(deadline, lookup_host((self.endpoint.host(), self.endpoint.port())))
                .await
                .map_err(|_| late())?
                .map_err(|error| {
                    AgentError::unreachable(format!("cannot look up {}: {error}", self.endpoint.host()))
                })?
                .collect();
        let mut last = late();
        for (at, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len().saturating_sub(at)).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    last = AgentError::unreachable(format!("cannot connect to {}: {error}", self.endpoint));
                }
                Err(_) => last = late(),
            }
        }
        Err(last)
    }

    async fn send(
        &self,
        stream: TlsStream<TcpStream>,
        question: &Question<'_>,
    ) -> Result<(StatusCode, Option<Duration>, Bytes), AgentError> {
        let broken = |error: &dyn std::fmt::Display| {
            AgentError::unreachable(format!("the connection to {} broke: {error}", self.endpoint))
        };
        let request = Request::builder()
            .method(&question.method)
            .uri(question.path)
            .header(HOST, self.endpoint.authority())
            .header(CONTENT_TYPE, question.kind)
            .header(ACCEPT, JSON)
            .body(Full::new(Bytes::from(question.body.clone())))
            .map_err(|error| AgentError::failed(format!("cannot make the request: {error}")))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let (status, wait) = (response.status(), retry_after(&response));
            let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
            body.map(|body| (status, wait, body.to_bytes())).map_err(|error| broken(&error))
        };
        // The connection is driven here and ends with the exchange: nothing is left running behind.
        tokio::pin!(exchange);
        tokio::select! {
            done = &mut exchange => done,
            // Whether it ended well or not, the exchange knows what has arrived.
            _ = connection => exchange.await,
        }
    }
}

/// `Retry-After` in seconds; the form with a date is not used by this CA.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
