//! Buckets of attempts in a table of fixed size. An attempt looks at one set of a few buckets under a lock of their
//! own, so that it costs the same however many clients there are and whatever they do.

use super::super::limits::FailedAuthentications;
use super::{Attempt, Client, TooMany};
use parking_lot::Mutex;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Clients that have a bucket of their own, at most.
pub(super) const CLIENTS_MAX: usize = 65_536;
/// Buckets that lie together. The more, the fuller is the table before a client finds no place.
const WAYS: usize = 8;
const SETS: usize = CLIENTS_MAX / WAYS;
const MINUTE_NS: u64 = 60_000_000_000;

/// All buckets. What it takes is taken at the start, and no request takes more.
pub(super) struct Table {
    sets: Box<[Mutex<Set>]>,
    // Random keys: nobody can choose addresses that meet in one set.
    hasher: RandomState,
    pace: Pace,
}

/// Where a client's bucket may lie.
struct Set {
    own: [(Client, Bucket); WAYS],
    /// The bucket of all clients that found no place. A place is never taken from a client whose bucket is not
    /// whole: else an attacker with many addresses could empty its own buckets, or those of another.
    shared: Bucket,
}

/// Attempts of one client. It is whole again once all of them are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    whole_at_ns: u64,
    /// Attempts refused since the last one that was not.
    refused: u32,
}

/// How fast attempts may follow each other.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// In what time one attempt is forgotten.
    interval_ns: u64,
    /// In what time a bucket without room is whole again.
    full_ns: u64,
}

impl Table {
    pub(super) fn new(limit: FailedAuthentications) -> Self {
        // A bucket that nobody has is whole, whoever it says it belongs to.
        let nobody = (Client::V6(0), Bucket::WHOLE);
        let set = || Mutex::new(Set { own: [nobody; WAYS], shared: Bucket::WHOLE });
        let sets = (0..SETS).map(|_| set()).collect();
        Self { sets, hasher: RandomState::new(), pace: Pace::of(limit) }
    }

    /// Counts one more failed authentication at this time.
    pub(super) fn failed(&self, client: Client, now: Duration) -> Attempt {
        // 584 years.
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.set(client).lock().failed(client, self.pace, now_ns)
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is less than what it was divided by")]
    fn set(&self, client: Client) -> &Mutex<Set> {
        let hash = self.hasher.hash_one(client);
        &self.sets[usize::try_from(hash % SETS as u64).unwrap_or_default()]
    }
}

impl Set {
    fn failed(&mut self, client: Client, pace: Pace, now_ns: u64) -> Attempt {
        let is_whole = |bucket: &Bucket| bucket.whole_at_ns <= now_ns;
        let place = match self.own.iter().position(|(owner, _)| *owner == client) {
            Some(place) => Some(place),
            None => self.own.iter().position(|(_, bucket)| is_whole(bucket)),
        };
        let Some((owner, bucket)) = place.and_then(|place| self.own.get_mut(place)) else {
            return self.shared.failed(pace, now_ns, true);
        };
        if *owner != client {
            (*owner, *bucket) = (client, Bucket::WHOLE);
        }
        bucket.failed(pace, now_ns, false)
    }
}

impl Bucket {
    const WHOLE: Self = Self { whole_at_ns: 0, refused: 0 };

    /// The generic cell rate algorithm: each attempt moves the moment at which the bucket is whole again by one
    /// interval, and there is no room when it lies further ahead than a full bucket has it.
    fn failed(&mut self, pace: Pace, now_ns: u64, is_shared: bool) -> Attempt {
        let latest_ns = now_ns.saturating_add(pace.full_ns);
        // Even if time went back, nobody waits longer than a full bucket takes.
        self.whole_at_ns = self.whole_at_ns.clamp(now_ns, latest_ns);
        let whole_at_ns = self.whole_at_ns.saturating_add(pace.interval_ns);
        let wait_ns = whole_at_ns.saturating_sub(latest_ns);
        if wait_ns == 0 {
            let unlogged = self.refused.saturating_sub(1);
            *self = Self { whole_at_ns, refused: 0 };
            return Attempt::Within { unlogged };
        }
        let is_first = self.refused == 0;
        self.refused = self.refused.saturating_add(1);
        Attempt::TooMany(TooMany { retry_after: Duration::from_nanos(wait_ns), is_first, is_shared })
    }
}

impl Pace {
    fn of(limit: FailedAuthentications) -> Self {
        let interval_ns = MINUTE_NS / u64::from(limit.per_minute.max(1));
        Self { interval_ns, full_ns: interval_ns.saturating_mul(u64::from(limit.burst.max(1))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const LIMIT: FailedAuthentications = FailedAuthentications { burst: 3, per_minute: 6 };
    const WITHIN: Attempt = Attempt::Within { unlogged: 0 };

    fn client(number: u32) -> Client {
        Client::V4(Ipv4Addr::from_bits(number))
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn wait(attempt: Attempt) -> Option<Duration> {
        match attempt {
            Attempt::Within { .. } => None,
            Attempt::TooMany(refused) => Some(refused.retry_after),
        }
    }

    fn is_shared(attempt: Attempt) -> bool {
        matches!(attempt, Attempt::TooMany(TooMany { is_shared: true, .. }))
    }

    #[test]
    fn burst_is_within_the_limit_and_the_next_attempt_is_not() {
        let table = Table::new(LIMIT);
        assert_eq!([(); 3].map(|()| table.failed(client(1), secs(0))), [WITHIN; 3]);
        let refused = TooMany { retry_after: secs(10), is_first: true, is_shared: false };
        assert_eq!(table.failed(client(1), secs(0)), Attempt::TooMany(refused));
        assert_eq!(table.failed(client(2), secs(0)), WITHIN, "of another client");
    }

    #[test]
    fn wait_counts_down_and_attempts_meanwhile_do_not_prolong_it() {
        let table = Table::new(LIMIT);
        let waits = [0, 0, 0, 1, 4, 9, 10, 10].map(|at| wait(table.failed(client(1), secs(at))));
        assert_eq!(
            waits,
            [None, None, None, Some(secs(9)), Some(secs(6)), Some(secs(1)), None, Some(secs(10))]
        );
    }

    #[test]
    fn quiet_client_has_its_whole_burst_again_and_no_more() {
        let table = Table::new(LIMIT);
        let admitted = |at| (0..9).filter(|_| wait(table.failed(client(1), secs(at))).is_none()).count();
        assert_eq!((admitted(0), admitted(20), admitted(50), admitted(1_000_000)), (3, 2, 3, 3));
    }

    #[test]
    fn first_refusal_of_a_series_is_told_apart_and_the_others_are_counted() {
        let table = Table::new(LIMIT);
        let attempts = [0, 0, 0, 1, 2, 3, 10, 11].map(|at| table.failed(client(1), secs(at)));
        let is_first =
            |attempt: &Attempt| matches!(attempt, Attempt::TooMany(TooMany { is_first: true, .. }));
        assert_eq!(attempts.each_ref().map(is_first), [false, false, false, true, false, false, false, true]);
        assert_eq!(attempts.get(6), Some(&Attempt::Within { unlogged: 2 }));
    }

    #[test]
    fn time_that_goes_back_keeps_nobody_out_for_longer_than_a_full_bucket() {
        let table = Table::new(LIMIT);
        for _ in 0..9 {
            table.failed(client(1), secs(1_000_000));
        }
        assert_eq!(wait(table.failed(client(1), secs(5))), Some(secs(10)));
        assert_eq!(wait(table.failed(client(1), secs(15))), None);
    }

    #[test]
    fn limits_at_their_ends_neither_overflow_nor_divide_by_nothing() {
        for (burst, per_minute, admitted) in
            [(0, 0, 1), (1, 1, 1), (u32::MAX, 1, 100), (u32::MAX, u32::MAX, 100)]
        {
            let table = Table::new(FailedAuthentications { burst, per_minute });
            let within =
                (0..100).filter(|_| wait(table.failed(client(1), secs(3_000_000_000))).is_none()).count();
            assert_eq!(within, admitted, "{burst} {per_minute}");
        }
    }

    #[test]
    fn clients_beyond_all_places_share_and_none_loses_its_count() {
        let table = Table::new(LIMIT);
        for _ in 0..4 {
            table.failed(client(0), secs(0));
        }
        let mut within = 0;
        for number in 1..=2_000_000 {
            within += usize::from(wait(table.failed(client(number), secs(0))).is_none());
        }
        // One for each place, and a burst for what is shared in each set.
        assert_eq!(within, CLIENTS_MAX - 1 + SETS * 3);
        assert_eq!(wait(table.failed(client(0), secs(0))), Some(secs(10)));
        assert!(is_shared(table.failed(client(2_000_001), secs(0))));
        assert!(size_of::<Mutex<Set>>() * SETS < 3 * 1024 * 1024);
    }

    #[test]
    fn places_of_clients_that_are_whole_again_are_taken_over() {
        let table = Table::new(LIMIT);
        for number in 0..2_000_000 {
            table.failed(client(number), secs(0));
        }
        assert!(is_shared(table.failed(client(2_000_000), secs(9))));
        let later = [(); 4].map(|()| table.failed(client(2_000_000), secs(10)));
        assert_eq!(later.map(wait), [None, None, None, Some(secs(10))]);
        assert!(!is_shared(later[3]));
    }
}
