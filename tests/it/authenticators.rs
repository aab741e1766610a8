//! Other credentials than service tokens: when they are asked for, what they open, and that none is taken for a token.

use parking_lot::Mutex;
use rolegate::Timestamp;
use rolegate::audit::{AuditOutcome, DENIALS_AT_ONCE, MemoryAudit, Recorded};
use rolegate::authenticator::{
    Authentication, Authenticator, ForeignPrincipal, ForeignRefusal, RealmError, RefusalCause,
};
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::{Answer, ChangeError, Engine, NewToken, Permit, ReplaceError};
use rolegate::path::CanonicalPath;
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Credential, Request};
use rolegate::store::memory::MemoryStore;
use rolegate::token::{ForeignIdError, ROLES_PER_TOKEN_MAX, RoleName, Secret, TokenId};
use rolegate::tokens::Unauthenticated;
use std::error::Error;
use std::panic::panic_any;
use std::sync::Arc;

type Outcome = Result<(), Box<dyn Error>>;

const POLICY: &str = r#"
    permission("grant-any-role", []);
    role("admin").allow("ANY /tokens/**").grants(["grant-any-role"]);
    role("reader").allow("GET /things")
        .allow("GET /if/role").when(|request| request.has_role("reader"))
        .allow("GET /if/id").when(|request| request.token.id != 5)
        .allow("GET /if/name").when(|request| request.token.name == "door:alice")
        .allow("GET /if/none").when(|request| request.token == ());
    authenticated("GET /mine");
    open("GET /public");
"#;
const TOKEN: &str = "a-service-token-of-these-tests";
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// Lets in whoever says so in a header: `Badge NAME ROLE…`. It notes whom it was asked about.
#[derive(Clone, Debug, Default)]
struct Badges(Arc<Mutex<Vec<String>>>);

#[expect(clippy::panic, reason = "one of them is to panic")]
impl Authenticator for Badges {
    fn authenticate(&self, request: &Request, _: Timestamp) -> Authentication {
        self.0.lock().push(request.path().to_string());
        let badge = request.headers().get("x-badge").and_then(|badge| badge.to_str().ok());
        let Some(badge) = badge else { return Authentication::NotMine };
        let mut words = badge.split(' ');
        match words.next().unwrap_or_default() {
            "forged" => Authentication::Refused("the badge is forged"),
            "panic" => panic_any(badge.to_owned()),
            subject => Authentication::Authenticated(ForeignPrincipal {
                subject: subject.to_owned(),
                roles: words.filter_map(|role| RoleName::parse(role).ok()).collect(),
            }),
        }
    }
}

struct World {
    engine: Arc<Engine>,
    audit: Arc<MemoryAudit>,
    asked: Badges,
}

fn policies() -> Result<PolicySet, Box<dyn Error>> {
    let source = Source { name: Arc::from("p.rhai"), text: POLICY.to_owned() };
    Ok(PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?)
}

fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Result<Request, Box<dyn Error>> {
    let mut fields = http::HeaderMap::new();
    fields.insert("host", "localhost".parse()?);
    for (name, value) in headers {
        fields.append(*name, value.parse()?);
    }
    Ok(Request::read(method.parse()?, &path.parse()?, http::Version::HTTP_11, fields, None)?)
}

impl World {
    fn start() -> Result<Self, Box<dyn Error>> {
        let (audit, asked) = (Arc::new(MemoryAudit::new()), Badges::default());
        let engine =
            Engine::open(Box::new(MemoryStore::new()), Box::new(Arc::clone(&audit)), policies()?, NOW)?
                .with_authenticator("door", Box::new(asked.clone()))?;
        let (secret, kind) = Secret::parse(TOKEN)?;
        let roles = vec![RoleName::parse("admin")?];
        let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
        engine.provision(&Provision { bootstrap, declared: Vec::new() }, NOW)?;
        Ok(Self { engine: Arc::new(engine), audit, asked })
    }

    fn ask(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Answer, Box<dyn Error>> {
        Ok(self.engine.check(&request("GET", path, headers)?, NOW))
    }

    fn by_badge(&self, path: &str, badge: &str) -> Result<Answer, Box<dyn Error>> {
        self.ask(path, &[("x-badge", badge)])
    }

    fn permit(&self, method: &str, path: &str, badge: &str) -> Result<Permit, Box<dyn Error>> {
        match self.engine.check(&request(method, path, &[("x-badge", badge)])?, NOW) {
            Answer::Permitted(permit) => Ok(permit),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn cause(&self, headers: &[(&'static str, &str)]) -> Result<Unauthenticated, Box<dyn Error>> {
        match self.ask("/things", headers)? {
            Answer::Unauthenticated(challenge) => Ok(challenge.cause),
            other => Err(format!("{other:?}").into()),
        }
    }
}

fn refusal(cause: RefusalCause) -> Unauthenticated {
    Unauthenticated::Foreign(ForeignRefusal { realm: "door", cause })
}

#[test]
fn foreign_principal_may_what_its_roles_may_and_no_more() -> Outcome {
    let world = World::start()?;
    let permit = world.permit("GET", "/things", "alice reader")?;
    let principal = permit.principal().ok_or("nobody")?;
    assert_eq!((principal.id.to_string().as_str(), &*principal.name), ("door:alice", "door:alice"));
    assert_eq!((principal.id.token(), principal.created), (None, NOW));
    assert!(matches!(world.by_badge("/mine", "alice")?, Answer::Permitted(_)));
    assert!(matches!(world.by_badge("/things", "alice")?, Answer::Forbidden(_)));
    assert!(matches!(world.by_badge("/things", "alice nobody-defines-this")?, Answer::Forbidden(_)));
    let Answer::Forbidden(denied) = world.by_badge("/tokens/x", "alice reader")? else {
        return Err("let in".into());
    };
    assert_eq!(denied.principal.id.to_string(), "door:alice");
    Ok(())
}

#[test]
fn authenticator_is_asked_only_where_there_is_no_service_token() -> Outcome {
    let world = World::start()?;
    let badge = ("x-badge", "alice reader");
    let other_scheme = ("authorization", "Bearer abc");
    assert!(matches!(world.ask("/things", &[badge, other_scheme])?, Answer::Permitted(_)));
    assert!(matches!(world.ask("/things", &[badge])?, Answer::Permitted(_)));
    assert_eq!(std::mem::take(&mut *world.asked.0.lock()).len(), 2);

    // A live token without the role, one that nobody made, one that is mistyped, and none at all in its place.
    let answer = world.ask("/things", &[badge, ("x-api-key", TOKEN)])?;
    assert!(matches!(answer, Answer::Forbidden(denied) if denied.principal.id.token().is_some()));
    let unknown = world.cause(&[badge, ("x-api-key", "a-token-that-nobody-ever-made")])?;
    assert_eq!(unknown, Unauthenticated::Unknown);
    for unusable in ["short", "", "svctok-AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA"] {
        assert!(matches!(world.cause(&[badge, ("x-api-key", unusable)])?, Unauthenticated::Unusable(_)));
    }
    assert_eq!(*world.asked.0.lock(), Vec::<String>::new());
    Ok(())
}

#[test]
fn refused_and_foreign_credentials_are_nobodys_and_the_log_is_told_why() -> Outcome {
    let world = World::start()?;
    assert_eq!(world.cause(&[])?, Unauthenticated::Missing);
    let other = world.cause(&[("authorization", "Bearer abc")])?;
    assert_eq!(other.to_string(), "the authorization scheme is not supported");
    let forged = world.cause(&[("x-badge", "forged")])?;
    assert_eq!(forged, refusal(RefusalCause::Refused("the badge is forged")));
    assert_eq!(forged.to_string(), "door: the badge is forged");
    // What is open to everyone stays so.
    assert!(
        matches!(world.by_badge("/public", "forged")?, Answer::Permitted(permit) if permit.principal().is_none())
    );
    Ok(())
}

#[test]
fn authenticator_that_panics_or_vouches_for_nonsense_denies() -> Outcome {
    let world = World::start()?;
    let cause = |badge: &str| world.cause(&[("x-badge", badge)]);
    assert_eq!(cause("panic reader")?, refusal(RefusalCause::Panicked));
    assert_eq!(cause(" reader")?, refusal(RefusalCause::Name(ForeignIdError::Subject)));
    let roles = |count: usize| format!("alice{}", " reader".repeat(count));
    assert!(matches!(world.by_badge("/things", &roles(ROLES_PER_TOKEN_MAX))?, Answer::Permitted(_)));
    assert_eq!(cause(&roles(ROLES_PER_TOKEN_MAX + 1))?, refusal(RefusalCause::TooManyRoles));
    Ok(())
}

#[test]
fn first_authenticator_that_knows_the_credential_has_the_last_word() -> Outcome {
    #[derive(Debug)]
    struct Everybody;
    impl Authenticator for Everybody {
        fn authenticate(&self, _: &Request, _: Timestamp) -> Authentication {
            let roles = RoleName::parse("reader").ok().into_iter().collect();
            Authentication::Authenticated(ForeignPrincipal { subject: "all".into(), roles })
        }
    }
    let open = || {
        Engine::open(Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()), policies()?, NOW)
            .map_err(Box::<dyn Error>::from)
    };
    let engine = open()?
        .with_authenticator("door", Box::new(Badges::default()))?
        .with_authenticator("any", Box::new(Everybody))?;
    let ask =
        |headers: &[_]| Ok::<_, Box<dyn Error>>(engine.check(&request("GET", "/things", headers)?, NOW));
    assert!(
        matches!(ask(&[])?, Answer::Permitted(permit) if permit.principal().is_some_and(|it| it.id.to_string() == "any:all"))
    );
    assert!(matches!(ask(&[("x-badge", "forged")])?, Answer::Unauthenticated(_)));

    let twice = open()?
        .with_authenticator("any", Box::new(Everybody))?
        .with_authenticator("any", Box::new(Everybody));
    assert_eq!(twice.err(), Some(RealmError::Taken("any")));
    let nameless = open()?.with_authenticator("100000000000000", Box::new(Everybody));
    assert_eq!(nameless.err(), Some(RealmError::Name(ForeignIdError::Realm)));
    Ok(())
}

#[test]
fn foreign_principal_changes_neither_tokens_nor_policies() -> Outcome {
    let world = World::start()?;
    let permit = world.permit("POST", "/tokens/new", "alice admin")?;
    let bootstrap = world.engine.list(&permit)?.first().map(|token| token.id).ok_or("no token")?;
    let created = world.engine.create(&permit, NewToken::default(), NOW);
    assert!(matches!(created.err(), Some(ChangeError::Anonymous)));
    assert!(matches!(world.engine.delete(&permit, bootstrap, NOW), Err(ChangeError::Anonymous)));
    assert!(matches!(
        world.engine.replace_policies(policies()?, Some(&permit), NOW),
        Err(ReplaceError::Anonymous)
    ));
    assert!(matches!(world.engine.may_replace(Some(&permit), NOW), Err(ReplaceError::Anonymous)));
    assert_eq!(world.engine.token_count(), 1);

    // A token with the same role may.
    let request = request("POST", "/tokens/new", &[("x-api-key", TOKEN)])?;
    let Answer::Permitted(permit) = world.engine.check(&request, NOW) else { return Err("denied".into()) };
    world.engine.create(&permit, NewToken::default(), NOW)?;
    world.engine.replace_policies(policies()?, Some(&permit), NOW)?;
    Ok(())
}

#[test]
fn conditions_see_no_token_of_a_foreign_principal() -> Outcome {
    let world = World::start()?;
    for (path, is_permitted) in
        [("/if/role", true), ("/if/none", true), ("/if/id", false), ("/if/name", false)]
    {
        let answer = world.by_badge(path, "alice reader")?;
        assert_eq!(matches!(answer, Answer::Permitted(_)), is_permitted, "{path}: {answer:?}");
    }
    let Answer::Forbidden(denied) = world.by_badge("/if/id", "alice reader")? else {
        return Err("let in".into());
    };
    let failures: Vec<_> = denied.decision.failures().map(|(_, reason)| reason.to_owned()).collect();
    assert!(failures.first().is_some_and(|reason| reason.contains("nothing has no `id`")), "{failures:?}");
    Ok(())
}

#[test]
fn uses_are_counted_of_tokens_alone() -> Outcome {
    let world = World::start()?;
    world.permit("GET", "/things", "alice reader")?;
    assert!(matches!(world.by_badge("/tokens/x", "alice reader")?, Answer::Forbidden(_)));
    assert_eq!(world.engine.uses_waiting(), 0);
    world.engine.flush_uses()?;
    let permit = world.permit("GET", "/tokens/x", "alice admin")?;
    let bootstrap = world.engine.list(&permit)?.first().map(|token| token.id).ok_or("no token")?;
    assert_eq!(world.engine.get(&permit, bootstrap)?.usage, None);
    assert!(matches!(world.ask("/tokens/x", &[("x-api-key", TOKEN)])?, Answer::Permitted(_)));
    world.engine.flush_uses()?;
    assert_eq!(world.engine.get(&permit, bootstrap)?.usage.map(|usage| usage.count), Some(1));
    Ok(())
}

#[test]
fn denials_of_foreign_principals_are_recorded_under_their_name_and_counted_apart() -> Outcome {
    let world = World::start()?;
    let digits = TokenId::LEAST.to_string();
    for _ in 0..=DENIALS_AT_ONCE {
        // Its subject is the number of a token, which makes it none.
        let Answer::Forbidden(denied) = world.by_badge("/tokens/x", &digits)? else {
            return Err("let in".into());
        };
        let entry = world.engine.denial_entry(denied, request("GET", "/tokens/x", &[])?, NOW);
        entry.map_or(Ok(()), |entry| entry.record())?;
    }
    world.engine.record_left_out(true, NOW)?;
    let entries: Vec<Recorded> =
        world.audit.entries().into_iter().filter(|it| it.outcome == AuditOutcome::Denied).collect();
    let (left_out, denied) = entries.split_last().ok_or("no entries")?;
    assert_eq!(denied.len(), DENIALS_AT_ONCE as usize);
    let actors: Vec<_> = denied.iter().filter_map(|it| it.actor.as_ref()).map(ToString::to_string).collect();
    assert!(
        actors.len() == denied.len() && actors.iter().all(|actor| *actor == format!("door:{digits}")),
        "{actors:?}"
    );
    assert_eq!((left_out.event, left_out.token), ("denials_left_out", None));
    Ok(())
}

#[test]
fn explanation_names_a_foreign_principal_as_one() -> Outcome {
    let world = World::start()?;
    let permit = world.permit("GET", "/things", "alice reader")?;
    let policies = world.engine.policies();
    let told = policies.explain(permit.principal(), &request("GET", "/things", &[])?, NOW).to_string();
    assert!(told.contains("\n  foreign principal door:alice with the role reader\n"), "{told}");
    Ok(())
}

#[test]
fn credential_that_no_authenticator_wants_keeps_its_own_cause() -> Outcome {
    let world = World::start()?;
    let request = Request::new(http::Method::GET, CanonicalPath::parse("/things")?);
    assert!(matches!(request.credential(), Credential::Missing));
    let Answer::Unauthenticated(challenge) = world.engine.check(&request, NOW) else {
        return Err("let in".into());
    };
    assert_eq!(challenge.cause, Unauthenticated::Missing);
    Ok(())
}
