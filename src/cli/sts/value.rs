//! The values of flags, read as the original reads them.

use super::spec::Kind;
use crate::config::{DURATION_MAX, parse_duration};
use crate::token::CHOSEN_SECRET_MIN_CHARS;
use std::time::Duration;

/// The shortest duration that a flag takes.
const DURATION_MIN: Duration = Duration::from_secs(1);

/// A flag's value. It may be a secret, and so has no `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    /// Any text.
    Text(String),
    /// Texts.
    List(Vec<String>),
    /// On or off.
    Switch(bool),
    /// How often.
    Count(u32),
    /// A number.
    Int(i64),
    /// A date, or the one that stands for none.
    Date(Option<jiff::civil::Date>),
    /// A length of time.
    Duration(Duration),
    /// A moment.
    Moment(Moment),
}

/// A moment as it is written. Whether a distance leads forward or back is for its flag to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The beginning of a day, in UTC.
    Date(jiff::civil::Date),
    /// As far from now.
    Distance(Duration),
}

/// Reads the value of a flag of this kind.
///
/// # Errors
/// With the reason, when the text is no such value.
pub(crate) fn read_value(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text | Kind::File => Ok(Value::Text(text.to_owned())),
        Kind::List => read_list(text).map(Value::List),
        Kind::Switch => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Switch(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Switch(false)),
            _ => Err("must be true or false".to_owned()),
        },
        Kind::Count => text.parse().map(Value::Count).map_err(|_| "must be a number".to_owned()),
        Kind::Int => read_int(text).map(Value::Int),
        Kind::Date => read_date(text).map(Value::Date),
        Kind::Duration => read_duration(text).map(Value::Duration),
        Kind::Moment => read_moment(text).map(Value::Moment),
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) => Err(format!("must be one of {}", words.join(", "))),
    }
}

/// An integer as the original reads it: decimal, `0x`, `0o`, `0b`, a leading `0` for octal, and single
/// underscores between digits where the base is written out or implied.
///
/// # Errors
/// With the reason, when the text is no such number.
pub(crate) fn read_int(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", text.get(1..).unwrap_or_default()),
        Some(b'+') => ("", text.get(1..).unwrap_or_default()),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..).unwrap_or_default())
    } else {
        (10, lower.as_str())
    };
    // An underscore may follow the base's prefix, and must stand before a digit.
    let prefixed = body.len() < lower.len();
    let tidy = !body.ends_with('_') && !body.contains("__") && (prefixed || !body.starts_with('_'));
    let bare = body.replace('_', "");
    if !tidy || bare.is_empty() || !bare.chars().all(|c| c.is_digit(radix)) {
        return Err("must be a whole number".to_owned());
    }
    i64::from_str_radix(&format!("{sign}{bare}"), radix).map_err(|_| "the number is out of range".to_owned())
}

/// What may be shown of a text that should have been a number: a token may have been pasted in its place, also one
/// that its operator chose.
pub(crate) fn shown_number(text: &str) -> &str {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || text.len() < CHOSEN_SECRET_MIN_CHARS { text } else { "…" }
}

/// A calendar date; the first day of the year 1 stands for none.
fn read_date(text: &str) -> Result<Option<jiff::civil::Date>, String> {
    let digits_at = |at: usize| !matches!(at, 4 | 7);
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, b)| if digits_at(at) { b.is_ascii_digit() } else { b == b'-' });
    let date = shaped.then(|| text.parse::<jiff::civil::Date>().ok()).flatten();
    let date = date.ok_or_else(|| "must be a date such as 2030-12-31".to_owned())?;
    Ok((date != jiff::civil::date(1, 1, 1)).then_some(date))
}

fn read_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text, &(DURATION_MIN..=DURATION_MAX)).map_err(|error| error.to_string())
}

fn read_moment(text: &str) -> Result<Moment, String> {
    if let Ok(Some(date)) = read_date(text) {
        return Ok(Moment::Date(date));
    }
    let distance = read_duration(text).map(Moment::Distance);
    distance.map_err(|_| "must be a date such as 2030-12-31, or a duration such as 30d".to_owned())
}

/// One line of comma-separated values, with quotes around those that hold commas or quotes.
fn read_list(text: &str) -> Result<Vec<String>, String> {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field;
        (field, rest) = read_field(rest)?;
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Ok(fields),
        }
    }
}

/// The first field of a line of comma-separated values, and what comes after it.
fn read_field(line: &str) -> Result<(String, &str), String> {
    let Some(mut quoted) = line.strip_prefix('"') else {
        let end = line.find(',').unwrap_or(line.len());
        let (field, rest) = line.split_at(end);
        if field.contains('"') {
            return Err("a quote inside a value needs quotes around the value".to_owned());
        }
        return Ok((field.to_owned(), rest));
    };
    let mut field = String::new();
    loop {
        let Some((part, rest)) = quoted.split_once('"') else {
            return Err("a quote is not closed".to_owned());
        };
        field.push_str(part);
        if let Some(more) = rest.strip_prefix('"') {
            field.push('"');
            quoted = more;
        } else if rest.is_empty() || rest.starts_with(',') {
            return Ok((field, rest));
        } else {
            return Err("text follows a closing quote".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_every_base() {
        for (text, number) in [("42", 42), ("0x2a", 42), ("052", 42), ("0o52", 42), ("0b101010", 42)] {
            assert_eq!(read_int(text), Ok(number), "{text}");
        }
        assert_eq!(read_int("1_000"), Ok(1000));
        assert_eq!(read_int("0x_2a"), Ok(42));
        assert_eq!(read_int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(read_int("+0"), Ok(0));
        for text in
            ["", "-", "0x", "abc", "1__0", "_1", "1_", "08", "1.5", "9223372036854775808", "--1", "+-1"]
        {
            assert!(read_int(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_comma_separated_values() {
        for (text, fields) in [
            ("a,b", &["a", "b"][..]),
            ("", &[]),
            ("a, b ", &["a", " b "]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""say ""x""",y"#, &[r#"say "x""#, "y"]),
            (",", &["", ""]),
        ] {
            assert_eq!(read_list(text).unwrap(), fields, "{text}");
        }
        for text in [r#"a"b"#, r#""a"#, r#""a"b"#] {
            assert!(read_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_dates_or_distances() {
        let (day, thirty_days) = (jiff::civil::date(2030, 12, 31), Duration::from_secs(30 * 86_400));
        assert_eq!(read_moment("2030-12-31"), Ok(Moment::Date(day)));
        assert_eq!(read_moment("30d"), Ok(Moment::Distance(thirty_days)));
        assert_eq!(read_duration("1s"), Ok(DURATION_MIN));
        assert_eq!(read_duration("3650d"), Ok(DURATION_MAX));
        for text in ["", "30", "-30d", "0s", "999ms", "3651d", "1M", "2030-13-01", "0001-01-01", "soon"] {
            assert!(read_moment(text).is_err() && read_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_have_one_form() {
        assert_eq!(read_date("2030-12-31"), Ok(Some(jiff::civil::date(2030, 12, 31))));
        assert_eq!(read_date("0001-01-01"), Ok(None));
        for text in ["", "2030-1-1", "2030-02-30", "31-12-2030", "2030-12-31T00:00", "20301231", "+030-12-31"]
        {
            assert!(read_date(text).is_err(), "{text}");
        }
    }
}
