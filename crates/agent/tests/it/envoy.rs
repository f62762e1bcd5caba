//! A real Envoy that gets its certificate by SDS, in both variants.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::run::Order;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use crate::load::Load;
use crate::peers::{of_venv, source};
use crate::socket::{API, Machine, uid};

struct Envoy(Child);

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A listener that terminates mutual TLS and answers by itself.
fn configuration(socket: &Path, api_type: &str, name: &str, roots: &str, port: u16) -> serde_json::Value {
    let source = serde_json::json!({
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": api_type, "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "agent"}}]
        }
    });
    let types = "type.googleapis.com/envoy.extensions";
    serde_json::json!({
        "static_resources": {
            "listeners": [{
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{
                    "transport_socket": {"name": "tls", "typed_config": {
                        "@type": format!("{types}.transport_sockets.tls.v3.DownstreamTlsContext"),
                        "require_client_certificate": true,
                        "common_tls_context": {
                            "tls_certificate_sds_secret_configs": [{"name": name, "sds_config": source}],
                            "combined_validation_context": {
                                "default_validation_context": {"match_typed_subject_alt_names": [
                                    {"san_type": "URI", "matcher": {"exact": API}}
                                ]},
                                "validation_context_sds_secret_config": {"name": roots, "sds_config": source}
                            }
                        }
                    }},
                    "filters": [{"name": "http", "typed_config": {
                        "@type": format!("{types}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                        "stat_prefix": "x",
                        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "served"}}}
                        ]}]},
                        "http_filters": [{"name": "router", "typed_config": {"@type": format!("{types}.filters.http.router.v3.Router")}}]
                    }}]
                }]
            }],
            "clusters": [{
                "name": "agent", "type": "STATIC", "connect_timeout": "1s",
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": format!("{types}.upstreams.http.v3.HttpProtocolOptions"),
                    "explicit_http_config": {"http2_protocol_options": {}}
                }},
                "load_assignment": {"cluster_name": "agent", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"pipe": {"path": socket.to_str().unwrap()}}}}
                ]}]}
            }]
        }
    })
}

fn start(machine: &Machine, api_type: &str, name: &str, roots: &str) -> (Envoy, u16) {
    let port = free_port();
    let file = machine.scratch.path().join("envoy.json");
    let configuration = configuration(&machine.socket(), api_type, name, roots, port);
    std::fs::write(&file, configuration.to_string()).unwrap();
    let child = Command::new(of_venv("envoy"))
        .arg("-c")
        .arg(&file)
        .args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "error"])
        .args(["--service-node", "test", "--service-cluster", "test"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (Envoy(child), port)
}

/// One request over a connection of its own; the certificate that was served.
async fn ask(config: &Arc<ClientConfig>, port: u16) -> std::io::Result<Vec<u8>> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
    tls.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    // Envoy may close without a closing alert.
    let _ = tls.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if !answer.starts_with("HTTP/1.1 200") || !answer.contains("served") {
        return Err(std::io::Error::other(answer));
    }
    Ok(tls.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

async fn is_served_through_rotations(api_type: &str, name: &str, roots: &str) {
    let mut machine = Machine::start("").await;
    machine.ca.register(&[(API, &[&uid()])]);
    let authorizer = spiffe_rustls::authorizer::exact([API.to_owned()]).unwrap();
    let client = spiffe_rustls::mtls_client(source(&machine).await).authorize(authorizer).build().unwrap();
    let client = Arc::new(client);
    let (_envoy, port) = start(&machine, api_type, name, roots);
    let mut served = Vec::new();
    for _ in 0..300 {
        match ask(&client, port).await {
            Ok(certificate) => {
                served.push(certificate);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    assert_eq!(served.len(), 1, "Envoy never served");
    let load = Load::begin({
        let client = Arc::clone(&client);
        move || {
            let client = Arc::clone(&client);
            async move { ask(&client, port).await.map_err(|error| error.to_string()) }
        }
    });
    for rotation in 0..3 {
        machine.orders.send(Order::RenewNow).await.unwrap();
        let mut tries = 0;
        // Each request on its own connection: none may fail.
        loop {
            let certificate = ask(&client, port).await.unwrap();
            if !served.contains(&certificate) {
                served.push(certificate);
                break;
            }
            tries += 1;
            assert!(tries < 1000, "rotation {rotation} never reached Envoy");
        }
    }
    machine.kill("").await;
    for _ in 0..20 {
        ask(&client, port).await.unwrap();
    }
    for _ in 0..60 {
        machine.orders.send(Order::RenewNow).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        if !served.contains(&ask(&client, port).await.unwrap()) {
            load.has_failed_none().await;
            return;
        }
    }
    panic!("Envoy never came back to the agent that was started again");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_by_the_whole_state_through_rotations_and_a_kill_without_a_failed_request() {
    is_served_through_rotations("GRPC", API, "spiffe://prod.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_by_what_changed_through_rotations_and_a_kill_without_a_failed_request() {
    is_served_through_rotations("DELTA_GRPC", "default", "ROOTCA").await;
}
