//! What the server tells of principals that have no token of the store, and of credentials that are refused.

use super::world::{BEGINNING, Behind, World, limits, policies};
use rolegate::Timestamp;
use rolegate::audit::MemoryAudit;
use rolegate::authenticator::{Authentication, Authenticator, ForeignPrincipal};
use rolegate::engine::Engine;
use rolegate::request::Request;
use rolegate::server::FailedAuthentications;
use rolegate::store::memory::MemoryStore;
use rolegate::token::RoleName;

const POLICIES: &str = r#"role("user").allow("ANY /api/things"); open("GET /metrics");"#;

#[derive(Debug)]
struct Door;

impl Authenticator for Door {
    fn authenticate(&self, request: &Request, _: Timestamp) -> Authentication {
        match request.headers().get("x-badge").map(http::HeaderValue::as_bytes) {
            None => Authentication::NotMine,
            Some(b"good") => Authentication::Authenticated(ForeignPrincipal {
                subject: "100000000000000".to_owned(),
                roles: vec![RoleName::parse("user").unwrap()],
            }),
            Some(_) => Authentication::Refused("the badge is forged"),
        }
    }
}

fn start() -> World {
    let audit = Box::new(MemoryAudit::new());
    let engine = Engine::open(Box::new(MemoryStore::new()), audit, policies(POLICIES), BEGINNING).unwrap();
    let engine = engine.with_authenticator("door", Box::new(Door)).unwrap();
    let mut limits = limits();
    limits.failed_authentications = Some(FailedAuthentications { burst: 2, per_minute: 1 });
    World::start_with(engine, Behind::Upstream, limits)
}

fn status(world: &World, path: &str, badge: &str) -> u16 {
    let mut client = world.connect();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Badge: {badge}\r\n\r\n"));
    client.response().unwrap().status
}

#[test]
fn foreign_principal_is_let_in_and_told_as_no_token() {
    let world = start();
    assert_eq!(status(&world, "/api/things", "good"), 200);
    assert_eq!(world.record.take().1[0].token, None);
    assert_eq!(status(&world, "/api/other", "good"), 403);
    let logged = world.logged();
    assert_eq!(logged.matches("foreign=\"door:100000000000000\"").count(), 2, "{logged}");
    assert!(!logged.contains("token=1"), "{logged}");
}

#[test]
fn refused_credentials_are_counted_as_failed_authentications_and_limited() {
    let world = start();
    let seen: Vec<u16> = (0..3).map(|_| status(&world, "/api/things", "forged")).collect();
    assert_eq!(seen, [401, 401, 429]);
    let logged = world.logged();
    assert!(logged.contains("door: the badge is forged"), "{logged}");
    // Whoever has a good one is let in all the same.
    assert_eq!(status(&world, "/api/things", "good"), 200);
}
