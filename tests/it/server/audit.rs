//! Denied calls to the program's own API: each has its entry before its answer, and a flood of them holds nobody up.

use super::world::{BEGINNING, Behind, Token, World, add_token, limits, policies, request};
use parking_lot::{Mutex, RwLock};
use rolegate::audit::file::{FileAudit, verify};
use rolegate::audit::{Audit, AuditEntry, AuditError, DENIALS_AT_ONCE};
use rolegate::engine::Engine;
use rolegate::server::Limits;
use rolegate::store::memory::MemoryStore;
use rolegate::time::Timestamp;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TOKENS: &str = "/api/security/tokens";
const POLICIES: &str = r#"
open("GET /health");
permission("manage-service-tokens", ["GET,POST /api/security/tokens", "ANY /api/security/tokens/**"]);
role("admin").includes("guest").grants(["manage-service-tokens"]);
role("other").allow("GET /other");
role("guest").allow("GET /api/node");
"#;

/// A log on disk that can be told to fail, or to wait.
#[derive(Debug)]
struct Watched {
    file: FileAudit,
    fails: AtomicBool,
    gate: RwLock<()>,
    waited: Mutex<usize>,
}

struct Scene {
    world: World,
    log: Arc<Watched>,
    path: PathBuf,
    admin: Token,
    guest: Token,
    _folder: tempfile::TempDir,
}

impl Audit for Watched {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        *self.waited.lock() += 1;
        let _open = self.gate.read();
        if self.fails.load(Ordering::SeqCst) {
            return Err(AuditError::Other("no room".into()));
        }
        self.file.record(entry)
    }
}

impl Scene {
    fn start() -> Self {
        Self::start_with(limits())
    }

    fn start_with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = Arc::new(Watched {
            file: FileAudit::open(&path).unwrap(),
            fails: AtomicBool::new(false),
            gate: RwLock::new(()),
            waited: Mutex::new(0),
        });
        let store = MemoryStore::new();
        let [admin, guest] = ["admin", "guest"].map(|role| add_token(&store, role, None));
        let audit = Box::new(Arc::clone(&log));
        let engine = Engine::open(Box::new(store), audit, policies(POLICIES), BEGINNING).unwrap();
        let world = World::start_with(engine, Behind::Api, limits);
        Self { world, log, path, admin, guest, _folder: folder }
    }

    /// All entries but that of the start.
    fn entries(&self) -> Vec<Value> {
        verify(&self.path).unwrap();
        let text = std::fs::read(&self.path).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn denied(&self) -> u16 {
        self.world.get(TOKENS, Some(&self.guest)).status
    }
}

#[test]
fn denied_call_has_its_entry_with_who_what_and_from_where() {
    let scene = Scene::start();
    let path = format!("{TOKENS}/107484341630693");
    let answer = scene.world.ask("DELETE", &format!("{path}?x=secret"), Some(&scene.guest), "");
    assert_eq!(answer.status, 403);
    let entries = scene.entries();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let entry = &entries[0];
    let said = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((said("event"), said("outcome")), ("admin_denied".into(), "denied".into()));
    assert_eq!((said("method"), said("path")), ("DELETE".into(), path));
    assert_eq!(entry["actor"]["token"], scene.guest.id.get());
    assert_eq!(entry["actor"]["name"], "token of guest");
    assert_eq!(said("client_ip"), "127.0.0.1");
    assert_eq!(Some(said("request_id").as_str()), answer.header("x-request-id"));
    assert!(answer.message().contains(&said("decision_id")), "{answer:?}");
    assert!(entry.get("left_out").is_none());
}

#[test]
fn calls_that_are_permitted_of_nobody_or_of_no_concern_have_no_such_entry() {
    let scene = Scene::start();
    assert_eq!(scene.world.get(TOKENS, Some(&scene.admin)).status, 200);
    assert_eq!(scene.world.get(TOKENS, None).status, 401);
    for path in ["/api/other", "/metrics", "/api/security/tokensx"] {
        assert_eq!(scene.world.get(path, Some(&scene.guest)).status, 403, "{path}");
    }
    assert_eq!(scene.entries(), Vec::<Value>::new());
    for path in ["/api/rolegate/shadow", "/api/rolegate/policies/reload", "/api/security/tokens/1/rotate"] {
        assert_eq!(scene.world.get(path, Some(&scene.guest)).status, 403, "{path}");
    }
    assert_eq!(scene.entries().len(), 3);
}

#[test]
fn flood_of_denials_is_counted_and_the_count_is_told() {
    let mut scene = Scene::start();
    let mut client = scene.world.connect();
    let flood = u64::from(DENIALS_AT_ONCE) + 200;
    for _ in 0..flood {
        client.send(request("GET", TOKENS, Some(&scene.guest), ""));
        assert_eq!(client.response().unwrap().status, 403);
    }
    assert_eq!(scene.entries().len(), DENIALS_AT_ONCE as usize);
    // A minute later.
    scene.world.set_now(Timestamp::from_millis(BEGINNING.as_millis() + 60_000));
    assert_eq!(scene.denied(), 403);
    assert_eq!(scene.entries().last().unwrap()["left_out"], 200);

    // Nobody comes again, and the program ends.
    for _ in 0..flood {
        client.send(request("GET", TOKENS, Some(&scene.guest), ""));
        assert_eq!(client.response().unwrap().status, 403);
    }
    drop(client);
    scene.world.shut_down();
    let guest = scene.guest.id.get();
    let Scene { world, path, _folder, .. } = scene;
    drop(world);
    let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["token_id"]), (&"denials_left_out".into(), &guest.into()));
    assert_eq!((&last["count"], &last["actor"]), (&201.into(), &"rolegate".into()));
}

#[test]
fn denial_stays_one_when_it_cannot_be_recorded_and_the_next_entry_tells() {
    let scene = Scene::start();
    scene.log.fails.store(true, Ordering::SeqCst);
    assert_eq!((scene.denied(), scene.denied()), (403, 403));
    assert!(scene.world.logged().contains("a denial has no entry in the audit log"));
    scene.log.fails.store(false, Ordering::SeqCst);
    assert_eq!(scene.denied(), 403);
    let entries = scene.entries();
    assert_eq!((entries.len(), &entries[0]["left_out"]), (1, &2.into()));
}

#[test]
fn log_that_does_not_answer_holds_up_denials_and_nothing_else() {
    let mut limits = limits();
    limits.request_timeout = Duration::from_millis(100);
    let scene = Scene::start_with(limits);
    let closed = scene.log.gate.write();
    let denial = request("GET", TOKENS, Some(&scene.guest), "");
    let mut clients: Vec<_> = (0..DENIALS_AT_ONCE).map(|_| scene.world.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&denial));
    for client in &mut clients {
        let late = client.response().unwrap();
        assert_eq!((late.status, late.message().contains("is denied")), (503, true), "{late:?}");
    }
    assert_eq!(scene.denied(), 403, "what is only counted waits for nobody");
    assert_eq!(scene.world.get("/health", None).status, 200);
    assert_eq!(scene.world.get("/api/node", Some(&scene.guest)).status, 404);
    drop(closed);
}

#[test]
fn change_that_is_refused_has_an_entry_with_the_reason() {
    let scene = Scene::start();
    let unknown = format!("{TOKENS}/107484341630693");
    assert_eq!(scene.world.ask("DELETE", &unknown, Some(&scene.admin), "").status, 404);
    let body = r#"{"name":"n","roles":["nobody-defined-this"]}"#;
    assert_eq!(scene.world.ask("POST", TOKENS, Some(&scene.admin), body).status, 400);
    let created = scene.world.ask("POST", TOKENS, Some(&scene.admin), r#"{"name":"n","roles":["guest"]}"#);
    assert_eq!(created.status, 200);
    let more = scene.world.ask("POST", TOKENS, Some(&scene.admin), r#"{"name":"n","roles":["other"]}"#);
    assert_eq!(more.status, 403);
    let entries = scene.entries();
    let told = |at: usize, key: &str| entries[at][key].clone();
    assert_eq!((told(0, "event"), told(0, "outcome")), ("change_refused".into(), "refused".into()));
    assert_eq!((told(0, "change"), told(0, "token_id")), ("delete".into(), 107_484_341_630_693_u64.into()));
    assert_eq!(told(0, "reason"), "no service token has the id 107484341630693");
    assert_eq!(told(1, "change"), "create");
    assert!(told(1, "reason").as_str().unwrap().starts_with("no policy defines the role"));
    assert_eq!(
        (told(2, "event"), told(2, "outcome"), entries.len()),
        ("token_created".into(), "done".into(), 4)
    );
    assert_eq!((told(3, "event"), told(3, "change")), ("change_refused".into(), "create".into()));
    assert!(told(3, "reason").as_str().unwrap().contains("`GET /other`"));
    assert_eq!(told(0, "actor")["token"], scene.admin.id.get());
}
