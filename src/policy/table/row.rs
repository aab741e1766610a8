//! Rows: what one rule says where one of its routes ends.

use crate::policy::roles::{RoleIndex, RoleSet};
use crate::request::MethodSet;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;

/// A rule where one of its routes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Row {
    /// The rule's place in the policy set.
    pub(in crate::policy) rule: u32,
    /// The route's place among those of the rule.
    pub(in crate::policy) route: u32,
    /// Whom the rule is about.
    pub(in crate::policy) subject: RowSubject,
    /// What a match means.
    pub(in crate::policy) kind: RowKind,
    /// The methods of the route. Of a rule that needs no second look: those without an earlier rule of its kind.
    pub(in crate::policy) methods: MethodSet,
}

/// Whom a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum RowSubject {
    Anyone,
    Authenticated,
    Role(RoleIndex),
}

/// What it means that a row matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy) enum RowKind {
    /// The rule denies.
    Deny,
    /// The rule allows.
    Allow,
    /// The rule has a condition, or routes that it is not about: it needs a second look.
    Guarded,
}

/// Who asks, and for which method. Whoever holds a role is authenticated.
#[derive(Debug)]
pub(in crate::policy) struct Asker<'a> {
    pub(in crate::policy) is_authenticated: bool,
    pub(in crate::policy) held: &'a RoleSet,
    pub(in crate::policy) method: MethodSet,
}

/// For which methods and whom the rows so far decide, so that later ones of the same kind cannot be the first.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    anyone: MethodSet,
    authenticated: MethodSet,
    roles: HashMap<RoleIndex, MethodSet, FxBuildHasher>,
}

impl Row {
    /// Rows are kept in this order where they end together.
    pub(super) const fn order(&self) -> (RowKind, u32, u32) {
        (self.kind, self.rule, self.route)
    }

    pub(super) fn is_about(&self, asker: &Asker<'_>) -> bool {
        self.methods.intersects(asker.method)
            && match self.subject {
                RowSubject::Anyone => true,
                RowSubject::Authenticated => asker.is_authenticated,
                RowSubject::Role(role) => asker.held.contains(role),
            }
    }
}

impl Narrowing {
    pub(super) fn clear(&mut self) {
        (self.anyone, self.authenticated) = (MethodSet::NONE, MethodSet::NONE);
        self.roles.clear();
    }

    /// Leaves the row those methods for which no earlier one decides; `false` when there are none.
    pub(super) fn narrow(&mut self, row: &mut Row) -> bool {
        let (known, own) = match row.subject {
            RowSubject::Anyone => (MethodSet::NONE, &mut self.anyone),
            RowSubject::Authenticated => (self.anyone, &mut self.authenticated),
            RowSubject::Role(role) => (self.anyone | self.authenticated, self.roles.entry(role).or_default()),
        };
        row.methods = row.methods.without(known | *own);
        *own |= row.methods;
        !row.methods.is_empty()
    }
}
