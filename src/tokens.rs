//! The index: every token in memory, so that authentication never waits for a store.

use crate::request::{Credential, Unusable};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::token::{Principal, RoleName, SecretKind, TokenDigest, TokenId, TokenRecord};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// The tokens of one store, in memory.
#[derive(Debug, Default)]
pub struct TokenIndex {
    /// What authentication looks at: it takes no lock, so that neither other requests nor a change can hold it up.
    // A probe of this map takes a time that depends on the digest alone. Whoever guesses a secret does
    // not choose the bytes of its SHA-256, so how far a comparison went tells nothing about the secret.
    by_digest: papaya::HashMap<TokenDigest, Arc<Entry>, BuildHasherDefault<DigestHasher>>,
    /// What changes and lists look at. Whoever changes `by_digest` holds this lock.
    orders: RwLock<Orders>,
    /// How many tokens an operator chose: while there is none, no chosen text needs a look-up.
    chosen: AtomicUsize,
}

/// Why a credential is no live token. The client is told none of it; the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// There was no credential.
    #[error("the request carries no token")]
    Missing,
    /// The credential cannot be a live token, whatever tokens there are.
    #[error(transparent)]
    Unusable(Unusable),
    /// There is no such token.
    #[error("the token is not known")]
    Unknown,
    /// The token has expired.
    #[error("the token {0} has expired")]
    Expired(TokenId),
}

#[derive(Debug, Default)]
struct Orders {
    by_id: HashMap<TokenId, Arc<Entry>>,
    by_age: BTreeMap<(Timestamp, TokenId), Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    record: TokenRecord,
    principal: Principal,
    /// Set when the token is first seen expired and never cleared: a clock that jumps back does not revive it.
    seen_expired: AtomicBool,
}

/// Takes the first bytes of a digest for its hash. They are as random as any: nobody chooses a token by them.
#[derive(Clone, Copy, Debug, Default)]
struct DigestHasher(u64);

impl TokenIndex {
    /// An index without tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// An index of all that the store holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let index = Self::new();
        store.load(&mut |record| index.insert(record))?;
        Ok(index)
    }

    /// Who presents this credential.
    ///
    /// # Errors
    /// When it is no live token at `now`; see [`Unauthenticated`].
    pub fn authenticate(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Principal, Unauthenticated> {
        let (secret, kind) = match credential {
            Credential::Missing => return Err(Unauthenticated::Missing),
            Credential::Unusable(why) => return Err(Unauthenticated::Unusable(*why)),
            Credential::Token(secret, kind) => (secret, *kind),
        };
        if kind == SecretKind::Chosen && self.chosen.load(Ordering::Acquire) == 0 {
            return Err(Unauthenticated::Unknown);
        }
        let digest = secret.digest();
        let by_digest = self.by_digest.pin();
        let entry = by_digest.get(&digest).ok_or(Unauthenticated::Unknown)?;
        if entry.is_live(now) {
            return Ok(entry.principal.clone());
        }
        let id = entry.record.id;
        // Updates may have put other entries in this one's place since, with the mark as it was before. An update
        // looks at the mark again once its entry is in place, so what is still in place here is the last to mark.
        let mut seen = entry;
        loop {
            fence(Ordering::SeqCst);
            match by_digest.get(&digest).filter(|now| now.record.id == id && !Arc::ptr_eq(now, seen)) {
                Some(successor) => {
                    successor.seen_expired.store(true, Ordering::SeqCst);
                    seen = successor;
                }
                None => break,
            }
        }
        Err(Unauthenticated::Expired(id))
    }

    /// Adds a token; one that has the same id or the same digest makes room for it.
    pub fn insert(&self, record: TokenRecord) {
        let orders = &mut *self.orders.write();
        let same_digest = self.by_digest.pin().get(&record.digest).map(|entry| entry.record.id);
        let displaced = [Some(record.id), same_digest].map(|id| orders.take(id?));
        let entry = Arc::new(Entry::new(record, false));
        for former in displaced.iter().flatten().filter(|former| former.record.digest != entry.record.digest)
        {
            self.by_digest.pin().remove(&former.record.digest);
        }
        self.put(orders, &entry);
        displaced.iter().flatten().for_each(|former| self.forget_kind(former));
    }

    /// Replaces the token that has this id and this digest; `false` when there is none. A token that was
    /// seen expired stays so, whatever its new expiry says.
    pub fn update(&self, record: TokenRecord) -> bool {
        let orders = &mut *self.orders.write();
        if orders.by_id.get(&record.id).is_none_or(|entry| entry.record.digest != record.digest) {
            return false;
        }
        let Some(before) = orders.take(record.id) else { return false };
        let entry = Arc::new(Entry::new(record, before.seen_expired.load(Ordering::SeqCst)));
        self.put(orders, &entry);
        // Whoever saw the former entry expired meanwhile has either marked it by now, or will find the new one.
        fence(Ordering::SeqCst);
        if before.seen_expired.load(Ordering::SeqCst) {
            entry.seen_expired.store(true, Ordering::SeqCst);
        }
        self.forget_kind(&before);
        true
    }

    /// Removes a token. When this returns, the token authenticates nobody any more.
    pub fn remove(&self, id: TokenId) -> Option<TokenRecord> {
        let orders = &mut *self.orders.write();
        let entry = orders.take(id)?;
        self.by_digest.pin().remove(&entry.record.digest);
        self.forget_kind(&entry);
        Some(entry.record.clone())
    }

    /// Whether the token with this id would be let in at `now`.
    pub fn is_live(&self, id: TokenId, now: Timestamp) -> bool {
        self.orders.read().by_id.get(&id).is_some_and(|entry| entry.is_live(now))
    }

    /// The token with this id.
    pub fn get(&self, id: TokenId) -> Option<TokenRecord> {
        self.orders.read().by_id.get(&id).map(|entry| entry.record.clone())
    }

    /// The token with this digest.
    pub fn get_by_digest(&self, digest: &TokenDigest) -> Option<TokenRecord> {
        self.by_digest.pin().get(digest).map(|entry| entry.record.clone())
    }

    /// All tokens, the oldest first, and by id where they are of one age.
    pub fn list(&self) -> Vec<TokenRecord> {
        // The entries are shared out under the lock and copied after it, so that writers wait briefly.
        let entries: Vec<Arc<Entry>> = self.orders.read().by_age.values().map(Arc::clone).collect();
        entries.iter().map(|entry| entry.record.clone()).collect()
    }

    /// Looks at each role of each token that is live at `now`.
    pub fn each_role(&self, now: Timestamp, mut look: impl FnMut(&RoleName)) {
        let orders = self.orders.read();
        let live = orders.by_id.values().filter(|entry| !entry.record.is_expired(now));
        live.flat_map(|entry| &entry.record.roles).for_each(&mut look);
    }

    /// How many tokens there are, the expired ones among them.
    pub fn len(&self) -> usize {
        self.orders.read().by_id.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an entry in its places. In `by_digest` it follows another one in one step: a token that is changed
    /// is known all the while.
    fn put(&self, orders: &mut Orders, entry: &Arc<Entry>) {
        if entry.record.kind == SecretKind::Chosen {
            self.chosen.fetch_add(1, Ordering::SeqCst);
        }
        orders.by_age.insert((entry.record.created, entry.record.id), Arc::clone(entry));
        orders.by_id.insert(entry.record.id, Arc::clone(entry));
        self.by_digest.pin().insert(entry.record.digest, Arc::clone(entry));
    }

    /// Counts one token less, once it is in none of its places any more.
    fn forget_kind(&self, entry: &Entry) {
        if entry.record.kind == SecretKind::Chosen {
            self.chosen.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Orders {
    fn take(&mut self, id: TokenId) -> Option<Arc<Entry>> {
        let entry = self.by_id.remove(&id)?;
        self.by_age.remove(&(entry.record.created, id));
        Some(entry)
    }
}

impl Entry {
    fn new(record: TokenRecord, seen_expired: bool) -> Self {
        Self { principal: record.principal(), record, seen_expired: AtomicBool::new(seen_expired) }
    }

    fn is_live(&self, now: Timestamp) -> bool {
        if self.seen_expired.load(Ordering::Relaxed) {
            return false;
        }
        let is_expired = self.record.is_expired(now);
        if is_expired {
            self.seen_expired.store(true, Ordering::SeqCst);
        }
        !is_expired
    }
}

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Names;
    use crate::store::memory::MemoryStore;
    use crate::token::{RoleName, Secret, TokenOrigin};
    use std::thread;

    const CHOSEN: &str = "a-token-that-its-operator-chose";

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn record(credential: &Credential, expires: Option<i64>) -> TokenRecord {
        let Credential::Token(secret, kind) = credential else { panic!("no token: {credential:?}") };
        TokenRecord {
            id: TokenId::generate().unwrap(),
            digest: secret.digest(),
            kind: *kind,
            origin: TokenOrigin::Api,
            name: "ci".into(),
            description: None,
            roles: vec![RoleName::parse("guest").unwrap()],
            dedicated_subject: None,
            disabled: None,
            former: None,
            created: at(0),
            updated: at(0),
            expires: expires.map(at),
        }
    }

    fn generated() -> Credential {
        Credential::read(Secret::generate().unwrap().expose())
    }

    fn index_with(credential: &Credential, expires: Option<i64>) -> (TokenIndex, TokenRecord) {
        let (index, record) = (TokenIndex::new(), record(credential, expires));
        index.insert(record.clone());
        (index, record)
    }

    #[test]
    fn live_token_is_told_by_id_name_and_roles() {
        for credential in [generated(), Credential::read(CHOSEN)] {
            let (index, record) = index_with(&credential, None);
            assert_eq!(index.authenticate(&credential, at(5)), Ok(record.principal()));
        }
    }

    #[test]
    fn index_holds_what_the_store_holds() {
        let (store, credential) = (MemoryStore::new(), generated());
        let record = record(&credential, None);
        let _ = store.insert(&record, Names::MayRepeat).unwrap();
        let index = TokenIndex::load(&store).unwrap();
        assert_eq!(index.list(), std::slice::from_ref(&record));
        assert_eq!(index.get_by_digest(&record.digest), index.get(record.id));
        assert!(index.authenticate(&credential, at(0)).is_ok());
    }

    #[test]
    fn what_is_no_live_token_is_refused_with_its_cause() {
        let (index, _) = index_with(&Credential::read(CHOSEN), None);
        assert_eq!(index.authenticate(&Credential::Missing, at(0)), Err(Unauthenticated::Missing));
        let unusable = Credential::Unusable(Unusable::Scheme);
        assert_eq!(index.authenticate(&unusable, at(0)), Err(Unauthenticated::Unusable(Unusable::Scheme)));
        let other = Credential::read("another-token-that-nobody-knows");
        assert_eq!(index.authenticate(&other, at(0)), Err(Unauthenticated::Unknown));
        assert_eq!(index.authenticate(&generated(), at(0)), Err(Unauthenticated::Unknown));
    }

    #[test]
    fn chosen_text_is_looked_up_while_a_chosen_token_exists() {
        let credential = Credential::read(CHOSEN);
        // The record claims to be generated, so that only a look-up could find it.
        let disguised = TokenRecord { kind: SecretKind::Generated, ..record(&credential, None) };
        let index = TokenIndex::new();
        index.insert(disguised);
        assert_eq!(index.authenticate(&credential, at(0)), Err(Unauthenticated::Unknown));

        let chosen = record(&Credential::read("another-token-of-the-operator"), None);
        index.insert(chosen.clone());
        assert!(index.authenticate(&credential, at(0)).is_ok());
        index.update(TokenRecord { name: "renamed".into(), ..chosen.clone() });
        assert!(index.authenticate(&credential, at(0)).is_ok());
        index.remove(chosen.id);
        assert_eq!(index.authenticate(&credential, at(0)), Err(Unauthenticated::Unknown));
    }

    #[test]
    fn token_lives_up_to_the_millisecond_before_its_expiry() {
        let credential = generated();
        let (index, record) = index_with(&credential, Some(1_000));
        assert!(index.authenticate(&credential, at(999)).is_ok());
        assert!(index.is_live(record.id, at(999)));
        assert_eq!(index.authenticate(&credential, at(1_000)), Err(Unauthenticated::Expired(record.id)));
        assert!(!index.is_live(record.id, at(1_000)) && !index.is_live(record.id, at(999)));
    }

    #[test]
    fn token_seen_expired_stays_so_when_the_clock_jumps_back() {
        let credential = generated();
        let (index, record) = index_with(&credential, Some(1_000));
        let expired = Err(Unauthenticated::Expired(record.id));
        assert_eq!(index.authenticate(&credential, at(1_000)), expired);
        assert_eq!(index.authenticate(&credential, at(10)), expired);
        index.update(TokenRecord { expires: None, ..record });
        assert_eq!(index.authenticate(&credential, at(10)), expired);
    }

    #[test]
    fn clock_that_jumps_forward_and_back_hurts_no_token_that_was_not_used_meanwhile() {
        let (used, unused) = (generated(), generated());
        let (index, _) = index_with(&used, Some(1_000));
        index.insert(record(&unused, Some(1_000)));
        assert!(index.authenticate(&used, at(2_000)).is_err());
        assert!(index.authenticate(&unused, at(10)).is_ok());
    }

    #[test]
    fn update_changes_roles_at_once_and_keeps_the_digest() {
        let credential = generated();
        let (index, before) = index_with(&credential, None);
        let after = TokenRecord { roles: vec![RoleName::parse("admin").unwrap()], ..before.clone() };
        assert!(index.update(after.clone()));
        assert_eq!(index.authenticate(&credential, at(0)).unwrap().roles.as_ref(), after.roles);
        assert!(!index.update(TokenRecord { digest: TokenDigest::from_bytes([1; 32]), ..after.clone() }));
        assert!(!index.update(TokenRecord { id: TokenId::generate().unwrap(), ..after.clone() }));
        assert_eq!(index.list(), [after]);
    }

    #[test]
    fn inserting_an_id_or_digest_again_leaves_no_trace_of_the_old_token() {
        let (first, second) = (generated(), generated());
        let (index, record_first) = index_with(&first, None);
        let record_second = TokenRecord { id: record_first.id, ..record(&second, None) };
        index.insert(record_second.clone());
        assert_eq!(index.authenticate(&first, at(0)), Err(Unauthenticated::Unknown));
        assert_eq!(index.list(), std::slice::from_ref(&record_second));

        let renumbered = TokenRecord { id: TokenId::generate().unwrap(), ..record_second.clone() };
        index.insert(renumbered.clone());
        assert_eq!((index.get(record_second.id), index.len()), (None, 1));
        assert_eq!(index.list(), [renumbered]);
    }

    #[test]
    fn list_is_in_order_of_creation_then_id() {
        let index = TokenIndex::new();
        let mut expected = Vec::new();
        for created in [5, 3, 3, 9, 1] {
            let token = TokenRecord { created: at(created), ..record(&generated(), None) };
            index.insert(token.clone());
            expected.push(token);
        }
        expected.sort_by_key(|token| (token.created, token.id));
        assert_eq!(index.list(), expected);
        assert!(!index.is_empty() && TokenIndex::new().is_empty());
    }

    #[test]
    fn removal_is_in_force_when_remove_returns() {
        const TOKENS: usize = 300;
        let index = TokenIndex::new();
        let credentials: Vec<Credential> = (0..TOKENS).map(|_| generated()).collect();
        let records: Vec<TokenRecord> = credentials.iter().map(|c| record(c, None)).collect();
        records.iter().for_each(|record| index.insert(record.clone()));
        let removed = AtomicUsize::new(0);

        thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut refused = 0;
                        loop {
                            // Everything below this mark was removed before the question is asked.
                            let mark = removed.load(Ordering::SeqCst);
                            for credential in &credentials[mark.saturating_sub(8)..mark] {
                                assert_eq!(
                                    index.authenticate(credential, at(0)),
                                    Err(Unauthenticated::Unknown)
                                );
                                refused += 1;
                            }
                            if mark == TOKENS {
                                return refused;
                            }
                        }
                    })
                })
                .collect();
            for (at, record) in records.iter().enumerate() {
                assert_eq!(index.remove(record.id).as_ref(), Some(record));
                removed.store(at + 1, Ordering::SeqCst);
            }
            assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
        });
        assert!(index.is_empty() && index.remove(records[0].id).is_none());
    }

    #[test]
    fn token_is_known_all_the_while_it_is_updated() {
        let credential = Credential::read(CHOSEN);
        let (index, record) = index_with(&credential, None);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut admitted = 0;
                while !is_over.load(Ordering::SeqCst) || admitted == 0 {
                    assert_eq!(index.authenticate(&credential, at(0)).map(|known| known.id), Ok(record.id));
                    admitted += 1;
                }
            });
            for number in 0..2_000 {
                assert!(index.update(TokenRecord { updated: at(number), ..record.clone() }));
                index.insert(TokenRecord { updated: at(number), ..record.clone() });
            }
            is_over.store(true, Ordering::SeqCst);
            reader.join().unwrap();
        });
        assert_eq!((index.len(), index.chosen.load(Ordering::SeqCst)), (1, 1));
    }

    #[test]
    fn token_that_is_seen_expired_during_an_update_stays_so() {
        for _ in 0..500 {
            let credential = generated();
            let (index, record) = index_with(&credential, Some(1_000));
            let refused = thread::scope(|scope| {
                let reader = scope.spawn(|| index.authenticate(&credential, at(2_000)).is_err());
                for expires in [1_000; 20].into_iter().chain([9_000]) {
                    assert!(index.update(TokenRecord { expires: Some(at(expires)), ..record.clone() }));
                }
                reader.join().unwrap()
            });
            assert_eq!(index.authenticate(&credential, at(500)).is_err(), refused);
        }
    }
}
