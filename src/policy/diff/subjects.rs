//! Everybody whom two policy sets can treat in different ways: no token, any token, and each role of either.

use super::super::declaration::{AskedRoles, Fingerprint, Subject};
use super::super::{PolicySet, Rule};
use crate::token::RoleName;
use std::collections::BTreeSet;

/// A set of subjects, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SubjectSet(Box<[u64]>);

/// All subjects, in a fixed order.
pub(super) struct Subjects {
    all: Vec<Subject>,
    /// Of each subject, the roles that it holds in one set and not in the other.
    shifted: Vec<BTreeSet<RoleName>>,
    /// Of each policy set, whom rules about each of its roles are about.
    holders: [Vec<(RoleName, SubjectSet)>; 2],
    /// Whether a subject is another token on the other side, with another id and another name.
    are_other_tokens: bool,
}

impl SubjectSet {
    pub(super) fn with(&self, other: &Self) -> Self {
        self.combine(other, |one, other| one | other)
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        self.combine(other, |one, other| one & other)
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        self.combine(other, |one, other| one & !other)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn contains(&self, subject: usize) -> bool {
        self.0.get(subject / 64).is_some_and(|word| word >> (subject % 64) & 1 == 1)
    }

    pub(super) fn insert(&mut self, subject: usize) {
        if let Some(word) = self.0.get_mut(subject / 64) {
            *word |= 1 << (subject % 64);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let within = |word: u64| (0..64).filter(move |bit| word >> bit & 1 == 1);
        self.0.iter().enumerate().flat_map(move |(at, word)| within(*word).map(move |bit| at * 64 + bit))
    }

    fn combine(&self, other: &Self, words: impl Fn(u64, u64) -> u64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| words(*one, *other)).collect())
    }
}

impl Subjects {
    pub(super) fn new(old: &PolicySet, new: &PolicySet) -> Self {
        let names: BTreeSet<&RoleName> = old.roles().iter().chain(new.roles()).collect();
        let roles: Vec<RoleName> = names.into_iter().cloned().collect();
        let fixed = [Subject::Anyone, Subject::Authenticated];
        let all: Vec<Subject> = fixed.into_iter().chain(roles.iter().cloned().map(Subject::Role)).collect();
        let shifted = vec![BTreeSet::new(); all.len()];
        let mut subjects = Self { shifted, all, holders: Default::default(), are_other_tokens: false };
        subjects.holders = [old, new].map(|policies| subjects.holders_in(policies));
        for (at, role) in (2..).zip(&roles) {
            let [old_held, new_held] = [old, new].map(|policies| policies.held_by(role));
            if let Some(shifted) = subjects.shifted.get_mut(at) {
                *shifted = old_held.symmetric_difference(&new_held).cloned().collect();
            }
        }
        subjects
    }

    /// One subject, which is another token on the other side and holds these roles on one side alone.
    pub(super) fn pair(shifted: BTreeSet<RoleName>) -> Self {
        Self {
            all: vec![Subject::Authenticated],
            shifted: vec![shifted],
            holders: Default::default(),
            are_other_tokens: true,
        }
    }

    pub(super) fn into_all(self) -> Vec<Subject> {
        self.all
    }

    /// The number of a subject.
    pub(super) fn place(&self, subject: &Subject) -> usize {
        match subject {
            Subject::Anyone => 0,
            Subject::Authenticated => 1,
            Subject::Role(role) => {
                let roles = self.all.get(2..).unwrap_or_default();
                let found =
                    roles.partition_point(|known| matches!(known, Subject::Role(name) if name < role));
                found + 2
            }
        }
    }

    pub(super) fn none(&self) -> SubjectSet {
        SubjectSet(vec![0; self.all.len().div_ceil(64)].into())
    }

    pub(super) fn get(&self, subject: usize) -> Option<&Subject> {
        self.all.get(subject)
    }

    pub(super) fn of(&self, is_member: impl Fn(usize) -> bool) -> SubjectSet {
        let mut set = self.none();
        (0..self.all.len()).filter(|at| is_member(*at)).for_each(|at| set.insert(at));
        set
    }

    /// Whom the rule is about, in the old policy set (0) or the new one (1).
    pub(super) fn of_rule(&self, side: usize, rule: &Rule) -> SubjectSet {
        match &rule.subject {
            Subject::Anyone => self.of(|_| true),
            Subject::Authenticated => self.of(|at| at != 0),
            Subject::Role(role) => {
                let holders = self.holders.get(side).map_or(&[][..], Vec::as_slice);
                let found = holders.binary_search_by(|(known, _)| known.cmp(role)).ok();
                found.and_then(|at| holders.get(at)).map_or_else(|| self.none(), |(_, set)| set.clone())
            }
        }
    }

    /// For whom such a condition can answer differently on either side.
    pub(super) fn shifted_for(&self, print: &Fingerprint) -> SubjectSet {
        let is_shifted = |shifted: &BTreeSet<RoleName>| match &print.asked {
            _ if self.are_other_tokens && print.asks_token => true,
            AskedRoles::Nothing => false,
            AskedRoles::Roles(roles) => shifted.iter().any(|role| roles.contains(role.as_str())),
            AskedRoles::Anything => !shifted.is_empty(),
        };
        self.of(|at| self.shifted.get(at).is_some_and(is_shifted))
    }

    fn holders_in(&self, policies: &PolicySet) -> Vec<(RoleName, SubjectSet)> {
        let mut sets: Vec<(RoleName, SubjectSet)> =
            policies.roles().iter().map(|role| (role.clone(), self.none())).collect();
        sets.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (at, subject) in self.all.iter().enumerate() {
            let Subject::Role(holder) = subject else { continue };
            for role in policies.held_by(holder) {
                if let Ok(found) = sets.binary_search_by(|(known, _)| known.cmp(&role))
                    && let Some((_, set)) = sets.get_mut(found)
                {
                    set.insert(at);
                }
            }
        }
        sets
    }
}

impl PolicySet {
    /// The roles that a token with this role holds.
    fn held_by(&self, role: &RoleName) -> BTreeSet<RoleName> {
        let held = self.roles.effective(std::slice::from_ref(role));
        let is_held =
            |name: &&RoleName| self.roles.find(name.as_str()).is_some_and(|role| held.contains(role));
        self.roles().iter().filter(is_held).cloned().collect()
    }
}
