//! Reloading: all or nothing, and never what would change who this CA is.

use super::{Ca, Profiles, Refused};
use crate::config::Config;

/// Sets a log filter, or says what is wrong with it.
type SetFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Sets the log filter of the running process.
pub struct LogLevel(Box<SetFilter>);

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogLevel")
    }
}

impl LogLevel {
    /// A level set by `set`, which refuses what is no filter.
    pub fn new(set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Box::new(set))
    }

    /// Sets it.
    ///
    /// # Errors
    /// Says what is wrong with the filter.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        (self.0)(filter)
    }
}

impl Ca {
    /// Reads configuration and profiles again. What changed is returned by key.
    ///
    /// # Errors
    /// When a file is wrong, or a key changed that needs a restart; then nothing has changed.
    pub fn reload(&self, level: &LogLevel) -> Result<Vec<String>, Refused> {
        let old = self.config();
        let new = Config::load(&old.file).map_err(|e| Refused::Reload(e.to_string()))?;
        if let Some(key) = fixed_key_changed(&old, &new) {
            return Err(Refused::Reload(format!("{key} changed: restart needed; nothing was reloaded")));
        }
        let profiles = Profiles::load(&new.profiles).map_err(|e| Refused::Reload(e.to_string()))?;
        self.refuse_lost_profiles(&profiles)?;
        let mut changed = Vec::new();
        if old.log_level != new.log_level {
            level.set(&new.log_level).map_err(|e| Refused::Reload(format!("log.level: {e}")))?;
            changed.push("log.level".to_owned());
        }
        if old.limits != new.limits {
            changed.push("limits".to_owned());
        }
        if old.groups != new.groups {
            changed.push("tls.groups".to_owned());
        }
        if *self.profiles() != profiles {
            changed.push("profiles".to_owned());
        }
        self.adopt(new, profiles);
        tracing::info!(?changed, "configuration reloaded");
        Ok(changed)
    }

    /// A profile that registrations name cannot go: their machines would learn it at their next renewal.
    fn refuse_lost_profiles(&self, new: &Profiles) -> Result<(), Refused> {
        let old = self.profiles();
        let lost: Vec<&str> = old.names().filter(|name| new.get(name).is_none()).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.registrations(after.as_ref(), PAGE)?;
            if let Some(user) = page.items.iter().find(|one| lost.contains(&one.profile.as_str())) {
                let (profile, id) = (&user.profile, &user.id);
                return Err(Refused::Reload(format!(
                    "the profile {profile:?} is gone and {id} is registered with it: change the registration first; nothing was reloaded"
                )));
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// Registrations read at a time.
const PAGE: usize = 1000;

/// The first key that differs and that a running process cannot change.
fn fixed_key_changed(old: &Config, new: &Config) -> Option<&'static str> {
    [
        ("trust_domain", old.trust_domain != new.trust_domain),
        ("listen", old.listen != new.listen),
        ("ops_listen", old.ops_listen != new.ops_listen),
        ("url", old.url != new.url),
        ("state", old.state.path() != new.state.path()),
        ("profiles", old.profiles != new.profiles),
        ("store.engine", old.engine != new.engine),
        ("log.format", old.log_format != new.log_format),
        ("limits.store_queue", old.limits.store_queue != new.limits.store_queue),
    ]
    .into_iter()
    .find_map(|(key, changed)| changed.then_some(key))
}
