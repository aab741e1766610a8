//! `POST /api/rolegate/tokens/lookup`: which digests are those of live tokens.

use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::{Engine, LOOK_UPS_MAX};
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Names, Store as _, Update};
use rolegate::time::Timestamp;
use rolegate::token::{FormerSecret, Secret, SecretKind, TokenRecord};
use serde_json::{Value, json};

const PATH: &str = "/api/rolegate/tokens/lookup";
const POLICIES: &str = r#"
permission("look-up-tokens", ["ANY /api/rolegate/tokens/lookup"]);
permission("manage-service-tokens", ["POST /api/security/tokens", "ANY /api/security/tokens/**"]);
role("scanner").grants(["look-up-tokens", "manage-service-tokens"]);
role("guest");
"#;

struct Installation {
    world: World,
    scanner: Token,
    guest: Token,
    /// A token that expires a second after the beginning.
    brief: Token,
}

fn installation() -> Installation {
    let store = MemoryStore::new();
    let [scanner, guest] = ["scanner", "guest"].map(|role| add_token(&store, role, None));
    let brief = add_token(&store, "guest", Some(Timestamp::from_millis(BEGINNING.as_millis() + 1000)));
    installation_of(store, [scanner, guest, brief])
}

fn installation_of(store: MemoryStore, [scanner, guest, brief]: [Token; 3]) -> Installation {
    let audit = Box::new(MemoryAudit::new());
    let engine = Engine::open(Box::new(store), audit, policies(POLICIES), BEGINNING).unwrap();
    let world = World::start_with(engine, Behind::Api, limits());
    Installation { world, scanner, guest, brief }
}

fn hex(secret: &Secret) -> String {
    secret.digest().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Installation {
    fn ask(&self, token: &Token, digests: &[String]) -> super::client::Response {
        self.world.ask("POST", PATH, Some(token), &json!({ "digests": digests }).to_string())
    }

    /// What is known of the secret of a token, without its digest, id and name.
    fn state(&self, secret: &Secret) -> Option<(String, Option<i64>)> {
        let response = self.ask(&self.scanner, &[hex(secret)]);
        assert_eq!(response.status, 200, "{}", response.body);
        let known = response.json()["tokens"].get(0)?.clone();
        assert_eq!(known["digest"], hex(secret));
        Some((known["state"].as_str()?.to_owned(), known["moment"].as_i64()))
    }
}

#[test]
fn known_digests_are_told_with_their_token_and_others_are_not() {
    let it = installation();
    let unknown = "0".repeat(64);
    let response = it.ask(&it.scanner, &[hex(&it.guest.secret), unknown.clone(), hex(&it.brief.secret)]);
    assert_eq!(response.status, 200);
    let until = BEGINNING.as_millis() + 1000;
    let tokens = response.json()["tokens"].as_array().unwrap().clone();
    let known: Vec<_> =
        tokens.iter().map(|known| (known["id"].as_u64().unwrap(), known["state"].clone())).collect();
    assert_eq!(known, [(it.guest.id.get(), "live".into()), (it.brief.id.get(), "live".into())]);
    assert_eq!((tokens[0].get("moment"), &tokens[1]["moment"]), (None, &Value::from(until)));
    assert!(tokens[0]["name"].is_string());
    assert!(!response.body.contains(&unknown) && !response.body.contains("svctok"));
    assert_eq!(it.ask(&it.scanner, &[]).json(), json!({ "tokens": [] }));
}

#[test]
fn expired_token_is_told_as_such() {
    let it = installation();
    it.world.set_now(Timestamp::from_millis(BEGINNING.as_millis() + 1000));
    let since = BEGINNING.as_millis() + 1000;
    assert_eq!(it.state(&it.brief.secret), Some(("expired".to_owned(), Some(since))));
}

#[test]
fn disabled_token_and_a_former_secret_are_told_as_such() {
    let at = |secs: i64| Timestamp::from_millis(BEGINNING.as_millis() + 1000 * secs);
    for (disabled, own_state, former_state) in [
        (None, ("live", None), ("in-grace", Some(at(60)))),
        (Some(at(-5)), ("disabled", Some(at(-5))), ("disabled", Some(at(-5)))),
    ] {
        let store = MemoryStore::new();
        let [scanner, guest, own] = ["scanner", "guest", "guest"].map(|role| add_token(&store, role, None));
        let former = Secret::generate().unwrap();
        let before = store.get(own.id).unwrap().unwrap();
        let digest = former.digest();
        let after = TokenRecord {
            disabled,
            former: Some(FormerSecret { digest, kind: SecretKind::Generated, expires: at(60) }),
            ..before.clone()
        };
        assert_eq!(store.update(&before, &after, Names::MayRepeat).unwrap(), Update::Done);
        let it = installation_of(store, [scanner, guest, own]);
        let told =
            |(state, at): (&str, Option<Timestamp>)| Some((state.to_owned(), at.map(Timestamp::as_millis)));
        assert_eq!(it.state(&it.brief.secret), told(own_state));
        assert_eq!(it.state(&former), told(former_state));
        it.world.set_now(at(60));
        assert_eq!(it.state(&it.brief.secret), told(own_state));
        assert_eq!(it.state(&former), told(("former", Some(at(60)))));
    }
}

#[test]
fn only_who_may_look_up_is_told_anything() {
    let it = installation();
    let digests = [hex(&it.scanner.secret)];
    assert_eq!(it.ask(&it.guest, &digests).status, 403);
    assert_eq!(it.world.ask("POST", PATH, None, "{}").status, 401);
    let response = it.world.get(PATH, Some(&it.scanner));
    assert_eq!((response.status, response.header("allow")), (405, Some("POST")));
}

#[test]
fn what_is_no_digest_is_refused_and_not_repeated() {
    let it = installation();
    let secret = it.guest.secret.expose().to_owned();
    for (digests, problem) in [
        (
            json!({ "digests": [secret] }),
            "`digests[0]` is not the SHA-256 of a token, as 64 hexadecimal digits",
        ),
        (json!({ "digests": [hex(&it.guest.secret), "abc"] }), "`digests[1]`"),
        (json!({ "digests": "abc" }), "has a string in `digests`"),
        (json!({}), "has no `digests`"),
    ] {
        let response = it.world.ask("POST", PATH, Some(&it.scanner), &digests.to_string());
        assert_eq!(response.status, 400);
        assert!(response.body.contains(problem) && !response.body.contains(&secret), "{}", response.body);
    }
}

#[test]
fn as_many_digests_are_looked_up_as_allowed_and_not_one_more() {
    let it = installation();
    let digests = vec!["0".repeat(64); LOOK_UPS_MAX + 1];
    assert_eq!(it.ask(&it.scanner, &digests[1..]).status, 200);
    let response = it.ask(&it.scanner, &digests);
    assert_eq!(response.status, 400);
    assert!(response.body.contains("more than 10000 digests; send them in parts"), "{}", response.body);
}
