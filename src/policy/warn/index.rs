//! All routes of a policy set by their segments, for questions about patterns instead of paths: which ones have
//! a path in common with this one, and which ones have all of it.

use super::{Exhausted, Work};
use crate::policy::PolicySet;
use crate::policy::pattern::{Pattern, Segment};
use crate::request::MethodSet;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

const ROOT: usize = 0;

/// The routes of all rules, as a trie over their segments.
pub(in crate::policy) struct RouteIndex {
    nodes: Vec<Node>,
    /// The most segments of any pattern, exceptions included.
    depth: usize,
}

/// A route of a rule.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) rule: usize,
    pub(super) route: usize,
    pub(super) methods: MethodSet,
}

/// One segment of a path that stands for many: a text, or one that no pattern has as a literal.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Fresh,
}

/// A path that stands for all paths of a shape: no pattern has fresh segments as literals, so that what matches it
/// matches every path with anything in their places.
pub(super) type Shape<'a> = Vec<Part<'a>>;

#[derive(Default)]
struct Node {
    literals: HashMap<Arc<str>, usize>,
    any: Option<usize>,
    here: Vec<Entry>,
    below: Vec<Entry>,
}

impl RouteIndex {
    pub(in crate::policy) fn of(policies: &PolicySet) -> Self {
        let mut index = Self { nodes: vec![Node::default()], depth: 0 };
        for (rule_at, rule) in policies.rules.iter().enumerate() {
            for (route_at, route) in rule.routes.iter().enumerate() {
                index.add(&route.pattern, Entry { rule: rule_at, route: route_at, methods: route.methods });
            }
            let excepted = rule.except.iter().map(|route| route.pattern.segments.len()).max();
            index.depth = index.depth.max(excepted.unwrap_or(0));
        }
        index
    }

    /// The index of any patterns.
    pub(super) fn of_patterns<'p>(routes: impl Iterator<Item = (&'p Pattern, Entry)>) -> Self {
        let mut index = Self { nodes: vec![Node::default()], depth: 0 };
        routes.for_each(|(pattern, entry)| index.add(pattern, entry));
        index
    }

    /// Visits every route that matches the shape.
    pub(super) fn matching(
        &self,
        shape: &[Part<'_>],
        work: &mut Work,
        visit: &mut impl FnMut(Entry),
    ) -> Result<(), Exhausted> {
        let mut open = vec![(ROOT, 0)];
        while let Some((at, depth)) = open.pop() {
            work.spend(1)?;
            let Some(node) = self.nodes.get(at) else { continue };
            let Some(part) = shape.get(depth) else {
                work.spend(node.here.len())?;
                node.here.iter().for_each(|entry| visit(*entry));
                continue;
            };
            work.spend(node.below.len())?;
            node.below.iter().for_each(|entry| visit(*entry));
            let children = match part {
                Part::Fresh => [None, node.any],
                Part::Text(text) => {
                    [node.literals.get(*text).copied(), node.any.filter(|_| !text.is_empty())]
                }
            };
            open.extend(children.into_iter().flatten().map(|child| (child, depth + 1)));
        }
        Ok(())
    }

    /// Visits routes that have a path in common with the pattern, until `visit` breaks.
    pub(super) fn overlapping(
        &self,
        pattern: &Pattern,
        work: &mut Work,
        visit: &mut impl FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Exhausted> {
        let mut open = vec![(ROOT, 0)];
        while let Some((at, depth)) = open.pop() {
            work.spend(1)?;
            let Some(node) = self.nodes.get(at) else { continue };
            let segment = pattern.segments.get(depth);
            let is_past_end = depth > pattern.segments.len();
            let here =
                if segment.is_none() && (is_past_end || !pattern.below) { &node.here[..] } else { &[] };
            let below = if segment.is_some() || pattern.below { &node.below[..] } else { &[] };
            for entry in here.iter().chain(below) {
                work.spend(1)?;
                if visit(*entry).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match segment {
                Some(Segment::Literal(text)) => {
                    open.extend(node.literals.get(text).map(|child| (*child, depth + 1)));
                    open.extend(node.any.filter(|_| !text.is_empty()).map(|child| (child, depth + 1)));
                }
                Some(Segment::Any(_)) => {
                    let literals = node.literals.iter().filter(|(text, _)| !text.is_empty());
                    open.extend(literals.map(|(_, child)| (*child, depth + 1)));
                    open.extend(node.any.map(|child| (child, depth + 1)));
                }
                None if pattern.below => {
                    open.extend(node.literals.values().map(|child| (*child, depth + 1)));
                    open.extend(node.any.map(|child| (child, depth + 1)));
                }
                None => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The shapes of the pattern's paths. Those that are longer than all patterns are matched by the same ones.
    pub(super) fn shapes<'p>(&self, pattern: &'p Pattern) -> Vec<Shape<'p>> {
        let fixed: Shape<'p> = pattern
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => Part::Text(text),
                Segment::Any(_) => Part::Fresh,
            })
            .collect();
        if !pattern.below {
            return vec![fixed];
        }
        let mut shapes = Vec::new();
        let mut longest = fixed;
        for _ in pattern.segments.len()..=self.depth + 1 {
            let mut with_slash = longest.clone();
            with_slash.push(Part::Text(""));
            shapes.push(with_slash);
            longest.push(Part::Fresh);
            shapes.push(longest.clone());
        }
        shapes
    }

    fn add(&mut self, pattern: &Pattern, entry: Entry) {
        let mut at = ROOT;
        for segment in &pattern.segments {
            let new = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            at = match segment {
                Segment::Literal(text) => *node.literals.entry(Arc::clone(text)).or_insert(new),
                Segment::Any(_) => *node.any.get_or_insert(new),
            };
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        if let Some(end) = self.nodes.get_mut(at) {
            if pattern.below { end.below.push(entry) } else { end.here.push(entry) }
        }
        self.depth = self.depth.max(pattern.segments.len());
    }
}

/// Whether the pattern matches the shape.
pub(super) fn matches(pattern: &Pattern, shape: &[Part<'_>]) -> bool {
    let is_long_enough = if pattern.below {
        shape.len() > pattern.segments.len()
    } else {
        shape.len() == pattern.segments.len()
    };
    is_long_enough
        && pattern.segments.iter().zip(shape).all(|(segment, part)| match (segment, part) {
            (Segment::Literal(text), Part::Text(part)) => **text == **part,
            (Segment::Literal(_), Part::Fresh) => false,
            (Segment::Any(_), Part::Text(part)) => !part.is_empty(),
            (Segment::Any(_), Part::Fresh) => true,
        })
}
