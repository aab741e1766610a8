//! Routes as rules write them: `GET,POST /api/users/{id}`, `ANY /api/**`.

use crate::path::{CanonicalPath, PathError, decode_strictly, push_triplets};
use crate::request::MethodSet;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The longest text of a route, methods and pattern together, in bytes.
pub const ROUTE_MAX_BYTES: usize = 2048;
/// The most segments of a pattern.
pub const SEGMENTS_MAX: usize = 64;

/// Methods and a path pattern.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The methods that the route is about; `GET` has brought `HEAD` with it.
    pub methods: MethodSet,
    /// The paths that the route is about.
    pub pattern: Pattern,
    text: Arc<str>,
}

/// A set of paths.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    pub(super) segments: Box<[Segment]>,
    /// Whether it ends in `**`: the slash after the segments, and everything below it.
    pub(super) below: bool,
}

/// What one segment of a path must be.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// This text, in canonical spelling. Empty only as the last one, for a trailing slash.
    Literal(Arc<str>),
    /// Any text but none; with a name when it was written `{name}`.
    Any(Option<Arc<str>>),
}

/// Why a text is not a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Longer than [`ROUTE_MAX_BYTES`].
    #[error("a route has at most {ROUTE_MAX_BYTES} bytes")]
    TooLong,
    /// No methods, or no pattern.
    #[error("a route is written `METHODS /pattern`, such as `GET,POST /api/users/{{id}}` or `ANY /api/**`")]
    Form,
    /// A method that rules cannot name.
    #[error(
        "`{0}` is no method: use `ANY`, or a list such as `GET,POST` of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    )]
    Method(String),
    /// The pattern does not start with a slash.
    #[error("the pattern `{0}` does not start with `/`")]
    NotAbsolute(String),
    /// More than [`SEGMENTS_MAX`] segments.
    #[error("a pattern has at most {SEGMENTS_MAX} segments")]
    TooManySegments,
    /// `**` before the end.
    #[error("`**` stands only at the end of a pattern; use `*` for one segment")]
    TailInside,
    /// A wildcard that is only part of a segment.
    #[error("in the segment `{0}`, a wildcard is only a part: `*` and `{{name}}` stand for a whole segment")]
    PartialWildcard(String),
    /// A name that is no identifier.
    #[error("`{{{0}}}` is no name for a segment: use letters, digits and `_`, starting with a letter")]
    Name(String),
    /// The same name twice.
    #[error("the pattern names two segments `{0}`")]
    RepeatedName(String),
    /// A query or a fragment, which never take part in matching.
    #[error("a pattern has no `{0}`: query and fragment never take part in matching")]
    Query(char),
    /// A literal that no accepted request can have.
    #[error("the segment `{segment}` can match no request: {reason}")]
    Unmatchable {
        /// The segment as written.
        segment: String,
        /// Why requests with such a segment are refused.
        reason: PathError,
    },
}

impl Route {
    /// Reads a route.
    ///
    /// # Errors
    /// When the text is not a route, or could match no request; see [`RouteError`].
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        if text.len() > ROUTE_MAX_BYTES {
            return Err(RouteError::TooLong);
        }
        let mut words = text.split_ascii_whitespace();
        let (Some(methods), Some(pattern), None) = (words.next(), words.next(), words.next()) else {
            return Err(RouteError::Form);
        };
        if methods.starts_with('/') {
            return Err(RouteError::Form);
        }
        let methods = read_methods(methods)?;
        Ok(Self { methods, pattern: Pattern::parse(pattern)?, text: Arc::from(text) })
    }

    /// The route as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Takes the texts of its segments from `known`, where they are, so that routes share what they have in common.
    pub(super) fn share(&mut self, known: &mut HashSet<Arc<str>>) {
        for segment in &mut self.pattern.segments {
            let (Segment::Literal(text) | Segment::Any(Some(text))) = segment else { continue };
            if let Some(shared) = known.get(&**text) {
                *text = Arc::clone(shared);
            } else {
                known.insert(Arc::clone(text));
            }
        }
    }

    /// Whether it is about a request with one of these methods and this path.
    pub fn covers(&self, method: MethodSet, path: &CanonicalPath) -> bool {
        self.methods.intersects(method) && self.pattern.matches(path)
    }
}

impl Pattern {
    /// Reads a path pattern.
    ///
    /// # Errors
    /// When the text is not a pattern, or could match no request; see [`RouteError`].
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        if let Some(mark) = text.chars().find(|letter| matches!(letter, '?' | '#')) {
            return Err(RouteError::Query(mark));
        }
        let Some(below_root) = text.strip_prefix('/') else {
            return Err(RouteError::NotAbsolute(text.to_owned()));
        };
        let (fixed, below) = match below_root.strip_suffix("**") {
            Some("") => (None, true),
            Some(prefix) if prefix.ends_with('/') => (prefix.strip_suffix('/'), true),
            Some(_) => return Err(RouteError::PartialWildcard(last_segment(below_root))),
            None => (Some(below_root), false),
        };
        let mut segments = Vec::new();
        let mut written = fixed.into_iter().flat_map(|fixed| fixed.split('/')).peekable();
        while let Some(segment) = written.next() {
            let is_last = written.peek().is_none() && !below;
            segments.push(read_segment(segment, is_last)?);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(RouteError::TooManySegments);
        }
        refuse_repeated_names(&segments)?;
        Ok(Self { segments: segments.into(), below })
    }

    /// Whether the path is in the set.
    pub fn matches(&self, path: &CanonicalPath) -> bool {
        let mut parts = path.segments();
        for segment in &self.segments {
            match parts.next() {
                Some(part) if segment.matches(part) => {}
                _ => return false,
            }
        }
        parts.next().is_some() == self.below
    }

    /// The paths that are in both sets, as a pattern without names; `None` when there are none.
    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        let (short, long) =
            if self.segments.len() <= other.segments.len() { (self, other) } else { (other, self) };
        let is_possible =
            if short.segments.len() == long.segments.len() { short.below == long.below } else { short.below };
        if !is_possible {
            return None;
        }
        let both = short.segments.iter().zip(&long.segments).map(|(one, other)| one.meet(other));
        let rest =
            long.segments.iter().skip(short.segments.len()).map(|segment| Some(segment.without_name()));
        let segments: Option<Box<[Segment]>> = both.chain(rest).collect();
        Some(Self { segments: segments?, below: long.below })
    }

    /// Whether every path of the other set is in this one.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let is_long_enough = if self.segments.len() == other.segments.len() {
            self.below == other.below
        } else {
            self.below && self.segments.len() < other.segments.len()
        };
        is_long_enough && self.segments.iter().zip(&other.segments).all(|(one, other)| one.contains(other))
    }

    /// What the path has in the place of `{name}`, decoded; `None` when the pattern has no such name.
    pub fn parameter(&self, name: &str, path: &CanonicalPath) -> Option<String> {
        self.parameter_of(name, path).map(Cow::into_owned)
    }

    /// The same without a copy, where nothing is encoded.
    pub(super) fn parameter_of<'p>(&self, name: &str, path: &'p CanonicalPath) -> Option<Cow<'p, str>> {
        let named = |segment: &Segment| matches!(segment, Segment::Any(Some(known)) if **known == *name);
        let at = self.segments.iter().position(named)?;
        let text = path.segments().nth(at)?;
        if text.contains('%') { decode_strictly(text).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) }
    }

    /// The names of its segments, in order.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Any(Some(name)) => Some(&**name),
            Segment::Any(None) | Segment::Literal(_) => None,
        })
    }
}

impl Segment {
    fn meet(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Literal(one), Self::Literal(other)) => {
                (one == other).then(|| Self::Literal(Arc::clone(one)))
            }
            (Self::Literal(text), Self::Any(_)) | (Self::Any(_), Self::Literal(text)) => {
                (!text.is_empty()).then(|| Self::Literal(Arc::clone(text)))
            }
            (Self::Any(_), Self::Any(_)) => Some(Self::Any(None)),
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any(_), Self::Literal(text)) => !text.is_empty(),
            (Self::Any(_), Self::Any(_)) => true,
            (Self::Literal(one), Self::Literal(other)) => one == other,
            (Self::Literal(_), Self::Any(_)) => false,
        }
    }

    fn without_name(&self) -> Self {
        match self {
            Self::Literal(text) => Self::Literal(Arc::clone(text)),
            Self::Any(_) => Self::Any(None),
        }
    }

    fn matches(&self, part: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *part,
            Self::Any(_) => !part.is_empty(),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                // A star in a literal is no wildcard: as it stands in paths, it would be read as one.
                Segment::Literal(text) => write!(f, "/{}", text.replace('*', "%2A"))?,
                Segment::Any(Some(name)) => write!(f, "/{{{name}}}")?,
                Segment::Any(None) => f.write_str("/*")?,
            }
        }
        if self.below { f.write_str("/**") } else { Ok(()) }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn read_methods(text: &str) -> Result<MethodSet, RouteError> {
    if text == "ANY" {
        return Ok(MethodSet::ANY);
    }
    let mut methods = MethodSet::NONE;
    for name in text.split(',') {
        let method = MethodSet::of(name);
        if method.is_empty() {
            return Err(RouteError::Method(name.to_owned()));
        }
        methods |= method;
    }
    // RFC 9110, 9.3.2: HEAD is GET without the body.
    if methods.intersects(MethodSet::of("GET")) {
        methods |= MethodSet::of("HEAD");
    }
    Ok(methods)
}

fn read_segment(text: &str, is_last: bool) -> Result<Segment, RouteError> {
    if text == "*" {
        return Ok(Segment::Any(None));
    }
    if text == "**" {
        return Err(RouteError::TailInside);
    }
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let mut letters = name.chars();
        let starts_well = letters.next().is_some_and(|first| first.is_ascii_alphabetic());
        if !starts_well || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            return Err(RouteError::Name(name.to_owned()));
        }
        return Ok(Segment::Any(Some(Arc::from(name))));
    }
    if text.contains(['*', '{', '}']) {
        return Err(RouteError::PartialWildcard(text.to_owned()));
    }
    if text.is_empty() && is_last {
        return Ok(Segment::Literal(Arc::from("")));
    }
    canonical_literal(text).map(Segment::Literal)
}

/// A literal in the spelling of canonical paths, so that rules may be written as people read them.
fn canonical_literal(text: &str) -> Result<Arc<str>, RouteError> {
    let unmatchable = |reason| RouteError::Unmatchable { segment: text.to_owned(), reason };
    if text.is_empty() {
        return Err(unmatchable(PathError::EmptySegment));
    }
    let mut encoded = String::from("/");
    for letter in text.chars() {
        if letter.is_ascii() {
            encoded.push(letter);
        } else {
            push_triplets(&mut encoded, letter);
        }
    }
    let path = CanonicalPath::parse(&encoded).map_err(unmatchable)?;
    Ok(Arc::from(path.as_str().trim_start_matches('/')))
}

fn refuse_repeated_names(segments: &[Segment]) -> Result<(), RouteError> {
    let mut names = HashSet::new();
    for segment in segments {
        if let Segment::Any(Some(name)) = segment
            && !names.insert(name)
        {
            return Err(RouteError::RepeatedName(name.to_string()));
        }
    }
    Ok(())
}

fn last_segment(text: &str) -> String {
    text.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&CanonicalPath::parse(path).unwrap())
    }

    #[test]
    fn patterns_match_their_paths_and_no_others() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/a/", "/a", false),
            ("/a", "/A", false),
            ("/{x}", "/a", true),
            ("/{x}", "/", false),
            ("/*/b", "/a/b", true),
            ("/*/b", "/a/c", false),
            ("/a/{x}", "/a/", false),
            ("/a/{x}", "/a/b/c", false),
            ("/a/**", "/a", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab/c", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/{x}/**", "/a", false),
            ("/{x}/**", "/a/", true),
            ("/café", "/caf%C3%A9", true),
            ("/caf%c3%a9", "/caf%C3%A9", true),
            ("/%61", "/a", true),
            ("/%2A", "/*", true),
            ("/%2A", "/b", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} on {path}");
        }
        assert!(!Pattern::parse("/**").unwrap().matches(&CanonicalPath::asterisk()));
    }

    #[test]
    fn texts_that_are_no_route_are_refused_with_the_reason() {
        let form = RouteError::Form;
        for (text, expected) in [
            ("", form.clone()),
            ("/api", form.clone()),
            ("GET", form.clone()),
            ("GET /a /b", form),
            ("get /a", RouteError::Method("get".into())),
            ("GET,,PUT /a", RouteError::Method(String::new())),
            ("TRACE /a", RouteError::Method("TRACE".into())),
            ("GET,ANY /a", RouteError::Method("ANY".into())),
            ("GET a", RouteError::NotAbsolute("a".into())),
            ("GET /a?b", RouteError::Query('?')),
            ("GET /a#b", RouteError::Query('#')),
            ("GET /**/a", RouteError::TailInside),
            ("GET /a**", RouteError::PartialWildcard("a**".into())),
            ("GET /a*b", RouteError::PartialWildcard("a*b".into())),
            ("GET /{x}.json", RouteError::PartialWildcard("{x}.json".into())),
            ("GET /{}", RouteError::Name(String::new())),
            ("GET /{1x}", RouteError::Name("1x".into())),
            ("GET /{x}/{x}", RouteError::RepeatedName("x".into())),
        ] {
            assert_eq!(Route::parse(text), Err(expected), "{text}");
        }
        for text in ["GET //a", "GET /a//b", "GET /../a", "GET /a;b", "GET /a%2fb", "GET /a//**"] {
            assert!(matches!(Route::parse(text), Err(RouteError::Unmatchable { .. })), "{text}");
        }
    }

    #[test]
    fn meet_and_contains_agree_with_what_is_matched() {
        let texts = [
            "/", "/a", "/a/", "/b", "/*", "/{x}/", "/*/*", "/a/*", "/*/b", "/a/b", "/a/b/", "/**", "/a/**",
            "/*/**", "/a/b/**", "/a/*/**", "/*/b/**", "/b/**",
        ];
        let paths =
            ["/", "/a", "/b", "/c", "/a/", "/c/", "/a/b", "/a/c", "/c/b", "/a/b/", "/a/b/c", "/c/b/d/"];
        let paths: Vec<_> = paths.iter().map(|path| CanonicalPath::parse(path).unwrap()).collect();
        let patterns: Vec<_> = texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        for one in &patterns {
            for other in &patterns {
                let both = one.meet(other);
                for path in &paths {
                    let expected = one.matches(path) && other.matches(path);
                    assert_eq!(
                        both.as_ref().is_some_and(|both| both.matches(path)),
                        expected,
                        "{one} {other}"
                    );
                }
                // A set is contained in another one when the two have all of it in common.
                assert_eq!(one.contains(other), both.as_ref() == other.meet(other).as_ref(), "{one} {other}");
            }
        }
    }

    #[test]
    fn get_covers_head_and_any_covers_all() {
        let methods = |text| Route::parse(text).unwrap().methods;
        assert!(methods("GET /a").contains(MethodSet::of("HEAD")));
        assert!(!methods("POST,PUT   /a").intersects(MethodSet::of("GET")));
        assert_eq!(methods("ANY /a"), MethodSet::ANY);
    }

    #[test]
    fn limits_of_length_and_segments_hold_at_the_limit_and_past_it() {
        let longest = format!("GET /{}", "a".repeat(ROUTE_MAX_BYTES - 5));
        assert!(Route::parse(&longest).is_ok());
        assert_eq!(Route::parse(&format!("{longest}a")), Err(RouteError::TooLong));
        let most = format!("GET {}", "/a".repeat(SEGMENTS_MAX));
        assert!(Route::parse(&most).is_ok());
        assert_eq!(Route::parse(&format!("{most}/a")), Err(RouteError::TooManySegments));
    }

    #[test]
    fn parameters_are_taken_from_their_place_and_decoded() {
        let pattern = Pattern::parse("/a/{one}/*/{two}/**").unwrap();
        let path = CanonicalPath::parse("/a/b%20c/x/d/e").unwrap();
        assert_eq!(pattern.parameter("one", &path).as_deref(), Some("b c"));
        assert_eq!(pattern.parameter("two", &path).as_deref(), Some("d"));
        assert_eq!(pattern.parameter("three", &path), None);
        assert_eq!(pattern.parameter_names().collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn display_is_the_pattern_in_canonical_spelling_and_reads_back() {
        for (text, shown) in [
            ("/", "/"),
            ("/**", "/**"),
            ("/a/{x}/*/", "/a/{x}/*/"),
            ("/caf%c3%a9/**", "/caf%C3%A9/**"),
            ("/%2a/a%2Ab/%2A%2A", "/%2A/a%2Ab/%2A%2A"),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(Pattern::parse(shown), Ok(pattern));
        }
    }
}
