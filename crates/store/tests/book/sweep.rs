//! The sweep: it takes its work in shares, however large the book is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_store::engine::{Change, Engine, Key, MemoryEngine, Value};
use countersign_store::{Book, PermissionUse, Store, StoreError};

use crate::agent::Desk;
use crate::house::{HOUR, noon, registration};

/// Memory that counts the rows read between two writes.
#[derive(Debug, Default)]
struct Counting {
    memory: MemoryEngine,
    read: AtomicUsize,
    most: AtomicUsize,
}

impl Engine for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.memory.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Key, Value)>, StoreError> {
        let rows = self.memory.scan(from, to, limit)?;
        self.read.fetch_add(rows.len(), Ordering::SeqCst);
        Ok(rows)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.most.fetch_max(self.read.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        self.memory.apply(changes)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.memory.sync()
    }
}

#[tokio::test]
async fn no_step_of_the_sweep_looks_at_more_than_its_share_of_a_large_book() {
    const MANY: usize = 3_000;
    let engine = Arc::new(Counting::default());
    let book = Book::on(engine.clone(), crate::options()).unwrap();
    let desk = Desk { book: &book, now: noon() };
    let old = registration("/old");
    for _ in 0..MANY {
        desk.invite(&old, 1).await;
    }
    let uses = (0..MANY).map(|n| PermissionUse {
        spiffe_id: format!("spiffe://prod.example/{n}").parse().unwrap(),
        permission: "ledger:read".into(),
        last: noon(),
    });
    book.report(vec![], uses.collect()).await.unwrap();
    engine.most.store(0, Ordering::SeqCst);

    book.expire(noon()).await.unwrap();
    assert_eq!(book.counts().unwrap().invitations, u64::try_from(MANY).unwrap(), "nothing is over");
    let most = engine.most.load(Ordering::SeqCst);
    assert!((1..=1_300).contains(&most), "{most} rows were looked at while others waited");

    let left = book.expire(noon() + HOUR).await.unwrap();
    assert_eq!((left.invitations, book.counts().unwrap().invitations), (MANY, 0), "all leave in the end");
    book.expire(noon() + 101 * 24 * HOUR).await.unwrap();
    assert_eq!(book.uses(None, 10).unwrap().items, []);
}
