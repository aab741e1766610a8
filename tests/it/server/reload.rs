//! Policies loaded anew while the server runs: all or nothing, the last good ones stay, and no answer is a mixture.

use super::client::Response;
use super::world::{BEGINNING, Behind, Token, World, add_token, limits};
use parking_lot::Mutex;
use rolegate::audit::{Audit, AuditEntry, AuditError, MemoryAudit, Recorded};
use rolegate::engine::Engine;
use rolegate::policy::{PolicyErrors, PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::server::{
    Metrics, PolicySource, PolicyState, ReloadGuard, ReloadOutcome, Reloader, Server, SourceError, Trigger,
};
use rolegate::store::memory::MemoryStore;
use rolegate::time::Timestamp;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc;

const RELOAD: &str = "/api/rolegate/policies/reload";
const HEALTH: &str = "/health/policies";
const BEFORE: &str = r#"
open(["GET /health", "GET /health/policies", "GET /metrics"]);
permission("reload-policies", ["POST /api/rolegate/policies/reload"]);
permission("grant-any-role", []);
role("operator").grants(["reload-policies", "grant-any-role"]).allow("POST /api/security/tokens");
role("guest").allow("GET /api/server/info");
"#;
const BROKEN: &str = "role(\"guest\").alow(\"GET /x\");";

/// What lies where the policies come from.
#[derive(Clone)]
enum Lies {
    Text(String),
    Gone,
    Bomb,
}

/// A source that a test changes, and that can be made to wait.
#[derive(Clone)]
struct Shelf {
    lies: Arc<Mutex<Lies>>,
    reads: Arc<AtomicUsize>,
    has_read: Arc<AtomicUsize>,
    /// A load waits while this is locked, before it reads.
    gate: Arc<Mutex<()>>,
    /// The same, once it has read.
    gate_after: Arc<Mutex<()>>,
}

struct Scene {
    world: World,
    shelf: Shelf,
    reloader: Arc<Reloader>,
    audit: Arc<Journal>,
    now: Arc<AtomicI64>,
    operator: Token,
    guest: Token,
}

/// An audit log that can be told to fail.
#[derive(Debug, Default)]
struct Journal {
    log: MemoryAudit,
    fails: AtomicBool,
}

#[derive(Debug)]
struct Shared(Arc<Journal>);

impl Audit for Shared {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(AuditError::Other(Box::new(io::Error::other("no room"))));
        }
        self.0.log.record(entry)
    }
}

impl PolicySource for Shelf {
    fn read(&self) -> Result<Vec<Source>, SourceError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock());
        let lies = self.lies.lock().clone();
        self.has_read.fetch_add(1, Ordering::SeqCst);
        drop(self.gate_after.lock());
        match lies {
            Lies::Text(text) => Ok(vec![source(&text)]),
            Lies::Gone => Err(SourceError::Unreadable("cannot read `p.rhai`: it is gone".to_owned())),
            Lies::Bomb => panic!("a source that panics"),
        }
    }

    fn compile(&self, sources: &[Source]) -> Result<PolicySet, PolicyErrors> {
        load(sources)
    }
}

fn source(text: &str) -> Source {
    Source { name: Arc::from("p.rhai"), text: text.to_owned() }
}

fn load(sources: &[Source]) -> Result<PolicySet, PolicyErrors> {
    PolicySet::load(sources, &RoleBindings::default(), &ScriptLimits::default())
}

fn version(text: &str) -> String {
    load(&[source(text)]).unwrap().version().to_string()
}

impl Shelf {
    fn holding(text: &str) -> Self {
        let lies = Arc::new(Mutex::new(Lies::Text(text.to_owned())));
        Self {
            lies,
            reads: Arc::default(),
            has_read: Arc::default(),
            gate: Arc::default(),
            gate_after: Arc::default(),
        }
    }

    fn put(&self, text: &str) {
        *self.lies.lock() = Lies::Text(text.to_owned());
    }
}

impl Scene {
    fn start() -> Self {
        Self::guarded(ReloadGuard::Off)
    }

    fn guarded(guard: ReloadGuard) -> Self {
        let (store, audit) = (MemoryStore::new(), Arc::<Journal>::default());
        let [operator, guest] = ["operator", "guest"].map(|role| add_token(&store, role, None));
        let policies = load(&[source(BEFORE)]).unwrap();
        let engine = Engine::open(Box::new(store), Box::new(Shared(Arc::clone(&audit))), policies, BEGINNING);
        let (engine, metrics) = (Arc::new(engine.unwrap()), Arc::new(Metrics::new()));
        let shelf = Shelf::holding(BEFORE);
        let now = Arc::new(AtomicI64::new(BEGINNING.as_millis()));
        let clock = Arc::clone(&now);
        let reloader = Arc::new(
            Reloader::new(
                Arc::clone(&engine),
                Box::new(shelf.clone()),
                &[source(BEFORE)],
                Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))),
                Arc::clone(&metrics),
            )
            .with_guard(guard),
        );
        let server = Server::new(engine).with_metrics(metrics).with_reloader(Arc::clone(&reloader));
        Self { world: World::start_server(server, Behind::Api), shelf, reloader, audit, now, operator, guest }
    }

    fn reload(&self) -> Response {
        self.world.ask("POST", RELOAD, Some(&self.operator), "")
    }

    fn health(&self, token: Option<&Token>) -> serde_json::Value {
        let response = self.world.get(HEALTH, token);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    fn metric(&self, line: &str) -> bool {
        self.world.get("/metrics", None).body.lines().any(|found| found == line)
    }

    fn replaced(&self) -> Vec<Recorded> {
        let entries = self.audit.log.entries();
        entries.into_iter().filter(|entry| entry.event == "policies_replaced").collect()
    }
}

#[test]
fn policies_are_loaded_by_whoever_has_the_permission() {
    let world = Scene::start();
    let after = BEFORE.replace("/api/server/info", "/api/server/status");
    world.shelf.put(&after);
    assert_eq!(world.world.ask("POST", RELOAD, None, "").status, 401);
    let refused = world.world.ask("POST", RELOAD, Some(&world.guest), "");
    assert_eq!(refused.status, 403);
    assert!(refused.message().contains("it takes the permission `reload-policies`"), "{refused:?}");
    assert_eq!(world.shelf.reads.load(Ordering::SeqCst), 0, "nothing was read for them");

    let answered = world.reload();
    assert_eq!(answered.status, 200);
    // The request itself was decided by the policies before.
    assert_eq!(answered.header("x-rolegate-policy"), Some(version(BEFORE).as_str()));
    assert_eq!(
        answered.json(),
        serde_json::json!({
            "outcome": "loaded", "state": "LOADED", "before": version(BEFORE), "version": version(&after),
        })
    );
    assert_eq!(world.world.get("/api/server/info", Some(&world.guest)).status, 403);
    let permitted = world.world.get("/api/server/status", Some(&world.guest));
    assert_eq!(
        (permitted.status, permitted.header("x-rolegate-policy")),
        (200, Some(version(&after).as_str()))
    );

    let entries = world.replaced();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].actor, Some(world.operator.id.into()));
    assert!(entries[0].client_ip.is_some() && entries[0].request_id.is_some(), "{entries:?}");
}

#[test]
fn reload_takes_the_method_post() {
    let world = Scene::start();
    world.shelf.put(&format!("{BEFORE}role(\"operator\").allow(\"ANY {RELOAD}\");"));
    assert_eq!(world.reload().status, 200);
    let response = world.world.get(RELOAD, Some(&world.operator));
    assert_eq!((response.status, response.header("allow")), (405, Some("POST")));
}

#[test]
fn nobody_reloads_even_where_a_policy_lets_everyone_in() {
    let world = Scene::start();
    world.shelf.put(&format!("{BEFORE}open(\"POST {RELOAD}\");"));
    assert_eq!(world.reload().status, 200);
    world.shelf.put(BEFORE);
    let response = world.world.ask("POST", RELOAD, None, "");
    assert_eq!(response.status, 403, "{response:?}");
    assert!(response.message().contains("holders of a token only"), "{response:?}");
    assert_eq!(world.world.ask("POST", RELOAD, Some(&world.guest), "").status, 200);
}

#[test]
fn server_without_a_reloader_says_so() {
    let (engine, tokens) =
        super::world::engine(load(&[source("role(\"all\").allow(\"ANY /**\");")]).unwrap(), &["all"]);
    let world = World::start_with(engine, Behind::Api, limits());
    assert_eq!(world.ask("POST", RELOAD, Some(&tokens[0]), "").status, 404);
    assert_eq!(world.get(HEALTH, Some(&tokens[0])).json()["state"], "LOADED");
}

#[test]
fn same_policies_change_nothing_and_are_not_audited() {
    let world = Scene::start();
    let answered = world.reload();
    assert_eq!((answered.status, &answered.json()["outcome"]), (200, &"unchanged".into()));
    assert!(world.replaced().is_empty());
    assert!(world.metric("rolegate_policy_reloads_total{outcome=\"unchanged\"} 1"));
}

#[test]
fn wrong_policies_are_refused_and_the_last_good_ones_stay() {
    let world = Scene::start();
    world.shelf.put(BROKEN);
    let answered = world.reload();
    assert_eq!(answered.status, 422);
    let message = answered.message();
    assert!(message.contains(&format!("policies of version {} stay in force", version(BEFORE))), "{message}");
    assert!(message.contains("--> p.rhai:1:15") && message.contains("`allow`"), "{message}");
    assert_eq!(world.world.get("/api/server/info", Some(&world.guest)).status, 200);
    assert!(world.replaced().is_empty());
    assert!(world.metric("rolegate_policy_state{state=\"STALE\"} 1"));
    assert!(world.metric("rolegate_policy_state{state=\"LOADED\"} 0"));
    assert!(world.metric(&format!("rolegate_policy_info{{version=\"{}\"}} 1", version(BEFORE))));
    assert!(world.metric("rolegate_policy_reloads_total{outcome=\"refused\"} 1"));

    // Back to what is in force, and on to what is right.
    world.shelf.put(BEFORE);
    assert_eq!(world.reload().json()["outcome"], "unchanged");
    assert_eq!(world.health(None)["state"], "LOADED");
    world.shelf.put(&format!("{BEFORE}\n// better"));
    assert_eq!(world.reload().json()["outcome"], "loaded");
}

#[test]
fn policies_that_are_gone_are_an_error_and_the_last_good_ones_stay() {
    let world = Scene::start();
    *world.shelf.lies.lock() = Lies::Gone;
    let answered = world.reload();
    assert_eq!(answered.status, 503);
    assert!(answered.message().contains("it is gone"), "{answered:?}");
    assert_eq!(world.health(None)["state"], "ERROR");
    assert!(world.metric("rolegate_policy_state{state=\"ERROR\"} 1"));
    assert_eq!(world.world.get("/api/server/info", Some(&world.guest)).status, 200);
    world.shelf.put(BEFORE);
    assert_eq!(world.reload().status, 200);
}

#[test]
fn panic_of_a_source_is_a_refusal_and_not_the_last_reload() {
    let world = Scene::start();
    *world.shelf.lies.lock() = Lies::Bomb;
    assert_eq!(world.reload().status, 422);
    assert_eq!(world.health(None)["state"], "STALE");
    world.shelf.put(&format!("{BEFORE}// on"));
    assert_eq!(world.reload().json()["outcome"], "loaded");
}

#[test]
fn reload_that_cannot_be_audited_is_refused() {
    let world = Scene::start();
    let after = format!("{BEFORE}open(\"GET /api/server/info\");");
    world.shelf.put(&after);
    world.audit.fails.store(true, Ordering::SeqCst);
    assert_eq!(world.reload().status, 503);
    assert_eq!(world.world.get("/api/server/info", None).status, 401);
    assert!(world.metric("rolegate_policy_state{state=\"STALE\"} 1"));
    world.audit.fails.store(false, Ordering::SeqCst);
    // Nothing has changed since, and it is tried again all the same.
    assert_eq!(world.reloader.look().map(|reloaded| reloaded.outcome), Some(ReloadOutcome::Loaded));
    assert_eq!(world.world.get("/api/server/info", None).status, 200);
    assert_eq!(world.replaced()[0].actor, None);
}

#[test]
fn health_tells_everyone_the_state_and_the_message_to_those_who_may_reload() {
    let world = Scene::start();
    world.now.fetch_add(1000, Ordering::SeqCst);
    world.shelf.put(BROKEN);
    world.reload();
    world.now.fetch_add(1000, Ordering::SeqCst);
    world.reload();
    for token in [None, Some(&world.guest)] {
        let told = world.health(token);
        let told = serde_json::to_string(&told).unwrap().replace(&version(BEFORE), "VERSION");
        insta::allow_duplicates! {
            insta::assert_snapshot!(told, @r#"{"attempted":"2023-11-14T22:13:22.000Z","loaded":"2023-11-14T22:13:20.000Z","since":"2023-11-14T22:13:21.000Z","state":"STALE","version":"VERSION"}"#);
        }
    }
    let told = world.health(Some(&world.operator));
    assert!(told["message"].as_str().unwrap().contains("p.rhai:1:15"), "{told}");
    let all = world.world.ask("POST", HEALTH, None, "");
    assert_eq!(all.status, 401, "{all:?}");
}

#[test]
fn look_loads_what_is_new_and_nothing_twice() {
    let world = Scene::start();
    let outcome = || world.reloader.look().map(|reloaded| reloaded.outcome);
    assert_eq!(outcome(), None);
    world.shelf.put(BROKEN);
    assert_eq!(outcome(), Some(ReloadOutcome::Refused));
    assert_eq!(outcome(), None, "it was told once");
    *world.shelf.lies.lock() = Lies::Gone;
    assert_eq!(outcome(), Some(ReloadOutcome::Unreadable));
    assert_eq!(outcome(), None);
    world.shelf.put(BEFORE);
    assert_eq!(outcome(), Some(ReloadOutcome::Unchanged));
    assert_eq!(world.reloader.status().state, PolicyState::Loaded);
    world.shelf.put(&format!("{BEFORE}// new"));
    assert_eq!(outcome(), Some(ReloadOutcome::Loaded));
    assert_eq!(outcome(), None);
}

#[test]
fn reloads_that_are_asked_for_meanwhile_share_the_next_one() {
    let world = Scene::start();
    let gate = world.shelf.gate.lock();
    let (began, begun) = mpsc::channel();
    let ask = || {
        let (reloader, began) = (Arc::clone(&world.reloader), began.clone());
        std::thread::spawn(move || {
            began.send(()).unwrap();
            reloader.reload(Trigger::Signal).unwrap().outcome
        })
    };
    let first = ask();
    while world.shelf.reads.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    // What was put there now is not what the first one must have read.
    world.shelf.put(&format!("{BEFORE}// new"));
    let others: Vec<_> = (0..16).map(|_| ask()).collect();
    begun.iter().take(17).for_each(drop);
    drop(gate);
    first.join().unwrap();
    let outcomes: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
    let reads = world.shelf.reads.load(Ordering::SeqCst);
    // Threads that were late to ask share another one.
    assert!((2..=17).contains(&reads), "{reads}");
    assert_eq!(world.reloader.status().version.to_string(), version(&format!("{BEFORE}// new")));
    assert!(
        outcomes
            .iter()
            .all(|outcome| { matches!(outcome, ReloadOutcome::Loaded | ReloadOutcome::Unchanged) })
    );
}

/// Whoever has written policies and asks for them must not be told of what a look at the source had read before.
#[test]
fn reload_does_not_share_a_look_that_had_begun() {
    let (engine, _) = super::world::engine(load(&[source(BEFORE)]).unwrap(), &[]);
    let (shelf, asked) = (Shelf::holding(&format!("{BEFORE}// looked at")), Arc::new(AtomicUsize::new(0)));
    let clock = Arc::clone(&asked);
    let reloader = Reloader::new(
        Arc::new(engine),
        Box::new(shelf.clone()),
        &[source(BEFORE)],
        Arc::new(move || {
            clock.fetch_add(1, Ordering::SeqCst);
            BEGINNING
        }),
        Arc::new(Metrics::new()),
    );
    let wait_for = |counter: &AtomicUsize, count| {
        while counter.load(Ordering::SeqCst) < count {
            std::thread::yield_now();
        }
    };
    let asked_before = asked.load(Ordering::SeqCst);
    let after = format!("{BEFORE}// asked for");
    let reloaded = std::thread::scope(|scope| {
        let gate = shelf.gate_after.lock();
        scope.spawn(|| reloader.look());
        wait_for(&shelf.has_read, 1);
        shelf.put(&after);
        let reload = scope.spawn(|| reloader.reload(Trigger::Signal).unwrap());
        // Whether the token of a request is live is asked after it was noted which loads have begun.
        wait_for(&asked, asked_before + 1);
        drop(gate);
        reload.join().unwrap()
    });
    assert_eq!(reloaded.outcome, ReloadOutcome::Loaded);
    assert_eq!(reloaded.version.to_string(), version(&after));
}

#[test]
fn reloads_that_wait_for_a_disk_hold_up_no_change_of_tokens() {
    let scene = Scene::start();
    let gate = scene.shelf.gate.lock();
    let ask = |_| {
        let mut client = scene.world.connect();
        client.send(super::world::request("POST", RELOAD, Some(&scene.operator), ""));
        client
    };
    let mut waiting: Vec<_> = (0..2 * super::world::BLOCKING_THREADS).map(ask).collect();
    let mut permitted = 0;
    while permitted < waiting.len() {
        permitted += scene.world.record.take().0.len();
        std::thread::yield_now();
    }
    let body = r#"{"name": "made meanwhile", "roles": ["guest"]}"#;
    let made = scene.world.ask("POST", "/api/security/tokens", Some(&scene.operator), body);
    assert_eq!(made.status, 200, "{made:?}");
    drop(gate);
    for client in &mut waiting {
        assert_eq!(client.response_to("POST").map(|response| response.status), Some(200));
    }
}

#[test]
fn guarded_reload_that_opens_a_route_is_refused_until_a_line_says_so() {
    let scene = Scene::guarded(ReloadGuard::RefuseGains);
    let more = format!("{BEFORE}role(\"guest\").allow(\"GET /api/server/status\");\n");
    scene.shelf.put(&more);
    let answered = scene.reload();
    assert_eq!(answered.status, 409);
    let line = "// rolegate: opens GET /api/server/status to guest";
    assert!(answered.message().contains(&format!("write into one of them:\n{line}")), "{answered:?}");
    assert_eq!(scene.health(None)["state"], "STALE");
    assert!(scene.metric("rolegate_policy_reloads_total{outcome=\"guarded\"} 1"));
    assert_eq!(scene.world.get("/api/server/status", Some(&scene.guest)).status, 403);
    assert!(scene.replaced().is_empty());

    scene.shelf.put(&format!("{more}{line}\n"));
    assert_eq!(scene.reload().json()["outcome"], "loaded");
    assert_eq!(scene.world.get("/api/server/status", Some(&scene.guest)).status, 200);
}

#[test]
fn guarded_reload_takes_away_without_a_word_and_gives_back_with_one() {
    let scene = Scene::guarded(ReloadGuard::RefuseGains);
    let line = "// rolegate: opens GET /api/server/info to guest";
    let without = format!("{}{line}", BEFORE.replace("role(\"guest\").allow(\"GET /api/server/info\");", ""));
    scene.shelf.put(&without);
    assert_eq!(scene.reload().json()["outcome"], "loaded");
    // The line stands there already, and says nothing of what comes now.
    scene.shelf.put(&format!("{BEFORE}{line}"));
    assert_eq!(scene.reload().status, 409);
    scene.shelf.put(&format!("{BEFORE}{line} because it was missed"));
    assert_eq!(scene.reload().json()["outcome"], "loaded");
}

#[test]
fn reload_without_a_guard_opens_what_the_policies_say() {
    let scene = Scene::start();
    scene.shelf.put(&format!("{BEFORE}open(\"GET /api/server/info\");"));
    assert_eq!(scene.reload().json()["outcome"], "loaded");
    assert_eq!(scene.world.get("/api/server/info", None).status, 200);
}
