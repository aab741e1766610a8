//! What is odd about conditions, as far as their words alone can tell.

use super::source::{SourceText, Word};
use crate::policy::warn::{Warning, WarningCode};
use crate::request::{MethodSet, is_credential};
use rhai::Token;
use std::collections::HashSet;

/// What conditions read as texts, by a name.
const TEXT_READERS: [&str; 3] = ["query", "header", "param"];

/// What is odd about the conditions of a script.
pub(crate) fn advise(source: &SourceText) -> Vec<Warning> {
    let parameters = parameters(&source.words);
    let mut warnings = Vec::new();
    for at in 0..source.words.len() {
        let (before, words) = source.words.split_at(at);
        warnings.extend(constant_condition(source, words));
        warnings.extend(hidden_header(source, words));
        warnings.extend(unequal_kinds(source, before, words));
        warnings.extend(unknown_methods(source, &parameters, before, words));
    }
    warnings
}

/// Whether a condition asks for roles that cannot be told from the script, so that each may be one of them.
pub(crate) fn may_ask_for_any_role(source: &SourceText) -> bool {
    let is_one_text = |words: &[Word]| match words {
        [open, role, close, ..] => {
            open.token == Token::LeftParen && role.text().is_some() && close.token == Token::RightParen
        }
        _ => false,
    };
    let mut before = None;
    source.words.iter().enumerate().any(|(at, word)| {
        let is_member = before
            .replace(word)
            .is_some_and(|word: &Word| matches!(word.token, Token::Period | Token::Elvis));
        match word.name() {
            // As a function, it takes the request before the role.
            Some("has_role") => !is_one_text(source.words.get(at + 1..).unwrap_or_default()),
            Some("roles") => is_member,
            _ => false,
        }
    })
}

/// `.when(|request| true)`.
fn constant_condition(source: &SourceText, words: &[Word]) -> Option<Warning> {
    let [dot, method, open, bar, _, closing_bar, value, close, ..] = words else { return None };
    let is_closure = dot.token == Token::Period
        && open.token == Token::LeftParen
        && bar.token == Token::Pipe
        && closing_bar.token == Token::Pipe
        && close.token == Token::RightParen;
    let value_is = match value.token {
        Token::True => true,
        Token::False => false,
        _ => return None,
    };
    let (consequence, help) = match (method.name().filter(|_| is_closure)?, value_is) {
        ("when", true) => ("the rule always allows", "leave the condition out"),
        ("when", false) => ("the rule never allows", "delete the rule"),
        ("unless", true) => ("the rule never denies", "delete the rule"),
        ("unless", false) => ("the rule always denies", "leave the condition out"),
        _ => return None,
    };
    let message = format!("the condition is always `{value_is}`, so that {consequence}");
    Some(
        at_word(WarningCode::ConstantCondition, source, value, if value_is { 4 } else { 5 }, message)
            .with_help(help),
    )
}

/// `request.header("authorization")`.
fn hidden_header(source: &SourceText, words: &[Word]) -> Option<Warning> {
    let [dot, reader, open, name, ..] = words else { return None };
    let is_read =
        dot.token == Token::Period && reader.name() == Some("header") && open.token == Token::LeftParen;
    let field = name.text().filter(|field| is_read && is_credential(field))?;
    let message = format!("a condition never sees the field `{field}`: it is always `()`");
    let warning = at_word(WarningCode::HiddenHeader, source, name, length(field) + 2, message);
    Some(warning.with_help("ask for the role, or for `request.token`"))
}

/// `request.query("n") == 5`, and the same the other way round.
fn unequal_kinds(source: &SourceText, before: &[Word], words: &[Word]) -> Option<Warning> {
    let [dot, reader, open, _, close, after @ ..] = words else { return None };
    let is_read = dot.token == Token::Period
        && reader.name().is_some_and(|name| TEXT_READERS.contains(&name))
        && open.token == Token::LeftParen
        && close.token == Token::RightParen;
    let (_object, before) = before.split_last().filter(|_| is_read)?;
    let other = match after {
        [sign, other, after @ ..] if is_equality(sign) && starts_anew(before) && is_end(after) => other,
        _ => compared_before(before).filter(|_| is_end(after))?,
    };
    let message = format!("a text never equals {}", kind(other)?);
    let warning = at_word(WarningCode::UnequalKinds, source, other, 1, message);
    Some(warning.with_help("compare it with a text in quotes, or read it with `parse_int(…)` first"))
}

/// `request.method == "get"`, the same the other way round, and `request.method in ["get"]`.
fn unknown_methods(
    source: &SourceText,
    parameters: &HashSet<&str>,
    before: &[Word],
    words: &[Word],
) -> Vec<Warning> {
    let ([dot, member, after @ ..], Some((object, before))) = (words, before.split_last()) else {
        return Vec::new();
    };
    let is_request = object.name().is_some_and(|name| parameters.contains(name));
    if !is_request || dot.token != Token::Period || member.name() != Some("method") {
        return Vec::new();
    }
    let compared: Vec<&Word> = match after {
        [sign, other, after @ ..] if is_equality(sign) && starts_anew(before) && is_end(after) => vec![other],
        [sign, list @ ..] if matches!(sign.token, Token::In | Token::NotIn) && starts_anew(before) => {
            texts_of_list(list)
        }
        _ if is_end(after) => compared_before(before).into_iter().collect(),
        _ => Vec::new(),
    };
    let named = compared.into_iter().filter_map(|word| Some((word, word.text()?)));
    let unknown = named.filter(|(_, method)| MethodSet::of(method).is_empty());
    unknown.map(|(word, method)| unknown_method(source, word, method)).collect()
}

/// What is compared with that which follows these words: `5 ==`.
fn compared_before(before: &[Word]) -> Option<&Word> {
    let [earlier @ .., other, sign] = before else { return None };
    (is_equality(sign) && starts_anew(earlier)).then_some(other)
}

/// The texts of a list that has nothing else.
fn texts_of_list(words: &[Word]) -> Vec<&Word> {
    let Some((open, items)) = words.split_first() else { return Vec::new() };
    let length = items.iter().take_while(|word| word.token == Token::Comma || word.text().is_some()).count();
    let (items, end) = items.split_at(length);
    let is_whole = open.token == Token::LeftBracket
        && end
            .split_first()
            .is_some_and(|(close, after)| close.token == Token::RightBracket && is_end(after));
    if is_whole { items.iter().collect() } else { Vec::new() }
}

/// Whether an operand that follows these words is not itself a part of another one, as in `"a" + 5 == x`.
fn starts_anew(before: &[Word]) -> bool {
    before.last().is_none_or(|word| {
        matches!(
            word.token,
            Token::LeftParen
                | Token::LeftBrace
                | Token::LeftBracket
                | Token::Comma
                | Token::SemiColon
                | Token::Colon
                | Token::And
                | Token::Or
                | Token::Pipe
                | Token::Equals
                | Token::DoubleArrow
                | Token::If
                | Token::Return
                | Token::UnaryMinus
        )
    })
}

/// Whether an operand that these words follow is at its end, unlike in `"get".to_upper()`.
fn is_end(after: &[Word]) -> bool {
    after.first().is_none_or(|word| {
        word.is_closing()
            || matches!(
                word.token,
                Token::SemiColon
                    | Token::Comma
                    | Token::And
                    | Token::Or
                    | Token::LeftBrace
                    | Token::DoubleArrow
            )
    })
}

fn unknown_method(source: &SourceText, word: &Word, method: &str) -> Warning {
    let message = format!("no request that a rule is about has the method `{method}`");
    let warning = at_word(WarningCode::UnknownMethod, source, word, length(method) + 2, message);
    let upper = method.to_ascii_uppercase();
    if MethodSet::of(&upper).is_empty() {
        let known: Vec<_> = MethodSet::ANY.names().collect();
        warning.with_help(format!("the methods are {}", known.join(", ")))
    } else {
        warning.with_help(format!("methods have capital letters: `{upper}`"))
    }
}

/// The first parameters of all closures and functions.
fn parameters(words: &[Word]) -> HashSet<&str> {
    let mut names: HashSet<&str> = HashSet::new();
    for window in words.windows(4) {
        let [first, second, third, fourth] = window else { continue };
        if first.token == Token::Pipe && third.token == Token::Pipe {
            names.extend(second.name());
        } else if first.token == Token::Fn && third.token == Token::LeftParen {
            names.extend(fourth.name());
        }
    }
    names
}

fn is_equality(word: &Word) -> bool {
    matches!(word.token, Token::EqualsTo | Token::NotEqualsTo)
}

/// What a literal is that is no text; `None` for texts, and for what is no literal.
fn kind(word: &Word) -> Option<&'static str> {
    match word.token {
        Token::IntegerConstant(_) | Token::FloatConstant(_) => Some("a number"),
        Token::True | Token::False => Some("a truth value"),
        _ => None,
    }
}

fn at_word(code: WarningCode, source: &SourceText, word: &Word, length: u32, message: String) -> Warning {
    let mut warning = Warning::new(code, &word.location(&source.name), message);
    warning.problem.length = length;
    warning
}

fn length(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(1)
}
