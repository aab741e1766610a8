//! The test kit: what its checks say when they fail, and that they fail only then.

use rolegate::authenticator::{Authentication, Authenticator, ForeignPrincipal};
use rolegate::policy::{Alias, HostFunctions, Location, RoleBindings};
use rolegate::request::Request;
use rolegate::store::memory::MemoryStore;
use rolegate::store::page::{Page, PageQuery};
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{AfterDelete, Insertion, LentToken, Names, Spending, Store, StoreError, Update};
use rolegate::testing::{
    Ask, NOBODY, Outcome, World, assert_denies, assert_malformed, assert_permits, assert_unauthenticated,
    store_conformance, store_durability,
};
use rolegate::token::{RoleName, TokenDigest, TokenId, TokenRecord};
use rolegate::{NewToken, Timestamp};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

const POLICY: &str = r#"permission("read-things", ["GET /things/**"]);
role("reader").grants(["read-things"]);
role("writer").includes("reader")
    .allow("PUT /things/{name}").when(|request| request.header("x-env") == request.param("name"));
open("GET /health");
deny("ANY /things/secret");
"#;

fn world() -> World {
    World::new().policy(POLICY).token("reader", ["reader"]).token("writer", ["writer"]).token_for(
        "old",
        ["reader"],
        Duration::from_secs(60),
    )
}

/// What a check that fails tells; empty for one that does not. Versions of policies are left out.
fn failure(check: impl FnOnce()) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(check)) else { return String::new() };
    let fixed = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = payload.downcast_ref::<String>().cloned().or(fixed).unwrap_or_default();
    match text.split_once("policy version ") {
        Some((before, after)) => {
            let rest = after.find('\n').and_then(|end| after.get(end..)).unwrap_or_default();
            format!("{before}policy version VERSION{rest}")
        }
        None => text,
    }
}

#[test]
fn checks_that_hold_say_nothing() {
    let world = world();
    assert_permits!(world, "reader", "GET /things/a", "HEAD /things/a/b?x=1", "GET /health");
    assert_denies!(world, "reader", "PUT /things/a", "GET /things/secret", "GET /other");
    assert_unauthenticated!(world, NOBODY, "GET /things/a", "GET /nothing");
    assert_permits!(&world, NOBODY, "GET /health");
    assert_malformed!(
        world,
        "GET /things//a",
        "GET /things/%2e%2e/a",
        Ask::new("GET /a").header("host", "a b")
    );
    let put = Ask::new("PUT /things/red").client_ip("192.0.2.1");
    assert_denies!(world, "writer", put.clone());
    assert_permits!(world, "writer", put.header("x-env", "red"));
}

#[test]
fn denial_that_should_not_be_is_explained_as_policy_explain_does() {
    let world = world();
    insta::assert_snapshot!(failure(|| assert_permits!(world, "writer", Ask::new("PUT /things/red").header("x-env", "blue"))), @r#"
    a request of `writer` should be permitted, and is denied

    denied: PUT /things/red, for no rule allows it
      token 100000000000001 "writer" with the role writer
      at 2025-01-01T09:00:00.000Z, policy version VERSION

    nearly:
      policy.rhai:4:6 allows `PUT /things/{name}` to `writer`
          its `when` is false
            request.header("x-env") = "blue"
            request.param("name") = "red"
      policy.rhai:2:16 allows `GET /things/**` to `reader` by the permission `read-things`
          other method: it is about GET, HEAD, not PUT
    "#);
    insta::assert_snapshot!(failure(|| assert_permits!(world, "reader", "GET /things/secret")), @r#"
    a request of `reader` should be permitted, and is denied

    denied: GET /things/secret
      token 100000000000000 "reader" with the role reader
      at 2025-01-01T09:00:00.000Z, policy version VERSION

    decided by:
      policy.rhai:6:1 denies `ANY /things/secret` to everyone
          | deny("ANY /things/secret");
          | ^^^^
      policy.rhai:2:16 allows `GET /things/**` to `reader` by the permission `read-things`
          does not count, for a rule denies
    "#);
}

#[test]
fn permission_that_should_not_be_is_explained_with_its_line() {
    let world = world();
    insta::assert_snapshot!(failure(|| assert_denies!(world, "reader", "GET /things/a")), @r#"
    a request of `reader` should be denied, and is permitted

    allowed: GET /things/a
      token 100000000000000 "reader" with the role reader
      at 2025-01-01T09:00:00.000Z, policy version VERSION

    decided by:
      policy.rhai:2:16 allows `GET /things/**` to `reader` by the permission `read-things`
          | role("reader").grants(["read-things"]);
          |                ^^^^^^
    "#);
    insta::assert_snapshot!(failure(|| assert_unauthenticated!(world, NOBODY, "GET /health")), @r#"
    a request without a token should be unauthenticated, and is permitted

    allowed: GET /health
      without a token
      at 2025-01-01T09:00:00.000Z, policy version VERSION

    decided by:
      policy.rhai:5:1 allows `GET /health` to everyone
          | open("GET /health");
          | ^^^^
    "#);
}

#[test]
fn requests_without_a_live_token_are_told_why_they_are_nobodys() {
    let world = world();
    insta::assert_snapshot!(failure(|| assert_permits!(world, NOBODY, "GET /things/a")), @r"
    a request without a token should be permitted, and is unauthenticated

    denied: GET /things/a, for no rule allows it
      without a token
      at 2025-01-01T09:00:00.000Z, policy version VERSION

    nearly:
      policy.rhai:2:16 allows `GET /things/**` to `reader` by the permission `read-things`
          the request has no token
      policy.rhai:4:6 allows `PUT /things/{name}` to `writer`, under a condition
          the request has no token
          other method: it is about PUT, not GET
    ");
    assert_permits!(world, "old", "GET /things/a");
    world.advance(Duration::from_secs(60));
    assert_unauthenticated!(world, "old", "GET /things/a");
    insta::assert_snapshot!(failure(|| assert_permits!(world, "old", "GET /things/a")), @r"
    a request of `old` should be permitted, and is unauthenticated

    denied: GET /things/a, for no rule allows it
      without a token
      at 2025-01-01T09:01:00.000Z, policy version VERSION

    nearly:
      policy.rhai:2:16 allows `GET /things/**` to `reader` by the permission `read-things`
          the request has no token
      policy.rhai:4:6 allows `PUT /things/{name}` to `writer`, under a condition
          the request has no token
          other method: it is about PUT, not GET

    the token 100000000000002 has expired: the request is nobody's
    ");
}

#[test]
fn malformed_request_that_should_not_be_is_told_with_its_reason() {
    let world = world();
    insta::assert_snapshot!(failure(|| assert_permits!(world, "reader", "GET /things//a")), @r"
    a request of `reader` should be permitted, and is malformed

    refused: GET /things//a, with 400
      the path has an empty segment
      no policy is asked about such a request, whoever makes it
    ");
    insta::assert_snapshot!(failure(|| assert_malformed!(world, "GET /health")), @r#"
    a request without a token should be malformed, and is permitted

    allowed: GET /health
      without a token
      at 2025-01-01T09:00:00.000Z, policy version VERSION

    decided by:
      policy.rhai:5:1 allows `GET /health` to everyone
          | open("GET /health");
          | ^^^^
    "#);
}

#[test]
fn policies_that_do_not_load_are_told_with_line_and_mark() {
    let world =
        World::new().policy("role(\"a\").allow(\"GET /x\");").policy("role(\"b\")\n    .alow(\"GET /y\");");
    insta::assert_snapshot!(failure(|| assert_permits!(world, NOBODY, "GET /x")), @r#"
    the policies of the world do not load

    error: a role has no `alow`
      --> policy-2.rhai:2:6
       |
     2 |     .alow("GET /y");
       |      ^^^^
      = help: did you mean `allow`?
    "#);
}

#[test]
fn world_that_cannot_be_is_told_in_words() {
    let told = |world: fn() -> World| failure(|| assert_permits!(world(), NOBODY, "GET /health"));
    insta::assert_snapshot!(told(|| world().token("x", ["nobody"])), @"the token `x` has the role `nobody`, which no policy defines; the roles are: reader, writer");
    insta::assert_snapshot!(told(|| world().token("reader", [])), @"the world has a token `reader` already");
    insta::assert_snapshot!(told(|| world().token("x", ["a b"])), @"`a b` is no role: a role's name consists of letters, digits and `-_.:/@+`");
    insta::assert_snapshot!(told(|| world().policy_file("no/such/file.rhai")), @"cannot read the policy `no/such/file.rhai`: No such file or directory (os error 2)");
    insta::assert_snapshot!(failure(|| assert_permits!(world(), "nobody-made-this", "GET /health")), @"the world has no token `nobody-made-this`; its tokens are: old, reader, writer");
    insta::assert_snapshot!(failure(|| assert_permits!(world(), "reader", "/health")), @"`/health` is no request: write method and target, such as `GET /api/things`");
    let begun = world();
    assert_permits!(begun, NOBODY, "GET /health");
    insta::assert_snapshot!(failure(|| drop(begun.token("late", ["reader"]))), @"the world has begun: set it up before the first question, or change it through `engine`");
}

#[test]
fn shipped_policy_is_read_from_its_file() {
    let world = World::new().policy_file("policies/stackstate.rhai").token("ci", ["stackstate-guest"]);
    assert_permits!(world, "ci", "GET /api/server/info");
    assert_denies!(world, "ci", "GET /api/security/tokens");
}

#[test]
fn bindings_functions_and_authenticators_are_those_of_the_world() {
    #[derive(Debug)]
    struct Door;
    impl Authenticator for Door {
        fn authenticate(&self, request: &Request, _: Timestamp) -> Authentication {
            if request.headers().get("x-door").is_none() {
                return Authentication::NotMine;
            }
            let roles = RoleName::parse("reader").into_iter().collect();
            Authentication::Authenticated(ForeignPrincipal { subject: "alice".into(), roles })
        }
    }
    let alias = Alias {
        name: RoleName::parse("ops").unwrap(),
        role: RoleName::parse("reader").unwrap(),
        location: Location::new(&Arc::from("test"), 1, 1),
    };
    let world = World::new()
        .policy("role(\"reader\").allow(\"GET /a\").when(|request| is_day());")
        .bindings(RoleBindings { aliases: vec![alias], custom: Vec::new() })
        .host(HostFunctions::new().function("is_day", || true).unwrap())
        .authenticator("door", Arc::new(Door))
        .token("ops", ["ops"]);
    assert_permits!(world, "ops", "GET /a");
    assert_permits!(world, NOBODY, Ask::new("GET /a").header("x-door", "1"));
    assert_unauthenticated!(world, NOBODY, "GET /a");
}

#[test]
fn engine_clock_audit_and_secrets_are_there_for_everything_else() {
    let world = World::new()
        .policy("permission(\"grant-any-role\", []); role(\"admin\").allow(\"ANY /tokens/**\").grants([\"grant-any-role\"]);")
        .token("admin", ["admin"]);
    let permit = world.permit("admin", "POST /tokens/new");
    assert_eq!(permit.principal().and_then(|it| it.id.token()), Some(world.token_id("admin")));
    let created = world.engine().create(&permit, NewToken::default(), world.now()).unwrap();
    assert_eq!(world.audit().entries().last().and_then(|entry| entry.token), Some(created.record.id));
    assert!(world.secret("admin").expose().starts_with("svctok-"));
    world.set_now(Timestamp::EPOCH);
    assert_eq!((world.now(), world.check("admin", "GET /tokens/x")), (Timestamp::EPOCH, Outcome::Permitted));
    let denied = failure(|| drop(world.permit(NOBODY, "POST /tokens/new")));
    assert!(
        denied.starts_with("a request without a token should be permitted, and is unauthenticated"),
        "{denied}"
    );
}

/// A store that keeps everything but one promise.
#[derive(Debug)]
struct Forgetful(Arc<MemoryStore>, bool);

impl Store for Forgetful {
    fn load(&self, each: &mut dyn FnMut(LentToken<'_>)) -> Result<(), StoreError> {
        self.0.load(each)
    }
    fn insert(&self, record: &TokenRecord, names: Names) -> Result<Insertion, StoreError> {
        self.0.insert(record, names)
    }
    fn update(&self, before: &TokenRecord, after: &TokenRecord, names: Names) -> Result<Update, StoreError> {
        self.0.update(before, after, names)
    }
    fn delete(&self, id: TokenId, after: AfterDelete) -> Result<bool, StoreError> {
        self.0.delete(id, if self.1 { AfterDelete::ForgetDigest } else { after })
    }
    fn get(&self, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.0.get(id)
    }
    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.0.page(query)
    }
    fn record_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        self.0.record_uses(uses)
    }
    fn usage(&self, id: TokenId) -> Result<Option<Usage>, StoreError> {
        self.0.usage(id)
    }
    fn is_spent(&self, digest: &TokenDigest) -> Result<bool, StoreError> {
        self.0.is_spent(digest)
    }
    fn spent(&self, after: Option<&TokenDigest>, limit: usize) -> Result<Vec<TokenDigest>, StoreError> {
        self.0.spent(after, limit)
    }
    fn spend(&self, digest: &TokenDigest) -> Result<Spending, StoreError> {
        self.0.spend(digest)
    }
}

#[test]
fn store_that_breaks_one_promise_does_not_pass_the_suite() {
    let suite = |forgets| failure(|| store_conformance(|| Forgetful(Arc::default(), forgets)));
    assert_eq!(suite(false), "");
    assert!(suite(true).contains("assertion failed: store.is_spent"), "{}", suite(true));
}

#[test]
fn store_that_keeps_nothing_is_not_durable() {
    let kept = Arc::new(MemoryStore::new());
    assert_eq!(failure(|| store_durability(|| Forgetful(Arc::clone(&kept), false))), "");
    assert!(catch_unwind(|| store_durability(MemoryStore::new)).is_err());
}
