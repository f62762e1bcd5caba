//! The profiles of one CA, read from a directory: `workload.toml` is the profile `workload`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use countersign_issuance::{Profile, ProfileError};

use crate::config::directory;

/// Every profile by its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profiles(BTreeMap<String, Profile>);

/// Why the profiles cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfilesError {
    /// The directory or a file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is wrong.
    #[error("{path}: {source}")]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ProfileError,
    },
    /// Nothing to issue by.
    #[error("{0} holds no profile: expected files like workload.toml")]
    None(PathBuf),
}

impl Profiles {
    /// Reads every `*.toml` in `dir`; one that is wrong refuses them all.
    ///
    /// # Errors
    /// Names the file, and where in it.
    pub fn load(dir: &Path) -> Result<Self, ProfilesError> {
        let unreadable = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ProfilesError::Unreadable { path, source }
        };
        let mut found = BTreeMap::new();
        for path in directory::entries(dir).map_err(unreadable(dir))? {
            if path.extension().is_none_or(|ending| ending != "toml") {
                continue;
            }
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let profile =
                Profile::parse(&name, &text).map_err(|source| ProfilesError::Profile { path, source })?;
            found.insert(name, profile);
        }
        if found.is_empty() { Err(ProfilesError::None(dir.into())) } else { Ok(Self(found)) }
    }

    /// The profile of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The longest lifetime among them: old issuers must stay trusted that long.
    #[must_use]
    pub fn longest(&self) -> std::time::Duration {
        self.0.values().map(Profile::lifetime).max().unwrap_or_default()
    }
}
