//! Points in time. The core reads no clock: whoever calls it says what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch itself.
    pub const EPOCH: Self = Self(0);

    /// The point in time `millis` milliseconds after the Unix epoch, or before it when negative.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The point in time `duration` later; `None` when that is past what can be represented.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let millis = i64::try_from(duration.as_millis()).ok()?;
        self.0.checked_add(millis).map(Self)
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_millis)
    }

    /// The same point as the standard library's type; `None` when it lies before the Unix epoch.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let millis = u64::try_from(self.0).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }
}

impl From<SystemTime> for Timestamp {
    /// Times that do not fit are held at the nearest one that does.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Self(i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_past_the_end_of_time_is_none() {
        assert_eq!(Timestamp::from_millis(i64::MAX).checked_add(Duration::from_millis(1)), None);
        assert_eq!(Timestamp::EPOCH.checked_add(Duration::MAX), None);
        assert_eq!(Timestamp::EPOCH.checked_add(Duration::from_secs(1)), Some(Timestamp::from_millis(1000)));
    }

    #[test]
    fn an_earlier_time_is_no_time_later() {
        assert_eq!(Timestamp::EPOCH.since(Timestamp::from_millis(5)), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::EPOCH), Duration::from_millis(5));
    }
}
