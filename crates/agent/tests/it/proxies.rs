//! nginx and HAProxy, which know nothing but files: served by reload hooks, through rotations, without a failed request.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use countersign_agent::config::Config;
use countersign_agent::run::{Agent, Order};
use countersign_agent::{EnrollOptions, enroll};
use countersign_verifier::{
    ClientBuilder, ClientConnector, OwnIdentity, PeerRule, SystemClock, TrustStore, bundle_from_pem,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::ca::{Ca, PAYMENTS, TD};
use crate::load::Load;

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // The master takes its workers with it.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program that `scripts/check` installs, wherever it lies.
fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(|dir| Path::new(dir).join(name));
    found
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("run scripts/check once: it installs {name}"))
}

fn nginx(dir: &Path, port: u16) -> Proxy {
    let (shown, file) = (dir.display(), dir.join("nginx.conf"));
    let text = format!(
        "daemon off; pid {shown}/proxy.pid; error_log {shown}/nginx.log;\nevents {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path {shown}/t1; proxy_temp_path {shown}/t2; fastcgi_temp_path {shown}/t3;\n\
         uwsgi_temp_path {shown}/t4; scgi_temp_path {shown}/t5;\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3; ssl_verify_client on; ssl_verify_depth 2;\n\
         ssl_certificate {shown}/svid.pem; ssl_certificate_key {shown}/svid.key; ssl_client_certificate {shown}/bundle.pem;\n\
         location / {{ return 200 \"served\"; }} }} }}\n"
    );
    fs::write(&file, text).unwrap();
    let child =
        Command::new(program("nginx")).arg("-p").arg(dir).arg("-c").arg(&file).stderr(Stdio::null()).spawn();
    Proxy(child.unwrap())
}

fn haproxy(dir: &Path, port: u16) -> Proxy {
    let (shown, file) = (dir.display(), dir.join("haproxy.cfg"));
    let text = format!(
        "global\n  stats socket {shown}/h.sock mode 600 level admin expose-fd listeners\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
         frontend f\n  bind 127.0.0.1:{port} ssl crt {shown}/svid-combined.pem ca-file {shown}/bundle.pem verify required ssl-min-ver TLSv1.3\n\
         \x20 http-request return status 200 content-type text/plain string served\n"
    );
    fs::write(&file, text).unwrap();
    let child = Command::new(program("haproxy"))
        .args(["-W", "-q", "-f"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    fs::write(dir.join("proxy.pid"), child.id().to_string()).unwrap();
    Proxy(child)
}

/// One request over a connection of its own; the serial of the certificate that was served.
async fn ask(connector: &ClientConnector, port: u16) -> Result<String, String> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
    let (mut tls, peer) = connector.connect(tcp).await.map_err(|error| error.to_string())?;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    tls.write_all(request).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.starts_with("HTTP/1.1 200") && answer.contains("served") {
        Ok(peer.serial_hex())
    } else {
        Err(answer)
    }
}

/// What is served once the proxy has started.
async fn first(connector: &ClientConnector, port: u16) -> String {
    for _ in 0..200 {
        if let Ok(serial) = ask(connector, port).await {
            return serial;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the proxy never served");
}

fn load(connector: &Arc<ClientConnector>, port: u16) -> Load {
    let connector = Arc::clone(connector);
    Load::begin(move || {
        let connector = Arc::clone(&connector);
        async move { ask(&connector, port).await }
    })
}

async fn is_served_through_rotations(start: fn(&Path, u16) -> Proxy, signal: &str) {
    let ca = Ca::start(Arc::new(SystemClock)).await;
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    enroll(&EnrollOptions::new(ca.invitation(1), dir)).await.unwrap();
    let port = free_port();
    let _proxy = start(dir, port);
    let bundle = bundle_from_pem(TD.parse().unwrap(), &fs::read(dir.join("bundle.pem")).unwrap()).unwrap();
    let own = OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key")).unwrap();
    let connector = ClientBuilder::new(Arc::new(TrustStore::new([bundle]).unwrap()))
        .expect(PeerRule::one_of([PAYMENTS.parse().unwrap()]))
        .identity(own)
        .build()
        .unwrap();
    let mut served = vec![first(&connector, port).await];
    let connector = Arc::new(connector);
    let load = load(&connector, port);
    let text = format!(
        "dir = \".\"\nserved_at = \"127.0.0.1:{port}\"\nreload_signal = {{ pid_file = {:?}, signal = {signal:?} }}\n",
        dir.join("proxy.pid")
    );
    let config = Config::parse(&text, &dir.join("agent.toml")).unwrap();
    let (orders, receiver) = mpsc::channel(1);
    let agent = tokio::spawn(async move { Agent::new(config, Arc::new(SystemClock)).run(receiver).await });
    for rotation in 0..3 {
        orders.send(Order::RenewNow).await.unwrap();
        let begun = std::time::Instant::now();
        loop {
            let serial = ask(&connector, port).await.unwrap();
            if !served.contains(&serial) {
                served.push(serial);
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "rotation {rotation} was never served");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let told = || {
        let asked = ca.asked();
        asked
            .iter()
            .any(|asked| asked.path == "/v1/deployed" && asked.body["serial"] == *served.last().unwrap())
    };
    for _ in 0..250 {
        if told() {
            agent.abort();
            agent.await.unwrap_err();
            assert!(served.contains(&ask(&connector, port).await.unwrap()), "it needs no agent to serve");
            load.has_failed_none().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    panic!("the CA was never told");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_takes_up_every_certificate_without_a_failed_request() {
    is_served_through_rotations(nginx, "HUP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_takes_up_every_certificate_without_a_failed_request() {
    is_served_through_rotations(haproxy, "USR2").await;
}
