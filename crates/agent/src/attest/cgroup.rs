//! Which unit and which container a process belongs to, by `/proc/PID/cgroup`.
//!
//! A delegated subtree is its holder's to name: a user's own manager may call a unit `nginx.service`, a container may
//! nest another. So the first name that is not a slice counts, which the system's own manager gave.

use countersign_identity::hex;

/// What the cgroup says of a process.
///
/// ```
/// use countersign_agent::attest::Cgroup;
///
/// let cgroup = Cgroup::read("0::/system.slice/nginx.service\n");
/// assert_eq!(cgroup.unit.as_deref(), Some("nginx.service"));
/// assert_eq!(cgroup.container, None);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cgroup {
    /// The unit of the system's manager: a service or a scope.
    pub unit: Option<String>,
    /// The container's id, 64 hex digits.
    pub container: Option<String>,
}

impl Cgroup {
    /// Understands the text of `/proc/PID/cgroup` (cgroups(7)): the unified hierarchy, or systemd's own where both are
    /// mounted.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let path = |wanted: &str| {
            let mut lines =
                text.lines().filter_map(|line| line.splitn(3, ':').collect::<Vec<_>>().try_into().ok());
            lines.find(|[_, name, _]: &[&str; 3]| *name == wanted).map(|[_, _, path]| path)
        };
        let unified = path("").filter(|path| *path != "/");
        unified.or_else(|| path("name=systemd")).map_or_else(Self::default, Self::of_path)
    }

    fn of_path(path: &str) -> Self {
        let mut found = Self::default();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if found.container.is_none() {
                found.container = container(name);
            }
            if name.ends_with(".service") || name.ends_with(".scope") {
                found.unit = Some(name.to_owned());
                // What follows is delegated to the unit.
                break;
            }
            if found.container.is_some() {
                break;
            }
        }
        found
    }
}

/// The id in `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`, or `ID` alone.
fn container(name: &str) -> Option<String> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    let is_id = id.len() == 64 && hex::decode(id).is_ok() && id == id.to_ascii_lowercase();
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945";
    const OTHER: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn read(text: &str) -> (Option<String>, Option<String>) {
        let Cgroup { unit, container } = Cgroup::read(text);
        (unit, container)
    }

    #[test]
    fn a_service_of_the_system_is_known_by_its_name() {
        assert_eq!(read("0::/system.slice/nginx.service\n"), (Some("nginx.service".into()), None));
        let hybrid = "4:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/\n";
        assert_eq!(read(hybrid), (Some("a.service".into()), None));
        assert_eq!(read("0::/\n"), (None, None));
    }

    #[test]
    fn a_user_cannot_take_the_name_of_a_system_service() {
        let text = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service\n";
        assert_eq!(read(text), (Some("user@1000.service".into()), None));
        let text = "0::/system.slice/mine.service/system.slice/nginx.service\n";
        assert_eq!(read(text), (Some("mine.service".into()), None));
    }

    #[test]
    fn a_container_is_known_by_the_id_its_runtime_gave() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
        ] {
            assert_eq!(Cgroup::read(&format!("0::{path}\n")).container.as_deref(), Some(ID), "{path}");
        }
    }

    #[test]
    fn neither_a_container_nor_a_user_can_take_the_id_of_another_container() {
        let nested = format!("0::/docker/{ID}/docker/{OTHER}\n");
        assert_eq!(Cgroup::read(&nested).container.as_deref(), Some(ID));
        let by_user = format!("0::/user.slice/user@1000.service/user.slice/docker-{OTHER}.scope\n");
        assert_eq!(Cgroup::read(&by_user).container, None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = Cgroup::read(&text);
            let _ = Cgroup::read(&format!("0::/{text}"));
        }
    }
}
