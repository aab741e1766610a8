//! A store of one's own: it stands before another one, answers for it, and counts what fails. A store over a database
//! of one's own has the same methods; the shortest whole one is `src/store/memory.rs`.
//!
//! `cargo run --example custom_store --no-default-features`

use rolegate::store::memory::MemoryStore;
use rolegate::store::page::{Page, PageQuery};
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{
    AfterDelete, Insertion, LentToken, Names, Put, PutOutcome, Spending, Store, StoreError, Update,
};
use rolegate::testing::store_conformance;
use rolegate::token::{TokenDigest, TokenId, TokenRecord};
use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the program tells of its store, for instance as metrics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) changes: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// Any store, with its changes and failures counted. The engine owns it; the counts are shared.
#[derive(Debug)]
pub(crate) struct Counted<S>(pub(crate) S, pub(crate) Arc<Counts>);

impl<S> Counted<S> {
    fn told<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.1.failures.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
        outcome
    }

    fn change<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.1.changes.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
        self.told(outcome)
    }
}

// A call that returns `Ok` has to be durable, and one that returns an error must not have happened. Each insertion and
// update looks at ids, digests and names in one step with the change: others write at the same time.
impl<S: Store> Store for Counted<S> {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        self.told(self.0.load(each))
    }

    fn insert(&self, record: &TokenRecord, names: Names) -> Result<Insertion, StoreError> {
        self.change(self.0.insert(record, names))
    }

    fn update(&self, before: &TokenRecord, after: &TokenRecord, names: Names) -> Result<Update, StoreError> {
        self.change(self.0.update(before, after, names))
    }

    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError> {
        self.change(self.0.delete(id, after))
    }

    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.told(self.0.get(id))
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.told(self.0.page(query))
    }

    fn record_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        self.told(self.0.record_uses(uses))
    }

    fn usage(&self, id: TokenId) -> Result<Option<Usage>, StoreError> {
        self.told(self.0.usage(id))
    }

    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError> {
        self.told(self.0.is_spent(digest))
    }

    fn spent(&self, after: Option<&TokenDigest>, limit: usize) -> Result<Vec<TokenDigest>, StoreError> {
        self.told(self.0.spent(after, limit))
    }

    fn spend(&self, digest: &TokenDigest) -> Result<Spending, StoreError> {
        self.change(self.0.spend(digest))
    }

    // Without this, many changes at once would go one by one, and the store below could not commit them together.
    fn put_all(&self, puts: &[Put<'_>]) -> Vec<Result<PutOutcome, StoreError>> {
        self.0.put_all(puts).into_iter().map(|put| self.change(put)).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout())
}

/// Has the store pass the suite, as a test of a program does, and writes what was counted.
pub(crate) fn run(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let counts = Arc::<Counts>::default();
    store_conformance(|| Counted(MemoryStore::new(), Arc::clone(&counts)));
    let (changes, failures) =
        (counts.changes.load(Ordering::Relaxed), counts.failures.load(Ordering::Relaxed));
    writeln!(out, "the store keeps its promises: {changes} changes, {failures} failures")?;
    Ok(())
}
