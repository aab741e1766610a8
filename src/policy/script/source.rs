//! A script's text and its words, to show lines and to find what a message is about.

use super::lint::{Comment, comments};
use crate::policy::error::{Location, Problem};
use rhai::{Position, Token};
use std::cell::OnceCell;
use std::sync::Arc;

/// The longest line that is shown with a problem.
const SHOWN_MAX_BYTES: usize = 1000;

/// A script with its words.
pub(crate) struct SourceText {
    pub(crate) name: Arc<str>,
    text: Box<str>,
    /// Where each line starts; found when one is first shown.
    starts: OnceCell<Box<[usize]>>,
    pub(super) words: Vec<Word>,
    /// The places of all text literals among the words, ordered by text; made when one is first looked for.
    literals: OnceCell<Box<[usize]>>,
}

/// A word or sign of a script, and where it starts.
pub(super) struct Word {
    pub(super) token: Token,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl SourceText {
    pub(super) fn new(name: &Arc<str>, text: &str) -> Self {
        Self {
            name: Arc::clone(name),
            text: text.into(),
            starts: OnceCell::new(),
            words: Vec::new(),
            literals: OnceCell::new(),
        }
    }

    /// The place of a rhai position in this script.
    pub(super) fn location(&self, position: Position) -> Location {
        let (line, column) = line_and_column(position);
        Location::new(&self.name, line, column)
    }

    /// A problem at a rhai position.
    pub(super) fn problem(&self, position: Position, message: impl Into<String>) -> Problem {
        Problem::new(self.location(position), message)
    }

    /// A problem at the text literal `value` that follows `position`, underlined; at the position
    /// itself when there is none, for instance because the text was put together.
    pub(super) fn problem_at_literal(&self, position: Position, value: &str, message: String) -> Problem {
        let mut problem = self.problem(position, message);
        self.point_at_literal(&mut problem, value);
        problem
    }

    /// Moves a problem from the place of a call to the text literal `value` among its arguments, or else to
    /// the first such literal of the script.
    pub(crate) fn point_at_literal(&self, problem: &mut Problem, value: &str) {
        let from = (problem.location.line, problem.location.column);
        let start = self.words.partition_point(|word| (word.line, word.column) < from);
        let call = self.words.get(start..).unwrap_or_default();
        let rest = || statement(call).find(|word| word.is_text(value));
        let literal = arguments(call).find(|word| word.is_text(value)).or_else(rest);
        if let Some(word) = literal.or_else(|| self.first_literal(value)) {
            problem.location = Location::new(&self.name, word.line, word.column);
            // Both quotes belong to the literal. One with escapes is longer; the mark ends with its line.
            problem.length = u32::try_from(value.chars().count() + 2).unwrap_or(1);
        }
    }

    /// Marks all of the name at a problem's place, and shows its line.
    pub(crate) fn underline(&self, problem: &mut Problem) {
        let place = (problem.location.line, problem.location.column);
        let at = self.words.partition_point(|word| (word.line, word.column) < place);
        let word = self.words.get(at).filter(|word| (word.line, word.column) == place);
        if let Some(name) = word.and_then(Word::name).filter(|_| problem.length <= 1) {
            problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
        }
        self.show_line(problem);
    }

    /// The comments that end with their line, when this text is anywhere in the script. In most it is not, and they
    /// need not be read again.
    pub(super) fn comments_with(&self, text: &str) -> Vec<Comment> {
        if self.text.contains(text) { comments(&self.text) } else { Vec::new() }
    }

    fn line(&self, at: usize) -> Option<&str> {
        let ends = || self.text.match_indices('\n').map(|(end, _)| end + 1);
        let starts = self.starts.get_or_init(|| [0].into_iter().chain(ends()).collect());
        self.text.get(*starts.get(at)?..)?.lines().next()
    }

    fn first_literal(&self, value: &str) -> Option<&Word> {
        let word = |at: &usize| self.words.get(*at);
        let text = |at: &usize| word(at).and_then(Word::text);
        let literals = self.literals.get_or_init(|| {
            let numbered = self.words.iter().enumerate().filter(|(_, word)| word.text().is_some());
            let mut places: Vec<usize> = numbered.map(|(at, _)| at).collect();
            places.sort_by(|one, other| text(one).cmp(&text(other)));
            places.into()
        });
        let first = literals.get(literals.partition_point(|at| text(at) < Some(value)))?;
        word(first).filter(|word| word.is_text(value))
    }

    /// Adds the line to a problem of this script.
    pub(crate) fn show_line(&self, problem: &mut Problem) {
        let at = (problem.location.line as usize).checked_sub(1);
        // Of a line that is not written by people, the message alone has to do.
        let line = at.and_then(|at| self.line(at)).filter(|line| line.len() <= SHOWN_MAX_BYTES);
        problem.line_text = line.map(visible);
    }

    /// The place of the method `name` that is called after `position`, or else first in the script.
    pub(super) fn method_after(&self, position: Position, name: &str) -> Location {
        let find = |words: &[Word]| {
            let called = words.windows(2).find_map(|words| match words {
                [dot, method] if dot.token == Token::Period && method.name() == Some(name) => Some(method),
                _ => None,
            })?;
            Some(called.location(&self.name))
        };
        let found = find(self.words_from(position)).or_else(|| find(&self.words));
        found.unwrap_or_else(|| self.location(position))
    }

    /// Whether the script has this name anywhere.
    pub(super) fn names(&self, name: &str) -> bool {
        self.words.iter().any(|word| word.name() == Some(name))
    }

    /// The words from the first one at or after `position` on.
    pub(super) fn words_from(&self, position: Position) -> &[Word] {
        let from = line_and_column(position);
        let start = self.words.partition_point(|word| (word.line, word.column) < from);
        self.words.get(start..).unwrap_or_default()
    }
}

impl Word {
    pub(super) fn location(&self, file: &Arc<str>) -> Location {
        Location::new(file, self.line, self.column)
    }

    /// The name, when the word is one. Names that rhai keeps for itself count too.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.token {
            Token::Identifier(name) | Token::Reserved(name) => Some(name.as_str()),
            _ => None,
        }
    }

    /// The text, when the word is a text literal.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.token {
            Token::StringConstant(text) => Some(text.as_str()),
            _ => None,
        }
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(
            self.token,
            Token::LeftParen
                | Token::LeftBracket
                | Token::LeftBrace
                | Token::MapStart
                | Token::QuestionBracket
        )
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.token, Token::RightParen | Token::RightBracket | Token::RightBrace)
    }

    fn is_text(&self, value: &str) -> bool {
        self.text() == Some(value)
    }
}

/// The words between the first bracket of `words` and the one that closes it.
pub(super) fn arguments(words: &[Word]) -> impl Iterator<Item = &Word> {
    let within = words.iter().skip_while(|word| word.token != Token::LeftParen).skip(1);
    let mut depth = 0_usize;
    within.take_while(move |word| {
        if word.is_opening() {
            depth += 1;
        } else if word.is_closing() {
            let Some(outer) = depth.checked_sub(1) else { return false };
            depth = outer;
        }
        true
    })
}

/// The words up to the end of the statement that starts with the first of them, or is under way there: a
/// semicolon or comma outside of its brackets, or the bracket that closes around it.
pub(super) fn statement(words: &[Word]) -> impl Iterator<Item = &Word> {
    let mut depth = 0_usize;
    let mut is_over = false;
    words.iter().take_while(move |word| {
        if is_over {
            return false;
        }
        if word.is_opening() {
            depth += 1;
        } else if word.is_closing() {
            let Some(outer) = depth.checked_sub(1) else { return false };
            depth = outer;
            is_over = depth == 0 && word.token == Token::RightBrace;
        }
        depth > 0 || !matches!(word.token, Token::SemiColon | Token::Comma)
    })
}

pub(super) fn line_and_column(position: Position) -> (u32, u32) {
    let number = |part: Option<usize>| part.and_then(|part| u32::try_from(part).ok()).unwrap_or(0);
    (number(position.line()), number(position.position()))
}

/// The line as it can be printed: what is invisible or changes the direction of writing is shown as `�`.
fn visible(line: &str) -> String {
    let is_hidden = |letter| letter == '\r' || super::lint::is_hidden(letter);
    line.chars().map(|letter| if is_hidden(letter) { '\u{fffd}' } else { letter }).collect()
}
