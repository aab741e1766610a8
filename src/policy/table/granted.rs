//! The permissions that some role grants, by the routes that they stand for.

use super::{Asker, Row, RowKind, RowSubject, Table, TableBuilder};
use crate::path::CanonicalPath;
use crate::policy::pattern::Route;
use crate::policy::roles::RoleSet;
use crate::request::MethodSet;
use std::sync::Arc;

/// Finds the permissions for a request as the table of rules finds its rules.
#[derive(Debug)]
pub(in crate::policy) struct GrantedTable {
    names: Box<[Arc<str>]>,
    table: Table,
}

impl GrantedTable {
    /// The table of these permissions.
    pub(in crate::policy) fn new<'r>(
        permissions: impl Iterator<Item = (&'r Arc<str>, &'r [Arc<Route>])>,
    ) -> Self {
        let mut permissions: Vec<_> = permissions.collect();
        permissions.sort_unstable_by_key(|(name, _)| *name);
        let mut builder = TableBuilder::new();
        for (number, (_, routes)) in (0..).zip(&permissions) {
            for (at, route) in (0..).zip(*routes) {
                // No row makes another one superfluous: each permission is to be named.
                let kind = RowKind::Guarded;
                let subject = RowSubject::Anyone;
                builder.add(route, Row { rule: number, route: at, subject, kind, methods: route.methods });
            }
        }
        Self {
            names: permissions.into_iter().map(|(name, _)| Arc::clone(name)).collect(),
            table: builder.build(),
        }
    }

    /// The permissions that have a route for this method and path, sorted.
    pub(in crate::policy) fn covering(&self, method: MethodSet, path: &CanonicalPath) -> Vec<&str> {
        let asker = Asker { is_authenticated: false, held: &RoleSet::EMPTY, method };
        let mut numbers = Vec::new();
        self.table.walk(&asker, path, &mut |row| numbers.push(row.rule));
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().filter_map(|number| self.names.get(*number as usize)).map(|name| &**name).collect()
    }
}
