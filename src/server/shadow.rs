//! Shadow mode: candidate policies decide beside those in force, and never instead. Where they would decide
//! otherwise is counted by roles and route, so that a change can be looked at under real traffic first.

use super::metrics::{BoundedCounter, Metrics};
use super::reload::bounded;
use crate::decision::{Decision, PolicyVersion};
use crate::engine::Answer;
use crate::front::Observe;
use crate::path::CanonicalPath;
use crate::policy::{Location, PolicySet, Route};
use crate::request::{Malformed, Request};
use crate::time::Timestamp;
use crate::token::{ForeignId, Principal, PrincipalId, RoleName, TokenId};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// How many requests wait to be decided by the candidate; more are passed over, and counted.
pub const SHADOW_QUEUE: usize = 4_096;
/// How many bytes of requests wait, at most: a request can be long, and a candidate slow.
pub const SHADOW_QUEUE_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How many kinds of differences are kept; more are only counted.
pub const SHADOW_DIFFERENCES_MAX: usize = 1_000;

/// Decides every request by candidate policies as well, on a thread of its own.
pub struct Shadow {
    shared: Arc<Shared>,
    queue: SyncSender<Case>,
}

/// What was seen since the candidate came.
#[derive(Clone, Debug)]
pub struct ShadowReport {
    /// The candidate; `None` as long as there is none.
    pub candidate: Option<PolicyVersion>,
    /// Why what was to be the candidate is not, or no longer.
    pub message: Option<Arc<str>>,
    /// How many requests it decided.
    pub compared: u64,
    /// How many it did not get to see, since more came than it could decide.
    pub passed_over: u64,
    /// How many it would have decided otherwise.
    pub different: u64,
    /// How many of those are of no kind that is listed.
    pub unlisted: u64,
    /// The kinds, the most frequent first.
    pub differences: Vec<ShadowDifference>,
}

/// Requests of the same roles to the same route that the candidate would decide otherwise.
#[derive(Clone, Debug)]
pub struct ShadowDifference {
    /// The roles of the token; `None` for requests without a live token.
    pub roles: Option<Arc<[RoleName]>>,
    /// The route that is allowed by the one and denied by the other.
    pub route: Arc<Route>,
    /// Whether the candidate would allow what is denied now, or the other way round.
    pub change: ShadowChange,
    /// How many requests.
    pub count: u64,
    /// When the first one came.
    pub first: Timestamp,
    /// The last one.
    pub last: ShadowRequest,
}

/// What the candidate would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShadowChange {
    /// It would allow what is denied.
    Gains,
    /// It would deny what is allowed.
    Loses,
}

/// One request that the candidate would decide otherwise.
#[derive(Clone, Debug)]
pub struct ShadowRequest {
    /// When it was decided.
    pub at: Timestamp,
    /// Its method and path.
    pub method: http::Method,
    /// Its path.
    pub path: CanonicalPath,
    /// By which the log finds it.
    pub request_id: Option<Arc<str>>,
    /// Whose it is.
    pub principal: Option<PrincipalId>,
    /// The rule in force that decided it.
    pub rule: Option<Location>,
    /// The rule of the candidate that would.
    pub candidate_rule: Option<Location>,
}

struct Shared {
    candidate: ArcSwapOption<PolicySet>,
    /// Of the requests that wait.
    waiting_bytes: AtomicUsize,
    compared: AtomicU64,
    passed_over: AtomicU64,
    seen: Mutex<Seen>,
    counted: Counted,
}

/// What is counted over all candidates, for metrics.
struct Counted {
    compared: Counter,
    passed_over: Counter,
    differences: BoundedCounter,
}

#[derive(Default)]
struct Seen {
    /// The candidate that all of it is about.
    candidate: Option<PolicyVersion>,
    message: Option<Arc<str>>,
    different: u64,
    unlisted: u64,
    differences: BTreeMap<Key, ShadowDifference>,
}

/// Roles in words, route as written, and the change.
type Key = (Option<Box<[RoleName]>>, Box<str>, ShadowChange);

/// A request that was decided, to be decided again.
struct Case {
    request: Request,
    principal: Option<Principal>,
    decision: Decision,
    policies: Arc<PolicySet>,
}

impl Shadow {
    /// A shadow without a candidate, which looks at nothing.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> std::io::Result<Self> {
        let (queue, cases) = sync_channel(SHADOW_QUEUE);
        let shared = Arc::new(Shared {
            candidate: ArcSwapOption::empty(),
            waiting_bytes: AtomicUsize::new(0),
            compared: AtomicU64::new(0),
            passed_over: AtomicU64::new(0),
            seen: Mutex::new(Seen::default()),
            counted: Counted {
                compared: Counter::default(),
                passed_over: Counter::default(),
                differences: BoundedCounter::new(SHADOW_DIFFERENCES_MAX),
            },
        });
        let own = Arc::clone(&shared);
        // It ends when the queue does, and that ends with the shadow.
        std::thread::Builder::new().name("policy-shadow".to_owned()).spawn(move || own.work(&cases))?;
        Ok(Self { shared, queue })
    }

    /// Counts into these metrics.
    pub fn count_in(&self, metrics: &Metrics) {
        let Counted { compared, passed_over, differences } = &self.shared.counted;
        metrics.register(|registry| {
            registry.register(
                "shadow_compared",
                "Requests that candidate policies decided as well",
                compared.clone(),
            );
            let help = "Requests that candidate policies did not get to see, since too many came";
            registry.register("shadow_passed_over", help, passed_over.clone());
            let help = "Requests that candidate policies would have decided otherwise";
            registry.register("shadow_differences", help, differences.family());
        });
    }

    /// Another candidate, or none. What was seen of the one before is forgotten.
    pub fn replace(&self, candidate: Option<PolicySet>) {
        let mut seen = self.shared.seen.lock();
        let version = candidate.as_ref().map(PolicySet::version);
        if seen.candidate == version {
            seen.message = None;
            return;
        }
        *seen = Seen { candidate: version, ..Seen::default() };
        self.shared.compared.store(0, Ordering::Relaxed);
        self.shared.passed_over.store(0, Ordering::Relaxed);
        self.shared.candidate.store(candidate.map(Arc::new));
    }

    /// What was to be the candidate is wrong, or cannot be read: whatever was the candidate stays.
    pub fn refuse(&self, message: impl Into<String>) {
        self.shared.seen.lock().message = Some(bounded(message.into()));
    }

    /// As long as what this gives is kept, a report has to wait.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Sized + '_ {
        self.shared.seen.lock()
    }

    /// What was seen since the candidate came.
    pub fn report(&self) -> ShadowReport {
        let seen = self.shared.seen.lock();
        let mut differences: Vec<ShadowDifference> = seen.differences.values().cloned().collect();
        differences.sort_by_key(|difference| std::cmp::Reverse(difference.count));
        ShadowReport {
            candidate: seen.candidate,
            message: seen.message.clone(),
            compared: self.shared.compared.load(Ordering::Relaxed),
            passed_over: self.shared.passed_over.load(Ordering::Relaxed),
            different: seen.different,
            unlisted: seen.unlisted,
            differences,
        }
    }
}

impl Observe for Shadow {
    fn decided(&self, request: &Request, answer: &Answer, policies: &Arc<PolicySet>) {
        if self.shared.candidate.load().is_none() {
            return;
        }
        let (principal, decision) = match answer {
            Answer::Permitted(permit) => (permit.principal(), permit.decision()),
            Answer::Forbidden(forbidden) => (Some(&forbidden.principal), &forbidden.decision),
            Answer::Unauthenticated(challenge) => (None, &challenge.decision),
        };
        let case = Case {
            request: request.clone(),
            principal: principal.cloned(),
            decision: decision.clone(),
            policies: Arc::clone(policies),
        };
        // Requests never wait for the shadow.
        let bytes = request.length_bytes();
        let waiting = self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > SHADOW_QUEUE_MAX_BYTES || self.queue.try_send(case).is_err() {
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.passed_over.fetch_add(1, Ordering::Relaxed);
            self.shared.counted.passed_over.inc();
        }
    }

    fn refused(&self, _: &Malformed) {}
}

impl Shared {
    fn work(&self, cases: &Receiver<Case>) {
        while let Ok(case) = cases.recv() {
            self.waiting_bytes.fetch_sub(case.request.length_bytes(), Ordering::Relaxed);
            let candidate = self.candidate.load_full();
            if let Some(candidate) = candidate {
                self.compare(&case, &candidate);
            }
        }
    }

    fn compare(&self, case: &Case, candidate: &PolicySet) {
        let would = candidate.decide(case.principal.as_ref(), &case.request, case.decision.at);
        let mut seen = self.seen.lock();
        // It was replaced meanwhile, and what it says is of no interest any more.
        if seen.candidate != Some(candidate.version()) {
            return;
        }
        self.compared.fetch_add(1, Ordering::Relaxed);
        self.counted.compared.inc();
        if would.is_allow() == case.decision.is_allow() {
            return;
        }
        let (change, allowing, decision) = if would.is_allow() {
            (ShadowChange::Gains, candidate, &would)
        } else {
            (ShadowChange::Loses, &*case.policies, &case.decision)
        };
        seen.different += 1;
        let Some(route) = allowing.deciding_route(decision, &case.request) else {
            seen.unlisted += 1;
            return;
        };
        let labels = vec![
            ("roles", in_words(case.principal.as_ref().map(|principal| &*principal.roles))),
            ("route", route.as_str().to_owned()),
            ("change", change.name().to_owned()),
        ];
        self.counted.differences.inc(labels);
        let last = case.described(candidate, &would);
        let roles = case.principal.as_ref().map(|principal| Arc::clone(&principal.roles));
        if seen.note(roles.clone(), route, change, last.clone()) {
            tell(roles.as_deref(), route, change, &last);
        }
    }
}

impl Seen {
    /// Counts a difference; tells whether it is the first of its kind.
    fn note(
        &mut self,
        roles: Option<Arc<[RoleName]>>,
        route: &Arc<Route>,
        change: ShadowChange,
        last: ShadowRequest,
    ) -> bool {
        let key = (roles.as_deref().map(sorted), Box::from(route.as_str()), change);
        if let Some(known) = self.differences.get_mut(&key) {
            known.count += 1;
            known.last = last;
            return false;
        }
        if self.differences.len() >= SHADOW_DIFFERENCES_MAX {
            self.unlisted += 1;
            return false;
        }
        let (route, first) = (Arc::clone(route), last.at);
        let roles = key.0.as_deref().map(Arc::from);
        self.differences.insert(key, ShadowDifference { roles, route, change, count: 1, first, last });
        true
    }
}

impl Case {
    fn described(&self, candidate: &PolicySet, would: &Decision) -> ShadowRequest {
        let place = |policies: &PolicySet, decision: &Decision| {
            policies.deciding_rule(decision).map(|rule| rule.location.clone())
        };
        ShadowRequest {
            at: self.decision.at,
            method: self.request.method().clone(),
            path: self.request.path().clone(),
            request_id: self.request.id().cloned(),
            principal: self.principal.as_ref().map(|principal| principal.id.clone()),
            rule: place(&self.policies, &self.decision),
            candidate_rule: place(candidate, would),
        }
    }
}

impl ShadowChange {
    /// The word for it, in logs, metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Loses => "loses",
        }
    }
}

/// The roles in an order that does not depend on the token.
fn sorted(roles: &[RoleName]) -> Box<[RoleName]> {
    let mut sorted = roles.to_vec();
    sorted.sort();
    sorted.into()
}

/// The roles as one text; empty for a request without a live token.
fn in_words(roles: Option<&[RoleName]>) -> String {
    let roles = sorted(roles.unwrap_or_default());
    roles.iter().map(RoleName::as_str).collect::<Vec<_>>().join(", ")
}

/// One line for the first request of each kind: more would tell the same.
fn tell(roles: Option<&[RoleName]>, route: &Route, change: ShadowChange, last: &ShadowRequest) {
    tracing::info!(
        request_id = last.request_id.as_deref(),
        method = last.method.as_str(),
        path = last.path.as_str(),
        token = last.principal.as_ref().and_then(PrincipalId::token).map(TokenId::get),
        foreign = last.principal.as_ref().and_then(PrincipalId::foreign).map(ForeignId::as_str),
        roles = in_words(roles),
        route = route.as_str(),
        change = change.name(),
        rule = last.rule.as_ref().map(tracing::field::display),
        candidate_rule = last.candidate_rule.as_ref().map(tracing::field::display),
        "the candidate policies would decide otherwise"
    );
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("candidate", &self.report().candidate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::reload::PolicyStatus;
    use super::*;
    use crate::audit::MemoryAudit;
    use crate::engine::Engine;
    use crate::policy::{RoleBindings, ScriptLimits, Source};
    use crate::store::memory::MemoryStore;
    use crate::store::{Names, Store as _};
    use crate::token::{Secret, SecretKind, TokenOrigin, TokenRecord};
    use std::fmt::Write as _;

    const LIVE: &str = r#"role("a").allow("GET /both").allow("GET /old/{x}"); role("b");"#;
    const CANDIDATE: &str =
        r#"role("a").allow("GET /both").allow("GET /new/{x}"); open("GET /open"); role("b");"#;

    fn policies(text: &str) -> PolicySet {
        let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
        PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap()
    }

    struct World {
        engine: Engine,
        shadow: Shadow,
        secrets: Vec<(Secret, SecretKind)>,
        asked: u64,
    }

    impl World {
        /// An engine with a token of each of these roles.
        fn new(live: &str, roles: &[&[&str]]) -> Self {
            let store = MemoryStore::new();
            let mut secrets = Vec::new();
            for (number, roles) in (0..).zip(roles) {
                let (secret, kind) = Secret::parse(&format!("the-secret-of-token-number-{number}")).unwrap();
                let record = TokenRecord {
                    id: TokenId::new(TokenId::MIN + number).unwrap(),
                    digest: secret.digest(),
                    kind,
                    origin: TokenOrigin::Api,
                    name: "t".to_owned(),
                    description: None,
                    roles: roles.iter().map(|role| RoleName::parse(role).unwrap()).collect(),
                    dedicated_subject: None,
                    disabled: None,
                    former: None,
                    created: Timestamp::EPOCH,
                    updated: Timestamp::EPOCH,
                    expires: None,
                };
                let _ = store.insert(&record, Names::MayRepeat).unwrap();
                secrets.push((secret, kind));
            }
            let (store, audit) = (Box::new(store), Box::new(MemoryAudit::new()));
            let engine = Engine::open(store, audit, policies(live), Timestamp::EPOCH).unwrap();
            Self { engine, shadow: Shadow::start().unwrap(), secrets, asked: 0 }
        }

        /// Asks the gate and tells the shadow.
        fn ask(&mut self, token: Option<usize>, path: &str) {
            self.ask_with(token, path, "");
        }

        fn ask_with(&mut self, token: Option<usize>, path: &str, header: &str) {
            let path = CanonicalPath::parse(path).unwrap();
            let mut parts = Request::new(http::Method::GET, path).into_parts();
            parts.headers.insert("x", header.parse().unwrap());
            if let Some(at) = token {
                let (secret, kind) = &self.secrets[at];
                parts.credential = crate::request::Credential::Token(secret.clone(), *kind);
            }
            let request = Request::from(parts);
            let policies = self.engine.policies();
            let answer = self.engine.check_by(&policies, &request, Timestamp::EPOCH);
            self.shadow.decided(&request, &answer, &policies);
            self.asked += 1;
        }

        /// What the shadow saw, once it has seen everything.
        fn report(&self) -> ShadowReport {
            loop {
                let report = self.shadow.report();
                if report.compared + report.passed_over == self.asked {
                    return report;
                }
                std::thread::yield_now();
            }
        }
    }

    /// A line a kind of difference: how often, roles, change, route, path, rules.
    fn told(report: &ShadowReport) -> Vec<String> {
        let line = |difference: &ShadowDifference| {
            let mut line = format!("{} ", difference.count);
            match &difference.roles {
                Some(roles) => roles.iter().for_each(|role| write!(line, "{role} ").unwrap()),
                None => line.push_str("nobody "),
            }
            let rule =
                |rule: &Option<Location>| rule.as_ref().map_or_else(|| "-".to_owned(), Location::to_string);
            let ShadowRequest { path, rule: now, candidate_rule: then, .. } = &difference.last;
            write!(line, "{} {} {path} ", difference.change.name(), difference.route).unwrap();
            write!(line, "{} {}", rule(now), rule(then)).unwrap();
            line
        };
        report.differences.iter().map(line).collect()
    }

    #[test]
    fn differences_are_counted_by_roles_and_route_and_agreement_is_not() {
        let mut world = World::new(LIVE, &[&["a"], &["b", "a"]]);
        world.shadow.replace(Some(policies(CANDIDATE)));
        for (token, path) in [
            (Some(0), "/both"),
            (Some(0), "/old/1"),
            (Some(0), "/old/2"),
            (Some(0), "/new/1"),
            (Some(1), "/new/1"),
            (None, "/open"),
            (None, "/both"),
            (Some(0), "/nothing"),
        ] {
            world.ask(token, path);
        }
        let report = world.report();
        assert_eq!((report.compared, report.different, report.unlisted), (8, 5, 0));
        assert_eq!(
            told(&report),
            [
                "2 a loses GET /old/{x} /old/2 p.rhai:1:30 -",
                "1 nobody gains GET /open /open - p.rhai:1:53",
                "1 a gains GET /new/{x} /new/1 - p.rhai:1:30",
                "1 a b gains GET /new/{x} /new/1 - p.rhai:1:30",
            ]
        );
    }

    #[test]
    fn nothing_is_looked_at_without_a_candidate_and_another_one_starts_anew() {
        let mut world = World::new(LIVE, &[&["a"]]);
        world.ask(Some(0), "/new/1");
        world.asked = 0;
        assert_eq!(world.report().candidate, None);
        world.shadow.replace(Some(policies(CANDIDATE)));
        world.ask(Some(0), "/new/1");
        assert_eq!(world.report().different, 1);
        world.shadow.replace(Some(policies(CANDIDATE)));
        assert_eq!(world.report().different, 1, "the same candidate goes on");
        world.shadow.replace(Some(policies(LIVE)));
        world.asked = 0;
        world.ask(Some(0), "/new/1");
        let report = world.report();
        assert_eq!((report.compared, report.different), (1, 0));
    }

    #[test]
    fn candidate_that_is_wrong_changes_nothing_but_is_told() {
        let mut world = World::new(LIVE, &[&["a"]]);
        world.shadow.replace(Some(policies(CANDIDATE)));
        world.shadow.refuse("p.rhai:1:1: it is wrong");
        world.ask(Some(0), "/new/1");
        let report = world.report();
        assert_eq!(report.different, 1);
        assert_eq!(report.message.as_deref(), Some("p.rhai:1:1: it is wrong"));
        world.shadow.replace(Some(policies(CANDIDATE)));
        assert_eq!(world.report().message, None);
    }

    #[test]
    fn metrics_count_over_all_candidates() {
        let metrics = Metrics::new();
        let mut world = World::new(LIVE, &[&["a"]]);
        world.shadow.count_in(&metrics);
        for candidate in [CANDIDATE, LIVE, CANDIDATE] {
            world.shadow.replace(Some(policies(candidate)));
            world.asked = 0;
            world.ask(Some(0), "/new/1");
            let _ = world.report();
        }
        let status = PolicyStatus::loaded(world.engine.policies().version(), Timestamp::EPOCH);
        let text = metrics.text(&status);
        assert!(text.contains("rolegate_shadow_compared_total 3\n"), "{text}");
        let difference =
            "rolegate_shadow_differences_total{roles=\"a\",route=\"GET /new/{x}\",change=\"gains\"} 2\n";
        assert!(text.contains(difference), "{text}");
    }

    #[test]
    fn kinds_past_the_limit_are_only_counted() {
        let routes = |count: usize| {
            (0..count).map(|at| format!("role(\"a\").allow(\"GET /r{at}\");")).collect::<String>()
        };
        let mut world = World::new(LIVE, &[&["a"]]);
        world.shadow.replace(Some(policies(&routes(SHADOW_DIFFERENCES_MAX + 1))));
        for at in 0..SHADOW_DIFFERENCES_MAX {
            world.ask(Some(0), &format!("/r{at}"));
        }
        let report = world.report();
        assert_eq!((report.differences.len(), report.unlisted), (SHADOW_DIFFERENCES_MAX, 0));
        world.ask(Some(0), &format!("/r{SHADOW_DIFFERENCES_MAX}"));
        let report = world.report();
        assert_eq!((report.differences.len(), report.unlisted), (SHADOW_DIFFERENCES_MAX, 1));
        assert_eq!(report.different, SHADOW_DIFFERENCES_MAX as u64 + 1);
    }

    #[test]
    fn more_than_can_be_decided_is_passed_over_and_counted() {
        let mut world = World::new(LIVE, &[&["a"]]);
        world.shadow.replace(Some(policies(CANDIDATE)));
        // As long as this is held, the shadow cannot note anything.
        let shared = Arc::clone(&world.shadow.shared);
        let seen = shared.seen.lock();
        for _ in 0..SHADOW_QUEUE + 10 {
            world.ask(Some(0), "/new/1");
        }
        drop(seen);
        let report = world.report();
        assert!((9..=10).contains(&report.passed_over), "{report:?}");
        assert_eq!(report.differences[0].count, report.compared);
    }

    #[test]
    fn long_requests_that_cannot_be_decided_are_passed_over_sooner() {
        let mut world = World::new(LIVE, &[&["a"]]);
        world.shadow.replace(Some(policies(CANDIDATE)));
        let shared = Arc::clone(&world.shadow.shared);
        let seen = shared.seen.lock();
        // With its path and the name of the field; one of them is with the shadow and waits no more.
        let header = "h".repeat(32 * 1024 - "/new/1".len() - "x".len());
        let room = SHADOW_QUEUE_MAX_BYTES / (32 * 1024);
        for _ in 0..room + 10 {
            world.ask_with(Some(0), "/new/1", &header);
        }
        drop(seen);
        let report = world.report();
        assert!((9..=10).contains(&report.passed_over), "{report:?}");
        // Whoever was passed over takes no room.
        world.ask_with(Some(0), "/new/1", &header);
        assert_eq!(world.report().passed_over, report.passed_over);
        assert_eq!(shared.waiting_bytes.load(Ordering::Relaxed), 0);
    }
}
