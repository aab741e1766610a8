//! Shares and percentages: exact, so that 100 % means all of it.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

const HUNDREDTHS: u16 = 100;

/// A percentage from 0 to 100, with two decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    hundredths: u16,
}

/// The text is no percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a number from 0 to 100 with at most two decimals, such as `100` or `99.5`")]
pub struct PercentError;

/// How many of all are exercised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many are.
    pub exercised: usize,
    /// How many there are.
    pub all: usize,
}

/// What is exercised of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rules.
    pub rules: Share,
    /// Routes, once for each method that they name.
    pub routes: Share,
    /// Exceptions.
    pub exceptions: Share,
    /// Conditions, twice each.
    pub conditions: Share,
}

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self { hundredths: 0 };
    /// All of it.
    pub const ALL: Self = Self { hundredths: 100 * HUNDREDTHS };
}

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, decimals) = match text.split_once('.') {
            Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
            Some(_) => return Err(PercentError),
            None => (text, ""),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 2 {
            return Err(PercentError);
        }
        let whole: u16 = whole.parse().map_err(|_| PercentError)?;
        let decimals: u16 = format!("{decimals:0<2}").parse().map_err(|_| PercentError)?;
        let hundredths = whole.checked_mul(HUNDREDTHS).and_then(|whole| whole.checked_add(decimals));
        hundredths.map(|hundredths| Self { hundredths }).filter(|this| *this <= Self::ALL).ok_or(PercentError)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.hundredths / HUNDREDTHS, self.hundredths % HUNDREDTHS);
        match (decimals, decimals % 10) {
            (0, _) => write!(f, "{whole}"),
            (_, 0) => write!(f, "{whole}.{}", decimals / 10),
            _ => write!(f, "{whole}.{decimals:02}"),
        }
    }
}

impl Share {
    /// The share of those that are `true`.
    pub(super) fn of(exercised: impl IntoIterator<Item = bool>) -> Self {
        exercised.into_iter().fold(Self::default(), |share, is_exercised| Self {
            exercised: share.exercised + usize::from(is_exercised),
            all: share.all + 1,
        })
    }

    /// The percentage, rounded down: all of it alone is 100. Of nothing, everything is exercised.
    pub fn percent(self) -> Percent {
        let hundredths = (self.exercised * usize::from(Percent::ALL.hundredths)).checked_div(self.all);
        hundredths
            .and_then(|hundredths| u16::try_from(hundredths).ok())
            .map_or(Percent::ALL, |hundredths| Percent { hundredths })
    }
}

impl Counts {
    /// All kinds together.
    pub fn total(self) -> Share {
        self.rules + self.routes + self.exceptions + self.conditions
    }

    /// The percentage of all kinds together.
    pub fn percent(self) -> Percent {
        self.total().percent()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.exercised, self.all)
    }
}

impl fmt::Display for Counts {
    /// The percentage, and the kinds that there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())?;
        let kinds = [
            ("rules", self.rules),
            ("routes", self.routes),
            ("exceptions", self.exceptions),
            ("conditions", self.conditions),
        ];
        for (at, (kind, share)) in kinds.into_iter().filter(|(_, share)| share.all > 0).enumerate() {
            write!(f, "{} {kind} {share}", if at == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

impl Add for Share {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { exercised: self.exercised + other.exercised, all: self.all + other.all }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = Self {
            rules: self.rules + other.rules,
            routes: self.routes + other.routes,
            exceptions: self.exceptions + other.exceptions,
            conditions: self.conditions + other.conditions,
        };
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let mut counts = Self::default();
        all.for_each(|more| counts += more);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_numbers_from_0_to_100_with_two_decimals() {
        for (text, shown) in [
            ("0", "0"),
            ("100", "100"),
            ("100.00", "100"),
            ("99.9", "99.9"),
            ("99.90", "99.9"),
            ("99.99", "99.99"),
            ("0.05", "0.05"),
            ("007", "7"),
        ] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "101",
            "100.01",
            "1.234",
            "1.",
            ".5",
            "1,5",
            "50%",
            "1e1",
            " 1",
            "NaN",
            "65536",
            "99999999999",
            "١",
        ] {
            assert_eq!(text.parse::<Percent>(), Err(PercentError), "{text}");
        }
    }

    #[test]
    fn all_of_it_alone_is_100_percent() {
        let percent = |exercised, all| Share { exercised, all }.percent().to_string();
        assert_eq!(percent(99_999, 100_000), "99.99");
        assert_eq!(percent(100_000, 100_000), "100");
        assert_eq!(percent(2, 3), "66.66");
        assert_eq!(percent(0, 3), "0");
        assert_eq!(percent(0, 0), "100");
        assert!(Share { exercised: 999, all: 1000 }.percent() >= "99.9".parse().unwrap());
        assert!(Share { exercised: 998, all: 1000 }.percent() < "99.9".parse().unwrap());
    }
}
