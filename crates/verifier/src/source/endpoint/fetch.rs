//! One look at a bundle endpoint: TLS by its profile, redirections within the rules, a bounded answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::url::{EndpointUrl, EndpointUrlError};
use crate::client::{ClientConnector, ConnectError};

/// The largest bundle read.
const BUNDLE_LIMIT: usize = 1 << 20;

/// How many redirections are followed; a second one is odd, a fourth is a loop.
const REDIRECTIONS: usize = 3;

/// How the server is known (SPIFFE Federation §5.2).
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// By its host name, under the authorities the caller handed in.
    Web(Arc<ClientConfig>),
    /// By its SPIFFE ID.
    Spiffe(ClientConnector),
}

/// Why no bundle could be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("cannot reach it: {0}")]
    Network(#[from] io::Error),
    #[error("cannot reach it: {0}")]
    Connect(#[from] ConnectError),
    #[error("the host {0:?} is no name that a certificate could carry")]
    Name(String),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("it redirects without saying where to")]
    Nowhere,
    #[error("it redirects: {0}")]
    Elsewhere(#[from] EndpointUrlError),
    #[error("it redirects more than {REDIRECTIONS} times")]
    Circle,
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// The octets at the URL, or where it leads.
pub(super) async fn fetch(door: &Door, url: &EndpointUrl) -> Result<Bytes, FetchFault> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTIONS {
        let (response, body) = get(door, &url).await?;
        match response.status() {
            StatusCode::OK => return Ok(body),
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                url = url.redirected(location.ok_or(FetchFault::Nowhere)?)?;
            }
            status => return Err(FetchFault::Status(status)),
        }
    }
    Err(FetchFault::Circle)
}

async fn get(door: &Door, url: &EndpointUrl) -> Result<(Response<()>, Bytes), FetchFault> {
    match door {
        Door::Web(config) => ask(web_stream(config, url).await?, url).await,
        Door::Spiffe(connector) => {
            let tcp = TcpStream::connect((url.host(), url.port())).await?;
            ask(connector.connect(tcp).await?.0, url).await
        }
    }
}

/// A connection to the host of a URL, whose certificate must be of that name (RFC 6125).
pub(super) async fn web_stream(
    config: &Arc<ClientConfig>,
    url: &EndpointUrl,
) -> Result<TlsStream<TcpStream>, FetchFault> {
    let name = ServerName::try_from(url.host().to_owned());
    let name = name.map_err(|_| FetchFault::Name(url.host().to_owned()))?;
    let tcp = TcpStream::connect((url.host(), url.port())).await?;
    Ok(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?)
}

async fn ask<IO>(stream: IO, url: &EndpointUrl) -> Result<(Response<()>, Bytes), FetchFault>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(url.target())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let octets = read(body).await?;
        Ok::<_, FetchFault>((Response::from_parts(parts, ()), octets))
    };
    tokio::pin!(answer);
    // The connection is driven here and ends with the answer.
    tokio::select! {
        answered = &mut answer => answered,
        ended = connection => match ended {
            Err(fault) => Err(fault.into()),
            // What was received before the orderly end is still to be read.
            Ok(()) => answer.await,
        },
    }
}

async fn read(body: Incoming) -> Result<Bytes, FetchFault> {
    let body = Limited::new(body, BUNDLE_LIMIT).collect().await.map_err(FetchFault::Body)?;
    Ok(body.to_bytes())
}

/// From name look-up to the last octet.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
