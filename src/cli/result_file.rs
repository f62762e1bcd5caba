//! A file a command leaves behind: whole and durable under its name, or not there at all.
//!
//! A device or a pipe is no such file: it is written to as it is, and stays.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::CliError;

/// What may happen to a file that is already there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Existing {
    /// It stays, and the command is refused.
    Keep,
    /// It is replaced in one step; what is no file, such as /dev/stdout, is written to.
    Replace,
}

/// A file being written under a temporary name beside its own.
pub(crate) struct ResultFile {
    path: PathBuf,
    /// `None` for a device or a pipe.
    temporary: Option<PathBuf>,
    existing: Existing,
    file: Option<BufWriter<File>>,
}

impl ResultFile {
    /// Begins a file that will be `path`, readable by `mode`.
    pub(crate) fn begin(path: &Path, mode: u32, existing: Existing) -> Result<Self, CliError> {
        if existing == Existing::Keep && path.exists() {
            return Err(taken(path));
        }
        // A link stays a link: what it leads to is replaced.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let file = OpenOptions::new().write(true).open(path).map_err(|error| failed(path, &error))?;
            return Ok(Self {
                path: path.clone(),
                temporary: None,
                existing,
                file: Some(BufWriter::new(file)),
            });
        }
        let name =
            path.file_name().ok_or_else(|| CliError::usage(format_args!("{} is no file", path.display())))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let file = file.map_err(|error| failed(&temporary, &error))?;
        Ok(Self {
            path: path.to_owned(),
            temporary: Some(temporary),
            existing,
            file: Some(BufWriter::new(file)),
        })
    }

    /// Makes the content durable, then gives it its name.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        let path = self.path.clone();
        self.publish().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(&path),
            _ => failed(&path, &error),
        })
    }

    fn publish(&mut self) -> io::Result<()> {
        let file = self.file.take().map(BufWriter::into_inner).transpose()?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        if let Some(file) = file {
            file.sync_all()?;
        }
        match self.existing {
            Existing::Replace => fs::rename(temporary, &self.path)?,
            // A link, unlike a rename, never replaces what another process put there meanwhile.
            Existing::Keep => fs::hard_link(temporary, &self.path)?,
        }
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Write for ResultFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for ResultFile {
    fn drop(&mut self) {
        // Gone already after a rename; left over after a link or a failure.
        let _ = self.temporary.as_ref().map(fs::remove_file);
    }
}

fn taken(path: &Path) -> CliError {
    CliError::refused(format_args!("{} exists and is not overwritten", path.display()))
        .hint("choose another name, or move the file away")
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format_args!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_finished_file_has_its_mode_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let mut file = ResultFile::begin(&path, 0o600, Existing::Keep).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!path.exists(), "nothing carries the name before it is whole");
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(ResultFile::begin(&dir.path().join("backup"), 0o600, Existing::Keep).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let file = ResultFile::begin(&path, 0o600, Existing::Keep).unwrap();
        fs::write(&path, b"another").unwrap();
        assert!(file.finish().unwrap_err().to_string().ends_with("exists and is not overwritten"));
        assert_eq!(fs::read(&path).unwrap(), b"another");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_is_written_to_and_stays_a_pipe() {
        use std::os::unix::fs::FileTypeExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from(0o600)).unwrap();
        let read = std::thread::spawn({
            let path = path.clone();
            move || fs::read(path).unwrap()
        });
        let mut file = ResultFile::begin(&path, 0o600, Existing::Replace).unwrap();
        file.write_all(b"through").unwrap();
        file.finish().unwrap();
        assert_eq!(read.join().unwrap(), b"through");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_device_is_a_failure_and_a_directory_is_too() {
        let mut full = ResultFile::begin(Path::new("/dev/full"), 0o600, Existing::Replace).unwrap();
        full.write_all(b"lost").unwrap();
        assert!(full.finish().unwrap_err().to_string().starts_with("cannot write /dev/full"));
        let dir = tempfile::tempdir().unwrap();
        assert!(ResultFile::begin(dir.path(), 0o600, Existing::Replace).is_err());
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut file = ResultFile::begin(&link, 0o644, Existing::Replace).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn replacing_is_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        fs::write(&path, b"old").unwrap();
        let mut file = ResultFile::begin(&path, 0o644, Existing::Replace).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
