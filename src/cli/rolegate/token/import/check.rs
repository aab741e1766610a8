//! The first reading of a file, before anything is changed.

use super::super::super::console::Console;
use super::super::super::policies::counted;
use super::super::Failure;
use super::input::Input;
use crate::backup::{BackupError, Entry, Whole};
use crate::policy::PolicySet;
use crate::token::{RoleName, TokenDigest};
use std::collections::{BTreeMap, HashSet};

/// How many roles that no policy defines are told by name.
const ROLES_TOLD_MAX: usize = 10;
/// How many roles of a file are counted.
const ROLES_MAX: usize = 100_000;

/// A file that is whole, and in which nothing stands twice.
pub(super) struct Checked {
    whole: Whole,
    /// Those of its spent digests that tokens of it have. Of the others there may be any number.
    spent: HashSet<TokenDigest>,
    roles: BTreeMap<RoleName, usize>,
}

impl Checked {
    /// Reads a file.
    pub(super) fn of(input: &mut Input) -> Result<Self, Failure> {
        let path = input.path().to_owned();
        let (mut ids, mut digests) = (HashSet::new(), HashSet::new());
        let (mut spent, mut roles) = (HashSet::new(), BTreeMap::new());
        let whole = input.entries(|line, entry| {
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
                    token.roles.into_iter().for_each(|role| count(&mut roles, role));
                }
                // They come after the tokens.
                Entry::Spent(digest) if digests.contains(&half(&digest)) => {
                    spent.insert(digest);
                }
                Entry::Spent(_) => {}
            }
            Ok(())
        })?;
        Ok(Self { whole, spent, roles })
    }

    /// What the file was when it was checked.
    pub(super) const fn whole(&self) -> &Whole {
        &self.whole
    }

    /// Whether the file itself tells that a token with this digest was deleted.
    pub(super) fn is_spent(&self, digest: &TokenDigest) -> bool {
        self.spent.contains(digest)
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
}

fn count(roles: &mut BTreeMap<RoleName, usize>, role: RoleName) {
    if roles.len() < ROLES_MAX || roles.contains_key(&role) {
        *roles.entry(role).or_default() += 1;
    }
}

/// Half of a digest tells as well whether two are the same, and takes half of the room.
fn half(digest: &TokenDigest) -> u128 {
    digest.as_bytes().first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}
