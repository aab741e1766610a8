//! The database as far as it is open: after a failure it is opened again, as its last durable commit left it.

use super::queue::{Change, Outcome};
use super::{EmbeddedStore, Opened, guard};
use crate::store::StoreError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The database, as far as it is open.
#[derive(Debug)]
pub(super) struct Handle {
    /// `None` after a failure: then the next call opens the file again.
    pub(super) opened: Option<Arc<Opened>>,
    /// The head of the last durable state, when a commit failed that may have replaced it.
    pub(super) owed_head: Option<Vec<u8>>,
}

impl EmbeddedStore {
    /// The database, opened again if it failed before.
    pub(super) fn opened(&self) -> Result<Arc<Opened>, StoreError> {
        let mut database = self.database.lock();
        match &database.opened {
            Some(opened) => Ok(Arc::clone(opened)),
            None => self.open_again(&mut database),
        }
    }

    /// After a failed commit redb refuses further work. What it held is dropped, and the file is read again as its
    /// last durable commit left it.
    pub(super) fn reopen(&self, failed: Arc<Opened>) -> Option<Arc<Opened>> {
        let mut database = self.database.lock();
        database.opened = None;
        if let Some(head) = failed.file.abandon() {
            database.owed_head = Some(head);
        }
        // Closing a database in an unknown state may panic, and there is nothing left to lose.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(failed)));
        self.open_again(&mut database).ok()
    }

    fn open_again(&self, database: &mut Handle) -> Result<Arc<Opened>, StoreError> {
        self.refuse_other_file()?;
        let (again, _) = self.place.open_file(database.owed_head.clone())?;
        let again = Arc::new(again);
        // From now on the opened file owes it.
        database.owed_head = None;
        database.opened = Some(Arc::clone(&again));
        Ok(again)
    }

    /// Makes all of the changes durable, or none.
    pub(super) fn commit(&self, changes: &[&Change]) -> Result<Vec<Outcome>, StoreError> {
        self.refuse_other_file()?;
        let opened = self.opened()?;
        // Also what a commit before this one left to be put back. As long as that fails, nothing else is written.
        opened.file.release().map_err(|source| self.place.io("write", source))?;
        let committed = guard(&self.place, || opened.commit(&self.place, changes));
        if committed.is_err()
            && let Some(again) = self.reopen(opened)
        {
            // An error means that nothing happened, and the sooner the disk knows the better.
            let _ = again.file.release();
        }
        committed
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        let is_owed = {
            let database = self.database.lock();
            let is_owed = database.opened.as_ref().is_some_and(|opened| opened.file.is_owed());
            is_owed || database.owed_head.is_some()
        };
        if is_owed && let Ok(opened) = self.opened() {
            // The last chance; where it fails, the next start finds the commit that failed whole, or not at all.
            let _ = opened.file.release();
        }
    }
}
