//! One handshake at a server: what its verifier said, and a gentle end for whom it turns away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{PeerIncompatible, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limit::is_hybrid_alone;
use crate::outcome;
use crate::refusal::Refusal;
use crate::report::Reporter;
use crate::server::AcceptError;
use crate::verdict;

/// How long a refused client is read on, so that the alert with the reason reaches it before the connection's end does.
const LINGER: Duration = Duration::from_millis(500);

/// What is read of a refused client at most.
const LINGER_LIMIT: usize = 16 * 1024;

/// One handshake, with the verdict its verifier left, and a gentle end for whom it refuses.
pub(crate) async fn handshake<IO>(
    config: Arc<ServerConfig>,
    io: IO,
    reporter: Option<&Reporter>,
) -> Result<(TlsStream<IO>, Option<verdict::Verdict>), AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let hybrid = is_hybrid_alone(config.crypto_provider());
    let (outcome, verdict) = verdict::around(TlsAcceptor::from(config).accept(io).into_fallible()).await;
    match (outcome, verdict) {
        (Ok(stream), verdict) => Ok((stream, verdict)),
        (Err((fault, io)), verdict) => {
            let refused = match verdict {
                Some(Err(refusal)) => AcceptError::Refused(refusal),
                _ => match unasked(&fault, hybrid) {
                    Some(refusal) => {
                        outcome::authentication(&Err(refusal.clone()), reporter);
                        AcceptError::Refused(refusal)
                    }
                    None => return Err(AcceptError::Handshake(fault)),
                },
            };
            linger(io).await;
            Err(refused)
        }
    }
}

/// The refusal behind a fault that came about before any certificate could be judged.
fn unasked(fault: &io::Error, hybrid: bool) -> Option<Refusal> {
    match fault.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::NoCertificatesPresented => Some(Refusal::NoCertificate),
        rustls::Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) if hybrid => {
            Some(Refusal::NotHybrid)
        }
        _ => None,
    }
}

/// Reads on for a moment after an alert: closing over unread data resets the connection and loses the alert.
async fn linger<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let drain = async {
        io.shutdown().await?;
        let mut sink = [0; 1024];
        let mut left = LINGER_LIMIT;
        while left > 0 {
            match io.read(&mut sink).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // Whatever happens to a connection that is over anyway is of no interest.
    let _ = timeout(LINGER, drain).await;
}
