//! The life of a token over HTTP: describe, rotate, disable, enable, update.

use super::client::Response;
use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::store::memory::MemoryStore;
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{Insertion, Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{Secret, SecretKind, TokenId, TokenOrigin, TokenRecord};
use serde_json::{Value, json};
use std::sync::Barrier;

const TOKENS: &str = "/api/security/tokens";
const POLICIES: &str = r#"
authenticated("GET /api/server/status");
permission("manage-service-tokens", [
    "GET,POST /api/security/tokens", "GET,PATCH,DELETE /api/security/tokens/{id}",
    "POST /api/security/tokens/{id}/rotate", "POST /api/security/tokens/{id}/disable",
    "POST /api/security/tokens/{id}/enable",
    "GET /api/security/tokens/{id}/usage",
]);
role("stackstate-guest").allow("GET /api/guest");
role("stackstate-admin").includes("stackstate-guest").grants(["manage-service-tokens"]);
role("beyond").allow("GET /beyond");
"#;
const MINUTE_MS: i64 = 60_000;

struct Api {
    world: World,
    admin: Token,
    guest: Token,
    bootstrap: TokenId,
}

impl Api {
    fn start() -> Self {
        let store = MemoryStore::new();
        let admin = add_token(&store, "stackstate-admin", None);
        let guest = add_token(&store, "stackstate-guest", Some(after(1_000 * MINUTE_MS)));
        let bootstrap = TokenId::generate().unwrap();
        let record = store.get(admin.id).unwrap().unwrap();
        let secret = Secret::parse("the-bootstrap-token-of-these-tests").unwrap().0;
        let record = TokenRecord {
            id: bootstrap,
            digest: secret.digest(),
            kind: SecretKind::Chosen,
            origin: TokenOrigin::Bootstrap,
            name: "bootstrap".into(),
            ..record
        };
        assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
        let usage = Usage { last_used: after(-5), count: 7, routes: Vec::new() };
        store.record_uses(&[TokenUse { id: bootstrap, usage }]).unwrap();
        let audit = Box::new(MemoryAudit::new());
        let engine = Engine::open(Box::new(store), audit, policies(POLICIES), BEGINNING).unwrap();
        let world = World::start_with(engine, Behind::Api, limits());
        Self { world, admin, guest, bootstrap }
    }

    /// The administrator's request about a token, or to do something with it.
    fn ask(&self, method: &str, id: TokenId, action: &str, body: &str) -> Response {
        let path =
            if action.is_empty() { format!("{TOKENS}/{id}") } else { format!("{TOKENS}/{id}/{action}") };
        self.world.ask(method, &path, Some(&self.admin), body)
    }

    fn update(&self, id: TokenId, changes: &Value) -> Response {
        self.ask("PATCH", id, "", &changes.to_string())
    }

    fn described(&self, id: TokenId) -> Value {
        let response = self.ask("GET", id, "", "");
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// The guest's token with another secret.
    fn rotate(&self, body: &str) -> (Value, Token) {
        let response = self.ask("POST", self.guest.id, "rotate", body);
        assert_eq!(response.status, 200, "{response:?}");
        let told = response.json();
        let secret = Secret::parse(told["token"].as_str().unwrap()).unwrap().0;
        (told, Token { id: self.guest.id, secret })
    }

    fn status_of(&self, token: &Token) -> u16 {
        self.world.get("/api/server/status", Some(token)).status
    }
}

fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(BEGINNING.as_millis() + millis)
}

#[test]
fn description_tells_all_but_the_secret() {
    let api = Api::start();
    let response = api.ask("GET", api.guest.id, "", "");
    let expected = json!({
        "id": api.guest.id.get(), "lastUpdateTimestamp": after(-86_400_000).as_millis(),
        "name": "token of stackstate-guest", "expiration": after(1_000 * MINUTE_MS).as_millis(),
        "roles": ["stackstate-guest"], "state": "live", "useCount": 0, "created": after(-86_400_000).as_millis(), "origin": "api",
        "fingerprint": api.guest.secret.digest().fingerprint(),
    });
    assert_eq!((response.status, response.json()), (200, expected));
    assert!(!response.body.contains(api.guest.secret.expose()));
    let used = api.described(api.bootstrap);
    assert_eq!(used["origin"], "bootstrap");
    assert_eq!((&used["lastUsed"], &used["useCount"]), (&json!(after(-5).as_millis()), &json!(7)));
    let head = api.ask("HEAD", api.guest.id, "", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn every_operation_is_refused_for_what_is_no_token_and_for_those_who_may_not() {
    let api = Api::start();
    let body = r#"{"name":"n","roles":[]}"#;
    let id = api.world.ask("POST", TOKENS, Some(&api.admin), body).json()["id"].to_string();
    let unauthenticated = api.world.get(TOKENS, None).body;
    for (method, action, body) in [
        ("GET", "", ""),
        ("PATCH", "", r#"{"name":"n"}"#),
        ("POST", "/disable", ""),
        ("POST", "/enable", ""),
        ("POST", "/rotate", ""),
    ] {
        let ask = |id: &str, token| api.world.ask(method, &format!("{TOKENS}/{id}{action}"), token, body);
        let nobody = ask("999999999999999", Some(&api.admin));
        let told = (nobody.status, nobody.message());
        assert_eq!(told, (404, "no service token has the id 999999999999999".into()), "{method} {action}");
        let spelled = ask(&format!("0{id}"), Some(&api.admin));
        assert_eq!((spelled.status, ask("x", Some(&api.admin)).status), (404, 400), "{method} {action}");
        let denied = ask(&id, Some(&api.guest));
        assert_eq!(denied.status, 403);
        assert!(denied.message().contains("manage-service-tokens"), "{}", denied.message());
        let nobodys = ask(&id, None);
        assert_eq!((nobodys.status, &nobodys.body), (401, &unauthenticated));
        let done = ask(&id, Some(&api.admin));
        assert_eq!(done.status, 200, "{method} {action}: {done:?}");
    }
}

#[test]
fn rotation_without_grace_ends_the_old_secret_before_the_answer() {
    for body in ["", "{}", r#"{"gracePeriod":null}"#, r#"{"gracePeriod":0}"#] {
        let api = Api::start();
        let before = api.described(api.guest.id);
        let (told, new) = api.rotate(body);
        let after = api.described(api.guest.id);
        assert_eq!((api.status_of(&api.guest), api.status_of(&new)), (401, 200), "{body}");
        let keys: Vec<_> = told.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["expiration", "id", "name", "token"]);
        let mut expected = before;
        expected["fingerprint"] = json!(new.secret.digest().fingerprint());
        expected["lastUpdateTimestamp"] = json!(BEGINNING.as_millis());
        assert_eq!(after, expected, "id, name, roles and expiry stay");
    }
}

#[test]
fn old_secret_lives_on_for_the_grace_and_not_a_millisecond_longer() {
    let api = Api::start();
    let grace = 10 * MINUTE_MS;
    let (told, new) = api.rotate(&json!({"gracePeriod": grace}).to_string());
    assert_eq!(told["formerExpiration"], after(grace).as_millis());
    assert_eq!(api.described(api.guest.id)["formerExpiration"], after(grace).as_millis());
    api.world.set_now(after(grace - 1));
    assert_eq!((api.status_of(&api.guest), api.status_of(&new)), (200, 200));
    api.world.set_now(after(grace));
    let refused = api.world.get("/api/server/status", Some(&api.guest)).without_moment();
    assert_eq!(refused, api.world.get("/api/server/status", None).without_moment());
    assert_eq!(api.status_of(&new), 200);
    assert!(api.described(api.guest.id).get("formerExpiration").is_none());
}

#[test]
fn old_secret_never_outlives_its_token() {
    let api = Api::start();
    let (told, new) = api.rotate(&json!({"gracePeriod": 2_000 * MINUTE_MS}).to_string());
    assert_eq!(told["formerExpiration"], told["expiration"]);
    let sooner = after(MINUTE_MS);
    let updated = api.update(api.guest.id, &json!({"expiryDate": sooner.as_millis()}));
    assert_eq!((updated.status, &updated.json()["formerExpiration"]), (200, &json!(sooner.as_millis())));
    api.world.set_now(after(MINUTE_MS - 1));
    assert_eq!((api.status_of(&api.guest), api.status_of(&new)), (200, 200));
    api.world.set_now(sooner);
    assert_eq!((api.status_of(&api.guest), api.status_of(&new)), (401, 401));
}

#[test]
fn next_rotation_ends_the_secret_before_the_last() {
    let api = Api::start();
    let body = json!({"gracePeriod": MINUTE_MS}).to_string();
    let (_, second) = api.rotate(&body);
    let (_, third) = api.rotate(&body);
    let statuses = [&api.guest, &second, &third].map(|token| api.status_of(token));
    assert_eq!(statuses, [401, 200, 200]);
}

#[test]
fn grace_has_a_limit() {
    let api = Api::start();
    let month_ms = 30 * 24 * 60 * MINUTE_MS;
    let rotated = |millis: &str| {
        let answer = api.ask("POST", api.bootstrap, "rotate", &format!("{{\"gracePeriod\":{millis}}}"));
        (answer.status, answer.message())
    };
    assert_eq!(
        rotated(&month_ms.to_string()).0,
        409,
        "the configuration rules the token, the grace is right"
    );
    let too_long = "a secret lives on for at most 30 days after its rotation".to_owned();
    assert_eq!(rotated(&(month_ms + 1).to_string()), (400, too_long));
    assert_eq!(rotated("-1").0, 400);
    let unknown = api.ask("POST", api.guest.id, "rotate", r#"{"grace":5}"#);
    let message = "the request body has `grace`, but this route knows only `gracePeriod`".to_owned();
    assert_eq!((unknown.status, unknown.message()), (400, message));
    assert_eq!(api.status_of(&api.guest), 200);
}

#[test]
fn disabled_token_is_refused_like_any_other_until_it_is_enabled() {
    let api = Api::start();
    let disabled = api.ask("POST", api.guest.id, "disable", "");
    assert_eq!((disabled.status, &disabled.json()["disabled"]), (200, &json!(BEGINNING.as_millis())));
    assert_eq!(
        (&disabled.json()["state"], api.described(api.guest.id)["state"].as_str()),
        (&json!("disabled"), Some("disabled"))
    );
    let refused = api.world.get("/api/server/status", Some(&api.guest)).without_moment();
    assert_eq!(refused, api.world.get("/api/server/status", None).without_moment());
    let again = api.ask("POST", api.guest.id, "disable", "");
    assert_eq!((again.status, again.json()), (200, disabled.json()), "nothing is left to be done");
    let enabled = api.ask("POST", api.guest.id, "enable", "");
    assert_eq!((enabled.status, enabled.json().get("disabled")), (200, None));
    assert_eq!(api.status_of(&api.guest), 200);
}

#[test]
fn token_that_disables_itself_is_401_from_then_on() {
    let api = Api::start();
    assert_eq!(api.ask("POST", api.admin.id, "disable", "").status, 200);
    assert_eq!(api.ask("POST", api.admin.id, "enable", "").status, 401);
}

#[test]
fn update_changes_what_it_names_and_null_takes_away() {
    let api = Api::start();
    let id = api.guest.id;
    let updated = api.update(id, &json!({"name": "other", "description": "what for"}));
    let told = updated.json();
    assert_eq!(
        (updated.status, &told["name"], &told["description"]),
        (200, &json!("other"), &json!("what for"))
    );
    assert_eq!(told["roles"], json!(["stackstate-guest"]));
    let roles =
        json!({"roles": ["stackstate-admin", "stackstate-admin"], "description": null, "expiryDate": null});
    let told = api.update(id, &roles).json();
    assert_eq!(told["roles"], json!(["stackstate-admin"]));
    assert!(told.get("description").is_none() && told.get("expiration").is_none());
    assert_eq!(api.world.get(TOKENS, Some(&api.guest)).status, 200, "the roles are in force");
    assert_eq!(api.update(id, &json!({"roles": []})).status, 200);
    assert_eq!(api.world.get(TOKENS, Some(&api.guest)).status, 403);
}

#[test]
fn updates_that_cannot_be_are_told_and_change_nothing() {
    let api = Api::start();
    let before = api.described(api.guest.id);
    let told: Vec<String> = [
        "",
        "{}",
        r#"{"unique":true}"#,
        r#"{"name":null}"#,
        r#"{"roles":null}"#,
        r#"{"name":5}"#,
        r#"{"expiration":5}"#,
        r#"{"expiryDate":"2030-12-31"}"#,
        r#"{"name":"n","unique":"yes"}"#,
        r#"{"name":"n","name":"m"}"#,
        r#"{"name":"a\nb"}"#,
        r#"{"roles":["stackstate-nobody"]}"#,
        r#"{"roles":["a b"]}"#,
        r#"{"expiryDate":5}"#,
    ]
    .iter()
    .map(|body| {
        let refused = api.ask("PATCH", api.guest.id, "", body);
        assert_eq!(refused.status, 400, "{body}");
        let message = refused.json()["message"].as_str().map(str::to_owned);
        format!("{body}: {}", message.unwrap_or_else(|| refused.message()))
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(api.described(api.guest.id), before);
}

#[test]
fn configured_and_expired_tokens_are_409_and_can_be_deleted() {
    let api = Api::start();
    for (method, action, body) in [("POST", "rotate", ""), ("PATCH", "", r#"{"name":"n"}"#)] {
        let refused = api.ask(method, api.bootstrap, action, body);
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(refused.message().contains("is ruled by the configuration"), "{}", refused.message());
    }
    assert_eq!(api.ask("POST", api.bootstrap, "disable", "").status, 200);
    assert_eq!(api.ask("POST", api.bootstrap, "enable", "").status, 200);
    api.world.set_now(after(1_000 * MINUTE_MS));
    for (method, action, body) in
        [("POST", "rotate", ""), ("POST", "enable", ""), ("PATCH", "", r#"{"expiryDate":null}"#)]
    {
        let refused = api.ask(method, api.guest.id, action, body);
        assert_eq!(refused.status, 409, "{method} {action}");
        assert!(
            refused.message().ends_with("can only be deleted: create another one"),
            "{}",
            refused.message()
        );
    }
    for id in [api.bootstrap, api.guest.id] {
        assert_eq!(api.ask("DELETE", id, "", "").status, 204);
    }
}

#[test]
fn names_may_repeat_unless_asked_otherwise() {
    let api = Api::start();
    let create = |unique: bool| {
        let body = json!({"name": "ci", "roles": [], "unique": unique}).to_string();
        api.world.ask("POST", TOKENS, Some(&api.admin), &body)
    };
    assert_eq!([create(true).status, create(false).status], [200, 200]);
    let refused = create(true);
    assert_eq!((refused.status, refused.message()), (409, "another service token has the name `ci`".into()));
    let rename = |unique: bool| api.update(api.guest.id, &json!({"name": "ci", "unique": unique})).status;
    assert_eq!([rename(true), rename(false)], [409, 200]);
}

#[test]
fn token_that_reaches_further_is_not_handed_on() {
    let api = Api::start();
    let refused = api.update(api.guest.id, &json!({"roles": ["stackstate-guest", "beyond"]}));
    assert_eq!(refused.status, 403);
    assert!(refused.message().contains("`GET /beyond`"), "{}", refused.message());
    assert_eq!(api.described(api.guest.id)["roles"], json!(["stackstate-guest"]));
    assert_eq!(api.update(api.guest.id, &json!({"roles": ["stackstate-admin"]})).status, 200);
}

#[test]
fn body_that_comes_after_the_roles_were_taken_away_changes_nothing() {
    let api = Api::start();
    let secret = api.guest.secret.expose();
    let body = r#"{"name":"late","roles":[]}"#;
    for (roles, status) in [("stackstate-admin", 200), ("stackstate-guest", 409)] {
        assert_eq!(api.update(api.guest.id, &json!({"roles": ["stackstate-admin"]})).status, 200);
        let mut client = api.world.connect();
        client.send(format!(
            "POST {TOKENS} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {secret}\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        ));
        assert_eq!(client.any_response("POST").unwrap().status, 100, "it was permitted");
        assert_eq!(api.update(api.guest.id, &json!({"roles": [roles]})).status, 200);
        client.send(body);
        let answer = client.response_to("POST").unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.message().ends_with("under way: send it again"), status == 409);
    }
}

#[test]
fn updates_at_the_same_time_all_apply() {
    const WRITERS: usize = 4;
    let api = Api::start();
    let barrier = Barrier::new(WRITERS);
    let fields = ["name", "description", "expiryDate", "roles"];
    let values = [json!("new"), json!("new"), json!(after(MINUTE_MS).as_millis()), json!([])];
    std::thread::scope(|scope| {
        for (field, value) in fields.iter().zip(&values) {
            let (api, barrier) = (&api, &barrier);
            scope.spawn(move || {
                let body = format!("{{\"{field}\":{value}}}");
                barrier.wait();
                let answer = api.ask("PATCH", api.guest.id, "", &body);
                assert_eq!(answer.status, 200, "{answer:?}");
            });
        }
    });
    let told = api.described(api.guest.id);
    let now = ["name", "description", "expiration", "roles"].map(|key| told[key].clone());
    assert_eq!(now, values, "no update was lost");
}
