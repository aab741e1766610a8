//! All routes of a policy set in one trie over path segments: a walk finds every rule that is about a
//! request, in time that depends on the path and not on the number of rules.

use super::pattern::{Route, Segment};
use crate::path::CanonicalPath;
use crate::request::MethodSet;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher as _;
use std::ops::Range;
use std::sync::Arc;

const ROOT: u32 = 0;

/// A rule at the end of one of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The methods of the route.
    pub(super) methods: MethodSet,
    /// The rule's place in the policy set.
    pub(super) rule: u32,
    /// The route's place among those of the rule.
    pub(super) route: u32,
}

/// The compiled trie. Nodes and entries lie flat, and a node's entries side by side.
#[derive(Debug)]
pub(super) struct Table {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    edges: HashTable<Edge>,
}

/// The trie while routes are still being added.
#[derive(Debug)]
pub(super) struct TableBuilder {
    nodes: Vec<OpenNode>,
    edges: HashTable<Edge>,
}

#[derive(Debug)]
struct Node {
    /// The node behind `*` or `{name}`.
    any: Option<u32>,
    /// Rules whose pattern ends here.
    here: Range<u32>,
    /// Rules whose pattern ends in `**` here.
    below: Range<u32>,
}

#[derive(Debug, Default)]
struct OpenNode {
    any: Option<u32>,
    here: Vec<Entry>,
    below: Vec<Entry>,
}

#[derive(Debug)]
struct Edge {
    parent: u32,
    text: Arc<str>,
    child: u32,
}

impl TableBuilder {
    pub(super) fn new() -> Self {
        Self { nodes: vec![OpenNode::default()], edges: HashTable::new() }
    }

    /// Adds one route of a rule.
    pub(super) fn add(&mut self, route: &Route, rule: u32, route_at: u32) {
        let mut node = ROOT;
        for segment in &route.pattern.segments {
            node = match segment {
                Segment::Literal(text) => self.literal_child(node, text),
                Segment::Any(_) => self.any_child(node),
            };
        }
        let entry = Entry { methods: route.methods, rule, route: route_at };
        if let Some(end) = self.nodes.get_mut(node as usize) {
            if route.pattern.below { end.below.push(entry) } else { end.here.push(entry) }
        }
    }

    pub(super) fn build(self) -> Table {
        let mut entries = Vec::new();
        let mut append = |list: Vec<Entry>| {
            let start = len_u32(&entries);
            entries.extend(list);
            start..len_u32(&entries)
        };
        let nodes = self.nodes.into_iter();
        let nodes =
            nodes.map(|open| Node { any: open.any, here: append(open.here), below: append(open.below) });
        Table { nodes: nodes.collect(), entries, edges: self.edges }
    }

    fn literal_child(&mut self, parent: u32, text: &Arc<str>) -> u32 {
        if let Some(child) = find(&self.edges, parent, text) {
            return child;
        }
        let child = self.new_node();
        let edge = Edge { parent, text: Arc::clone(text), child };
        self.edges.insert_unique(hash(parent, text), edge, |edge| hash(edge.parent, &edge.text));
        child
    }

    fn any_child(&mut self, parent: u32) -> u32 {
        if let Some(child) = self.nodes.get(parent as usize).and_then(|node| node.any) {
            return child;
        }
        let child = self.new_node();
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.any = Some(child);
        }
        child
    }

    fn new_node(&mut self) -> u32 {
        let number = len_u32(&self.nodes);
        self.nodes.push(OpenNode::default());
        number
    }
}

impl Table {
    /// Visits every rule that has a route for this method and path, in no particular order. A rule with
    /// several such routes is visited for each. Allocates nothing.
    pub(super) fn walk(&self, method: MethodSet, path: &CanonicalPath, visit: &mut impl FnMut(Entry)) {
        // The asterisk has no segments, and no pattern matches it.
        if let Some(below_root) = path.as_str().strip_prefix('/') {
            self.descend(ROOT, Some(below_root), &mut |entry: Entry| {
                if entry.methods.intersects(method) {
                    visit(entry);
                }
            });
        }
    }

    /// The depth of the recursion is that of the trie, which the limit on a pattern's segments bounds.
    fn descend(&self, node_number: u32, rest: Option<&str>, visit: &mut impl FnMut(Entry)) {
        let Some(node) = self.nodes.get(node_number as usize) else { return };
        let Some(rest) = rest else {
            self.visit_all(&node.here, visit);
            return;
        };
        self.visit_all(&node.below, visit);
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(child) = find(&self.edges, node_number, segment) {
            self.descend(child, rest, visit);
        }
        if let Some(child) = node.any
            && !segment.is_empty()
        {
            self.descend(child, rest, visit);
        }
    }

    fn visit_all(&self, range: &Range<u32>, visit: &mut impl FnMut(Entry)) {
        let entries = self.entries.get(range.start as usize..range.end as usize).unwrap_or_default();
        entries.iter().for_each(|entry| visit(*entry));
    }
}

fn find(edges: &HashTable<Edge>, parent: u32, text: &str) -> Option<u32> {
    let edge = edges.find(hash(parent, text), |edge| edge.parent == parent && *edge.text == *text);
    edge.map(|edge| edge.child)
}

fn hash(parent: u32, text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(parent);
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Policies are limited far below 2^32 routes, and a route has at most one node a segment.
fn len_u32<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(routes: &[&str], method: &str, path: &str) -> Vec<u32> {
        let mut builder = TableBuilder::new();
        for (rule, route) in (0..).zip(routes) {
            builder.add(&Route::parse(route).unwrap(), rule, 0);
        }
        let mut rules = Vec::new();
        let path = CanonicalPath::parse(path).unwrap();
        builder.build().walk(MethodSet::of(method), &path, &mut |entry| rules.push(entry.rule));
        rules.sort_unstable();
        rules
    }

    #[test]
    fn walk_finds_every_rule_about_the_request() {
        let routes = [
            "GET /a/{x}",
            "ANY /a/**",
            "GET /a/b",
            "GET /*/b",
            "POST /a/b",
            "GET /a/b/",
            "GET /**",
            "GET /a",
        ];
        assert_eq!(found(&routes, "GET", "/a/b"), [0, 1, 2, 3, 6]);
        assert_eq!(found(&routes, "POST", "/a/b"), [1, 4]);
        assert_eq!(found(&routes, "GET", "/a/"), [1, 6]);
        assert_eq!(found(&routes, "GET", "/a/b/"), [1, 5, 6]);
        assert_eq!(found(&routes, "GET", "/a"), [6, 7]);
        assert!(found(&routes, "TRACE", "/a/b").is_empty());
    }

    #[test]
    fn empty_table_finds_nothing() {
        assert!(found(&[], "GET", "/").is_empty());
    }

    /// Routes and paths over few words, so that they meet often.
    fn routes() -> impl Strategy<Value = Vec<String>> {
        let segment = prop::sample::select(vec!["a", "b", "c", "*", "{x}"]);
        let end = prop::sample::select(vec!["", "/", "/**"]);
        let method = prop::sample::select(vec!["GET", "POST", "ANY"]);
        let route = (method, prop::collection::vec(segment, 1..4), end);
        let text = route.prop_filter_map("a name twice is no pattern", |(method, segments, end)| {
            let names = segments.iter().filter(|segment| **segment == "{x}").count();
            (names < 2).then(|| format!("{method} /{}{end}", segments.join("/")))
        });
        prop::collection::vec(text, 0..12)
    }

    proptest! {
        #[test]
        fn walk_finds_what_matching_each_pattern_finds(
            routes in routes(),
            segments in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..5),
            slash in any::<bool>(),
        ) {
            let path = format!("/{}{}", segments.join("/"), if slash && !segments.is_empty() { "/" } else { "" });
            let canonical = CanonicalPath::parse(&path).unwrap();
            let parsed = routes.iter().map(|route| Route::parse(route).unwrap());
            let get = MethodSet::of("GET");
            let matching = parsed.zip(0..).filter(|(route, _)| {
                route.methods.intersects(get) && route.pattern.matches(&canonical)
            });
            let expected: Vec<u32> = matching.map(|(_, rule)| rule).collect();
            let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
            prop_assert_eq!(found(&routes, "GET", &path), expected);
        }
    }
}
