//! The first look at a YAML file: text and events, before anything is built of them. What is costly or
//! ambiguous is refused here, and every key and value keeps its place.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use std::collections::HashMap;

/// The most problems that are collected; a file with more of them is something else altogether.
pub(crate) const PROBLEMS_MAX: usize = 50;
/// The longest piece of input that a message repeats, in characters.
const SHOWN_MAX_CHARS: usize = 60;

/// How much a file may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    /// The deepest nesting of lists and maps.
    pub(crate) depth: usize,
    /// The most keys and values.
    pub(crate) nodes: usize,
    /// The longest key, in bytes.
    pub(crate) key_bytes: usize,
}

/// A place in a file: line and column from 1, columns in characters; both 0 for the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and where it stands. No `Debug`: a file may hold a secret.
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

/// What a value is made of. Whether a scalar is text, a number or nothing is not for the events to say.
pub(crate) enum Content {
    Scalar {
        text: String,
        /// Written without quotes and not as a block.
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands.
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub(crate) place: Place,
    pub(crate) problem: YamlProblem,
}

/// What is wrong. Keys come escaped and cut to a printable length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum YamlProblem {
    #[error("the file is larger than {0} bytes")]
    TooLarge(usize),
    #[error("this is not UTF-8 text")]
    NotUtf8,
    #[error("the file has a byte order mark; save it as UTF-8 without one")]
    ByteOrderMark,
    #[error("the character U+{:04X} has no place here; in text write it as an escape", *.0 as u32)]
    Character(char),
    #[error("not valid YAML: {0}")]
    Syntax(String),
    #[error("the file is empty")]
    Empty,
    #[error("a second document starts here; the file must be one document")]
    SeveralDocuments,
    #[error("anchors are not accepted; write the value where it is needed")]
    Anchor,
    #[error("aliases are not accepted; write the value where it is needed")]
    Alias,
    #[error("tags are not accepted; put text in quotes instead")]
    Tag,
    #[error("nested more than {0} levels deep")]
    TooDeep(usize),
    #[error("more than {0} keys and values")]
    TooManyNodes(usize),
    #[error("a key must be text")]
    KeyNotText,
    #[error("the key `{key}` has more than {limit} bytes")]
    KeyTooLong { key: String, limit: usize },
    #[error("the key `{key}` is given twice; the first is at line {}", .first.line)]
    DuplicateKey { key: String, first: Place },
}

/// Reads the bytes of a file as text without invisible characters.
pub(crate) fn text(bytes: &[u8], limits: Limits) -> Result<&str, YamlError> {
    if bytes.len() > limits.bytes {
        return Err(error(Place::default(), YamlProblem::TooLarge(limits.bytes)));
    }
    let text = std::str::from_utf8(bytes).map_err(|wrong| {
        let good = bytes.get(..wrong.valid_up_to()).unwrap_or_default();
        error(place_after(&String::from_utf8_lossy(good)), YamlProblem::NotUtf8)
    })?;
    if text.starts_with('\u{feff}') {
        return Err(error(Place::default(), YamlProblem::ByteOrderMark));
    }
    let mut rest = text.char_indices().peekable();
    while let Some((at, letter)) = rest.next() {
        let line_end = letter == '\r' && rest.peek().is_some_and(|(_, next)| *next == '\n');
        if is_unwelcome(letter) && !line_end {
            let before = text.get(..at).unwrap_or_default();
            return Err(error(place_after(before), YamlProblem::Character(letter)));
        }
    }
    Ok(text)
}

/// Within brackets the parser holds every word until the closing one, and one that looks like an anchor, an alias
/// or a tag takes many times its length. There are not more of them than there may be values.
fn refuse_many_marks(text: &str, limits: Limits) -> Result<(), YamlError> {
    let starts_word = |before: u8| b" \t\n[{,".contains(&before);
    let pairs = text.as_bytes().windows(2).enumerate();
    let mut marks =
        pairs.filter(|(_, pair)| matches!(pair, [before, b'!' | b'&' | b'*'] if starts_word(*before)));
    match marks.nth(limits.nodes) {
        None => Ok(()),
        Some((at, _)) => {
            let place = place_after(text.get(..=at).unwrap_or_default());
            Err(error(place, YamlProblem::TooManyNodes(limits.nodes)))
        }
    }
}

/// Reads the events of the one document. Problems are collected, up to the first that ends the reading.
pub(crate) fn read(text: &str, limits: Limits) -> Result<Node, Vec<YamlError>> {
    refuse_many_marks(text, limits).map_err(|wrong| vec![wrong])?;
    let mut scan = Scan { limits, nodes: 0, open: Vec::new(), root: None, documents: 0, errors: Vec::new() };
    let end = Place::end_of(text);
    let within = |marker: &Marker| place(marker).before(end);
    for event in Parser::new_from_str(text) {
        let read = match event {
            Ok((event, span)) => scan.event(event, within(&span.start)),
            Err(wrong) => Err(error(within(wrong.marker()), YamlProblem::Syntax(shown(wrong.info())))),
        };
        if let Err(last) = read {
            scan.errors.push(last);
            break;
        }
        if scan.errors.len() > PROBLEMS_MAX {
            break;
        }
    }
    match scan.root {
        _ if !scan.errors.is_empty() => Err(scan.errors),
        Some(root) => Ok(root),
        None => Err(vec![error(Place::default(), YamlProblem::Empty)]),
    }
}

/// Input as a message may repeat it: one line, without control characters, not too long.
pub(crate) fn shown(input: &str) -> String {
    let mut text = String::new();
    for letter in input.chars().take(SHOWN_MAX_CHARS) {
        match letter {
            '\'' | '"' | '\\' => text.push(letter),
            _ => text.extend(letter.escape_debug()),
        }
    }
    if input.chars().nth(SHOWN_MAX_CHARS).is_some() {
        text.push('…');
    }
    text
}

impl Place {
    /// The end of a file.
    pub(crate) fn end_of(text: &str) -> Self {
        place_after(text)
    }

    /// This place, or the end of the file when the place is in a line behind it: parsers end a last line that
    /// has no end, and may then be at the start of one that nobody wrote.
    pub(crate) fn before(self, end: Self) -> Self {
        if self.line > end.line { end } else { self }
    }
}

impl Content {
    /// What this is, for a message.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Scalar { .. } if self.is_nothing() => "nothing",
            Self::Scalar { .. } => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// Whether this is the absence of a value, however it is spelled.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Scalar { text, is_plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

struct Scan {
    limits: Limits,
    nodes: usize,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    errors: Vec<YamlError>,
}

/// A list or map whose end has not come yet.
enum Open {
    List { place: Place, items: Vec<Node> },
    Map { place: Place, entries: Vec<(Key, Node)>, seen: HashMap<String, Place>, key: Option<Key> },
}

impl Scan {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(error(place, YamlProblem::SeveralDocuments));
                }
            }
            Event::Alias(_) => {
                self.errors.push(error(place, YamlProblem::Alias));
                self.scalar(String::new(), false, place)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), place);
                self.scalar(text.into_owned(), style == ScalarStyle::Plain, place)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), place);
                self.open(place, Open::List { place, items: Vec::new() })?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), place);
                let seen = HashMap::new();
                self.open(place, Open::Map { place, entries: Vec::new(), seen, key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, items }) => {
                    self.close(Node { place, content: Content::List(items) });
                }
                Some(Open::Map { place, entries, .. }) => {
                    self.close(Node { place, content: Content::Map(entries) });
                }
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn refuse_extras(&mut self, anchor: usize, tagged: bool, place: Place) {
        if anchor > 0 {
            self.errors.push(error(place, YamlProblem::Anchor));
        }
        if tagged {
            self.errors.push(error(place, YamlProblem::Tag));
        }
    }

    fn open(&mut self, place: Place, open: Open) -> Result<(), YamlError> {
        self.count(place)?;
        if self.open.len() >= self.limits.depth {
            return Err(error(place, YamlProblem::TooDeep(self.limits.depth)));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: String, is_plain: bool, place: Place) -> Result<(), YamlError> {
        self.count(place)?;
        self.close(Node { place, content: Content::Scalar { text, is_plain } });
        Ok(())
    }

    fn count(&mut self, place: Place) -> Result<(), YamlError> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(error(place, YamlProblem::TooManyNodes(self.limits.nodes)));
        }
        Ok(())
    }

    /// Puts a value that is complete where it belongs: as an item, a key, the value of a key, or the root.
    fn close(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, seen, .. }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let (text, problem) = read_key(node.content, seen, self.limits.key_bytes);
                    self.errors.extend(problem.map(|problem| error(node.place, problem)));
                    seen.entry(text.clone()).or_insert(node.place);
                    *key = Some(Key { text, place: node.place });
                }
            },
        }
    }
}

fn read_key(content: Content, seen: &HashMap<String, Place>, limit: usize) -> (String, Option<YamlProblem>) {
    let Content::Scalar { text, .. } = content else {
        return (String::new(), Some(YamlProblem::KeyNotText));
    };
    let problem = if text.len() > limit {
        Some(YamlProblem::KeyTooLong { key: shown(&text), limit })
    } else {
        seen.get(&text).map(|first| YamlProblem::DuplicateKey { key: shown(&text), first: *first })
    };
    (text, problem)
}

/// Control characters, and those that break lines for some readers of YAML only or turn text around.
fn is_unwelcome(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200e}' | '\u{200f}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => letter.is_control(),
    }
}

fn place(marker: &Marker) -> Place {
    Place { line: number(marker.line()), column: number(marker.col().saturating_add(1)) }
}

fn place_after(before: &str) -> Place {
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line: number(before.split('\n').count()), column: number(column) }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn error(place: Place, problem: YamlProblem) -> YamlError {
    YamlError { place, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 200, depth: 3, nodes: 9, key_bytes: 8 };

    fn problems(yaml: &str) -> Vec<(u32, u32, YamlProblem)> {
        let errors = read(text(yaml.as_bytes(), LIMITS).unwrap(), LIMITS).err().unwrap();
        errors.into_iter().map(|error| (error.place.line, error.place.column, error.problem)).collect()
    }

    fn is_read(yaml: &str) -> bool {
        read(text(yaml.as_bytes(), LIMITS).unwrap(), LIMITS).is_ok()
    }

    #[test]
    fn keys_and_values_keep_their_places() {
        let root = read("a: [x, ~]\nb:\n  c: y\n", LIMITS).ok().unwrap();
        let Content::Map(entries) = root.content else { panic!("a map") };
        let places = entries.iter().map(|(key, node)| (key.place.line, key.place.column, node.place.column));
        assert_eq!(places.collect::<Vec<_>>(), [(1, 1, 4), (2, 1, 3)]);
        let Content::List(items) = &entries[0].1.content else { panic!("a list") };
        assert_eq!(items.iter().map(|item| item.content.what()).collect::<Vec<_>>(), ["text", "nothing"]);
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_costs_too_much_is_refused() {
        for (yaml, line, column, expected) in [
            ("", 0, 0, YamlProblem::Empty),
            ("# nothing\n", 0, 0, YamlProblem::Empty),
            ("a: 1\nb: &x 2\n", 2, 4, YamlProblem::Anchor),
            ("a: !!str 1\n", 1, 4, YamlProblem::Tag),
            ("a: 1\n---\nb: 2\n", 2, 1, YamlProblem::SeveralDocuments),
            ("? [a]\n: 1\n", 1, 3, YamlProblem::KeyNotText),
        ] {
            assert_eq!(problems(yaml), [(line, column, expected)], "{yaml}");
        }
        assert!(problems("a: &x 1\nb: *x\n").contains(&(2, 4, YamlProblem::Alias)));
        for (yaml, line, column) in [("a: [", 1, 5), ("a:\n bcd:\n c", 3, 3), ("a:\n bcd:\n c\n", 4, 1)] {
            let problems = problems(yaml);
            let [(at, before, YamlProblem::Syntax(_))] = problems[..] else { panic!("{yaml}: {problems:?}") };
            assert_eq!((at, before), (line, column), "{yaml}");
        }
        let root = read("\n---\n ", LIMITS).ok().unwrap();
        assert_eq!((root.place.line, root.place.column), (3, 2));
        let first = Place { line: 1, column: 1 };
        let duplicate = YamlProblem::DuplicateKey { key: "a".into(), first };
        assert_eq!(problems("a: 1\n'a': 2\n"), [(2, 1, duplicate)]);
        assert!(is_read("a: 1\nA: 2\n"));
    }

    #[test]
    fn limits_hold_at_the_limit_and_past_it() {
        assert!(is_read("[[[]]]"));
        assert_eq!(problems("[[[[]]]]"), [(1, 4, YamlProblem::TooDeep(3))]);
        assert!(is_read("[1,2,3,4,5,6,7,8]"));
        assert_eq!(problems("[1,2,3,4,5,6,7,8,9]"), [(1, 18, YamlProblem::TooManyNodes(9))]);
        assert!(is_read("abcdefgh: 1"));
        let too_long = YamlProblem::KeyTooLong { key: "abcdefghi".into(), limit: 8 };
        assert_eq!(problems("abcdefghi: 1"), [(1, 1, too_long)]);
        assert!(text(&[b'#'; 200], LIMITS).is_ok());
        assert_eq!(text(&[b'#'; 201], LIMITS).unwrap_err().problem, YamlProblem::TooLarge(200));
    }

    #[test]
    fn text_is_utf8_without_invisible_characters() {
        let problem = |bytes: &[u8]| {
            let read = text(bytes, LIMITS).map(|_| ());
            read.map_err(|error| (error.place.line, error.problem))
        };
        assert!(problem(b"a: \"\\u202e\"\r\n\tb").is_ok());
        assert_eq!(problem(b"a\nb\xff"), Err((2, YamlProblem::NotUtf8)));
        assert_eq!(problem(b"\xef\xbb\xbfa: 1"), Err((0, YamlProblem::ByteOrderMark)));
        assert_eq!(problem(b"a: \x1b"), Err((1, YamlProblem::Character('\u{1b}'))));
        assert_eq!(problem(b"a: \rb"), Err((1, YamlProblem::Character('\r'))));
        assert_eq!(problem("a: \u{202e}".as_bytes()), Err((1, YamlProblem::Character('\u{202e}'))));
    }

    #[test]
    fn input_is_repeated_on_one_line_and_cut() {
        assert_eq!(shown("a\nb"), "a\\nb");
        assert_eq!(shown(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
    }
}
