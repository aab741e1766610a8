//! What a condition read of its request and what it was told, noted while a decision is explained.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// The most readings that are noted of one condition.
pub const READS_MAX: usize = 32;
/// The longest text that is noted of one reading, in bytes; longer ones are cut.
pub const READ_MAX_BYTES: usize = 256;

/// One reading: what was read, and what it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// What was read.
    pub fact: Fact,
    /// What it gave.
    pub seen: Seen,
}

/// Something that a condition can read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// `request.method`
    Method,
    /// `request.path`
    Path,
    /// `request.time`
    Time,
    /// `request.client_ip`
    ClientIp,
    /// `request.token`: whether there is one.
    Token,
    /// `request.token.id`
    TokenId,
    /// `request.token.name`
    TokenName,
    /// `request.token.roles`
    TokenRoles,
    /// `request.token.created`
    TokenCreated,
    /// `request.param(name)`
    Parameter(Arc<str>),
    /// `request.query(name)`
    Query(Arc<str>),
    /// `request.header(name)`
    Header(Arc<str>),
    /// `request.has_role(name)`
    HasRole(Arc<str>),
    /// A function or value of the embedding program, as it was called.
    Call(Arc<str>),
}

/// What a reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// `()`: there is no such thing.
    Nothing,
    /// A text.
    Text(String),
    /// A number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list of texts.
    Texts(Vec<String>),
    /// A value of another kind, which is named.
    Other(&'static str),
    /// Reading failed, for this reason.
    Failed(String),
    /// Nobody knows any more: a decision is explained of which this was not recorded.
    Unrecorded,
}

/// The readings of one condition, in their order, each once.
#[derive(Debug, Default)]
pub(crate) struct Reads(Mutex<Noted>);

/// What was noted.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) readings: Vec<Reading>,
    /// Whether there were more than are kept.
    pub(crate) is_cut: bool,
}

impl Reads {
    /// Notes a reading, up to [`READS_MAX`] of them.
    pub(crate) fn note(&self, fact: Fact, seen: Seen) {
        let reading = Reading { fact, seen: seen.cut() };
        let noted = &mut *self.0.lock();
        let readings = &mut noted.readings;
        if reading.fact.is_of_token() {
            // Whoever read something of the token knows that there is one.
            readings.retain(|known| known.fact != Fact::Token);
        }
        if readings.contains(&reading) {
            return;
        }
        if readings.len() < READS_MAX {
            readings.push(reading);
        } else {
            noted.is_cut = true;
        }
    }

    pub(crate) fn take(&self) -> Noted {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Fact {
    const fn is_of_token(&self) -> bool {
        matches!(self, Self::TokenId | Self::TokenName | Self::TokenRoles | Self::TokenCreated)
    }
}

impl Seen {
    fn cut(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(cut(text)),
            Self::Failed(reason) => Self::Failed(cut(reason)),
            Self::Texts(mut texts) => {
                texts.truncate(READS_MAX);
                Self::Texts(texts.into_iter().map(cut).collect())
            }
            short => short,
        }
    }
}

/// The text, or its start and an ellipsis.
fn cut(mut text: String) -> String {
    if text.len() > READ_MAX_BYTES {
        text.truncate(text.floor_char_boundary(READ_MAX_BYTES));
        text.push('…');
    }
    text
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.seen {
            Seen::Failed(_) => write!(f, "{} fails: {}", self.fact, self.seen),
            _ => write!(f, "{} = {}", self.fact, self.seen),
        }
    }
}

impl fmt::Display for Fact {
    /// As a condition writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("request.method"),
            Self::Path => f.write_str("request.path"),
            Self::Time => f.write_str("request.time"),
            Self::ClientIp => f.write_str("request.client_ip"),
            Self::Token => f.write_str("request.token"),
            Self::TokenId => f.write_str("request.token.id"),
            Self::TokenName => f.write_str("request.token.name"),
            Self::TokenRoles => f.write_str("request.token.roles"),
            Self::TokenCreated => f.write_str("request.token.created"),
            Self::Parameter(name) => write!(f, "request.param({name:?})"),
            Self::Query(name) => write!(f, "request.query({name:?})"),
            Self::Header(name) => write!(f, "request.header({name:?})"),
            Self::HasRole(name) => write!(f, "request.has_role({name:?})"),
            Self::Call(call) => f.write_str(call),
        }
    }
}

impl fmt::Display for Seen {
    /// As a condition would write it; what could change a terminal is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("()"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(answer) => write!(f, "{answer}"),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Other(kind) => f.write_str(kind),
            Self::Failed(reason) => write!(f, "{}", reason.escape_debug()),
            Self::Unrecorded => f.write_str("(not recorded)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_noted_once_and_up_to_the_limit() {
        let reads = Reads::default();
        for count in [READS_MAX, READS_MAX + 1] {
            for number in 0..count {
                for _ in 0..2 {
                    reads.note(Fact::Query(Arc::from(number.to_string())), Seen::Nothing);
                }
            }
            let taken = reads.take();
            assert_eq!((taken.readings.len(), taken.is_cut), (READS_MAX, count > READS_MAX));
            assert_eq!(taken.readings[1].to_string(), "request.query(\"1\") = ()");
        }
        assert_eq!(reads.take().readings, []);
    }

    #[test]
    fn texts_are_cut_past_the_limit_and_no_sooner() {
        let reads = Reads::default();
        for length in [READ_MAX_BYTES, READ_MAX_BYTES + 1] {
            reads.note(Fact::Path, Seen::Text("x".repeat(length)));
        }
        let whole = "x".repeat(READ_MAX_BYTES);
        let texts = [Seen::Text(whole.clone()), Seen::Text(format!("{whole}…"))];
        assert_eq!(reads.take().readings.into_iter().map(|reading| reading.seen).collect::<Vec<_>>(), texts);
        // A letter is not cut in two.
        assert_eq!(cut("ä".repeat(READ_MAX_BYTES)).chars().count(), READ_MAX_BYTES / 2 + 1);
    }

    #[test]
    fn what_could_change_a_terminal_is_escaped() {
        let seen = Seen::Text("\u{1b}[31m\u{202e}".into());
        assert_eq!(seen.to_string(), r#""\u{1b}[31m\u{202e}""#);
        assert_eq!(Seen::Failed("a\nb".into()).to_string(), r"a\nb");
    }
}
