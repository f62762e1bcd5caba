//! The directory of one identity: its lock, its generations, and the links that lead to the current one.
//!
//! ```text
//! D/svid.pem -> current/svid.pem        and svid.key, bundle.pem, svid-combined.pem likewise, svid.p12 where it is wanted
//! D/current  -> generations/7-4f2a…     swapped by rename: certificate and key change in one step
//! D/generations/7-4f2a…/                svid.pem svid.key bundle.pem svid-combined.pem meta.json
//! D/pending-renew-4f2a….key             the key of an issuance under way, on disk before the CA hears of it
//! D/workloads/6c1f…/                    a workload's identity, laid out like this directory, its keys sealed, no svid-combined.pem
//! D/unlock                              the secret they are sealed under, where the service manager gives none
//! D/roots.json                          the roots documents walked so far
//! D/status.json  D/.lock
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::at_rest::AtRest;
use crate::attempt::Record;
use crate::durable;
use crate::error::AgentError;
use crate::generation::{self, Publication};
use crate::identity::{self, Identity, Meta};
use crate::lock;
use crate::outputs::Outputs;
use crate::owner;
use crate::pending::{PendingKey, Purpose};
use crate::roots::Roots;
use crate::stages::{Stage, Stages};

/// The directory of one identity.
///
/// ```
/// use countersign_agent::Dir;
///
/// let scratch = tempfile::tempdir()?;
/// assert!(Dir::at(scratch.path()).identity()?.is_none(), "nobody enrolled here yet");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dir {
    path: PathBuf,
}

impl Dir {
    /// The directory at `path`, which need not exist yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity published here, whether still valid or not; `None` before the first enrollment.
    ///
    /// # Errors
    /// When what is published cannot be read.
    pub fn identity(&self) -> Result<Option<Identity>, AgentError> {
        self.home()?.map(read).transpose()
    }

    /// The identity of the newest whole generation, where the link `current` to it is missing: it was removed from
    /// outside, or never made because the first enrollment was cut short.
    ///
    /// # Errors
    /// When what is there cannot be listed.
    pub fn unlinked(&self) -> Result<Option<Identity>, AgentError> {
        if self.home()?.is_some() {
            return Ok(None);
        }
        let generations = self.path.join(generation::GENERATIONS);
        let mut names = generation::list(&generations)?;
        names.retain(|name| generation::number(name).is_some());
        names.sort_by_key(|name| std::cmp::Reverse(generation::number(name)));
        let whole = |name: &String| read(generations.join(name)).ok().filter(|found| found.own().is_ok());
        Ok(names.iter().find_map(whole))
    }

    /// Puts back the link `current` where it is missing. Takes the directory only if there is something to do.
    pub(crate) fn relink(&self) -> Result<(), AgentError> {
        if self.unlinked()?.is_some() { self.hold()?.relink() } else { Ok(()) }
    }

    /// The SHA-256 of each root that the machine believes which has its identity here: the one its invitation pinned, or
    /// those that roots documents have led to since.
    ///
    /// # Errors
    /// When the documents are there and cannot be read.
    pub fn roots(&self, identity: &Identity) -> Result<Vec<[u8; 32]>, AgentError> {
        Ok(Roots::held(&self.path, identity.pin())?.fingerprints())
    }

    /// The generation that `current` names.
    fn home(&self) -> Result<Option<PathBuf>, AgentError> {
        let link = self.current();
        match fs::read_link(&link) {
            Ok(target) => Ok(Some(self.path.join(target))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AgentError::file("read the link", &link, &error)),
        }
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.path.join("current")
    }

    /// How the last attempt ended, and which certificate the reload command last saw.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn record(&self) -> Result<Record, AgentError> {
        Record::read(&self.path)
    }

    /// Takes the directory for one issuance, making it if need be. Only the holder writes.
    pub(crate) fn hold(&self) -> Result<Held<'_>, AgentError> {
        durable::make_dir(&self.path)?;
        owner::check(&self.path)?;
        let lock = lock::take(&self.path.join(".lock"), || {
            AgentError::failed(format!("{} is in use by another countersign-agent", self.path.display()))
                .with_hint("wait until it has finished, or stop it, and run the command again")
        })?;
        Ok(Held { dir: self, at_rest: AtRest::Clear, _lock: lock })
    }

    /// Takes the place of the one `run` of this directory.
    pub(crate) fn hold_for_run(&self) -> Result<File, AgentError> {
        owner::check(&self.path)?;
        lock::take(&self.path.join(".run.lock"), || {
            AgentError::failed(format!("another `countersign-agent run` keeps {}", self.path.display()))
                .with_hint("one is enough; send it SIGHUP to renew now")
        })
    }
}

/// The identity published in the generation `home`.
fn read(home: PathBuf) -> Result<Identity, AgentError> {
    let path = home.join(generation::META);
    let damaged = |reason: String| {
        AgentError::failed(format!("cannot understand {}: {reason}", path.display()))
            .with_hint(identity::ANEW)
    };
    let text = durable::read(&path)?.ok_or_else(|| damaged("it is missing".into()))?;
    let meta: Meta = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    meta.identity(home).map_err(|error| damaged(error.to_string()))
}

/// The directory, held for one issuance.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    dir: &'a Dir,
    /// How keys lie here.
    pub(crate) at_rest: AtRest,
    _lock: File,
}

impl Held<'_> {
    /// The same directory, where keys lie otherwise than in the clear.
    #[cfg(feature = "workload-api")]
    pub(crate) fn keeping(self, at_rest: AtRest) -> Self {
        Self { at_rest, ..self }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.dir.path
    }

    /// Puts the link `current` back where it is missing: the newest whole generation counts as published.
    pub(crate) fn relink(&self) -> Result<(), AgentError> {
        let Some(found) = self.dir.unlinked()? else { return Ok(()) };
        let Some(name) = found.home().file_name() else { return Ok(()) };
        tracing::warn!(generation = %name.to_string_lossy(), "the link current was missing and is put back");
        self.point(Path::new(name))?;
        // Its key is in use now and must not be certified again.
        match found.redeemed.as_deref().and_then(Purpose::redeemed) {
            Some(purpose) => self.forget(&purpose),
            None => Ok(()),
        }
    }

    /// Makes the generation `name` the one that readers see.
    fn point(&self, name: &Path) -> Result<(), AgentError> {
        for link in generation::LINKED {
            if link == generation::COMBINED && !self.at_rest.is_for_programs() {
                generation::remove_link(&self.dir.path, link)?;
            } else {
                generation::place_link(&self.dir.path, link)?;
            }
        }
        let has_keystore = self.generations().join(name).join(generation::KEYSTORE).exists();
        if has_keystore {
            generation::place_link(&self.dir.path, generation::KEYSTORE)?;
        }
        durable::point(&self.dir.current(), &Path::new(generation::GENERATIONS).join(name))?;
        if has_keystore { Ok(()) } else { generation::remove_link(&self.dir.path, generation::KEYSTORE) }
    }

    /// Looks at everything that could keep a certificate from being published, before the CA is asked for one; and
    /// clears away what a crash left behind.
    pub(crate) fn prepare(&self, outputs: &Outputs) -> Result<(), AgentError> {
        durable::make_dir(&self.generations())?;
        for name in generation::LINKED {
            generation::check_link(&self.dir.path, name)?;
        }
        if let Some(keystore) = outputs.keystore() {
            generation::check_link(&self.dir.path, generation::KEYSTORE)?;
            keystore.password()?;
        }
        self.tidy()
    }

    /// The key for this purpose: the one a crash left, or a new one. Durable.
    pub(crate) fn pending_key(&self, purpose: &Purpose) -> Result<PendingKey, AgentError> {
        PendingKey::obtain(&self.dir.path, purpose, &self.at_rest)
    }

    /// Forgets the pending key of a purpose, once the CA has said that it will never have it.
    pub(crate) fn forget(&self, purpose: &Purpose) -> Result<(), AgentError> {
        durable::remove_file(&purpose.path(&self.dir.path))?;
        durable::sync_dir(&self.dir.path)
    }

    /// Publishes in one step; whatever stops this, readers see the identity before or the one after.
    pub(crate) fn publish(
        &self,
        publication: &Publication<'_>,
        purpose: &Purpose,
        stages: &dyn Stages,
    ) -> Result<Identity, AgentError> {
        let home = self.put(publication, stages)?;
        // The identity is out: what cannot be cleared away now is cleared away the next time.
        if let Err(error) = self.tidy().and_then(|()| self.forget_settled(purpose)) {
            tracing::warn!(%error, "old generations or keys could not be removed");
        }
        Ok(Identity { home, ..publication.identity.clone() })
    }

    /// Writes a generation, its key as keys lie here, and makes it the one that readers see.
    pub(crate) fn put(
        &self,
        publication: &Publication<'_>,
        stages: &dyn Stages,
    ) -> Result<PathBuf, AgentError> {
        let name = format!("{}-{}", self.next_number()?, publication.identity.serial());
        let home = generation::write(&self.generations(), &name, publication, &self.at_rest)?;
        stages.reached(Stage::GenerationWritten)?;
        self.point(Path::new(&name))?;
        stages.reached(Stage::CurrentSwapped)?;
        Ok(home)
    }

    /// Writes down how an attempt ended. Never stands in the way of the attempt itself.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Record)) {
        let path = &self.dir.path;
        let mut record = Record::read(path).unwrap_or_default();
        change(&mut record);
        if let Err(error) = record.write(path) {
            tracing::warn!(%error, "the outcome could not be written down");
        }
    }

    fn generations(&self) -> PathBuf {
        self.dir.path.join(generation::GENERATIONS)
    }

    fn next_number(&self) -> Result<u64, AgentError> {
        let found = generation::list(&self.generations())?;
        Ok(found
            .into_iter()
            .filter_map(|name| generation::number(&name))
            .max()
            .map_or(1, |n| n.saturating_add(1)))
    }

    /// Keeps the current generation and the one before it (a reader may still be in it), removes all others; where keys
    /// are sealed, one before that holds its key in the clear as well.
    pub(crate) fn tidy(&self) -> Result<(), AgentError> {
        let home = self.dir.home()?;
        let current =
            home.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let number = current.as_deref().and_then(generation::number).unwrap_or(0);
        let names = generation::list(&self.generations())?;
        let before = |name: &&String| generation::number(name).is_some_and(|n| n < number);
        let previous = names.iter().filter(before).max_by_key(|name| generation::number(name));
        let previous = previous.filter(|name| !self.is_exposed(&self.generations().join(name)));
        for name in names.iter().filter(|name| Some(*name) != current.as_ref() && Some(*name) != previous) {
            generation::remove(&self.generations().join(name))?;
        }
        Ok(())
    }

    /// Whether a key lies in the clear where it should be sealed.
    pub(crate) fn is_exposed(&self, home: &Path) -> bool {
        !self.at_rest.is_for_programs() && !generation::is_sealed(home)
    }

    fn forget_settled(&self, purpose: &Purpose) -> Result<(), AgentError> {
        for name in generation::list(&self.dir.path)?.iter().filter(|name| purpose.settles(name)) {
            durable::remove_file(&self.dir.path.join(name))?;
        }
        durable::sync_dir(&self.dir.path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_second_holder_is_told_that_the_directory_is_in_use() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::at(scratch.path().join("deep/down"));
        let held = dir.hold().unwrap();
        let error = dir.hold().unwrap_err();
        assert!(error.to_string().contains("in use by another countersign-agent"), "{error}");
        drop(held);
        dir.hold().unwrap();
    }

    #[test]
    fn a_directory_that_others_may_write_in_is_not_held() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::at(scratch.path());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for error in [dir.hold().unwrap_err(), dir.hold_for_run().unwrap_err()] {
            assert!(error.to_string().contains("mode 0777"), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is made there");
    }

    #[test]
    fn links_in_the_place_of_the_locks_are_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::at(scratch.path().join("identity"));
        drop(dir.hold().unwrap());
        let precious = scratch.path().join("precious");
        fs::write(&precious, "keep me").unwrap();
        fs::remove_file(dir.path().join(".lock")).unwrap();
        for name in [".lock", ".run.lock"] {
            std::os::unix::fs::symlink(&precious, dir.path().join(name)).unwrap();
        }
        for error in [dir.hold().unwrap_err(), dir.hold_for_run().unwrap_err()] {
            assert!(error.to_string().contains("is a link"), "{error}");
        }
        assert_eq!(fs::read_to_string(precious).unwrap(), "keep me");
    }

    #[test]
    fn a_directory_is_made_for_its_owner_only() {
        // Invariant 8.
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::at(scratch.path().join("identity"));
        drop(dir.hold().unwrap());
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_of_somebody_else_in_the_place_of_a_link_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("svid.key"), "mine").unwrap();
        let dir = Dir::at(scratch.path());
        let error = dir.hold().unwrap().prepare(&Outputs::default()).unwrap_err();
        assert!(error.to_string().contains("svid.key"), "{error}");
        assert_eq!(fs::read_to_string(scratch.path().join("svid.key")).unwrap(), "mine");
    }

    #[test]
    fn a_damaged_meta_file_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().join("generations/1-ab");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("meta.json"), "{}").unwrap();
        durable::point(&scratch.path().join("current"), Path::new("generations/1-ab")).unwrap();
        let error = Dir::at(scratch.path()).identity().unwrap_err();
        assert!(error.to_string().contains("meta.json"), "{error}");
    }

    #[test]
    fn generations_a_crash_left_behind_are_removed_and_the_previous_one_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        for name in ["1-aa", "2-bb", "3-cc", "4-dd", ".new-5-ee"] {
            fs::create_dir_all(scratch.path().join("generations").join(name)).unwrap();
        }
        durable::point(&scratch.path().join("current"), Path::new("generations/3-cc")).unwrap();
        let dir = Dir::at(scratch.path());
        dir.hold().unwrap().prepare(&Outputs::default()).unwrap();
        let mut left = generation::list(&scratch.path().join("generations")).unwrap();
        left.sort();
        assert_eq!(left, ["2-bb", "3-cc"]);
    }
}
