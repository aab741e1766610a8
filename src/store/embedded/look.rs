//! A look at the tokens of a store that nobody has open. Nothing is created, and not a byte changes.

use super::guarded::GuardedFile;
use super::place::{FolderLock, Place, guard};
use super::{DIGESTS, Opened, TOKENS, pages};
use crate::store::page::{Page, PageQuery};
use crate::store::usage::{TokenUse, Usage};
use crate::store::{AfterDelete, Insertion, LentToken, Names, Spending, Store, StoreError, Update};
use crate::token::{TokenDigest, TokenId, TokenRecord};
use redb::{ReadTransaction, ReadableTableMetadata as _};
use std::io;
use std::path::Path;

/// A store that is looked at and not changed. While it is, no server can open it.
#[derive(Debug)]
pub struct StoreView {
    place: Place,
    opened: Opened,
    /// Shared with others who look.
    _lock: FolderLock,
}

/// The token with this id in the store of a data folder; `None` when it has none.
///
/// # Errors
/// When there is no store, when another process has it open, and when it cannot be read; see [`StoreError`].
pub fn find_token(folder: &Path, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
    StoreView::open(folder)?.get(id)
}

impl StoreView {
    /// Opens the store of a data folder.
    ///
    /// # Errors
    /// When there is no store, when another process has it open, and when it cannot be read; see [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let place = Place::of(folder);
        // Before the file: until then another process may lay another one in its place.
        let lock = place.lock_folder_shared()?;
        let file = place.open_to_read()?;
        let opened = guard(&place, || {
            let locks = file.try_clone().map_err(|source| place.io("open", source))?;
            // What redb mends of a store that was not closed is mended in memory and goes with it.
            let content = GuardedFile::held(file, None).map_err(|source| place.io("read", source))?;
            let opened = place.open_database(locks, content, true)?;
            place.check_format(&opened)?;
            Ok(opened)
        })?;
        Ok(Self { place, opened, _lock: lock })
    }

    /// How many tokens there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(TOKENS)?.len()?))
    }

    /// The token that has, or had until lately, the secret with this digest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn token_by_digest(&self, digest: &TokenDigest) -> Result<Option<TokenRecord>, StoreError> {
        self.read(|transaction| {
            let id = transaction.open_table(DIGESTS)?.get(digest.as_bytes())?.map(|id| id.value());
            id.map_or(Ok(None), |id| pages::token(transaction, id))
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.opened.read(&self.place, read)
    }

    fn refused(&self) -> StoreError {
        let what = "it was opened to be looked at, and not to be changed";
        self.place.io("write", io::Error::new(io::ErrorKind::PermissionDenied, what))
    }
}

/// Whatever would change it is refused.
impl Store for StoreView {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        guard(&self.place, || self.opened.load(&self.place, each))
    }

    fn insert(&self, _: &TokenRecord, _: Names) -> Result<Insertion, StoreError> {
        Err(self.refused())
    }

    fn update(&self, _: &TokenRecord, _: &TokenRecord, _: Names) -> Result<Update, StoreError> {
        Err(self.refused())
    }

    fn delete(&self, _: TokenId, _: AfterDelete) -> Result<bool, StoreError> {
        Err(self.refused())
    }

    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.read(|transaction| pages::token(transaction, id.get()))
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.read(|transaction| pages::read(transaction, query))
    }

    fn record_uses(&self, _: &[TokenUse]) -> Result<(), StoreError> {
        Err(self.refused())
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

    fn spend(&self, _: &TokenDigest) -> Result<Spending, StoreError> {
        Err(self.refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{EmbeddedStore, FILE_NAME};
    use crate::time::Timestamp;
    use crate::token::{FormerSecret, Secret, SecretKind, TokenOrigin};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn record() -> TokenRecord {
        TokenRecord {
            id: TokenId::generate().unwrap(),
            digest: Secret::generate().unwrap().digest(),
            kind: SecretKind::Generated,
            origin: TokenOrigin::Api,
            name: "ci".into(),
            description: None,
            roles: Vec::new(),
            dedicated_subject: None,
            disabled: None,
            former: None,
            created: Timestamp::EPOCH,
            updated: Timestamp::EPOCH,
            expires: None,
        }
    }

    #[test]
    fn token_is_found_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let record = record();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
        assert!(matches!(find_token(folder.path(), record.id), Err(StoreError::InUse { .. })));
        drop(store);

        let file = folder.path().join(FILE_NAME);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        let before = fs::read(&file).unwrap();
        assert_eq!(find_token(folder.path(), record.id).unwrap(), Some(record));
        assert_eq!(find_token(folder.path(), TokenId::generate().unwrap()).unwrap(), None);
        assert!(fs::read(&file).unwrap() == before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn token_is_found_by_its_digest_and_by_that_of_its_former_secret() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Secret::generate().unwrap().digest();
        let expires = Timestamp::from_millis(1);
        let former = Some(FormerSecret { digest, kind: SecretKind::Generated, expires });
        let record = TokenRecord { former, ..record() };
        let store = EmbeddedStore::open(folder.path()).unwrap();
        assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
        drop(store);
        let view = StoreView::open(folder.path()).unwrap();
        for digest in [record.digest, digest] {
            assert_eq!(view.token_by_digest(&digest).unwrap().as_ref(), Some(&record));
        }
        assert_eq!(view.token_by_digest(&Secret::generate().unwrap().digest()).unwrap(), None);
        // Others may look at the same time, and nobody may open it.
        assert!(StoreView::open(folder.path()).is_ok());
        assert!(matches!(EmbeddedStore::open(folder.path()), Err(StoreError::InUse { .. })));
        drop(view);
        assert!(EmbeddedStore::open(folder.path()).is_ok());
    }

    #[test]
    fn store_that_a_killed_process_left_is_read_and_not_mended() {
        let folder = tempfile::tempdir().unwrap();
        let record = record();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
        // The file as it is while the store is open is the file that a killed process leaves.
        let left = tempfile::tempdir().unwrap();
        fs::copy(folder.path().join(FILE_NAME), left.path().join(FILE_NAME)).unwrap();
        let before = fs::read(left.path().join(FILE_NAME)).unwrap();
        assert_eq!(find_token(left.path(), record.id).unwrap(), Some(record));
        assert!(fs::read(left.path().join(FILE_NAME)).unwrap() == before);
    }

    #[test]
    fn where_no_store_is_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("data");
        let id = TokenId::generate().unwrap();
        assert!(matches!(find_token(&missing, id), Err(StoreError::Io { action: "open", .. })));
        assert!(matches!(find_token(folder.path(), id), Err(StoreError::Io { action: "open", .. })));
        fs::write(folder.path().join(FILE_NAME), "something else").unwrap();
        assert!(matches!(find_token(folder.path(), id), Err(StoreError::Corrupt { .. })));
        // Nobody waits for what will never be written.
        fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(FILE_NAME)).status().unwrap();
        assert!(made.success());
        assert!(matches!(find_token(folder.path(), id), Err(StoreError::Corrupt { .. })));
        assert!(!missing.exists());
    }
}
