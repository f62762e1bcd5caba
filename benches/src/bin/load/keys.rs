//! API keys from a running CA, over its unix socket.

use std::path::Path;

use anyhow::{Result, bail};
use countersign_api::{ApiKeyMade, ApiKeyRequest, paths};
use countersign_bench::Connection;

/// So long they live: longer than any benchmark.
const TTL_SECONDS: u64 = 86_400;

/// So many keys of one identity for a service, one a line.
pub(crate) async fn run(socket: &Path, spiffe_id: &str, service: &str, count: usize) -> Result<String> {
    let mut connection = Connection::unix(socket).await?;
    let request = ApiKeyRequest {
        spiffe_id: spiffe_id.to_owned(),
        service: service.to_owned(),
        permissions: Vec::new(),
        ttl_seconds: TTL_SECONDS,
        note: String::new(),
    };
    let request = hyper::body::Bytes::from(serde_json::to_vec(&request)?);
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let answer = connection.post(paths::ADMIN_API_KEYS, request.clone()).await?;
        if !answer.status.is_success() {
            bail!("no key: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        keys.push(serde_json::from_slice::<ApiKeyMade>(&answer.body)?.secret);
    }
    Ok(keys.join("\n"))
}
