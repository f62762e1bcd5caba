//! Unpacking a backup: what a restored CA needs of it, and nothing else that somebody may have put into the file.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use countersign_store::Archive;
use tar::EntryType;

use super::restore_error::RestoreError;
use crate::signer::files;

/// Octets of one file beside the book: a certificate, a key, a profile, the configuration.
const MOST: u64 = 1024 * 1024;
/// The book in a backup.
pub(super) const BOOK: &str = "book.backup";
/// What every backup holds.
const EXPECTED: [&str; 5] =
    [BOOK, "countersign.toml", "state/root.pem", "state/roots.json", "state/keys/root.key.pem"];

/// Unpacks `backup` into the new directory `into`.
///
/// The keys of issuers and trust signers stay behind: they open under a secret that no backup holds, and new ones are
/// made.
pub(super) fn unpack(backup: &Path, into: &Path) -> Result<(), RestoreError> {
    let unreadable = |error: io::Error| RestoreError::backup(backup, &error);
    let mut archive = tar::Archive::new(File::open(backup).map_err(unreadable)?);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.into_owned();
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let Some(place) = place(&name) else { continue };
        let path = into.join(place);
        if let Some(parent) = path.parent() {
            files::create_private_directory(parent).map_err(RestoreError::file(parent))?;
        }
        if name == Path::new(BOOK) || is_of_archive(&name) {
            // What may be long.
            files::copy_secret(&path, &mut entry).map_err(RestoreError::file(&path))?;
            continue;
        }
        let mut octets = Vec::new();
        entry.take(MOST + 1).read_to_end(&mut octets).map_err(unreadable)?;
        if octets.len() as u64 > MOST {
            return Err(RestoreError::backup(backup, &format_args!("{} is too large", name.display())));
        }
        let secret = path.to_string_lossy().ends_with(".key.pem");
        let written =
            if secret { files::create_secret(&path, &octets) } else { files::create_public(&path, &octets) };
        written.map_err(RestoreError::file(&path))?;
    }
    match EXPECTED.into_iter().find(|name| fs::metadata(into.join(name)).is_err()) {
        Some(missing) => Err(RestoreError::backup(backup, &format_args!("it holds no {missing}"))),
        None => Ok(()),
    }
}

fn is_of_archive(name: &Path) -> bool {
    name.parent() == Some(Path::new("state/events"))
}

/// Where a file of the backup goes, if it is one that is needed.
fn place(name: &Path) -> Option<PathBuf> {
    let mut words = Vec::new();
    for component in name.components() {
        // No way up, no way out.
        let Component::Normal(word) = component else { return None };
        words.push(word.to_str()?);
    }
    let needed = match *words.as_slice() {
        [BOOK | "countersign.toml"] | ["state", "root.pem" | "roots.json"] => true,
        ["profiles", profile] => profile.ends_with(".toml"),
        ["state", "events", events] => Archive::is_named(events),
        ["state", "keys", key] => key == "root.key.pem",
        ["state", "issuers" | "trust", generation, "certificate.pem"] => generation.parse::<u32>().is_ok(),
        _ => false,
    };
    needed.then(|| words.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_restore_needs_is_unpacked_and_nothing_outside() {
        for good in [
            "state/events/000000000001-000000016384.jsonl.gz",
            "state/events/000000000001-000000016384.personal.jsonl.gz",
            "book.backup",
            "profiles/workload.toml",
            "state/issuers/3/certificate.pem",
            "state/roots.json",
        ] {
            assert_eq!(place(Path::new(good)), Some(good.into()), "{good}");
        }
        for bad in [
            "/etc/passwd",
            "../book.backup",
            "state/../../x",
            "profiles/../countersign.toml",
            "state/issuers/3/key.pem",
            "state/keys/token.key.pem",
            "state/unlock",
            "state/issuers/x/certificate.pem",
            "state/book/journal",
            "state/events/1.jsonl.gz",
            "state/events/../../x.jsonl.gz",
            "state/events/000000000001-000000016384.jsonl.gz/x",
            "profiles/run.sh",
        ] {
            assert_eq!(place(Path::new(bad)), None, "{bad}");
        }
    }
}
