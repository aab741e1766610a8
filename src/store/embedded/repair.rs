//! Checking a store as a whole, and making a whole one of what is left of it. The damaged file itself is never written to:
//! it is kept under another name.

use super::build::NewFile;
use super::findings::Findings;
use super::place::{FolderLock, Place, guard};
use super::survey::{Progress, Survey};
use super::{SPENT, USES, uses};
use crate::store::StoreError;
use crate::token::{TokenDigest, TokenId};
use redb::TableHandle as _;
use std::path::{Path, PathBuf};

/// What the file from before a repair is called; a number follows.
const KEPT_NAME: &str = "tokens.redb.before-repair";

/// Looks at all of the store of a data folder. Nothing is created, and not a byte changes.
///
/// # Errors
/// When there is no store, when another process has it open, when a newer version or another program wrote it, and when
/// the operating system refuses; see [`StoreError`]. Damage is no error, but a finding.
pub fn check(folder: &Path, progress: Progress<'_>) -> Result<Findings, StoreError> {
    let place = Place::of(folder);
    let _lock = place.lock_folder_shared()?;
    let file = place.open_to_read()?;
    Ok(guard(&place, || Survey::of(&place, file, progress))?.findings)
}

/// A repair that is prepared: what it will leave out is known, and nobody else can open the store.
#[derive(Debug)]
pub struct Repair {
    place: Place,
    survey: Survey,
    _lock: FolderLock,
}

impl Repair {
    /// Looks at all of the store of a data folder, and changes nothing yet.
    ///
    /// # Errors
    /// As [`check`].
    pub fn prepare(folder: &Path, progress: Progress<'_>) -> Result<Self, StoreError> {
        let place = Place::of(folder);
        // Before the file: otherwise another process could lay one in the place of that which was opened, and what it
        // wrote since would be lost.
        let lock = place.lock_folder()?;
        let file = place.open_to_read()?;
        let survey = guard(&place, || Survey::of(&place, file, progress))?;
        Ok(Self { place, survey, _lock: lock })
    }

    /// What is wrong with the store, and what the repair leaves out.
    pub const fn findings(&self) -> &Findings {
        &self.survey.findings
    }

    /// Writes a new store of all that can be trusted and lays it in the place of the damaged one. Returns where that
    /// one is kept. Whatever ends the work before it is done, the damaged store is where it was.
    ///
    /// # Errors
    /// When the store is beyond repair, and when the operating system refuses; see [`StoreError`].
    pub fn make(self) -> Result<PathBuf, StoreError> {
        let Self { place, survey, _lock } = self;
        if !survey.findings.can_be_repaired() {
            return Err(place.corrupt("too little of it can be read to repair it"));
        }
        guard(&place, || {
            let new = NewFile::create(&place)?;
            new.put_tokens(|take| survey.each_token(&place, take))?;
            new.put_uses(|take| {
                survey.each(&place, USES.name(), &mut |key, value| {
                    let id = key.try_into().ok().and_then(|id| TokenId::new(u64::from_le_bytes(id)));
                    match id.map(|id| (id, uses::decode(id.get(), value))) {
                        Some((id, Ok(usage))) => take((id, usage)),
                        Some((_, Err(_))) | None => Ok(()),
                    }
                })
            })?;
            new.put_spent(|take| {
                survey.each(&place, SPENT.name(), &mut |key, _| match key.try_into() {
                    Ok(digest) => take(TokenDigest::from_bytes(digest)),
                    Err(_) => Ok(()),
                })
            })?;
            new.finish()?;
            drop(survey);
            let kept = place.keep(KEPT_NAME)?;
            new.install()?;
            Ok(kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::orders::{self, ORDERS};
    use super::super::{DIGESTS, EmbeddedStore, FILE_NAME, META, StoreView, TOKENS};
    use super::*;
    use crate::store::embedded::Remedy;
    use crate::store::page::{Order, OrderBy, PageQuery};
    use crate::store::usage::{TokenUse, Usage};
    use crate::store::{AfterDelete, Insertion, Names, Store as _};
    use crate::time::Timestamp;
    use crate::token::{FormerSecret, RoleName, SecretKind, TokenOrigin, TokenRecord};
    use redb::{Database, WriteTransaction};
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, chown};
    use tempfile::TempDir;

    fn record(number: u64) -> TokenRecord {
        let at = |offset| Timestamp::from_millis(1_000 * i64::try_from(number % 7).unwrap() + offset);
        let former = FormerSecret { digest: digest(number, 1), kind: SecretKind::Chosen, expires: at(5) };
        TokenRecord {
            id: TokenId::new(TokenId::MIN + number).unwrap(),
            digest: digest(number, 0),
            kind: SecretKind::Generated,
            origin: TokenOrigin::Api,
            name: format!("token {}", number % 5),
            description: Some("about it ".repeat(usize::try_from(number % 4).unwrap())),
            roles: vec![RoleName::parse("admin").unwrap()],
            dedicated_subject: None,
            created: at(0),
            updated: at(1),
            expires: number.is_multiple_of(2).then(|| at(9)),
            disabled: number.is_multiple_of(3).then(|| at(2)),
            former: number.is_multiple_of(5).then_some(former),
        }
    }

    fn digest(number: u64, salt: u8) -> TokenDigest {
        let mut bytes = [salt; 32];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        TokenDigest::from_bytes(bytes)
    }

    /// A store of `count` tokens, every third of which was used, and of as many spent digests as it has fours.
    fn store_of(count: u64) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(folder.path());
        let new = NewFile::create(&place).unwrap();
        new.put_tokens(|take| (0..count).try_for_each(|number| take(record(number)))).unwrap();
        let usage = || Usage { last_used: Timestamp::EPOCH, count: 3, routes: Vec::new() };
        new.put_uses(|take| (0..count).step_by(3).try_for_each(|number| take((record(number).id, usage()))))
            .unwrap();
        let mut spent: Vec<_> = (0..count / 4).map(|number| *digest(number, 2).as_bytes()).collect();
        spent.sort_unstable();
        new.put_spent(|take| spent.into_iter().map(TokenDigest::from_bytes).try_for_each(take)).unwrap();
        new.finish().unwrap();
        new.install().unwrap();
        folder
    }

    fn checked(folder: &Path) -> Findings {
        check(folder, &mut |_, _, _| {}).unwrap()
    }

    fn told(findings: &Findings) -> Vec<String> {
        let faults = findings.faults.iter();
        faults.map(|fault| format!("{}: {} ({:?})", fault.at, fault.what, fault.remedy)).collect()
    }

    fn repair(folder: &Path) -> Result<PathBuf, StoreError> {
        Repair::prepare(folder, &mut |_, _, _| {}).unwrap().make()
    }

    /// Changes a store as no store would be changed.
    fn tamper(folder: &Path, change: impl FnOnce(&WriteTransaction)) {
        let database = Database::open(folder.join(FILE_NAME)).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&transaction);
        transaction.commit().unwrap();
    }

    /// Repairs a store, and returns what it has then. The damaged file stays as it was.
    fn repaired(folder: &Path) -> Vec<TokenRecord> {
        let before = fs::read(folder.join(FILE_NAME)).unwrap();
        let kept = repair(folder).unwrap();
        assert!(fs::read(kept).unwrap() == before, "the damaged file was changed");
        let findings = checked(folder);
        assert!(findings.is_whole(), "{:?}", told(&findings));
        let store = EmbeddedStore::open(folder).unwrap();
        let mut pages = ORDERS.map(|by| {
            let query = PageQuery::first(Order { by, is_descending: false });
            let mut records: Vec<_> =
                store.page(&query).unwrap().tokens.into_iter().map(|listed| listed.record).collect();
            records.sort_by_key(|record| record.id);
            records
        });
        assert!(pages[0] == pages[1] && pages[1] == pages[2]);
        std::mem::take(&mut pages[0])
    }

    #[test]
    fn whole_store_is_whole_and_not_changed() {
        for count in [0, 1, 500] {
            let folder = store_of(count);
            let before = fs::read(folder.path().join(FILE_NAME)).unwrap();
            let findings = checked(folder.path());
            assert_eq!(told(&findings), Vec::<String>::new());
            assert_eq!((findings.format, findings.tokens), (Some(2), count));
            assert_eq!((findings.used, findings.spent), (count.div_ceil(3), count / 4));
            assert!(fs::read(folder.path().join(FILE_NAME)).unwrap() == before);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn store_that_a_killed_process_left_is_whole() {
        let (folder, left) = (store_of(30), tempfile::tempdir().unwrap());
        let store = EmbeddedStore::open(folder.path()).unwrap();
        assert_eq!(store.insert(&record(100), Names::MayRepeat).unwrap(), Insertion::Inserted);
        assert!(store.delete(record(7).id, AfterDelete::RefuseDigest).unwrap());
        let uses = Usage { last_used: Timestamp::EPOCH, count: 1, routes: Vec::new() };
        store.record_uses(&[TokenUse { id: record(100).id, usage: uses }]).unwrap();
        assert!(matches!(check(folder.path(), &mut |_, _, _| {}), Err(StoreError::InUse { .. })));
        fs::copy(folder.path().join(FILE_NAME), left.path().join(FILE_NAME)).unwrap();
        let findings = checked(left.path());
        assert_eq!(told(&findings), Vec::<String>::new());
        assert_eq!((findings.tokens, findings.used, findings.spent), (30, 11, 8));
    }

    /// What is done to a store, and what a check tells then.
    type Case = (fn(&WriteTransaction), &'static str);

    #[test]
    fn what_follows_from_the_rows_is_mended_without_loss() {
        let all: Vec<_> = (0..40).map(record).collect();
        let cases: [Case; 6] = [
            (
                |transaction| {
                    let mut table = transaction.open_table(orders::table(OrderBy::Name)).unwrap();
                    table.remove(orders::key_of(OrderBy::Name, &record(3)).as_slice()).unwrap();
                },
                "table `by_name`: 1 entries are missing (Mended)",
            ),
            (
                |transaction| {
                    let key = orders::key_of(OrderBy::Created, &record(77));
                    let mut table = transaction.open_table(orders::table(OrderBy::Created)).unwrap();
                    table.insert(key.as_slice(), ()).unwrap();
                },
                "table `by_created`: 1 entries are of no token that can be read (Mended)",
            ),
            (
                |transaction| {
                    let mut table = transaction.open_table(DIGESTS).unwrap();
                    table.insert(record(3).digest.as_bytes(), record(4).id.get()).unwrap();
                    table.insert(digest(99, 0).as_bytes(), record(99).id.get()).unwrap();
                    table.remove(record(5).digest.as_bytes()).unwrap();
                },
                "table `digests`: 1 entries are missing, 1 entries name another token, \
                 1 entries are of no token that can be read (Mended)",
            ),
            (
                |transaction| {
                    transaction.delete_table(orders::table(OrderBy::Expires)).unwrap();
                },
                "table `by_expires`: it is missing (Mended)",
            ),
            (
                |transaction| {
                    transaction.open_table(META).unwrap().remove("format").unwrap();
                },
                "table `meta`: the format of the store is missing (Mended)",
            ),
            (
                |transaction| {
                    let usage = Usage { last_used: Timestamp::EPOCH, count: 3, routes: Vec::new() };
                    let row = uses::encode(&usage);
                    transaction
                        .open_table(USES)
                        .unwrap()
                        .insert(record(88).id.get(), row.as_slice())
                        .unwrap();
                },
                "table `uses`: it has the use of token 100000000000088, which is not there (LeftOut)",
            ),
        ];
        for (change, expected) in cases {
            let folder = store_of(40);
            tamper(folder.path(), change);
            let findings = checked(folder.path());
            assert!(told(&findings).iter().any(|fault| fault == expected), "{:?}", told(&findings));
            assert_eq!(findings.lost_tokens(), 0, "{expected}");
            assert!(repaired(folder.path()) == all, "{expected}");
        }
    }

    #[test]
    fn row_that_cannot_be_read_is_lost_and_told_by_its_fingerprint() {
        let folder = store_of(40);
        tamper(folder.path(), |transaction| {
            transaction.open_table(TOKENS).unwrap().insert(record(9).id.get(), &b"\x02junk"[..]).unwrap();
        });
        let findings = checked(folder.path());
        let expected = "table `tokens`: the row of token 100000000000009 cannot be read (LeftOut)";
        assert!(told(&findings).iter().any(|fault| fault == expected), "{:?}", told(&findings));
        let lost: Vec<_> = findings.lost.iter().map(|lost| (lost.id, lost.fingerprint.clone())).collect();
        assert_eq!(lost, [(record(9).id, Some(record(9).digest.fingerprint()))]);
        assert!(repaired(folder.path()).into_iter().eq((0..40).filter(|number| *number != 9).map(record)));
    }

    #[test]
    fn tokens_that_share_a_digest_are_left_out_both() {
        let folder = store_of(40);
        let double = TokenRecord { digest: record(3).digest, ..record(8) };
        tamper(folder.path(), |transaction| {
            let row = super::super::row::encode(&double);
            transaction.open_table(TOKENS).unwrap().insert(double.id.get(), row.as_slice()).unwrap();
        });
        let findings = checked(folder.path());
        let lost: Vec<_> = findings.lost.iter().map(|lost| lost.id.get() - TokenId::MIN).collect();
        assert_eq!(lost, [3, 8]);
        assert!(
            repaired(folder.path()).into_iter().eq((0..40).filter(|it| ![3, 8].contains(it)).map(record))
        );
    }

    #[test]
    fn token_whose_digest_is_spent_stays_deleted() {
        let folder = store_of(40);
        tamper(folder.path(), |transaction| {
            transaction.open_table(SPENT).unwrap().insert(record(6).digest.as_bytes(), ()).unwrap();
        });
        let findings = checked(folder.path());
        assert_eq!(findings.lost.iter().map(|lost| lost.why).collect::<Vec<_>>(), ["its digest is spent"]);
        assert!(repaired(folder.path()).into_iter().eq((0..40).filter(|number| *number != 6).map(record)));
        let store = EmbeddedStore::open(folder.path()).unwrap();
        assert!(store.is_spent(&record(6).digest).unwrap());
    }

    /// What a flipped byte did: nothing that anybody would see, a fault that was mended, or one that cannot be.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Harm {
        None,
        Mended,
        Lost,
        BeyondRepair,
    }

    fn harm(folder: &Path, what: &str, all: &[TokenRecord]) -> Harm {
        let findings = match check(folder, &mut |_, _, _| {}) {
            Ok(findings) => findings,
            Err(StoreError::Corrupt { .. }) => return Harm::BeyondRepair,
            Err(error) => panic!("{what}: {error:?}"),
        };
        if findings.is_whole() {
            let store = EmbeddedStore::open(folder).unwrap();
            let mut left = 0;
            store.load(&mut |_| left += 1).unwrap();
            assert_eq!(left, all.len(), "{what}: it passes for whole");
            return Harm::None;
        }
        if !findings.can_be_repaired() {
            assert!(repair(folder).is_err(), "{what}");
            return Harm::BeyondRepair;
        }
        let left = repaired(folder);
        assert!(left.iter().all(|record| all.contains(record)), "{what}: other tokens than there were");
        assert_eq!(
            left.len() + usize::try_from(findings.lost_tokens()).unwrap(),
            all.len(),
            "{what}: {:?}, {:?}",
            told(&findings),
            findings.lost
        );
        if left.len() == all.len() { Harm::Mended } else { Harm::Lost }
    }

    #[test]
    fn damage_anywhere_is_found_or_harmless_and_what_is_left_is_made_whole() {
        let (folder, damaged) = (store_of(60), tempfile::tempdir().unwrap());
        let all: Vec<_> = (0..60).map(record).collect();
        let sound = fs::read(folder.path().join(FILE_NAME)).unwrap();
        let mut seen = std::collections::HashMap::new();
        let mut try_with = |bytes: &[u8], what: &str| {
            fs::remove_dir_all(damaged.path()).unwrap();
            fs::create_dir(damaged.path()).unwrap();
            fs::write(damaged.path().join(FILE_NAME), bytes).unwrap();
            *seen.entry(harm(damaged.path(), what, &all)).or_insert(0) += 1;
        };
        for at in (0..320).chain((320..sound.len()).step_by(FLIP_STRIDE)) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x41;
            try_with(&bytes, &format!("byte {at}"));
        }
        for (page, content) in sound.chunks(4096).enumerate() {
            let mut bytes = sound.clone();
            bytes[page * 4096..][..content.len()].fill(0xa5);
            try_with(&bytes, &format!("page {page}"));
        }
        for length in (9..sound.len()).step_by(5_003) {
            try_with(&sound[..length], &format!("cut to {length}"));
        }
        for harm in [Harm::None, Harm::Mended, Harm::Lost, Harm::BeyondRepair] {
            assert!(seen.contains_key(&harm), "{seen:?}");
        }
    }

    /// Every byte was flipped once by hand; the tests flip some of each page.
    const FLIP_STRIDE: usize = 307;

    #[test]
    fn lost_page_costs_its_tokens_alone_and_names_them() {
        let folder = store_of(3_000);
        let file = folder.path().join(FILE_NAME);
        let bytes = fs::read(&file).unwrap();
        // The text of a role stands in rows alone.
        let at = bytes.windows(5).position(|window| window == b"admin").unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&file, &damaged).unwrap();
        let findings = checked(folder.path());
        assert!(findings.faults.iter().any(|fault| fault.remedy == Remedy::LeftOut), "{:?}", told(&findings));
        assert!(!findings.lost.is_empty() && findings.lost.len() < 100, "{}", findings.lost.len());
        assert_eq!(findings.further_lost, 0);
        for lost in &findings.lost {
            let record = record(lost.id.get() - TokenId::MIN);
            assert_eq!(lost.fingerprint, Some(record.digest.fingerprint()));
        }
        let lost = findings.lost.len();
        repair(folder.path()).unwrap();
        let findings = checked(folder.path());
        assert!(findings.is_whole());
        assert_eq!(usize::try_from(findings.tokens).unwrap() + lost, 3_000);
        // Its uses went with it.
        assert!(findings.used < 1_000);
    }

    #[test]
    fn lost_spent_digests_are_told_with_what_may_come_back() {
        let folder = store_of(3_000);
        let file = folder.path().join(FILE_NAME);
        let mut bytes = fs::read(&file).unwrap();
        let spent = *digest(5, 2).as_bytes();
        let at = bytes.windows(32).position(|window| window == spent).unwrap();
        bytes[at + 20] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let findings = checked(folder.path());
        assert!(findings.spent_lost > 0 && findings.spent_lost < 200, "{}", findings.spent_lost);
        let told = told(&findings).join("\n");
        assert!(told.contains("comes back if the configuration still names it"), "{told}");
        assert_eq!(findings.lost_tokens(), 0);
    }

    #[test]
    fn store_of_format_1_is_whole_and_a_damaged_one_is_repaired_into_the_present_format() {
        let folder = tempfile::tempdir().unwrap();
        let content = include_bytes!("../../../tests/fixtures/store-format-1.redb");
        fs::write(folder.path().join(FILE_NAME), content).unwrap();
        let findings = checked(folder.path());
        assert_eq!((told(&findings), findings.format, findings.tokens), (Vec::new(), Some(1), 6));
        tamper(folder.path(), |transaction| {
            transaction.open_table(DIGESTS).unwrap().remove(&[1; 32]).unwrap();
        });
        assert_eq!(told(&checked(folder.path())), ["table `digests`: 1 entries are missing (Mended)"]);
        assert_eq!(repaired(folder.path()).len(), 6);
        assert_eq!(checked(folder.path()).format, Some(2));
    }

    #[test]
    fn store_of_a_newer_format_and_other_files_are_not_checked() {
        let folder = store_of(3);
        tamper(folder.path(), |transaction| {
            transaction.open_table(META).unwrap().insert("format", 3).unwrap();
        });
        let newer = check(folder.path(), &mut |_, _, _| {});
        assert!(matches!(newer, Err(StoreError::NewerFormat { found: 3, .. })), "{newer:?}");
        fs::write(folder.path().join(FILE_NAME), "something else").unwrap();
        assert!(matches!(check(folder.path(), &mut |_, _, _| {}), Err(StoreError::Corrupt { .. })));
        let missing = check(&folder.path().join("none"), &mut |_, _, _| {});
        assert!(matches!(missing, Err(StoreError::Io { action: "open", .. })), "{missing:?}");
    }

    /// Alters a byte of the file where these bytes stand first.
    fn alter(folder: &Path, wanted: &[u8]) -> Vec<u8> {
        let file = folder.join(FILE_NAME);
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
        bytes[at + wanted.len() / 2] ^= 1;
        fs::write(&file, &bytes).unwrap();
        bytes
    }

    #[test]
    fn repair_that_would_lose_more_than_was_told_changes_nothing() {
        for wanted in [&b"admin"[..], digest(5, 2).as_bytes()] {
            let folder = store_of(3_000);
            tamper(folder.path(), |transaction| {
                transaction.delete_table(orders::table(OrderBy::Name)).unwrap();
            });
            let repair = Repair::prepare(folder.path(), &mut |_, _, _| {}).unwrap();
            assert_eq!((repair.findings().lost_tokens(), repair.findings().spent_lost), (0, 0));
            // A disk that fails reads a page once, and then no more.
            let altered = alter(folder.path(), wanted);
            let error = repair.make().unwrap_err().to_string();
            assert!(error.contains("when they were read again"), "{error}");
            assert!(fs::read(folder.path().join(FILE_NAME)).unwrap() == altered);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn new_file_belongs_to_whom_the_one_before_did_or_else_the_folder() {
        let folder = store_of(3);
        let file = folder.path().join(FILE_NAME);
        tamper(folder.path(), |transaction| {
            transaction.delete_table(orders::table(OrderBy::Name)).unwrap();
        });
        // Only the superuser can give it away, and whoever is not keeps it.
        let _ = chown(&file, Some(4_242), Some(4_343));
        let owner = |path: &Path| fs::metadata(path).map(|file| (file.uid(), file.gid())).unwrap();
        let before = owner(&file);
        let kept = repair(folder.path()).unwrap();
        assert_eq!((owner(&file), owner(&kept)), (before, before));

        // A store that is made where there was none belongs to whom the folder does.
        let empty = tempfile::tempdir().unwrap();
        let _ = chown(empty.path(), Some(4_242), Some(4_343));
        drop(EmbeddedStore::open(empty.path()).unwrap());
        assert_eq!(owner(&empty.path().join(FILE_NAME)), owner(empty.path()));
    }

    /// A way to look at a store.
    type Way = fn(&Path) -> Result<(), StoreError>;

    #[test]
    fn folder_is_locked_before_its_file_is_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Place::of(folder.path()).lock_folder().unwrap();
        let ways: [Way; 3] = [
            |folder| check(folder, &mut |_, _, _| {}).map(drop),
            |folder| Repair::prepare(folder, &mut |_, _, _| {}).map(drop),
            |folder| StoreView::open(folder).map(drop),
        ];
        for way in ways {
            let error = way(folder.path()).unwrap_err();
            assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
        }
        drop(lock);
        for way in ways {
            let error = way(folder.path()).unwrap_err();
            assert!(matches!(error, StoreError::Io { action: "open", .. }), "{error:?}");
        }
    }
}
