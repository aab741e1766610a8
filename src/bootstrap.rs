//! Which tokens the configuration asks for, and what has to change so that they are there. Nothing is done here.

mod report;

use crate::store::{AfterDelete, StoreError};
use crate::time::Timestamp;
use crate::token::{RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// The name of the bootstrap token.
pub const BOOTSTRAP_NAME: &str = "bootstrap";

/// The tokens that a configuration asks for.
#[derive(Clone, Debug, Default)]
pub struct Provision {
    /// The bootstrap token.
    pub bootstrap: Option<BootstrapBlock>,
    /// Tokens that are declared by their digest.
    pub declared: Vec<DeclaredToken>,
}

/// The bootstrap token as the configuration describes it.
#[derive(Clone, Debug)]
pub struct BootstrapBlock {
    /// What is kept of its secret.
    pub digest: TokenDigest,
    /// How the secret came to be.
    pub kind: SecretKind,
    /// The roles it holds.
    pub roles: Vec<RoleName>,
    /// How long it lives from its creation; `None` is for ever.
    pub ttl: Option<Duration>,
}

/// A token whose digest stands in the configuration.
#[derive(Clone, Debug)]
pub struct DeclaredToken {
    /// What is kept of its secret.
    pub digest: TokenDigest,
    /// Its name.
    pub name: String,
    /// The roles it holds.
    pub roles: Vec<RoleName>,
    /// When it expires; `None` is never.
    pub expires: Option<Timestamp>,
}

/// What has to change, and what the operator should know besides.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The changes, to be made in this order: deletions, updates, creations.
    pub steps: Vec<Step>,
    /// What needs no change, and why.
    pub notices: Vec<Notice>,
}

/// One change. Shown, it is the log line that tells that it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates this token. When the store answers that the digest is taken, another process created it
    /// at the same moment: that is [`Notice::CreatedElsewhere`] and no error.
    Create(TokenRecord),
    /// Changes a token.
    Update {
        /// As it is.
        before: Box<TokenRecord>,
        /// As it has to be.
        after: Box<TokenRecord>,
    },
    /// Deletes a token.
    Delete(TokenRecord, AfterDelete),
}

/// What an operator should know of a token that is not changed. Shown, it is one log line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The token is there as it is configured.
    Unchanged(TokenRecord),
    /// The configuration has no bootstrap token any more; the old one lives on.
    BlockGone(TokenRecord),
    /// The bootstrap token has expired; whatever its ttl is now, it is not revived.
    Expired(TokenRecord),
    /// The token was deleted, and is not created again.
    Deleted(Asked),
    /// A declared token would have expired before it is created.
    ExpiredBefore(Asked),
    /// The same secret is a token that was created through the API; the configuration does not rule it.
    OwnedByApi(TokenRecord),
    /// Another process created the token at the same moment.
    CreatedElsewhere(TokenRecord),
}

/// A configured token that has no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    name: String,
    fingerprint: String,
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The configuration names one token twice.
    #[error(
        "the token with fingerprint `{fingerprint}` is configured twice, the second time as `{name}`: \
         remove one of the two"
    )]
    Repeated {
        /// The start of the token's digest.
        fingerprint: String,
        /// The name under which it stands a second time.
        name: String,
    },
    /// The store does not tell which digests are spent.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system has no randomness for an id.
    #[error("cannot make a token id: {0}")]
    Randomness(#[from] rand::rngs::SysError),
}

/// Compares the configuration with the tokens that exist.
///
/// `existing` has to hold every token that came from a configuration and every token whose digest is in
/// `provision`; others are ignored.
///
/// # Errors
/// When a token is configured twice, or the store fails.
pub fn plan(
    provision: &Provision,
    existing: &[TokenRecord],
    is_spent: impl Fn(&TokenDigest) -> Result<bool, StoreError>,
    now: Timestamp,
) -> Result<Plan, PlanError> {
    let asked = provision.digests()?;
    let by_digest = existing.iter().map(|record| (record.digest, record)).collect();
    let mut planner = Planner { by_digest, is_spent, now, plan: Plan::default() };
    planner.retire(provision, existing, &asked);
    if let Some(block) = &provision.bootstrap {
        planner.bootstrap(block)?;
    }
    for token in &provision.declared {
        planner.declared(token)?;
    }
    planner.plan.steps.sort_by_key(Step::turn);
    Ok(planner.plan)
}

struct Planner<'a, S> {
    by_digest: HashMap<TokenDigest, &'a TokenRecord>,
    is_spent: S,
    now: Timestamp,
    plan: Plan,
}

impl<S: Fn(&TokenDigest) -> Result<bool, StoreError>> Planner<'_, S> {
    /// Deletes what came from the configuration and is no longer in it.
    fn retire(&mut self, provision: &Provision, existing: &[TokenRecord], asked: &HashSet<TokenDigest>) {
        let block = provision.bootstrap.as_ref().map(|block| block.digest);
        for record in existing {
            match record.origin {
                // A declared token that becomes the bootstrap token starts its life anew as that.
                TokenOrigin::Declared if !asked.contains(&record.digest) || block == Some(record.digest) => {
                    self.by_digest.remove(&record.digest);
                    self.step(Step::Delete(record.clone(), AfterDelete::ForgetDigest));
                }
                TokenOrigin::Bootstrap if !asked.contains(&record.digest) => match block {
                    Some(_) => self.step(Step::Delete(record.clone(), AfterDelete::RefuseDigest)),
                    None if record.is_expired(self.now) => {}
                    None => self.notice(Notice::BlockGone(record.clone())),
                },
                TokenOrigin::Declared | TokenOrigin::Bootstrap | TokenOrigin::Api => {}
            }
        }
    }

    fn bootstrap(&mut self, block: &BootstrapBlock) -> Result<(), PlanError> {
        let Some(before) = self.by_digest.get(&block.digest).copied() else {
            let expires = block.ttl.map(|ttl| self.now.saturating_add(ttl));
            return self.create(Wanted {
                digest: block.digest,
                kind: block.kind,
                origin: TokenOrigin::Bootstrap,
                name: BOOTSTRAP_NAME,
                roles: &block.roles,
                expires,
            });
        };
        // Its life counts from its creation, whatever the ttl was when it was created.
        let expires = block.ttl.map(|ttl| before.created.saturating_add(ttl));
        self.keep(before, TokenOrigin::Bootstrap, BOOTSTRAP_NAME, &block.roles, expires);
        Ok(())
    }

    fn declared(&mut self, token: &DeclaredToken) -> Result<(), PlanError> {
        match self.by_digest.get(&token.digest).copied() {
            Some(before) => {
                self.keep(before, TokenOrigin::Declared, &token.name, &token.roles, token.expires);
                Ok(())
            }
            None => self.create(Wanted {
                digest: token.digest,
                // A digest does not tell how its secret came to be, and a chosen one may be anything.
                kind: SecretKind::Chosen,
                origin: TokenOrigin::Declared,
                name: &token.name,
                roles: &token.roles,
                expires: token.expires,
            }),
        }
    }

    /// Brings a token that exists to what is asked of it.
    fn keep(
        &mut self,
        before: &TokenRecord,
        origin: TokenOrigin,
        name: &str,
        roles: &[RoleName],
        expires: Option<Timestamp>,
    ) {
        match before.origin {
            TokenOrigin::Api => return self.notice(Notice::OwnedByApi(before.clone())),
            TokenOrigin::Bootstrap if before.is_expired(self.now) => {
                return self.notice(Notice::Expired(before.clone()));
            }
            TokenOrigin::Bootstrap | TokenOrigin::Declared => {}
        }
        let mut after = TokenRecord { origin, name: name.to_owned(), expires, ..before.clone() };
        if !are_same(&before.roles, roles) {
            after.roles = roles.to_vec();
        }
        if after == *before {
            return self.notice(Notice::Unchanged(after));
        }
        after.updated = self.now;
        self.step(Step::Update { before: Box::new(before.clone()), after: Box::new(after) });
    }

    fn create(&mut self, wanted: Wanted<'_>) -> Result<(), PlanError> {
        let asked = Asked { name: wanted.name.to_owned(), fingerprint: wanted.digest.fingerprint() };
        if (self.is_spent)(&wanted.digest)? {
            self.notice(Notice::Deleted(asked));
            return Ok(());
        }
        // A ttl of zero is for the configuration to refuse; an expiry can pass while nobody looks.
        if wanted.expires.is_some_and(|expires| expires <= self.now) {
            self.notice(Notice::ExpiredBefore(asked));
            return Ok(());
        }
        let record = TokenRecord {
            id: TokenId::generate()?,
            digest: wanted.digest,
            kind: wanted.kind,
            origin: wanted.origin,
            name: wanted.name.to_owned(),
            description: None,
            roles: wanted.roles.to_vec(),
            dedicated_subject: None,
            disabled: None,
            former: None,
            created: self.now,
            updated: self.now,
            expires: wanted.expires,
        };
        self.step(Step::Create(record));
        Ok(())
    }

    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    fn notice(&mut self, notice: Notice) {
        self.plan.notices.push(notice);
    }
}

/// A token to be created.
struct Wanted<'a> {
    digest: TokenDigest,
    kind: SecretKind,
    origin: TokenOrigin,
    name: &'a str,
    roles: &'a [RoleName],
    expires: Option<Timestamp>,
}

impl Provision {
    /// The digests of all configured tokens.
    fn digests(&self) -> Result<HashSet<TokenDigest>, PlanError> {
        let bootstrap = self.bootstrap.iter().map(|block| (block.digest, BOOTSTRAP_NAME));
        let declared = self.declared.iter().map(|token| (token.digest, token.name.as_str()));
        let mut digests = HashSet::new();
        for (digest, name) in bootstrap.chain(declared) {
            if !digests.insert(digest) {
                return Err(PlanError::Repeated { fingerprint: digest.fingerprint(), name: name.to_owned() });
            }
        }
        Ok(digests)
    }
}

impl Step {
    /// Deletions come first, so that a token can come back in another form.
    const fn turn(&self) -> u8 {
        match self {
            Self::Delete(..) => 0,
            Self::Update { .. } => 1,
            Self::Create(_) => 2,
        }
    }
}

impl Notice {
    /// Whether a token that the configuration asks for is not there as it asks.
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::Unchanged(_) | Self::BlockGone(_) | Self::CreatedElsewhere(_) => false,
            Self::Expired(_) | Self::Deleted(_) | Self::ExpiredBefore(_) | Self::OwnedByApi(_) => true,
        }
    }
}

impl Asked {
    /// The token of this record, which is not there.
    pub fn of(record: &TokenRecord) -> Self {
        Self { name: record.name.clone(), fingerprint: record.digest.fingerprint() }
    }
}

/// Whether both name the same roles; neither order nor repetition counts.
fn are_same(left: &[RoleName], right: &[RoleName]) -> bool {
    left.iter().collect::<BTreeSet<_>>() == right.iter().collect::<BTreeSet<_>>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::{Insertion, Names, Store, Update};

    const DAY: i64 = 86_400_000;
    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn days(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count * 86_400))
    }

    fn digest(number: u8) -> TokenDigest {
        TokenDigest::from_bytes([number; 32])
    }

    fn roles(names: &[&str]) -> Vec<RoleName> {
        names.iter().map(|name| RoleName::parse(name).unwrap()).collect()
    }

    fn block(number: u8, names: &[&str], ttl: Option<Duration>) -> Provision {
        let block =
            BootstrapBlock { digest: digest(number), kind: SecretKind::Chosen, roles: roles(names), ttl };
        Provision { bootstrap: Some(block), declared: Vec::new() }
    }

    fn declared(number: u8, name: &str, names: &[&str], expires: Option<i64>) -> DeclaredToken {
        let (digest, roles) = (digest(number), roles(names));
        DeclaredToken { digest, name: name.into(), roles, expires: expires.map(at) }
    }

    fn declaring(declared: &[DeclaredToken]) -> Provision {
        Provision { bootstrap: None, declared: declared.to_vec() }
    }

    fn all(store: &MemoryStore) -> Vec<TokenRecord> {
        let mut all = Vec::new();
        store.load(&mut |token| all.push(token.to_record())).unwrap();
        all.sort_by_key(|record| record.digest.fingerprint());
        all
    }

    /// Plans a start and carries it out; the log lines with ids hidden.
    fn start(store: &MemoryStore, provision: &Provision, now: i64) -> Vec<String> {
        let plan = plan(provision, &all(store), |digest| store.is_spent(digest), at(now)).unwrap();
        let mut lines = Vec::new();
        let mut say = |line: String, id: Option<TokenId>| {
            lines.push(id.map_or(line.clone(), |id| line.replace(&id.to_string(), "ID")));
        };
        for step in &plan.steps {
            let id = match step {
                Step::Create(record) => {
                    assert_eq!(store.insert(record, Names::MayRepeat).unwrap(), Insertion::Inserted);
                    record.id
                }
                Step::Update { before, after } => {
                    assert_eq!((before.id, before.digest), (after.id, after.digest));
                    assert_eq!(store.update(before, after, Names::MayRepeat).unwrap(), Update::Done);
                    after.id
                }
                Step::Delete(record, after) => {
                    assert!(store.delete(record.id, *after).unwrap());
                    record.id
                }
            };
            say(step.to_string(), Some(id));
        }
        for notice in &plan.notices {
            let id = match notice {
                Notice::Unchanged(r) | Notice::BlockGone(r) | Notice::Expired(r) | Notice::OwnedByApi(r) => {
                    Some(r.id)
                }
                Notice::Deleted(_) | Notice::ExpiredBefore(_) | Notice::CreatedElsewhere(_) => None,
            };
            say(notice.to_string(), id);
        }
        lines
    }

    #[test]
    fn first_start_creates_the_bootstrap_token_and_its_life_counts_from_then() {
        let store = MemoryStore::new();
        let lines = start(&store, &block(1, &["admin", "guest"], days(1)), 5);
        assert_eq!(
            lines,
            ["created token ID `bootstrap` with roles admin, guest, expires at 1970-01-02T00:00:00.005Z"]
        );
        let token = &all(&store)[0];
        assert_eq!((token.name.as_str(), token.origin), ("bootstrap", TokenOrigin::Bootstrap));
        assert_eq!((token.created, token.expires), (at(5), Some(at(DAY + 5))));
    }

    #[test]
    fn restart_with_the_same_block_changes_nothing() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin", "guest"], days(1)), 0);
        let before = all(&store);
        let lines = start(&store, &block(1, &["guest", "admin", "guest"], days(1)), DAY - 1);
        assert_eq!(
            lines,
            ["token ID `bootstrap` is there, with roles admin, guest, expires at 1970-01-02T00:00:00.000Z"]
        );
        assert_eq!(all(&store), before);
    }

    #[test]
    fn token_that_expired_is_not_created_again_nor_revived_by_a_longer_ttl() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin"], days(1)), 0);
        let before = all(&store);
        for ttl in [days(1), days(9), None] {
            let lines = start(&store, &block(1, &["other"], ttl), DAY);
            assert_eq!(
                lines,
                ["token ID `bootstrap` has expired and is not revived: configure another token in its place"]
            );
            assert_eq!(all(&store), before);
        }
    }

    #[test]
    fn token_that_was_deleted_is_not_created_again() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin"], None), 0);
        store.delete(all(&store)[0].id, AfterDelete::RefuseDigest).unwrap();
        let lines = start(&store, &block(1, &["admin"], None), 1);
        assert_eq!(
            lines,
            ["token `bootstrap` with fingerprint 01010101 was deleted and is not created again: \
              configure another token in its place"]
        );
        assert_eq!(all(&store), []);
    }

    #[test]
    fn changed_roles_are_taken_over_and_the_expiry_stays() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin"], days(1)), 0);
        let lines = start(&store, &block(1, &["guest"], days(1)), 7);
        assert_eq!(lines, ["updated token ID `bootstrap`: it now has role guest"]);
        let token = &all(&store)[0];
        assert_eq!(
            (&token.roles, token.created, token.updated, token.expires),
            (&roles(&["guest"]), at(0), at(7), Some(at(DAY)))
        );
    }

    #[test]
    fn changed_ttl_counts_from_creation() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin"], days(1)), 0);
        let lines = start(&store, &block(1, &["admin"], days(2)), DAY / 2);
        assert_eq!(lines, ["updated token ID `bootstrap`: it now expires at 1970-01-03T00:00:00.000Z"]);
        let lines = start(&store, &block(1, &["admin"], None), DAY / 2);
        assert_eq!(lines, ["updated token ID `bootstrap`: it now never expires"]);
        let lines = start(&store, &block(1, &[], days(3)), DAY / 2);
        assert_eq!(
            lines,
            ["updated token ID `bootstrap`: it now has no roles, it now expires at 1970-01-04T00:00:00.000Z"]
        );
    }

    #[test]
    fn ttl_that_has_passed_since_creation_expires_the_token_now() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin"], days(9)), 0);
        let lines = start(&store, &block(1, &["admin"], days(1)), 2 * DAY);
        assert_eq!(
            lines,
            ["updated token ID `bootstrap`: it now expires at 1970-01-02T00:00:00.000Z, which has passed"]
        );
        assert!(all(&store)[0].is_expired(at(2 * DAY)));
        let lines = start(&store, &block(1, &["admin"], days(9)), 2 * DAY);
        assert!(lines[0].contains("is not revived"), "{lines:?}");
    }

    #[test]
    fn another_token_replaces_the_old_one_for_good() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin"], None), 0);
        let lines = start(&store, &block(2, &["admin"], None), 1);
        assert_eq!(
            lines,
            [
                "deleted token ID `bootstrap`: another token takes its place",
                "created token ID `bootstrap` with role admin, never expires"
            ]
        );
        assert_eq!(all(&store).iter().map(|token| token.digest).collect::<Vec<_>>(), [digest(2)]);
        let lines = start(&store, &block(1, &["admin"], None), 2);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("deleted") && lines[1].contains("is not created again"));
        assert_eq!(all(&store), []);
    }

    #[test]
    fn token_whose_block_is_gone_stays_until_it_expires() {
        let store = MemoryStore::new();
        start(&store, &block(1, &["admin"], days(1)), 0);
        let before = all(&store);
        let lines = start(&store, &Provision::default(), 1);
        assert_eq!(
            lines,
            ["no bootstrap token is configured any more; token ID `bootstrap` expires at \
              1970-01-02T00:00:00.000Z: delete it when it is not needed"]
        );
        assert_eq!(start(&store, &Provision::default(), DAY), [""; 0]);
        assert_eq!(all(&store), before);
    }

    #[test]
    fn two_that_start_at_once_create_the_token_once() {
        let (store, provision) = (MemoryStore::new(), block(1, &["admin"], None));
        let plans = [0, 1].map(|now| plan(&provision, &[], |d| store.is_spent(d), at(now)).unwrap());
        let outcomes = plans.map(|plan| match plan.steps.as_slice() {
            [Step::Create(record)] => store.insert(record, Names::MayRepeat).unwrap(),
            steps => panic!("{steps:?}"),
        });
        assert_eq!(outcomes, [Insertion::Inserted, Insertion::DigestTaken]);
        let notice = Notice::CreatedElsewhere(all(&store)[0].clone());
        assert!(!notice.is_warning());
        assert_eq!(
            notice.to_string(),
            "token `bootstrap` with fingerprint 01010101 was created by another process at the same moment"
        );
    }

    #[test]
    fn declared_tokens_come_change_and_go_with_the_configuration() {
        let store = MemoryStore::new();
        let [one, two] = [declared(1, "one", &["admin"], None), declared(2, "two \n", &["guest"], Some(DAY))];
        let lines = start(&store, &declaring(&[one.clone(), two.clone()]), 0);
        assert_eq!(
            lines,
            [
                "created token ID `one` with role admin, never expires",
                "created token ID `two \\n` with role guest, expires at 1970-01-02T00:00:00.000Z"
            ]
        );
        assert_eq!(all(&store)[0].origin, TokenOrigin::Declared);
        assert_eq!(start(&store, &declaring(&[one.clone(), two]), 1).len(), 2);

        let lines = start(&store, &declaring(&[declared(1, "uno", &["guest"], Some(DAY))]), 2);
        assert_eq!(
            lines,
            [
                "deleted token ID `two \\n`: it is no longer declared",
                "updated token ID `one`: its name is now `uno`, it now has role guest, \
                 it now expires at 1970-01-02T00:00:00.000Z"
            ]
        );
        // What the configuration took away it may bring back.
        let lines = start(&store, &declaring(&[one, declared(2, "two", &[], None)]), 3);
        assert_eq!(lines[1], "created token ID `two` with no roles, never expires");
        assert_eq!(all(&store).len(), 2);
    }

    #[test]
    fn declared_token_that_was_deleted_by_hand_stays_deleted() {
        let (store, provision) = (MemoryStore::new(), declaring(&[declared(1, "one", &[], None)]));
        start(&store, &provision, 0);
        store.delete(all(&store)[0].id, AfterDelete::RefuseDigest).unwrap();
        assert!(start(&store, &provision, 1)[0].contains("was deleted and is not created again"));
        assert_eq!(all(&store), []);
    }

    #[test]
    fn declared_token_of_the_past_is_not_created() {
        let store = MemoryStore::new();
        let lines = start(&store, &declaring(&[declared(1, "one", &[], Some(5))]), 5);
        assert_eq!(
            lines,
            [
                "token `one` with fingerprint 01010101 is configured to have expired already and is not created"
            ]
        );
        assert_eq!(start(&store, &declaring(&[declared(1, "one", &[], Some(5))]), 4).len(), 1);
        assert_eq!(all(&store).len(), 1);
    }

    #[test]
    fn token_that_moves_between_the_two_parts_of_the_configuration_is_kept_or_starts_anew() {
        let store = MemoryStore::new();
        start(&store, &declaring(&[declared(1, "one", &[], None)]), 0);
        let lines = start(&store, &block(1, &[], days(1)), DAY);
        assert_eq!(
            lines,
            [
                "deleted token ID `one`: it is no longer declared",
                "created token ID `bootstrap` with no roles, expires at 1970-01-03T00:00:00.000Z"
            ]
        );
        let lines = start(&store, &declaring(&[declared(1, "one", &[], None)]), DAY);
        assert_eq!(
            lines,
            ["updated token ID `bootstrap`: its name is now `one`, it now never expires, \
              it is now a declared token"]
        );
        assert_eq!(all(&store).len(), 1);
    }

    #[test]
    fn bootstrap_token_that_expired_is_not_revived_by_declaring_it() {
        let store = MemoryStore::new();
        start(&store, &block(1, &[], days(1)), 0);
        let lines = start(&store, &declaring(&[declared(1, "one", &[], None)]), DAY);
        assert!(lines[0].contains("is not revived"), "{lines:?}");
    }

    #[test]
    fn token_of_the_api_is_never_changed_by_the_configuration() {
        let store = MemoryStore::new();
        start(&store, &declaring(&[declared(1, "mine", &["guest"], None)]), 0);
        let before = all(&store).remove(0);
        let record = TokenRecord { origin: TokenOrigin::Api, ..before.clone() };
        assert_eq!(store.update(&before, &record, Names::MayRepeat).unwrap(), Update::Done);
        for provision in [
            block(1, &["admin"], None),
            declaring(&[declared(1, "x", &["admin"], None)]),
            Provision::default(),
        ] {
            for line in start(&store, &provision, 1) {
                assert_eq!(
                    line,
                    "token ID `mine` was created through the API and stays as it is, with role guest, \
                     whatever is configured"
                );
            }
            assert_eq!(all(&store), std::slice::from_ref(&record));
        }
    }

    #[test]
    fn token_that_is_configured_twice_is_an_error() {
        let (one, other) = (declared(1, "one", &[], None), declared(1, "other", &[], None));
        let twice = declaring(&[one.clone(), other.clone()]);
        let both = Provision { declared: vec![other], ..block(1, &[], None) };
        for provision in [twice, both] {
            let error = plan(&provision, &[], |_| Ok(false), at(0)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the token with fingerprint `01010101` is configured twice, the second time as `other`: \
                 remove one of the two"
            );
        }
        let two = Provision { declared: vec![one], ..block(2, &[], None) };
        assert_eq!(plan(&two, &[], |_| Ok(false), at(0)).unwrap().steps.len(), 2);
    }

    #[test]
    fn nothing_overflows_at_the_ends_of_time() {
        let ttls =
            [Some(Duration::ZERO), Some(Duration::from_millis(1)), Some(10 * YEAR), Some(Duration::MAX)];
        for ttl in ttls {
            for now in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX] {
                let store = MemoryStore::new();
                start(&store, &block(1, &[], None), now);
                start(&store, &block(1, &[], ttl), i64::MAX);
                start(&store, &block(1, &[], ttl), now);
                assert_eq!(all(&store).len(), 1);
            }
        }
        assert!(
            start(&MemoryStore::new(), &block(1, &[], Some(Duration::ZERO)), 0)[0].contains("not created")
        );
    }

    #[test]
    fn failing_store_makes_no_plan() {
        let fails = |_: &TokenDigest| Err(StoreError::Other("no answer".into()));
        let error = plan(&block(1, &[], None), &[], fails, at(0)).unwrap_err();
        assert_eq!(error.to_string(), "the token store failed: no answer");
    }
}
