//! The store in one file on this machine, kept by redb. One process at a time may open it.

mod backend;
mod guarded;
mod place;
mod row;
mod uses;
mod orders;
mod build;
mod opening;
mod takeover;
mod look;
mod raw;
mod findings;
mod entry;
mod survey;
mod repair;
mod pages;
mod queue;
mod commit;
mod handle;

pub use findings::{FINDINGS_MAX, Fault, Findings, LostToken, Remedy};
pub use look::{StoreView, find_token};
pub use place::FILE_NAME;
pub use repair::{Repair, check};
pub use survey::Progress;

use self::guarded::GuardedFile;
use self::handle::Handle;
use self::place::{FolderLock, Identity, Place, guard};
use self::queue::{Change, Outcome};
use super::page::{Page, PageQuery};
use super::usage::{TokenUse, Usage};
use super::{AfterDelete, Insertion, LentToken, Names, Put, PutOutcome, Spending, Store, StoreError, Update};
use crate::batch::Batches;
use crate::token::{TokenDigest, TokenId, TokenRecord};
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format that this version writes, and the latest that it reads.
pub const FORMAT: u64 = 2;

/// The format before, which is taken over: it has no tables for orders and uses.
const FORMAT_WITHOUT_ORDERS: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TOKENS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tokens");
const DIGESTS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("digests");
const SPENT: TableDefinition<'_, &[u8; 32], ()> = TableDefinition::new("spent");
const USES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("uses");
const FORMAT_KEY: &str = "format";
/// The most changes in one commit.
const BATCH_MAX: usize = 512;

/// Tokens in one file of a data folder.
#[derive(Debug)]
pub struct EmbeddedStore {
    place: Place,
    /// Changes that wait for one commit.
    batches: Batches<Change, Result<Outcome, StoreError>>,
    database: Mutex<Handle>,
    /// Where the file is kept that was taken over.
    kept: Option<PathBuf>,
    /// The file that was opened first. The tokens in memory are those of this file, and of no other.
    identity: Identity,
    /// Held as long as the store is open, so that no second process opens it.
    _lock: FolderLock,
}

#[derive(Debug)]
struct Opened {
    database: Database,
    file: Arc<GuardedFile>,
}

impl EmbeddedStore {
    /// Opens the store of a data folder; creates both where they do not exist. A file that is damaged, of
    /// a newer format or no store at all is left as it is, to the byte; one of an older format is kept as it is under
    /// another name, see [`kept`](Self::kept).
    ///
    /// # Errors
    /// When another process has it open, when it is no store that this version can read, and when the
    /// operating system refuses; see [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let place = Place::of(folder);
        place.create_folder()?;
        let lock = place.lock_folder()?;
        let (opened, kept) =
            if place.has_file()? { place.open_file(None)? } else { (place.create_file([])?, None) };
        if kept.is_none() {
            // What a repair left that was killed; it is as large as the store. Whoever writes a new one removes it too.
            let _ = place.remove_unfinished();
        }
        Self::at(place, lock, opened, kept)
    }

    /// Makes the store of a data folder that has none, with these tokens in it, which come in the order of their ids.
    /// That takes a fraction of the time of as many insertions, and either all of them are there or no store is.
    ///
    /// # Errors
    /// When there is a store already, the tokens are not in the order of their ids, two of them have one digest, and when the
    /// operating system refuses; see [`StoreError`].
    pub fn create(folder: &Path, tokens: impl IntoIterator<Item = TokenRecord>) -> Result<Self, StoreError> {
        let place = Place::of(folder);
        place.create_folder()?;
        let lock = place.lock_folder()?;
        if place.has_file()? {
            return Err(place.io("create", io::ErrorKind::AlreadyExists.into()));
        }
        let opened = place.create_file(tokens)?;
        Self::at(place, lock, opened, None)
    }

    fn at(place: Place, lock: FolderLock, opened: Opened, kept: Option<PathBuf>) -> Result<Self, StoreError> {
        let identity = place.identity()?;
        let database = Mutex::new(Handle { opened: Some(Arc::new(opened)), owed_head: None });
        Ok(Self { place, batches: Batches::new(BATCH_MAX), database, kept, identity, _lock: lock })
    }

    /// Where the file of an older format is kept that was taken over when this store was opened. Nothing needs it
    /// but going back to the version that wrote it.
    pub fn kept(&self) -> Option<&Path> {
        self.kept.as_deref()
    }

    /// What is written to a file that was removed is lost with the end of the process, and what lies in its
    /// place holds other tokens.
    fn refuse_other_file(&self) -> Result<(), StoreError> {
        if self.place.identity()? == self.identity {
            return Ok(());
        }
        let what =
            "another file was laid in its place while it was in use; put the old one back, or start again";
        Err(self.place.io("write", io::Error::other(what)))
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.opened()?.read(&self.place, read)
    }

    fn submit(&self, change: Change) -> Result<Outcome, StoreError> {
        let answer = self.batches.submit(change, |changes| self.answer(changes));
        answer.unwrap_or_else(unanswered)
    }

    fn answer(&self, changes: &[&Change]) -> Vec<Result<Outcome, StoreError>> {
        match self.commit(changes) {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => changes.iter().map(|_| Err(queue::copy(&error))).collect(),
        }
    }
}

fn unanswered() -> Result<Outcome, StoreError> {
    Err(StoreError::Other("a change got no answer from its commit".into()))
}

impl Store for EmbeddedStore {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        let opened = self.opened()?;
        guard(&self.place, || opened.load(&self.place, each))
    }

    fn insert(&self, record: &TokenRecord, names: Names) -> Result<Insertion, StoreError> {
        self.submit(Change::insertion(record, names))?.of_insertion()
    }

    fn update(&self, before: &TokenRecord, after: &TokenRecord, names: Names) -> Result<Update, StoreError> {
        Ok(self.submit(Change::update(before, after, names))?.of_update())
    }

    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError> {
        Ok(self.submit(Change::Delete { id, after })? == Outcome::Done)
    }

    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.read(|transaction| pages::token(transaction, id.get()))
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.read(|transaction| pages::read(transaction, query))
    }

    fn record_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        if !uses.is_empty() {
            self.submit(Change::AddUses(uses.to_vec()))?;
        }
        Ok(())
    }

    fn usage(&self, id: TokenId) -> Result<Option<Usage>, StoreError> {
        self.read(|transaction| pages::usage_of(transaction, id))
    }

    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError> {
        self.read(|transaction| pages::is_spent(transaction, digest))
    }

    fn spent(&self, after: Option<&TokenDigest>, limit: usize) -> Result<Vec<TokenDigest>, StoreError> {
        self.read(|transaction| pages::spent(transaction, after, limit))
    }

    fn spend(&self, digest: &TokenDigest) -> Result<Spending, StoreError> {
        Ok(self.submit(Change::Spend(*digest))?.of_spending())
    }

    fn put_all(&self, puts: &[Put<'_>]) -> Vec<Result<PutOutcome, StoreError>> {
        let changes = puts.iter().map(|put| match put {
            Put::Insert(record) => Change::insertion(record, Names::MayRepeat),
            Put::Update { before, after } => Change::update(before, after, Names::MayRepeat),
            Put::Spend(digest) => Change::Spend(**digest),
        });
        let answers = self.batches.submit_all(changes.collect(), |changes| self.answer(changes));
        let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered));
        let outcomes = puts.iter().zip(answers).map(|(put, answer)| {
            let outcome = answer?;
            Ok(match put {
                Put::Insert(_) => PutOutcome::Insert(outcome.of_insertion()?),
                Put::Update { .. } => PutOutcome::Update(outcome.of_update()),
                Put::Spend(_) => PutOutcome::Spend(outcome.of_spending()),
            })
        });
        outcomes.collect()
    }
}

impl Opened {
    fn read<T>(
        &self,
        place: &Place,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        guard(place, || {
            let read = || read(&self.database.begin_read()?);
            read().map_err(|error| place.explain("read", error))
        })
    }

    fn load(&self, place: &Place, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        let explain = |error: redb::Error| place.explain("read", error);
        let transaction = self.database.begin_read().map_err(|error| explain(error.into()))?;
        let tokens = transaction.open_table(TOKENS).map_err(|error| explain(error.into()))?;
        let digests = transaction.open_table(DIGESTS).map_err(|error| explain(error.into()))?;
        let lengths = (tokens.len(), digests.len());
        let (Ok(tokens_len), Ok(digests_len)) = lengths else {
            return Err(place.corrupt("it cannot be counted"));
        };
        let mismatch = |expected: u64| {
            place.corrupt(format!(
                "it has {tokens_len} tokens with {expected} digests, but {digests_len} digests"
            ))
        };
        if digests_len < tokens_len {
            return Err(mismatch(tokens_len));
        }
        let (mut formers, mut reader) = (0, row::RowReader::default());
        for row in tokens.iter().map_err(|error| explain(error.into()))? {
            let (id, row) = row.map_err(|error| explain(error.into()))?;
            let token = reader.read(id.value(), row.value()).map_err(|what| place.corrupt(what))?;
            formers += u64::from(token.former.is_some());
            each(token);
        }
        let expected = tokens_len.saturating_add(formers);
        if digests_len == expected { Ok(()) } else { Err(mismatch(expected)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::page::OrderBy;
    use std::fs;

    /// A redb file in a new folder, made by somebody else.
    fn foreign(fill: impl FnOnce(&redb::WriteTransaction)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(folder.path().join(FILE_NAME)).unwrap();
        let transaction = database.begin_write().unwrap();
        fill(&transaction);
        transaction.commit().unwrap();
        folder
    }

    /// What opening says; the file must be the same afterwards.
    fn refusal(folder: &Path) -> StoreError {
        let before = fs::read(folder.join(FILE_NAME)).unwrap();
        let error = EmbeddedStore::open(folder).unwrap_err();
        assert!(fs::read(folder.join(FILE_NAME)).unwrap() == before, "the file was changed");
        error
    }

    #[test]
    fn store_of_a_newer_format_is_refused_and_not_changed() {
        let folder = foreign(|transaction| {
            transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
        });
        let error = refusal(folder.path());
        assert!(matches!(error, StoreError::NewerFormat { found: 3, known: 2, .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("has store format 3, but this version of rolegate reads formats up to 2")
        );
    }

    #[test]
    fn store_of_an_unknown_older_format_is_refused_and_not_changed() {
        let folder = foreign(|transaction| {
            transaction.open_table(META).unwrap().insert(FORMAT_KEY, 0).unwrap();
        });
        assert!(refusal(folder.path()).to_string().contains("it has the unknown format 0"));
    }

    #[test]
    fn database_of_another_program_is_refused_and_not_changed() {
        const OTHER: TableDefinition<'_, u64, u64> = TableDefinition::new("meta");
        let empty = foreign(|_| {});
        let other = foreign(|transaction| drop(transaction.open_table(OTHER).unwrap()));
        let no_format = foreign(|transaction| drop(transaction.open_table(META).unwrap()));
        for folder in [empty, other, no_format] {
            assert!(refusal(folder.path()).to_string().contains("another program wrote it"));
        }
    }

    #[test]
    fn row_that_cannot_be_read_and_a_lost_digest_are_corruption() {
        let tables = |transaction: &redb::WriteTransaction, row: &[u8], digest: bool| {
            transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT).unwrap();
            transaction.open_table(TOKENS).unwrap().insert(TokenId::MIN, row).unwrap();
            let mut digests = transaction.open_table(DIGESTS).unwrap();
            if digest {
                digests.insert(&[0; 32], TokenId::MIN).unwrap();
            }
            for by in orders::ORDERS {
                transaction.open_table(orders::table(by)).unwrap().insert(&b"key"[..], ()).unwrap();
            }
        };
        for (row, digest, what) in [
            (&b"\x07"[..], true, "the row of token 100000000000000 has the unknown version 7"),
            (b"\x01", true, "the row of token 100000000000000 cannot be read"),
            (b"", false, "it has 1 tokens with 1 digests, but 0 digests"),
        ] {
            let folder = foreign(|transaction| tables(transaction, row, digest));
            let before = fs::read(folder.path().join(FILE_NAME)).unwrap();
            let store = EmbeddedStore::open(folder.path()).unwrap();
            let error = store.load(&mut |_| panic!("nothing can be read")).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            drop(store);
            assert!(fs::read(folder.path().join(FILE_NAME)).unwrap() == before, "the file was changed");
        }
    }

    #[test]
    fn order_that_lacks_a_token_is_corruption() {
        let folder = foreign(|transaction| {
            transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT).unwrap();
            transaction.open_table(TOKENS).unwrap().insert(TokenId::MIN, &b""[..]).unwrap();
            for by in orders::ORDERS {
                let mut table = transaction.open_table(orders::table(by)).unwrap();
                if by != OrderBy::Name {
                    table.insert(&b"key"[..], ()).unwrap();
                }
            }
        });
        let error = refusal(folder.path()).to_string();
        assert!(error.contains("it has 1 tokens, but 0 in the order `by_name`"), "{error}");
    }

    #[test]
    fn database_that_failed_is_opened_again_and_keeps_what_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let opened = store.opened().unwrap();
        // A transaction under way makes the closing of the database wait for its end.
        let spent = TokenDigest::from_bytes([1; 32]);
        let transaction = opened.database.begin_write().unwrap();
        transaction.open_table(SPENT).unwrap().insert(spent.as_bytes(), ()).unwrap();
        transaction.commit().unwrap();
        assert!(store.reopen(opened).is_some());
        assert!(store.is_spent(&spent).unwrap());

        // Without the file nothing works; with the file everything does again.
        let (file, away) = (folder.path().join(FILE_NAME), folder.path().join("away"));
        fs::rename(&file, &away).unwrap();
        assert!(store.reopen(store.opened().unwrap()).is_none());
        assert!(matches!(store.is_spent(&spent), Err(StoreError::Io { action: "find", .. })));
        fs::rename(&away, &file).unwrap();
        assert!(store.is_spent(&spent).unwrap());
    }

    #[test]
    fn changes_are_refused_while_the_file_is_gone_or_another_one_and_made_when_it_is_back() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let (file, away) = (folder.path().join(FILE_NAME), folder.path().join("away"));
        let delete = || store.delete(TokenId::new(TokenId::MIN).unwrap(), AfterDelete::ForgetDigest);
        assert!(!delete().unwrap());

        fs::rename(&file, &away).unwrap();
        let gone = delete().unwrap_err().to_string();
        assert!(gone.starts_with("cannot find `") && gone.contains("No such file"), "{gone}");
        drop(EmbeddedStore::open(other.path()).unwrap());
        fs::copy(other.path().join(FILE_NAME), &file).unwrap();
        let before = fs::read(&file).unwrap();
        let replaced = delete().unwrap_err().to_string();
        assert!(replaced.contains("another file was laid in its place"), "{replaced}");
        assert!(store.reopen(store.opened().unwrap()).is_none(), "nor is it opened after a failure");
        assert!(fs::read(&file).unwrap() == before, "the other file was changed");

        fs::rename(&away, &file).unwrap();
        assert!(!delete().unwrap());
    }

    fn record(number: u8) -> TokenRecord {
        TokenRecord {
            id: TokenId::new(TokenId::MIN + u64::from(number)).unwrap(),
            digest: TokenDigest::from_bytes([number; 32]),
            kind: crate::token::SecretKind::Generated,
            origin: crate::token::TokenOrigin::Api,
            name: "ci".into(),
            description: None,
            roles: Vec::new(),
            dedicated_subject: None,
            created: crate::time::Timestamp::EPOCH,
            updated: crate::time::Timestamp::EPOCH,
            expires: None,
            disabled: None,
            former: None,
        }
    }

    fn ids(store: &EmbeddedStore) -> Vec<u64> {
        let mut ids = Vec::new();
        store.load(&mut |token| ids.push(token.id.get() - TokenId::MIN)).unwrap();
        ids
    }

    /// A store with token 0, and with token 1 from a commit whose sync is taken to have failed, though all of it is in
    /// the file: what a disk leaves that reports an error and wrote all the same.
    fn store_after_failed_sync(folder: &Path) -> EmbeddedStore {
        let store = EmbeddedStore::open(folder).unwrap();
        assert_eq!(store.insert(&record(0), Names::MayRepeat).unwrap(), Insertion::Inserted);
        let mut head = fs::read(folder.join(FILE_NAME)).unwrap();
        head.truncate(4096);
        assert_eq!(store.insert(&record(1), Names::MayRepeat).unwrap(), Insertion::Inserted);
        {
            let mut database = store.database.lock();
            let opened = database.opened.take().unwrap();
            assert_eq!(opened.file.abandon(), None, "the sync did not fail, in truth");
            database.owed_head = Some(head);
        }
        store
    }

    #[test]
    fn commit_whose_sync_failed_has_not_happened() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_after_failed_sync(folder.path());
        assert_eq!(ids(&store), [0]);
        for number in [2, 1] {
            assert_eq!(store.insert(&record(number), Names::MayRepeat).unwrap(), Insertion::Inserted);
        }
        drop(store);
        assert_eq!(ids(&EmbeddedStore::open(folder.path()).unwrap()), [0, 1, 2]);
    }

    #[test]
    fn commit_whose_sync_failed_is_taken_back_at_the_end_at_the_latest() {
        for is_read_meanwhile in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let store = store_after_failed_sync(folder.path());
            assert!(!is_read_meanwhile || ids(&store) == [0]);
            drop(store);
            assert_eq!(ids(&EmbeddedStore::open(folder.path()).unwrap()), [0]);
        }
    }
}
