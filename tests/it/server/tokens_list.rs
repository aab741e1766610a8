//! The list of tokens: all at once, and in pages by order and filter.

use super::client::Response;
use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies};
use rolegate::audit::MemoryAudit;
use rolegate::engine::Engine;
use rolegate::store::memory::MemoryStore;
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{Insertion, Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, TokenDigest, TokenId, TokenRecord};
use serde_json::{Value, json};

const TOKENS: &str = "/api/security/tokens";
const POLICIES: &str = r#"
permission("manage-service-tokens", ["GET,POST /api/security/tokens", "GET,PATCH,DELETE /api/security/tokens/{id}"]);
role("admin").grants(["manage-service-tokens"]);
role("other").allow("GET /other");
"#;
/// What the first of the tokens has for an id.
const FIRST_ID: u64 = 200_000_000_000_000;
const LIST_MAX: usize = 10_000;

struct Api {
    world: World,
    admin: Token,
}

impl Api {
    /// A server with the administrator's token and `count` others: `t0`, `t1`, …, in the order of their creation.
    /// Every third has the role `other`, every fifth expires and every seventh was used.
    fn start(count: usize) -> Self {
        let store = MemoryStore::new();
        let admin = add_token(&store, "admin", None);
        let model = store.get(admin.id).unwrap().unwrap();
        let mut uses = Vec::new();
        for number in 0..count {
            let millis = i64::try_from(number).unwrap();
            let id = TokenId::new(FIRST_ID + number as u64).unwrap();
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&id.get().to_be_bytes());
            let role = if number % 3 == 0 { "other" } else { "admin" };
            let record = TokenRecord {
                id,
                digest: TokenDigest::from_bytes(digest),
                name: format!("t{number}"),
                roles: vec![RoleName::parse(role).unwrap()],
                created: after(millis),
                updated: after(millis),
                expires: (number % 5 == 0).then(|| after(1_000_000 - millis)),
                ..model.clone()
            };
            assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
            if number % 7 == 0 {
                let usage = Usage { last_used: after(500_000), count: 1, routes: Vec::new() };
                uses.push(TokenUse { id, usage });
            }
        }
        store.record_uses(&uses).unwrap();
        let audit = Box::new(MemoryAudit::new());
        let engine = Engine::open(Box::new(store), audit, policies(POLICIES), BEGINNING).unwrap();
        Self { world: World::start_with(engine, Behind::Api, limits()), admin }
    }

    fn get(&self, query: &str) -> Response {
        self.world.get(&format!("{TOKENS}{query}"), Some(&self.admin))
    }

    fn names(&self, query: &str) -> Vec<String> {
        names(&self.get(query))
    }

    /// The names of all pages.
    fn paged(&self, query: &str) -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{query}{cursor}"));
            all.extend(names(&page));
            let Some(next) = page.header("x-rolegate-next-cursor") else { return all };
            cursor = format!("&cursor={next}");
        }
    }
}

fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(BEGINNING.as_millis() + millis)
}

fn names(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    body.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn list_without_a_query_is_all_tokens_the_oldest_first() {
    let api = Api::start(3);
    let response = api.get("");
    assert_eq!(names(&response), ["token of admin", "t0", "t1", "t2"]);
    assert_eq!(response.header("x-rolegate-query"), None);
    assert_eq!(response.header("x-rolegate-next-cursor"), None);
    assert_eq!(names(&api.get("?")), names(&response));
}

#[test]
fn list_of_ten_thousand_is_answered_and_one_more_is_refused_with_what_to_do() {
    let api = Api::start(LIST_MAX - 1);
    assert_eq!(api.names("").len(), LIST_MAX);
    let created = api.world.ask("POST", TOKENS, Some(&api.admin), r#"{"name":"late","roles":[]}"#);
    let refused = api.get("");
    assert_eq!((refused.status, refused.header("x-rolegate-page-max")), (400, Some("1000")));
    insta::assert_snapshot!(refused.message(), @"there are more than 10000 service tokens: ask for pages with `limit`, of 1000 at most, or for fewer tokens with `name`, `role`, `expiresBefore` or `unusedSince`");
    assert_eq!(api.get("?sort=name").status, 400);
    assert_eq!(api.names("?role=other").len(), LIST_MAX / 3, "fewer tokens are listed at once");
    assert_eq!(api.names("?limit=1000").len(), 1000);
    assert_eq!(api.paged("?limit=1000").len(), LIST_MAX + 1);
    let path = format!("{TOKENS}/{}", created.json()["id"]);
    assert_eq!(api.world.ask("DELETE", &path, Some(&api.admin), "").status, 204);
    assert_eq!(api.names("").len(), LIST_MAX);
}

#[test]
fn pages_are_the_list_in_pieces_in_every_order() {
    let api = Api::start(23);
    for sort in ["created", "-created", "name", "-name", "expires", "-expires"] {
        let whole = api.names(&format!("?sort={sort}"));
        assert_eq!(whole.len(), 24);
        for limit in [1, 5, 24, 1000] {
            assert_eq!(api.paged(&format!("?sort={sort}&limit={limit}")), whole, "{sort} {limit}");
        }
    }
    let sorted = |sort: &str| api.names(&format!("?limit=2&sort={sort}"));
    assert_eq!(sorted("created"), ["token of admin", "t0"]);
    assert_eq!(sorted("-created"), ["t22", "t21"]);
    assert_eq!(sorted("name"), ["t0", "t1"]);
    assert_eq!(sorted("-name"), ["token of admin", "t9"]);
    assert_eq!(sorted("expires"), ["t20", "t15"]);
}

#[test]
fn last_page_has_no_cursor() {
    let api = Api::start(3);
    for (limit, has_more) in [(3, true), (4, false), (5, false)] {
        let page = api.get(&format!("?limit={limit}"));
        assert_eq!(page.header("x-rolegate-next-cursor").is_some(), has_more, "{limit}");
        assert_eq!(page.header("x-rolegate-query"), Some("limit"));
    }
}

#[test]
fn filters_choose() {
    let api = Api::start(100);
    assert_eq!(api.names("?name=t7"), ["t7"]);
    assert_eq!(api.names("?name=t9*&limit=3"), ["t9", "t90", "t91"]);
    assert_eq!(api.names("?name=T7"), [""; 0]);
    assert_eq!(api.names("?role=other").len(), 34);
    let expiring = api.names(&format!("?sort=expires&expiresBefore={}", after(999_911).as_millis()));
    assert_eq!(expiring, ["t95", "t90"], "t90 expires a millisecond before, t85 later");
    let unused = |millis: i64| api.names(&format!("?unusedSince={}", after(millis).as_millis())).len();
    assert_eq!(unused(500_001), 101, "everything was used before, or never");
    assert_eq!(unused(500_000), 101 - 15, "every seventh was used at that moment");
    assert_eq!(unused(0), 0, "what was created later cannot be unused since then, and whoever asks is used");
    let query = format!("?role=other&name=t1*&unusedSince={}", after(500_000).as_millis());
    assert_eq!(api.names(&query), ["t12", "t15", "t18"]);
    let response = api.get(&query);
    assert_eq!(response.header("x-rolegate-query"), Some("name, role, unusedSince"));
    let used: Value = api.get("?name=t14").json()[0].clone();
    assert_eq!((&used["lastUsed"], &used["useCount"]), (&json!(after(500_000).as_millis()), &json!(1)));
}

#[test]
fn each_token_that_stays_is_listed_once_while_others_come_and_go() {
    let api = Api::start(60);
    for sort in ["created", "-created", "name", "-name", "expires", "-expires"] {
        let (mut seen, mut cursor, mut round) = (Vec::new(), String::new(), 0);
        let mut gone = Vec::new();
        loop {
            let page = api.get(&format!("?limit=7&sort={sort}{cursor}"));
            let listed = page.json();
            seen.extend(names(&page));
            // What has just been listed goes, the last of the page as well, where the next one starts.
            let last = listed.as_array().unwrap().last().unwrap();
            if round % 2 == 0 && last["id"] != api.admin.id.get() {
                let path = format!("{TOKENS}/{}", last["id"]);
                assert_eq!(api.world.ask("DELETE", &path, Some(&api.admin), "").status, 204);
                gone.push(last["name"].as_str().unwrap().to_owned());
            }
            let body = json!({"name": format!("new {sort} {round}"), "roles": []}).to_string();
            assert_eq!(api.world.ask("POST", TOKENS, Some(&api.admin), &body).status, 200);
            round += 1;
            let Some(next) = page.header("x-rolegate-next-cursor") else { break };
            cursor = format!("&cursor={next}");
        }
        let mut once = seen.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "{sort}: a token is listed twice");
        let stayed = api.names("").into_iter().filter(|name| !name.starts_with(&format!("new {sort}")));
        let missed: Vec<_> = stayed.filter(|name| !seen.contains(name)).collect();
        assert_eq!(missed, [""; 0], "{sort}");
        assert!(round > 3 && !gone.is_empty(), "{sort}");
    }
}

#[test]
fn cursor_is_for_its_own_order_and_filters_and_any_limit() {
    let api = Api::start(9);
    let first = api.get("?limit=2&sort=name&role=admin");
    let cursor = first.header("x-rolegate-next-cursor").unwrap().to_owned();
    let with = |rest: &str| api.get(&format!("?cursor={cursor}&{rest}"));
    assert_eq!(names(&with("limit=5&role=admin&sort=name")), ["t4", "t5", "t7", "t8", "token of admin"]);
    let told: Vec<String> = [
        "sort=name&role=admin",
        "limit=2&role=admin",
        "limit=2&sort=-name&role=admin",
        "limit=2&sort=name",
        "limit=2&sort=name&role=other",
        "limit=2&sort=name&role=admin&name=t*",
    ]
    .iter()
    .map(|rest| {
        let refused = with(rest);
        assert_eq!(refused.status, 400, "{rest}");
        format!("{rest}: {}", refused.message())
    })
    .chain(["!", "AQ", ""].map(|text| api.get(&format!("?limit=2&cursor={text}")).message()))
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    sort=name&role=admin: `cursor` goes with the `limit` of the page: it is missing
    limit=2&role=admin: `cursor`: the cursor was made for another order: send the same `sort` as for the first page
    limit=2&sort=-name&role=admin: `cursor`: the cursor was made for another order: send the same `sort` as for the first page
    limit=2&sort=name: `cursor`: the cursor was made for other filters: send the same `name`, `role`, `expiresBefore` and `unusedSince` as for the first page
    limit=2&sort=name&role=other: `cursor`: the cursor was made for other filters: send the same `name`, `role`, `expiresBefore` and `unusedSince` as for the first page
    limit=2&sort=name&role=admin&name=t*: `cursor`: the cursor was made for other filters: send the same `name`, `role`, `expiresBefore` and `unusedSince` as for the first page
    `cursor`: this is no cursor: send the text of the header `x-rolegate-next-cursor` as it is
    `cursor`: this is no cursor: send the text of the header `x-rolegate-next-cursor` as it is
    `cursor`: this is no cursor: send the text of the header `x-rolegate-next-cursor` as it is
    ");
}

#[test]
fn queries_that_nobody_can_answer_are_refused() {
    let api = Api::start(1);
    for (query, message) in [
        (
            "?limt=5",
            "the query parameter `limt` is unknown; this route knows `limit`, `cursor`, `sort`, `name`, `role`, `expiresBefore`, `unusedSince`",
        ),
        ("?limit=5&limit=5", "the query parameter `limit` is given more than once"),
        ("?limit=0", "`limit` is `0`, but a page has from 1 to 1000 tokens"),
        ("?limit=1001", "`limit` is `1001`, but a page has from 1 to 1000 tokens"),
    ] {
        let refused = api.get(query);
        assert_eq!((refused.status, refused.message().as_str()), (400, message), "{query}");
    }
    assert_eq!(api.get("?limit=1000").status, 200);
    let head = api.world.ask("HEAD", &format!("{TOKENS}?limit=1"), Some(&api.admin), "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.header("x-rolegate-next-cursor").is_some());
}
