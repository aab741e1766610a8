//! The space of all canonical paths, divided by a set of patterns into classes that they cannot tell apart.
//!
//! A path is read segment by segment, as the patterns in one trie read it: a state is the set of trie nodes that
//! the segments so far have reached. From a state, only so many next segments differ: those that a node names,
//! any other one, and the empty last one. So finitely many states tell everything about infinitely many paths.

use super::pattern::{Pattern, Segment};
use crate::path::CanonicalPath;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most classes of a division. Each pattern of its own makes one or two; only wildcards that overlap with
/// many others make many.
pub const CLASSES_MAX: usize = 1_000_000;
/// So many trie nodes, segments and matching patterns are kept or looked at for each class that may be made.
const WORK_PER_CLASS_MAX: usize = 16;
const ROOT: u32 = 0;

/// Paths that a set of patterns cannot tell apart: the same patterns match each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathClass {
    witness: CanonicalPath,
    pattern: Pattern,
    matching: Box<[u32]>,
}

/// Patterns that overlap in more ways than are looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the patterns overlap in too many ways, most of them with the wildcards of `{pattern}`: name the segments that are \
     meant, or take other patterns out"
)]
#[non_exhaustive]
pub struct SpaceError {
    /// The pattern whose wildcards overlap with the most others.
    pub pattern: Pattern,
    /// Its number, in the order in which the patterns were given.
    pub number: usize,
}

/// The classes into which the patterns divide all paths. Paths that no pattern matches are in none.
///
/// # Errors
/// When there would be more than [`CLASSES_MAX`].
pub fn classes<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Result<Vec<PathClass>, SpaceError> {
    Division::new(patterns.into_iter().map(|pattern| (pattern, true)), CLASSES_MAX).classes()
}

/// Those of the classes that a pattern marked with `true` matches. What the others divide costs nothing.
pub(super) fn marked_classes<'p>(
    patterns: impl IntoIterator<Item = (&'p Pattern, bool)>,
) -> Result<Vec<PathClass>, SpaceError> {
    Division::new(patterns, CLASSES_MAX).classes()
}

impl PathClass {
    /// A path of the class.
    pub fn witness(&self) -> &CanonicalPath {
        &self.witness
    }

    /// The narrowest pattern that matches the whole class. Whatever else it matches is in classes with narrower
    /// patterns, and at least the patterns of this class match it.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The numbers of the patterns that match the class, in the order in which they were given.
    pub fn matching(&self) -> impl ExactSizeIterator<Item = usize> {
        self.matching.iter().map(|number| *number as usize)
    }
}

/// A trie of all patterns.
struct Division<'p> {
    patterns: Vec<(&'p Pattern, bool)>,
    nodes: Vec<Node>,
    classes_max: usize,
    classes: Vec<PathClass>,
    /// How many trie nodes have been looked at, and how much has been kept.
    work: usize,
}

#[derive(Default)]
struct Node {
    literals: BTreeMap<Arc<str>, u32>,
    any: Option<u32>,
    /// Patterns that end here.
    here: Vec<u32>,
    /// Patterns that end in `**` here.
    below: Vec<u32>,
    /// Whether a marked pattern ends here or below.
    is_marked: bool,
    /// The first pattern that leads here.
    first: u32,
    /// How often it has been part of a state.
    visits: usize,
}

/// The segments of a path so far.
#[derive(Clone, Copy)]
struct Way<'w> {
    before: Option<&'w Way<'w>>,
    step: Step<'w>,
}

#[derive(Clone, Copy)]
enum Step<'w> {
    /// This text.
    Literal(&'w str),
    /// Any other text than these, and not none.
    Other { literals: &'w BTreeSet<Arc<str>>, name: Option<&'w str> },
    /// The empty last segment.
    Empty,
}

/// Patterns that match everything from a state on, whatever follows.
struct Tails<'w> {
    patterns: Vec<u32>,
    is_marked: bool,
    /// Where the last of them has begun.
    at: Option<&'w Way<'w>>,
    /// A path that these patterns alone match.
    rest: Option<CanonicalPath>,
}

impl<'p> Division<'p> {
    fn new(patterns: impl IntoIterator<Item = (&'p Pattern, bool)>, classes_max: usize) -> Self {
        let patterns: Vec<_> = patterns.into_iter().collect();
        let nodes = vec![Node::default()];
        let mut division = Self { patterns, nodes, classes_max, classes: Vec::new(), work: 0 };
        for (number, (pattern, is_marked)) in (0..).zip(division.patterns.clone()) {
            division.add(pattern, number, is_marked);
        }
        division
    }

    fn add(&mut self, pattern: &Pattern, number: u32, is_marked: bool) {
        let mut at = ROOT;
        self.mark(at, is_marked);
        for segment in &pattern.segments {
            at = self.child(at, segment, number);
            self.mark(at, is_marked);
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            if pattern.below { node.below.push(number) } else { node.here.push(number) }
        }
    }

    fn mark(&mut self, at: u32, is_marked: bool) {
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.is_marked |= is_marked;
        }
    }

    fn child(&mut self, parent: u32, segment: &Segment, number: u32) -> u32 {
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let Some(node) = self.nodes.get_mut(parent as usize) else { return parent };
        let child = match segment {
            Segment::Literal(text) => *node.literals.entry(Arc::clone(text)).or_insert(next),
            Segment::Any(_) => *node.any.get_or_insert(next),
        };
        if child == next {
            self.nodes.push(Node { first: number, ..Node::default() });
        }
        child
    }

    fn classes(mut self) -> Result<Vec<PathClass>, SpaceError> {
        let mut none = Tails { patterns: Vec::new(), is_marked: false, at: None, rest: None };
        self.visit(&[ROOT], None, &mut none)?;
        Ok(self.classes)
    }

    /// Finds all classes of paths that begin with `way`, which has led to `state`. The recursion is as deep as
    /// the trie, which the limit on a pattern's segments bounds.
    fn visit(
        &mut self,
        state: &[u32],
        way: Option<&Way<'_>>,
        outer: &mut Tails<'_>,
    ) -> Result<(), SpaceError> {
        self.count(state)?;
        if let Some(way) = way {
            self.end(state, way, outer)?;
        }
        let begun = self.gather(state, |node| &node.below);
        if begun.is_empty() {
            return self.continue_from(state, way, outer);
        }
        let is_marked = outer.is_marked || self.is_any_marked(&begun);
        let patterns = [&outer.patterns[..], &begun].concat();
        let mut tails = Tails { patterns, is_marked, at: way, rest: None };
        self.continue_from(state, way, &mut tails)?;
        let Some(witness) = tails.rest.filter(|_| is_marked) else { return Ok(()) };
        let pattern = pattern_of(tails.at, true);
        self.push(PathClass { witness, pattern, matching: sorted(tails.patterns) })
    }

    /// The paths that go on after `way`.
    fn continue_from(
        &mut self,
        state: &[u32],
        way: Option<&Way<'_>>,
        tails: &mut Tails<'_>,
    ) -> Result<(), SpaceError> {
        let mut literals = BTreeSet::new();
        let mut others = Vec::new();
        let mut name = None;
        for node in state.iter().filter_map(|at| self.nodes.get(*at as usize)) {
            literals.extend(node.literals.keys().filter(|text| !text.is_empty()).cloned());
            others.extend(node.any);
            name = name.or_else(|| self.name_behind(node, way));
        }
        let name = name.map(str::to_owned);
        let other = Way { before: way, step: Step::Other { literals: &literals, name: name.as_deref() } };
        if others.is_empty() {
            tails.note_rest(&other);
        } else if tails.is_marked || self.leads_to_marked(&others) {
            self.visit(&others, Some(&other), tails)?;
        }
        let empty = Way { before: way, step: Step::Empty };
        self.end(&self.reached(state, ""), &empty, tails)?;
        for text in &literals {
            let mut next = self.reached(state, text);
            next.extend(&others);
            if tails.is_marked || self.leads_to_marked(&next) {
                self.visit(&next, Some(&Way { before: way, step: Step::Literal(text) }), tails)?;
            }
        }
        Ok(())
    }

    /// The paths that end here.
    fn end(&mut self, state: &[u32], way: &Way<'_>, tails: &mut Tails<'_>) -> Result<(), SpaceError> {
        let here = self.gather(state, |node| &node.here);
        if here.is_empty() {
            // Nothing tells these paths from all others that only the tails match.
            tails.note_rest(way);
            return Ok(());
        }
        if !(tails.is_marked || self.is_any_marked(&here)) {
            return Ok(());
        }
        let matching = sorted([&tails.patterns[..], &here].concat());
        // A path that is too long for every request is in no class.
        let Some(witness) = way.witness() else { return Ok(()) };
        self.push(PathClass { witness, pattern: pattern_of(Some(way), false), matching })
    }

    fn push(&mut self, class: PathClass) -> Result<(), SpaceError> {
        self.work += class.matching.len() + class.pattern.segments.len();
        if self.classes.len() >= self.classes_max {
            return Err(self.too_many());
        }
        self.classes.push(class);
        Ok(())
    }

    fn count(&mut self, state: &[u32]) -> Result<(), SpaceError> {
        self.work += state.len();
        for at in state {
            if let Some(node) = self.nodes.get_mut(*at as usize) {
                node.visits += 1;
            }
        }
        let is_within = self.work <= self.classes_max.saturating_mul(WORK_PER_CLASS_MAX);
        if is_within { Ok(()) } else { Err(self.too_many()) }
    }

    fn too_many(&self) -> SpaceError {
        let most = self.nodes.iter().max_by_key(|node| node.visits);
        let number = most.map_or(0, |node| node.first as usize);
        let everything = || Pattern { segments: Box::default(), below: true };
        let pattern = self.patterns.get(number).map_or_else(everything, |(pattern, _)| (*pattern).clone());
        SpaceError { pattern, number }
    }

    fn gather(&self, state: &[u32], list: impl Fn(&Node) -> &Vec<u32>) -> Vec<u32> {
        state.iter().filter_map(|at| self.nodes.get(*at as usize)).flat_map(list).copied().collect()
    }

    /// The nodes behind a literal.
    fn reached(&self, state: &[u32], text: &str) -> Vec<u32> {
        let nodes = state.iter().filter_map(|at| self.nodes.get(*at as usize));
        nodes.filter_map(|node| node.literals.get(text)).copied().collect()
    }

    fn leads_to_marked(&self, state: &[u32]) -> bool {
        state.iter().any(|at| self.nodes.get(*at as usize).is_some_and(|node| node.is_marked))
    }

    fn is_any_marked(&self, patterns: &[u32]) -> bool {
        patterns.iter().any(|number| self.patterns.get(*number as usize).is_some_and(|(_, marked)| *marked))
    }

    /// The name that the first pattern through the wildcard of `node` gives to it.
    fn name_behind(&self, node: &Node, way: Option<&Way<'_>>) -> Option<&'p str> {
        let first = self.nodes.get(node.any? as usize)?.first;
        let (pattern, _) = self.patterns.get(first as usize)?;
        match pattern.segments.get(way.map_or(0, Way::len))? {
            Segment::Any(name) => name.as_deref(),
            Segment::Literal(_) => None,
        }
    }
}

impl Tails<'_> {
    /// Notes a path that these patterns alone match. The first one found is the shortest, or nearly.
    fn note_rest(&mut self, way: &Way<'_>) {
        if self.is_marked && self.rest.is_none() {
            self.rest = way.witness();
        }
    }
}

impl<'w> Way<'w> {
    fn len(&self) -> usize {
        self.steps().len()
    }

    fn steps(&self) -> Vec<Step<'w>> {
        let mut steps = vec![self.step];
        let mut before = self.before;
        while let Some(way) = before {
            steps.push(way.step);
            before = way.before;
        }
        steps.reverse();
        steps
    }

    /// A path of this way; `None` when all are longer than a request can be.
    fn witness(&self) -> Option<CanonicalPath> {
        let steps = self.steps();
        let told: String = steps.iter().map(|step| step.told()).collect();
        let told = CanonicalPath::parse(&told).ok();
        told.or_else(|| {
            let shortest: String = steps.iter().map(|step| step.shortest()).collect();
            CanonicalPath::parse(&shortest).ok()
        })
    }
}

impl Step<'_> {
    /// The segment, with its slash, as people find it easiest to read.
    fn told(self) -> String {
        let Self::Other { literals, name } = self else { return self.shortest() };
        let name = name.unwrap_or("x");
        let numbered = std::iter::once(name.to_owned()).chain((1..).map(|number| format!("{name}{number}")));
        let mut fresh = numbered.filter(|text| !literals.contains(&**text));
        format!("/{}", fresh.next().unwrap_or_default())
    }

    /// The shortest segment, with its slash.
    fn shortest(self) -> String {
        const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~!$&'()*+,=:@";
        let text = match self {
            Self::Literal(text) => text.to_owned(),
            Self::Empty => String::new(),
            Self::Other { literals, .. } => {
                let mut texts = vec![String::new()];
                loop {
                    let longer = texts
                        .iter()
                        .flat_map(|start| LETTERS.chars().map(move |end| format!("{start}{end}")));
                    let longer: Vec<String> = longer.collect();
                    // There are fewer literals than texts of two or three letters.
                    if let Some(fresh) = longer.iter().find(|text| !literals.contains(&***text)) {
                        break fresh.clone();
                    }
                    texts = longer;
                }
            }
        };
        format!("/{text}")
    }
}

/// The narrowest pattern of all paths of a way, or of all paths below it.
fn pattern_of(way: Option<&Way<'_>>, below: bool) -> Pattern {
    let steps = way.map(Way::steps).unwrap_or_default();
    let segment = |step| match step {
        Step::Literal(text) => Segment::Literal(Arc::from(text)),
        Step::Other { .. } => Segment::Any(None),
        Step::Empty => Segment::Literal(Arc::from("")),
    };
    Pattern { segments: steps.into_iter().map(segment).collect(), below }
}

fn sorted(mut patterns: Vec<u32>) -> Box<[u32]> {
    patterns.sort_unstable();
    patterns.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(patterns: &[&str]) -> Vec<Pattern> {
        patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    /// The classes as lines: pattern, witness, and the patterns that match.
    fn lines(patterns: &[&str]) -> Vec<String> {
        let classes = classes(&parsed(patterns)).unwrap();
        let line = |class: &PathClass| {
            let matching: Vec<_> = class.matching().map(|number| patterns[number]).collect();
            format!("{} {}: {}", class.pattern(), class.witness(), matching.join(" "))
        };
        classes.iter().map(line).collect()
    }

    #[test]
    fn tail_matches_the_slash_and_everything_below_but_not_the_path_itself() {
        assert_eq!(lines(&["/api/**"]), ["/api/** /api/x: /api/**"]);
        let all = ["/api", "/api/", "/api/**"];
        let expected = ["/api /api: /api", "/api/ /api/: /api/ /api/**", "/api/** /api/x: /api/**"];
        assert_eq!(lines(&all), expected);
    }

    #[test]
    fn paths_that_a_tail_alone_matches_are_one_class_however_deep() {
        let expected = [
            "/api/a/b /api/a/b: /api/** /api/a/b",
            "/api/a/c /api/a/c: /api/** /api/*/c",
            "/api/*/c /api/x/c: /api/** /api/*/c",
            "/api/** /api/x: /api/**",
        ];
        let mut lines = lines(&["/api/**", "/api/a/b", "/api/*/c"]);
        lines.sort_by_key(|line| expected.iter().position(|known| known == line));
        assert_eq!(lines, expected);
    }

    #[test]
    fn wildcard_is_told_from_the_literals_beside_it_and_matches_no_empty_segment() {
        assert_eq!(
            lines(&["/a/{name}", "/a/name", "/a/"]),
            ["/a/* /a/name1: /a/{name}", "/a/ /a/: /a/", "/a/name /a/name: /a/{name} /a/name",]
        );
    }

    #[test]
    fn root_and_tail_at_the_root_are_told_apart() {
        assert_eq!(lines(&["/", "/**"]), ["/ /: / /**", "/** /x: /**"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn witness_is_short_enough_for_a_request_when_any_is() {
        let long = "n".repeat(2000);
        let wildcards = |name: &str| format!("/{{{name}a}}/{{{name}b}}/{{{name}c}}/{{{name}d}}/{{{name}e}}");
        let class = &classes(&parsed(&[&wildcards(&long)])).unwrap()[0];
        assert_eq!(class.witness().as_str(), "/a/a/a/a/a");
        let is_any_matched_by_both = |length: usize| {
            let long = "n".repeat(length);
            let (one, other) = (format!("/{long}/*/{long}/*/{long}"), format!("/*/{long}/*/{long}/*"));
            classes(&parsed(&[&one, &other])).unwrap().iter().any(|class| class.matching().len() == 2)
        };
        // Five segments and their slashes fill a request just so.
        assert!(is_any_matched_by_both(1637));
        assert!(!is_any_matched_by_both(1638));
    }

    #[test]
    fn as_many_classes_as_the_limit_are_made_and_one_more_is_an_error() {
        let patterns = parsed(&["/a/x", "/b/x", "/*/y", "/c"]);
        let within = |max| Division::new(patterns.iter().map(|pattern| (pattern, true)), max).classes();
        let all = within(CLASSES_MAX).unwrap().len();
        assert_eq!(within(all).unwrap().len(), all);
        let error = within(all - 1).unwrap_err();
        assert_eq!(error.number, 2, "the wildcard overlaps with all others");
        insta::assert_snapshot!(error, @"the patterns overlap in too many ways, most of them with the wildcards of `/*/y`: name the segments that are meant, or take other patterns out");
    }

    #[test]
    fn looking_at_too_many_nodes_is_an_error_before_the_classes_are_too_many() {
        // Each way through the first segments reaches many nodes, and none of them ends there.
        let number = |bits: u32| {
            let segments = (0..8).map(|bit| if bits >> bit & 1 == 0 { "/a" } else { "/*" });
            format!("{}/end", segments.collect::<String>())
        };
        let texts: Vec<String> = (0..256).map(number).collect();
        let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let within = |max| Division::new(patterns.iter().map(|pattern| (pattern, true)), max).classes();
        assert_eq!(within(2000).unwrap().len(), 256);
        assert!(within(256).is_err());
    }

    fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
        let segment = prop::sample::select(vec!["a", "b", "c", "*", "{x}"]);
        let end = prop::sample::select(vec!["", "", "/", "/**"]);
        let text =
            (prop::collection::vec(segment, 0..4), end).prop_filter_map("no pattern", |(segments, end)| {
                let text: String = segments.iter().map(|segment| format!("/{segment}")).collect();
                Pattern::parse(&format!("{text}{end}")).ok()
            });
        prop::collection::vec(text, 0..10)
    }

    fn paths() -> impl Strategy<Value = Vec<CanonicalPath>> {
        let segment = prop::sample::select(vec!["a", "b", "c", "d", "x", "x1"]);
        let path = (prop::collection::vec(segment, 0..6), any::<bool>()).prop_map(|(segments, slash)| {
            let text: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            let end = if slash || segments.is_empty() { "/" } else { "" };
            CanonicalPath::parse(&format!("{text}{end}")).unwrap()
        });
        prop::collection::vec(path, 40)
    }

    fn matching(patterns: &[Pattern], path: &CanonicalPath) -> Vec<usize> {
        (0..).zip(patterns).filter(|(_, pattern)| pattern.matches(path)).map(|(number, _)| number).collect()
    }

    /// The class of a path: of those that match it, the one with the narrowest pattern.
    fn class_of<'c>(
        classes: &'c [PathClass],
        path: &CanonicalPath,
        matching: &[usize],
    ) -> Option<&'c PathClass> {
        let candidates = || {
            classes.iter().filter(|class| {
                class.pattern().matches(path) && class.matching().eq(matching.iter().copied())
            })
        };
        candidates().find(|class| candidates().all(|other| other.pattern().matches(class.witness())))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn every_path_is_in_a_class_that_the_same_patterns_match(patterns in patterns(), paths in paths()) {
            let classes = classes(&patterns).unwrap();
            for class in &classes {
                prop_assert!(class.pattern().matches(class.witness()));
                prop_assert_eq!(matching(&patterns, class.witness()), class.matching().collect::<Vec<_>>());
            }
            for path in &paths {
                let matching = matching(&patterns, path);
                let class = class_of(&classes, path, &matching);
                prop_assert_eq!(class.is_some(), !matching.is_empty(), "{}", path);
                let Some(class) = class else { continue };
                for other in &classes {
                    let is_whole = other.pattern().matches(path) == other.pattern().matches(class.witness());
                    prop_assert!(is_whole, "{} divides {}", other.pattern(), class.pattern());
                    let is_within = other.matching().all(|number| matching.contains(&number));
                    prop_assert!(!other.pattern().matches(path) || is_within, "{} and {}", other.pattern(), path);
                }
            }
        }

        #[test]
        fn marked_patterns_leave_their_classes_as_they_are(patterns in patterns(), marks in any::<u16>()) {
            let is_marked = |number: usize| marks >> number & 1 == 1;
            let all = classes(&patterns).unwrap();
            let expected: Vec<_> =
                all.into_iter().filter(|class| class.matching().any(is_marked)).collect();
            let marked = patterns.iter().enumerate().map(|(number, pattern)| (pattern, is_marked(number)));
            prop_assert_eq!(marked_classes(marked).unwrap(), expected);
        }
    }
}
