//! Points in time. The core reads no clock: whoever calls it says what time it is.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MILLIS_PER_DAY: i64 = 86_400_000;

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

    /// The point in time `duration` later, or the last one that can be represented.
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self(i64::MAX))
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

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, such as `2026-03-01T08:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_date(self.0.div_euclid(MILLIS_PER_DAY));
        let millis = self.0.rem_euclid(MILLIS_PER_DAY);
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1000)
    }
}

/// Year, month and day of the day that is `days` after 1970-01-01 in the Gregorian calendar. Counting
/// years from March puts the leap day last, where no other month's start depends on it.
const fn civil_date(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_MARCH_OF_YEAR_ZERO: i64 = 719_468;
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + DAYS_TO_MARCH_OF_YEAR_ZERO;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
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
        assert_eq!(Timestamp::EPOCH.saturating_add(Duration::MAX), Timestamp::from_millis(i64::MAX));
        assert_eq!(Timestamp::EPOCH.checked_add(Duration::from_secs(1)), Some(Timestamp::from_millis(1000)));
    }

    #[test]
    fn an_earlier_time_is_no_time_later() {
        assert_eq!(Timestamp::EPOCH.since(Timestamp::from_millis(5)), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::EPOCH), Duration::from_millis(5));
    }

    #[test]
    fn time_is_written_in_utc_to_the_millisecond() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_772_354_096_789, "2026-03-01T08:34:56.789Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
        // The ends of the range are years of nine digits, and no panic.
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "292278994-08-17T07:12:55.807Z");
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "-292275055-05-16T16:47:04.192Z");
    }

    #[cfg(feature = "server")]
    #[test]
    fn time_is_written_as_others_write_it() {
        for day in 0..60_000 {
            let time = Timestamp::from_millis(day * MILLIS_PER_DAY + day);
            let expected = humantime::format_rfc3339_millis(time.to_system_time().unwrap()).to_string();
            assert_eq!(time.to_string(), expected);
        }
    }
}
