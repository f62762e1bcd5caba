//! The listener: TLS, HTTP/1.1, and the one route.

use std::{collections::HashMap, convert::Infallible, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use countersign_api::{CertificateResponse, RenewRequest, paths};
use countersign_bench::{pem, tls};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    house::{self, House},
    leaf::Issuer,
    log::Log,
};

const LARGEST_BODY: usize = 16 * 1024;

struct Floor {
    issuer: Issuer,
    issuer_pem: String,
    bundle: String,
    /// SPIFFE ID to lineage.
    lineages: HashMap<String, String>,
    log: Option<Log>,
}

pub(crate) async fn serve(dir: &Path, listen: SocketAddr, stats: SocketAddr, durable: bool) -> Result<()> {
    let House { root, issuer, issuer_key, server, server_key, names } = house::open(dir)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls::server(&root, &server, &server_key)?));
    let floor = Arc::new(Floor {
        issuer: Issuer::new(&issuer, &issuer_key)?,
        issuer_pem: issuer,
        bundle: root,
        lineages: names.into_iter().enumerate().map(|(n, name)| (name, format!("l-{n:032x}"))).collect(),
        log: durable.then(|| Log::create(&dir.join("log"))).transpose()?,
    });
    tokio::spawn(stats_listener(TcpListener::bind(stats).await?, Arc::clone(&floor)));
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that breaks off harms nobody but itself; there is no log to tell.
        let connection = connection(stream, acceptor.clone(), Arc::clone(&floor));
        tokio::spawn(async move { connection.await.ok() });
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, floor: Arc<Floor>) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let chain = stream.get_ref().1.peer_certificates().context("no client certificate")?;
    let peer: Arc<str> = tls::spiffe_id(chain.first().context("an empty chain")?)?.into();
    http(stream, move |request| {
        let (floor, peer) = (Arc::clone(&floor), Arc::clone(&peer));
        async move { answer(renew(&floor, &peer, request).await) }
    })
    .await
}

async fn stats_listener(listener: TcpListener, floor: Arc<Floor>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let floor = Arc::clone(&floor);
        let stats = move |_| {
            let stats = floor.log.as_ref().map_or_else(|| "{}".into(), Log::take_stats);
            std::future::ready(answer(Ok(stats)))
        };
        tokio::spawn(async move { http(stream, stats).await.ok() });
    }
}

async fn http<I, F, R>(stream: I, service: F) -> Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Result<Response<Full<Bytes>>, Infallible>>,
{
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(service)).await?)
}

fn answer(body: Result<String>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match body {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}")),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}

async fn renew(floor: &Floor, peer: &str, request: Request<Incoming>) -> Result<String> {
    anyhow::ensure!(request.uri().path() == paths::RENEW, "no such route");
    let body =
        Limited::new(request.into_body(), LARGEST_BODY).collect().await.map_err(anyhow::Error::from_boxed)?;
    let RenewRequest { csr } = serde_json::from_slice(&body.to_bytes())?;
    let csr = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes())?;
    let lineage = floor.lineages.get(peer).context("an unknown identity")?;
    let leaf = floor.issuer.issue(&csr, peer, lineage)?;
    let chain = pem::encode("CERTIFICATE", &leaf.der) + &floor.issuer_pem;
    if let Some(log) = &floor.log {
        log.append(record(peer, leaf.der)).await?;
    }
    let life: time::Duration = leaf.not_after - leaf.not_before;
    let response = CertificateResponse {
        machine: format!("m-{lineage}"),
        chain,
        bundle: floor.bundle.clone(),
        not_after: leaf.not_after.format(&Rfc3339)?,
        renew_after: (leaf.not_before + life / 3_i32).format(&Rfc3339)?,
        renew_before: (leaf.not_before + life / 2_i32).format(&Rfc3339)?,
        server_time: OffsetDateTime::now_utc().format(&Rfc3339)?,
    };
    Ok(serde_json::to_string(&response)?)
}

/// Name and certificate, each behind its length.
fn record(peer: &str, der: Vec<u8>) -> Vec<u8> {
    let mut record = Vec::with_capacity(peer.len() + der.len() + 8);
    for part in [peer.as_bytes(), &der] {
        record.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        record.extend_from_slice(part);
    }
    record
}
