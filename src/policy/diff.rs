//! What changes from one policy set to another: for whom, on which methods and paths, exactly.
//!
//! Both sets divide the space of paths into finitely many classes; in each class, each method and each subject is
//! decided in both. What differs is told by the patterns of the rules that it comes from.

mod claims;
mod cover;
mod point;
mod subjects;
pub(super) mod words;

use super::PolicySet;
use super::declaration::Subject;
use super::error::Location;
use super::pattern::Pattern;
use super::space::{SpaceError, marked_classes};
use crate::decision::RuleId;
use crate::path::CanonicalPath;
use crate::request::MethodSet;
use crate::token::RoleName;
pub(super) use claims::Said;
use claims::{Claims, OLD};
use cover::Cover;
use point::{Active, Finding};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use subjects::{SubjectSet, Subjects};

/// Everything that differs between two policy sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    regions: Vec<Region>,
    subjects: Vec<Subject>,
}

/// One change: the same for all its subjects, methods and paths.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Region {
    /// What changes.
    pub change: Change,
    /// For whom. [`Subject::Anyone`] is a request without a token, [`Subject::Authenticated`] a live token without
    /// any role that the policies know, and [`Subject::Role`] one that holds this role alone.
    pub subjects: Vec<Subject>,
    /// With which methods.
    pub methods: MethodSet,
    /// On which paths,
    pub pattern: Pattern,
    /// except these.
    pub except: Vec<Pattern>,
    /// A path of the region.
    pub witness: CanonicalPath,
    /// Rules of the old policy set by which it was otherwise.
    pub old: Vec<RuleId>,
    /// Rules of the new policy set by which it is so.
    pub new: Vec<RuleId>,
}

/// How access changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// No request was allowed, and every one is.
    Gains,
    /// No request was allowed, and conditions decide.
    GainsConditionally,
    /// Conditions decide otherwise, or no longer, and may allow what they did not.
    Widens,
    /// Nothing for a token with this role alone; but a condition asks for roles that it holds now and did not
    /// before, or the other way round, so that more may be allowed to a token with other roles beside it.
    WithOtherRoles,
    /// Conditions decide otherwise, or for the first time, and allow nothing that was not allowed before.
    Narrows,
    /// Some requests were allowed, and none is.
    Loses,
}

/// Access that a new policy set opens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gain {
    /// What is opened, to whom, and an example. Its rules of the new policy set are those that open it; whoever
    /// agrees with all of them agrees with the gain. There is at least one.
    pub region: Region,
}

/// Policy sets that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {reason}")]
#[non_exhaustive]
pub struct DiffError {
    /// The rule whose wildcards overlap with the most others.
    pub location: Location,
    /// Why.
    pub reason: SpaceError,
}

/// How much of a comparison is done, of how much.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize);

impl PolicySet {
    /// What changes when `new` takes the place of this policy set. `progress` is told now and then how far it is.
    ///
    /// # Errors
    /// When wildcards overlap in more ways than are looked at; see [`super::space::CLASSES_MAX`].
    pub fn diff(&self, new: &Self, progress: Progress<'_>) -> Result<Diff, DiffError> {
        let subjects = Subjects::new(self, new);
        let claims = Claims::new(&subjects, self, new);
        Comparison::new(subjects, claims, [self, new], progress).map(Comparison::into_diff)
    }

    /// What `new` opens that this policy set does not; empty when it opens nothing. A conditional change counts
    /// unless the new conditions are among the old ones.
    ///
    /// # Errors
    /// As [`PolicySet::diff`].
    pub fn gains(&self, new: &Self) -> Result<Vec<Gain>, DiffError> {
        let diff = self.diff(new, &mut |_, _| {})?;
        let regions = diff.regions.into_iter().filter(|region| region.change.is_gain());
        Ok(regions.map(|region| Gain { region }).collect())
    }
}

impl PolicySet {
    /// What one token may do and another may not, about whom these rules are. `shifted` are the roles that one of
    /// them holds and the other does not.
    pub(super) fn beyond_rules(
        &self,
        one: &[Said<'_>],
        other: &[Said<'_>],
        shifted: BTreeSet<RoleName>,
    ) -> Result<impl Iterator<Item = Region>, DiffError> {
        let subjects = Subjects::pair(shifted);
        let claims = Claims::between(&subjects, other, one);
        let comparison = Comparison::new(subjects, claims, [self, self], &mut |_, _| {})?;
        let regions = comparison.into_diff().regions.into_iter();
        // What the one may beside other roles is what a token with those roles may.
        let is_more = |region: &Region| region.change.is_gain() && region.change != Change::WithOtherRoles;
        Ok(regions.filter(is_more))
    }
}

impl Diff {
    /// All changes: gains first, then by subject and path.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Whether anything is opened.
    pub fn has_gains(&self) -> bool {
        self.regions.iter().any(|region| region.change.is_gain())
    }

    /// All subjects that were compared.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }
}

impl Region {
    /// Whether the region has this point.
    pub fn contains(&self, subject: &Subject, method: MethodSet, path: &CanonicalPath) -> bool {
        self.subjects.contains(subject)
            && self.methods.intersects(method)
            && self.pattern.matches(path)
            && !self.except.iter().any(|pattern| pattern.matches(path))
    }
}

impl Change {
    /// Whether something may be allowed that was not.
    pub const fn is_gain(self) -> bool {
        matches!(self, Self::Gains | Self::GainsConditionally | Self::Widens | Self::WithOtherRoles)
    }

    /// Whether conditions decide, before or after.
    pub const fn is_conditional(self) -> bool {
        matches!(self, Self::GainsConditionally | Self::Widens | Self::WithOtherRoles | Self::Narrows)
    }
}

struct Comparison {
    subjects: Subjects,
    claims: Claims,
    classes: Vec<super::space::PathClass>,
    /// Of each class, who has a say, and what differs.
    found: Vec<(Vec<Active>, Vec<Finding>)>,
}

/// What pieces of a region have in common.
type Shared = (Change, Pattern, Vec<Pattern>, MethodSet);

impl Comparison {
    fn new(
        subjects: Subjects,
        claims: Claims,
        sides: [&PolicySet; 2],
        progress: Progress<'_>,
    ) -> Result<Self, DiffError> {
        let classes = marked_classes(claims.marked_patterns()).map_err(|reason| {
            let (side, rule) = claims.first.get(reason.number).copied().unwrap_or_default();
            let [old, new] = sides;
            let policies = if side == OLD { old } else { new };
            let rule = policies.rule(RuleId(rule));
            let location = rule.map_or_else(Location::whole, |rule| rule.location.clone());
            DiffError { location, reason }
        })?;
        let mut found = Vec::with_capacity(classes.len());
        for class in &classes {
            progress(found.len(), classes.len());
            let active = claims.active(class);
            let findings = claims.compare(&subjects, &active);
            found.push(if findings.is_empty() { Default::default() } else { (active, findings) });
        }
        Ok(Self { subjects, claims, classes, found })
    }

    fn into_diff(self) -> Diff {
        let is_offered = self.claims.marked_patterns().map(|(_, is_marked)| is_marked).collect();
        let cover = Cover::new(&self.classes, &self.claims.patterns, is_offered);
        let mut regions: HashMap<Shared, (SubjectSet, Vec<u32>)> = HashMap::new();
        for block in self.blocks() {
            let Some(subject) = block.iter().next() else { continue };
            for ((change, methods), target) in self.targets(subject) {
                for piece in cover.pieces(&target) {
                    let shared = (change, piece.pattern, piece.except, methods);
                    let entry =
                        regions.entry(shared).or_insert_with(|| (self.subjects.none(), piece.classes));
                    entry.0 = entry.0.with(&block);
                }
            }
        }
        let mut regions: Vec<Region> = regions
            .into_iter()
            .filter_map(|(shared, (subjects, classes))| self.region(shared, &subjects, &classes))
            .collect();
        let order = |subject: &Subject| self.subjects.place(subject);
        regions.sort_by_cached_key(|region| {
            let subjects: Vec<usize> = region.subjects.iter().map(order).collect();
            (
                region.change,
                subjects,
                region.pattern.to_string(),
                region.methods,
                format!("{:?}", region.except),
            )
        });
        Diff { regions, subjects: self.subjects.into_all() }
    }

    /// The subjects for whom everything changes alike.
    fn blocks(&self) -> Vec<SubjectSet> {
        let sets: BTreeSet<&SubjectSet> =
            self.found.iter().flat_map(|(_, findings)| findings).map(|finding| &finding.subjects).collect();
        let mut blocks = vec![self.subjects.of(|_| true)];
        for set in sets {
            let divided = blocks.iter().flat_map(|block| [block.and(set), block.without(set)]);
            blocks = divided.filter(|block| !block.is_empty()).collect();
        }
        blocks
    }

    /// The classes in which a change of each kind holds for a subject, by methods.
    fn targets(&self, subject: usize) -> BTreeMap<(Change, MethodSet), BTreeSet<u32>> {
        let mut by_method: BTreeMap<(Change, &str), BTreeSet<u32>> = BTreeMap::new();
        for (number, (_, findings)) in (0..).zip(&self.found) {
            for finding in findings.iter().filter(|finding| finding.subjects.contains(subject)) {
                for method in finding.methods.names() {
                    by_method.entry((finding.change, method)).or_default().insert(number);
                }
            }
        }
        let mut by_classes: BTreeMap<(Change, BTreeSet<u32>), MethodSet> = BTreeMap::new();
        for ((change, method), classes) in by_method {
            *by_classes.entry((change, classes)).or_default() |= MethodSet::of(method);
        }
        by_classes.into_iter().map(|((change, classes), methods)| ((change, methods), classes)).collect()
    }

    fn region(&self, shared: Shared, subjects: &SubjectSet, classes: &[u32]) -> Option<Region> {
        let (change, pattern, except, methods) = shared;
        let finding = Finding { change, methods, subjects: subjects.clone() };
        let mut rules: [BTreeSet<u32>; 2] = Default::default();
        for (active, _) in classes.iter().filter_map(|class| self.found.get(*class as usize)) {
            let found = self.claims.responsible(active, &finding);
            rules.iter_mut().zip(found).for_each(|(all, found)| all.extend(found));
        }
        let rules = rules.map(|rules| rules.into_iter().map(RuleId).collect::<Vec<_>>());
        let [old, new] = rules;
        let classes = classes.iter().filter_map(|class| self.classes.get(*class as usize));
        // The class that the fewest patterns match is the plainest.
        let witness = classes.min_by_key(|class| class.matching().len())?.witness().clone();
        let subjects = subjects.iter().filter_map(|subject| self.subjects.get(subject)).cloned().collect();
        Some(Region { change, subjects, methods, pattern, except, witness, old, new })
    }
}

#[cfg(test)]
mod tests;
