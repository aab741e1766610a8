//! Turns classes of paths back into patterns that people have written, so that a change that holds for a whole
//! pattern is told in one line.

use super::super::pattern::{Pattern, Segment};
use super::super::space::PathClass;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A pattern is not taken when it needs more exceptions than this for each class that it covers.
const EXCEPTIONS_PER_CLASS_MAX: usize = 16;

/// The paths of a pattern that are in none of the exceptions: exactly these classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) pattern: Pattern,
    pub(super) except: Vec<Pattern>,
    pub(super) classes: Vec<u32>,
}

/// All classes, and which of them each pattern consists of.
pub(super) struct Cover<'c> {
    classes: &'c [PathClass],
    patterns: &'c [Pattern],
    /// Patterns that a change may be told by.
    is_offered: Vec<bool>,
    by_pattern: Vec<Vec<u32>>,
}

impl<'c> Cover<'c> {
    pub(super) fn new(classes: &'c [PathClass], patterns: &'c [Pattern], is_offered: Vec<bool>) -> Self {
        let mut by_pattern = vec![Vec::new(); patterns.len()];
        for (number, class) in (0..).zip(classes) {
            for pattern in class.matching() {
                if let Some(list) = by_pattern.get_mut(pattern) {
                    list.push(number);
                }
            }
        }
        Self { classes, patterns, is_offered, by_pattern }
    }

    /// Pieces that together cover these classes and nothing else.
    pub(super) fn pieces(&self, target: &BTreeSet<u32>) -> Vec<Piece> {
        let mut rest = target.clone();
        let mut pieces = Vec::new();
        for pattern in self.offered(target) {
            let all = self.classes_of(pattern);
            let hits = all.iter().filter(|class| rest.contains(class)).count();
            let outside: Vec<u32> = all.iter().filter(|class| !target.contains(class)).copied().collect();
            if hits == 0 || outside.len() > hits.saturating_mul(EXCEPTIONS_PER_CLASS_MAX) {
                continue;
            }
            let Some(shown) = self.patterns.get(pattern) else { continue };
            let piece = self.piece(shown, all, &outside, target);
            let hits = piece.classes.iter().filter(|class| rest.contains(class)).count();
            // Where everything else below the pattern changes, no other one tells it.
            let plain = shown.unnamed();
            let mut classes = piece.classes.iter().filter_map(|class| self.class(*class));
            let is_needed = classes.any(|class| *class.pattern() == plain);
            if hits > 0 && (is_needed || piece.except.len() < hits.max(2)) {
                rest.retain(|class| piece.classes.binary_search(class).is_err());
                pieces.push(piece);
            }
        }
        let mut narrow: Vec<u32> = rest.iter().copied().collect();
        narrow.sort_by_key(|class| std::cmp::Reverse(self.class(*class).map(width)));
        for class in narrow {
            if rest.contains(&class)
                && let Some(piece) = self.piece_of_class(class, target)
            {
                rest.retain(|class| piece.classes.binary_search(class).is_err());
                pieces.push(piece);
            }
        }
        pieces
    }

    /// The numbers of offered patterns that cover some of the classes, those that cover the most first.
    fn offered(&self, target: &BTreeSet<u32>) -> Vec<usize> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for class in target.iter().filter_map(|class| self.class(*class)) {
            for pattern in class.matching().filter(|pattern| self.is_offered.get(*pattern) == Some(&true)) {
                *counts.entry(pattern).or_default() += 1;
            }
        }
        let mut offered: Vec<_> = counts.into_iter().collect();
        offered.sort_by_key(|(pattern, count)| (std::cmp::Reverse(*count), *pattern));
        offered.into_iter().map(|(pattern, _)| pattern).collect()
    }

    /// The piece whose pattern is the narrowest one of a class. Whatever narrower classes it has to leave out are
    /// left out by their own narrowest patterns, which never match the class itself.
    fn piece_of_class(&self, number: u32, target: &BTreeSet<u32>) -> Option<Piece> {
        let class = self.class(number)?;
        let pattern = class.pattern();
        if is_one_path(pattern) {
            return Some(Piece { pattern: pattern.clone(), except: Vec::new(), classes: vec![number] });
        }
        // All that its pattern matches, each pattern matches that matches the class.
        let least = class.matching().map(|pattern| self.classes_of(pattern)).min_by_key(|list| list.len())?;
        let all: Vec<u32> = least.iter().filter(|other| self.is_within(**other, pattern)).copied().collect();
        let outside: Vec<u32> = all.iter().filter(|class| !target.contains(class)).copied().collect();
        Some(self.piece(pattern, &all, &outside, target))
    }

    /// The piece of a pattern that consists of the classes `all` and has to leave out those `outside`.
    fn piece(&self, pattern: &Pattern, all: &[u32], outside: &[u32], target: &BTreeSet<u32>) -> Piece {
        let mut out: BTreeSet<u32> = outside.iter().copied().collect();
        let mut except = Vec::new();
        let mut inside: Vec<u32> = all.iter().filter(|class| target.contains(class)).copied().collect();
        if !out.is_empty() {
            let hits = self.hits(&inside);
            let mut wide: Vec<u32> = outside.to_vec();
            wide.sort_by_key(|class| std::cmp::Reverse(self.class(*class).map(width)));
            for class in wide {
                if !out.contains(&class) {
                    continue;
                }
                let Some(exception) = self.exception(class, &hits) else { continue };
                out.retain(|class| !self.is_within(*class, &exception));
                inside.retain(|class| !self.is_within(*class, &exception));
                except.push(exception);
            }
        }
        Piece { pattern: pattern.clone(), except, classes: inside }
    }

    /// A pattern that leaves out the class: the widest of the rules that leaves out nothing else that matters, or
    /// its narrowest one.
    fn exception(&self, class: u32, hits: &HashMap<usize, usize>) -> Option<Pattern> {
        let class = self.class(class)?;
        let harmless = class.matching().filter(|pattern| !hits.contains_key(pattern));
        let widest = harmless.max_by_key(|pattern| self.classes_of(*pattern).len());
        let shown = widest.filter(|pattern| self.classes_of(*pattern).len() > 1);
        let shown = shown.and_then(|pattern| self.patterns.get(pattern));
        Some(shown.unwrap_or(class.pattern()).clone())
    }

    /// How many of the classes each pattern matches.
    fn hits(&self, classes: &[u32]) -> HashMap<usize, usize> {
        let mut hits = HashMap::new();
        for class in classes.iter().filter_map(|class| self.class(*class)) {
            class.matching().for_each(|pattern| *hits.entry(pattern).or_default() += 1);
        }
        hits
    }

    fn class(&self, number: u32) -> Option<&'c PathClass> {
        self.classes.get(number as usize)
    }

    fn classes_of(&self, pattern: usize) -> &[u32] {
        self.by_pattern.get(pattern).map_or(&[], Vec::as_slice)
    }

    fn is_within(&self, class: u32, pattern: &Pattern) -> bool {
        self.class(class).is_some_and(|class| pattern.matches(class.witness()))
    }
}

fn is_one_path(pattern: &Pattern) -> bool {
    !pattern.below && pattern.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
}

/// Wider patterns have wildcards, and fewer segments before `**`.
fn width(class: &PathClass) -> (bool, std::cmp::Reverse<usize>, usize) {
    let pattern = class.pattern();
    let wildcards = pattern.segments.iter().filter(|segment| matches!(segment, Segment::Any(_))).count();
    (pattern.below, std::cmp::Reverse(if pattern.below { pattern.segments.len() } else { 0 }), wildcards)
}
