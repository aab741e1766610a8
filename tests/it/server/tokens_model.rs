//! Random operations by clients at once, each on a token of its own, against a model of what every answer must be.

use super::client::{Client, Response};
use super::world::{BEGINNING, Behind, Token, World, engine, limits, policies, request};
use rolegate::time::Timestamp;
use rolegate::token::{Secret, TokenId};
use serde_json::{Value, json};

const TOKENS: &str = "/api/security/tokens";
const POLICIES: &str = r#"
authenticated("GET /status");
role("admin").allow(["ANY /api/security/tokens", "ANY /api/security/tokens/**"]);
role("reader").allow("GET /things");
role("admin").includes("reader");
"#;
const CLIENTS: u64 = 8;
const STEPS: usize = 150;
const MINUTE_MS: i64 = 60_000;

/// What a client knows of its token.
struct Model {
    id: u64,
    secret: Token,
    former: Option<Token>,
    /// Secrets that must never be let in again.
    ended: Vec<Token>,
    is_disabled: bool,
    is_reader: bool,
    name: String,
}

struct Actor<'w> {
    admin: &'w Token,
    connection: Client,
    /// The state of a random sequence that is the same in every run.
    state: u64,
    number: u64,
}

impl Actor<'_> {
    fn draw(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    fn draw_name(&mut self) -> String {
        let number = self.draw(1_000_000);
        format!("of {} {number}", self.number)
    }

    fn ask(&mut self, method: &str, path: &str, token: &Token, body: &str) -> Response {
        self.connection.send(request(method, path, Some(token), body));
        self.connection.response_to(method).unwrap()
    }

    fn admin(&mut self, method: &str, path: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(method, path, self.admin, &body)
    }

    fn create(&mut self) -> Model {
        let name = self.draw_name();
        let made = self.admin("POST", TOKENS, &json!({"name": name, "roles": ["reader"]}));
        assert_eq!(made.status, 200, "{made:?}");
        let (id, secret) = revealed(&made);
        Model { id, secret, former: None, ended: Vec::new(), is_disabled: false, is_reader: true, name }
    }

    /// One operation, and what it must answer.
    fn step(&mut self, model: &mut Model) {
        let path = format!("{TOKENS}/{}", model.id);
        match self.draw(7) {
            0 => self.rotate(model, &path),
            1 | 2 => {
                let is_off = self.draw(2) == 0;
                let action = if is_off { "disable" } else { "enable" };
                let answer = self.admin("POST", &format!("{path}/{action}"), &Value::Null);
                assert_eq!(answer.status, 200, "{answer:?}");
                model.is_disabled = is_off;
            }
            3 => {
                model.is_reader = self.draw(2) == 0;
                let roles = if model.is_reader { json!(["reader"]) } else { json!([]) };
                assert_eq!(self.admin("PATCH", &path, &json!({"roles": roles})).status, 200);
            }
            4 => {
                model.name = self.draw_name();
                let answer = self.admin("PATCH", &path, &json!({"name": model.name, "unique": true}));
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            5 if self.draw(3) == 0 => {
                assert_eq!(self.admin("DELETE", &path, &Value::Null).status, 204);
                let next = self.create();
                let old = std::mem::replace(model, next);
                model.ended = old.ended;
                model.ended.extend(old.former.into_iter().chain([old.secret]));
                assert_eq!(self.admin("GET", &path, &Value::Null).status, 404);
            }
            _ => self.listed(model, &path),
        }
    }

    fn rotate(&mut self, model: &mut Model, path: &str) {
        let has_grace = self.draw(2) == 0;
        let body = if has_grace { json!({"gracePeriod": MINUTE_MS}) } else { Value::Null };
        let answer = self.admin("POST", &format!("{path}/rotate"), &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        let (_, secret) = revealed(&answer);
        let old = std::mem::replace(&mut model.secret, secret);
        model.ended.extend(model.former.take());
        if has_grace {
            model.former = Some(old);
        } else {
            model.ended.push(old);
        }
    }

    /// The token is told as it is, and stands in a list once.
    fn listed(&mut self, model: &Model, path: &str) {
        let told = self.admin("GET", path, &Value::Null).json();
        assert_eq!(told["name"], json!(model.name));
        assert_eq!(told.get("disabled").is_some(), model.is_disabled);
        assert_eq!(told.get("formerExpiration").is_some(), model.former.is_some());
        let (mut seen, mut cursor) = (0, String::new());
        loop {
            let query = format!("{TOKENS}?limit=3&sort=created&name=of+{}*{cursor}", self.number);
            let page = self.admin("GET", &query, &Value::Null);
            assert_eq!(page.status, 200, "{page:?}");
            let tokens = page.json();
            seen += tokens.as_array().unwrap().iter().filter(|token| token["id"] == model.id).count();
            let Some(next) = page.header("x-rolegate-next-cursor") else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, 1);
    }

    /// Every secret is worth what the model says, right after the answer.
    fn verify(&mut self, model: &Model) {
        let live = match (model.is_disabled, model.is_reader) {
            (true, _) => 401,
            (false, true) => 404,
            (false, false) => 403,
        };
        for secret in [&model.secret].into_iter().chain(&model.former) {
            assert_eq!(self.ask("GET", "/things", secret, "").status, live);
        }
        for ended in model.ended.iter().rev().take(3) {
            assert_eq!(self.ask("GET", "/things", ended, "").status, 401, "an ended secret is let in");
        }
    }
}

fn revealed(answer: &Response) -> (u64, Token) {
    let told = answer.json();
    let id = told["id"].as_u64().unwrap();
    let secret = Secret::parse(told["token"].as_str().unwrap()).unwrap().0;
    (id, Token { id: TokenId::new(id).unwrap(), secret })
}

#[test]
fn answers_are_those_of_a_model_whatever_others_do_at_once() {
    let (engine, tokens) = engine(policies(POLICIES), &["admin"]);
    let mut limits = limits();
    limits.failed_authentications = None;
    let world = World::start_with(engine, Behind::Api, limits);
    let formers: Vec<Token> = std::thread::scope(|scope| {
        let start = |number| {
            let (connection, admin) = (world.connect(), &tokens[0]);
            scope.spawn(move || {
                let state = 0x9e37_79b9_7f4a_7c15 ^ (number + 1);
                let mut actor = Actor { admin, connection, state, number };
                let mut model = actor.create();
                for _ in 0..STEPS {
                    actor.step(&mut model);
                    actor.verify(&model);
                }
                model.former
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
    });
    world.set_now(Timestamp::from_millis(BEGINNING.as_millis() + MINUTE_MS));
    assert!(!formers.is_empty());
    for former in &formers {
        assert_eq!(world.get("/things", Some(former)).status, 401, "its grace is over");
    }
}
