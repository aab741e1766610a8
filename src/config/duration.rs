//! Durations as people write them: `24h`, `7d`, `1h 30m`. The grammar is checked here first, so that
//! nothing is left to guess; humantime reads the value.

use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as ValueError, StrDeserializer};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest duration that any key takes: ten years of 365 days.
pub const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// The longest text that is read as a duration, in bytes.
pub const DURATION_MAX_BYTES: usize = 64;
/// The most digits of one number. Nothing overflows below that.
pub const DURATION_MAX_DIGITS: usize = 9;

/// Why a text is not a duration. Each message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Nothing, or nothing but spaces.
    #[error("a duration is missing; write `24h`, `7d` or `1h 30m`")]
    Empty,
    /// Spaces around it.
    #[error("a duration has no spaces around it; write `24h`, `7d` or `1h 30m`")]
    Spaces,
    /// A sign.
    #[error("a duration has no sign; write `24h`, `7d` or `1h 30m`")]
    Sign,
    /// A number alone.
    #[error("the number has no unit; write `24h`, `7d` or `1h 30m`")]
    NoUnit,
    /// `M`, which is minutes to some and a month to others.
    #[error("`M` may mean minutes or months; write minutes as `30m`, and months in days as `30d`")]
    CapitalM,
    /// A month or a year, of which there are several lengths.
    #[error("months and years differ in length; write days, as in `30d` or `365d`")]
    Calendar,
    /// A unit that does not exist.
    #[error("unknown unit; write `24h`, `7d` or `1h 30m`, with the units ms, s, m, h, d and w")]
    Unit,
    /// Anything else.
    #[error("this is not a duration; write `24h`, `7d` or `1h 30m`")]
    Form,
    /// Shorter than the key takes; zero is among these.
    #[error("at least {} is needed; write `24h`, `7d` or `1h 30m`", humantime::format_duration(*.0))]
    TooShort(Duration),
    /// Longer than the key takes.
    #[error("at most {} is possible; write `24h`, `7d` or `1h 30m`", describe(*.0))]
    TooLong(Duration),
}

/// Reads a duration and holds it against what its key takes.
///
/// # Errors
/// When the text is no duration, or one out of the range; see [`DurationError`].
pub fn parse_duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, DurationError> {
    if text.trim().is_empty() {
        return Err(DurationError::Empty);
    }
    if text.trim().len() != text.len() {
        return Err(DurationError::Spaces);
    }
    if text.starts_with(['-', '+']) {
        return Err(DurationError::Sign);
    }
    if text.len() > DURATION_MAX_BYTES {
        return Err(DurationError::Form);
    }
    let mut rest = text;
    while !rest.is_empty() {
        rest = check_part(rest, range)?;
    }
    let reader: StrDeserializer<'_, ValueError> = text.into_deserializer();
    let duration: Duration = humantime_serde::deserialize(reader).map_err(|_| DurationError::Form)?;
    if duration < *range.start() {
        return Err(DurationError::TooShort(*range.start()));
    }
    if duration > *range.end() {
        return Err(DurationError::TooLong(*range.end()));
    }
    Ok(duration)
}

/// A duration in the form in which it can be written in a configuration.
pub fn describe(duration: Duration) -> String {
    const DAY_SECS: u64 = 24 * 60 * 60;
    let secs = duration.as_secs();
    // humantime would count years and months, which this configuration does not take.
    if secs < DAY_SECS {
        return humantime::format_duration(duration).to_string();
    }
    let rest = Duration::new(secs % DAY_SECS, duration.subsec_nanos());
    if rest.is_zero() {
        return format!("{}d", secs / DAY_SECS);
    }
    format!("{}d {}", secs / DAY_SECS, humantime::format_duration(rest))
}

/// Checks one number with its unit; what follows it is returned.
fn check_part<'a>(text: &'a str, range: &RangeInclusive<Duration>) -> Result<&'a str, DurationError> {
    let digits = |text: &'a str| {
        let rest = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
        (text.len() - rest.len(), rest)
    };
    let (whole, mut rest) = digits(text);
    if whole == 0 {
        return Err(DurationError::Form);
    }
    if whole > DURATION_MAX_DIGITS {
        return Err(DurationError::TooLong(*range.end()));
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let (places, after) = digits(fraction);
        if places == 0 || places > DURATION_MAX_DIGITS {
            return Err(DurationError::Form);
        }
        rest = after;
    }
    rest = rest.strip_prefix(' ').unwrap_or(rest);
    let after = rest.trim_start_matches(|letter: char| letter.is_alphabetic());
    check_unit(rest.get(..rest.len() - after.len()).unwrap_or_default(), after)?;
    match after.strip_prefix(' ') {
        Some(next) if next.starts_with(|letter: char| letter.is_ascii_digit()) => Ok(next),
        None if after.is_empty() || after.starts_with(|letter: char| letter.is_ascii_digit()) => Ok(after),
        _ => Err(DurationError::Form),
    }
}

fn check_unit(unit: &str, after: &str) -> Result<(), DurationError> {
    match unit {
        "" if after.is_empty() || after.starts_with(|letter: char| letter.is_ascii_digit()) => {
            Err(DurationError::NoUnit)
        }
        "" => Err(DurationError::Form),
        "ms" | "msec" | "millis" | "s" | "sec" | "secs" | "second" | "seconds" => Ok(()),
        "m" | "min" | "mins" | "minute" | "minutes" | "h" | "hr" | "hrs" | "hour" | "hours" => Ok(()),
        "d" | "day" | "days" | "w" | "wk" | "wks" | "week" | "weeks" => Ok(()),
        "M" => Err(DurationError::CapitalM),
        _ if ["month", "months", "mo", "y", "yr", "yrs", "year", "years"]
            .contains(&unit.to_ascii_lowercase().as_str()) =>
        {
            Err(DurationError::Calendar)
        }
        _ => Err(DurationError::Unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: RangeInclusive<Duration> = Duration::from_secs(1)..=DURATION_MAX;

    fn check(text: &str, expected: Result<u64, DurationError>) {
        assert_eq!(parse_duration(text, &ANY), expected.map(Duration::from_secs), "{text:?}");
    }

    #[test]
    fn the_forms_of_the_documentation_are_read() {
        check("24h", Ok(86_400));
        check("7d", Ok(604_800));
        check("1h 30m", Ok(5400));
        check("1h30m", Ok(5400));
        check("1.5h", Ok(5400));
        check("90 minutes", Ok(5400));
        check("2w", Ok(1_209_600));
        check("1000ms", Ok(1));
    }

    #[test]
    fn what_can_be_misread_is_refused() {
        check("", Err(DurationError::Empty));
        check("  ", Err(DurationError::Empty));
        check(" 24h", Err(DurationError::Spaces));
        check("24h\n", Err(DurationError::Spaces));
        check("-1h", Err(DurationError::Sign));
        check("+1h", Err(DurationError::Sign));
        check("24", Err(DurationError::NoUnit));
        check("1h 30", Err(DurationError::NoUnit));
        check("5M", Err(DurationError::CapitalM));
        for text in ["1month", "2 months", "1y", "1Y", "10years"] {
            check(text, Err(DurationError::Calendar));
        }
        for text in ["1H", "1D", "1fortnight", "5us", "5ns"] {
            check(text, Err(DurationError::Unit));
        }
        for text in ["2 4h", "h", "1,5h", "PT24H", "1h-30m", "1h,30m", "1.h", ".5h", "1h  30m", "1h 30 m s"] {
            assert!(parse_duration(text, &ANY).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_is_taken_to_its_ends_and_not_past_them() {
        check("1s", Ok(1));
        check("999ms", Err(DurationError::TooShort(Duration::from_secs(1))));
        check("0s", Err(DurationError::TooShort(Duration::from_secs(1))));
        check("0h 0m", Err(DurationError::TooShort(Duration::from_secs(1))));
        check("3650d", Ok(3650 * 86_400));
        check("3650d 1s", Err(DurationError::TooLong(DURATION_MAX)));
        check("3651d", Err(DurationError::TooLong(DURATION_MAX)));
    }

    #[test]
    fn numbers_that_would_overflow_are_too_long() {
        check("999999999w", Err(DurationError::TooLong(DURATION_MAX)));
        check("9999999999s", Err(DurationError::TooLong(DURATION_MAX)));
        check("18446744073709551615s 1000000000ms", Err(DurationError::TooLong(DURATION_MAX)));
        check(&"999999999w ".repeat(5), Err(DurationError::Spaces));
        check("999999999w 999999999w 999999999w", Err(DurationError::TooLong(DURATION_MAX)));
        check(&format!("1h{}", " 1h".repeat(30)), Err(DurationError::Form));
    }

    #[test]
    fn messages_list_the_accepted_forms() {
        let errors = [
            DurationError::Empty,
            DurationError::Spaces,
            DurationError::Sign,
            DurationError::NoUnit,
            DurationError::Unit,
            DurationError::Form,
            DurationError::TooShort(Duration::from_secs(1)),
            DurationError::TooLong(DURATION_MAX),
        ];
        for error in errors {
            assert!(error.to_string().ends_with("`24h`, `7d` or `1h 30m`") || error == DurationError::Unit);
            assert!(error.to_string().contains("`24h`, `7d` or `1h 30m`"));
        }
        assert!(DurationError::TooLong(DURATION_MAX).to_string().starts_with("at most 3650d is"));
    }

    proptest! {
        #[test]
        fn no_text_is_read_as_more_than_the_longest_duration(text in "[0-9 .hmdwsM]{0,70}") {
            if let Ok(duration) = parse_duration(&text, &ANY) {
                prop_assert!(ANY.contains(&duration));
            }
        }

        #[test]
        fn a_described_duration_reads_back(secs in 1_u64..=3650 * 86_400) {
            let duration = Duration::from_secs(secs);
            prop_assert_eq!(parse_duration(&describe(duration), &ANY), Ok(duration));
        }
    }
}
