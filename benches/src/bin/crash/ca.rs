//! The CA under test: a directory, a process that is killed and started again, and its admin socket.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_api::{
    admin::{InviteRequest, InviteResponse, Page, RevokeKind, RevokeRequest, Status},
    paths,
};
use countersign_bench::Connection;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::checker::Dump;

/// The trust domain of every run.
pub(crate) const TRUST_DOMAIN: &str = "crash.example";
const PATIENCE: Duration = Duration::from_secs(30);
const ARROW_PATIENCE: Duration = Duration::from_millis(400);
const INVITATION_SECONDS: u64 = 3600;

/// Many machines renew from one address and much oftener than real ones.
const LIMITS: [(&str, u64); 4] = [
    ("connections_per_source", 4000),
    ("requests_per_second_per_source", 1_000_000),
    ("burst_per_source", 1_000_000),
    ("renewals_per_minute_per_machine", 1_000_000),
];

/// A CA.
pub(crate) struct Ca {
    dir: PathBuf,
    program: PathBuf,
    pub(crate) listen: SocketAddr,
    ops: SocketAddr,
    server: Mutex<Option<Child>>,
}

impl Ca {
    /// Makes it, and does not start it.
    pub(crate) fn init(scratch: &Path, bin_dir: &Path) -> Result<Self> {
        let (listen, ops) = (free_address()?, free_address()?);
        let (dir, passphrase) = (scratch.join("ca"), scratch.join("passphrase"));
        fs::write(&passphrase, "a scratch root of one run\n")?;
        let program = bin_dir.join("countersign");
        let mut init = Command::new(&program);
        init.args(["init", "--trust-domain", TRUST_DOMAIN, "--dir"]).arg(&dir);
        init.args(["--listen", &listen.to_string(), "--ops-listen", &ops.to_string()]);
        let made =
            init.arg("--passphrase-file").arg(&passphrase).output().context("cannot run countersign")?;
        ensure!(made.status.success(), "init failed: {}", String::from_utf8_lossy(&made.stderr));
        let config = dir.join("countersign.toml");
        fs::write(&config, with_limits(&fs::read_to_string(&config)?))?;
        Ok(Self { dir, program, listen, ops, server: Mutex::default() })
    }

    pub(crate) fn root(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("state/root.pem"))?)
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<Duration> {
        let begun = Instant::now();
        let log = File::options().create(true).append(true).open(self.dir.join("log"))?;
        let mut serve = Command::new(&self.program);
        serve.args(["serve", "--config"]).arg(self.dir.join("countersign.toml"));
        serve
            .env("COUNTERSIGN_FAILPOINT", self.arrow())
            // Events leave for files by a few, so that kills meet that, too.
            .env("COUNTERSIGN_ARCHIVE", "48 32")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let server = serve.spawn()?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        while !self.is_ready().await {
            ensure!(!self.is_dead()?, "the server did not start; see {}", self.dir.join("log").display());
            ensure!(begun.elapsed() < PATIENCE, "the server was not ready within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(begun.elapsed())
    }

    fn arrow(&self) -> PathBuf {
        self.dir.join("arrow")
    }

    /// Kills the server at once.
    pub(crate) fn kill(&self) -> Result<()> {
        if let Some(mut server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Lets the server die at an arrow of the corridor; kills it if it does not come by. True if it did.
    pub(crate) async fn kill_at(&self, arrow: &str) -> Result<bool> {
        let armed = self.dir.join("arrow.new");
        fs::write(&armed, arrow)?;
        fs::rename(&armed, self.arrow())?;
        let begun = Instant::now();
        while !self.is_dead()? && begun.elapsed() < ARROW_PATIENCE {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let struck = self.is_dead()?;
        self.kill()?;
        fs::remove_file(self.arrow())?;
        Ok(struck)
    }

    fn is_dead(&self) -> Result<bool> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(server.as_mut().map(Child::try_wait).transpose()?.flatten().is_some())
    }

    async fn is_ready(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(self.ops).await?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
        };
        ask.await.unwrap_or(false)
    }

    async fn admin(&self) -> Result<Connection> {
        Connection::unix(&self.dir.join("state/admin.sock")).await
    }

    async fn order<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let answer = self.admin().await?.post(path, serde_json::to_vec(body)?.into()).await?;
        if !answer.status.is_success() {
            bail!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// An invitation.
    pub(crate) async fn invite(&self, spiffe_id: &str) -> Result<String> {
        let registration = serde_json::from_value(serde_json::json!({ "spiffe_id": spiffe_id }))?;
        let request =
            InviteRequest { registration, stated: Vec::new(), ttl_seconds: INVITATION_SECONDS, uses: 1 };
        Ok(self.order::<InviteResponse>(paths::ADMIN_INVITATIONS, &request).await?.invitation)
    }

    /// Revokes a machine by its SPIFFE ID.
    pub(crate) async fn revoke(&self, kind: RevokeKind, target: &str) -> Result<()> {
        let (target, reason) = (target.to_owned(), Some("drawn by lot".into()));
        let request = RevokeRequest { kind, target, reason, all: true, dry_run: false };
        self.order::<serde_json::Value>(paths::ADMIN_REVOKE, &request).await.map(drop)
    }

    /// A page of a list.
    pub(crate) async fn page<T: DeserializeOwned>(&self, path: &str, after: Option<&str>) -> Result<Page<T>> {
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        let text = self.get(&format!("{path}?limit=1000{after}")).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut stream = tokio::net::UnixStream::connect(self.dir.join("state/admin.sock")).await?;
        // HTTP/1.0: the answer ends with the connection.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n").context("a broken answer")?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
        Ok(body)
    }

    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.page(path, after.as_deref()).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// All that the book shows.
    pub(crate) async fn dump(&self) -> Result<Dump> {
        Ok(Dump {
            issued: self.all(paths::ADMIN_ISSUED).await?,
            events: self.all(paths::ADMIN_EVENTS).await?,
            machines: self.all(paths::ADMIN_MACHINES).await?,
            archived: serde_json::from_slice::<Status>(&self.get(paths::ADMIN_STATUS).await?)?
                .events_archived,
        })
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        // It may be dead already.
        self.kill().ok();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn with_limits(config: &str) -> String {
    let changed = config.lines().map(|line| {
        let limit = LIMITS.iter().find(|(key, _)| line.split(" = ").next() == Some(key));
        limit.map_or_else(|| line.to_owned(), |(key, value)| format!("{key} = {value}"))
    });
    changed.collect::<Vec<_>>().join("\n") + "\n"
}
