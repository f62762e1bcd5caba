//! What callers of Envoy's secret discovery service say of the secrets they were sent, and what of it is logged.

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
