//! One conformance suite for every store.

#[cfg(feature = "embedded")]
mod model;
mod suite;
mod walks;

use rolegate::store::memory::MemoryStore;
#[cfg(feature = "embedded")]
use rolegate::store::{Store, StoreError};
use rolegate::testing::store_conformance;
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};

/// A token by the interface that has what every token has, and nothing else.
pub(crate) fn bare(id: TokenId, digest: TokenDigest, kind: SecretKind) -> TokenRecord {
    TokenRecord {
        id,
        digest,
        kind,
        origin: TokenOrigin::Api,
        name: "bare".to_owned(),
        description: None,
        roles: Vec::new(),
        dedicated_subject: None,
        created: Timestamp::EPOCH,
        updated: Timestamp::EPOCH,
        expires: None,
        disabled: None,
        former: None,
    }
}

/// A token whose id and digest are made of small numbers, so that tests can make them collide.
#[expect(clippy::unwrap_used, reason = "the numbers are in range")]
pub(crate) fn token(id: u64, digest: u8) -> TokenRecord {
    let digest = TokenDigest::from_bytes([digest; 32]);
    TokenRecord {
        name: format!("token {id} \u{1f511}"),
        description: id.is_multiple_of(2).then(|| "with \"quotes\"\nand a line".into()),
        roles: vec![RoleName::parse("admin").unwrap(), RoleName::parse("ci:x/y@z").unwrap()],
        created: Timestamp::from_millis(1_000),
        updated: Timestamp::from_millis(2_000),
        expires: Some(Timestamp::from_millis(i64::MAX)),
        ..bare(TokenId::new(TokenId::MIN + id).unwrap(), digest, SecretKind::Generated)
    }
}

/// All tokens of a store, by id.
#[cfg(feature = "embedded")]
pub(crate) fn all(store: &dyn Store) -> Result<Vec<TokenRecord>, StoreError> {
    let mut tokens = Vec::new();
    store.load(&mut |token| tokens.push(token.to_record()))?;
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}

#[test]
fn memory_store_conforms() {
    store_conformance(MemoryStore::new);
}

#[test]
fn walk_of_the_memory_store_meets_each_token_once_whatever_comes_and_goes() {
    walks::check(&MemoryStore::new);
}

/// The embedded store, on disk.
#[cfg(feature = "embedded")]
#[expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]
mod embedded {
    use super::{all, token, walks};
    use crate::process;
    use rolegate::store::embedded::{EmbeddedStore, FILE_NAME, check};
    use rolegate::store::memory::MemoryStore;
    use rolegate::store::page::{Order, OrderBy, PageQuery};
    use rolegate::store::{AfterDelete, Insertion, Names, Store, StoreError};
    use rolegate::testing::{store_conformance, store_durability};
    use std::fs::{self, File, Permissions};
    use std::io::Write;
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::path::Path;
    use std::thread;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn open(folder: &Path) -> EmbeddedStore {
        EmbeddedStore::open(folder).unwrap()
    }

    /// Puts a store of `count` tokens into the folder.
    fn fill(folder: &Path, count: u8) {
        let store = open(folder);
        for number in 1..=count {
            assert_eq!(
                store.insert(&token(number.into(), number), Names::MayRepeat).unwrap(),
                Insertion::Inserted
            );
        }
    }

    #[test]
    fn embedded_store_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        let place = |number: u32| folder.path().join(number.to_string());
        store_conformance(|| {
            number.set(number.get() + 1);
            open(&place(number.get()))
        });
        store_durability(|| open(&place(0)));
        for number in 0..=number.get() {
            let findings = check(&place(number), &mut |_, _, _| {}).unwrap();
            assert!(findings.is_whole(), "{number}: {:?}", findings.faults);
        }
    }

    #[test]
    fn walk_of_the_embedded_store_meets_each_token_once_whatever_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        walks::check(&|| {
            number.set(number.get() + 1);
            open(&folder.path().join(number.get().to_string()))
        });
    }

    #[test]
    fn everything_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 3);
        assert!(open(folder.path()).delete(token(1, 1).id, AfterDelete::RefuseDigest).unwrap());
        let store = open(folder.path());
        assert_eq!(all(&store).unwrap(), [token(2, 2), token(3, 3)]);
        assert!(store.is_spent(&token(1, 1).digest).unwrap());
        assert_eq!(store.insert(&token(4, 1), Names::MayRepeat).unwrap(), Insertion::DigestSpent);
        assert_eq!(store.insert(&token(4, 4), Names::MayRepeat).unwrap(), Insertion::Inserted);
    }

    #[test]
    fn of_many_who_insert_one_digest_at_once_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        for store in [&open(folder.path()) as &dyn Store, &MemoryStore::new()] {
            let outcomes: Vec<Insertion> = thread::scope(|scope| {
                let all: Vec<_> = (0..8)
                    .map(|id| scope.spawn(move || store.insert(&token(id, 1), Names::MayRepeat).unwrap()))
                    .collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let inserted = outcomes.iter().filter(|outcome| **outcome == Insertion::Inserted).count();
            let taken = outcomes.iter().filter(|outcome| **outcome == Insertion::DigestTaken).count();
            assert_eq!((inserted, taken), (1, 7));
        }
    }

    #[test]
    fn store_that_is_created_with_tokens_has_them_as_if_they_were_inserted() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tokens = || (1..=3).map(|number| token(number.into(), number));
        let created = EmbeddedStore::create(folder.path(), tokens()).unwrap();
        let inserted = open(other.path());
        for token in tokens() {
            assert_eq!(inserted.insert(&token, Names::MayRepeat).unwrap(), Insertion::Inserted);
        }
        for store in [&created, &inserted] {
            assert_eq!(store.insert(&token(4, 3), Names::MayRepeat).unwrap(), Insertion::DigestTaken);
            assert!(store.delete(token(2, 2).id, AfterDelete::RefuseDigest).unwrap());
            assert_eq!(store.insert(&token(2, 2), Names::MayRepeat).unwrap(), Insertion::DigestSpent);
        }
        drop(created);
        let created = open(folder.path());
        assert_eq!(all(&created).unwrap(), all(&inserted).unwrap());
        for by in [OrderBy::Created, OrderBy::Name, OrderBy::Expires] {
            let query = PageQuery::first(Order { by, is_descending: true });
            assert_eq!(created.page(&query).unwrap(), inserted.page(&query).unwrap());
        }
    }

    #[test]
    fn store_is_not_created_where_one_is_or_with_tokens_that_do_not_fit_together() {
        let folder = tempfile::tempdir().unwrap();
        for (tokens, what) in [
            (vec![token(2, 2), token(1, 1)], "in the order of their ids"),
            (vec![token(1, 1), token(1, 2)], "each once"),
            (vec![token(1, 1), token(2, 1)], "two of its tokens have one digest"),
        ] {
            let error = EmbeddedStore::create(folder.path(), tokens).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of it");
        }
        drop(EmbeddedStore::create(folder.path(), [token(1, 1)]).unwrap());
        let error = EmbeddedStore::create(folder.path(), [token(2, 2)]).unwrap_err();
        assert!(matches!(error, StoreError::Io { action: "create", .. }), "{error}");
        assert_eq!(all(&open(folder.path())).unwrap(), [token(1, 1)]);
    }

    #[test]
    fn folder_and_file_are_for_their_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        drop(open(&folder));
        assert_eq!((mode(&folder), mode(&parent.path().join("a"))), (0o700, 0o700));
        let file = folder.join(FILE_NAME);
        assert_eq!(mode(&file), 0o600);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, [FILE_NAME]);

        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        drop(open(&folder));
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn store_that_is_open_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        let error = EmbeddedStore::open(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
        let folder_name = folder.path().display().to_string();
        assert_eq!(
            error.to_string(),
            format!(
                "the token store in `{folder_name}` is in use: one process at a time may open it; \
                 stop the other one, or give this one a data folder of its own"
            )
        );
        assert_eq!(first.insert(&token(1, 1), Names::MayRepeat).unwrap(), Insertion::Inserted);
        drop(first);
        assert_eq!(all(&open(folder.path())).unwrap(), [token(1, 1)]);
    }

    #[test]
    fn store_that_another_process_has_open_is_in_use_until_that_process_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        let part = "store::embedded::second_process_part";
        let second = || process::part(part, folder.path()).unwrap().output().unwrap();
        let said = String::from_utf8(second().stdout).unwrap();
        assert!(said.contains("is in use: one process at a time may open it"), "{said}");
        assert_eq!(first.insert(&token(1, 1), Names::MayRepeat).unwrap(), Insertion::Inserted);
        drop(first);
        let said = String::from_utf8(second().stdout).unwrap();
        assert!(said.contains("1 tokens"), "{said}");
    }

    #[test]
    fn second_process_part() {
        let Some(folder) = process::argument() else { return };
        let said = match EmbeddedStore::open(&folder) {
            Ok(store) => format!("{} tokens\n", all(&store).unwrap().len()),
            Err(error) => format!("{error}\n"),
        };
        std::io::stdout().write_all(said.as_bytes()).unwrap();
    }

    #[test]
    fn folder_that_cannot_be_written_is_a_clear_error() {
        let own = tempfile::tempdir().unwrap();
        fs::set_permissions(own.path(), Permissions::from_mode(0o500)).unwrap();
        for folder in [own.path().to_owned(), own.path().join("new")] {
            let part = process::part_under_permissions("store::embedded::second_process_part", &folder);
            let said = String::from_utf8(part.unwrap().output().unwrap().stdout).unwrap();
            assert!(said.contains("cannot be written"), "{said}");
            assert!(said.contains("or choose another data folder"), "{said}");
        }
        fs::set_permissions(own.path(), Permissions::from_mode(0o700)).unwrap();
        let part = process::part_under_permissions("store::embedded::second_process_part", own.path());
        let said = String::from_utf8(part.unwrap().output().unwrap().stdout).unwrap();
        assert!(said.contains("0 tokens"), "{said}");
    }

    #[test]
    fn folder_that_is_a_file_and_file_that_is_a_folder_are_clear_errors() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, b"mine").unwrap();
        let error = EmbeddedStore::open(&file).unwrap_err();
        assert!(error.to_string().starts_with("cannot create `"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"mine");

        fs::create_dir(parent.path().join(FILE_NAME)).unwrap();
        let error = EmbeddedStore::open(parent.path()).unwrap_err();
        assert!(error.to_string().starts_with("cannot open `"), "{error}");
    }

    #[test]
    fn creation_that_was_interrupted_is_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let half = folder.path().join("tokens.redb.new");
        fs::write(&half, b"half").unwrap();
        fill(folder.path(), 2);
        assert_eq!(all(&open(folder.path())).unwrap(), [token(1, 1), token(2, 2)]);
        assert!(!half.exists());
        // A repair that was killed leaves one beside a store.
        fs::write(&half, b"half").unwrap();
        drop(open(folder.path()));
        assert!(!half.exists());
    }

    #[test]
    fn opening_and_reading_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 3);
        let file = folder.path().join(FILE_NAME);
        let before = fs::read(&file).unwrap();
        assert_eq!(all(&open(folder.path())).unwrap().len(), 3);
        assert!(fs::read(&file).unwrap() == before);
    }

    #[test]
    fn file_that_is_no_store_is_refused_and_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let mut magic_and_more = b"redb\x1a\x0a\xa9\x0d\x0a".to_vec();
        magic_and_more.extend([0xff; 9000]);
        for (content, what) in [
            (&b""[..], "it is empty"),
            (b"redb", "it does not start as a store does"),
            (b"SQLite format 3\0", "it does not start as a store does"),
            (&[0; 8192], "it does not start as a store does"),
            (magic_and_more.get(..9).unwrap(), ""),
            (&magic_and_more, ""),
        ] {
            fs::write(&file, content).unwrap();
            let error = EmbeddedStore::open(folder.path()).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(fs::read(&file).unwrap(), content);
        }
    }

    /// Opens a damaged store: it is refused as corrupt, or holds what it held; and it is not changed.
    /// After a crash a damaged last commit looks like one that was never finished: then what was there
    /// before it is right too.
    fn check_damaged(folder: &Path, bytes: &[u8], place: &str, least: usize) -> bool {
        let outcome = EmbeddedStore::open(folder).and_then(|store| all(&store));
        let refused = match outcome {
            Ok(tokens) => {
                let expected = (1..=20).map(|number| token(number.into(), number));
                assert!(tokens.iter().cloned().eq(expected.take(tokens.len())), "{place}: other tokens");
                assert!(tokens.len() >= least, "{place}: {} tokens", tokens.len());
                false
            }
            Err(StoreError::Corrupt { .. }) => true,
            Err(error) => panic!("{place}: {error:?}"),
        };
        assert!(fs::read(folder.join(FILE_NAME)).unwrap() == bytes, "{place}: the file was changed");
        refused
    }

    #[test]
    fn damaged_file_is_refused_or_harmless_and_never_changed() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 20);
        damage(folder.path(), 20);
    }

    #[test]
    fn file_damaged_after_a_crash_is_refused_or_harmless_and_never_changed() {
        let (crashed, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(crashed.path(), 19);
        let store = open(crashed.path());
        assert_eq!(store.insert(&token(20, 20), Names::MayRepeat).unwrap(), Insertion::Inserted);
        // What a killed process leaves is what the file holds while the store is open.
        fs::copy(crashed.path().join(FILE_NAME), folder.path().join(FILE_NAME)).unwrap();
        damage(folder.path(), 19);
    }

    fn damage(folder: &Path, least: usize) {
        let path = folder.join(FILE_NAME);
        let sound = fs::read(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let mut refused = 0_usize;
        let mut check = |start: usize, junk: &[u8], place: &str| {
            let mut bytes = sound.clone();
            bytes.splice(start..start + junk.len(), junk.iter().copied());
            file.write_all_at(junk, start as u64).unwrap();
            refused += usize::from(check_damaged(folder, &bytes, place, least));
            file.write_all_at(&sound, 0).unwrap();
        };

        // Single bytes, all over the head and then in strides that meet every part of a page.
        for (at, byte) in sound.iter().enumerate().filter(|(at, _)| *at < 320 || at % 1021 == 0) {
            for bit in [0x01, 0x80] {
                check(at, &[byte ^ bit], &format!("byte {at} bit {bit}"));
            }
        }
        // Whole pages, lost or replaced.
        for (page, content) in sound.chunks(4096).enumerate() {
            for junk in [0x00, 0xa5] {
                check(page * 4096, &vec![junk; content.len()], &format!("page {page}"));
            }
        }
        // The end, cut off.
        for length in (1..sound.len()).step_by(4001) {
            file.set_len(length as u64).unwrap();
            let (kept, _) = sound.split_at(length);
            refused += usize::from(check_damaged(folder, kept, &format!("cut to {length}"), least));
            file.write_all_at(&sound, 0).unwrap();
        }
        assert!(refused > 50, "only {refused} damages were noticed");
        assert!(!check_damaged(folder, &sound, "the sound file", 20));
    }
}
