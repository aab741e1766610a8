//! The wire contract, route by route.

use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies, request};
use rolegate::audit::{Audit, AuditEntry, AuditError, AuditEvent, MemoryAudit};
use rolegate::engine::Engine;
use rolegate::store::memory::MemoryStore;
use rolegate::time::Timestamp;
use rolegate::token::Secret;
use serde_json::{Value, json};

const TOKENS: &str = "/api/security/tokens";
const POLICIES: &str = r#"
open("GET /health");
authenticated([
    "GET /api/server/info", "GET /api/server/status",
    "GET /api/user/session/availableRoles", "GET /api/user/authorization/for",
]);
permission("manage-service-tokens", ["GET,POST /api/security/tokens", "DELETE /api/security/tokens/{id}"]);
permission("read-settings", ["GET /api/node"]);
permission("grant-any-role", []);
role("stackstate-admin").grants(["manage-service-tokens", "grant-any-role"]);
role("stackstate-guest").grants(["read-settings"]);
role("everything").allow("ANY /**");
"#;

struct Api {
    world: World,
    admin: Token,
    guest: Token,
    everything: Token,
}

impl Api {
    fn start() -> Self {
        Self::start_with(POLICIES, Box::new(MemoryAudit::new()))
    }

    fn start_with(script: &str, audit: Box<dyn Audit>) -> Self {
        let store = MemoryStore::new();
        let [admin, guest, everything] =
            ["stackstate-admin", "stackstate-guest", "everything"].map(|role| add_token(&store, role, None));
        let engine = Engine::open(Box::new(store), audit, policies(script), BEGINNING).unwrap();
        Self { world: World::start_with(engine, Behind::Api, limits()), admin, guest, everything }
    }

    fn create(&self, body: &Value) -> super::client::Response {
        self.world.ask("POST", TOKENS, Some(&self.admin), &body.to_string())
    }

    fn listed(&self) -> Vec<Value> {
        let response = self.world.get(TOKENS, Some(&self.admin));
        assert_eq!(response.status, 200);
        response.json().as_array().unwrap().clone()
    }

    /// The token that an answer to a creation tells, with the id that the list has for its name.
    fn token_of(&self, created: &Value) -> Token {
        let id = self.listed().iter().find(|item| item["name"] == created["name"]).unwrap()["id"].as_u64();
        let secret = Secret::parse(created["token"].as_str().unwrap()).unwrap().0;
        Token { id: rolegate::token::TokenId::new(id.unwrap()).unwrap(), secret }
    }
}

#[test]
fn server_info_passes_the_version_gate_of_clients() {
    let api = Api::start();
    let response = api.world.get("/api/server/info", Some(&api.guest));
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let expected = json!({
        "version": {"major": 5, "minor": 1, "patch": 3, "diff": "", "commit": "", "isDev": false},
        "deploymentMode": "SelfHosted",
        "applicationDomains": ["Observability"],
    });
    assert_eq!(response.json(), expected);
}

#[test]
fn status_and_health_tell_that_the_server_is_ready() {
    let api = Api::start();
    let status = api.world.get("/api/server/status", Some(&api.guest));
    let expected = json!({"status": "ready", "version": env!("CARGO_PKG_VERSION"), "apiVersion": "5.1.3"});
    assert_eq!((status.status, status.json()), (200, expected));
    let health = api.world.get("/health", None);
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ready"}"#));
    assert_eq!(api.world.get("/api/server/status", None).status, 401);
}

#[test]
fn health_of_a_server_that_drains_is_503() {
    let mut api = Api::start();
    let mut client = api.world.connect();
    let health = request("GET", "/health", None, "");
    let (begun, rest) = health.split_at(10);
    client.send(begun);
    // The server has read what was sent before it answers what was sent after, and waits for the rest.
    assert_eq!(api.world.get("/health", None).status, 200);
    api.world.shut_down();
    while std::net::TcpStream::connect(api.world.address).is_ok() {
        std::thread::yield_now();
    }
    client.send(rest);
    let response = client.response().unwrap();
    assert_eq!((response.status, response.body.as_str()), (503, r#"{"status":"draining"}"#));
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn created_token_works_until_it_is_deleted() {
    let api = Api::start();
    let created = api.create(&json!({"name": "ci", "roles": ["stackstate-guest"]}));
    assert_eq!((created.status, created.header("content-type")), (200, Some("application/json")));
    let body = created.json();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "name", "token"]);
    let token = api.token_of(&body);
    assert_eq!(body["id"], token.id.get());
    assert_eq!(api.world.get("/api/server/status", Some(&token)).status, 200);

    let path = format!("{TOKENS}/{}", token.id);
    let deleted = api.world.ask("DELETE", &path, Some(&api.admin), "");
    assert_eq!((deleted.status, deleted.header("content-length")), (204, None));
    assert_eq!(api.world.get("/api/server/status", Some(&token)).status, 401);
    let again = api.world.ask("DELETE", &path, Some(&api.admin), "");
    assert_eq!((again.status, again.message()), (404, format!("no service token has the id {}", token.id)));
}

#[test]
fn list_has_every_field_of_the_contract_and_no_secret() {
    let api = Api::start();
    let expiry = BEGINNING.as_millis() + 1;
    let created = api.create(&json!({
        "name": "full", "roles": ["stackstate-guest", "stackstate-admin"], "expiryDate": expiry,
        "dedicatedSubject": "subject", "description": "what for", "unheardOf": {"x": [1]},
    }));
    assert_eq!(created.json()["expiration"], expiry);
    let response = api.world.get(TOKENS, Some(&api.admin));
    let listed = response.json();
    let full = listed.as_array().unwrap().iter().find(|item| item["name"] == "full").unwrap().clone();
    let expected = json!({
        "id": full["id"].as_u64().unwrap(), "lastUpdateTimestamp": BEGINNING.as_millis(), "name": "full",
        "description": "what for", "expiration": expiry, "roles": ["stackstate-guest", "stackstate-admin"],
        "dedicatedSubject": "subject", "state": "live",
    });
    assert_eq!(full, expected);
    let plain = listed.as_array().unwrap().iter().find(|item| item["name"] == "token of everything").unwrap();
    let keys: Vec<_> = plain.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "lastUpdateTimestamp", "name", "roles", "state"]);
    for secret in [created.json()["token"].as_str().unwrap(), api.admin.secret.expose()] {
        assert!(!response.body.contains(secret) && !api.world.logged().contains(secret));
    }
}

#[test]
fn empty_subject_and_null_are_absent() {
    let api = Api::start();
    let body =
        json!({"name": "n", "roles": [], "dedicatedSubject": "", "expiryDate": null, "description": null});
    assert_eq!(api.create(&body).status, 200);
    let listed = api.listed();
    let keys = listed.iter().find(|item| item["name"] == "n").unwrap().as_object().unwrap().len();
    assert_eq!(keys, 5, "id, lastUpdateTimestamp, name, roles, state");
}

#[test]
fn expiry_in_the_past_is_refused_and_one_millisecond_is_enough() {
    let api = Api::start();
    let body = |expiry: i64| json!({"name": "n", "roles": ["stackstate-guest"], "expiryDate": expiry});
    for past in [BEGINNING.as_millis(), 0, -1, i64::MIN] {
        let refused = api.create(&body(past));
        assert_eq!(refused.status, 400);
        assert_eq!(
            refused.body,
            r#"{"_type":"ServiceTokenInvalidExpiryError","message":"the expiry date lies in the past"}"#
        );
    }
    let created = api.create(&body(BEGINNING.as_millis() + 1));
    let token = api.token_of(&created.json());
    assert_eq!(api.world.get("/api/server/status", Some(&token)).status, 200);
    api.world.set_now(Timestamp::from_millis(BEGINNING.as_millis() + 1));
    assert_eq!(api.world.get("/api/server/status", Some(&token)).status, 401);
}

#[test]
fn bad_creations_are_refused_with_what_is_wrong_and_where() {
    let api = Api::start();
    let told: Vec<String> = [
        "",
        "[]",
        r#"{"roles":[]}"#,
        r#"{"name":"n"}"#,
        r#"{"name":null,"roles":[]}"#,
        r#"{"name":1,"roles":[]}"#,
        r#"{"name":"n","roles":"r"}"#,
        r#"{"name":"n","roles":["stackstate-guest",1]}"#,
        r#"{"name":"n","roles":["a b"]}"#,
        r#"{"name":"n","roles":[""]}"#,
        r#"{"name":"n","roles":["stackstate-nobody"]}"#,
        r#"{"name":"n","roles":[],"expiryDate":"2030-01-01"}"#,
        r#"{"name":"n","roles":[],"expiryDate":9223372036854775808}"#,
        r#"{"name":"n","roles":[],"dedicatedSubject":7}"#,
        r#"{"name":"n","roles":[],"name":"m"}"#,
        r#"{"name":"a\nb","roles":[]}"#,
    ]
    .iter()
    .map(|body| {
        let refused = api.world.ask("POST", TOKENS, Some(&api.admin), body);
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (400, Some("application/json")),
            "{body}"
        );
        refused.message()
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(api.listed().len(), 3, "nothing was created");
}

#[test]
fn creation_at_the_limits_succeeds_and_beyond_them_does_not() {
    let api = Api::start();
    let status = |name: usize, roles: usize| {
        api.create(&json!({"name": "n".repeat(name), "roles": vec!["stackstate-guest"; roles]})).status
    };
    assert_eq!(status(256, 64), 200);
    assert_eq!(status(257, 64), 400);
    assert_eq!(status(256, 65), 400);
}

#[test]
fn delete_takes_numbers_only() {
    let api = Api::start();
    for (id, expected) in [
        ("999999999999999", 404),
        ("1", 404),
        ("0107484341630693", 404),
        ("99999999999999999999999999", 404),
        ("abc", 400),
        ("-1", 400),
        ("+1", 400),
        ("0x2a", 400),
        ("1.5", 400),
    ] {
        let refused = api.world.ask("DELETE", &format!("{TOKENS}/{id}"), Some(&api.admin), "");
        assert_eq!(refused.status, expected, "{id}: {refused:?}");
    }
    assert_eq!(api.listed().len(), 3);
}

#[test]
fn token_is_deleted_under_one_spelling_of_its_id() {
    let api = Api::start();
    let created = api.create(&json!({"name": "ci", "roles": ["stackstate-guest"]}));
    let id = api.token_of(&created.json()).id;
    let status = |id: &str| api.world.ask("DELETE", &format!("{TOKENS}/{id}"), Some(&api.admin), "").status;
    assert_eq!((status(&format!("0{id}")), status(&format!("%30{id}"))), (404, 404));
    assert_eq!(api.listed().len(), 4);
    assert_eq!(status(&id.to_string()), 204);
    assert_eq!(api.listed().len(), 3);
}

#[test]
fn creation_whose_token_is_deleted_before_the_body_arrives_is_401() {
    let api = Api::start();
    let unauthenticated = api.world.ask("POST", TOKENS, None, "").without_moment();
    let body = json!({"name": "late", "roles": ["stackstate-guest"]}).to_string();
    for is_deleted in [false, true] {
        let own = api.create(&json!({"name": format!("own {is_deleted}"), "roles": ["stackstate-admin"]}));
        let own = api.token_of(&own.json());
        let whole = request("POST", TOKENS, Some(&own), &body)
            .replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        let (head, _) = whole.split_at(whole.len() - body.len());
        let mut client = api.world.connect();
        client.send(head);
        assert_eq!(client.any_response("POST").unwrap().status, 100);
        if is_deleted {
            let deleted = api.world.ask("DELETE", &format!("{TOKENS}/{}", own.id), Some(&api.admin), "");
            assert_eq!(deleted.status, 204);
        }
        client.send(&body);
        let answer = client.response().unwrap();
        assert_eq!(answer.status, if is_deleted { 401 } else { 200 });
        if is_deleted {
            assert_eq!(answer.without_moment(), unauthenticated);
        }
    }
    assert_eq!(api.listed().iter().filter(|token| token["name"] == "late").count(), 1);
}

#[test]
fn open_route_does_not_wait_for_a_body_and_a_creation_does() {
    let api = Api::start();
    let body = json!({"name": "ci", "roles": ["stackstate-guest"]}).to_string();
    for (method, target, token) in [("GET", "/health", None), ("POST", TOKENS, Some(&api.admin))] {
        let whole = request(method, target, token, &body);
        let (head, _) = whole.split_at(whole.len() - body.len());
        let mut client = api.world.connect();
        client.send(head);
        if token.is_some() {
            client.send(&body);
        }
        assert_eq!(client.response().unwrap().status, 200, "{method} {target}");
    }
}

#[test]
fn methods_that_a_route_has_not_are_405_with_those_that_it_has() {
    let api = Api::start();
    for (method, path, allow) in [
        ("PUT", TOKENS, "GET, HEAD, POST"),
        ("DELETE", TOKENS, "GET, HEAD, POST"),
        ("OPTIONS", TOKENS, "GET, HEAD, POST"),
        ("PUT", "/api/security/tokens/107484341630693", "GET, HEAD, PATCH, DELETE"),
        ("POST", "/api/security/tokens/107484341630693", "GET, HEAD, PATCH, DELETE"),
        ("GET", "/api/security/tokens/107484341630693/rotate", "POST"),
        ("PATCH", "/api/security/tokens/107484341630693/disable", "POST"),
        ("DELETE", "/api/security/tokens/107484341630693/enable", "POST"),
        ("POST", "/api/server/info", "GET, HEAD"),
        ("POST", "/api/server/status", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
        ("PATCH", "/api/user/session/availableRoles", "GET, HEAD"),
        ("PUT", "/api/user/authorization/for", "GET, HEAD"),
    ] {
        let response = api.world.ask(method, path, Some(&api.everything), "");
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{method} {path}");
        assert_eq!(response.message(), format!("this route has the methods {allow}"));
    }
}

#[test]
fn permitted_paths_without_a_route_are_404() {
    let api = Api::start();
    for path in [
        "/",
        "/api",
        "/api/node",
        "/admin/clear",
        "/api/server/info/",
        "/api/security/tokens/",
        "/api/security/tokens/107484341630693/",
        "/api/security/tokens/107484341630693/forget",
        "/api/security/tokens/107484341630693/rotate/",
        "/health/",
    ] {
        let response = api.world.get(path, Some(&api.everything));
        let expected = if path == "/api/security/tokens/" { 400 } else { 404 };
        assert_eq!(response.status, expected, "{path}");
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
    assert_eq!(api.world.get("/admin/clear", Some(&api.admin)).status, 403);
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let api = Api::start();
    for path in ["/api/server/info", TOKENS] {
        let get = api.world.get(path, Some(&api.admin));
        let head = api.world.ask("HEAD", path, Some(&api.admin), "");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.without_moment().headers, get.without_moment().headers);
    }
}

#[test]
fn denial_names_route_permission_and_decision() {
    let api = Api::start();
    let response = api.world.get(TOKENS, Some(&api.guest));
    assert_eq!((response.status, response.header("content-type")), (403, Some("application/json")));
    let body = response.json();
    let decision = body["trackingKey"].as_str().unwrap();
    let message =
        "this token may not `GET /api/security/tokens`: it takes the permission `manage-service-tokens`";
    assert_eq!(response.message(), format!("{message} (decision {decision})"));
    assert_eq!(body["_type"], "ErrorsResponse");
    assert_eq!(body["errors"][0]["_type"], "InternalError");
    assert_eq!(body["serverTimestamp"], BEGINNING.as_millis());
    assert!(api.world.logged().contains(decision), "the log has the decision");

    let nowhere = api.world.get("/nowhere", Some(&api.guest));
    let decision = nowhere.json()["trackingKey"].as_str().unwrap().to_owned();
    assert_eq!(nowhere.message(), format!("this token may not `GET /nowhere` (decision {decision})"));
}

#[test]
fn denial_names_no_permission_that_the_token_holds() {
    let deny = r#"
deny("DELETE /api/security/tokens/{id}");
role("second").grants("manage-service-tokens");
"#;
    let api = Api::start_with(&format!("{POLICIES}{deny}"), Box::new(MemoryAudit::new()));
    let path = format!("{TOKENS}/{}", api.guest.id);
    let response = api.world.ask("DELETE", &path, Some(&api.admin), "");
    let decision = response.json()["trackingKey"].as_str().unwrap().to_owned();
    let message = format!("this token may not `DELETE {path}` (decision {decision})");
    assert_eq!((response.status, response.message()), (403, message));
    let message = api.world.ask("DELETE", &path, Some(&api.guest), "").message();
    assert!(message.contains(": it takes the permission `manage-service-tokens` (decision "), "{message}");
}

#[test]
fn every_answer_has_the_common_headers() {
    let api = Api::start();
    let answers = [
        api.world.get("/health", None),
        api.world.get(TOKENS, None),
        api.world.get(TOKENS, Some(&api.guest)),
        api.world.get("/api/none", Some(&api.everything)),
        api.world.get("//", Some(&api.everything)),
        api.world.ask("POST", TOKENS, Some(&api.admin), "x"),
        api.world.ask("DELETE", "/api/security/tokens/1", Some(&api.admin), ""),
    ];
    let mut ids = Vec::new();
    for (answer, status) in answers.iter().zip([200, 401, 403, 404, 400, 400, 404]) {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        ids.push(answer.header("x-request-id").unwrap());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), answers.len(), "two requests have one id");
}

#[test]
fn roles_are_those_of_the_token() {
    let api = Api::start();
    let response = api.world.get("/api/user/session/availableRoles", Some(&api.guest));
    assert_eq!((response.status, response.body.as_str()), (200, r#"{"roles":["stackstate-guest"]}"#));
}

#[test]
fn authorization_tells_whether_the_token_holds_a_permission() {
    let api = Api::start();
    let ask = |query: &str, token| api.world.get(&format!("/api/user/authorization/for{query}"), Some(token));
    assert_eq!(ask("?permission=read-settings", &api.guest).status, 204);
    assert_eq!(ask("?permission=read-settings&resourceName=system", &api.guest).status, 204);
    assert_eq!(ask("?permission=read%2dsettings", &api.guest).status, 204);
    assert_eq!(ask("?permission=manage-service-tokens", &api.admin).status, 204);
    let denied = ask("?permission=manage-service-tokens", &api.guest);
    assert_eq!(
        (denied.status, denied.message().as_str()),
        (403, "this token does not hold `manage-service-tokens`")
    );
    for (query, message) in [
        ("", "the query has no `permission`"),
        ("?permission=fly", "no policy defines the permission `fly`"),
        ("?permission=a&permission=b", "`permission`: the query parameter is given more than once"),
        ("?permission=%ff", "`permission`: the query parameter is not encoded text"),
    ] {
        let refused = ask(query, &api.guest);
        assert_eq!((refused.status, refused.message().as_str()), (400, message), "{query}");
    }
}

#[test]
fn tokens_are_changed_by_holders_of_a_token_only() {
    let open = r#"open(["ANY /api/security/tokens", "DELETE /api/security/tokens/{id}"]);"#;
    let api = Api::start_with(&format!("{POLICIES}{open}"), Box::new(MemoryAudit::new()));
    let body = r#"{"name":"n","roles":[]}"#;
    assert_eq!(api.world.ask("POST", TOKENS, None, body).status, 403);
    let path = format!("{TOKENS}/{}", api.guest.id);
    assert_eq!(api.world.ask("DELETE", &path, None, "").status, 403);
    assert_eq!(api.listed().len(), 3);
    assert_eq!(api.world.ask("POST", TOKENS, Some(&api.guest), body).status, 200);
}

/// Records the start and nothing after it, as an audit log on a disk that filled up.
#[derive(Debug)]
struct Full;

impl Audit for Full {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        match entry.event {
            AuditEvent::Started { .. } => Ok(()),
            _ => Err(AuditError::Other("/secret/path: no space left".into())),
        }
    }
}

#[test]
fn change_that_cannot_be_audited_is_refused_and_the_client_learns_no_path() {
    let api = Api::start_with(POLICIES, Box::new(Full));
    let guest = format!("{TOKENS}/{}", api.guest.id);
    let all = Some(&api.everything);
    let answers = [
        api.create(&json!({"name": "n", "roles": []})),
        api.world.ask("DELETE", &guest, all, ""),
        api.world.ask("PATCH", &guest, all, r#"{"name":"n"}"#),
        api.world.ask("POST", &format!("{guest}/rotate"), all, ""),
        api.world.ask("POST", &format!("{guest}/disable"), all, ""),
    ];
    for (refused, what) in answers.iter().zip(["created", "deleted", "updated", "rotated", "disabled"]) {
        let message =
            format!("the service token was not {what}: this server cannot write; its log names the cause");
        assert_eq!((refused.status, refused.message()), (500, message));
        assert!(!refused.body.contains("/secret/path"));
    }
    assert_eq!(api.listed().len(), 3);
    assert_eq!(api.world.get("/api/server/status", Some(&api.guest)).status, 200);
}

/// The description of all routes, as a document.
#[cfg(feature = "config")]
fn description() -> serde_yaml::Value {
    serde_yaml::from_str(include_str!("../../../docs/openapi.yaml")).unwrap()
}

#[cfg(feature = "config")]
#[test]
fn description_names_the_methods_of_every_route() {
    let api = Api::start();
    let description = description();
    let paths = description["paths"].as_mapping().unwrap();
    assert!(paths.len() > 15);
    for (path, item) in paths {
        let path = path.as_str().unwrap().replace("{id}", "100000000000000");
        let names = item.as_mapping().unwrap().keys().map(|name| name.as_str().unwrap().to_uppercase());
        let mut described: Vec<String> = names.filter(|name| name != "PARAMETERS").collect();
        if described.contains(&"GET".to_owned()) {
            described.push("HEAD".to_owned());
        }
        described.sort();
        let refused = api.world.ask("PUT", &path, Some(&api.everything), "{}");
        assert_eq!(refused.status, 405, "{path}");
        let mut allowed: Vec<_> = refused.header("allow").unwrap().split(", ").map(str::to_owned).collect();
        allowed.sort();
        assert_eq!(allowed, described, "{path}");
    }
}

#[cfg(feature = "config")]
#[test]
fn description_is_served_and_is_of_this_version() {
    let api = Api::start();
    let served = api.world.get("/api/openapi.yaml", Some(&api.everything));
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/yaml")));
    assert_eq!(served.body, include_str!("../../../docs/openapi.yaml"));
    assert_eq!(description()["info"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
}
