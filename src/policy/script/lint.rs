//! What is refused in a script before it runs: what would be read otherwise than people see it, what could
//! exhaust the parser, and what policies have no use for.

use super::Limits;
use super::sandbox::Sandbox;
use super::source::{SourceText, Word};
use crate::policy::error::{Location, PROBLEMS_MAX, Problem, nearest};
use rhai::{AST, ASTFlags, ASTNode, Engine, Position, Stmt, Token};
use std::sync::Arc;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Open brackets within each other.
const NESTING_MAX: usize = 48;
/// Operators in a row, dots included, without a bracket, comma or semicolon between them.
const CHAIN_MAX: usize = 350;
/// The lines of a script, and the letters of a line, up to which rhai can tell places.
const PLACES_MAX: u32 = u16::MAX as u32 - 1;
/// Names that other Rhai programs have and policies have not, with what to write instead.
const ABSENT: [(&str, &str); 6] = [
    ("eval", "write the expression itself"),
    ("timestamp", "policies have no clock; a condition sees the time of the request as `request.time`"),
    ("sleep", "policies cannot wait"),
    ("this", "a condition is given the request as its parameter: `|request| …`"),
    ("import", "put what belongs together into one file"),
    ("export", "files of a policy set need no exports: what they declare counts for all"),
];
/// What conditions read of a request.
const REQUEST_MEMBERS: [&str; 9] =
    ["method", "path", "param", "query", "header", "has_role", "token", "time", "client_ip"];

/// What conditions read of a token, and the names of both.
const OTHER_MEMBERS: [&str; 5] = ["request", "id", "name", "roles", "created"];
/// The longest name that an embedding program can register, in bytes.
pub(in crate::policy) const NAME_MAX_BYTES: usize = 64;

/// A comment from its slashes to the end of its line.
pub(super) struct Comment {
    pub(super) line: u32,
    pub(super) column: u32,
    /// Whether nothing stands before it on its line.
    pub(super) is_alone: bool,
    pub(super) text: String,
}

/// A role that a condition names.
pub(crate) struct RoleMention {
    pub(crate) name: Arc<str>,
    pub(crate) location: Location,
}

/// What a condition asks for as `request.param("…")`.
pub(super) struct ParamMention {
    pub(super) name: Arc<str>,
    pub(super) location: Location,
}

/// Reads the words of a script and tells what is wrong with them. When anything is, the script is not run.
pub(super) fn examine(
    sandbox: &Sandbox,
    name: &Arc<str>,
    text: &str,
    limits: &super::ScriptLimits,
) -> (SourceText, Vec<Problem>) {
    if text.len() > Limits::SOURCE_MAX_BYTES {
        let place = Location::new(name, 0, 0);
        let message = format!("the script has more than {} bytes", Limits::SOURCE_MAX_BYTES);
        return (SourceText::new(name, ""), vec![Problem::new(place, message)]);
    }
    let mut problems = hidden_letters(name, text);
    if text.starts_with("#!") {
        let problem = Problem::new(Location::new(name, 1, 1), "a policy does not start with `#!`");
        problems
            .push(problem.with_help("delete the line: policies are read by rolegate, not run by a shell"));
    }
    let mut source = SourceText::new(name, text);
    if !problems.is_empty() {
        return (source, problems);
    }
    let unclosed = read_words(&sandbox.engine, text, limits.load.tokens, &mut source, &mut problems);
    if unclosed {
        let problem = Problem::new(start_of_comment(&source, text), "this comment does not end");
        problems.push(problem.with_help("close it with `*/`: everything after it would be left out"));
    }
    refuse_words(sandbox, &source, &mut problems);
    super::calls::refuse_names(&sandbox.host, &source, &mut problems);
    refuse_shapes(&source, &mut problems);
    refuse_large_bodies(&source, limits.condition.tokens, &mut problems);
    (source, problems)
}

/// Reads the words of a script again, to find what a message is about.
pub(super) fn words_again(name: &Arc<str>, text: &str, words_max: usize) -> SourceText {
    let mut source = SourceText::new(name, text);
    read_words(&Engine::new_raw(), text, words_max, &mut source, &mut Vec::new());
    source
}

/// The comments of a script that stand alone on one line, with its number. What a text or a comment of several lines
/// has in it is none.
pub(in crate::policy) fn line_comments(text: &str) -> Vec<(u32, String)> {
    let alone = comments(text).into_iter().filter(|comment| comment.is_alone);
    alone.map(|comment| (comment.line, comment.text)).collect()
}

/// The comments of a script that end with their line.
pub(super) fn comments(text: &str) -> Vec<Comment> {
    let mut comments = Vec::new();
    let mut line_of_last = 0;
    lex(&Engine::new_raw(), text, true, |token, position| {
        let (line, column) = super::source::line_and_column(position);
        match token {
            Token::Comment(text) if text.starts_with("//") => {
                comments.push(Comment { line, column, is_alone: line > line_of_last, text: *text });
            }
            _ => {}
        }
        line_of_last = line;
        true
    });
    comments
}

/// Whether a letter is invisible, or changes how the letters around it are shown.
pub(super) fn is_hidden(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control() && !matches!(letter, '\n' | '\r' | '\t');
    }
    matches!(
        letter.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

/// Whether an embedding program can register something by this name, if it means nothing else.
pub(in crate::policy) fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    starts && name.len() <= NAME_MAX_BYTES && name.chars().all(is_letter)
}

/// Whether a name is a word of the language, or of what policies declare and conditions see.
pub(in crate::policy) fn has_meaning(name: &str) -> bool {
    let sandbox = super::sandbox::bare();
    let inputs = [name];
    let mut words = sandbox.engine.lex(&inputs).0;
    let is_free_word = matches!(words.next(), Some((Token::Identifier(_), _)));
    let known = ABSENT.iter().map(|(absent, _)| *absent).chain(REQUEST_MEMBERS).chain(OTHER_MEMBERS);
    !is_free_word || sandbox.has_function(name) || known.into_iter().any(|known| known == name)
}

/// The start of a text as it can be printed: what is invisible is shown as `�`, a line's end as a space.
pub(in crate::policy) fn printable(text: &str, chars_max: usize) -> String {
    let visible = |letter: char| match letter {
        '\n' | '\r' | '\t' => ' ',
        letter if is_hidden(letter) => '\u{fffd}',
        letter => letter,
    };
    text.chars().take(chars_max).map(visible).collect()
}

/// The roles that the script's conditions name.
pub(super) fn role_mentions(source: &SourceText) -> Vec<RoleMention> {
    let calls = source.words.windows(3).filter_map(|words| match words {
        [called, open, role] if called.name() == Some("has_role") && open.token == Token::LeftParen => {
            Some((role.text()?, role))
        }
        _ => None,
    });
    calls
        .map(|(name, word)| RoleMention { name: Arc::from(name), location: word.location(&source.name) })
        .collect()
}

/// What the condition that starts at the first of these words asks of its request.
pub(super) fn condition_words(
    source: &SourceText,
    words: &[Word],
    problems: &mut Vec<Problem>,
) -> Vec<ParamMention> {
    let mut words = super::source::arguments(words);
    let (Some(bar), Some(parameter)) = (words.next(), words.next()) else { return Vec::new() };
    let Some(request) = parameter.name().filter(|_| bar.token == Token::Pipe) else { return Vec::new() };
    let body: Vec<&Word> = words.collect();
    let mut params = Vec::new();
    for window in body.windows(5) {
        let [object, dot, member, open, argument] = window else { continue };
        if object.name() != Some(request) || dot.token != Token::Period {
            continue;
        }
        let Some(name) = member.name() else { continue };
        if !REQUEST_MEMBERS.contains(&name) {
            let message = format!("a request has no `{name}`");
            let help = match nearest(name, REQUEST_MEMBERS) {
                Some(member) => format!("did you mean `{member}`?"),
                None => format!("a request has {}", REQUEST_MEMBERS.join(", ")),
            };
            let mut problem = Problem::new(member.location(&source.name), message).with_help(help);
            problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
            problems.push(problem);
        } else if name == "param"
            && open.token == Token::LeftParen
            && let Some(parameter) = argument.text()
        {
            params
                .push(ParamMention { name: Arc::from(parameter), location: argument.location(&source.name) });
        }
    }
    params
}

/// Refuses `return` outside of functions. The statements after it would seem to be left out, and are not,
/// because they are run one by one.
pub(super) fn refuse_returns(tree: &AST, source: &SourceText, problems: &mut Vec<Problem>) {
    tree.clone_statements_only().walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Return(_, kind, position))) = path.last()
            && !kind.intersects(ASTFlags::BREAK)
            && problems.len() < PROBLEMS_MAX
        {
            let mut problem = source.problem(*position, "a policy has no `return` outside of functions");
            problem.length = 6;
            problems.push(problem.with_help("put what follows it into an `if`, or delete it"));
        }
        true
    });
}

fn hidden_letters(name: &Arc<str>, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for (letter, column) in line.chars().zip(1..) {
            // A line ends in a line feed; editors differ in what they show for a carriage return alone.
            if is_hidden(letter) || letter == '\r' {
                let message =
                    format!("the script contains the invisible character U+{:04X}", u32::from(letter));
                let help = "delete it; in a text, write it as `\\u` with its number";
                problems.push(Problem::new(Location::new(name, number, column), message).with_help(help));
                if problems.len() >= PROBLEMS_MAX {
                    return problems;
                }
                break;
            }
        }
    }
    problems
}

/// Splits the script into words; whether it ends within a comment.
fn read_words(
    engine: &Engine,
    text: &str,
    words_max: usize,
    source: &mut SourceText,
    problems: &mut Vec<Problem>,
) -> bool {
    lex(engine, text, false, |token, position| {
        let (line, column) = super::source::line_and_column(position);
        if line > PLACES_MAX || column > PLACES_MAX {
            let message = format!("the script has more than {PLACES_MAX} lines, or such a long line");
            problems.push(source.problem(position, message).with_help("split it into several files"));
            return false;
        }
        // What follows `${…}` in a text has the place of the text's start; words are searched by their order.
        let last = source.words.last().map_or((0, 0), |last| (last.line, last.column));
        let (line, column) = (line, column).max(last);
        source.words.push(Word { token, line, column });
        if source.words.len() > words_max {
            let message = format!("the script has more than {words_max} words and signs");
            problems.push(source.problem(position, message).with_help("split it into several files"));
            return false;
        }
        true
    })
}

/// Takes words, signs and, where they are wanted, comments, until it is enough; whether the text ends within a comment.
fn lex(
    engine: &Engine,
    text: &str,
    with_comments: bool,
    mut take: impl FnMut(Token, Position) -> bool,
) -> bool {
    let inputs = [text];
    let (mut words, control) = engine.lex(&inputs);
    words.state.include_comments = with_comments;
    // Of each open brace, whether it belongs to a text: after it, the text goes on.
    let mut braces: Vec<bool> = Vec::new();
    let mut within_text = false;
    for (token, position) in words.by_ref() {
        match &token {
            // The parser tells what is wrong with the word.
            Token::EOF | Token::LexError(_) => break,
            Token::LeftBrace | Token::MapStart => braces.push(std::mem::take(&mut within_text)),
            Token::RightBrace if braces.pop() == Some(true) => control.borrow_mut().is_within_text = true,
            Token::InterpolatedString(_) => within_text = true,
            _ => {}
        }
        if !take(token, position) {
            return false;
        }
    }
    words.state.comment_level > 0
}

fn refuse_words(sandbox: &Sandbox, source: &SourceText, problems: &mut Vec<Problem>) {
    let mut previous: Option<&Word> = None;
    for word in &source.words {
        if problems.len() > PROBLEMS_MAX {
            return;
        }
        let follows_fn = previous.is_some_and(|previous| previous.token == Token::Fn);
        let follows_dot = previous.is_some_and(|previous| previous.token == Token::Period);
        let written = match &word.token {
            Token::Import => Some("import"),
            Token::Export => Some("export"),
            _ => word.name(),
        };
        let length = |text: &str| u32::try_from(text.chars().count()).unwrap_or(1);
        if let Token::FloatConstant(number) = &word.token
            && !number.1.contains(['.', 'e', 'E'])
        {
            let message = format!("the number `{}` is too large", number.1);
            let help = format!("integers go up to {}", i64::MAX);
            let mut problem = Problem::new(word.location(&source.name), message).with_help(help);
            problem.length = length(&number.1);
            problems.push(problem);
        }
        if let Some(name) = written {
            let absent = ABSENT.iter().find(|(absent, _)| *absent == name).filter(|_| !follows_dot);
            let refused = if let Some((_, instead)) = absent {
                Some((format!("policies have no `{name}`"), (*instead).to_owned()))
            } else if follows_fn && sandbox.has_function(name) {
                let of_host = sandbox.host.arguments_of(name).is_some();
                let owner = if of_host { "this program" } else { "the policy language" };
                let message = format!("`{name}` is a function of {owner}");
                Some((message, "give the function another name".to_owned()))
            } else {
                None
            };
            if let Some((message, help)) = refused {
                let mut problem = Problem::new(word.location(&source.name), message).with_help(help);
                problem.length = length(name);
                problems.push(problem);
            }
        }
        previous = Some(word);
    }
}

/// Refuses nesting and rows of operators that would exhaust the parser's stack, or that of whoever drops
/// the tree. Tells of the first of each kind.
fn refuse_shapes(source: &SourceText, problems: &mut Vec<Problem>) {
    let mut chains = vec![0_usize];
    for word in &source.words {
        if word.is_opening() {
            if chains.len() > NESTING_MAX {
                let message = format!("brackets are nested more than {NESTING_MAX} deep");
                problems.push(Problem::new(word.location(&source.name), message));
                return;
            }
            chains.push(0);
        } else if word.is_closing() {
            if chains.len() > 1 {
                chains.pop();
            }
        } else if let Some(chain) = chains.last_mut() {
            if matches!(word.token, Token::SemiColon | Token::Comma | Token::DoubleArrow) {
                *chain = 0;
            } else if !is_operand(&word.token) {
                *chain += 1;
            }
            if *chain > CHAIN_MAX {
                let message = format!("more than {CHAIN_MAX} operators stand in one row");
                let problem = Problem::new(word.location(&source.name), message);
                problems.push(problem.with_help("end the statement with `;` and start another"));
                return;
            }
        }
    }
}

/// Refuses closures and functions with more words than a condition may have.
fn refuse_large_bodies(source: &SourceText, words_max: usize, problems: &mut Vec<Problem>) {
    let starts = source.words.iter().enumerate().filter(|(_, word)| {
        matches!(word.token, Token::Fn) || matches!(word.name(), Some("when" | "unless"))
    });
    for (at, word) in starts {
        let mut depth = 0_usize;
        let mut was_open = false;
        let rest = source.words.get(at..).unwrap_or_default();
        let body = rest.iter().take_while(|word| {
            let ended = was_open && depth == 0 && !matches!(word.token, Token::LeftBrace);
            if word.is_opening() {
                depth += 1;
                was_open = true;
            } else if word.is_closing() {
                depth = depth.saturating_sub(1);
            }
            !ended
        });
        if body.take(words_max + 1).count() > words_max {
            let message = format!("a condition or function has at most {words_max} words and signs");
            problems.push(Problem::new(word.location(&source.name), message));
            return;
        }
    }
}

fn is_operand(token: &Token) -> bool {
    matches!(
        token,
        Token::IntegerConstant(_)
            | Token::FloatConstant(_)
            | Token::Identifier(_)
            | Token::CharConstant(_)
            | Token::StringConstant(_)
            | Token::InterpolatedString(_)
            | Token::True
            | Token::False
            | Token::Unit
    )
}

/// Where the comment starts that does not end: the first one after the last word.
fn start_of_comment(source: &SourceText, text: &str) -> Location {
    let (line, column) = source.words.last().map_or((1, 1), |word| (word.line, word.column));
    let mut place = Location::new(&source.name, line, column);
    for (content, number) in text.lines().zip(1_u32..).skip((line as usize).saturating_sub(1)) {
        let skipped = if number == line { (column as usize).saturating_sub(1) } else { 0 };
        let letters: Vec<char> = content.chars().collect();
        let pairs = letters.windows(2).enumerate().skip(skipped);
        for (at, pair) in pairs {
            match pair {
                ['/', '/'] => break,
                ['/', '*'] => {
                    place.line = number;
                    place.column = u32::try_from(at + 1).unwrap_or(0);
                    return place;
                }
                _ => {}
            }
        }
    }
    place
}
