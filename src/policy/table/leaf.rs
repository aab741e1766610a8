//! The rows that end together: few are looked at one by one, of many only those of roles that are held.

use super::row::{Asker, Row, RowKind, RowSubject};
use crate::policy::roles::RoleSet;
use std::collections::BTreeMap;
use std::ops::Range;

/// So many rows are looked at one by one.
pub(super) const SCAN_MAX_ROWS: usize = 16;
/// Who holds more of the roles than this is likely to be allowed by one of the first rows.
const FEW_ROLES: usize = 24;

/// What is known about the rows of a leaf that has many.
#[derive(Debug)]
pub(super) struct Large {
    /// The roles that any row is about.
    roles: RoleSet,
    /// Where the rows of each of these roles lie in `order`, by the rank of the role; before them, those of nobody
    /// in particular.
    starts: Box<[u32]>,
    /// The places of all rows, by role.
    order: Box<[u32]>,
    /// Where the rows begin that need a second look.
    guarded: usize,
}

impl Large {
    pub(super) fn new<'r>(rows: impl Iterator<Item = &'r Row>) -> Self {
        let (mut general, mut by_role) = (Vec::new(), BTreeMap::<_, Vec<u32>>::new());
        let mut guarded = 0;
        for (at, row) in (0..).zip(rows) {
            match row.subject {
                RowSubject::Role(role) => by_role.entry(role).or_default().push(at),
                RowSubject::Anyone | RowSubject::Authenticated => general.push(at),
            }
            guarded += usize::from(row.kind != RowKind::Guarded);
        }
        let roles = by_role.keys().copied().collect();
        let (mut starts, mut order) = (Vec::with_capacity(by_role.len() + 1), general);
        for places in by_role.into_values() {
            starts.push(super::len_u32(&order));
            order.extend(places);
        }
        starts.push(super::len_u32(&order));
        Self { roles, starts: starts.into(), order: order.into(), guarded }
    }

    pub(super) fn visit(&self, rows: &[Row], asker: &Asker<'_>, visit: &mut impl FnMut(&Row)) {
        if self.roles.common_len(asker.held) > FEW_ROLES {
            let (plain, guarded) = rows.split_at_checked(self.guarded).unwrap_or_default();
            scan_plain(plain, asker, visit);
            scan(guarded, asker, visit);
            return;
        }
        let start = |rank: usize| self.starts.get(rank).copied().unwrap_or_default() as usize;
        let mut look = |range: Range<usize>| {
            let places = self.order.get(range).unwrap_or_default();
            let rows = places.iter().filter_map(|at| rows.get(*at as usize));
            rows.filter(|row| row.is_about(asker)).for_each(&mut *visit);
        };
        look(0..start(0));
        self.roles.common_ranks(asker.held).for_each(|rank| look(start(rank)..start(rank + 1)));
    }
}

/// Looks at rows none of which needs a second look: behind the first that allows, none matters.
fn scan_plain(rows: &[Row], asker: &Asker<'_>, visit: &mut impl FnMut(&Row)) {
    for row in rows.iter().filter(|row| row.is_about(asker)) {
        visit(row);
        if row.kind == RowKind::Allow {
            return;
        }
    }
}

/// Looks at rows one by one. They are in the order of their rules: the first that allows is enough.
pub(super) fn scan(rows: &[Row], asker: &Asker<'_>, visit: &mut impl FnMut(&Row)) {
    let mut is_allowed = false;
    for row in rows {
        if is_allowed && row.kind == RowKind::Allow {
            continue;
        }
        if row.is_about(asker) {
            is_allowed |= row.kind == RowKind::Allow;
            visit(row);
        }
    }
}
