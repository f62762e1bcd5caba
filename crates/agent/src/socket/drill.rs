//! The services of the socket without the socket: one call at a time, made of any octets. For fuzzers and their corpus.

use std::path::Path;
use std::sync::Arc;

use countersign_api::Bundle;
use countersign_identity::Clock;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tonic::Code;
use tonic::body::Body;

use super::connection::Connection;
use super::routes::{Routes, SECURITY_HEADER};
use crate::as_machine::AsMachine;
use crate::attest::{Caller, Selector};
use crate::custody::Custody;
use crate::dir::Dir;
use crate::error::AgentError;

/// A machine's socket as one of its own processes finds it, its CA away.
pub struct Drill {
    runtime: Runtime,
    routes: Routes,
    connection: Arc<Connection>,
    /// The other end of the connection, as long as the process "holds" it.
    _caller: UnixStream,
}

/// How a call ended, as far as it was listened to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Drilled {
    /// The status of gRPC; none where the call would have gone on.
    pub code: Option<Code>,
    /// What was answered, in frames of gRPC.
    pub frames: Vec<u8>,
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drill").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Drill {
    /// Serves the identity in `dir` to the processes of this user, and so to the caller of this; tokens are judged by
    /// `bundle`.
    ///
    /// # Errors
    /// When there is no identity, or the kernel gives no socket.
    pub fn open(dir: &Path, bundle: &Bundle, clock: Arc<dyn Clock>) -> Result<Self, AgentError> {
        let failed = |error: std::io::Error| AgentError::failed(format!("no drill: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let entered = runtime.enter();
        let user = vec![vec![Selector::Uid(rustix::process::geteuid().as_raw())]];
        let machine = AsMachine::new(Dir::at(dir), None, clock);
        let custody = Custody::open(dir, machine, user, None)?;
        custody.bundle_is(bundle);
        let (caller, end) = UnixStream::pair().map_err(failed)?;
        let connection =
            Connection::new(Caller::of(&end).map_err(failed)?, Arc::clone(&custody), false, &Arc::default());
        let routes = Routes::new(&custody)?;
        drop(entered);
        Ok(Self { runtime, routes, connection: Arc::new(connection), _caller: caller })
    }

    /// Calls `/SERVICE/METHOD` with a body of these octets, and listens to at most so many pieces of the answer: some
    /// calls go on for ever.
    #[must_use]
    pub fn call(&self, path: &str, body: Vec<u8>, pieces: usize) -> Drilled {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(CONTENT_TYPE, "application/grpc")
            .header(SECURITY_HEADER, "true")
            .body(Body::new(Full::new(Bytes::from(body))));
        let Ok(request) = request else {
            return Drilled { code: Some(Code::InvalidArgument), frames: Vec::new() };
        };
        self.runtime.block_on(async {
            let answer = self.routes.answer(request, &self.connection).await;
            let (head, mut body) = answer.into_parts();
            let (mut code, mut frames) = (code_of(&head.headers), Vec::new());
            for _ in 0..pieces {
                let Some(Ok(frame)) = body.frame().await else { break };
                match frame.into_data() {
                    Ok(data) => frames.extend_from_slice(&data),
                    Err(frame) => code = frame.trailers_ref().and_then(code_of),
                }
            }
            Drilled { code, frames }
        })
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}
