//! What the scripts of one policy set have declared, all together: a loop must not fill the memory.

use crate::policy::ROUTES_MAX;
use crate::policy::pattern::Route;

/// The most segments of all routes together.
pub const SEGMENTS_ALL_MAX: usize = 4_000_000;
/// The most bytes of all routes together.
pub const ROUTES_MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most roles, inclusions, grants, and values that conditions keep, all together.
pub const NAMES_MAX: usize = 1_000_000;

/// A count of what has been declared.
#[derive(Default)]
pub(super) struct Tally {
    routes: usize,
    segments: usize,
    bytes: usize,
    names: usize,
}

impl Tally {
    pub(super) fn add_route(&mut self, route: &Route) {
        self.routes += 1;
        self.segments += route.pattern.segments.len();
        self.bytes += route.as_str().len();
    }

    /// Counts roles, inclusions, grants, or values that a condition keeps.
    pub(super) const fn add_names(&mut self, count: usize) {
        self.names = self.names.saturating_add(count);
    }

    pub(super) const fn is_over(&self) -> bool {
        self.routes > ROUTES_MAX
            || self.segments > SEGMENTS_ALL_MAX
            || self.bytes > ROUTES_MAX_BYTES
            || self.names > NAMES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(change: impl FnOnce(&mut Tally)) -> bool {
        let mut tally = Tally {
            routes: ROUTES_MAX - 1,
            segments: SEGMENTS_ALL_MAX - 2,
            bytes: ROUTES_MAX_BYTES - "GET /a/b".len(),
            names: NAMES_MAX - 1,
        };
        change(&mut tally);
        tally.is_over()
    }

    #[test]
    fn as_much_as_the_limits_may_be_declared_and_no_more() {
        let route = Route::parse("GET /a/b").unwrap();
        assert!(!over(|tally| tally.add_route(&route)));
        assert!(!over(|tally| tally.add_names(1)));
        assert!(over(|tally| tally.add_names(2)));
        for short in [
            |tally: &mut Tally| tally.routes += 1,
            |tally: &mut Tally| tally.segments += 1,
            |tally: &mut Tally| tally.bytes += 1,
        ] {
            assert!(over(|tally| {
                short(tally);
                tally.add_route(&route);
            }));
        }
    }
}
