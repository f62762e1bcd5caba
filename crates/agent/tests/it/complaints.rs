//! What callers of Envoy's secret discovery service are sent, what they say of it, and what of all that callers do is logged.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::ca::PAYMENTS;
use crate::grpc::Nothing;
use crate::keeping::eventually;
use crate::socket::{Machine, own};

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const FORGED: &str = "no\u{1b}[2J\nERROR everything is lost";

#[derive(Clone, PartialEq, Message)]
struct Refused {
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Whole {
    #[prost(string, repeated, tag = "3")]
    names: Vec<String>,
    #[prost(string, tag = "4")]
    kind: String,
    #[prost(message, optional, tag = "6")]
    refused: Option<Refused>,
}

#[derive(Clone, PartialEq, Message)]
struct Delta {
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, repeated, tag = "3")]
    names: Vec<String>,
    #[prost(message, optional, tag = "7")]
    refused: Option<Refused>,
}

fn refused() -> Option<Refused> {
    Some(Refused { message: FORGED.repeat(1000) })
}

fn whole() -> Whole {
    Whole { names: vec!["default".into()], kind: SECRET.into(), refused: refused() }
}

fn delta() -> Delta {
    Delta { names: vec!["default".into()], kind: SECRET.into(), refused: refused() }
}

/// Sends the same refusal again and again, from before the first answer.
async fn complain<Q: Message + Clone + 'static>(
    machine: &Machine,
    rpc: &str,
    complaint: Q,
) -> (mpsc::Sender<Q>, Result<Streaming<Nothing>, Status>) {
    let mut grpc = Grpc::new(machine.client().await.channel);
    grpc.ready().await.unwrap();
    let path: PathAndQuery =
        format!("/envoy.service.secret.v3.SecretDiscoveryService/{rpc}").parse().unwrap();
    let (sender, asked) = mpsc::channel(100);
    for _ in 0..20 {
        sender.send(complaint.clone()).await.unwrap();
    }
    let request = Request::new(ReceiverStream::new(asked));
    let answers = grpc.streaming(request, path, ProstCodec::<Q, Nothing>::default()).await;
    (sender, answers.map(tonic::Response::into_inner))
}

/// An answer with secrets, as far as these tests look at it.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Packed>,
}

#[derive(Clone, PartialEq, Message)]
struct Packed {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, optional, tag = "2")]
    secret: Option<Secret>,
}

#[derive(Clone, PartialEq, Message)]
struct Secret {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    certificate: Option<Nothing>,
    #[prost(message, optional, tag = "4")]
    roots: Option<Nothing>,
}

#[tokio::test]
async fn a_secret_that_is_fetched_once_has_the_name_it_was_asked_for_by() {
    let machine = Machine::start(&own()).await;
    let channel = machine.client().await.channel;
    let fetch = async |names: &[&str]| {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets");
        let names = names.iter().map(ToString::to_string).collect();
        let asked = Request::new(Whole { names, kind: SECRET.into(), refused: None });
        let answer = grpc.unary(asked, path, ProstCodec::<Whole, Answer>::default()).await.unwrap();
        let secrets = answer.into_inner().resources.into_iter().map(|packed| packed.secret.unwrap());
        secrets.map(|it| (it.name, it.certificate.is_some(), it.roots.is_some())).collect::<Vec<_>>()
    };
    for name in ["default", PAYMENTS] {
        assert_eq!(fetch(&[name]).await, [(name.to_owned(), true, false)]);
    }
    for name in ["spiffe://prod.example", "ROOTCA", "ALL"] {
        assert_eq!(fetch(&[name]).await, [(name.to_owned(), false, true)]);
    }
    assert!(fetch(&["spiffe://prod.example/other", "spiffe://other.example"]).await.is_empty());
    let all = fetch(&[]).await;
    let expected = [("spiffe://prod.example", false, true), (PAYMENTS, true, false)];
    assert_eq!(all, expected.map(|(name, certificate, roots)| (name.to_owned(), certificate, roots)));
}

#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged on this thread from now on, on which everything in these tests runs.
fn logged() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let written = Log(Arc::clone(&log));
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
    (log, tracing::subscriber::set_default(lines))
}

fn text(log: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(log.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn who_was_sent_nothing_writes_nothing_into_the_log() {
    let (log, _guard) = logged();
    let machine = Machine::start("[[workload_api.own]]\nselectors = [\"unix:uid:4294967294\"]").await;
    let (_whole, answers) = complain(&machine, "StreamSecrets", whole()).await;
    answers.unwrap().message().await.unwrap_err();
    let (_delta, answers) = complain(&machine, "DeltaSecrets", delta()).await;
    answers.unwrap().message().await.unwrap_err();
    let text = text(&log);
    assert!(text.contains("serving the SPIFFE Workload API"), "{text}");
    assert!(!text.contains("everything is lost"), "{text}");
}

#[tokio::test]
async fn a_proxy_that_refuses_its_secrets_without_end_is_one_short_line() {
    let (log, _guard) = logged();
    let machine = Machine::start(&own()).await;
    let (_whole, answers) = complain(&machine, "StreamSecrets", whole()).await;
    answers.unwrap().message().await.unwrap().unwrap();
    let (_delta, answers) = complain(&machine, "DeltaSecrets", delta()).await;
    answers.unwrap().message().await.unwrap().unwrap();
    eventually("logged", || text(&log).contains("a proxy refuses the secrets")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let text = text(&log);
    let lines: Vec<_> = text.lines().filter(|line| line.contains("everything is lost")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("a proxy refuses the secrets") && lines[0].len() < 1000, "{lines:?}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn connections_past_the_limit_and_calls_of_strangers_are_a_line_each() {
    // Invariant 10.
    let (log, _guard) = logged();
    let machine = Machine::start("").await;
    let client = machine.client().await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(client.x509_svids().await.unwrap());
    }
    for mut call in calls {
        call.message().await.unwrap_err();
    }
    let open: Vec<_> =
        (0..300).map(|_| std::os::unix::net::UnixStream::connect(machine.socket()).unwrap()).collect();
    eventually("logged", || text(&log).contains("past the limit")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(open);
    let text = text(&log);
    for words in ["none is registered for it", "a connection past the limit is closed"] {
        assert_eq!(text.matches(words).count(), 1, "{words}: {text}");
    }
}
