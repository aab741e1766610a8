//! The first look at a configuration file: text and YAML events, before anything is built of them.
//! What is costly or ambiguous is refused here, and every key and value gets its place.

use super::error::{ConfigError, PROBLEMS_MAX, Problem, shown};
use super::place::Place;
use saphyr_parser::{Event, Marker, Parser, ScanError};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The largest configuration file, in bytes.
pub const FILE_MAX_BYTES: usize = 1024 * 1024;
/// The deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 32;
/// The most keys and values of one file.
pub const NODES_MAX: usize = 50_000;
/// The longest key, in bytes.
pub const KEY_MAX_BYTES: usize = 256;

/// A value as the events tell it: where it stands and what it is made of.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) place: Place,
    pub(super) kind: ShapeKind,
}

/// What a value is made of. Whether a scalar is text or a number is not for the events to say.
#[derive(Debug)]
pub(super) enum ShapeKind {
    Scalar(String),
    List(Vec<Shape>),
    Map(Vec<(Key, Shape)>),
}

/// A key and its place.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Reads the bytes of a file as text without invisible characters.
pub(super) fn text<'a>(file: &Arc<Path>, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    if bytes.len() > FILE_MAX_BYTES {
        return Err(error(Place::whole(file), Problem::TooLarge(FILE_MAX_BYTES)));
    }
    let text = std::str::from_utf8(bytes).map_err(|wrong| {
        let good = bytes.get(..wrong.valid_up_to()).unwrap_or_default();
        error(place_after(file, &String::from_utf8_lossy(good)), Problem::NotUtf8)
    })?;
    if text.starts_with('\u{feff}') {
        return Err(error(Place::whole(file), Problem::ByteOrderMark));
    }
    let mut rest = text.char_indices().peekable();
    while let Some((at, letter)) = rest.next() {
        let line_end = letter == '\r' && rest.peek().is_some_and(|(_, next)| *next == '\n');
        if is_unwelcome(letter) && !line_end {
            let before = text.get(..at).unwrap_or_default();
            return Err(error(place_after(file, before), Problem::Character(letter)));
        }
    }
    Ok(text)
}

/// Reads the events of one document. All problems are reported, up to the first that ends the reading.
pub(super) fn shape(file: &Arc<Path>, text: &str) -> Result<Shape, Vec<ConfigError>> {
    let mut scan = Scan { file, nodes: 0, open: Vec::new(), root: None, documents: 0, errors: Vec::new() };
    for event in Parser::new_from_str(text) {
        let read = match event {
            Ok((event, span)) => scan.event(event, scan.place(&span.start)),
            Err(wrong) => Err(scan.syntax(&wrong)),
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
        None => Err(vec![error(Place::whole(file), Problem::Empty)]),
    }
}

struct Scan<'a> {
    file: &'a Arc<Path>,
    nodes: usize,
    open: Vec<Open>,
    root: Option<Shape>,
    documents: usize,
    errors: Vec<ConfigError>,
}

/// A list or map whose end has not come yet.
enum Open {
    List { place: Place, items: Vec<Shape> },
    Map { place: Place, entries: Vec<(Key, Shape)>, seen: HashMap<String, Place>, key: Option<Key> },
}

impl Scan<'_> {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), ConfigError> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(error(place, Problem::SeveralDocuments));
                }
            }
            Event::Alias(_) => {
                self.errors.push(error(place.clone(), Problem::Alias));
                self.scalar(String::new(), place)?;
            }
            Event::Scalar(text, _, anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), &place);
                self.scalar(text.into_owned(), place)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), &place);
                self.open(place.clone(), Open::List { place, items: Vec::new() })?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), &place);
                let seen = HashMap::new();
                self.open(place.clone(), Open::Map { place, entries: Vec::new(), seen, key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, items }) => {
                    self.close(Shape { place, kind: ShapeKind::List(items) });
                }
                Some(Open::Map { place, entries, .. }) => {
                    self.close(Shape { place, kind: ShapeKind::Map(entries) });
                }
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn refuse_extras(&mut self, anchor: usize, tagged: bool, place: &Place) {
        if anchor > 0 {
            self.errors.push(error(place.clone(), Problem::Anchor));
        }
        if tagged {
            self.errors.push(error(place.clone(), Problem::Tag));
        }
    }

    fn open(&mut self, place: Place, open: Open) -> Result<(), ConfigError> {
        self.count(&place)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(error(place, Problem::TooDeep(DEPTH_MAX)));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: String, place: Place) -> Result<(), ConfigError> {
        self.count(&place)?;
        self.close(Shape { place, kind: ShapeKind::Scalar(text) });
        Ok(())
    }

    fn count(&mut self, place: &Place) -> Result<(), ConfigError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(error(place.clone(), Problem::TooManyNodes(NODES_MAX)));
        }
        Ok(())
    }

    /// Puts a value that is complete where it belongs: as an item, a key, the value of a key, or the root.
    fn close(&mut self, shape: Shape) {
        match self.open.last_mut() {
            None => self.root = Some(shape),
            Some(Open::List { items, .. }) => items.push(shape),
            Some(Open::Map { entries, key, seen, .. }) => match key.take() {
                Some(key) => entries.push((key, shape)),
                None => {
                    let (text, problem) = read_key(shape.kind, seen);
                    let place = shape.place;
                    self.errors.extend(problem.map(|problem| error(place.clone(), problem)));
                    seen.entry(text.clone()).or_insert_with(|| place.clone());
                    *key = Some(Key { text, place });
                }
            },
        }
    }

    fn place(&self, marker: &Marker) -> Place {
        Place {
            file: Arc::clone(self.file),
            line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
            column: u32::try_from(marker.col().saturating_add(1)).unwrap_or(u32::MAX),
        }
    }

    fn syntax(&self, wrong: &ScanError) -> ConfigError {
        error(self.place(wrong.marker()), Problem::Syntax(shown(wrong.info())))
    }
}

fn read_key(kind: ShapeKind, seen: &HashMap<String, Place>) -> (String, Option<Problem>) {
    let ShapeKind::Scalar(text) = kind else { return (String::new(), Some(Problem::KeyNotText)) };
    let problem = if text.len() > KEY_MAX_BYTES {
        let reason = format!("a key has at most {KEY_MAX_BYTES} bytes");
        Some(Problem::BadValue { key: shown(&text), reason })
    } else {
        seen.get(&text).map(|first| Problem::DuplicateKey { key: shown(&text), first: first.clone() })
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

fn place_after(file: &Arc<Path>, before: &str) -> Place {
    let line = before.split('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Place { file: Arc::clone(file), line: number(line), column: number(column) }
}

fn error(place: Place, problem: Problem) -> ConfigError {
    ConfigError { at: Some(place.into()), problem }
}
