//! hyper's pooled client over connections to expected servers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::client::{ClientConnector, ConnectError};
use crate::peer::VerifiedPeer;

/// Connects hyper's pooled client (`hyper_util::client::legacy::Client`) to the servers a [`ClientConnector`] expects, and to no others;
/// made by [`ClientConnector::for_hyper`].
///
/// Host and port of a URL say where to connect; who is there, the certificate says. The [`VerifiedPeer`] is in the extensions of each
/// response.
#[derive(Clone, Debug)]
pub struct HyperConnector(ClientConnector);

/// A connection whose server is known.
#[derive(Debug)]
pub struct KnownServer {
    stream: TokioIo<TlsStream<TcpStream>>,
    peer: VerifiedPeer,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HyperConnectError {
    /// The URL leads nowhere: it needs `https` and a host.
    #[error("found {0}, expected a URL with https and a host")]
    Url(Uri),
    /// The host cannot be reached.
    #[error("cannot reach the server: {0}")]
    Network(#[from] io::Error),
    /// TLS failed, or the server is not whom it must be.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl ClientConnector {
    /// The same for hyper's pooled client.
    ///
    /// ```no_run
    /// # async fn example(connector: countersign_verifier::ClientConnector) -> Result<(), Box<dyn std::error::Error>> {
    /// use http_body_util::Empty;
    /// use hyper::body::Bytes;
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    ///
    /// let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector.for_hyper());
    /// let answer = client.get("https://ledger.example:8444/entries".parse()?).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn for_hyper(&self) -> HyperConnector {
        HyperConnector(self.clone())
    }
}

impl HyperConnector {
    async fn connect(self, url: Uri) -> Result<KnownServer, HyperConnectError> {
        let host = url.host().filter(|_| url.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| HyperConnectError::Url(url.clone()))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let tcp = TcpStream::connect((host, url.port_u16().unwrap_or(443))).await?;
        // Small requests must not wait for company. Not being able to say so is no reason to give up.
        let _ = tcp.set_nodelay(true);
        let (stream, peer) = self.0.connect(tcp).await?;
        Ok(KnownServer { stream: TokioIo::new(stream), peer })
    }
}

impl Service<Uri> for HyperConnector {
    type Response = KnownServer;
    type Error = HyperConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<KnownServer, HyperConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HyperConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        Box::pin(self.clone().connect(url))
    }
}

impl Connection for KnownServer {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.peer.clone());
        match self.stream.inner().get_ref().1.alpn_protocol() {
            Some(b"h2") => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

impl Read for KnownServer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for KnownServer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
