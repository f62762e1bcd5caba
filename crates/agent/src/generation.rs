//! One generation on disk: a certificate, its key, the bundle, and what they mean, written once and never changed.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use countersign_api::pem_block;
use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::io::Errno;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::at_rest::{AtRest, is_sealed as is_sealed_key};
use crate::durable;
use crate::error::AgentError;
use crate::identity::{Identity, Meta};
use crate::outputs::Outputs;

/// The directory of generations inside an identity's directory.
pub(crate) const GENERATIONS: &str = "generations";
/// The directory of workloads inside the machine's own; each has a directory of its own in it.
pub(crate) const WORKLOADS: &str = "workloads";
/// What the generation means.
pub(crate) const META: &str = "meta.json";
/// Leaf, issuer.
pub(crate) const SVID: &str = "svid.pem";
/// PKCS#8.
pub(crate) const KEY: &str = "svid.key";
/// The roots.
pub(crate) const BUNDLE: &str = "bundle.pem";
/// Key and chain in one file, for programs that want that; it can never be read in two halves.
pub(crate) const COMBINED: &str = "svid-combined.pem";
/// Key and chain as PKCS#12, where it is wanted.
pub(crate) const KEYSTORE: &str = "svid.p12";
/// The files that the identity's directory always links to.
pub(crate) const LINKED: [&str; 4] = [SVID, KEY, BUNDLE, COMBINED];

/// What is to be published. Its certificate and key were proven to belong together.
pub(crate) struct Publication<'a> {
    pub(crate) chain: &'a [CertificateDer<'static>],
    pub(crate) roots: &'a [CertificateDer<'static>],
    pub(crate) key: Zeroizing<String>,
    pub(crate) identity: Identity,
    /// For whom the files are.
    pub(crate) outputs: Outputs,
}

/// Writes a whole generation called `name` and makes it durable; until then it has another name.
pub(crate) fn write(
    generations: &Path,
    name: &str,
    publication: &Publication<'_>,
    at_rest: &AtRest,
) -> Result<PathBuf, AgentError> {
    let fresh = generations.join(format!(".new-{name}"));
    let home = generations.join(name);
    let chain = pem(publication.chain);
    let key = at_rest.close(&publication.key)?;
    let combined = at_rest.is_for_programs().then(|| Zeroizing::new(format!("{}{chain}", *publication.key)));
    let meta = serde_json::to_string_pretty(&Meta::from(&publication.identity))
        .map_err(|error| AgentError::failed(format!("cannot write {META}: {error}")))?;
    let roots = pem(publication.roots);
    let wanted = publication.outputs.keystore();
    let keystore = wanted.map(|it| it.encode(publication.chain, publication.roots, &publication.key));
    let keystore = keystore.transpose()?;
    durable::make_dir(&fresh)?;
    let files = [
        (KEY, key.as_bytes(), durable::SECRET),
        (SVID, chain.as_bytes(), durable::PUBLIC),
        (BUNDLE, roots.as_bytes(), durable::PUBLIC),
        (META, meta.as_bytes(), durable::PUBLIC),
    ];
    let combined = combined.as_ref().map(|text| (COMBINED, text.as_bytes(), durable::SECRET));
    let keystore = keystore.as_ref().map(|octets| (KEYSTORE, octets.as_slice(), durable::SECRET));
    for (name, content, mode) in files.into_iter().chain(combined).chain(keystore) {
        let path = fresh.join(name);
        durable::create(&path, content, mode)?;
        publication.outputs.apply(name, &path)?;
    }
    publication.outputs.open_the_way(&fresh)?;
    publication.outputs.open_the_way(generations)?;
    durable::sync_dir(&fresh)?;
    durable::rename(&fresh, &home)?;
    durable::sync_dir(generations)?;
    Ok(home)
}

/// The names in a directory; none if it does not exist.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>, AgentError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Not the standard library's: that one panics when the disk fails at the end of it.
    let read = || -> Result<Vec<String>, Errno> {
        let names = Dir::new(open(dir, flags, Mode::empty())?)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names.filter(|name| !matches!(name.as_deref(), Ok("." | ".."))).collect()
    };
    match read() {
        Err(Errno::NOENT) => Ok(Vec::new()),
        other => other.map_err(|error| AgentError::file("list", dir, &error.into())),
    }
}

/// Whether the key of a generation lies sealed, and in no other file.
pub(crate) fn is_sealed(home: &Path) -> bool {
    !home.join(COMBINED).exists() && fs::read(home.join(KEY)).is_ok_and(|key| is_sealed_key(&key))
}

/// Removes a directory with all that is in it, or a file; links are removed and not followed. Not the standard library's
/// way, as with [`list`].
pub(crate) fn remove(path: &Path) -> Result<(), AgentError> {
    let failed = |error| AgentError::file("remove", path, &error);
    if !fs::symlink_metadata(path).map_err(failed)?.is_dir() {
        return fs::remove_file(path).map_err(failed);
    }
    for name in list(path)? {
        remove(&path.join(name))?;
    }
    fs::remove_dir(path).map_err(failed)
}

/// The number a generation's name begins with; `None` for one that was never finished.
pub(crate) fn number(name: &str) -> Option<u64> {
    name.split_once('-').and_then(|(number, _)| number.parse().ok())
}

/// Whether `name` in the identity's directory is free for a link of ours, or is one already.
pub(crate) fn check_link(dir: &Path, name: &str) -> Result<bool, AgentError> {
    let path = dir.join(name);
    match fs::read_link(&path) {
        Ok(target) if target == target_of(name) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok(_) | Err(_) => {
            let shown = path.display();
            let error = AgentError::failed(format!("{shown} exists and is not the link that belongs there"));
            Err(error.with_hint("move it away, or choose another --dir: nothing of it is overwritten"))
        }
    }
}

/// Puts the link `name` in the identity's directory, if it is not there.
pub(crate) fn place_link(dir: &Path, name: &str) -> Result<(), AgentError> {
    if check_link(dir, name)? {
        return Ok(());
    }
    let path = dir.join(name);
    symlink(target_of(name), &path).map_err(|error| AgentError::file("create the link", &path, &error))
}

/// Removes the link `name` of ours from the identity's directory; what somebody else put there stays.
pub(crate) fn remove_link(dir: &Path, name: &str) -> Result<(), AgentError> {
    if check_link(dir, name).unwrap_or(false) { durable::remove_file(&dir.join(name)) } else { Ok(()) }
}

fn target_of(name: &str) -> PathBuf {
    Path::new("current").join(name)
}

/// Certificates as PEM, written anew from what was judged rather than copied from what was received.
fn pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| pem_block("CERTIFICATE", certificate)).collect()
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn written_pem_is_read_back() {
        let certificates = [1_usize, 47, 48, 49, 500].map(|n| CertificateDer::from(vec![0x30; n]));
        let text = pem(&certificates);
        assert!(text.lines().all(|line| line.len() <= 64));
        let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, certificates);
    }

    #[test]
    fn a_directory_goes_with_all_that_is_in_it_and_what_its_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (gone, stays) = (dir.path().join("gone"), dir.path().join("stays"));
        fs::create_dir_all(gone.join("generations/1-ab")).unwrap();
        fs::create_dir(&stays).unwrap();
        fs::write(stays.join(KEY), "").unwrap();
        fs::write(gone.join("generations/1-ab").join(KEY), "").unwrap();
        symlink(&stays, gone.join("current")).unwrap();
        symlink(&stays, dir.path().join("link")).unwrap();
        remove(&gone).unwrap();
        remove(&dir.path().join("link")).unwrap();
        assert_eq!(list(dir.path()).unwrap(), ["stays"]);
        assert!(stays.join(KEY).exists());
        remove(&gone).unwrap_err();
    }

    #[test]
    fn an_unfinished_generation_has_no_number() {
        assert_eq!(number("12-ab34"), Some(12));
        assert_eq!(number(".new-12-ab34"), None);
        assert_eq!(number("lost+found"), None);
    }
}
