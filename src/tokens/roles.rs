//! The sets of roles of a shard's tokens, each kept once. Most tokens share a few of them.

use super::slot::RoleSetNumber;
use crate::token::RoleName;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

/// Sets of roles, each with the number of tokens that hold it.
#[derive(Debug, Default)]
pub(super) struct RoleSets {
    sets: Vec<RoleSet>,
    by_roles: HashTable<RoleSetNumber>,
    /// The numbers that no token holds.
    free: Vec<RoleSetNumber>,
}

#[derive(Debug)]
struct RoleSet {
    roles: Arc<[RoleName]>,
    tokens: usize,
}

impl RoleSets {
    /// The number of this set of roles, for one token more; `None` when there are 2^24 others.
    pub(super) fn hold(&mut self, roles: &[RoleName]) -> Option<RoleSetNumber> {
        let hash = hash(roles);
        let known =
            self.by_roles.find(hash, |number| self.get(*number).is_some_and(|known| **known == *roles));
        if let Some(number) = known.copied() {
            self.sets.get_mut(number.get())?.tokens += 1;
            return Some(number);
        }
        let set = RoleSet { roles: Arc::from(roles), tokens: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                *self.sets.get_mut(number.get())? = set;
                number
            }
            None => {
                let number = RoleSetNumber::new(self.sets.len())?;
                self.sets.push(set);
                number
            }
        };
        let sets = &self.sets;
        let hasher = |number: &RoleSetNumber| sets.get(number.get()).map_or(0, |set| self::hash(&set.roles));
        self.by_roles.insert_unique(hash, number, hasher);
        Some(number)
    }

    /// Takes note that one token less holds this set.
    pub(super) fn release(&mut self, number: RoleSetNumber) {
        let Some(set) = self.sets.get_mut(number.get()) else { return };
        set.tokens = set.tokens.saturating_sub(1);
        if set.tokens > 0 {
            return;
        }
        let roles = std::mem::replace(&mut set.roles, Arc::from([]));
        if let Ok(known) = self.by_roles.find_entry(hash(&roles), |known| *known == number) {
            known.remove();
            self.free.push(number);
        }
    }

    /// The roles of a set.
    pub(super) fn get(&self, number: RoleSetNumber) -> Option<&Arc<[RoleName]>> {
        self.sets.get(number.get()).map(|set| &set.roles)
    }

    /// The sets that tokens hold.
    pub(super) fn held(&self) -> impl Iterator<Item = &[RoleName]> {
        self.sets.iter().filter(|set| set.tokens > 0).map(|set| &*set.roles)
    }
}

/// Roles are named by policies and by those who may create tokens: nobody else can make hashes collide.
fn hash(roles: &[RoleName]) -> u64 {
    let mut hasher = FxHasher::default();
    roles.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Vec<RoleName> {
        names.iter().map(|name| RoleName::parse(name).unwrap()).collect()
    }

    #[test]
    fn set_is_kept_once_and_as_long_as_a_token_holds_it() {
        let mut sets = RoleSets::default();
        let (one, two) = (roles(&["a", "b"]), roles(&["b", "a"]));
        let first = sets.hold(&one).unwrap();
        assert_eq!(sets.hold(&one), Some(first));
        let second = sets.hold(&two).unwrap();
        assert_ne!(first, second, "the order is told as it was given");
        assert_eq!(sets.get(first).map(|roles| &**roles), Some(&*one));

        sets.release(first);
        assert_eq!(sets.held().count(), 2);
        sets.release(first);
        assert_eq!(sets.held().collect::<Vec<_>>(), [&*two]);
        // The number is free again, and a release too many takes nothing from anybody.
        sets.release(first);
        assert_eq!(sets.hold(&[]), Some(first));
        assert_eq!(sets.get(first).map(|roles| roles.len()), Some(0));
        assert_eq!(sets.hold(&one).map(RoleSetNumber::get), Some(2));
        assert_eq!(sets.sets.len(), 3);
    }
}
