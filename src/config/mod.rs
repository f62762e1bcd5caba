//! What an operator writes, and what the program makes of it: [`ConfigFile`] as written, [`Config`] valid.

pub mod directory;
mod file;
mod state_dir;
mod valid;

pub use file::{ConfigFile, LimitsTable, LogTable, StoreTable, TlsTable};
pub use state_dir::StateDir;
pub use valid::{Config, ConfigError, Engine, KeyExchange, Limits, LogFormat};
