//! Restoring: a CA from a backup, with new online keys and a new trust epoch. It never un-revokes (DESIGN §6).

use std::{
    collections::HashMap,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use countersign_api::trust::RevokedPart;
use countersign_identity::{Clock, KeyHash, Timestamp, TrustDomain, hex};
use countersign_issuance::IssuerCertificate;
use countersign_store::{
    Actor, Archive, Book, Cause, IssuerRecord, IssuerState, Options, Restoration, Restored, RevokedSerial,
    Store,
    engine::{Engine, FjallEngine, SledEngine},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    RootActError,
    bootstrap::{aside_of, make_named_keys, refuse_occupied},
    pem,
    restore_error::RestoreError,
    root_hand::{RootHand, certificate_in, generations, new_unlock_secret, parse},
    rotate::epoch_of,
    unpack::{BOOK, unpack},
};
use crate::{
    config::{self, Config, StateDir, directory},
    signer::{Entropy, KeyFileError, files},
};

/// What to restore, and where.
#[derive(Clone, Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub backup: &'a Path,
    /// The directory that will hold everything; absent or empty.
    pub dir: &'a Path,
    /// A trust snapshot newer than the backup, in its file form.
    pub trust: Option<&'a [u8]>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct RestoredCa {
    /// The configuration file.
    pub config: PathBuf,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The trust epoch that has begun.
    pub epoch: u64,
    /// What the book took in.
    pub book: Restored,
}

/// What a trust snapshot says, once it is believed.
#[derive(Clone, Debug)]
pub struct NewerTrust {
    /// Its epoch.
    pub epoch: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Issuers, DER.
    pub issuers: Vec<Vec<u8>>,
    /// What is revoked.
    pub revoked: Vec<RevokedPart>,
    /// The policy.
    pub policy: String,
}

/// Judges the file form of a trust snapshot by a root certificate (DER): the verifier that we ship does it.
pub type Judge<'a> = dyn Fn(&TrustDomain, &[u8], &[u8]) -> Result<NewerTrust, String> + 'a;

/// What the steps share.
struct Scene<'a> {
    config: Config,
    entropy: &'a Entropy,
    clock: &'a dyn Clock,
}

impl Restore<'_> {
    /// Restores aside and renames into place, so that an interrupted restore leaves nothing under the directory's name.
    ///
    /// # Errors
    /// When the directory is not empty, the file no backup, the passphrase wrong, or the snapshot not to be believed.
    pub async fn run(
        &self,
        passphrase: &[u8],
        entropy: &Entropy,
        clock: &dyn Clock,
        judge: &Judge<'_>,
    ) -> Result<RestoredCa, RestoreError> {
        refuse_occupied(self.dir)?;
        let aside = aside_of(self.dir, entropy);
        let made = self.fill(&aside, passphrase, entropy, clock, judge).await;
        let made = made.and_then(|made| {
            files::rename(&aside, self.dir).map(|()| made).map_err(RestoreError::file(self.dir))
        });
        if made.is_err() {
            // Best effort: what is left is under a hidden name and says nothing to anyone but its owner.
            let _ = directory::remove(&aside);
        }
        made
    }

    async fn fill(
        &self,
        aside: &Path,
        passphrase: &[u8],
        entropy: &Entropy,
        clock: &dyn Clock,
        judge: &Judge<'_>,
    ) -> Result<RestoredCa, RestoreError> {
        files::create_private_directory(aside).map_err(RestoreError::file(aside))?;
        unpack(self.backup, aside)?;
        let inside = |why: &dyn Display| RestoreError::inside(self.backup, aside, why);
        let path = aside.join("countersign.toml");
        let config = Config::parse(&settled_at_home(&path)?, &path).map_err(|error| inside(&error))?;
        let scene = Scene { config, entropy, clock };
        let root = pem::read_one(&scene.state().root_certificate()).map_err(|error| inside(&error))?;
        // Before the book, which may be large.
        let hand = scene.root(passphrase).map_err(|error| match error {
            RootActError::Key(KeyFileError::Locked { .. }) => {
                RestoreError::Passphrase { file: self.backup.into() }
            }
            other => inside(&other),
        })?;
        let newer = self.trust.map(|file| judge(&scene.config.trust_domain, &root, file)).transpose();
        let newer = newer.map_err(RestoreError::Trust)?;
        let book = scene.open_book(self.backup, aside)?;
        let before = epoch_of(scene.state())?;
        if let Some(newer) = &newer {
            refuse_older(newer, before, *book.trust_sequence().borrow())?;
        }
        let epoch = before.max(newer.as_ref().map_or(0, |newer| newer.epoch)) + 1;
        scene.renew_keys(&hand, epoch, newer.as_ref()).await?;
        let book = scene.tell(&book, epoch, newer).await?;
        Ok(RestoredCa {
            config: self.dir.join("countersign.toml"),
            trust_domain: scene.config.trust_domain,
            epoch,
            book,
        })
    }
}

impl Scene<'_> {
    fn state(&self) -> &StateDir {
        &self.config.state
    }

    fn root(&self, passphrase: &[u8]) -> Result<RootHand<'_>, RootActError> {
        RootHand::open(&self.config.trust_domain, self.state(), passphrase, self.entropy, self.clock)
    }

    /// The book of a backup that was unpacked in `aside`.
    fn open_book(&self, backup: &Path, aside: &Path) -> Result<Book, RestoreError> {
        let dir = self.state().book();
        files::create_private_directory(&dir).map_err(RestoreError::file(&dir))?;
        let engine: Arc<dyn Engine> = match self.config.engine {
            config::Engine::Fjall => Arc::new(FjallEngine::open(&dir)?),
            config::Engine::Sled => Arc::new(SledEngine::open(&dir)?),
            config::Engine::Memory => return Err(RestoreError::Memory),
        };
        let archive = Archive::at(self.state().events());
        archive.examine().map_err(|error| RestoreError::archive(backup, aside, error))?;
        let entropy = self.entropy.clone();
        let options = Options::new(Box::new(move |out| entropy.fill(out))).archived(archive);
        let rows = aside.join(BOOK);
        let book = Book::restore_on(&rows, engine, options)?;
        fs::remove_file(&rows).map_err(RestoreError::file(rows))?;
        Ok(book)
    }

    /// New online keys under a new secret. Issuers that the snapshot knows and the backup does not stay trusted.
    async fn renew_keys(
        &self,
        root: &RootHand<'_>,
        epoch: u64,
        newer: Option<&NewerTrust>,
    ) -> Result<(), RestoreError> {
        let state = self.state();
        for dir in [state.issuers(), state.trust_signers()] {
            files::create_private_directory(&dir).map_err(RestoreError::file(&dir))?;
        }
        for issuer in newer.map(|newer| newer.issuers.as_slice()).unwrap_or_default() {
            keep_issuer(state, issuer)?;
        }
        let unlock: Zeroizing<Vec<u8>> = new_unlock_secret(state, self.entropy)?;
        root.new_trust_signer(state, epoch, &unlock).await?;
        root.new_issuer(state, &unlock).await?;
        make_named_keys(state, &unlock, self.entropy)?;
        Ok(())
    }

    /// Everything that the book must know before it serves again.
    async fn tell(
        &self,
        book: &Book,
        epoch: u64,
        newer: Option<NewerTrust>,
    ) -> Result<Restored, RestoreError> {
        let now = self.clock.now();
        for record in self.issuers(now)? {
            if !book.issuers()?.iter().any(|known| known.key_hash == record.key_hash) {
                book.record_issuer(record, Actor::House, now).await?;
            }
        }
        let revoked = newer.as_ref().map(|newer| revoked(newer, &book.issuers()?)).transpose()?;
        if let Some(policy) = newer.map(|newer| newer.policy)
            && book.policy()?.map_or("version = 1\n".to_owned(), |record| record.text) != policy
        {
            let version = Sha256::digest(&policy).into();
            book.set_policy(version, policy, Actor::House, now).await?;
        }
        Ok(book.restored(Restoration { epoch, revoked }, Actor::House, now).await?)
    }

    /// Every issuer in the state directory, oldest first.
    fn issuers(&self, now: Timestamp) -> Result<Vec<IssuerRecord>, RestoreError> {
        let dir = self.state().issuers();
        let mut records = Vec::new();
        for (_, generation) in generations(&dir).map_err(RestoreError::file(&dir))? {
            let path = certificate_in(&generation);
            let issuer = parse(&path, &pem::read_one(&path).map_err(RootActError::from)?)?;
            records.push(IssuerRecord {
                key_hash: issuer.key_hash(),
                der: issuer.der().to_vec(),
                not_after: issuer.validity().not_after(),
                state: IssuerState::Active,
                created: now,
            });
        }
        Ok(records)
    }
}

/// The configuration, with state and profiles beside it, wherever they were.
fn settled_at_home(path: &Path) -> Result<String, RestoreError> {
    let text = fs::read_to_string(path).map_err(RestoreError::file(path))?;
    let at_home = at_home(&text);
    if at_home != text {
        fs::write(path, &at_home).map_err(RestoreError::file(path))?;
    }
    Ok(at_home)
}

/// The text without keys that lead out of the directory: their defaults lead to where the backup was unpacked.
fn at_home(text: &str) -> String {
    let mut in_table = false;
    let kept = text.split_inclusive('\n').filter(|line| {
        let line = line.trim_start();
        in_table |= line.starts_with('[');
        let key = line.split('=').next().unwrap_or_default().trim();
        in_table || !matches!(key, "state" | "profiles")
    });
    kept.collect()
}

fn refuse_older(newer: &NewerTrust, epoch: u64, sequence: u64) -> Result<(), RestoreError> {
    if (newer.epoch, newer.sequence) >= (epoch, sequence) {
        return Ok(());
    }
    let (backup_epoch, backup_sequence) = (epoch, sequence);
    Err(RestoreError::TrustIsOlder {
        epoch: newer.epoch,
        sequence: newer.sequence,
        backup_epoch,
        backup_sequence,
    })
}

/// Keeps an issuer's certificate as the next generation unless it is there.
fn keep_issuer(state: &StateDir, der: &[u8]) -> Result<(), RestoreError> {
    let parent = state.issuers();
    let found = generations(&parent).map_err(RestoreError::file(&parent))?;
    for (_, generation) in &found {
        if pem::read_one(&certificate_in(generation)).map_err(RootActError::from)? == der {
            return Ok(());
        }
    }
    let generation = parent.join(found.last().map_or(1, |(n, _)| n + 1).to_string());
    files::create_private_directory(&generation).map_err(RestoreError::file(&generation))?;
    let path = certificate_in(&generation);
    files::create_public(&path, pem::encode("CERTIFICATE", der).as_bytes()).map_err(RestoreError::file(&path))
}

/// The revoked serials of a snapshot, by the keys of their issuers. Those of an issuer that is known to nobody any more
/// have ended with it.
fn revoked(newer: &NewerTrust, issuers: &[IssuerRecord]) -> Result<Vec<RevokedSerial>, RestoreError> {
    let ids: HashMap<String, KeyHash> = issuers
        .iter()
        .filter_map(|record| IssuerCertificate::parse(&record.der).ok())
        .map(|issuer| (hex::encode(issuer.subject_key_id()), issuer.key_hash()))
        .collect();
    let mut entries = Vec::new();
    for part in &newer.revoked {
        if !(part.lineages.is_empty() && part.subjects.is_empty()) {
            let why = "it revokes lineages or identities as a whole: restore with the version that made it";
            return Err(RestoreError::Trust(why.into()));
        }
        for of in &part.serials {
            let Some(issuer) = ids.get(&of.issuer) else { continue };
            for (serial, end) in &of.entries {
                let unreadable = |_| RestoreError::Trust(format!("{serial:?} is no serial"));
                let serial = serial.parse().map_err(unreadable)?;
                let not_after = Timestamp::from_unix(*end);
                entries.push(RevokedSerial { serial, issuer: *issuer, not_after, cause: Cause::Restored });
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_comes_home_with_its_state() {
        let text =
            "trust_domain = \"td\"\n  state = \"/var/lib/ca\"\nprofiles=\"../p\"\n[log]\nlevel = \"info\"\n";
        assert_eq!(at_home(text), "trust_domain = \"td\"\n[log]\nlevel = \"info\"\n");
        let config = Config::parse(&at_home(text), Path::new("/new/countersign.toml")).unwrap();
        assert_eq!(config.state.path(), Path::new("/new/state"));
        assert_eq!(config.profiles, Path::new("/new/profiles"));
    }

    #[test]
    fn a_snapshot_as_old_as_the_backup_is_new_enough() {
        let newer =
            NewerTrust { epoch: 2, sequence: 5, issuers: vec![], revoked: vec![], policy: String::new() };
        for (epoch, sequence, good) in [(2, 5, true), (2, 6, false), (1, 99, true), (3, 0, false)] {
            assert_eq!(refuse_older(&newer, epoch, sequence).is_ok(), good, "{epoch} {sequence}");
        }
    }
}
