//! All routes of a policy set in one trie over path segments: one walk finds every rule that is about a request,
//! in time that depends on the path and not on the number of rules.
//!
//! Where routes end, rules lie side by side as rows. Of the rules that need no second look, only those are kept
//! that could be the first to decide; and where many rules end, a set of roles tells which of them to look at.

mod granted;
mod leaf;
mod row;

pub(super) use granted::GrantedTable;
pub(super) use row::{Asker, Row, RowKind, RowSubject};

use super::pattern::{Route, Segment};
use crate::path::CanonicalPath;
use hashbrown::HashTable;
use leaf::Large;
use row::Narrowing;
use rustc_hash::{FxBuildHasher, FxHasher};
use std::collections::HashMap;
use std::hash::Hasher as _;
use std::ops::Range;
use std::sync::Arc;

const ROOT: u32 = 0;
/// The texts of segments up to this length lie in their edges. Most are shorter, and are compared there.
const SHORT_MAX_BYTES: usize = 16;

/// The compiled trie. Nodes, edges and rows lie flat.
#[derive(Debug)]
pub(super) struct Table {
    nodes: Box<[Node]>,
    rows: Box<[Row]>,
    edges: Edges,
    /// The leaves of many rows, by their first one.
    large: HashMap<u32, Large, FxBuildHasher>,
}

/// The trie while routes are still being added.
#[derive(Debug)]
pub(super) struct TableBuilder {
    nodes: Vec<OpenNode>,
    rows: Vec<(Leaf, Row)>,
    edges: Edges,
}

/// Where patterns end: at a node, or in `**` below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Leaf {
    node: u32,
    is_below: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// The node behind `*` or `{name}`.
    any: Option<u32>,
    /// Whether there are edges from here.
    has_edges: bool,
    /// The rows of rules whose pattern ends here.
    here: Range<u32>,
    /// The rows of rules whose pattern ends in `**` here.
    below: Range<u32>,
}

#[derive(Clone, Debug, Default)]
struct OpenNode {
    any: Option<u32>,
    has_edges: bool,
}

/// The literal segments, each from one node to another.
#[derive(Debug, Default)]
struct Edges {
    table: HashTable<Edge>,
    /// The texts that are longer than an edge, by the node to which they lead.
    long: HashMap<u32, Arc<str>, FxBuildHasher>,
}

#[derive(Debug)]
struct Edge {
    parent: u32,
    child: u32,
    ends: Ends,
}

/// The first and the last bytes of a text, and its length: all there is of a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    first: u64,
    last: u64,
    length: u32,
}

impl TableBuilder {
    pub(super) fn new() -> Self {
        Self { nodes: vec![OpenNode::default()], rows: Vec::new(), edges: Edges::default() }
    }

    /// Adds a row at the end of a route.
    pub(super) fn add(&mut self, route: &Route, row: Row) {
        let mut node = ROOT;
        for segment in &route.pattern.segments {
            node = match segment {
                Segment::Literal(text) => self.literal_child(node, text),
                Segment::Any(_) => self.any_child(node),
            };
        }
        self.rows.push((Leaf { node, is_below: route.pattern.below }, row));
    }

    pub(super) fn build(mut self) -> Table {
        self.rows.sort_unstable_by_key(|(leaf, row)| (*leaf, row.order()));
        let mut narrowing = Narrowing::default();
        let mut last = None;
        self.rows.retain_mut(|(leaf, row)| {
            let section = Some((*leaf, row.kind));
            if std::mem::replace(&mut last, section) != section {
                narrowing.clear();
            }
            row.kind == RowKind::Guarded || narrowing.narrow(row)
        });

        let nodes = self.nodes.into_iter();
        let nodes = nodes.map(|open| Node { any: open.any, has_edges: open.has_edges, ..Node::default() });
        let mut nodes: Box<[Node]> = nodes.collect();
        let mut large = HashMap::default();
        let mut start = 0;
        for rows in self.rows.chunk_by(|(one, _), (other, _)| one == other) {
            let end = start + len_u32(rows);
            if let Some((leaf, _)) = rows.first()
                && let Some(node) = nodes.get_mut(leaf.node as usize)
            {
                *(if leaf.is_below { &mut node.below } else { &mut node.here }) = start..end;
            }
            if rows.len() > leaf::SCAN_MAX_ROWS {
                large.insert(start, Large::new(rows.iter().map(|(_, row)| row)));
            }
            start = end;
        }
        self.edges.table.shrink_to_fit(Edges::hasher(&self.edges.long));
        let rows = self.rows.into_iter().map(|(_, row)| row).collect();
        Table { nodes, rows, edges: self.edges, large }
    }

    fn literal_child(&mut self, parent: u32, text: &Arc<str>) -> u32 {
        if let Some(child) = self.edges.find(parent, text) {
            return child;
        }
        let child = self.new_node();
        self.edges.insert(parent, text, child);
        if let Some(node) = self.nodes.get_mut(parent as usize) {
            node.has_edges = true;
        }
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
    /// Visits every row that could decide a request, in no particular order; a rule with several routes for it
    /// perhaps several times. Of the rows that need no second look it may leave out those behind another one of
    /// their kind. Allocates nothing.
    pub(super) fn walk(&self, asker: &Asker<'_>, path: &CanonicalPath, visit: &mut impl FnMut(&Row)) {
        // The asterisk has no segments, and no pattern matches it.
        if let Some(below_root) = path.as_str().strip_prefix('/') {
            self.descend(ROOT, below_root, asker, visit);
        }
    }

    /// The depth of the recursion is that of the trie, which the limit on a pattern's segments bounds.
    fn descend(&self, from: u32, path: &str, asker: &Asker<'_>, visit: &mut impl FnMut(&Row)) {
        let (mut at, mut rest) = (from, Some(path));
        loop {
            let Some(node) = self.nodes.get(at as usize) else { return };
            let Some(path) = rest else {
                self.visit_leaf(&node.here, asker, visit);
                return;
            };
            self.visit_leaf(&node.below, asker, visit);
            let end = path.bytes().position(|byte| byte == b'/').unwrap_or(path.len());
            let (segment, behind) = path.split_at_checked(end).unwrap_or((path, ""));
            let behind = behind.strip_prefix('/');
            let literal = if node.has_edges { self.edges.find(at, segment) } else { None };
            let any = node.any.filter(|_| !segment.is_empty());
            at = match (literal, any) {
                (None, None) => return,
                (Some(only), None) | (None, Some(only)) => only,
                (Some(literal), Some(any)) => {
                    match behind {
                        Some(behind) => self.descend(literal, behind, asker, visit),
                        None => self.end_at(literal, asker, visit),
                    }
                    any
                }
            };
            rest = behind;
        }
    }

    fn end_at(&self, node: u32, asker: &Asker<'_>, visit: &mut impl FnMut(&Row)) {
        if let Some(node) = self.nodes.get(node as usize) {
            self.visit_leaf(&node.here, asker, visit);
        }
    }

    fn visit_leaf(&self, range: &Range<u32>, asker: &Asker<'_>, visit: &mut impl FnMut(&Row)) {
        let rows = self.rows.get(range.start as usize..range.end as usize).unwrap_or_default();
        if rows.len() > leaf::SCAN_MAX_ROWS
            && let Some(large) = self.large.get(&range.start)
        {
            large.visit(rows, asker, visit);
        } else {
            leaf::scan(rows, asker, visit);
        }
    }
}

impl Edges {
    fn find(&self, parent: u32, text: &str) -> Option<u32> {
        let ends = Ends::of(text);
        let edge = self.table.find(hash(parent, &ends, text), |edge| {
            edge.parent == parent
                && edge.ends == ends
                && (text.len() <= SHORT_MAX_BYTES
                    || self.long.get(&edge.child).is_some_and(|long| **long == *text))
        });
        edge.map(|edge| edge.child)
    }

    fn insert(&mut self, parent: u32, text: &Arc<str>, child: u32) {
        if text.len() > SHORT_MAX_BYTES {
            self.long.insert(child, Arc::clone(text));
        }
        let ends = Ends::of(text);
        let edge = Edge { parent, child, ends };
        self.table.insert_unique(hash(parent, &ends, text), edge, Self::hasher(&self.long));
    }

    fn hasher(long: &HashMap<u32, Arc<str>, FxBuildHasher>) -> impl Fn(&Edge) -> u64 {
        // Only the text of a long one is looked at.
        |edge| hash(edge.parent, &edge.ends, long.get(&edge.child).map_or("", |text| text))
    }
}

impl Ends {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (first, last) = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
        } else {
            // Three bytes at most.
            let byte = |at: usize| bytes.get(at).map_or(0, |byte| u64::from(*byte));
            (byte(0) | byte(1) << 8, byte(2))
        };
        // Routes and requests are limited far below this length.
        Self { first, last, length: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
    }
}

fn hash(parent: u32, ends: &Ends, text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(u64::from(parent) | u64::from(ends.length) << 32);
    hasher.write_u64(ends.first);
    hasher.write_u64(ends.last);
    // Long texts may differ in their middle alone.
    if ends.length as usize > SHORT_MAX_BYTES {
        hasher.write(text.as_bytes());
    }
    hasher.finish()
}

/// Policies are limited far below 2^32 routes, and a route has at most one node a segment.
fn len_u32<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
