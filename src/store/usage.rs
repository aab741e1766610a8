//! When and for what tokens were used. It is counted in memory and written now and then, so that it may lag behind.

use crate::time::Timestamp;
use crate::token::TokenId;

/// The most permissions and routes of which a token's uses are kept apart. Further ones are only counted.
pub const ROUTE_USES_MAX: usize = 256;

/// The use of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When a request last carried it.
    pub last_used: Timestamp,
    /// How many requests carried it, those that were denied among them.
    pub count: u64,
    /// What it was used for, by name: the permitted requests alone.
    pub routes: Vec<RouteUse>,
}

/// The use of one permission or route by one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUse {
    /// The name of the permission; where a rule names none, its route.
    pub by: String,
    /// When it was last used.
    pub last_used: Timestamp,
    /// How often it was used.
    pub count: u64,
}

/// What is to be added to the use of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The token.
    pub id: TokenId,
    /// Its use since it was last told.
    pub usage: Usage,
}

impl Usage {
    /// Both together. What is used the most recently is kept when there is too much.
    #[must_use]
    pub fn plus(mut self, more: &Self) -> Self {
        self.last_used = self.last_used.max(more.last_used);
        self.count = self.count.saturating_add(more.count);
        for route in &more.routes {
            match self.routes.binary_search_by(|kept| kept.by.cmp(&route.by)) {
                Ok(at) => {
                    if let Some(kept) = self.routes.get_mut(at) {
                        kept.last_used = kept.last_used.max(route.last_used);
                        kept.count = kept.count.saturating_add(route.count);
                    }
                }
                Err(at) => self.routes.insert(at, route.clone()),
            }
        }
        while self.routes.len() > ROUTE_USES_MAX {
            let oldest = (0..).zip(&self.routes).min_by_key(|(_, route)| route.last_used).map(|(at, _)| at);
            let Some(oldest) = oldest else { break };
            self.routes.remove(oldest);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(last_used: i64, routes: &[(&str, i64, u64)]) -> Usage {
        let route = |(by, at, count): &(&str, i64, u64)| RouteUse {
            by: (*by).into(),
            last_used: Timestamp::from_millis(*at),
            count: *count,
        };
        Usage {
            last_used: Timestamp::from_millis(last_used),
            count: routes.iter().map(|(_, _, count)| count).sum(),
            routes: routes.iter().map(route).collect(),
        }
    }

    #[test]
    fn uses_add_up_by_name_and_the_later_time_counts() {
        let sum = usage(9, &[("b", 9, 2)]).plus(&usage(5, &[("b", 5, 1), ("a", 4, 1)]));
        assert_eq!(sum, usage(9, &[("a", 4, 1), ("b", 9, 3)]));
    }

    #[test]
    fn beyond_the_limit_the_longest_unused_names_go_and_the_count_stays() {
        let names: Vec<String> = (0..=ROUTE_USES_MAX).map(|number| format!("{number:03}")).collect();
        let uses = |count: usize| {
            let routes: Vec<_> =
                (0..count).map(|at| (names[at].as_str(), 100 - i64::from(at == 7), 1)).collect();
            usage(100, &[]).plus(&usage(100, &routes))
        };
        assert_eq!(uses(ROUTE_USES_MAX).routes.len(), ROUTE_USES_MAX);
        let full = uses(ROUTE_USES_MAX + 1);
        assert_eq!((full.routes.len(), full.count), (ROUTE_USES_MAX, ROUTE_USES_MAX as u64 + 1));
        assert!(full.routes.iter().all(|route| route.by != "007"));
    }
}
