//! What the CA told, on disk for the next start. The CA tells it again: nothing that lies there stops a start.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Custody;
use crate::durable;
use crate::error::AgentError;

/// What lies in the file `name`; `None` where there is nothing, or nothing that can be read and understood.
pub(super) fn read<T: DeserializeOwned>(custody: &Custody, name: &str) -> Option<T> {
    found(&custody.home.join(name))
        .inspect_err(|why| {
            tracing::warn!("what was heard of the CA before is left out, it tells it again: {why}")
        })
        .ok()
        .flatten()
}

fn found<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, AgentError> {
    let Some(text) = durable::read(path)? else { return Ok(None) };
    let damaged = |error| AgentError::failed(format!("cannot understand {}: {error}", path.display()));
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// Writes it down.
pub(super) fn write<T: Serialize>(custody: &Custody, name: &str, told: &T) -> Result<(), AgentError> {
    let text = serde_json::to_vec(told)
        .map_err(|error| AgentError::failed(format!("cannot write {name}: {error}")))?;
    durable::make_dir(&custody.home)?;
    durable::replace(&custody.home.join(name), &text, durable::SECRET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_or_understood_is_told_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("told.json");
        assert_eq!(found::<u64>(&path).unwrap(), None);
        std::fs::write(&path, "7").unwrap();
        assert_eq!(found(&path).unwrap(), Some(7_u64));
        std::fs::write(&path, "{").unwrap();
        assert!(found::<u64>(&path).unwrap_err().to_string().contains("told.json"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(found::<u64>(&path).unwrap_err().to_string().contains("told.json"));
    }
}
