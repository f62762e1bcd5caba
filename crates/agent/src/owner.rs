//! Who may write in an identity's directory: its user, and root. Whoever else may can put keys and links there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::AgentError;

const ROOT: u32 = 0;
const GROUP_OR_WORLD_WRITES: u32 = 0o022;

/// Refuses a directory in which another user than ours and root may write.
pub(crate) fn check(dir: &Path) -> Result<(), AgentError> {
    let found = fs::metadata(dir).map_err(|error| AgentError::file("look at", dir, &error))?;
    judge(dir, found.uid(), found.mode(), rustix::process::geteuid().as_raw())
}

fn judge(dir: &Path, owner: u32, mode: u32, us: u32) -> Result<(), AgentError> {
    let shown = dir.display();
    if owner != us && owner != ROOT {
        let error = AgentError::failed(format!(
            "{shown} belongs to the user {owner}, expected user {us}, who runs this{}",
            if us == ROOT { "" } else { ", or root" }
        ));
        return Err(error.with_hint(format!(
            "run countersign-agent as that user (`sudo -u '#{owner}' countersign-agent …`), or give the directory to the user who runs it (`chown -R {us} {shown}`)"
        )));
    }
    if mode & GROUP_OR_WORLD_WRITES != 0 {
        let error = AgentError::failed(format!(
            "{shown} has the mode {:04o}: others than its owner may write there and put a key or a link of theirs in place",
            mode & 0o7777
        ));
        return Err(error.with_hint(format!("`chmod go-w {shown}`, or choose another --dir")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const US: u32 = 1000;
    const OTHER: u32 = 1001;

    fn said(owner: u32, mode: u32, us: u32) -> String {
        let error = judge(Path::new("/d"), owner, mode, us).unwrap_err();
        format!("{error}; {}", error.hint().unwrap())
    }

    #[test]
    fn a_directory_of_ours_or_of_root_is_taken() {
        for (owner, us) in [(US, US), (ROOT, US), (ROOT, ROOT)] {
            for mode in [0o700, 0o750, 0o755, 0o40_711] {
                judge(Path::new("/d"), owner, mode, us).unwrap();
            }
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let text = said(OTHER, 0o700, US);
        assert!(
            text.contains("belongs to the user 1001, expected user 1000, who runs this, or root"),
            "{text}"
        );
    }

    #[test]
    fn root_is_told_to_run_as_the_user_whose_directory_it_is() {
        let text = said(US, 0o700, ROOT);
        assert!(text.contains("belongs to the user 1000, expected user 0, who runs this; "), "{text}");
        assert!(text.contains("sudo -u '#1000'") && text.contains("chown -R 0 /d"), "{text}");
    }

    #[test]
    fn a_directory_that_others_may_write_in_is_refused() {
        for mode in [0o770, 0o702, 0o1777, 0o2775] {
            let text = said(US, mode, US);
            assert!(text.contains(&format!("mode {mode:04o}")) && text.contains("chmod go-w /d"), "{text}");
        }
    }

    #[test]
    fn the_mode_on_disk_decides() {
        let scratch = tempfile::tempdir().unwrap();
        check(scratch.path()).unwrap();
        for mode in [0o720, 0o702] {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
            check(scratch.path()).unwrap_err();
        }
    }
}
