//! A file that is filled at once and then laid in the place of a store. Until it is laid there it is nobody's store,
//! and whatever ends the work, what was there before is still there.

use super::guarded::GuardedFile;
use super::orders::{self, ORDERS};
use super::place::{Place, refused, sync_folder};
use super::{DIGESTS, FORMAT, FORMAT_KEY, META, Opened, SPENT, TOKENS, USES, row, uses};
use crate::store::StoreError;
use crate::store::usage::Usage;
use crate::token::{TokenDigest, TokenId, TokenRecord};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, Value};
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::PathBuf;

/// The file while it is being filled. A start that finds one removes it.
const NEW_FILE_NAME: &str = "tokens.redb.new";
const FILE_MODE: u32 = 0o600;
/// Keys that are sorted at a time, in bytes. Keys that come in their order fill pages one after the other; others
/// would have each page written many times.
const SORTED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A store that is being written.
#[derive(Debug)]
pub(super) struct NewFile<'a> {
    place: &'a Place,
    path: PathBuf,
    /// `None` before its first byte, and once it was laid in its place.
    opened: Option<Opened>,
    /// Whether it lies in the place of the store.
    is_installed: bool,
}

/// What comes of writing.
type Done = Result<(), StoreError>;
/// Takes the next thing that is to be written.
type Take<'a, T> = &'a mut dyn FnMut(T) -> Done;

/// Entries of a table that wait to be sorted, one after the other in one piece of memory.
#[derive(Debug, Default)]
struct Sorter {
    bytes: Vec<u8>,
    entries: Vec<Range<usize>>,
}

impl Place {
    /// Removes what is left of a file that was being filled when its process died.
    pub(super) fn remove_unfinished(&self) -> Result<(), StoreError> {
        let path = self.folder.join(NEW_FILE_NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("remove", &path, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl<'a> NewFile<'a> {
    /// A file without anything in it.
    pub(super) fn create(place: &'a Place) -> Result<Self, StoreError> {
        let path = place.folder.join(NEW_FILE_NAME);
        place.remove_unfinished()?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(|source| refused("create", &path, source))?;
        if let Ok(old) = fs::metadata(&place.file).or_else(|_| fs::metadata(&place.folder)) {
            // The superuser repairs or restores a store that is another user's, who must be able to open it afterwards.
            // Nobody else can give files away, nor needs to.
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        let mut new = Self { place, path, opened: None, is_installed: false };
        let locks = file.try_clone().map_err(|source| refused("open", &new.path, source))?;
        new.opened = Some(place.open_database(locks, GuardedFile::direct(file), false)?);
        // A store has all of its tables, the empty ones too.
        let tables = || -> Result<(), redb::Error> {
            let transaction = new.database()?.begin_write()?;
            transaction.open_table(TOKENS)?;
            transaction.open_table(USES)?;
            transaction.open_table(SPENT)?;
            Ok(transaction.commit()?)
        };
        tables().map_err(|error| place.explain("write", error))?;
        Ok(new)
    }

    /// Writes tokens, which `source` gives in the order of their ids.
    pub(super) fn put_tokens(&self, source: impl FnOnce(Take<'_, TokenRecord>) -> Done) -> Done {
        self.put(TOKENS, source, |table, record| {
            Ok(table.insert(record.id.get(), row::encode(&record).as_slice()).map(drop)?)
        })
    }

    /// Writes what is known of the use of tokens, as far as they were written before.
    pub(super) fn put_uses(&self, source: impl FnOnce(Take<'_, (TokenId, Usage)>) -> Done) -> Done {
        let tokens = || -> Result<_, redb::Error> { Ok(self.database()?.begin_read()?.open_table(TOKENS)?) };
        let tokens = tokens().map_err(|error| self.place.explain("read", error))?;
        self.put(USES, source, |table, (id, usage)| {
            if tokens.get(id.get())?.is_some() {
                table.insert(id.get(), uses::encode(&usage).as_slice())?;
            }
            Ok(())
        })
    }

    /// Writes digests that must not come back.
    pub(super) fn put_spent(&self, source: impl FnOnce(Take<'_, TokenDigest>) -> Done) -> Done {
        self.put(SPENT, source, |table, digest| Ok(table.insert(digest.as_bytes(), ()).map(drop)?))
    }

    /// Writes all that follows from the tokens, and makes it a store. Returns how many digests its tokens
    /// have.
    pub(super) fn finish(&self) -> Result<u64, StoreError> {
        let digests = self.derive(
            DIGESTS,
            |record, add| {
                record.digests().for_each(|digest| {
                    add(&[digest.as_bytes().as_slice(), &record.id.get().to_be_bytes()].concat());
                });
            },
            |table, entry| {
                let Some((digest, id)) = entry.split_first_chunk() else { return Ok(()) };
                let id = id.first_chunk().map(|id| u64::from_be_bytes(*id));
                match table.insert(digest, id.unwrap_or_default())? {
                    None => Ok(()),
                    Some(_) => Err(redb::Error::Corrupted("two of its tokens have one digest".into())),
                }
            },
        )?;
        for by in ORDERS {
            let add_key = |record: &TokenRecord, add: &mut dyn FnMut(&[u8])| add(&orders::key_of(by, record));
            self.derive(orders::table(by), add_key, |table, key| Ok(table.insert(key, ()).map(drop)?))?;
        }
        let mark = || -> Result<(), redb::Error> {
            let transaction = self.database()?.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(FORMAT_KEY, FORMAT)?;
            }
            Ok(transaction.commit()?)
        };
        mark().map_err(|error| self.place.explain("write", error))?;
        Ok(digests)
    }

    /// Lays it in the place of the store; all that it has is on disk already.
    pub(super) fn install(mut self) -> Result<Opened, StoreError> {
        fs::rename(&self.path, &self.place.file)
            .map_err(|source| refused("create", &self.place.file, source))?;
        self.is_installed = true;
        let opened = self.opened.take();
        sync_folder(&self.place.folder)?;
        opened.ok_or_else(|| self.place.corrupt("it was not opened"))
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        let opened = self.opened.as_ref();
        opened.map(|opened| &opened.database).ok_or_else(|| redb::Error::Corrupted("it is closed".into()))
    }

    /// Puts what `source` gives into a table, in one transaction.
    fn put<K: redb::Key + 'static, V: Value + 'static, E>(
        &self,
        table: TableDefinition<'_, K, V>,
        source: impl FnOnce(Take<'_, E>) -> Done,
        insert: impl Fn(&mut Table<'_, K, V>, E) -> Result<(), redb::Error>,
    ) -> Done {
        let explain = |error: redb::Error| self.place.explain("write", error);
        let begin = || -> Result<_, redb::Error> { Ok(self.database()?.begin_write()?) };
        let transaction = begin().map_err(explain)?;
        {
            let mut table = transaction.open_table(table).map_err(|error| explain(error.into()))?;
            source(&mut |entry| insert(&mut table, entry).map_err(explain))?;
        }
        transaction.commit().map_err(|error| explain(error.into()))
    }

    /// Fills a table with what follows from the tokens: `add` is given the entries of each, and `insert` has them
    /// back, sorted.
    fn derive<K: redb::Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
        entries_of: impl Fn(&TokenRecord, &mut dyn FnMut(&[u8])),
        insert: impl Fn(&mut Table<'_, K, V>, &[u8]) -> Result<(), redb::Error>,
    ) -> Result<u64, StoreError> {
        let derive = || -> Result<u64, redb::Error> {
            let database = self.database()?;
            let tokens = database.begin_read()?.open_table(TOKENS)?;
            let transaction = database.begin_write()?;
            let (mut count, mut sorter) = (0, Sorter::default());
            {
                let mut table = transaction.open_table(table)?;
                for entry in tokens.iter()? {
                    let (id, row) = entry?;
                    let record = row::decode(id.value(), row.value()).map_err(redb::Error::Corrupted)?;
                    entries_of(&record, &mut |entry| sorter.add(entry));
                    if sorter.bytes.len() >= SORTED_BYTES_MAX {
                        count += sorter.drain(|entry| insert(&mut table, entry))?;
                    }
                }
                count += sorter.drain(|entry| insert(&mut table, entry))?;
            }
            transaction.commit()?;
            Ok(count)
        };
        derive().map_err(|error| self.place.explain("write", error))
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        // Closed first, so that nothing is written to it any more.
        drop(self.opened.take());
        if !self.is_installed {
            // What is left of it holds nothing of its own, and the next start removes it if this does not.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Sorter {
    fn add(&mut self, entry: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entry);
        self.entries.push(start..self.bytes.len());
    }

    /// Hands out all entries in their order, and forgets them.
    fn drain(
        &mut self,
        mut insert: impl FnMut(&[u8]) -> Result<(), redb::Error>,
    ) -> Result<u64, redb::Error> {
        let bytes = &self.bytes;
        self.entries.sort_unstable_by(|one, other| bytes.get(one.clone()).cmp(&bytes.get(other.clone())));
        let mut count = 0;
        for entry in self.entries.drain(..) {
            if let Some(entry) = bytes.get(entry) {
                insert(entry)?;
                count += 1;
            }
        }
        self.bytes.clear();
        Ok(count)
    }
}
