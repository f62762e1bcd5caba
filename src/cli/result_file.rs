//! A file a command leaves behind: whole and durable under its name, or not there at all.

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
    /// It is replaced in one step.
    Replace,
}

/// A file being written under a temporary name beside its own.
pub(crate) struct ResultFile {
    path: PathBuf,
    temporary: PathBuf,
    existing: Existing,
    file: Option<BufWriter<File>>,
}

impl ResultFile {
    /// Begins a file that will be `path`, readable by `mode`.
    pub(crate) fn begin(path: &Path, mode: u32, existing: Existing) -> Result<Self, CliError> {
        if existing == Existing::Keep && path.exists() {
            return Err(taken(path));
        }
        let name =
            path.file_name().ok_or_else(|| CliError::usage(format_args!("{} is no file", path.display())))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let file = file.map_err(|error| failed(&temporary, &error))?;
        Ok(Self { path: path.to_owned(), temporary, existing, file: Some(BufWriter::new(file)) })
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
        if let Some(file) = self.file.take() {
            file.into_inner()?.sync_all()?;
        }
        match self.existing {
            Existing::Replace => fs::rename(&self.temporary, &self.path)?,
            // A link, unlike a rename, never replaces what another process put there meanwhile.
            Existing::Keep => fs::hard_link(&self.temporary, &self.path)?,
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
        let _ = fs::remove_file(&self.temporary);
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
