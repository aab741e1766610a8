//! `GET /api/rolegate/tokens/export` and `POST /api/rolegate/tokens/import`: in parts, within limits, and for whom.

use super::client::Response;
use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::{Engine, TRANSFER_MAX};
use rolegate::store::Store as _;
use rolegate::store::memory::MemoryStore;
use rolegate::token::TokenDigest;
use serde_json::{Value, json};

const EXPORT: &str = "/api/rolegate/tokens/export";
const IMPORT: &str = "/api/rolegate/tokens/import";
const POLICIES: &str = r#"
permission("export-tokens", ["ANY /api/rolegate/tokens/export"]);
permission("import-tokens", ["ANY /api/rolegate/tokens/import"]);
role("keeper").grants(["export-tokens", "import-tokens"]);
role("guest");
"#;

struct Installation {
    world: World,
    keeper: Token,
    guest: Token,
}

fn installation() -> Installation {
    let store = MemoryStore::new();
    let [keeper, guest] = ["keeper", "guest"].map(|role| add_token(&store, role, None));
    for number in 1..=3 {
        let spent = store.spend(&TokenDigest::from_bytes([number; 32])).unwrap();
        assert_eq!(spent, rolegate::store::Spending::Done);
    }
    let audit = Box::new(MemoryAudit::new());
    let engine = Engine::open(Box::new(store), audit, policies(POLICIES), BEGINNING).unwrap();
    Installation { world: World::start_with(engine, Behind::Api, limits()), keeper, guest }
}

impl Installation {
    fn import(&self, query: &str, body: &Value) -> Response {
        self.world.ask("POST", &format!("{IMPORT}{query}"), Some(&self.keeper), &body.to_string())
    }

    /// All parts of an export, each with this many.
    fn export(&self, limit: usize) -> (Vec<Value>, Vec<Value>) {
        let (mut tokens, mut spent, mut cursor) = (Vec::new(), Vec::new(), String::new());
        loop {
            let response = self.world.get(&format!("{EXPORT}?limit={limit}{cursor}"), Some(&self.keeper));
            assert_eq!(response.status, 200, "{}", response.body);
            let body = response.json();
            let part = |name: &str| body[name].as_array().cloned().unwrap_or_default();
            assert!(part("tokens").len().max(part("spent").len()) <= limit);
            tokens.extend(part("tokens"));
            spent.extend(part("spent"));
            match body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (tokens, spent),
            }
        }
    }
}

#[test]
fn parts_of_an_export_make_the_same_whole_and_are_imported_as_they_are() {
    let it = installation();
    let (tokens, spent) = it.export(TRANSFER_MAX);
    assert_eq!((tokens.len(), spent.len()), (2, 3));
    assert_eq!(it.export(1), (tokens.clone(), spent.clone()));
    let response = it.import("", &json!({ "tokens": tokens, "spent": spent }));
    let unchanged = json!({ "outcome": "unchanged" });
    let expected = json!({ "tokens": vec![&unchanged; 2], "spent": vec![&unchanged; 3] });
    assert_eq!((response.status, response.json()), (200, expected));
}

#[test]
fn dry_run_and_replacement_are_asked_for_by_the_query() {
    let it = installation();
    let (tokens, _) = it.export(TRANSFER_MAX);
    let mut guest = tokens.iter().find(|token| token["id"] == it.guest.id.get()).unwrap().clone();
    guest["name"] = json!("renamed");
    let outcome = |query: &str| {
        let response = it.import(query, &json!({ "tokens": [guest] }));
        response.json()["tokens"][0]["outcome"].as_str().unwrap_or(&response.body).to_owned()
    };
    for (query, expected) in [
        ("", "conflict"),
        ("?replace=false", "conflict"),
        ("?replace=true&dryRun=true", "replaced"),
        ("?replace=true&dryRun=false", "replaced"),
        ("?replace=true", "unchanged"),
    ] {
        assert_eq!(outcome(query), expected, "{query}");
    }
    assert!(outcome("?dryRun=yes").contains("`dryRun` is `true` or `false`"));
}

#[test]
fn only_who_may_exports_and_imports() {
    let it = installation();
    for (method, path) in [("GET", EXPORT), ("POST", IMPORT)] {
        assert_eq!(it.world.ask(method, path, None, "{}").status, 401);
        assert_eq!(it.world.ask(method, path, Some(&it.guest), "{}").status, 403);
        assert_eq!(it.world.ask(method, path, Some(&it.keeper), "{}").status, 200);
    }
    let wrong = it.world.ask("POST", EXPORT, Some(&it.keeper), "{}");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD")));
    let wrong = it.world.get(IMPORT, Some(&it.keeper));
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
}

#[test]
fn requests_that_are_none_are_refused_and_not_repeated() {
    let it = installation();
    let told = |body: &str| {
        let response = it.world.ask("POST", IMPORT, Some(&it.keeper), body);
        assert_eq!(response.status, 400, "{body}");
        assert!(!response.body.contains("svctok"), "{}", response.body);
        response.body
    };
    assert!(told("").contains("the request has no body, but it takes a JSON object"));
    assert!(told(" [[],[]]").contains("the request body is an array, but it takes a JSON object"));
    for twice in ["{\"tokens\":[],\"tokens\":[]}", "{\"version\":1,\"tokens\":[]}", "{\"tokens\":null}"] {
        assert!(told(twice).contains("is no part of an export, at line 1"));
    }
    assert!(told("{\"tokens\":[svctok-x]}").contains("is not JSON, at line 1, column 12"));
    assert!(told("{\"tokens\":[{\"svctok-x\":1}]}").contains("is no part of an export"));
    assert!(told("{\"spent\":[\"svctok-x\"]}").contains("`spent[0]` is not what it may be"));
    for query in [
        "?cursor=x",
        "?cursor=tokens.1.2",
        "?cursor=spent.zz",
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?limit=1&limit=2",
    ] {
        assert_eq!(it.world.get(&format!("{EXPORT}{query}"), Some(&it.keeper)).status, 400, "{query}");
    }
    assert_eq!(it.world.get(&format!("{EXPORT}?limit=1000"), Some(&it.keeper)).status, 200);
}

#[test]
fn parameter_that_is_misspelt_is_refused_and_nothing_is_imported() {
    let it = installation();
    let (tokens, _) = it.export(TRANSFER_MAX);
    let mut guest = tokens.iter().find(|token| token["id"] == it.guest.id.get()).unwrap().clone();
    guest["name"] = json!("renamed");
    let told = |query: &str| it.import(query, &json!({ "tokens": [guest] }));
    for query in ["?replace=true&dryrun=true", "?replace=true&dry_run=true", "?Replace=true", "?x"] {
        let response = told(query);
        assert_eq!(response.status, 400, "{query}");
        assert!(
            response.body.contains("is unknown; this route knows `dryRun`, `replace`"),
            "{}",
            response.body
        );
    }
    assert_eq!(it.export(TRANSFER_MAX).0, tokens);
    assert_eq!(told("?replace=true&dryRun=false").status, 200);
    let response = it.world.get(&format!("{EXPORT}?limt=1"), Some(&it.keeper));
    assert_eq!(response.status, 400);
    assert!(
        response.body.contains("`limt` is unknown; this route knows `cursor`, `limit`"),
        "{}",
        response.body
    );
}

#[test]
fn as_many_digests_are_imported_at_once_as_allowed_and_not_one_more() {
    let it = installation();
    let digests = |count: usize| json!({ "spent": vec!["ab".repeat(32); count] });
    assert_eq!(it.import("", &digests(TRANSFER_MAX)).status, 200);
    let response = it.import("", &digests(TRANSFER_MAX + 1));
    assert_eq!(response.status, 400);
    assert!(
        response.body.contains("more than 1000 tokens or digests; send them in parts"),
        "{}",
        response.body
    );
}
