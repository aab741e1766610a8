//! The use of tokens, counted in memory until somebody writes it down: a request never waits for the store.

use crate::decision::Decision;
use crate::policy::{PolicySet, Rule};
use crate::store::page::Listed;
use crate::store::usage::{RouteUse, TokenUse, Usage};
use crate::time::Timestamp;
use crate::token::TokenId;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The most pairs of a token and a rule that allowed it something whose use waits to be written. Where there is no room, a use
/// counts for its token alone, and is lost, and counted as such, when that has none either.
pub(crate) const WAITING_MAX: usize = 1_000_000;
/// The longest name of a rule without a permission, in bytes: its routes.
const NAME_MAX_BYTES: usize = 256;
/// Each thread counts for itself, up to so many; further ones share.
const SHARDS: usize = 32;
/// So many uses are only noted before they are added up: the memory is then asked for many counts at once, in the place of
/// waiting for one in each request.
const NOTED_MAX: usize = 512;
/// The number of no rule: for requests that none allowed.
const NO_RULE: u32 = u32::MAX;

/// What was used since it was last taken.
#[derive(Debug)]
pub(crate) struct Uses {
    shards: [Mutex<Shard>; SHARDS],
    /// What was taken from the shards, or could not be written.
    gathered: Mutex<HashMap<TokenId, Usage>>,
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// What some threads counted. No two shards are in one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    noted: Vec<(Key, Timestamp)>,
    counts: Counts,
    /// Whose rules the numbers are.
    policies: Option<Arc<PolicySet>>,
    /// What was counted under policies that were replaced.
    replaced: Vec<(Arc<PolicySet>, Counts)>,
}

type Counts = HashMap<Key, Count, FxBuildHasher>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    id: TokenId,
    rule: u32,
}

#[derive(Debug)]
struct Count {
    last_used: Timestamp,
    count: u64,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            gathered: Mutex::default(),
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        }
    }
}

impl Uses {
    /// Counts a request that carried a live token, and by which rule it was allowed, if it was. The policies are those
    /// that made the decision.
    pub(crate) fn count(&self, id: TokenId, decision: &Decision, policies: &Arc<PolicySet>, now: Timestamp) {
        let rule = decision.is_allow().then(|| decision.rule()).flatten();
        let key = Key { id, rule: rule.map_or(NO_RULE, |rule| rule.0) };
        let mut shard = self.shard_of_thread().lock();
        if shard.policies.as_ref().is_none_or(|known| known.version() != policies.version()) {
            self.add_up(&mut shard);
            shard.change_policies(policies);
        }
        shard.noted.push((key, now));
        if shard.noted.len() >= NOTED_MAX {
            self.add_up(&mut shard);
        }
    }

    /// How many pairs of a token and a rule have a use that waits to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.shards.iter().for_each(|shard| self.add_up(&mut shard.lock()));
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many uses were lost because too many waited.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Adds what waits to what the store tells of these tokens.
    pub(crate) fn add_to(&self, tokens: &mut [Listed]) {
        self.gather();
        let gathered = self.gathered.lock();
        for Listed { record, usage } in tokens {
            let Some(waiting) = gathered.get(&record.id) else { continue };
            *usage = Some(match usage.take() {
                Some(written) => written.plus(waiting),
                None => waiting.clone(),
            });
        }
    }

    /// Takes all that waits.
    pub(crate) fn take(&self) -> Vec<TokenUse> {
        self.gather();
        let gathered = mem::take(&mut *self.gathered.lock());
        self.waiting.fetch_sub(gathered.values().map(size).sum(), Ordering::Relaxed);
        gathered.into_iter().map(|(id, usage)| TokenUse { id, usage }).collect()
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&self, uses: Vec<TokenUse>) {
        let mut gathered = self.gathered.lock();
        uses.iter().for_each(|TokenUse { id, usage }| self.add(&mut gathered, *id, usage));
    }

    /// Takes what the shards have, so that it can be found by its token. The threads that count meanwhile wait for none of it.
    fn gather(&self) {
        let mut gathered = self.gathered.lock();
        for shard in &self.shards {
            for (policies, counts) in self.drain(&mut shard.lock()) {
                self.waiting.fetch_sub(counts.len(), Ordering::Relaxed);
                for (Key { id, rule }, Count { last_used, count }) in counts {
                    let rule = policies.rules().get(rule as usize);
                    let by = |rule| RouteUse { by: (*name_of(rule)).to_owned(), last_used, count };
                    let routes = rule.map(by).into_iter().collect();
                    self.add(&mut gathered, id, &Usage { last_used, count, routes });
                }
            }
        }
    }

    fn drain(&self, shard: &mut Shard) -> Vec<(Arc<PolicySet>, Counts)> {
        self.add_up(shard);
        let mut drained = mem::take(&mut shard.replaced);
        if let Some(policies) = shard.policies.take() {
            // The same tokens will be used again.
            let room = Counts::with_capacity_and_hasher(shard.counts.len(), FxBuildHasher);
            drained.push((policies, mem::replace(&mut shard.counts, room)));
        }
        drained
    }

    fn add(&self, gathered: &mut HashMap<TokenId, Usage>, id: TokenId, more: &Usage) {
        let nothing = || Usage { last_used: more.last_used, count: 0, routes: Vec::new() };
        let room = WAITING_MAX.saturating_sub(self.waiting.load(Ordering::Relaxed));
        if room < size(more) {
            if let Some(known) = gathered.get_mut(&id) {
                *known = mem::replace(known, nothing()).plus(&Usage { routes: Vec::new(), ..*more });
            } else {
                self.lost.fetch_add(more.count, Ordering::Relaxed);
            }
            return;
        }
        let known = gathered.entry(id).or_insert_with(nothing);
        let before = if known.count == 0 { 0 } else { size(known) };
        *known = mem::replace(known, nothing()).plus(more);
        self.waiting.fetch_add(size(known), Ordering::Relaxed);
        self.waiting.fetch_sub(before, Ordering::Relaxed);
    }

    fn add_up(&self, shard: &mut Shard) {
        let Shard { noted, counts, .. } = shard;
        for (key, now) in noted.drain(..) {
            if let Some(known) = counts.get_mut(&key) {
                known.add(now);
                continue;
            }
            if self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX {
                counts.insert(key, Count { last_used: now, count: 1 });
                continue;
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match counts.get_mut(&Key { rule: NO_RULE, ..key }) {
                Some(known) => known.add(now),
                None => _ = self.lost.fetch_add(1, Ordering::Relaxed),
            }
        }
    }

    fn shard_of_thread(&self) -> &Mutex<Shard> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
        let [first, ..] = &self.shards;
        self.shards.get(NUMBER.with(|number| *number)).unwrap_or(first)
    }
}

impl Shard {
    /// Counts by the rules of these policies from now on. The ones before come back where requests of both are under way.
    fn change_policies(&mut self, policies: &Arc<PolicySet>) {
        let known = self.replaced.iter().position(|(known, _)| known.version() == policies.version());
        let (policies, counts) = known
            .map_or_else(|| (Arc::clone(policies), Counts::default()), |at| self.replaced.swap_remove(at));
        let counts = mem::replace(&mut self.counts, counts);
        if let Some(before) = self.policies.replace(policies) {
            self.replaced.push((before, counts));
        }
    }
}

impl Count {
    fn add(&mut self, now: Timestamp) {
        self.last_used = self.last_used.max(now);
        self.count = self.count.saturating_add(1);
    }
}

/// How much of [`WAITING_MAX`] the use of a token takes.
fn size(usage: &Usage) -> usize {
    usage.routes.len().max(1)
}

/// The name under which the use of a rule is kept: that of its permission, or its routes.
pub(crate) fn name_of(rule: &Rule) -> Arc<str> {
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
        policies: Arc<PolicySet>,
        uses: Uses,
    }

    impl World {
        fn new() -> Self {
            let source = Source { name: "p.rhai".into(), text: POLICY.to_owned() };
            let policies =
                PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
            Self { policies: Arc::new(policies), uses: Uses::default() }
        }

        fn call(&self, token: u64, path: &str, at: i64) {
            let (id, now) = (id(token), Timestamp::from_millis(at));
            let roles = Arc::from([RoleName::parse("ci").unwrap()]);
            let principal = Principal { id: id.into(), name: "ci".into(), roles, created: Timestamp::EPOCH };
            let request = Request::new(http::Method::GET, CanonicalPath::parse(path).unwrap());
            let decision = self.policies.decide(Some(&principal), &request, now);
            self.uses.count(id, &decision, &self.policies, now);
        }

        fn peek(&self, token: u64) -> Option<Usage> {
            self.uses.gather();
            self.uses.gathered.lock().get(&id(token)).cloned()
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
        assert_eq!(world.uses.waiting(), 3);
        assert_eq!(world.peek(1).as_ref(), Some(&expected));
        assert_eq!((world.peek(2), world.uses.waiting()), (None, 2));
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
        let usage = world.peek(1).unwrap();
        assert_eq!((usage.count, usage.routes), (3, vec![route("read", 3, 3)]));
        assert_eq!((world.uses.waiting(), world.uses.take().len(), world.uses.lost()), (2, 2, 0));
    }

    #[test]
    fn uses_under_policies_that_were_replaced_add_up_by_name() {
        let load = |text: &str| {
            let source = Source { name: "p.rhai".into(), text: text.to_owned() };
            Arc::new(PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap())
        };
        let mut world = World::new();
        let before = Arc::clone(&world.policies);
        world.call(1, "/a", 1);
        let after = load(&format!("deny(\"GET /never\"); {POLICY}"));
        // Requests of both are under way for a while.
        for (policies, at) in [(&after, 2), (&before, 3), (&after, 4), (&before, 5)] {
            world.policies = Arc::clone(policies);
            world.call(1, "/a", at);
        }
        assert_eq!(world.uses.waiting(), 2, "a pair by each of the policies, however often they take turns");
        let usage = world.peek(1).unwrap();
        assert_eq!((usage.count, usage.routes), (5, vec![route("read", 5, 5)]));
        assert_eq!(world.uses.waiting(), 1);
    }

    #[test]
    fn each_rule_that_a_token_used_is_told_however_many_there_are() {
        let mut world = World::new();
        let text: String = (0..256).map(|at| format!("role(\"ci\").allow(\"GET /{at}\");")).collect();
        let source = Source { name: "p.rhai".into(), text };
        let policies =
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
        world.policies = Arc::new(policies);
        (0..256).for_each(|at| world.call(1, &format!("/{at}"), 1));
        assert_eq!(world.peek(1).unwrap().routes.len(), 256);
    }

    #[test]
    fn threads_count_for_themselves_and_are_added_up() {
        let world = World::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|at| world.call(1, "/a", at)));
            }
        });
        let usage = world.peek(1).unwrap();
        assert_eq!((usage.count, usage.routes), (400, vec![route("read", 99, 400)]));
    }

    #[test]
    fn beyond_the_limit_uses_of_further_tokens_are_lost_and_those_of_the_others_are_not() {
        let world = World::new();
        world.call(1, "/nowhere", 1);
        assert_eq!(world.uses.waiting(), 1);
        world.uses.waiting.store(WAITING_MAX, Ordering::Relaxed);
        world.call(2, "/a", 1);
        world.call(1, "/a", 2);
        assert_eq!((world.uses.waiting(), world.uses.lost()), (WAITING_MAX, 1));
        let count = |token| world.peek(token).map(|usage| (usage.count, usage.routes));
        assert_eq!((count(1), count(2)), (Some((2, Vec::new())), None));
        world.uses.waiting.store(WAITING_MAX - 1, Ordering::Relaxed);
        world.call(2, "/a", 1);
        assert_eq!(count(2), Some((1, vec![route("read", 1, 1)])));
        assert_eq!((world.uses.waiting(), world.uses.lost()), (WAITING_MAX, 1));
    }

    #[test]
    fn what_finds_no_room_when_it_is_put_back_is_lost_and_counted() {
        let world = World::new();
        world.call(1, "/a", 1);
        world.call(2, "/a", 1);
        let taken = world.uses.take();
        world.call(1, "/nowhere", 2);
        assert_eq!(world.uses.waiting(), 1);
        world.uses.waiting.store(WAITING_MAX, Ordering::Relaxed);
        assert_eq!(world.peek(1).unwrap().count, 1);
        world.uses.waiting.store(WAITING_MAX, Ordering::Relaxed);
        world.uses.put_back(taken);
        assert_eq!((world.peek(1).unwrap().count, world.peek(2), world.uses.lost()), (2, None, 1));
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
