//! No token hands on more than it has, whichever way it tries.

use crate::policies::load;
use rolegate::audit::MemoryAudit;
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::{Answer, ChangeError, Engine, NewToken, Permit, TokenChanges};
use rolegate::path::CanonicalPath;
use rolegate::request::{Credential, Request};
use rolegate::store::memory::MemoryStore;
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, TokenId};
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

const POLICY: &str = r#"
    permission("manage-tokens", ["ANY /tokens/**"]);
    permission("grant-any-role", []);
    role("root").grants(["manage-tokens", "grant-any-role"]);
    role("manager").includes("reader").grants("manage-tokens");
    role("reader").allow("GET /things");
    role("writer").includes("reader").allow("PUT /things/{thing}");
"#;
const SHIPPED: &str = include_str!("../../policies/stackstate.rhai");
const ROOT: &str = "the-bootstrap-token-of-these-tests";

struct World {
    engine: Engine,
}

impl World {
    fn start(script: &str) -> Result<Self, Box<dyn Error>> {
        let policies = load(script)?;
        let store = Box::new(MemoryStore::new());
        let engine = Engine::open(store, Box::new(MemoryAudit::new()), policies, Timestamp::EPOCH)?;
        let (secret, kind) = Secret::parse(ROOT)?;
        let block = BootstrapBlock { digest: secret.digest(), kind, roles: roles(&["root"])?, ttl: None };
        let provision = Provision { bootstrap: Some(block), declared: Vec::new() };
        engine.provision(&provision, Timestamp::EPOCH)?;
        Ok(Self { engine })
    }

    fn permit(&self, token: &str) -> Result<Permit, Box<dyn Error>> {
        let mut parts = Request::new(http::Method::POST, CanonicalPath::parse("/tokens/")?).into_parts();
        parts.credential = Credential::read(token);
        match self.engine.check(&Request::from(parts), at(1)) {
            Answer::Permitted(permit) => Ok(permit),
            other => Err(format!("not permitted: {other:?}").into()),
        }
    }

    /// A new token with one role, by the root token: its id and its permit, if it may manage tokens.
    fn add(&self, role: &str) -> Result<(TokenId, Option<Permit>), Box<dyn Error>> {
        let created = self.engine.create(&self.permit(ROOT)?, new(role, &[role])?, at(1))?;
        Ok((created.record.id, self.permit(created.secret.expose()).ok()))
    }

    fn manager(&self) -> Result<(TokenId, Permit), Box<dyn Error>> {
        let (id, permit) = self.add("manager")?;
        Ok((id, permit.ok_or("a manager manages tokens")?))
    }
}

const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn roles(names: &[&str]) -> Result<Vec<RoleName>, Box<dyn Error>> {
    names.iter().map(|name| Ok(RoleName::parse(name)?)).collect()
}

fn new(name: &str, names: &[&str]) -> Result<NewToken, Box<dyn Error>> {
    Ok(NewToken { name: name.to_owned(), roles: roles(names)?, ..NewToken::default() })
}

fn with_roles(names: &[&str]) -> Result<TokenChanges, Box<dyn Error>> {
    Ok(TokenChanges { roles: Some(roles(names)?), ..TokenChanges::default() })
}

/// Whether it was refused because it would hand on too much; other errors are the test's.
fn is_refused<T>(outcome: Result<T, ChangeError>) -> Result<bool, Box<dyn Error>> {
    match outcome {
        Ok(_) => Ok(false),
        Err(ChangeError::BeyondReach(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn token_creates_only_what_lies_within_its_reach() -> Outcome {
    let world = World::start(POLICY)?;
    let (_, manager) = world.manager()?;
    for (names, expected) in [
        (&[][..], false),
        (&["reader"], false),
        (&["manager", "reader"], false),
        (&["writer"], true),
        (&["reader", "writer"], true),
        (&["root"], true),
    ] {
        let created = world.engine.create(&manager, new("n", names)?, at(1));
        assert_eq!(is_refused(created)?, expected, "{names:?}");
        assert!(world.engine.create(&world.permit(ROOT)?, new("n", names)?, at(1)).is_ok(), "{names:?}");
    }
    let refused = world.engine.create(&manager, new("n", &["writer", "root"])?, at(1));
    let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
    insta::assert_snapshot!(text, @"the token of the request does not have what it would hand on: `PUT /things/{thing}` and the permission `grant-any-role`, which has no routes; grant less, or use a token that holds the permission `grant-any-role`");
    let unknown = world.engine.create(&manager, new("n", &["writer", "gone"])?, at(1));
    assert!(matches!(unknown.err(), Some(ChangeError::UnknownRole { .. })), "told before any comparison");
    Ok(())
}

#[test]
fn nobody_gets_the_secret_of_a_token_that_reaches_further() -> Outcome {
    let world = World::start(POLICY)?;
    let (own, manager) = world.manager()?;
    for (role, expected) in [("reader", false), ("manager", false), ("writer", true), ("root", true)] {
        let (id, _) = world.add(role)?;
        let rotated = world.engine.rotate(&manager, id, Duration::ZERO, at(1));
        assert_eq!(is_refused(rotated)?, expected, "{role}");
        assert!(world.engine.rotate(&world.permit(ROOT)?, id, Duration::ZERO, at(1)).is_ok(), "{role}");
    }
    assert!(world.engine.rotate(&manager, own, Duration::ZERO, at(1)).is_ok());
    Ok(())
}

#[test]
fn token_that_reaches_further_is_disabled_and_deleted_but_not_enabled() -> Outcome {
    let world = World::start(POLICY)?;
    let (_, manager) = world.manager()?;
    for (role, expected) in [("reader", false), ("writer", true)] {
        let (id, _) = world.add(role)?;
        assert!(world.engine.set_enabled(&manager, id, false, at(1)).is_ok());
        assert_eq!(is_refused(world.engine.set_enabled(&manager, id, true, at(1)))?, expected, "{role}");
        assert!(world.engine.set_enabled(&world.permit(ROOT)?, id, true, at(1)).is_ok());
        assert!(world.engine.delete(&manager, id, at(1)).is_ok());
    }
    Ok(())
}

#[test]
fn token_is_changed_only_when_it_lies_within_the_reach_before_and_after() -> Outcome {
    let world = World::start(POLICY)?;
    let (own, manager) = world.manager()?;
    let renamed = TokenChanges { name: Some("other".to_owned()), ..TokenChanges::default() };
    for (role, changes, expected) in [
        ("reader", renamed.clone(), false),
        ("writer", renamed, true),
        ("reader", with_roles(&["manager"])?, false),
        ("reader", with_roles(&["writer"])?, true),
        // It would take the writer's place.
        ("writer", with_roles(&["reader"])?, true),
    ] {
        let (id, _) = world.add(role)?;
        let changed = world.engine.change(&manager, id, &changes, at(1));
        assert_eq!(is_refused(changed)?, expected, "{role} {changes:?}");
        assert!(world.engine.change(&world.permit(ROOT)?, id, &changes, at(1)).is_ok());
    }
    assert!(is_refused(world.engine.change(&manager, own, &with_roles(&["root"])?, at(1)))?);
    assert!(world.engine.change(&manager, own, &with_roles(&["manager", "reader"])?, at(1)).is_ok());
    Ok(())
}

#[test]
fn permit_hands_on_what_its_token_holds_now_and_not_what_it_held() -> Outcome {
    let world = World::start(POLICY)?;
    let (id, manager) = world.manager()?;
    assert!(world.engine.create(&manager, new("n", &["reader"])?, at(1)).is_ok());
    world.engine.change(&world.permit(ROOT)?, id, &with_roles(&[])?, at(1))?;
    for roles in [&["reader"][..], &[]] {
        let refused = world.engine.create(&manager, new("n", roles)?, at(1)).err();
        assert!(matches!(refused, Some(ChangeError::Outdated)), "{refused:?}");
    }
    Ok(())
}

#[test]
fn name_that_a_condition_asks_for_is_not_given_away() -> Outcome {
    let world = World::start(&format!(
        "{POLICY} role(\"manager\").allow(\"PUT /by-name\").when(|request| request.token.name == \"ci\");"
    ))?;
    let (own, manager) = world.manager()?;
    assert!(!is_refused(world.engine.create(&manager, new("ci", &["reader"])?, at(1)))?);
    assert!(is_refused(world.engine.create(&manager, new("ci", &["manager"])?, at(1)))?);
    let changes = |name: &str| TokenChanges { name: Some(name.to_owned()), ..TokenChanges::default() };
    assert!(is_refused(world.engine.change(&manager, own, &changes("ci"), at(1)))?);
    let described = TokenChanges { description: Some(Some("mine".to_owned())), ..TokenChanges::default() };
    assert!(!is_refused(world.engine.change(&manager, own, &described, at(1)))?);
    assert!(!is_refused(world.engine.rotate(&manager, own, Duration::ZERO, at(1)))?);
    Ok(())
}

#[test]
fn replaced_policies_say_what_lies_within_from_then_on() -> Outcome {
    let world = World::start(POLICY)?;
    let created = world.engine.create(&world.permit(ROOT)?, new("manager", &["manager"])?, at(1))?;
    let manager = || world.permit(created.secret.expose());
    assert!(is_refused(world.engine.create(&manager()?, new("n", &["writer"])?, at(1)))?);
    let policies = load(&format!("{POLICY} role(\"manager\").includes(\"writer\");"))?;
    world.engine.replace_policies(policies, None, at(1))?;
    assert!(!is_refused(world.engine.create(&manager()?, new("n", &["writer"])?, at(1)))?);
    Ok(())
}

#[test]
fn page_on_policies_tells_the_refusal_of_its_example() -> Outcome {
    let page = include_str!("../../docs/policies.md");
    let section = page.split("## What a token may hand on").nth(1).ok_or("there is such a section")?;
    let policy =
        section.split("```rhai").nth(1).and_then(|rest| rest.split("```").next()).ok_or("an example")?;
    let root = "role(\"root\").allow(\"ANY /tokens/**\"); role(\"token-admin\").allow(\"ANY /tokens/**\");";
    let world =
        World::start(&format!("{policy} {root} role(\"root\").includes([\"token-admin\", \"writer\"]);"))?;
    let (_, permit) = world.add("token-admin")?;
    let permit = permit.ok_or("it manages tokens")?;
    assert!(world.engine.create(&permit, new("n", &["reader"])?, at(1)).is_ok());
    let refused = world.engine.create(&permit, new("n", &["writer"])?, at(1)).err();
    let text = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(section.contains(&format!("```text\n{text}\n```")), "{text}");
    Ok(())
}

/// Who may hand on whose role, of the shipped policy.
#[test]
fn shipped_roles_hand_on_what_this_table_says() -> Outcome {
    let policies = load(SHIPPED)?;
    let mut names: Vec<RoleName> = policies.roles().to_vec();
    names.sort();
    let mut table = String::new();
    for granter in &names {
        let _ = write!(table, "{granter:24} |");
        for granted in &names {
            let excess = policies.beyond(std::slice::from_ref(granter), std::slice::from_ref(granted))?;
            let _ = write!(table, " {granted}: {} |", if excess.is_empty() { "yes" } else { "no" });
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
    Ok(())
}

#[test]
fn no_shipped_role_grants_any_role() -> Outcome {
    let policies = load(SHIPPED)?;
    assert!(policies.permission("grant-any-role").is_some());
    for role in policies.roles() {
        assert_eq!(
            policies.holds_permission(std::slice::from_ref(role), "grant-any-role"),
            Some(false),
            "{role}"
        );
    }
    Ok(())
}
