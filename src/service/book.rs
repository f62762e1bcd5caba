//! Opening the book that the configuration names.

use std::sync::Arc;

use countersign_store::{
    Archive, Book, Observer, Options, Store,
    engine::{FjallEngine, SledEngine},
};

use super::{StartError, World, failpoint};
use crate::config::{Config, Engine};

/// Opens or creates the book.
///
/// # Errors
/// When another process holds it, or the directory cannot be used.
pub(super) fn open_book(
    config: &Config,
    world: &World,
    observer: Arc<dyn Observer>,
) -> Result<Arc<dyn Store>, StartError> {
    let dir = config.state.book();
    // An empty book in the place of a lost one would know no machine and no revocation.
    if config.engine != Engine::Memory && !dir.exists() {
        return Err(StartError::BookMissing(dir));
    }
    let entropy = world.entropy.clone();
    let options = Options {
        entropy: Box::new(move |out| entropy.fill(out)),
        observer,
        // What is only in memory ends with the process; its events need not outlive it.
        archive: (config.engine != Engine::Memory)
            .then(|| failpoint::archive(Archive::at(config.state.events()))),
        queue_depth: config.limits.store_queue,
    };
    Ok(match config.engine {
        Engine::Fjall => Arc::new(Book::on(Arc::new(FjallEngine::open(&dir)?), options)?),
        Engine::Sled => Arc::new(Book::on(Arc::new(SledEngine::open(&dir)?), options)?),
        Engine::Memory => Arc::new(Book::in_memory(options)?),
    })
}
