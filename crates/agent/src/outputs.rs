//! What is published beside the four files that always are, and who may read which: owner, group and mode of each.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use serde::Deserialize;

use crate::error::AgentError;
use crate::generation::{COMBINED, KEY, KEYSTORE, LINKED};
use crate::keystore::Keystore;

/// What the world may do with a key: nothing.
const WORLD: u32 = 0o007;
/// What others may do with the directories on the way to a file that they may read: pass through, not look around.
const PASSABLE: u32 = 0o711;

/// Owner, group and mode by the file's name. A file that is not named here is the agent's: keys 0600, the rest 0644.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outputs {
    by_name: BTreeMap<String, Access>,
    keystore: Option<Keystore>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Access {
    owner: Option<u32>,
    group: Option<u32>,
    mode: Option<u32>,
}

/// The same as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputFile {
    owner: Option<Name>,
    group: Option<Name>,
    mode: Option<String>,
}

/// A user or group: its number, or its name in the local files.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Number(u32),
    Name(String),
}

impl Outputs {
    /// Understands what is written of the files.
    pub(crate) fn read(
        written: BTreeMap<String, OutputFile>,
        keystore: Option<Keystore>,
    ) -> Result<Self, String> {
        let by_name = written
            .into_iter()
            .map(|(name, file)| access(&name, file).map(|access| (name, access)))
            .collect::<Result<_, _>>()?;
        Ok(Self { by_name, keystore })
    }

    /// The PKCS#12 file that is wanted beside the others.
    pub(crate) const fn keystore(&self) -> Option<&Keystore> {
        self.keystore.as_ref()
    }

    /// Gives a file that was just written to whom it is for, before anybody can find it.
    pub(crate) fn apply(&self, name: &str, path: &Path) -> Result<(), AgentError> {
        let Some(access) = self.by_name.get(name) else { return Ok(()) };
        chown(path, access.owner, access.group)
            .map_err(|error| AgentError::file("change the owner of", path, &error))?;
        match access.mode {
            Some(mode) => set_mode(path, mode),
            None => Ok(()),
        }
    }

    /// Lets those for whom a file is pass through a directory on the way to it.
    pub(crate) fn open_the_way(&self, dir: &Path) -> Result<(), AgentError> {
        if self.by_name.is_empty() { Ok(()) } else { set_mode(dir, PASSABLE) }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), AgentError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| AgentError::file("set the mode of", path, &error))
}

fn access(name: &str, file: OutputFile) -> Result<Access, String> {
    if !LINKED.contains(&name) && name != KEYSTORE {
        let all = LINKED.join(", ");
        return Err(format!("files: found {name:?}, expected one of {all}, {KEYSTORE}"));
    }
    let mode = file.mode.map(|mode| read_mode(name, &mode)).transpose()?;
    let number = |file: &str, name: Option<Name>| name.map(|name| number_of(file, name)).transpose();
    Ok(Access {
        owner: number("/etc/passwd", file.owner).map_err(|why| format!("files.{name:?}.owner: {why}"))?,
        group: number("/etc/group", file.group).map_err(|why| format!("files.{name:?}.group: {why}"))?,
        mode,
    })
}

fn read_mode(name: &str, text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o777 == 0);
    let mode = mode.ok_or_else(|| {
        format!("files.{name:?}.mode: found {text:?}, expected an octal mode such as \"0640\"")
    })?;
    if [KEY, COMBINED, KEYSTORE].contains(&name) && mode & WORLD != 0 {
        return Err(format!(
            "files.{name:?}.mode: found {text:?}, expected one that keeps the key from the world"
        ));
    }
    Ok(mode)
}

/// Reads the file itself: users of a directory service are given by number.
fn number_of(file: &str, name: Name) -> Result<u32, String> {
    let name = match name {
        Name::Number(number) => return Ok(number),
        Name::Name(name) => name,
    };
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name.as_str())).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| format!("found {name:?}, which is not in {file}; a number is taken as well"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn outputs(text: &str) -> Result<Outputs, String> {
        Outputs::read(toml::from_str(text).map_err(|error| error.to_string())?, None)
    }

    #[test]
    fn a_file_is_given_to_whom_it_is_for() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("svid.key");
        fs::write(&path, "key").unwrap();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let text = format!("\"svid.key\" = {{ owner = {uid}, group = {gid}, mode = \"0640\" }}");
        outputs(&text).unwrap().apply("svid.key", &path).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (uid, gid, 0o640));
    }

    #[test]
    fn root_gives_a_file_to_another_user_and_group() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("svid-combined.pem");
        fs::write(&path, "both").unwrap();
        let text = "\"svid-combined.pem\" = { owner = 65534, group = 65533, mode = \"0440\" }";
        outputs(text).unwrap().apply("svid-combined.pem", &path).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (65_534, 65_533, 0o440));
    }

    #[test]
    fn names_are_those_of_the_local_files() {
        assert_eq!(number_of("/etc/passwd", Name::Name("root".into())), Ok(0));
        assert_eq!(number_of("/etc/group", Name::Name("root".into())), Ok(0));
        assert!(number_of("/etc/group", Name::Name("no such group".into())).is_err());
    }

    #[test]
    fn a_key_is_never_for_the_world() {
        // Invariant 8.
        for name in ["svid.key", "svid-combined.pem", "svid.p12"] {
            for mode in ["0644", "0604", "0641"] {
                assert!(outputs(&format!("{name:?} = {{ mode = {mode:?} }}")).is_err(), "{name} {mode}");
            }
        }
        outputs("\"svid.pem\" = { mode = \"0644\" }").unwrap();
    }
}
