//! Invitations from a running CA, over its unix socket.

use std::path::Path;

use anyhow::{Result, bail};
use countersign_api::{
    admin::{InviteRequest, InviteResponse, Registration},
    paths,
};
use countersign_bench::Connection;

const CONNECTIONS: usize = 8;
const TTL_SECONDS: u64 = 900;

/// One invitation a line, for `spiffe://TD/bench/000000` and up.
pub(crate) async fn run(socket: &Path, trust_domain: &str, count: usize) -> Result<String> {
    let mut tasks = Vec::new();
    for first in 0..CONNECTIONS {
        let mut connection = Connection::unix(socket).await?;
        let names: Vec<_> = (first..count)
            .step_by(CONNECTIONS)
            .map(|n| format!("spiffe://{trust_domain}/bench/{n:06}"))
            .collect();
        tasks.push(tokio::spawn(async move {
            let mut invitations = Vec::new();
            for name in names {
                invitations.push(invite(&mut connection, name).await?);
            }
            Result::<_>::Ok(invitations)
        }));
    }
    let mut invitations = Vec::new();
    for task in tasks {
        invitations.append(&mut task.await??);
    }
    Ok(invitations.join("\n"))
}

async fn invite(connection: &mut Connection, spiffe_id: String) -> Result<String> {
    let request = InviteRequest {
        registration: registration(spiffe_id)?,
        stated: Vec::new(),
        ttl_seconds: TTL_SECONDS,
        uses: 1,
    };
    let answer = connection.post(paths::ADMIN_INVITATIONS, serde_json::to_vec(&request)?.into()).await?;
    if !answer.status.is_success() {
        bail!("no invitation: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    Ok(serde_json::from_slice::<InviteResponse>(&answer.body)?.invitation)
}

/// A registration with every field at the default its wire form gives it.
fn registration(spiffe_id: String) -> Result<Registration> {
    Ok(serde_json::from_value(serde_json::json!({ "spiffe_id": spiffe_id }))?)
}
