//! Opening the file of a store, or making one, so that nothing is lost whatever happens meanwhile.

use super::backend::Backend;
use super::build::NewFile;
use super::guarded::GuardedFile;
use super::orders::{self, ORDERS};
use super::place::{Place, guard};
use super::{FORMAT, FORMAT_KEY, FORMAT_WITHOUT_ORDERS, META, Opened, TOKENS};
use crate::store::StoreError;
use crate::token::TokenRecord;
use redb::backends::FileBackend;
use redb::{Builder, ReadableDatabase, ReadableTableMetadata as _, TableHandle as _};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Pages that redb may keep in memory. Authentication does not read them: the index does that.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

const OUT_OF_ORDER: &str = "the tokens of a new store must come in the order of their ids, each once";

impl Place {
    /// Whether there is a file, of whatever kind.
    pub(super) fn has_file(&self) -> Result<bool, StoreError> {
        match fs::symlink_metadata(&self.file) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.io("open", source)),
        }
    }

    /// Makes a store with these tokens, which come in the order of their ids.
    pub(super) fn create_file(
        &self,
        tokens: impl IntoIterator<Item = TokenRecord>,
    ) -> Result<Opened, StoreError> {
        guard(self, || {
            let new = NewFile::create(self)?;
            let mut last = None;
            new.put_tokens(|take| {
                for token in tokens {
                    if last.replace(token.id).is_some_and(|last| last >= token.id) {
                        return Err(StoreError::Other(OUT_OF_ORDER.into()));
                    }
                    take(token)?;
                }
                Ok(())
            })?;
            new.finish()?;
            new.install()
        })
    }

    /// Opens the file that is there, and changes nothing in it; one of the format before is taken over, and the path
    /// where it is kept is returned too. The file is read as if it had the head that is owed to it.
    pub(super) fn open_file(
        &self,
        owed_head: Option<Vec<u8>>,
    ) -> Result<(Opened, Option<PathBuf>), StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(&self.file);
        let mut file = file.map_err(|source| self.io("open", source))?;
        self.refuse_other_content(&mut file)?;
        let metadata = file.metadata().map_err(|source| self.io("read", source))?;
        let (opened, kept) = guard(self, || {
            let locks = file.try_clone().map_err(|source| self.io("open", source))?;
            let content = GuardedFile::held(file, owed_head).map_err(|source| self.io("read", source))?;
            let opened = self.open_database(locks, content, false)?;
            if self.check_format(&opened)? == FORMAT {
                return Ok((opened, None));
            }
            let (opened, kept) = self.take_over(opened)?;
            Ok((opened, Some(kept)))
        })?;
        let mode = metadata.permissions().mode();
        if mode & 0o077 != 0 {
            // Digests are no secrets, so a file that belongs to somebody else may stay as readable as it is.
            let _ = fs::set_permissions(&self.file, Permissions::from_mode(mode & 0o700));
        }
        Ok((opened, kept))
    }

    pub(super) fn open_database(
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

    /// The format, if it is one that is read; and of the present one, whether every order has every token.
    pub(super) fn check_format(&self, opened: &Opened) -> Result<u64, StoreError> {
        let format = || -> Result<Option<u64>, redb::Error> {
            let table = opened.database.begin_read()?.open_table(META)?;
            Ok(table.get(FORMAT_KEY)?.map(|format| format.value()))
        };
        match format() {
            Ok(Some(FORMAT)) => self.check_counts(opened).map(|()| FORMAT),
            Ok(Some(FORMAT_WITHOUT_ORDERS)) => Ok(FORMAT_WITHOUT_ORDERS),
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

    /// Entries are counted by redb, so that this costs the same however many there are.
    fn check_counts(&self, opened: &Opened) -> Result<(), StoreError> {
        let counts = || -> Result<_, redb::Error> {
            let transaction = opened.database.begin_read()?;
            let tokens = transaction.open_table(TOKENS)?.len()?;
            let order = |by| Ok((by, transaction.open_table(orders::table(by))?.len()?));
            Ok((tokens, ORDERS.into_iter().map(order).collect::<Result<Vec<_>, redb::Error>>()?))
        };
        let (tokens, orders) = counts().map_err(|error| self.explain("read", error))?;
        match orders.iter().find(|(_, count)| *count != tokens) {
            None => Ok(()),
            Some((by, count)) => {
                let name = orders::table(*by).name().to_owned();
                Err(self.corrupt(format!("it has {tokens} tokens, but {count} in the order `{name}`")))
            }
        }
    }
}
