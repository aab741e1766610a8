//! The roles of a policy set, each with all the roles that it includes.

use crate::token::RoleName;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;
use std::fmt;

/// The most roles of a policy set, aliases and custom roles among them.
pub const ROLES_MAX: usize = 1024;
const WORDS: usize = ROLES_MAX / 64;

/// A role's place in its policy set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RoleIndex(u16);

/// A set of roles of one policy set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RoleSet([u64; WORDS]);

/// Every role by name, with itself and all that it includes.
#[derive(Debug, Default)]
pub(super) struct RoleTable {
    names: Vec<RoleName>,
    /// Its keys come from policies and configuration, so that nobody can choose colliding ones.
    by_name: HashMap<RoleName, RoleIndex, FxBuildHasher>,
    closures: Vec<RoleSet>,
}

/// Everything that somebody holds. Most hold one role, whose set is there already.
#[derive(Debug)]
pub(super) enum Held<'t> {
    One(&'t RoleSet),
    Several(RoleSet),
}

/// A chain of inclusions that comes back to where it began.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    /// The place, among the inclusions given, of one that closes the cycle.
    pub(super) inclusion: usize,
    /// The roles on the way, from the first to itself.
    pub(super) path: Vec<RoleName>,
}

impl RoleSet {
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    pub(super) fn contains(&self, role: RoleIndex) -> bool {
        let (word, bit) = role.position();
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn insert(&mut self, role: RoleIndex) {
        let (word, bit) = role.position();
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= bit;
        }
    }

    fn extend(&mut self, other: &Self) {
        for (bits, more) in self.0.iter_mut().zip(other.0) {
            *bits |= more;
        }
    }

    pub(super) fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(bits, more)| bits & more != 0)
    }
}

impl RoleSet {
    /// How many roles both sets have.
    pub(super) fn common_len(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).map(|(bits, more)| (bits & more).count_ones() as usize).sum()
    }

    /// The roles that both sets have, each as the number of those before it in this set.
    pub(super) fn common_ranks(&self, other: &Self) -> impl Iterator<Item = usize> {
        let mut before = 0;
        self.0.iter().zip(other.0).flat_map(move |(bits, more)| {
            let (bits, start) = (*bits, before);
            before += bits.count_ones() as usize;
            let mut common = bits & more;
            std::iter::from_fn(move || {
                let lowest = common & common.wrapping_neg();
                common ^= lowest;
                (lowest != 0).then(|| start + (bits & lowest.wrapping_sub(1)).count_ones() as usize)
            })
        })
    }
}

impl Held<'_> {
    /// The roles as a set.
    pub(super) const fn set(&self) -> &RoleSet {
        match self {
            Self::One(set) => set,
            Self::Several(set) => set,
        }
    }
}

impl FromIterator<RoleIndex> for RoleSet {
    fn from_iter<I: IntoIterator<Item = RoleIndex>>(roles: I) -> Self {
        let mut set = Self::EMPTY;
        roles.into_iter().for_each(|role| set.insert(role));
        set
    }
}

impl fmt::Debug for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = (0..=u16::MAX).take(ROLES_MAX).map(RoleIndex);
        f.debug_set().entries(all.filter(|role| self.contains(*role)).map(|role| role.0)).finish()
    }
}

impl RoleIndex {
    fn position(self) -> (usize, u64) {
        (usize::from(self.0) / 64, 1 << (self.0 % 64))
    }
}

impl RoleTable {
    /// The place of a role, which is added when it is new; `None` past [`ROLES_MAX`].
    pub(super) fn intern(&mut self, name: &RoleName) -> Option<RoleIndex> {
        if let Some(index) = self.by_name.get(name) {
            return Some(*index);
        }
        if self.names.len() >= ROLES_MAX {
            return None;
        }
        let index = RoleIndex(u16::try_from(self.names.len()).ok()?);
        self.names.push(name.clone());
        self.by_name.insert(name.clone(), index);
        self.closures.push(RoleSet::from_iter([index]));
        Some(index)
    }

    pub(super) fn find(&self, name: &str) -> Option<RoleIndex> {
        self.by_name.get(name).copied()
    }

    pub(super) fn names(&self) -> &[RoleName] {
        &self.names
    }

    /// Everything that holders of these roles hold. A name that the policies do not know adds nothing.
    pub(super) fn effective(&self, held: &[RoleName]) -> RoleSet {
        *self.held(held).set()
    }

    /// The same without a copy, where there is a set of it.
    pub(super) fn held(&self, held: &[RoleName]) -> Held<'_> {
        let mut known = held.iter().filter_map(|role| self.closure(self.find(role.as_str())?));
        let Some(first) = known.next() else { return Held::One(&RoleSet::EMPTY) };
        let Some(second) = known.next() else { return Held::One(first) };
        let mut set = *first;
        [second].into_iter().chain(known).for_each(|closure| set.extend(closure));
        Held::Several(set)
    }

    /// Works out what each role includes, from pairs of a role and one that it includes.
    pub(super) fn close(&mut self, inclusions: &[(RoleIndex, RoleIndex)]) -> Result<(), Cycle> {
        let mut visited = vec![Mark::New; self.names.len()];
        for start in 0..self.names.len() {
            if let Ok(start) = u16::try_from(start) {
                self.visit(RoleIndex(start), inclusions, &mut visited, &mut Vec::new())?;
            }
        }
        Ok(())
    }

    fn closure(&self, role: RoleIndex) -> Option<&RoleSet> {
        self.closures.get(usize::from(role.0))
    }

    /// Depth-first; the recursion is as deep as the longest chain of roles, at most [`ROLES_MAX`].
    fn visit(
        &mut self,
        role: RoleIndex,
        inclusions: &[(RoleIndex, RoleIndex)],
        visited: &mut [Mark],
        way: &mut Vec<RoleIndex>,
    ) -> Result<(), Cycle> {
        let at = usize::from(role.0);
        if visited.get(at) != Some(&Mark::New) {
            return Ok(());
        }
        mark(visited, at, Mark::Open);
        way.push(role);
        for (number, (_, included)) in inclusions.iter().enumerate().filter(|(_, (from, _))| *from == role) {
            if visited.get(usize::from(included.0)) == Some(&Mark::Open) {
                return Err(self.cycle(number, *included, way));
            }
            self.visit(*included, inclusions, visited, way)?;
            if let Some(closure) = self.closure(*included).copied()
                && let Some(own) = self.closures.get_mut(at)
            {
                own.extend(&closure);
            }
        }
        way.pop();
        mark(visited, at, Mark::Done);
        Ok(())
    }

    fn cycle(&self, inclusion: usize, first: RoleIndex, way: &[RoleIndex]) -> Cycle {
        let round = way.iter().skip_while(|role| **role != first).chain([&first]);
        let path = round.filter_map(|role| self.names.get(usize::from(role.0))).cloned().collect();
        Cycle { inclusion, path }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

fn mark(visited: &mut [Mark], at: usize, mark: Mark) {
    if let Some(slot) = visited.get_mut(at) {
        *slot = mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> RoleName {
        RoleName::parse(name).unwrap()
    }

    fn table(names: &[&str]) -> (RoleTable, Vec<RoleIndex>) {
        let mut table = RoleTable::default();
        let indexes = names.iter().map(|name| table.intern(&role(name)).unwrap()).collect();
        (table, indexes)
    }

    #[test]
    fn role_holds_itself_and_all_that_it_includes_and_nothing_else() {
        let (mut table, at) = table(&["a", "b", "c", "d"]);
        table.close(&[(at[0], at[1]), (at[1], at[2])]).unwrap();
        let held = table.effective(&[role("a")]);
        assert!(
            held.contains(at[0]) && held.contains(at[1]) && held.contains(at[2]) && !held.contains(at[3])
        );
        let held = table.effective(&[role("c"), role("unknown")]);
        assert!(held.contains(at[2]) && !held.contains(at[0]));
    }

    #[test]
    fn common_roles_are_told_by_their_rank() {
        let numbers = |numbers: &[u16]| numbers.iter().map(|number| RoleIndex(*number)).collect::<RoleSet>();
        let set = numbers(&[0, 3, 63, 64, 200, 1023]);
        assert_eq!(set.common_ranks(&numbers(&[1, 3, 64, 65, 1023])).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(set.common_len(&numbers(&[1, 3, 64, 65, 1023])), 3);
        assert_eq!(set.common_ranks(&set).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(set.common_ranks(&RoleSet::EMPTY).count(), 0);
    }

    #[test]
    fn cycle_is_told_with_its_way() {
        let (mut table, at) = table(&["a", "b", "c"]);
        let cycle = table.close(&[(at[0], at[1]), (at[1], at[2]), (at[2], at[1])]).unwrap_err();
        assert_eq!(cycle, Cycle { inclusion: 2, path: vec![role("b"), role("c"), role("b")] });
        let cycle = table.close(&[(at[0], at[0])]).unwrap_err();
        assert_eq!(cycle.path, [role("a"), role("a")]);
    }

    #[test]
    fn as_many_roles_as_the_limit_are_kept_and_one_more_is_not() {
        let mut table = RoleTable::default();
        for number in 0..ROLES_MAX {
            assert!(table.intern(&role(&format!("r{number}"))).is_some());
        }
        assert_eq!(table.intern(&role("one-more")), None);
        assert!(table.intern(&role("r0")).is_some());
        let last = table.find("r1023").unwrap();
        assert!(table.effective(&[role("r1023")]).contains(last));
    }
}
