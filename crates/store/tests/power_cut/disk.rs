//! The disk: what is on it for certain, and what was written since and may or may not be.
//!
//! The rules are POSIX's, not those of a kind file system: `fsync` of a file keeps its octets and its length, not its
//! name; `fsync` of a directory keeps its names, not what they name. Until then every sector of every write, every
//! length and every name is kept or lost by itself.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::trace::Step;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR: u64 = 512;

/// A file or directory, whatever its names are.
type Node = usize;

/// A moment in the trace: the number of a change.
pub(crate) type Moment = usize;

/// A change that is not durable yet.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) moment: Moment,
    pub(crate) node: Node,
    pub(crate) act: Act,
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Write {
        at: u64,
        octets: Arc<[u8]>,
    },
    SetLen(u64),
    /// Names of a directory that come, go or change hands, as one.
    Names(Vec<(String, Option<Node>)>),
}

/// How much of a pending change is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Kept,
    Lost,
    /// Of a write: only these sectors, counted from the one in which it begins.
    Sectors(Vec<u64>),
}

#[derive(Debug, Clone)]
enum Content {
    File(Octets),
    Dir(BTreeMap<String, Node>),
}

/// The octets of a file, in blocks; what is not there is zero.
#[derive(Debug, Clone, Default)]
struct Octets {
    len: u64,
    blocks: BTreeMap<u64, Arc<[u8]>>,
}

const BLOCK: u64 = 4096;

impl Octets {
    fn write(&mut self, at: u64, octets: &[u8]) {
        let mut done = 0;
        while done < octets.len() {
            let here = at + done as u64;
            let (block, within) = (here / BLOCK, (here % BLOCK) as usize);
            let some = (BLOCK as usize - within).min(octets.len() - done);
            let old = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK as usize].into());
            Arc::make_mut(old)[within..within + some].copy_from_slice(&octets[done..done + some]);
            done += some;
        }
        self.len = self.len.max(at + octets.len() as u64);
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.blocks.retain(|block, _| block * BLOCK < len);
            if let Some(last) = self.blocks.get_mut(&(len / BLOCK)) {
                Arc::make_mut(last)[(len % BLOCK) as usize..].fill(0);
            }
        }
        self.len = len;
    }

    fn copy_to(&self, path: &Path) {
        let file = fs::File::create(path).unwrap();
        file.set_len(self.len).unwrap();
        for (block, octets) in &self.blocks {
            let end = (self.len - block * BLOCK).min(BLOCK) as usize;
            file.write_all_at(&octets[..end], block * BLOCK).unwrap();
        }
    }
}

/// An open file description.
#[derive(Debug, Clone)]
struct Handle {
    node: Node,
    position: u64,
    append: bool,
    /// The moment at which the sync under way began.
    syncing: Moment,
}

/// The disk as a trace goes on.
pub(crate) struct Disk {
    root: PathBuf,
    durable: Vec<Content>,
    pub(crate) pending: Vec<Pending>,
    /// What a running program sees: names and lengths.
    names: Vec<BTreeMap<String, Node>>,
    lengths: Vec<u64>,
    handles: HashMap<usize, Handle>,
    moment: Moment,
    /// How often something has become durable.
    pub(crate) syncs: usize,
}

impl Disk {
    /// A disk that holds durably what lies in `image` under the name `root`.
    pub(crate) fn new(root: &Path, image: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            durable: Vec::new(),
            pending: Vec::new(),
            names: Vec::new(),
            lengths: Vec::new(),
            handles: HashMap::new(),
            moment: 0,
            syncs: 0,
        };
        disk.adopt(image);
        disk
    }

    fn adopt(&mut self, path: &Path) -> Node {
        let node = self.add(Content::Dir(BTreeMap::new()));
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let child = if entry.file_type().unwrap().is_dir() {
                self.adopt(&entry.path())
            } else {
                let mut octets = Octets::default();
                let held = fs::read(entry.path()).unwrap();
                octets.set_len(held.len() as u64);
                for (block, held) in (0_u64..).zip(held.chunks(BLOCK as usize)) {
                    if held.iter().any(|octet| *octet != 0) {
                        octets.write(block * BLOCK, held);
                    }
                }
                let child = self.add(Content::File(octets));
                self.lengths[child] = held.len() as u64;
                child
            };
            self.names[node].insert(name.clone(), child);
            let Content::Dir(names) = &mut self.durable[node] else { unreachable!() };
            names.insert(name, child);
        }
        node
    }

    fn add(&mut self, content: Content) -> Node {
        self.durable.push(content);
        self.names.push(BTreeMap::new());
        self.lengths.push(0);
        self.durable.len() - 1
    }

    /// What the next step does. True if the disk may look otherwise after it.
    pub(crate) fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Receipt(_) => return false,
            Step::Open { handle, path, create, truncate, append } => {
                return self.open(*handle, path, (*create, *truncate, *append));
            }
            Step::Seek { handle, to } => {
                self.handle(*handle).position = *to;
                return false;
            }
            Step::SyncBegins { handle } => {
                let moment = self.moment;
                self.handle(*handle).syncing = moment;
                return false;
            }
            Step::SyncEnds { handle } => self.sync(*handle),
            Step::Write { handle, at, octets } => self.write(*handle, *at, octets),
            Step::SetLen { handle, len } => {
                let node = self.handle(*handle).node;
                self.lengths[node] = *len;
                self.act(node, Act::SetLen(*len));
            }
            Step::MakeDir(path) => {
                let node = self.add(Content::Dir(BTreeMap::new()));
                self.name(path, Some(node));
            }
            Step::Remove(path) => self.name(path, None),
            Step::Rename(from, to) => self.rename(from, to),
        }
        true
    }

    fn handle(&mut self, handle: usize) -> &mut Handle {
        self.handles.get_mut(&handle).expect("a handle is opened before it is used")
    }

    fn act(&mut self, node: Node, act: Act) {
        self.pending.push(Pending { moment: self.moment, node, act });
        self.moment += 1;
    }

    fn open(&mut self, handle: usize, path: &Path, (create, truncate, append): (bool, bool, bool)) -> bool {
        let found = self.find(path);
        let node = match found {
            Some(node) => node,
            None => {
                assert!(create, "{} was opened and is not there", path.display());
                let node = self.add(Content::File(Octets::default()));
                self.name(path, Some(node));
                node
            }
        };
        if truncate && found.is_some() {
            self.lengths[node] = 0;
            self.act(node, Act::SetLen(0));
        }
        self.handles.insert(handle, Handle { node, position: 0, append, syncing: 0 });
        found.is_none() || truncate
    }

    fn write(&mut self, handle: usize, at: Option<u64>, octets: &[u8]) {
        let Handle { node, position, append, .. } = self.handle(handle).clone();
        let start = at.unwrap_or(if append { self.lengths[node] } else { position });
        let end = start + octets.len() as u64;
        if at.is_none() {
            self.handle(handle).position = end;
        }
        self.lengths[node] = self.lengths[node].max(end);
        self.act(node, Act::Write { at: start, octets: octets.into() });
    }

    fn sync(&mut self, handle: usize) {
        let Handle { node, syncing, .. } = self.handle(handle).clone();
        self.syncs += 1;
        let all = std::mem::take(&mut self.pending);
        for pending in all {
            if pending.node == node && pending.moment < syncing {
                apply(&mut self.durable, &pending, &Fate::Kept);
            } else {
                self.pending.push(pending);
            }
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let node = self.find(from);
        assert!(node.is_some(), "{} was renamed and is not there", from.display());
        if from.parent() == to.parent() {
            let dir = self.find(from.parent().unwrap()).unwrap();
            let (from, to) = (last(from), last(to));
            self.names[dir].remove(&from);
            self.names[dir].insert(to.clone(), node.unwrap());
            self.act(dir, Act::Names(vec![(from, None), (to, node)]));
        } else {
            self.name(to, node);
            self.name(from, None);
        }
    }

    fn name(&mut self, path: &Path, node: Option<Node>) {
        let dir = self.find(path.parent().unwrap()).expect("a name lies in a directory");
        match node {
            Some(node) => self.names[dir].insert(last(path), node),
            None => self.names[dir].remove(&last(path)),
        };
        self.act(dir, Act::Names(vec![(last(path), node)]));
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let inner = path.strip_prefix(&self.root).expect("all paths lie under the root");
        inner.components().try_fold(0, |node, part| match part {
            Component::Normal(name) => self.names[node].get(name.to_str()?).copied(),
            _ => Some(node),
        })
    }

    /// Whether a pending change is of names rather than of octets.
    pub(crate) const fn is_of_names(pending: &Pending) -> bool {
        matches!(pending.act, Act::Names(_))
    }

    /// Builds the directory that a power cut now leaves, if this becomes of the pending changes.
    pub(crate) fn image(&self, fates: &[Fate], to: &Path) {
        let mut content = self.durable.clone();
        for (pending, fate) in self.pending.iter().zip(fates) {
            apply(&mut content, pending, fate);
        }
        build(&content, 0, to);
    }
}

fn last(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn apply(content: &mut [Content], pending: &Pending, fate: &Fate) {
    if *fate == Fate::Lost {
        return;
    }
    match (&pending.act, &mut content[pending.node]) {
        (Act::Write { at, octets }, Content::File(file)) => match fate {
            Fate::Sectors(sectors) => {
                let first = at / SECTOR;
                for sector in sectors {
                    let from = ((first + sector) * SECTOR).max(*at);
                    let to = ((first + sector + 1) * SECTOR).min(at + octets.len() as u64);
                    if from < to {
                        file.write(from, &octets[(from - at) as usize..(to - at) as usize]);
                    }
                }
            }
            _ => file.write(*at, octets),
        },
        (Act::SetLen(len), Content::File(file)) => file.set_len(*len),
        (Act::Names(changes), Content::Dir(names)) => {
            for (name, node) in changes {
                match node {
                    Some(node) => names.insert(name.clone(), *node),
                    None => names.remove(name),
                };
            }
        }
        (act, _) => panic!("{act:?} on the wrong kind of file"),
    }
}

fn build(content: &[Content], node: Node, to: &Path) {
    match &content[node] {
        Content::File(octets) => octets.copy_to(to),
        Content::Dir(names) => {
            fs::create_dir(to).unwrap();
            for (name, node) in names {
                build(content, *node, &to.join(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(handle: usize, path: &str) -> Step {
        let (path, create) = (path.into(), handle > 0);
        Step::Open { handle, path, create, truncate: false, append: false }
    }

    fn write(handle: usize, octets: &[u8]) -> Step {
        Step::Write { handle, at: None, octets: octets.to_vec() }
    }

    /// The files and what they hold, if all that is pending is lost.
    fn certain(disk: &Disk) -> Vec<(String, Vec<u8>)> {
        files(disk, &vec![Fate::Lost; disk.pending.len()])
    }

    fn files(disk: &Disk, fates: &[Fate]) -> Vec<(String, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        disk.image(fates, &image);
        let entries = fs::read_dir(image).unwrap().map(Result::unwrap);
        let mut all: Vec<_> = entries
            .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap_or_default()))
            .collect();
        all.sort();
        all
    }

    fn disk() -> (tempfile::TempDir, Disk) {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(Path::new("/s"), dir.path());
        disk.step(&open(0, "/s"));
        (dir, disk)
    }

    fn run(disk: &mut Disk, steps: &[Step]) {
        for step in steps {
            disk.step(step);
        }
    }

    fn synced(handle: usize) -> [Step; 2] {
        [Step::SyncBegins { handle }, Step::SyncEnds { handle }]
    }

    #[test]
    fn a_synced_file_without_a_synced_name_is_lost() {
        let (_dir, mut disk) = disk();
        run(&mut disk, &[open(1, "/s/a"), write(1, b"x")]);
        run(&mut disk, &synced(1));
        assert_eq!(certain(&disk), []);
        run(&mut disk, &synced(0));
        assert_eq!(certain(&disk), [("a".into(), b"x".to_vec())]);
    }

    #[test]
    fn a_synced_name_without_synced_octets_is_an_empty_file() {
        let (_dir, mut disk) = disk();
        run(&mut disk, &[open(1, "/s/a"), write(1, b"x")]);
        run(&mut disk, &synced(0));
        assert_eq!(certain(&disk), [("a".into(), vec![])]);
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let (_dir, mut disk) = disk();
        run(&mut disk, &[open(1, "/s/a"), write(1, b"x")]);
        run(&mut disk, &synced(0));
        run(&mut disk, &[Step::SyncBegins { handle: 1 }, write(1, b"y"), Step::SyncEnds { handle: 1 }]);
        assert_eq!(certain(&disk), [("a".into(), b"x".to_vec())]);
    }

    #[test]
    fn a_rename_that_is_not_synced_leaves_the_old_file() {
        let (_dir, mut disk) = disk();
        run(&mut disk, &[open(1, "/s/a"), write(1, b"old"), open(2, "/s/b"), write(2, b"new")]);
        run(&mut disk, &[synced(0), synced(1), synced(2)].concat());
        run(&mut disk, &[Step::Rename("/s/b".into(), "/s/a".into())]);
        let old = [("a".into(), b"old".to_vec()), ("b".into(), b"new".to_vec())];
        assert_eq!(certain(&disk), old);
        run(&mut disk, &synced(0));
        assert_eq!(certain(&disk), [("a".into(), b"new".to_vec())]);
    }

    #[test]
    fn sectors_are_kept_one_by_one() {
        let (_dir, mut disk) = disk();
        run(&mut disk, &[open(1, "/s/a")]);
        run(&mut disk, &synced(0));
        run(&mut disk, &[write(1, &[7; 100]), write(1, &[8; 1000])]);
        let kept = files(&disk, &[Fate::Lost, Fate::Sectors(vec![1])]);
        let expected = [vec![0; 512], vec![8; 512]].concat();
        assert_eq!(kept, [("a".into(), expected)]);
    }

    #[test]
    fn what_is_cut_off_stays_zero_when_the_file_grows_again() {
        let (_dir, mut disk) = disk();
        run(&mut disk, &[open(1, "/s/a"), write(1, &[7; 5000])]);
        run(&mut disk, &[Step::SetLen { handle: 1, len: 10 }, Step::SetLen { handle: 1, len: 20 }]);
        run(&mut disk, &[synced(1), synced(0)].concat());
        assert_eq!(certain(&disk), [("a".into(), [vec![7; 10], vec![0; 10]].concat())]);
    }
}
