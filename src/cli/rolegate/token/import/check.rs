//! The first reading of a file, before anything is changed.

use super::super::super::console::Console;
use super::super::super::policies::counted;
use super::super::Failure;
use super::input::Input;
use crate::backup::{BackupError, Entry};
use crate::policy::PolicySet;
use crate::token::{RoleName, TokenDigest};
use std::collections::{BTreeMap, HashSet};

/// How many roles that no policy defines are told by name.
const ROLES_TOLD_MAX: usize = 10;
/// How many roles of a file are counted.
const ROLES_MAX: usize = 100_000;

/// A file that is whole, and in which nothing stands twice.
#[derive(Default)]
pub(super) struct Checked {
    /// In order.
    spent: Vec<TokenDigest>,
    roles: BTreeMap<RoleName, usize>,
}

impl Checked {
    /// Reads a file.
    pub(super) fn of(input: &mut Input) -> Result<Self, Failure> {
        let path = input.path().to_owned();
        let (mut ids, mut digests) = (HashSet::new(), HashSet::new());
        let mut checked = Self::default();
        input.entries(|line, entry| {
            let twice = |what: String| {
                let error = BackupError::Line { line, what };
                Err(Failure::Backup { path: path.clone(), error })
            };
            match entry {
                Entry::Token(token) => {
                    if !ids.insert(token.id.get()) {
                        return twice(format!("the token {} stands there twice", token.id));
                    }
                    if token.digests().any(|digest| !digests.insert(half(&digest))) {
                        return twice(format!(
                            "the secret of token {} is that of another token, too",
                            token.id
                        ));
                    }
                    token.roles.into_iter().for_each(|role| checked.count(role));
                }
                Entry::Spent(digest) => checked.spent.push(digest),
            }
            Ok(())
        })?;
        checked.spent.sort_unstable_by_key(|digest| *digest.as_bytes());
        checked.spent.dedup();
        Ok(checked)
    }

    /// The digests that the file has as spent, in order.
    pub(super) fn spent(&self) -> &[TokenDigest] {
        &self.spent
    }

    /// Warns of roles that permit nothing.
    pub(super) fn tell_undefined_roles(&self, policies: &PolicySet, console: &mut Console<'_>) {
        let undefined: Vec<_> =
            self.roles.iter().filter(|(role, _)| !policies.has_role(role.as_str())).collect();
        for (role, count) in undefined.iter().take(ROLES_TOLD_MAX) {
            let tokens = counted(**count, "token");
            console.warning(format_args!(
                "the role `{role}` of {tokens} is defined by no policy, and permits nothing until one does"
            ));
        }
        if undefined.len() > ROLES_TOLD_MAX {
            console.warning(format_args!("and so are {} more roles", undefined.len() - ROLES_TOLD_MAX));
        }
    }

    fn count(&mut self, role: RoleName) {
        if self.roles.len() < ROLES_MAX || self.roles.contains_key(&role) {
            *self.roles.entry(role).or_default() += 1;
        }
    }
}

/// Half of a digest tells as well whether two are the same, and takes half of the room.
fn half(digest: &TokenDigest) -> u128 {
    digest.as_bytes().first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}
