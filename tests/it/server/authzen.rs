//! The Authorization API 1.0 of OpenID AuthZEN: what is asked without having the token is answered as if one had it.

use super::client::Response;
use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::server::Server;
use rolegate::store::Store as _;
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Names, Update};
use rolegate::time::Timestamp;
use rolegate::token::TokenRecord;
use serde_json::{Value, json};
use std::sync::Arc;

const ONE: &str = "/access/v1/evaluation";
const SEVERAL: &str = "/access/v1/evaluations";
const METADATA: &str = "/.well-known/authzen-configuration";
const EVALUATIONS_MAX: usize = 1000;
const ROLES_PER_TOKEN_MAX: usize = 64;
const POLICIES: &str = r#"
permission("evaluate-access", ["ANY /access/v1/evaluation", "ANY /access/v1/evaluations"]);
permission("read-documents", ["GET /documents/{name}"]);
role("pep").grants(["evaluate-access"]);
role("viewer").grants(["read-documents"]);
role("editor").includes("viewer").allow("PUT /documents/{name}");
role("office").allow("GET /office").when(|request| request.client_ip == "192.0.2.7");
role("tagged").allow("GET /tagged").when(|request| request.query("tag") == "x");
role("named").allow("GET /named").when(|request| request.header("x-name") == "y");
role("broken").allow("GET /broken").when(|request| 1 / request.query("n").len() > 0);
deny("ANY /documents/secret");
authenticated("GET /everybody");
open("GET /.well-known/authzen-configuration");
open("GET /open");
"#;

struct Installation {
    world: World,
    pep: Token,
    viewer: Token,
    /// A token that expires a second after the beginning.
    brief: Token,
    disabled: Token,
}

fn installation() -> Installation {
    installation_as(|server| server)
}

fn installation_as(change: impl FnOnce(Server) -> Server) -> Installation {
    let store = MemoryStore::new();
    let [pep, viewer, disabled] = ["pep", "viewer", "viewer"].map(|role| add_token(&store, role, None));
    let brief = add_token(&store, "viewer", Some(Timestamp::from_millis(BEGINNING.as_millis() + 1000)));
    let before = store.get(disabled.id).unwrap().unwrap();
    let after = TokenRecord { disabled: Some(BEGINNING), ..before.clone() };
    assert!(matches!(store.update(&before, &after, Names::MayRepeat).unwrap(), Update::Done));
    let engine =
        Engine::open(Box::new(store), Box::new(MemoryAudit::new()), policies(POLICIES), BEGINNING).unwrap();
    let server = change(Server::new(Arc::new(engine)).with_limits(limits()));
    Installation { world: World::start_server(server, Behind::Api), pep, viewer, brief, disabled }
}

impl Installation {
    /// A request of the one who may ask, with these header fields besides the token.
    fn send(&self, method: &str, path: &str, fields: &str, body: &str) -> Response {
        let mut client = self.world.connect();
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            self.pep.secret.expose(),
            body.len(),
        ));
        client.response_to(method).unwrap()
    }

    fn post(&self, path: &str, body: &str) -> Response {
        self.send("POST", path, "Content-Type: application/json\r\n", body)
    }

    /// The answer to a question that can be answered.
    fn ask(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, &body.to_string());
        assert_eq!(response.status, 200, "{body}: {response:?}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        response.json()
    }

    /// Whether a subject may do something.
    fn may(&self, subject: Value, method: &str, target: &str) -> Value {
        self.ask(ONE, &question(subject, method, target))
    }
}

fn question(subject: Value, method: &str, target: &str) -> Value {
    json!({ "subject": subject, "action": { "name": method }, "resource": { "type": "route", "id": target } })
}

fn token(token: &Token) -> Value {
    json!({ "type": "token", "id": token.id.get().to_string() })
}

fn role(name: &str) -> Value {
    json!({ "type": "role", "id": name })
}

fn permitted() -> Value {
    json!({ "decision": true })
}

#[test]
fn token_may_what_its_roles_may() {
    let it = installation();
    assert_eq!(it.may(token(&it.viewer), "GET", "/documents/plan"), permitted());
    assert_eq!(it.may(token(&it.viewer), "HEAD", "/documents/plan?page=2"), permitted());
    assert_eq!(it.may(token(&it.viewer), "GET", "/everybody"), permitted());
    assert_eq!(
        it.may(token(&it.viewer), "GET", "/%64ocuments/plan"),
        permitted(),
        "in any spelling of one path"
    );
    let denied = [
        it.may(token(&it.viewer), "PUT", "/documents/plan"),
        it.may(token(&it.viewer), "GET", "/documents/secret"),
        it.may(token(&it.pep), "GET", "/documents/plan"),
        it.may(token(&it.viewer), "get", "/documents/plan"),
    ];
    insta::assert_snapshot!(denied.map(|answer| answer.to_string()).join("\n"), @r#"
    {"context":{"reason_admin":{"403":"no rule allows it"},"reason_user":{"403":"it is not permitted"}},"decision":false}
    {"context":{"reason_admin":{"403":"the rule at fixture.rhai:11:1 denies it"},"reason_user":{"403":"it is not permitted"}},"decision":false}
    {"context":{"reason_admin":{"403":"no rule allows it"},"reason_user":{"403":"it takes the permission `read-documents`"}},"decision":false}
    {"context":{"reason_admin":{"403":"no rule allows it"},"reason_user":{"403":"it is not permitted"}},"decision":false}
    "#);
}

#[test]
fn holder_of_roles_may_what_they_may() {
    let it = installation();
    assert_eq!(it.may(role("viewer"), "GET", "/documents/plan"), permitted());
    assert_eq!(it.may(role("viewer"), "GET", "/everybody"), permitted());
    assert_eq!(it.may(role("viewer"), "PUT", "/documents/plan")["decision"], false);
    assert_eq!(it.may(role("editor"), "GET", "/documents/plan"), permitted(), "by the role that it includes");
    let both = json!({ "type": "role", "id": "viewer", "properties": { "roles": ["pep", "viewer"] } });
    assert_eq!(it.may(both.clone(), "GET", "/documents/plan"), permitted());
    assert_eq!(it.may(both.clone(), "POST", ONE), permitted());
    assert_eq!(it.may(both, "PUT", "/documents/plan")["decision"], false);
    // A token has the roles that it has, whatever is said of it.
    let said = json!({ "type": "token", "id": it.viewer.id.get().to_string(), "properties": { "roles": ["editor"] } });
    assert_eq!(it.may(said, "PUT", "/documents/plan")["decision"], false);
}

#[test]
fn role_has_as_many_beside_it_as_a_token_and_not_one_more() {
    let it = installation();
    let with = |others: usize| {
        let others = vec!["pep"; others];
        it.may(
            json!({ "type": "role", "id": "viewer", "properties": { "roles": others } }),
            "GET",
            "/everybody",
        )
    };
    assert_eq!(with(ROLES_PER_TOKEN_MAX - 1), permitted());
    assert_eq!(with(ROLES_PER_TOKEN_MAX)["context"]["error"]["status"], 400);
}

#[test]
fn token_that_is_not_live_may_nothing() {
    let it = installation();
    let of = |target: &str| it.may(token(&it.brief), "GET", target);
    assert_eq!(of("/documents/plan"), permitted());
    assert_eq!(of("/open"), permitted());
    it.world.set_now(Timestamp::from_millis(BEGINNING.as_millis() + 1000));
    let unknown = json!({ "type": "token", "id": "999999999999999" });
    let told = [
        of("/documents/plan"),
        // What is open to nobody's requests is not asked about nobody here.
        of("/open"),
        it.may(token(&it.disabled), "GET", "/documents/plan"),
        it.may(unknown, "GET", "/documents/plan"),
    ];
    let told = told.map(|answer| answer.to_string()).join("\n");
    let told = told.replace(&it.brief.id.get().to_string(), "BRIEF");
    insta::assert_snapshot!(told.replace(&it.disabled.id.get().to_string(), "DISABLED"), @r#"
    {"context":{"reason_admin":{"401":"the token BRIEF has expired"},"reason_user":{"401":"the token is not live"}},"decision":false}
    {"context":{"reason_admin":{"401":"the token BRIEF has expired"},"reason_user":{"401":"the token is not live"}},"decision":false}
    {"context":{"reason_admin":{"401":"the token DISABLED is disabled"},"reason_user":{"401":"the token is not live"}},"decision":false}
    {"context":{"reason_admin":{"401":"the token is not known"},"reason_user":{"401":"the token is not live"}},"decision":false}
    "#);
    // A clock that goes back revives nobody.
    it.world.set_now(BEGINNING);
    assert_eq!(of("/documents/plan")["decision"], false);
    assert_eq!(it.may(token(&it.viewer), "GET", "/documents/plan"), permitted());
}

#[test]
fn conditions_see_the_query_and_the_address_that_are_told_and_no_headers() {
    let it = installation();
    let at =
        |address: &str| json!({ "type": "role", "id": "office", "properties": { "ip_address": address } });
    assert_eq!(it.may(at("192.0.2.7"), "GET", "/office"), permitted());
    assert_eq!(it.may(at("::ffff:192.0.2.7"), "GET", "/office"), permitted());
    assert_eq!(it.may(at("192.0.2.8"), "GET", "/office")["decision"], false);
    assert_eq!(
        it.may(role("office"), "GET", "/office")["decision"],
        false,
        "not the address of who asks either"
    );
    assert_eq!(it.may(role("tagged"), "GET", "/tagged?tag=x"), permitted());
    assert_eq!(it.may(role("tagged"), "GET", "/tagged?tag=y")["decision"], false);
    assert_eq!(it.may(role("named"), "GET", "/named")["decision"], false);
    assert_eq!(it.may(role("broken"), "GET", "/broken?n=1"), permitted());
    let broken = it.may(role("broken"), "GET", "/broken");
    let why = broken["context"]["reason_admin"]["403"].as_str().unwrap();
    assert!(why.contains("failed"), "{why}");
}

#[test]
fn what_cannot_be_decided_on_is_denied() {
    let it = installation();
    let target = |target: &str| it.may(role("viewer"), "GET", target);
    let resource = |kind: &str| {
        let mut asked = question(role("viewer"), "GET", "/everybody");
        asked["resource"]["type"] = kind.into();
        it.ask(ONE, &asked)
    };
    let told = [
        it.may(json!({ "type": "user", "id": "alice@example.com" }), "GET", "/everybody"),
        it.may(role("nobody"), "GET", "/everybody"),
        it.may(role("not a role"), "GET", "/everybody"),
        it.may(
            json!({ "type": "role", "id": "viewer", "properties": { "roles": ["nobody"] } }),
            "GET",
            "/everybody",
        ),
        resource("document"),
        it.may(role("viewer"), "can read", "/everybody"),
        it.may(role("viewer"), "", "/everybody"),
        it.may(role("viewer"), &"M".repeat(33), "/everybody"),
        target("/a/../everybody"),
        target("/everybody%2f"),
        target("/everybody#x"),
        target("everybody"),
        target("http://localhost/everybody"),
        target(""),
        target("*"),
        target("/every body"),
        target(&format!("/{}", "x".repeat(8192))),
    ];
    assert!(told.iter().all(|answer| answer["decision"] == false));
    insta::assert_snapshot!(told.map(|answer| answer.to_string()).join("\n"));
    assert_eq!(target("/everybody"), permitted());
}

#[test]
fn token_itself_is_no_subject_and_is_repeated_nowhere() {
    let it = installation();
    let secret = it.viewer.secret.expose();
    for asked in [
        question(json!({ "type": "token", "id": secret }), "GET", "/everybody"),
        question(json!({ "type": "role", "id": secret }), "GET", "/everybody"),
        question(json!({ "type": secret, "id": "1" }), "GET", "/everybody"),
        question(json!({ "type": "token", "id": format!("0{}", it.viewer.id.get()) }), "GET", "/everybody"),
    ] {
        let response = it.post(ONE, &asked.to_string());
        assert_eq!((response.status, &response.json()["decision"]), (200, &json!(false)));
        assert!(!response.body.contains(secret), "{response:?}");
    }
    let fields = format!("Content-Type: application/json\r\nX-Request-ID: {secret}\r\n");
    it.send("POST", ONE, &fields, &question(token(&it.viewer), "GET", "/everybody").to_string());
    assert!(!it.world.logged().contains(secret));
}

#[test]
fn nothing_that_is_asked_counts_as_a_request() {
    let it = installation();
    it.world.record.take();
    assert_eq!(it.may(token(&it.viewer), "GET", "/documents/plan"), permitted());
    assert_eq!(it.may(token(&it.viewer), "PUT", "/documents/plan")["decision"], false);
    let (decided, _) = it.world.record.take();
    assert_eq!(decided.iter().map(|decided| decided.path.as_str()).collect::<Vec<_>>(), [ONE, ONE]);
}

#[test]
fn only_who_holds_the_permission_may_ask() {
    let it = installation();
    let body = question(role("viewer"), "GET", "/everybody").to_string();
    for path in [ONE, SEVERAL] {
        assert_eq!(it.post(path, &body).status, 200);
        assert_eq!(it.world.ask("POST", path, None, &body).status, 401);
        let denied = it.world.ask("POST", path, Some(&it.viewer), &body);
        assert_eq!(denied.status, 403);
        assert!(denied.message().contains("it takes the permission `evaluate-access`"), "{denied:?}");
    }
}

#[test]
fn several_questions_are_answered_in_their_order() {
    let it = installation();
    let documents = ["/documents/plan", "/documents/secret", "/documents/notes"];
    let asked = |semantic: Option<&str>| {
        let resources = documents.map(|id| json!({ "resource": { "type": "route", "id": id } }));
        let mut asked = json!({
            "subject": token(&it.viewer),
            "action": { "name": "GET" },
            "evaluations": resources,
        });
        if let Some(semantic) = semantic {
            asked["options"] = json!({ "evaluations_semantic": semantic, "another_option": "value" });
        }
        let answer = it.ask(SEVERAL, &asked);
        assert!(answer.get("decision").is_none());
        let answers = answer["evaluations"].as_array().unwrap();
        answers.iter().map(|answer| answer["decision"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(asked(None), [true, false, true]);
    assert_eq!(asked(Some("execute_all")), [true, false, true]);
    assert_eq!(asked(Some("deny_on_first_deny")), [true, false]);
    assert_eq!(asked(Some("permit_on_first_permit")), [true]);
}

#[test]
fn what_a_question_does_not_say_it_has_from_the_defaults() {
    let it = installation();
    let route = |id: &str| json!({ "type": "route", "id": id });
    let answer = it.ask(
        SEVERAL,
        &json!({
            "subject": { "type": "role", "id": "viewer", "properties": { "roles": ["office"], "ip_address": "192.0.2.7" } },
            "action": { "name": "GET" },
            "resource": route("/documents/plan"),
            "context": { "time": "2024-05-31T15:22-07:00" },
            "evaluations": [
                {},
                { "action": { "name": "PUT" } },
                { "subject": role("editor"), "action": { "name": "PUT" }, "context": { "source": "override" } },
                { "resource": route("/office") },
                // A subject that is said takes the place of the whole default, its roles and its address included.
                { "subject": { "type": "role", "id": "office" }, "resource": route("/office") },
                // Of one that is said in part only its names are filled in.
                { "subject": { "id": "editor" }, "action": { "name": "PUT" } },
                { "subject": { "id": "office", "properties": {} }, "resource": { "id": "/office" } },
                { "subject": null, "resource": { "id": "/everybody" } },
            ],
        }),
    );
    let decisions: Vec<_> = answer["evaluations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["decision"].as_bool().unwrap())
        .collect();
    assert_eq!(decisions, [true, false, true, true, false, true, false, true]);
}

#[test]
fn question_that_is_wrong_denies_itself_alone() {
    let it = installation();
    let answer = it.ask(
        SEVERAL,
        &json!({
            "subject": role("viewer"),
            "action": { "name": "GET" },
            "evaluations": [
                { "resource": { "type": "route", "id": "/everybody" } },
                {},
                { "resource": { "type": "route" } },
                { "resource": { "type": "route", "id": 5 } },
                { "resource": "/everybody" },
                { "resource": { "type": "route", "id": "/everybody" }, "subject": { "type": "role", "id": "viewer", "properties": [] } },
                { "resource": { "type": "route", "id": "/everybody" }, "context": "x" },
                { "resource": { "type": "route", "id": "/everybody" } },
            ],
        }),
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer).unwrap());
    let stopped = it.ask(
        SEVERAL,
        &json!({
            "options": { "evaluations_semantic": "deny_on_first_deny" },
            "evaluations": [{}, question(role("viewer"), "GET", "/everybody")],
        }),
    );
    assert_eq!(stopped["evaluations"].as_array().unwrap().len(), 1, "an error is a denial");
}

#[test]
fn without_a_list_one_question_is_asked() {
    let it = installation();
    let mut asked = question(role("viewer"), "GET", "/everybody");
    assert_eq!(it.ask(SEVERAL, &asked), permitted());
    for none in [json!([]), Value::Null] {
        asked["evaluations"] = none;
        assert_eq!(it.ask(SEVERAL, &asked), permitted());
    }
    // The other path knows no lists, and passes over what it does not know.
    asked["evaluations"] = json!([question(role("viewer"), "PUT", "/everybody")]);
    asked["futureField"] = json!({ "nested": true });
    assert_eq!(it.ask(ONE, &asked), permitted());
}

#[test]
fn list_is_as_long_as_allowed_and_not_one_longer() {
    let it = installation();
    let asked = |length: usize| {
        let mut asked = question(role("viewer"), "GET", "/everybody");
        asked["evaluations"] = vec![json!({}); length].into();
        it.post(SEVERAL, &asked.to_string())
    };
    let answer = asked(EVALUATIONS_MAX);
    assert_eq!(answer.json()["evaluations"].as_array().unwrap().len(), EVALUATIONS_MAX);
    let refused = asked(EVALUATIONS_MAX + 1);
    assert_eq!(refused.status, 400);
    assert_eq!(refused.body, "the request body has more than 1000 evaluations; send them in parts");
}

#[test]
fn bodies_that_are_no_question_are_refused_with_a_message() {
    let it = installation();
    let whole = question(role("viewer"), "GET", "/everybody");
    let without = |part: &str, key: Option<&str>| {
        let mut asked = whole.clone();
        let object = match key {
            None => asked.as_object_mut().unwrap().remove(part),
            Some(key) => asked[part].as_object_mut().unwrap().remove(key),
        };
        object.unwrap();
        asked.to_string()
    };
    let with = |part: &str, value: Value| {
        let mut asked = whole.clone();
        asked[part] = value;
        asked.to_string()
    };
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "5".to_owned(),
        without("subject", None),
        without("action", None),
        without("resource", None),
        without("subject", Some("type")),
        without("subject", Some("id")),
        without("action", Some("name")),
        without("resource", Some("type")),
        without("resource", Some("id")),
        with("subject", json!("alice")),
        with("subject", Value::Null),
        with("action", json!({ "name": 123 })),
        with("action", json!({ "name": "GET", "properties": 5 })),
        with("resource", json!({ "type": "route", "id": "/everybody", "properties": "x" })),
        with("context", json!([])),
        with("subject", json!({ "type": "role", "id": "viewer", "properties": { "roles": "pep" } })),
        with("subject", json!({ "type": "role", "id": "viewer", "properties": { "roles": [5] } })),
        with("subject", json!({ "type": "role", "id": "viewer", "properties": { "ip_address": "here" } })),
        whole.to_string().replacen('{', r#"{"subject":{},"#, 1),
        whole.to_string().replace(r#""name":"GET""#, r#""name":"PUT","name":"GET""#),
        with("context", json!({ "a": [{ "b": 1 }] })).replace(r#""b":1"#, r#""b":1,"b":1"#),
    ];
    let told = bodies.map(|body| {
        let response = it.post(ONE, &body);
        assert_eq!(
            (response.status, response.header("content-type")),
            (400, Some("text/plain; charset=utf-8")),
            "{body}"
        );
        response.body
    });
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(it.post(ONE, &with("context", json!({ "a": [{ "b": 1 }, { "b": 1 }] }))).json(), permitted());
}

#[test]
fn lists_that_are_none_are_refused_as_a_whole() {
    let it = installation();
    let whole = question(role("viewer"), "GET", "/everybody");
    let with = |key: &str, value: Value| {
        let mut asked = whole.clone();
        asked["evaluations"] = json!([{ "subject": role("viewer") }]);
        asked[key] = value;
        asked.to_string()
    };
    let bodies = [
        with("evaluations", json!("x")),
        with("evaluations", json!([{}, 5])),
        with("subject", json!("alice")),
        with("options", json!([])),
        with("options", json!({ "evaluations_semantic": "first" })),
        with("options", json!({ "evaluations_semantic": 5 })),
    ];
    let told = bodies.map(|body| {
        let response = it.post(SEVERAL, &body);
        assert_eq!(response.status, 400, "{body}");
        response.body
    });
    insta::assert_snapshot!(told.join("\n"), @r#"
    `evaluations` is a string, but it takes an array
    `evaluations[1]` is a number, but it takes an object
    `subject` is a string, but it takes an object
    `options` is an array, but it takes an object
    `options.evaluations_semantic` is `execute_all`, `deny_on_first_deny` or `permit_on_first_permit`
    `options.evaluations_semantic` is a number, but it takes a string
    "#);
    assert_eq!(it.post(SEVERAL, &with("options", Value::Null)).status, 200);
}

#[test]
fn body_is_json_by_its_own_word() {
    let it = installation();
    let body = question(role("viewer"), "GET", "/everybody").to_string();
    for good in ["application/json", "Application/JSON", "application/json; charset=utf-8"] {
        assert_eq!(it.send("POST", ONE, &format!("Content-Type: {good}\r\n"), &body).status, 200, "{good}");
    }
    for bad in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: application/json\r\nContent-Type: application/json\r\n",
    ] {
        for path in [ONE, SEVERAL] {
            let refused = it.send("POST", path, bad, &body);
            assert_eq!(refused.status, 400, "{bad}");
            assert!(refused.body.contains("Content-Type: application/json"), "{refused:?}");
        }
    }
    let refused = it.send("GET", ONE, "", "");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("POST")));
}

#[test]
fn answer_bears_the_id_that_the_client_gave_its_request() {
    let it = installation();
    let body = question(role("viewer"), "GET", "/everybody").to_string();
    let asked = |path: &str, fields: &str| {
        let fields = format!("Content-Type: application/json\r\n{fields}");
        it.send("POST", path, &fields, &body).header("x-request-id").unwrap().to_owned()
    };
    let id = "bfe9eb29-ab87-4ca3-be83-a1d5d8305716";
    assert_eq!(asked(ONE, &format!("X-Request-ID: {id}\r\n")), id);
    assert_eq!(asked(SEVERAL, &format!("X-Request-ID: {id}\r\n")), id);
    assert!(it.world.logged().contains(&format!("client_request_id=\"{id}\"")), "{}", it.world.logged());
    let refused = it.send("POST", ONE, &format!("X-Request-ID: {id}\r\n"), "{");
    assert_eq!((refused.status, refused.header("x-request-id")), (400, Some(id)));
    let mut client = it.world.connect();
    client.send(format!("POST {ONE} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {id}\r\n\r\n"));
    let denied = client.response_to("POST").unwrap();
    assert_eq!((denied.status, denied.header("x-request-id")), (401, Some(id)));
    for none in ["", "X-Request-ID: a\r\nX-Request-ID: b\r\n"] {
        assert_eq!(asked(ONE, none).len(), "00000000-00000000".len(), "one of the server's own");
    }
    // Elsewhere it is the server's own by which the log is searched.
    let elsewhere = it.send("GET", METADATA, &format!("X-Request-ID: {id}\r\n"), "");
    assert_ne!(elsewhere.header("x-request-id"), Some(id));
}

#[test]
fn metadata_tells_where_everything_is_under_the_public_address() {
    let it =
        installation_as(|server| server.with_public_url("https://rolegate.example.com".parse().unwrap()));
    let response = it.world.get(METADATA, None);
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    insta::assert_snapshot!(response.body, @r#"{"policy_decision_point":"https://rolegate.example.com","access_evaluation_endpoint":"https://rolegate.example.com/access/v1/evaluation","access_evaluations_endpoint":"https://rolegate.example.com/access/v1/evaluations"}"#);
    assert_eq!(it.world.ask("POST", METADATA, Some(&it.pep), "").status, 403);
    let unknown = installation().world.get(METADATA, None);
    assert_eq!(unknown.status, 404);
    assert!(unknown.message().contains("`rolegate.public_url`"), "{unknown:?}");
}
