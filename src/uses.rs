//! The use of tokens, counted in memory until somebody writes it down: a request never waits for the store.

use crate::decision::Decision;
use crate::policy::{PolicySet, Rule};
use crate::store::usage::{RouteUse, TokenUse, Usage};
use crate::time::Timestamp;
use crate::token::TokenId;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The most tokens whose use waits to be written. The use of further ones is lost, and counted as such.
pub const WAITING_MAX: usize = 1_000_000;
/// The most rules of which the uses by one token are kept apart until they are written.
pub const RULES_MAX: usize = 64;
/// The longest name of a rule without a permission, in bytes: its routes.
const NAME_MAX_BYTES: usize = 256;
/// Threads that count uses of different tokens rarely meet.
const SHARDS: usize = 64;
/// What no rule has as its number.
const NO_RULE: (u64, u32) = (0, u32::MAX);

/// What was used since it was last taken.
#[derive(Debug)]
pub struct Uses {
    shards: [Mutex<Shard>; SHARDS],
    waiting: AtomicUsize,
    lost: AtomicU64,
}

type Shard = HashMap<TokenId, Waiting, FxBuildHasher>;

/// The use of one token.
#[derive(Debug)]
struct Waiting {
    last_used: Timestamp,
    count: u64,
    rules: SmallVec<[RuleUse; 2]>,
}

/// The use of one rule by one token.
#[derive(Debug)]
struct RuleUse {
    /// The version of the policies and the rule's number in them: compared before the name.
    rule: (u64, u32),
    name: Arc<str>,
    last_used: Timestamp,
    count: u64,
}

impl Default for Uses {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, waiting: AtomicUsize::new(0), lost: AtomicU64::new(0) }
    }
}

impl Uses {
    /// Counts a request that carried a live token, and by which rule it was allowed, if it was.
    pub fn count(&self, id: TokenId, decision: &Decision, policies: &PolicySet, now: Timestamp) {
        let rule = decision.is_allow().then(|| decision.rule()).flatten();
        let mut shard = self.shard(id).lock();
        let waiting = match shard.get_mut(&id) {
            Some(waiting) => waiting,
            None if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            None => shard.entry(id).or_insert_with(|| Waiting {
                last_used: now,
                count: 0,
                rules: SmallVec::new(),
            }),
        };
        waiting.last_used = waiting.last_used.max(now);
        waiting.count = waiting.count.saturating_add(1);
        let Some(rule) = rule else { return };
        let key = (decision.policy.0, rule.0);
        let mut has_others = false;
        let known = waiting.rules.iter_mut().find(|known| {
            has_others |= known.rule.0 != key.0;
            known.rule == key
        });
        if let Some(known) = known {
            known.last_used = known.last_used.max(now);
            known.count = known.count.saturating_add(1);
            return;
        }
        // Without room, and with nothing that could be the same rule under other policies, only the sum counts.
        if (waiting.rules.len() < RULES_MAX || has_others)
            && let Some(rule) = policies.deciding_rule(decision)
        {
            waiting.add_rule(RuleUse { rule: key, name: name_of(rule), last_used: now, count: 1 });
        }
    }

    /// How many tokens have a use that waits to be written.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many uses were lost because too many waited.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What waits for one token.
    pub fn peek(&self, id: TokenId) -> Option<Usage> {
        self.shard(id).lock().get(&id).map(Waiting::usage)
    }

    /// Takes all that waits.
    pub fn take(&self) -> Vec<TokenUse> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            // The room is kept: the same tokens are used again.
            let mut shard = shard.lock();
            taken.extend(shard.drain().map(|(id, waiting)| TokenUse { id, usage: waiting.usage() }));
        }
        self.waiting.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// Puts back what could not be written.
    pub fn put_back(&self, uses: Vec<TokenUse>) {
        for TokenUse { id, usage } in uses {
            let mut shard = self.shard(id).lock();
            if let Some(waiting) = shard.get_mut(&id) {
                waiting.add(usage);
                continue;
            }
            if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.lost.fetch_add(usage.count, Ordering::Relaxed);
                continue;
            }
            let mut waiting = Waiting { last_used: usage.last_used, count: 0, rules: SmallVec::new() };
            waiting.add(usage);
            shard.insert(id, waiting);
        }
    }

    fn shard(&self, id: TokenId) -> &Mutex<Shard> {
        // Ids are random numbers; the remainder is below the length.
        let at = (id.get() % SHARDS as u64) as usize;
        let [first, ..] = &self.shards;
        self.shards.get(at).unwrap_or(first)
    }
}

impl Waiting {
    fn usage(&self) -> Usage {
        let none = Usage { last_used: self.last_used, count: self.count, routes: Vec::new() };
        self.rules.iter().fold(none, |sum, rule| {
            let route =
                RouteUse { by: (*rule.name).to_owned(), last_used: rule.last_used, count: rule.count };
            sum.plus(&Usage { last_used: rule.last_used, count: 0, routes: vec![route] })
        })
    }

    fn add(&mut self, usage: Usage) {
        self.last_used = self.last_used.max(usage.last_used);
        self.count = self.count.saturating_add(usage.count);
        for route in usage.routes {
            // No rule has this number: the next use of the rule takes its place.
            let (name, last_used, count) = (Arc::from(route.by), route.last_used, route.count);
            self.add_rule(RuleUse { rule: NO_RULE, name, last_used, count });
        }
    }

    /// Adds the use of a rule. One of its name from other policies, or that was put back, is the same one: else every reload
    /// would take room for all of them again. Where there is no room, any of its name will do.
    fn add_rule(&mut self, more: RuleUse) {
        let is_full = self.rules.len() >= RULES_MAX;
        let is_same = |known: &RuleUse| is_full || more.rule == NO_RULE || known.rule.0 != more.rule.0;
        let known = self.rules.iter_mut().find(|known| known.name == more.name && is_same(known));
        let Some(known) = known else {
            if !is_full {
                self.rules.push(more);
            }
            return;
        };
        known.last_used = known.last_used.max(more.last_used);
        known.count = known.count.saturating_add(more.count);
        if more.rule != NO_RULE {
            known.rule = more.rule;
        }
    }
}

/// The name under which the use of a rule is kept: that of its permission, or its routes.
pub fn name_of(rule: &Rule) -> Arc<str> {
    if let Some(permission) = &rule.permission {
        return Arc::clone(permission);
    }
    let mut name = String::new();
    for route in &rule.routes {
        if name.len() > NAME_MAX_BYTES {
            break;
        }
        name.push_str(if name.is_empty() { "" } else { ", " });
        name.push_str(&route.to_string());
    }
    if name.len() > NAME_MAX_BYTES {
        name.truncate(name.floor_char_boundary(NAME_MAX_BYTES));
        name.push('…');
    }
    Arc::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::CanonicalPath;
    use crate::policy::{RoleBindings, ScriptLimits, Source};
    use crate::request::Request;
    use crate::token::{Principal, RoleName};

    const POLICY: &str = r#"permission("read", ["GET /a"]);
        role("ci").grants(["read"]).allow(["GET /own", "PUT /own"]);"#;

    struct World {
        policies: PolicySet,
        uses: Uses,
    }

    impl World {
        fn new() -> Self {
            let source = Source { name: "p.rhai".into(), text: POLICY.to_owned() };
            let policies =
                PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
            Self { policies, uses: Uses::default() }
        }

        fn call(&self, token: u64, path: &str, at: i64) {
            let (id, now) = (id(token), Timestamp::from_millis(at));
            let roles = Arc::from([RoleName::parse("ci").unwrap()]);
            let principal = Principal { id, name: "ci".into(), roles, created: Timestamp::EPOCH };
            let request = Request::new(http::Method::GET, CanonicalPath::parse(path).unwrap());
            let decision = self.policies.decide(Some(&principal), &request, now);
            self.uses.count(id, &decision, &self.policies, now);
        }
    }

    fn id(number: u64) -> TokenId {
        TokenId::new(TokenId::MIN + number).unwrap()
    }

    fn route(by: &str, last_used: i64, count: u64) -> RouteUse {
        RouteUse { by: by.into(), last_used: Timestamp::from_millis(last_used), count }
    }

    #[test]
    fn uses_are_counted_by_permission_or_routes_and_denied_requests_only_altogether() {
        let world = World::new();
        for (path, at) in [("/a", 1), ("/own", 2), ("/a", 5), ("/nowhere", 7), ("/a", 3)] {
            world.call(1, path, at);
        }
        let expected = Usage {
            last_used: Timestamp::from_millis(7),
            count: 5,
            routes: vec![route("GET /own, PUT /own", 2, 1), route("read", 5, 3)],
        };
        assert_eq!(world.uses.peek(id(1)).as_ref(), Some(&expected));
        assert_eq!((world.uses.peek(id(2)), world.uses.waiting()), (None, 1));
        assert_eq!(world.uses.take(), [TokenUse { id: id(1), usage: expected }]);
        assert_eq!((world.uses.take(), world.uses.waiting()), (Vec::new(), 0));
    }

    #[test]
    fn what_is_put_back_adds_up_with_what_came_meanwhile() {
        let world = World::new();
        world.call(1, "/a", 1);
        world.call(2, "/a", 1);
        let taken = world.uses.take();
        world.call(1, "/a", 2);
        world.uses.put_back(taken);
        world.call(1, "/a", 3);
        let usage = world.uses.peek(id(1)).unwrap();
        assert_eq!((usage.count, usage.routes), (3, vec![route("read", 3, 3)]));
        assert_eq!((world.uses.waiting(), world.uses.take().len(), world.uses.lost()), (2, 2, 0));
    }

    #[test]
    fn rules_that_were_put_back_or_came_from_other_policies_take_no_room_twice() {
        let routes = |extra: &str| -> String {
            (0..RULES_MAX).map(|at| format!("role(\"ci\").allow(\"GET /{at}\"); {extra}")).collect()
        };
        let load = |text: String| {
            let source = Source { name: "p.rhai".into(), text };
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap()
        };
        let mut world = World { policies: load(routes("")), uses: Uses::default() };
        let call_all = |world: &World| (0..RULES_MAX).for_each(|at| world.call(1, &format!("/{at}"), 1));
        call_all(&world);
        world.uses.put_back(world.uses.take());
        call_all(&world);
        world.policies = load(routes("deny(\"GET /never\");"));
        call_all(&world);
        let usage = world.uses.peek(id(1)).unwrap();
        assert_eq!((usage.routes.len(), usage.count), (RULES_MAX, 3 * RULES_MAX as u64));
        assert!(usage.routes.iter().all(|route| route.count == 3), "{:?}", usage.routes);
    }

    #[test]
    fn beyond_the_limit_uses_of_further_tokens_are_lost_and_those_of_the_others_are_not() {
        let world = World::new();
        world.call(1, "/a", 1);
        world.uses.waiting.store(WAITING_MAX, Ordering::Relaxed);
        world.call(2, "/a", 1);
        world.call(1, "/a", 2);
        assert_eq!((world.uses.peek(id(2)), world.uses.lost()), (None, 1));
        assert_eq!(world.uses.peek(id(1)).unwrap().count, 2);
        world.uses.waiting.store(WAITING_MAX - 1, Ordering::Relaxed);
        world.call(2, "/a", 1);
        assert_eq!((world.uses.peek(id(2)).unwrap().count, world.uses.waiting()), (1, WAITING_MAX));
    }

    #[test]
    fn name_of_many_routes_is_cut() {
        let routes: Vec<String> = (0..100).map(|at| format!("\"GET /prüf/{at}\"")).collect();
        let text = format!("role(\"a\").allow([{}]);", routes.join(","));
        let source = Source { name: "p.rhai".into(), text };
        let policies =
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
        let name = name_of(&policies.rules()[0]);
        assert!(name.ends_with('…') && name.len() <= NAME_MAX_BYTES + 3 && name.len() > 200, "{name}");
    }
}
