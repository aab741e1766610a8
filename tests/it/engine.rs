//! The gate: who is let in, and what a change of a token takes.

mod lifecycle;
mod transfer;

use parking_lot::Mutex;
use rolegate::audit::{Audit, AuditEntry, AuditError, MemoryAudit, Recorded};
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::{Answer, ChangeError, CommitError, Engine, NewToken, Permit, ProvisionError};
use rolegate::path::CanonicalPath;
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Credential, Request};
use rolegate::store::memory::MemoryStore;
use rolegate::store::page::{Page, PageQuery};
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{AfterDelete, Insertion, LentToken, Names, Spending, Store, StoreError, Update};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, TokenDigest, TokenId, TokenRecord};
use rolegate::tokens::Unauthenticated;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

const POLICY: &str = r#"
    permission("manage-tokens", ["ANY /tokens/**"]);
    permission("grant-any-role", []);
    role("admin").grants(["manage-tokens", "grant-any-role"]);
    role("reader").allow("GET /things");
    open("GET /public");
"#;
const BOOTSTRAP: &str = "the-bootstrap-token-of-these-tests";

/// What an audit log and a store were asked to do, in order; each can be told to fail.
#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    events: Vec<String>,
    audit_fails: bool,
    /// So many entries are written before the log fails.
    audit_room: Option<usize>,
    store_fails: bool,
    /// What the store says has failed, and was made.
    store_lies: bool,
    /// Insertions, and uses that are written, wait while this is locked.
    gate: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct WatchedAudit(Journal, Arc<MemoryAudit>);

#[derive(Debug)]
struct WatchedStore(Journal, MemoryStore);

impl Journal {
    fn note(&self, event: impl Into<String>) {
        self.0.lock().events.push(event.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().events)
    }
}

impl Audit for WatchedAudit {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        if self.0.0.lock().audit_fails {
            return Err(AuditError::Other("the disk is full".into()));
        }
        if let Some(room) = &mut self.0.0.lock().audit_room {
            *room = room.checked_sub(1).ok_or_else(|| AuditError::Other("the disk is full".into()))?;
        }
        self.0.note(format!("audit {}", entry.event.name()));
        self.1.record(entry)
    }
}

impl WatchedStore {
    /// An answer that was lost on its way.
    fn lose<T>(&self, done: T) -> Result<T, StoreError> {
        if self.0.0.lock().store_lies {
            return Err(StoreError::Other(Box::new(io::Error::other("the answer was lost"))));
        }
        Ok(done)
    }

    fn fail(&self, operation: &str) -> Result<(), StoreError> {
        self.0.note(format!("store {operation}"));
        if self.0.0.lock().store_fails {
            return Err(StoreError::Other(Box::new(io::Error::other("the disk is gone"))));
        }
        Ok(())
    }
}

impl Store for WatchedStore {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        self.1.load(each)
    }

    fn insert(&self, record: &TokenRecord, names: Names) -> Result<Insertion, StoreError> {
        self.fail("insert")?;
        let gate = Arc::clone(&self.0.0.lock().gate);
        drop(gate.lock());
        self.lose(self.1.insert(record, names)?)
    }

    fn update(&self, before: &TokenRecord, after: &TokenRecord, names: Names) -> Result<Update, StoreError> {
        self.fail("update")?;
        self.lose(self.1.update(before, after, names)?)
    }

    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError> {
        self.fail("delete")?;
        self.lose(self.1.delete(id, after)?)
    }

    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.1.get(id)
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.1.page(query)
    }

    fn record_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        self.fail("record_uses")?;
        let gate = Arc::clone(&self.0.0.lock().gate);
        drop(gate.lock());
        self.1.record_uses(uses)
    }

    fn usage(&self, id: TokenId) -> Result<Option<Usage>, StoreError> {
        self.1.usage(id)
    }

    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError> {
        self.1.is_spent(digest)
    }

    fn spent(&self, after: Option<&TokenDigest>, limit: usize) -> Result<Vec<TokenDigest>, StoreError> {
        self.1.spent(after, limit)
    }

    fn spend(&self, digest: &TokenDigest) -> Result<Spending, StoreError> {
        self.fail("spend")?;
        self.1.spend(digest)
    }
}

/// An engine with an admin's bootstrap token.
struct World {
    engine: Engine,
    journal: Journal,
    audit: Arc<MemoryAudit>,
}

impl World {
    fn start() -> Result<Self, Box<dyn Error>> {
        let journal = Journal::default();
        let audit = Arc::new(MemoryAudit::new());
        let source = Source { name: Arc::from("test.rhai"), text: POLICY.to_owned() };
        let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
        let store = Box::new(WatchedStore(journal.clone(), MemoryStore::new()));
        let watched = Box::new(WatchedAudit(journal.clone(), Arc::clone(&audit)));
        let engine = Engine::open(store, watched, policies, at(0))?;
        engine.provision(&bootstrap("admin", None)?, at(0))?;
        journal.take();
        Ok(Self { engine, journal, audit })
    }

    fn check(&self, token: &str, method: &str, path: &str, now: i64) -> Result<Answer, Box<dyn Error>> {
        Ok(self.engine.check(&request(token, method, path)?, at(now)))
    }

    fn permit(&self, token: &str, method: &str, path: &str) -> Result<Permit, Box<dyn Error>> {
        match self.check(token, method, path, 1)? {
            Answer::Permitted(permit) => Ok(permit),
            other => Err(format!("not permitted: {other:?}").into()),
        }
    }

    fn admin(&self) -> Result<Permit, Box<dyn Error>> {
        self.permit(BOOTSTRAP, "POST", "/tokens/")
    }

    fn create(&self, new: NewToken) -> Result<(TokenId, String), Box<dyn Error>> {
        let created = self.engine.create(&self.admin()?, new, at(1))?;
        Ok((created.record.id, created.secret.expose().to_owned()))
    }

    fn refusal(&self, new: NewToken) -> Result<ChangeError, Box<dyn Error>> {
        match self.engine.create(&self.admin()?, new, at(1)) {
            Ok(_) => Err("the token was created".into()),
            Err(error) => Ok(error),
        }
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn bootstrap(role: &str, ttl: Option<Duration>) -> Result<Provision, Box<dyn Error>> {
    let (secret, kind) = Secret::parse(BOOTSTRAP)?;
    let block = BootstrapBlock { digest: secret.digest(), kind, roles: vec![RoleName::parse(role)?], ttl };
    Ok(Provision { bootstrap: Some(block), declared: Vec::new() })
}

fn request(token: &str, method: &str, path: &str) -> Result<Request, Box<dyn Error>> {
    let mut parts = Request::new(method.parse()?, CanonicalPath::parse(path)?).into_parts();
    if !token.is_empty() {
        parts.credential = Credential::read(token);
    }
    Ok(Request::from(parts))
}

fn reader() -> NewToken {
    NewToken {
        name: "ci".to_owned(),
        roles: RoleName::parse("reader").into_iter().collect(),
        ..NewToken::default()
    }
}

fn names(entries: &[Recorded]) -> Vec<&str> {
    entries.iter().map(|entry| entry.event).collect()
}

#[test]
fn live_token_is_permitted_what_its_role_may_and_forbidden_the_rest() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    assert_eq!(world.permit(&secret, "GET", "/things")?.principal().and_then(|it| it.id.token()), Some(id));
    assert!(matches!(world.check(&secret, "POST", "/things", 1)?, Answer::Forbidden(_)));
    assert!(matches!(world.check(&secret, "GET", "/nowhere", 1)?, Answer::Forbidden(_)));
    Ok(())
}

#[test]
fn nobody_is_challenged_except_where_all_are_welcome() -> Outcome {
    let world = World::start()?;
    for path in ["/things", "/nowhere"] {
        let Answer::Unauthenticated(challenge) = world.check("", "GET", path, 1)? else { panic!("{path}") };
        assert_eq!(challenge.cause, Unauthenticated::Missing);
    }
    assert!(world.permit("", "GET", "/public")?.principal().is_none());
    assert!(world.permit("a-token-that-nobody-ever-made", "GET", "/public")?.principal().is_none());
    Ok(())
}

#[test]
fn expired_token_is_challenged_at_its_millisecond() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(NewToken { expires: Some(at(100)), ..reader() })?;
    assert!(matches!(world.check(&secret, "GET", "/things", 99)?, Answer::Permitted(_)));
    let Answer::Unauthenticated(challenge) = world.check(&secret, "GET", "/things", 100)? else { panic!() };
    assert_eq!(challenge.cause, Unauthenticated::Expired(id));
    Ok(())
}

#[test]
fn deleted_token_is_challenged_from_then_on() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    world.engine.delete(&world.admin()?, id, at(2))?;
    let Answer::Unauthenticated(challenge) = world.check(&secret, "GET", "/things", 2)? else { panic!() };
    assert_eq!(challenge.cause, Unauthenticated::Unknown);
    let again = world.engine.delete(&world.admin()?, id, at(3));
    assert!(matches!(again, Err(ChangeError::Unknown(unknown)) if unknown == id));
    Ok(())
}

#[test]
fn every_denial_has_an_id_of_its_own() -> Outcome {
    let world = World::start()?;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..100 {
        let Answer::Unauthenticated(challenge) = world.check("", "GET", "/things", 1)? else { panic!() };
        assert!(ids.insert(challenge.id.to_string()));
    }
    Ok(())
}

#[test]
fn change_is_audited_before_it_is_stored() -> Outcome {
    let world = World::start()?;
    let (id, _) = world.create(reader())?;
    world.engine.delete(&world.admin()?, id, at(2))?;
    let order = ["audit token_created", "store insert", "audit token_deleted", "store delete"];
    assert_eq!(world.journal.take(), order);
    Ok(())
}

#[test]
fn change_that_cannot_be_audited_is_refused() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world.create(reader())?;
    world.journal.take();
    world.journal.0.lock().audit_fails = true;
    assert!(matches!(world.refusal(reader())?, ChangeError::Commit(CommitError::Audit(_))));
    let deleted = world.engine.delete(&world.admin()?, id, at(2));
    assert!(matches!(deleted, Err(ChangeError::Commit(CommitError::Audit(_)))));
    assert!(world.journal.take().is_empty(), "the store was not asked");
    assert!(world.permit(&secret, "GET", "/things").is_ok(), "the token that could not be deleted lives on");
    assert_eq!(world.engine.token_count(), 2);
    Ok(())
}

#[test]
fn change_that_cannot_be_stored_is_refused_and_the_audit_log_says_so() -> Outcome {
    let world = World::start()?;
    world.journal.0.lock().store_fails = true;
    assert!(matches!(world.refusal(reader())?, ChangeError::Commit(CommitError::Store(_))));
    assert_eq!(world.engine.token_count(), 1);
    assert_eq!(names(&world.audit.entries()), ["started", "token_created", "token_created", "change_failed"]);
    Ok(())
}

#[test]
fn token_outside_the_limits_is_refused_and_one_at_the_limits_is_created() -> Outcome {
    let world = World::start()?;
    let named = |name: String| NewToken { name, ..reader() };
    assert!(world.create(named("n".repeat(256))).is_ok());
    assert!(world.create(named(String::new())).is_ok());
    assert!(matches!(world.refusal(named("n".repeat(257)))?, ChangeError::Text { field: "name" }));
    assert!(matches!(world.refusal(named("a\nb".to_owned()))?, ChangeError::Text { .. }));

    let with_roles = |count: usize| NewToken {
        roles: std::iter::repeat_n(reader().roles, count).flatten().collect(),
        ..reader()
    };
    assert!(world.create(with_roles(64)).is_ok());
    assert!(matches!(world.refusal(with_roles(65))?, ChangeError::TooManyRoles));

    let expiring = |millis| NewToken { expires: Some(at(millis)), ..reader() };
    assert!(world.create(expiring(2)).is_ok());
    assert!(matches!(world.refusal(expiring(1))?, ChangeError::ExpiryPast));
    Ok(())
}

#[test]
fn role_that_no_policy_defines_is_refused_with_those_that_there_are() -> Outcome {
    let world = World::start()?;
    let new = NewToken { roles: vec![RoleName::parse("raeder")?], ..reader() };
    insta::assert_snapshot!(world.refusal(new)?, @"no policy defines the role `raeder`; the roles are admin, reader");
    let configured = world.engine.provision(&bootstrap("amdin", None)?, at(5));
    assert!(matches!(configured, Err(ProvisionError::UnknownRole { .. })));
    Ok(())
}

#[test]
fn roles_that_no_policy_defines_any_more_are_told_with_their_live_tokens() -> Outcome {
    let world = World::start()?;
    // The administrator creates tokens with a role that is not its own.
    world.create(reader())?;
    world.create(NewToken { expires: Some(at(10)), ..reader() })?;
    assert!(world.engine.undefined_roles(at(5)).is_empty());
    let source =
        Source { name: Arc::from("test.rhai"), text: "role(\"admin\").allow(\"GET /\");".to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    world.engine.replace_policies(policies, None, at(1))?;
    let told = |now| world.engine.undefined_roles(at(now)).into_iter().collect::<Vec<_>>();
    assert_eq!(told(9), [(RoleName::parse("reader")?, 2)]);
    assert_eq!(told(10), [(RoleName::parse("reader")?, 1)]);
    Ok(())
}

#[test]
fn nobody_changes_tokens_even_where_a_policy_lets_everyone_in() -> Outcome {
    let world = World::start()?;
    let anyone = world.permit("", "GET", "/public")?;
    let created = world.engine.create(&anyone, reader(), at(1));
    assert!(matches!(created.err(), Some(ChangeError::Anonymous)));
    let (id, _) = world.create(reader())?;
    assert!(matches!(world.engine.delete(&anyone, id, at(1)), Err(ChangeError::Anonymous)));
    Ok(())
}

#[test]
fn permit_changes_nothing_once_its_token_was_deleted_or_has_expired() -> Outcome {
    let world = World::start()?;
    let admin = |expires| NewToken {
        roles: RoleName::parse("admin").into_iter().collect(),
        expires,
        ..NewToken::default()
    };
    let (other, _) = world.create(reader())?;
    let (deleted, first) = world.create(admin(None))?;
    let (_, second) = world.create(admin(Some(at(100))))?;
    let [first, second] = [&first, &second].map(|secret| world.permit(secret, "POST", "/tokens/"));
    let (first, second) = (first?, second?);
    assert!(world.engine.create(&first, reader(), at(99)).is_ok());
    assert!(world.engine.create(&second, reader(), at(99)).is_ok());

    world.engine.delete(&world.admin()?, deleted, at(99))?;
    world.journal.take();
    for permit in [&first, &second] {
        assert!(matches!(world.engine.create(permit, reader(), at(100)).err(), Some(ChangeError::Revoked)));
        assert!(matches!(world.engine.delete(permit, other, at(100)), Err(ChangeError::Revoked)));
    }
    assert!(world.journal.take().is_empty(), "neither the audit log nor the store was asked");
    Ok(())
}

#[test]
fn deletion_returns_when_changes_have_ended_that_its_token_began() -> Outcome {
    let world = World::start()?;
    let (id, secret) = world
        .create(NewToken { roles: RoleName::parse("admin").into_iter().collect(), ..NewToken::default() })?;
    let (permit, admin) = (world.permit(&secret, "POST", "/tokens/")?, world.admin()?);
    let gate = Arc::clone(&world.journal.0.lock().gate);
    let closed = gate.lock();
    // Of the creations, only the one that is about to begin counts.
    world.journal.take();
    let (created, deleted) = std::thread::scope(|scope| {
        let creating = scope.spawn(|| world.engine.create(&permit, reader(), at(1)).is_ok());
        while !world.journal.take().contains(&"store insert".to_owned()) {
            std::thread::yield_now();
        }
        let deleting = scope.spawn(|| world.engine.delete(&admin, id, at(1)).is_ok());
        while !matches!(world.check(&secret, "GET", "/tokens/", 1), Ok(Answer::Unauthenticated(_))) {
            std::thread::yield_now();
        }
        for _ in 0..10_000 {
            assert!(!deleting.is_finished(), "the creation is still under way");
            std::thread::yield_now();
        }
        drop(closed);
        (creating.join(), deleting.join())
    });
    assert!(matches!((created, deleted), (Ok(true), Ok(true))));
    Ok(())
}

#[test]
fn bootstrap_token_that_was_deleted_stays_deleted() -> Outcome {
    let world = World::start()?;
    let admin = world.admin()?;
    let id = admin.principal().and_then(|it| it.id.token()).ok_or("no token")?;
    world.engine.delete(&admin, id, at(2))?;
    world.engine.provision(&bootstrap("admin", None)?, at(3))?;
    assert!(matches!(world.check(BOOTSTRAP, "GET", "/tokens/", 3)?, Answer::Unauthenticated(_)));
    Ok(())
}

#[test]
fn replaced_policies_decide_from_then_on() -> Outcome {
    let world = World::start()?;
    let (_, secret) = world.create(reader())?;
    let before = world.permit(&secret, "GET", "/things")?.decision().policy;
    let source =
        Source { name: Arc::from("test.rhai"), text: "role(\"reader\").allow(\"GET /other\");".to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    world.engine.replace_policies(policies, None, at(1))?;
    assert!(matches!(world.check(&secret, "GET", "/things", 1)?, Answer::Forbidden(_)));
    assert_ne!(world.permit(&secret, "GET", "/other")?.decision().policy, before);
    Ok(())
}
