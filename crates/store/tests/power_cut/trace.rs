//! The trace: what a program did to files, in order, as strace wrote it down.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The calls that change files, make them durable, or say where a write goes.
pub(crate) const CALLS: &str = "trace=open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,writev,pwritev,\
    pwritev2,ftruncate,truncate,fallocate,copy_file_range,sendfile,mmap,fsync,fdatasync,rename,renameat,renameat2,unlink,\
    unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat";

/// Something that happened to a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file was opened for writing, or a directory; the handle is ours and never used again for another.
    Open {
        handle: usize,
        path: PathBuf,
        create: bool,
        truncate: bool,
        append: bool,
    },
    /// Octets at an offset, or where the handle stands.
    Write {
        handle: usize,
        at: Option<u64>,
        octets: Vec<u8>,
    },
    Seek {
        handle: usize,
        to: u64,
    },
    SetLen {
        handle: usize,
        len: u64,
    },
    /// A sync began: it covers what was done before this moment.
    SyncBegins {
        handle: usize,
    },
    /// The sync has returned.
    SyncEnds {
        handle: usize,
    },
    MakeDir(PathBuf),
    Rename(PathBuf, PathBuf),
    /// A name left, of a file or of an empty directory.
    Remove(PathBuf),
    /// Something was written to the receipts.
    Receipt(String),
}

impl Step {
    /// What it is, in one line.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Write { handle, at, octets } => {
                format!("write of {} octets at {at:?} by {handle}", octets.len())
            }
            other => format!("{other:?}"),
        }
    }
}

/// Reads a trace; only what lies under `root` counts, and the file of receipts.
pub(crate) fn read(file: &Path, root: &Path, receipts: &Path) -> Vec<Step> {
    let octets = fs::read(file).unwrap();
    let mut reader = Reader { root, receipts, fds: HashMap::new(), handles: 0, steps: Vec::new() };
    let mut unfinished: HashMap<&[u8], Call> = HashMap::new();
    for line in octets.split(|octet| *octet == b'\n') {
        let Some(blank) = line.iter().position(|octet| *octet == b' ') else { continue };
        let (thread, rest) = line.split_at(blank);
        let rest = rest.trim_ascii_start();
        if rest.starts_with(b"---") || rest.starts_with(b"+++") {
            continue;
        }
        if rest.starts_with(b"<... ") {
            let call = unfinished.remove(thread).expect("a call that is resumed has begun");
            let told = rest.windows(8).position(|w| w == b"resumed>").unwrap() + 8;
            reader.ended(&call.completed(&rest[told..]));
            continue;
        }
        let call = Call::parse(rest);
        reader.began(&call);
        if call.result.is_some() {
            reader.ended(&call);
        } else {
            unfinished.insert(thread, call);
        }
    }
    reader.steps
}

/// One call as strace shows it.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    arguments: Vec<Argument>,
    result: Option<i64>,
}

#[derive(Debug, Clone)]
enum Argument {
    Octets(Vec<u8>),
    Word(String),
}

impl Call {
    fn parse(line: &[u8]) -> Self {
        let open = line.iter().position(|octet| *octet == b'(').unwrap();
        let name = String::from_utf8(line[..open].to_vec()).unwrap();
        let mut call = Self { name, arguments: Vec::new(), result: None };
        call.take(&line[open + 1..]);
        call
    }

    /// Arguments as far as they are told, then the result unless the call goes on.
    fn take(&mut self, mut rest: &[u8]) {
        loop {
            rest = rest.trim_ascii_start();
            match rest.first() {
                Some(b'"') => {
                    let (octets, behind) = unquote(&rest[1..]);
                    assert!(!behind.starts_with(b"..."), "strace has cut a string of {}", self.name);
                    self.arguments.push(Argument::Octets(octets));
                    rest = behind;
                }
                Some(b',') => rest = &rest[1..],
                Some(b')') => {
                    let told = String::from_utf8_lossy(&rest[1..]).into_owned();
                    let told = told.trim_start().strip_prefix('=').unwrap_or("-1").trim_start().to_owned();
                    let number = told.split(' ').next().unwrap_or_default();
                    self.result = Some(match number.strip_prefix("0x") {
                        Some(hex) => i64::from_str_radix(hex, 16).unwrap_or(-1),
                        None => number.parse().unwrap_or(-1),
                    });
                    return;
                }
                Some(_) => {
                    let ends = |octet: &u8| matches!(octet, b',' | b')');
                    let end = rest.iter().position(ends).unwrap_or(rest.len());
                    let word = String::from_utf8_lossy(&rest[..end]).trim().to_owned();
                    if word != "<unfinished ...>" {
                        self.arguments.push(Argument::Word(word.replace(" <unfinished ...>", "")));
                    }
                    rest = &rest[end..];
                }
                None => return,
            }
        }
    }

    fn completed(mut self, rest: &[u8]) -> Self {
        self.take(rest);
        self
    }

    fn word(&self, at: usize) -> &str {
        match self.arguments.get(at) {
            Some(Argument::Word(word)) => word,
            other => panic!("argument {at} of {} is no word: {other:?}", self.name),
        }
    }

    fn number(&self, at: usize) -> i64 {
        self.word(at).parse().unwrap_or_else(|_| panic!("argument {at} of {} is no number", self.name))
    }

    fn octets(&self, at: usize) -> &[u8] {
        match self.arguments.get(at) {
            Some(Argument::Octets(octets)) => octets,
            other => panic!("argument {at} of {} is no string: {other:?}", self.name),
        }
    }

    fn path(&self, at: usize) -> PathBuf {
        PathBuf::from(std::str::from_utf8(self.octets(at)).unwrap())
    }
}

/// A string as C writes it, and what follows its closing quote.
fn unquote(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut octets = Vec::new();
    let mut at = 0;
    loop {
        match quoted[at] {
            b'"' => return (octets, &quoted[at + 1..]),
            b'\\' => {
                at += 1;
                let escape = quoted[at];
                at += 1;
                octets.push(match escape {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'v' => 0x0b,
                    b'f' => 0x0c,
                    b'0'..=b'7' => {
                        let mut value = u32::from(escape - b'0');
                        for _ in 0..2 {
                            let Some(digit @ b'0'..=b'7') = quoted.get(at).copied() else { break };
                            value = value * 8 + u32::from(digit - b'0');
                            at += 1;
                        }
                        u8::try_from(value).unwrap()
                    }
                    other => other,
                });
            }
            plain => {
                octets.push(plain);
                at += 1;
            }
        }
    }
}

/// What an open file descriptor is to us.
#[derive(Debug, Clone, PartialEq)]
enum Fd {
    Ours { handle: usize, path: PathBuf },
    Receipts,
}

struct Reader<'a> {
    root: &'a Path,
    receipts: &'a Path,
    fds: HashMap<i64, Fd>,
    handles: usize,
    steps: Vec<Step>,
}

impl Reader<'_> {
    /// A call has begun. For a sync this is the moment that counts.
    fn began(&mut self, call: &Call) {
        if matches!(call.name.as_str(), "fsync" | "fdatasync")
            && let Some(handle) = self.handle(call.number(0))
        {
            self.steps.push(Step::SyncBegins { handle });
        }
        // Another thread may get the number before this call has returned.
        if call.name == "close" {
            self.fds.remove(&call.number(0));
        }
    }

    /// A call has ended. Until then, what it wrote is not known to be anywhere.
    fn ended(&mut self, call: &Call) {
        let result = call.result.unwrap();
        if result < 0 {
            return;
        }
        match call.name.as_str() {
            "close" => {}
            "openat" => self.open(&self.at(call, 0), call.word(2), result),
            "write" => self.write(call, None, result),
            "pwrite64" => self.write(call, Some(call.number(3).unsigned_abs()), result),
            "lseek" => self.on(call.number(0), |handle| Step::Seek { handle, to: result.unsigned_abs() }),
            "ftruncate" => {
                let len = call.number(1).unsigned_abs();
                self.on(call.number(0), |handle| Step::SetLen { handle, len });
            }
            "fsync" | "fdatasync" => self.on(call.number(0), |handle| Step::SyncEnds { handle }),
            "fcntl" if call.word(1).starts_with("F_DUPFD") => {
                if let Some(fd) = self.fds.get(&call.number(0)).cloned() {
                    self.fds.insert(result, fd);
                }
            }
            "mkdir" => self.under(call.path(0), Step::MakeDir),
            "mkdirat" => self.under(self.at(call, 0), Step::MakeDir),
            "unlink" | "rmdir" => self.under(call.path(0), Step::Remove),
            "unlinkat" => self.under(self.at(call, 0), Step::Remove),
            "rename" => self.under(call.path(0), |from| Step::Rename(from, call.path(1))),
            "renameat" | "renameat2" => {
                let to = self.at(call, 2);
                self.under(self.at(call, 0), |from| Step::Rename(from, to));
            }
            "fcntl" => {}
            "mmap" => {
                let shared = call.word(3).contains("MAP_SHARED") && call.word(2).contains("PROT_WRITE");
                let fd = call.word(4).parse().unwrap_or(-1);
                assert!(!shared || !self.fds.contains_key(&fd), "a mapped file is written behind our back");
            }
            other => {
                let named = call.arguments.iter().any(|argument| match argument {
                    Argument::Octets(octets) => octets.starts_with(self.root.as_os_str().as_encoded_bytes()),
                    Argument::Word(word) => word.parse().is_ok_and(|fd| self.fds.contains_key(&fd)),
                });
                assert!(!named, "the replay does not know {other}");
            }
        }
    }

    /// The path of an argument that is relative to the directory before it.
    fn at(&self, call: &Call, directory: usize) -> PathBuf {
        let path = call.path(directory + 1);
        match call.word(directory).parse() {
            Ok(fd) if path.is_relative() => match self.fds.get(&fd) {
                Some(Fd::Ours { path: parent, .. }) => parent.join(path),
                _ => path,
            },
            _ => path,
        }
    }

    fn open(&mut self, path: &Path, flags: &str, fd: i64) {
        if path == self.receipts {
            self.fds.insert(fd, Fd::Receipts);
            return;
        }
        if !path.starts_with(self.root) {
            self.fds.remove(&fd);
            return;
        }
        assert!(!flags.contains("O_TMPFILE"), "the replay does not know files without names");
        let handle = self.handles;
        self.handles += 1;
        self.fds.insert(fd, Fd::Ours { handle, path: path.to_owned() });
        self.steps.push(Step::Open {
            handle,
            path: path.to_owned(),
            create: flags.contains("O_CREAT"),
            truncate: flags.contains("O_TRUNC"),
            append: flags.contains("O_APPEND"),
        });
    }

    fn write(&mut self, call: &Call, at: Option<u64>, written: i64) {
        let octets = &call.octets(1)[..usize::try_from(written).unwrap()];
        match self.fds.get(&call.number(0)) {
            Some(Fd::Ours { handle, .. }) => {
                self.steps.push(Step::Write { handle: *handle, at, octets: octets.to_vec() });
            }
            Some(Fd::Receipts) => {
                let lines = std::str::from_utf8(octets).unwrap();
                self.steps.extend(lines.lines().map(|line| Step::Receipt(line.to_owned())));
            }
            None => {}
        }
    }

    fn handle(&self, fd: i64) -> Option<usize> {
        match self.fds.get(&fd) {
            Some(Fd::Ours { handle, .. }) => Some(*handle),
            _ => None,
        }
    }

    fn on(&mut self, fd: i64, step: impl FnOnce(usize) -> Step) {
        if let Some(handle) = self.handle(fd) {
            self.steps.push(step(handle));
        }
    }

    fn under(&mut self, path: PathBuf, step: impl FnOnce(PathBuf) -> Step) {
        if path.starts_with(self.root) {
            self.steps.push(step(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_several_threads_are_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace");
        let lines = r#"7 openat(AT_FDCWD, "/s/x", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3
8 openat(AT_FDCWD, "/elsewhere", O_RDONLY) = 4
7 fdatasync(3 <unfinished ...>
8 write(3, "a\0b\n\0011\"\\\377", 9) = 9
7 <... fdatasync resumed>)                = 0
8 close(3)                                = 0
8 openat(AT_FDCWD, "/r", O_WRONLY|O_APPEND) = 3
8 write(3, "ack 1\n", 6)                  = 6
7 rename("/s/x", "/s/y")                  = 0
7 rename("/s/x", "/s/y")                  = -1 ENOENT (No such file or directory)
7 +++ exited with 0 +++
"#;
        fs::write(&file, lines).unwrap();
        let open =
            Step::Open { handle: 0, path: "/s/x".into(), create: true, truncate: false, append: false };
        let expected = [
            open,
            Step::SyncBegins { handle: 0 },
            Step::Write { handle: 0, at: None, octets: b"a\0b\n\x011\"\\\xff".to_vec() },
            Step::SyncEnds { handle: 0 },
            Step::Receipt("ack 1".into()),
            Step::Rename("/s/x".into(), "/s/y".into()),
        ];
        assert_eq!(read(&file, Path::new("/s"), Path::new("/r")), expected);
    }
}
