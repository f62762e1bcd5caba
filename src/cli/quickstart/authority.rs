//! The quickstart's CA: initialised here, served by a process of its own, like in earnest.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use countersign_api::{
    Invitation,
    admin::{self, ActResponse, InviteRequest, InviteResponse, RevokeKind, RevokeRequest},
    paths,
};
use countersign_identity::{SpiffeId, TrustDomain, hex};
use countersign_verifier::SystemClock;

use crate::{
    cli::{CliError, Client, serve::block_on},
    service::Bootstrap,
    signer::Entropy,
};

/// Starting takes a fraction of a second; a machine that needs this long is in trouble.
const PATIENCE: Duration = Duration::from_secs(15);

/// A CA that runs beside us.
#[derive(Debug)]
pub(super) struct Authority {
    process: Child,
    config: PathBuf,
    url: String,
    socket: PathBuf,
}

impl Authority {
    /// `init` and `serve`.
    pub(super) fn start(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, CliError> {
        let (listen, ops_listen) = (free_address()?, free_address()?);
        let url = format!("https://{listen}");
        let plan = Bootstrap { trust_domain, dir, listen, ops_listen, url: &url };
        let entropy = Entropy::system();
        let passphrase = hex::encode(&entropy.octets::<16>());
        let made =
            block_on(plan.run(passphrase.as_bytes(), &entropy, &SystemClock))?.map_err(CliError::failed)?;
        let log = File::create(dir.join("serve.log")).map_err(CliError::failed)?;
        let program = std::env::current_exe().map_err(CliError::failed)?;
        let process = Command::new(program)
            .args(["serve", "--config"])
            .arg(&made.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| CliError::failed(format!("cannot start `countersign serve`: {e}")))?;
        let mut authority =
            Self { process, socket: dir.join("state").join("admin.sock"), config: made.config, url };
        authority.wait_until_ready(&dir.join("serve.log"))?;
        Ok(authority)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<(), CliError> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.process.try_wait() {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(CliError::failed(format!("the CA ended at once ({status}): {}", said.trim())));
            }
            if self.client().and_then(|client| client.get::<admin::Status>(paths::ADMIN_STATUS)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(CliError::failed("the CA did not answer in time"))
    }

    /// A line to its admin socket.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        Client::connect(&self.socket)
    }

    /// Where machines connect.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its configuration file.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// `invite ID`
    pub(super) fn invite(&self, id: &SpiffeId) -> Result<Invitation, CliError> {
        let request = InviteRequest {
            registration: admin::Registration {
                spiffe_id: id.to_string(),
                profile: "workload".into(),
                dns: Vec::new(),
                ip: Vec::new(),
                until: None,
                owner: None,
                machines: "one".into(),
                tokens: "bound".into(),
                token_keys: Vec::new(),
                shared: false,
                parent: None,
                selectors: Vec::new(),
                created: None,
            },
            stated: Vec::new(),
            ttl_seconds: 900,
            uses: 1,
        };
        let answer: InviteResponse = self.client()?.post(paths::ADMIN_INVITATIONS, &request)?;
        answer.invitation.parse().map_err(CliError::failed)
    }

    /// `revoke machine ID`
    pub(super) fn revoke(&self, id: &SpiffeId, reason: &str) -> Result<ActResponse, CliError> {
        let request = RevokeRequest {
            kind: RevokeKind::Machine,
            target: id.to_string(),
            reason: Some(reason.into()),
            all: false,
            dry_run: false,
        };
        self.client()?.post(paths::ADMIN_REVOKE, &request)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // Its directory is about to go: there is nothing it could still save.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address nobody listens at. Somebody else could take it before we do; then the start says so.
fn free_address() -> Result<SocketAddr, CliError> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|e| CliError::failed(format!("no free port on 127.0.0.1: {e}")))
}
