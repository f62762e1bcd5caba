//! One HTTP/1.1 connection, over TLS or a unix socket.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// An open connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// What came back.
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

impl Connection {
    /// Opens a TCP connection and completes the TLS handshake.
    ///
    /// # Errors
    /// When the server cannot be reached, or TLS fails.
    pub async fn open(server: SocketAddr, config: Arc<ClientConfig>) -> Result<Self> {
        let stream = TcpStream::connect(server).await.with_context(|| format!("cannot reach {server}"))?;
        Self::secured(stream, server, config).await
    }

    /// Opens a TCP connection from one of this machine's addresses.
    ///
    /// # Errors
    /// When the server cannot be reached, or TLS fails.
    pub async fn open_from(from: IpAddr, server: SocketAddr, config: Arc<ClientConfig>) -> Result<Self> {
        let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(server).await.with_context(|| format!("cannot reach {server}"))?;
        Self::secured(stream, server, config).await
    }

    async fn secured(stream: TcpStream, server: SocketAddr, config: Arc<ClientConfig>) -> Result<Self> {
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(server.ip().into());
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Self::over(stream, server.to_string()).await
    }

    /// Opens a unix socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn unix(path: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(path).await.with_context(|| format!("cannot reach {}", path.display()))?;
        Self::over(stream, "localhost".into()).await
    }

    async fn over<I>(stream: I, host: String) -> Result<Self>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // How the connection ended shows in the request that needed it.
        tokio::spawn(async move { driver.await.ok() });
        Ok(Self { sender, host })
    }

    /// Sends JSON and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Answer> {
        self.post_as(path, "application/json", body).await
    }

    /// Sends a form and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post_form(&mut self, path: &str, body: Bytes) -> Result<Answer> {
        self.post_as(path, "application/x-www-form-urlencoded", body).await
    }

    async fn post_as(&mut self, path: &str, kind: &str, body: Bytes) -> Result<Answer> {
        let request = Request::post(path).header(HOST, &self.host).header(CONTENT_TYPE, kind);
        self.ask(request.body(Full::new(body))?).await
    }

    /// Reads the whole answer to a `GET`.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        self.ask(Request::get(path).header(HOST, &self.host).body(Full::default())?).await
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok(Answer { status, body: response.into_body().collect().await?.to_bytes() })
    }
}
