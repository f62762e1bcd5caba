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

/// A configuration that could be read and may be taken up; nothing has changed yet.
#[derive(Debug)]
pub struct Reload {
    config: Config,
    profiles: Profiles,
    changed: Vec<String>,
}

impl Reload {
    /// The configuration that would hold.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl Ca {
    /// Reads configuration and profiles again.
    ///
    /// # Errors
    /// When a file is wrong, a key changed that needs a restart, or a profile in use is gone.
    pub fn read_again(&self) -> Result<Reload, Refused> {
        let old = self.config();
        let config = Config::load(&old.file).map_err(|e| Refused::Reload(e.to_string()))?;
        if let Some(key) = fixed_key_changed(&old, &config) {
            return Err(Refused::Reload(format!("{key} changed: restart needed; nothing was reloaded")));
        }
        let profiles = Profiles::load(&config.profiles).map_err(|e| Refused::Reload(e.to_string()))?;
        self.refuse_lost_profiles(&profiles)?;
        let changed = [
            ("log.level", old.log_level != config.log_level),
            ("limits", old.limits != config.limits),
            ("trust", old.trust_public != config.trust_public),
            ("tls.groups", old.groups != config.groups),
            ("profiles", *self.profiles() != profiles),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned());
        Ok(Reload { changed: changed.collect(), config, profiles })
    }

    /// Takes up what was read, and says by key what changed.
    ///
    /// # Errors
    /// When the log filter cannot be set; then nothing has changed.
    pub fn take_up(&self, reload: Reload, level: &LogLevel) -> Result<Vec<String>, Refused> {
        level.set(&reload.config.log_level).map_err(|e| Refused::Reload(format!("log.level: {e}")))?;
        self.adopt(reload.config, reload.profiles);
        tracing::info!(changed = ?reload.changed, "configuration reloaded");
        Ok(reload.changed)
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
