//! How many denials and refusals of one principal get an entry of their own, so that a token that is denied ten thousand
//! times a second fills no disk and holds nobody up. What is left out is counted, and the count is told.

use crate::time::Timestamp;
use crate::token::PrincipalId;
use std::collections::HashMap;
use std::time::Duration;

/// How many denials of one principal get an entry within [`DENIALS_EVERY`].
pub const DENIALS_AT_ONCE: u32 = 10;
/// How long the denials of one principal are counted together, from the first of them on.
pub const DENIALS_EVERY: Duration = Duration::from_secs(60);
/// How many principals are told apart. Denials of further ones are counted together.
pub const DENIED_TOKENS_MAX: usize = 1024;

/// Which denials get an entry. It knows nothing but the time that it is told.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    principals: HashMap<PrincipalId, Window>,
    /// Of principals that there was no place for.
    others: Uncounted,
}

/// Denials that have no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Whose; `None` where more were denied at once than are told apart.
    pub(crate) principal: Option<PrincipalId>,
    /// How many.
    pub(crate) count: u64,
    /// When the first of them was.
    pub(crate) since: Timestamp,
}

/// The denials of one principal, from the first of them on.
#[derive(Debug)]
struct Window {
    start: Timestamp,
    written: u32,
    left_out: Uncounted,
}

#[derive(Clone, Copy, Debug, Default)]
struct Uncounted {
    count: u64,
    since: Option<Timestamp>,
}

impl Denials {
    /// Whether this denial gets an entry: then how many before it have none, which the entry is to say.
    pub(crate) fn admit(&mut self, principal: &PrincipalId, now: Timestamp) -> Option<u64> {
        if !self.principals.contains_key(principal) && self.principals.len() >= DENIED_TOKENS_MAX {
            self.principals.retain(|_, window| !window.is_over(now) || window.left_out.count > 0);
            if self.principals.len() >= DENIED_TOKENS_MAX {
                self.others.add(1, now);
                return None;
            }
        }
        let window = self.window(principal, now);
        if window.is_over(now) {
            (window.start, window.written) = (now, 0);
        }
        if window.written >= DENIALS_AT_ONCE {
            window.left_out.add(1, now);
            return None;
        }
        window.written += 1;
        Some(window.left_out.take().map_or(0, |(count, _)| count))
    }

    /// The entry of a denial could not be written: it and those that it was to tell of are left out after all.
    pub(crate) fn put_back(&mut self, principal: Option<&PrincipalId>, count: u64, now: Timestamp) {
        let has_room = self.principals.len() < DENIED_TOKENS_MAX;
        match principal.filter(|principal| has_room || self.principals.contains_key(*principal)) {
            // Its minute may be over and forgotten meanwhile: whose denials these are is not.
            Some(principal) => self.window(principal, now).left_out.add(count, now),
            None => self.others.add(count, now),
        }
    }

    /// What nobody has told of until now, and no entry of the same token will: its minute is over. At the end of the
    /// program, `all` of it.
    pub(crate) fn take_due(&mut self, now: Timestamp, all: bool) -> Vec<LeftOut> {
        let mut due = Vec::new();
        self.principals.retain(|principal, window| {
            if !all && !window.is_over(now) {
                return true;
            }
            if let Some((count, since)) = window.left_out.take() {
                due.push(LeftOut { principal: Some(principal.clone()), count, since });
            }
            false
        });
        if let Some((count, since)) = self.others.take() {
            due.push(LeftOut { principal: None, count, since });
        }
        due
    }

    fn window(&mut self, principal: &PrincipalId, now: Timestamp) -> &mut Window {
        let fresh = || Window { start: now, written: 0, left_out: Uncounted::default() };
        self.principals.entry(principal.clone()).or_insert_with(fresh)
    }
}

impl Window {
    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was set back begins another one.
        now < self.start || self.start.checked_add(DENIALS_EVERY).is_none_or(|end| end <= now)
    }
}

impl Uncounted {
    fn add(&mut self, count: u64, now: Timestamp) {
        self.count += count;
        self.since.get_or_insert(now);
    }

    fn take(&mut self) -> Option<(u64, Timestamp)> {
        let since = self.since.take()?;
        Some((std::mem::take(&mut self.count), since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenId;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn token(number: u64) -> PrincipalId {
        TokenId::new(TokenId::MIN + number).unwrap().into()
    }

    #[test]
    fn first_denials_of_a_minute_have_an_entry_and_the_next_minute_tells_of_the_rest() {
        let mut denials = Denials::default();
        for _ in 0..DENIALS_AT_ONCE {
            assert_eq!(denials.admit(&token(1), at(0)), Some(0));
        }
        for _ in 0..10_000 {
            assert_eq!(denials.admit(&token(1), at(59)), None);
        }
        assert_eq!(denials.admit(&token(2), at(59)), Some(0), "another token has its own count");
        assert_eq!(denials.take_due(at(59), false), []);
        assert_eq!(denials.admit(&token(1), at(60)), Some(10_000));
        assert_eq!(denials.admit(&token(1), at(60)), Some(0));
        assert_eq!(denials.take_due(at(200), false), []);
    }

    #[test]
    fn what_no_entry_will_tell_of_is_due_when_its_minute_is_over_or_the_program_ends() {
        let mut denials = Denials::default();
        let flood = |denials: &mut Denials, now| {
            let admitted = (0..=DENIALS_AT_ONCE).filter(|_| denials.admit(&token(1), now).is_some());
            assert_eq!(admitted.count(), DENIALS_AT_ONCE as usize);
        };
        flood(&mut denials, at(0));
        let due = |now| [LeftOut { principal: Some(token(1)), count: 1, since: now }];
        assert_eq!(denials.take_due(at(59), false), []);
        assert_eq!(denials.take_due(at(60), false), due(at(0)));
        assert_eq!(denials.take_due(at(120), false), []);
        flood(&mut denials, at(130));
        assert_eq!(denials.take_due(at(131), true), due(at(130)));
        assert!(denials.principals.is_empty());
    }

    #[test]
    fn entry_that_could_not_be_written_is_counted_with_what_it_was_to_tell() {
        let mut denials = Denials::default();
        assert_eq!(denials.admit(&token(1), at(0)), Some(0));
        denials.put_back(Some(&token(1)), 1, at(0));
        assert_eq!(denials.admit(&token(1), at(1)), Some(1));
        denials.put_back(None, 2, at(1));
        assert_eq!(denials.take_due(at(1), false), [LeftOut { principal: None, count: 2, since: at(1) }]);
    }

    #[test]
    fn what_could_not_be_told_is_told_later_of_the_same_token() {
        let mut denials = Denials::default();
        let flood = (0..=DENIALS_AT_ONCE).filter(|_| denials.admit(&token(1), at(0)).is_none()).count();
        assert_eq!(flood, 1);
        let due = [LeftOut { principal: Some(token(1)), count: 1, since: at(0) }];
        for later in [60, 120, 180] {
            assert_eq!(denials.take_due(at(later), false), due);
            denials.put_back(Some(&token(1)), 1, at(0));
        }
        assert_eq!(denials.admit(&token(1), at(181)), Some(1));
        // Where more tokens are denied than are told apart, it is counted with the others.
        for number in 2..=DENIED_TOKENS_MAX as u64 {
            assert_eq!(denials.admit(&token(number), at(181)), Some(0));
        }
        denials.put_back(Some(&token(5000)), 3, at(182));
        assert_eq!(denials.take_due(at(182), false), [LeftOut { principal: None, count: 3, since: at(182) }]);
    }

    #[test]
    fn clock_that_is_set_back_begins_another_minute() {
        let mut denials = Denials::default();
        assert!((0..DENIALS_AT_ONCE).all(|_| denials.admit(&token(1), at(1000)).is_some()));
        assert_eq!(denials.admit(&token(1), at(1000)), None);
        assert_eq!(denials.admit(&token(1), at(0)), Some(1));
    }

    #[test]
    fn tokens_past_the_limit_are_counted_together() {
        let mut denials = Denials::default();
        for number in 0..DENIED_TOKENS_MAX as u64 {
            assert_eq!(denials.admit(&token(number), at(0)), Some(0));
        }
        assert_eq!(denials.admit(&token(5000), at(1)), None);
        assert_eq!(denials.take_due(at(1), false), [LeftOut { principal: None, count: 1, since: at(1) }]);
        assert_eq!(denials.admit(&token(5000), at(60)), Some(0), "old ones make room");
    }
}
