//! The store in one file on this machine, kept by redb. One process at a time may open it.

mod backend;
mod commit;
mod guarded;
mod handle;
mod look;
mod queue;
mod row;
mod uses;

pub use look::{StoreView, find_token};

use self::backend::Backend;
use self::guarded::GuardedFile;
use self::handle::Handle;
use self::queue::{Change, Outcome};
use super::page::{Listed, Page, PageQuery};
use super::usage::{TokenUse, Usage};
use super::{AfterDelete, Insertion, LentToken, Names, Store, StoreError, Update};
use crate::batch::Batches;
use crate::token::{TokenDigest, TokenId, TokenRecord};
use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file in the data folder.
pub const FILE_NAME: &str = "tokens.redb";
/// The format that this version writes, and the latest that it reads.
pub const FORMAT: u64 = 2;

/// The format before, which is read: its rows lack the state of tokens.
const FORMAT_WITHOUT_STATE: u64 = 1;

/// The file while it is being created: a crash then leaves no half-made store under the real name.
const NEW_FILE_NAME: &str = "tokens.redb.new";
/// What every redb file starts with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// Pages that redb may keep in memory. Authentication does not read them: the index does that.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

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
    /// The file that was opened first. The tokens in memory are those of this file, and of no other.
    identity: Identity,
    /// Held as long as the store is open, so that no second process opens it.
    _lock: FolderLock,
}

/// The lock that keeps other processes out.
#[derive(Debug)]
struct FolderLock(File);

/// Where the store is.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    file: PathBuf,
}

#[derive(Debug)]
struct Opened {
    database: Database,
    file: Arc<GuardedFile>,
}

/// Device and number of a file: no other file has them while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl EmbeddedStore {
    /// Opens the store of a data folder; creates both where they do not exist. A file that is damaged, of
    /// a newer format or no store at all is left as it is, to the byte.
    ///
    /// # Errors
    /// When another process has it open, when it is no store that this version can read, and when the
    /// operating system refuses; see [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let place = Place { folder: folder.to_owned(), file: folder.join(FILE_NAME) };
        place.create_folder()?;
        let lock = place.lock_folder()?;
        let opened = match fs::symlink_metadata(&place.file) {
            Ok(_) => place.open_file(None)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => place.create_file()?,
            Err(source) => return Err(place.io("open", source)),
        };
        let identity = place.identity()?;
        let database = Mutex::new(Handle { opened: Some(Arc::new(opened)), owed_head: None });
        Ok(Self { place, batches: Batches::new(BATCH_MAX), database, identity, _lock: lock })
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
        let opened = self.opened()?;
        guard(&self.place, || {
            let read = || read(&opened.database.begin_read()?);
            read().map_err(|error| self.place.explain("read", error))
        })
    }

    fn submit(&self, change: Change) -> Result<Outcome, StoreError> {
        let answer = self.batches.submit(change, |changes| match self.commit(changes) {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => changes.iter().map(|_| Err(queue::copy(&error))).collect(),
        });
        answer.unwrap_or_else(|| Err(StoreError::Other("a change got no answer from its commit".into())))
    }
}

impl Store for EmbeddedStore {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        let opened = self.opened()?;
        guard(&self.place, || opened.load(&self.place, each))
    }

    fn insert(&self, record: &TokenRecord, names: Names) -> Result<Insertion, StoreError> {
        match self.submit(Change::Insert { record: Box::new(record.clone()), names })? {
            Outcome::Done | Outcome::Missing | Outcome::Conflict => Ok(Insertion::Inserted),
            Outcome::IdTaken => Ok(Insertion::IdTaken),
            Outcome::DigestTaken => Ok(Insertion::DigestTaken),
            Outcome::DigestSpent => Ok(Insertion::DigestSpent),
            Outcome::NameTaken => Ok(Insertion::NameTaken),
        }
    }

    fn update(&self, before: &TokenRecord, after: &TokenRecord, names: Names) -> Result<Update, StoreError> {
        let (before, after) = (Box::new(before.clone()), Box::new(after.clone()));
        match self.submit(Change::Update { before, after, names })? {
            Outcome::Done => Ok(Update::Done),
            Outcome::Missing | Outcome::IdTaken => Ok(Update::Missing),
            Outcome::Conflict => Ok(Update::Conflict),
            Outcome::DigestTaken | Outcome::DigestSpent => Ok(Update::DigestTaken),
            Outcome::NameTaken => Ok(Update::NameTaken),
        }
    }

    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError> {
        Ok(self.submit(Change::Delete { id, after })? == Outcome::Done)
    }

    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.read(|transaction| {
            let row = transaction.open_table(TOKENS)?.get(id.get())?;
            row.map(|row| row::decode(id.get(), row.value()).map_err(redb::Error::Corrupted)).transpose()
        })
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let mut records = Vec::new();
        self.load(&mut |token| {
            let record = token.to_record();
            let position = query.order.position(&record);
            let is_after =
                query.after.as_ref().is_none_or(|after| query.order.compare(&position, after).is_gt());
            if is_after {
                records.push((position, record));
            }
        })?;
        records.sort_by(|(one, _), (other, _)| query.order.compare(one, other));
        let listed = records.into_iter().map(|(_, record)| {
            let usage = self.usage(record.id)?;
            Ok(Listed { record, usage })
        });
        Page::gather(query, listed)
    }

    fn record_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        if !uses.is_empty() {
            self.submit(Change::AddUses(uses.to_vec()))?;
        }
        Ok(())
    }

    fn usage(&self, id: TokenId) -> Result<Option<Usage>, StoreError> {
        self.read(|transaction| {
            let table = match transaction.open_table(USES) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            let row = table.get(id.get())?;
            row.map(|row| uses::decode(id.get(), row.value()).map_err(redb::Error::Corrupted)).transpose()
        })
    }

    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(SPENT)?.get(digest.as_bytes())?.is_some()))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started shares it for a moment. When
        // this fails, the end of the process releases the lock.
        let _ = self.0.unlock();
    }
}

/// Turns a panic of redb, which files altered by others may cause, into an error.
fn guard<T>(place: &Place, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(place.corrupt("reading it failed")))
}

impl Place {
    fn create_folder(&self) -> Result<(), StoreError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        let created = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.folder);
        created.map_err(|source| refused("create", &self.folder, source))?;
        // Without this a loss of power could take the new folder with it.
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))
    }

    /// Which file lies there now.
    fn identity(&self) -> Result<Identity, StoreError> {
        let metadata = fs::metadata(&self.file).map_err(|source| self.io("find", source))?;
        Ok(Identity(metadata.dev(), metadata.ino()))
    }

    fn lock_folder(&self) -> Result<FolderLock, StoreError> {
        let folder = File::open(&self.folder).map_err(|source| refused("open", &self.folder, source))?;
        match folder.try_lock() {
            Ok(()) => Ok(FolderLock(folder)),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { folder: self.folder.clone() }),
            // Some network file systems lock no folders; redb's own lock on the file is still taken there.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(FolderLock(folder))
            }
            Err(TryLockError::Error(source)) => Err(refused("lock", &self.folder, source)),
        }
    }

    /// Makes an empty store under another name, then gives it its own.
    fn create_file(&self) -> Result<Opened, StoreError> {
        let new = self.folder.join(NEW_FILE_NAME);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(refused("remove", &new, error));
            }
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&new);
        let file = file.map_err(|source| refused("create", &new, source))?;
        let created = guard(self, || {
            let locks = file.try_clone().map_err(|source| self.io("open", source))?;
            let opened = self.open_database(locks, GuardedFile::direct(file), false)?;
            let format = || -> Result<(), redb::Error> {
                let transaction = opened.database.begin_write()?;
                transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
                transaction.open_table(TOKENS)?;
                transaction.open_table(DIGESTS)?;
                transaction.open_table(SPENT)?;
                transaction.open_table(USES)?;
                Ok(transaction.commit()?)
            };
            format().map_err(|error| self.explain("create", error))?;
            fs::rename(&new, &self.file).map_err(|source| refused("create", &self.file, source))?;
            sync_folder(&self.folder)?;
            Ok(opened)
        });
        if created.is_err() {
            // What is left of it holds nothing, and the next start removes it if this does not.
            let _ = fs::remove_file(&new);
        }
        created
    }

    /// Opens the file that is there, and changes nothing in it. It is read as if it had the head that is owed to it.
    fn open_file(&self, owed_head: Option<Vec<u8>>) -> Result<Opened, StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(&self.file);
        let mut file = file.map_err(|source| self.io("open", source))?;
        self.refuse_other_content(&mut file)?;
        let metadata = file.metadata().map_err(|source| self.io("read", source))?;
        let opened = guard(self, || {
            let locks = file.try_clone().map_err(|source| self.io("open", source))?;
            let content = GuardedFile::held(file, owed_head).map_err(|source| self.io("read", source))?;
            let opened = self.open_database(locks, content, false)?;
            self.check_format(&opened)?;
            Ok(opened)
        })?;
        let mode = metadata.permissions().mode();
        if mode & 0o077 != 0 {
            // Digests are no secrets, so a file that belongs to somebody else may stay as readable as it is.
            let _ = fs::set_permissions(&self.file, Permissions::from_mode(mode & 0o700));
        }
        Ok(opened)
    }

    /// Refuses what cannot be a store before redb sees it.
    fn refuse_other_content(&self, file: &mut File) -> Result<(), StoreError> {
        let metadata = file.metadata().map_err(|source| self.io("read", source))?;
        if !metadata.is_file() {
            return Err(self.corrupt("it is not a file"));
        }
        let mut start = Vec::new();
        let read = file.take(MAGIC.len() as u64).read_to_end(&mut start);
        read.map_err(|source| self.io("read", source))?;
        if start.is_empty() {
            return Err(self.corrupt("it is empty"));
        }
        if start != MAGIC {
            return Err(self.corrupt("it does not start as a store does"));
        }
        Ok(())
    }

    fn open_database(
        &self,
        locks: File,
        content: GuardedFile,
        is_looking: bool,
    ) -> Result<Opened, StoreError> {
        let locks = FileBackend::new(locks).map_err(|error| self.explain("lock", error.into()))?;
        let file = Arc::new(content);
        let backend = Backend { locks, file: Arc::clone(&file), is_looking };
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            // Every page is checked against its sum: of an altered file redb would believe the rest.
            .set_check_integrity_on_open(true)
            .create_with_backend(backend);
        let database = database.map_err(|error| self.explain("open", error.into()))?;
        Ok(Opened { database, file })
    }

    fn check_format(&self, opened: &Opened) -> Result<(), StoreError> {
        let format = || -> Result<Option<u64>, redb::Error> {
            let table = opened.database.begin_read()?.open_table(META)?;
            Ok(table.get(FORMAT_KEY)?.map(|format| format.value()))
        };
        match format() {
            Ok(Some(FORMAT | FORMAT_WITHOUT_STATE)) => Ok(()),
            Ok(Some(found)) if found > FORMAT => {
                Err(StoreError::NewerFormat { path: self.file.clone(), found, known: FORMAT })
            }
            Ok(Some(found)) => Err(self.corrupt(format!("it has the unknown format {found}"))),
            Ok(None) | Err(redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) => {
                Err(self.corrupt("another program wrote it"))
            }
            Err(error) => Err(self.explain("read", error)),
        }
    }

    fn corrupt(&self, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { path: self.file.clone(), what: what.into() }
    }

    fn io(&self, action: &'static str, source: io::Error) -> StoreError {
        refused(action, &self.file, source)
    }

    /// Says in our words what redb said in its own.
    fn explain(&self, action: &'static str, error: redb::Error) -> StoreError {
        match error {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse { folder: self.folder.clone() },
            redb::Error::Corrupted(what) => self.corrupt(what),
            redb::Error::Io(source) => match source.kind() {
                io::ErrorKind::InvalidData => self.corrupt(source.to_string()),
                io::ErrorKind::UnexpectedEof => self.corrupt("it is cut short"),
                _ => self.io(action, source),
            },
            redb::Error::UpgradeRequired(version) => {
                self.corrupt(format!("it has the outdated file format {version}"))
            }
            error @ (redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) => {
                self.corrupt(error.to_string())
            }
            error => StoreError::Other(Box::new(error)),
        }
    }
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| refused("write", folder, source))
}

/// Sorts what the operating system refuses by what can be done about it.
fn refused(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Denied { path, source }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full { path, source }
        }
        _ => StoreError::Io { action, path, source },
    }
}

impl Opened {
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
