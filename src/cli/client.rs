//! The conversation with a running CA: HTTP/1 over its unix socket or over mutual TLS, JSON in and out.

use std::{
    cell::RefCell,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use countersign_api::{Problem, admin::Page};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    runtime::Runtime,
    time::timeout,
};

use super::CliError;

/// How long the CA may take to begin an answer: an import of ten thousand registrations is one answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// The rows asked for at once: few round trips, and no answer larger than about a megabyte.
const PAGE: usize = 1_000;

/// One connection to a CA's admin routes.
pub(crate) struct Client {
    /// The socket's path or the CA's URL, for messages.
    place: String,
    host: String,
    sender: RefCell<SendRequest<Full<Bytes>>>,
    runtime: Runtime,
}

/// The query of a request; empty values are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Adds a parameter if there is a value.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    fn target(&self, path: &str) -> String {
        let pairs: Vec<_> =
            self.0.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

impl Client {
    /// Connects to the admin socket at `socket`.
    pub(crate) fn connect(socket: &Path) -> Result<Self, CliError> {
        let place = socket.display().to_string();
        Self::over(place, "localhost".to_owned(), async {
            UnixStream::connect(socket).await.map_err(|error| not_connected(socket, &error))
        })
    }

    /// Talks over whatever `stream` gives.
    pub(crate) fn over<S>(
        place: String,
        host: String,
        stream: impl Future<Output = Result<S, CliError>>,
    ) -> Result<Self, CliError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::failed(format_args!("no I/O possible on this host: {error}")))?;
        let sender = runtime.block_on(async {
            let stream = stream.await?;
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&place, &error))?;
            tokio::spawn(connection);
            Ok::<_, CliError>(sender)
        })?;
        Ok(Self { place, host, sender: RefCell::new(sender), runtime })
    }

    /// `GET`, answered with JSON.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.ask(Method::GET, path, None)
    }

    /// `GET` with a query, answered with JSON.
    pub(crate) fn query<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, CliError> {
        self.ask(Method::GET, &query.target(path), None)
    }

    /// `POST` of JSON, answered with JSON.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        self.ask(Method::POST, path, Some(to_json(body)?))
    }

    /// `PUT` of JSON; the answer's body does not matter.
    pub(crate) fn put(&self, path: &str, body: &impl Serialize) -> Result<(), CliError> {
        self.send(Method::PUT, path, Some(to_json(body)?), "application/json").map(|_| ())
    }

    /// `DELETE`; the answer's body does not matter.
    pub(crate) fn delete(&self, path: &str, query: &Query) -> Result<(), CliError> {
        self.send(Method::DELETE, &query.target(path), None, "application/json").map(|_| ())
    }

    /// `GET` of a body that is not JSON.
    pub(crate) fn get_text(&self, path: &str, accept: &'static str) -> Result<String, CliError> {
        let body = self.send(Method::GET, path, None, accept)?;
        String::from_utf8(body.to_vec()).map_err(|_| self.not_understood("an answer that is not text"))
    }

    /// Hands every item of a list to `each`, page by page, until the end or `limit` items.
    pub(crate) fn each<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        limit: Option<usize>,
        mut each: impl FnMut(T) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut left = limit.unwrap_or(usize::MAX);
        let mut query = query.clone();
        while left > 0 {
            let page: Page<T> = self.query(path, &query.clone().with("limit", Some(left.min(PAGE))))?;
            for item in page.items.into_iter().take(left) {
                each(item)?;
                left -= 1;
            }
            let Some(next) = page.next else { break };
            query.0.retain(|(name, _)| *name != "after");
            query = query.with("after", Some(next));
        }
        Ok(())
    }

    /// Streams the answer of a `POST` without body into `to`; tells the octets written so far after each piece.
    pub(crate) fn stream(
        &self,
        path: &str,
        to: &mut impl Write,
        mut written: impl FnMut(u64),
    ) -> Result<u64, CliError> {
        let request = self.request(Method::POST, path, None, "application/octet-stream")?;
        let (place, mut sender) = (&self.place, self.sender.borrow_mut());
        self.runtime.block_on(async {
            let mut response = answer(place, &mut sender, request).await?;
            let mut total = 0;
            while let Some(frame) = timeout(PATIENCE, response.frame()).await.map_err(|_| silent(place))? {
                let frame = frame.map_err(|error| broken(place, &error))?;
                let Ok(data) = frame.into_data() else { continue };
                to.write_all(&data)
                    .map_err(|error| CliError::failed(format_args!("cannot write: {error}")))?;
                total += data.len() as u64;
                written(total);
            }
            Ok(total)
        })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<Bytes>,
    ) -> Result<T, CliError> {
        let answer = self.send(method, target, body, "application/json")?;
        serde_json::from_slice(&answer).map_err(|error| self.not_understood(error))
    }

    fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<Bytes>,
        accept: &'static str,
    ) -> Result<Bytes, CliError> {
        let request = self.request(method, target, body, accept)?;
        let (place, mut sender) = (&self.place, self.sender.borrow_mut());
        self.runtime.block_on(async {
            let response = answer(place, &mut sender, request).await?;
            collected(place, response.into_body()).await
        })
    }

    fn request(
        &self,
        method: Method,
        target: &str,
        body: Option<Bytes>,
        accept: &'static str,
    ) -> Result<Request<Full<Bytes>>, CliError> {
        let request =
            Request::builder().method(method).uri(target).header(HOST, &self.host).header(ACCEPT, accept);
        let request = if body.is_some() { request.header(CONTENT_TYPE, "application/json") } else { request };
        request.body(Full::new(body.unwrap_or_default())).map_err(CliError::usage)
    }

    fn not_understood(&self, what: impl std::fmt::Display) -> CliError {
        CliError::failed(format_args!("the CA at {} answered with something unexpected: {what}", self.place))
            .hint("are this program and the running CA of the same version?")
    }
}

/// A successful answer; a problem document becomes the error it describes.
async fn answer(
    place: &str,
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, CliError> {
    sender.ready().await.map_err(|error| broken(place, &error))?;
    let response = timeout(PATIENCE, sender.send_request(request)).await.map_err(|_| silent(place))?;
    let response = response.map_err(|error| broken(place, &error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = collected(place, response.into_body()).await?;
    Err(refusal(status, &body))
}

async fn collected(place: &str, body: Incoming) -> Result<Bytes, CliError> {
    let body = timeout(PATIENCE, body.collect()).await.map_err(|_| silent(place))?;
    Ok(body.map_err(|error| broken(place, &error))?.to_bytes())
}

fn refusal(status: StatusCode, body: &[u8]) -> CliError {
    serde_json::from_slice::<Problem>(body).map_or_else(
        |_| {
            CliError::failed(format_args!("the CA answered {status} without saying why"))
                .hint("are this program and the running CA of the same version?")
        },
        CliError::from,
    )
}

fn to_json(body: &impl Serialize) -> Result<Bytes, CliError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(CliError::failed)
}

fn not_connected(socket: &Path, error: &io::Error) -> CliError {
    let place = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            CliError::unreachable(format_args!("no CA is running: there is no socket {place}"))
                .hint("is `countersign serve` running?")
        }
        io::ErrorKind::ConnectionRefused => {
            CliError::unreachable(format_args!("no CA is running: nobody listens on {place}"))
                .hint("is `countersign serve` running?")
        }
        io::ErrorKind::PermissionDenied => {
            CliError::refused(format_args!("this user may not open the CA's socket {place}"))
                .hint("run the command as the user that runs `countersign serve` (the owner of the socket)")
        }
        _ => CliError::unreachable(format_args!("cannot connect to {place}: {error}")),
    }
}

fn broken(place: &str, error: &hyper::Error) -> CliError {
    CliError::unreachable(format_args!("the CA at {place} broke off: {error}"))
        .hint("its log says why; it is unknown whether the command took effect")
}

fn silent(place: &str) -> CliError {
    CliError::unreachable(format_args!("the CA at {place} did not answer within {PATIENCE:?}"))
        .hint("its log says why; it is unknown whether the command took effect")
}

/// RFC 3986 §2.1, with all but the unreserved characters encoded.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::BufReader,
        os::unix::net::UnixListener,
        thread::{self, JoinHandle},
    };

    use super::*;
    use crate::cli::error::Kind;

    /// A CA that gives these answers, one a request on one connection, and returns the request lines it saw.
    fn ca(
        answers: &'static [(u16, &'static str)],
    ) -> (tempfile::TempDir, std::path::PathBuf, JoinHandle<Vec<String>>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut from = BufReader::new(stream.try_clone().unwrap());
            let mut to = stream;
            answers
                .iter()
                .map(|(status, body)| {
                    let request = read_request(&mut from);
                    write!(to, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                        .unwrap();
                    request
                })
                .collect()
        });
        (dir, socket, seen)
    }

    fn read_request(from: &mut impl io::BufRead) -> String {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let length = head.iter().filter_map(|line| line.strip_prefix("content-length: ")).next();
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        from.read_exact(&mut body).unwrap();
        format!("{} {}", head[0], String::from_utf8(body).unwrap()).trim().to_owned()
    }

    #[test]
    fn a_list_is_read_to_its_end_page_by_page() {
        let (_dir, socket, seen) = ca(&[(200, r#"{"items":[1,2],"next":"b/2"}"#), (200, r#"{"items":[3]}"#)]);
        let mut all = Vec::new();
        let query = Query::default().with("status", Some("active")).with("after", Some("a"));
        Client::connect(&socket)
            .unwrap()
            .each("/list", &query, None, |n: u32| {
                all.push(n);
                Ok(())
            })
            .unwrap();
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(
            seen.join().unwrap(),
            [
                "GET /list?status=active&after=a&limit=1000 HTTP/1.1",
                "GET /list?status=active&after=b%2F2&limit=1000 HTTP/1.1"
            ]
        );
    }

    #[test]
    fn a_limit_asks_for_no_more_than_it_shows() {
        let (_dir, socket, seen) = ca(&[(200, r#"{"items":[1,2],"next":"2"}"#)]);
        let mut all = Vec::new();
        let client = Client::connect(&socket).unwrap();
        client
            .each("/list", &Query::default(), Some(2), |n: u32| {
                all.push(n);
                Ok(())
            })
            .unwrap();
        assert_eq!((all, seen.join().unwrap()), (vec![1, 2], vec!["GET /list?limit=2 HTTP/1.1".to_owned()]));
    }

    #[test]
    fn a_problem_document_becomes_the_error_it_describes() {
        let (_dir, socket, _) = ca(&[(
            409,
            r#"{"status":409,"code":"name_taken","detail":"a.example belongs to another","hint":"use --shared"}"#,
        )]);
        let error = Client::connect(&socket).unwrap().post::<()>("/x", &1).unwrap_err();
        assert_eq!(error.to_string(), "a.example belongs to another (name_taken)");
        assert_eq!((error.kind(), error.advice()), (Kind::Refused, Some("use --shared")));
    }

    #[test]
    fn an_answer_of_another_kind_is_no_panic() {
        let (_dir, socket, _) = ca(&[(200, "<html>")]);
        let error = Client::connect(&socket).unwrap().get::<u32>("/x").unwrap_err();
        assert_eq!(error.kind(), Kind::Failed);
        assert!(error.to_string().contains("something unexpected"), "{error}");
    }

    #[test]
    fn a_ca_that_is_not_there_is_unreachable() {
        let dir = tempfile::tempdir().unwrap();
        let absent = Client::connect(&dir.path().join("admin.sock")).err().unwrap();
        assert_eq!(
            (absent.kind(), absent.advice()),
            (Kind::Unreachable, Some("is `countersign serve` running?"))
        );
        let left_over = dir.path().join("left-over.sock");
        drop(UnixListener::bind(&left_over).unwrap());
        assert_eq!(Client::connect(&left_over).err().unwrap().kind(), Kind::Unreachable);
    }

    #[test]
    fn a_ca_that_breaks_off_is_unreachable() {
        let (_dir, socket, seen) = ca(&[]);
        let client = Client::connect(&socket).unwrap();
        seen.join().unwrap();
        assert_eq!(client.get::<u32>("/x").unwrap_err().kind(), Kind::Unreachable);
    }

    #[test]
    fn a_body_that_is_no_json_is_streamed_whole() {
        let (_dir, socket, seen) = ca(&[(200, "a backup")]);
        let mut file = Vec::new();
        let total = Client::connect(&socket).unwrap().stream("/backup", &mut file, |_| ()).unwrap();
        assert_eq!((total, file.as_slice()), (8, b"a backup".as_slice()));
        assert_eq!(seen.join().unwrap(), ["POST /backup HTTP/1.1"]);
    }

    #[test]
    fn an_answer_cut_short_fails_and_is_never_taken_for_whole() {
        let (_dir, socket, _) = ca(&[(200, "")]);
        let client = Client::connect(&socket).unwrap();
        assert!(client.get::<u32>("/x").is_err());
    }
}
