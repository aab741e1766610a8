//! A store of the format before is written anew in the present one. The old file is kept beside it, to the byte, for
//! whoever wants to go back.

use super::build::NewFile;
use super::place::Place;
use super::{DIGESTS, Opened, SPENT, TOKENS, row};
use crate::store::StoreError;
use crate::token::TokenDigest;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::path::PathBuf;

/// What the kept file of format 1 is called; a number follows.
const KEPT_NAME: &str = "tokens.redb.format-1";

impl Place {
    /// Puts a store of the present format in the place of the old one that is open, and returns it with the path of
    /// the old one. At every point in time one of the two is there, whole.
    pub(super) fn take_over(&self, old: Opened) -> Result<(Opened, PathBuf), StoreError> {
        let new = NewFile::create(self)?;
        let transaction = old.database.begin_read().map_err(|error| self.explain("read", error.into()))?;
        self.copy(&transaction, &new)?;
        drop(transaction);
        drop(old);
        let kept = self.keep(KEPT_NAME)?;
        Ok((new.install()?, kept))
    }

    /// Writes into the new file what the old one holds.
    fn copy(&self, old: &ReadTransaction, new: &NewFile<'_>) -> Result<(), StoreError> {
        let explain = |error: redb::Error| self.explain("read", error);
        let open = || -> Result<_, redb::Error> {
            let digests = old.open_table(DIGESTS)?.len()?;
            Ok((old.open_table(TOKENS)?, old.open_table(SPENT)?, digests))
        };
        let (tokens, spent, digests) = open().map_err(explain)?;
        new.put_tokens(|take| {
            for entry in tokens.iter().map_err(|error| explain(error.into()))? {
                let (id, row) = entry.map_err(|error| explain(error.into()))?;
                take(row::decode(id.value(), row.value()).map_err(|what| self.corrupt(what))?)?;
            }
            Ok(())
        })?;
        new.put_spent(|take| {
            for entry in spent.iter().map_err(|error| explain(error.into()))? {
                let (digest, _) = entry.map_err(|error| explain(error.into()))?;
                take(TokenDigest::from_bytes(*digest.value()))?;
            }
            Ok(())
        })?;
        let count = tokens.len().map_err(|error| explain(error.into()))?;
        let expected = new.finish()?;
        if digests != expected {
            let what = format!("it has {count} tokens with {expected} digests, but {digests} digests");
            return Err(self.corrupt(what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EmbeddedStore, FORMAT_KEY, META};
    use super::*;
    use crate::store::Store as _;
    use crate::store::embedded::place::KEPT_MAX;
    use crate::store::page::{Order, OrderBy, PageQuery};
    use crate::token::{TokenOrigin, TokenRecord};
    use redb::{Builder, Database};
    use std::fs;
    use std::path::Path;

    /// What 0.1.0 wrote: six tokens, and one digest that is spent.
    const FORMAT_1: &[u8] = include_bytes!("../../../tests/fixtures/store-format-1.redb");

    fn folder_with(content: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokens.redb"), content).unwrap();
        folder
    }

    fn names(store: &EmbeddedStore, by: OrderBy) -> Vec<String> {
        let page = store.page(&PageQuery::first(Order { by, is_descending: false })).unwrap();
        page.tokens.into_iter().map(|token| token.record.name).collect()
    }

    fn check_taken_over(store: &EmbeddedStore) {
        let names = |by| names(store, by);
        let (key, nul) = ("Zürich \u{1f511}", "nul\0byte");
        assert_eq!(names(OrderBy::Name), [key, "bootstrap", "ci", "ci", "ci-deploy", nul]);
        assert_eq!(names(OrderBy::Created), ["ci", key, "bootstrap", "ci-deploy", "ci", nul]);
        assert_eq!(names(OrderBy::Expires).len(), 6);
        for (digest, is_spent) in [(7, true), (8, false), (1, false)] {
            assert_eq!(store.is_spent(&TokenDigest::from_bytes([digest; 32])).unwrap(), is_spent);
        }
        let record: TokenRecord =
            store.get(crate::token::TokenId::new(100_000_000_000_757).unwrap()).unwrap().unwrap();
        assert_eq!((record.origin, record.name.as_str()), (TokenOrigin::Bootstrap, "bootstrap"));
        assert_eq!((record.disabled, record.former), (None, None));
    }

    /// The number of the format that a file has.
    fn format_of(file: &Path) -> u64 {
        let database: Database = Builder::new().open(file).unwrap();
        let table = database.begin_read().unwrap().open_table(META).unwrap();
        table.get(FORMAT_KEY).unwrap().unwrap().value()
    }

    #[test]
    fn store_of_the_version_before_is_taken_over_and_kept_to_the_byte() {
        let folder = folder_with(FORMAT_1);
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let kept = folder.path().join("tokens.redb.format-1-1");
        assert_eq!(store.kept(), Some(kept.as_path()));
        check_taken_over(&store);
        drop(store);
        assert!(fs::read(&kept).unwrap() == FORMAT_1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        let again = EmbeddedStore::open(folder.path()).unwrap();
        assert_eq!(again.kept(), None);
        check_taken_over(&again);
        drop(again);
        assert_eq!(format_of(&folder.path().join("tokens.redb")), 2);
        assert_eq!(format_of(&kept), 1);
    }

    #[test]
    fn takeover_that_was_interrupted_is_done_again() {
        let half = folder_with(FORMAT_1);
        fs::write(half.path().join("tokens.redb.new"), "half").unwrap();
        check_taken_over(&EmbeddedStore::open(half.path()).unwrap());

        // The old file has its second name already, and the first one still.
        let linked = folder_with(FORMAT_1);
        let (file, kept) = (linked.path().join("tokens.redb"), linked.path().join("tokens.redb.format-1-1"));
        fs::hard_link(&file, &kept).unwrap();
        let store = EmbeddedStore::open(linked.path()).unwrap();
        assert_eq!(store.kept(), Some(kept.as_path()));
        check_taken_over(&store);
        assert_eq!(fs::read_dir(linked.path()).unwrap().count(), 2);
    }

    #[test]
    fn file_that_was_kept_before_is_not_replaced() {
        let folder = folder_with(FORMAT_1);
        fs::write(folder.path().join("tokens.redb.format-1-1"), "mine").unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        assert_eq!(store.kept(), Some(folder.path().join("tokens.redb.format-1-2").as_path()));
        assert_eq!(fs::read(folder.path().join("tokens.redb.format-1-1")).unwrap(), b"mine");

        let full = folder_with(FORMAT_1);
        let names = (1..=KEPT_MAX).map(|number| format!("{KEPT_NAME}-{number}"));
        names.for_each(|name| fs::write(full.path().join(name), "mine").unwrap());
        let error = EmbeddedStore::open(full.path()).unwrap_err().to_string();
        assert!(error.contains("there are 100 of them already; move them away"), "{error}");
        fs::remove_file(full.path().join(format!("{KEPT_NAME}-7"))).unwrap();
        check_taken_over(&EmbeddedStore::open(full.path()).unwrap());
    }

    #[test]
    fn store_of_the_version_before_that_does_not_add_up_is_refused_and_not_changed() {
        let folder = folder_with(FORMAT_1);
        let file = folder.path().join("tokens.redb");
        let database = Database::open(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(DIGESTS).unwrap().remove(&[1; 32]).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let before = fs::read(&file).unwrap();
        let error = EmbeddedStore::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it has 6 tokens with 6 digests, but 5 digests"), "{error}");
        assert!(fs::read(&file).unwrap() == before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
