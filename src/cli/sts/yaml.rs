//! Writes YAML in the layout of the original: keys as they stand, lists indented below their key. Reading
//! is not done here.

/// A value to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A word that is written as it is: a number, `true`, `null`.
    Bare(String),
    /// A text, quoted where YAML would read something else.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A mapping, in this order.
    Map(Vec<(Self, Self)>),
}

impl Node {
    /// The nodes of a JSON value: keys in alphabetical order, and numbers as the original prints them.
    pub(crate) fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Bare("null".to_owned()),
            Value::Bool(truth) => Self::Bare(truth.to_string()),
            Value::Number(number) => {
                Self::Bare(number.as_f64().map_or_else(|| number.to_string(), shortest_float))
            }
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Value::Object(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let entry =
                    |(key, value): (&String, &Value)| (Self::Text(key.clone()), Self::from_json(value));
                Self::Map(entries.into_iter().map(entry).collect())
            }
        }
    }

    /// The text of this value, `indent` spaces a level.
    pub(crate) fn to_yaml(&self, indent: usize) -> String {
        let mut out = String::new();
        match self.inline() {
            Some(text) => {
                out.push_str(&text);
                out.push('\n');
            }
            None => self.write_block(&mut out, 0, indent, false),
        }
        out
    }

    /// The text of a value that fits on the line of its key.
    fn inline(&self) -> Option<String> {
        match self {
            Self::Bare(word) => Some(word.clone()),
            Self::Text(text) => Some(scalar(text)),
            Self::List(items) => items.is_empty().then(|| "[]".to_owned()),
            Self::Map(entries) => entries.is_empty().then(|| "{}".to_owned()),
        }
    }

    /// Writes a value of several lines, each starting at column `at`; `started` says that the first line's
    /// start is written already.
    fn write_block(&self, out: &mut String, at: usize, indent: usize, mut started: bool) {
        let mut start = |out: &mut String| {
            if !std::mem::take(&mut started) {
                out.extend(std::iter::repeat_n(' ', at));
            }
        };
        match self {
            Self::Bare(_) | Self::Text(_) => {}
            Self::List(items) => {
                for item in items {
                    start(out);
                    out.push_str("- ");
                    item.write_after(out, at + 2, indent, true);
                }
            }
            Self::Map(entries) => {
                for (key, value) in entries {
                    start(out);
                    out.push_str(&key.inline().unwrap_or_default());
                    out.push(':');
                    // A level ends at a multiple of the indent, also inside a list's item.
                    let below = (at + indent) / indent * indent;
                    if let Some(text) = value.inline() {
                        out.push(' ');
                        out.push_str(&text);
                        out.push('\n');
                    } else {
                        out.push('\n');
                        value.write_block(out, below, indent, false);
                    }
                }
            }
        }
    }

    fn write_after(&self, out: &mut String, at: usize, indent: usize, started: bool) {
        match self.inline() {
            Some(text) => {
                out.push_str(&text);
                out.push('\n');
            }
            None => self.write_block(out, at, indent, started),
        }
    }
}

/// A text as it stands in YAML.
fn scalar(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || is_break(c)) {
        return double_quoted(text);
    }
    if reads_as_other(text) {
        return format!("\"{text}\"");
    }
    let starts_badly = text.starts_with(|c: char| c.is_whitespace() || "-?:,[]{}#&*!|>'\"%@`=<".contains(c));
    let ends_badly = text.ends_with(|c: char| c.is_whitespace() || c == ':');
    if starts_badly || ends_badly || text.contains(": ") || text.contains(" #") || text.starts_with("...") {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

/// Line ends of Unicode and the byte order mark, which a reader may take away.
const fn is_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Whether a reader of YAML 1.1 or 1.2 would see something else than a text.
fn reads_as_other(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "" | "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let unsigned = lower.trim_start_matches(['+', '-']);
    let of = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_digit() || more.contains(c));
    let based = ["0x", "0o", "0b"].iter().find_map(|base| unsigned.strip_prefix(base));
    let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && of(unsigned, "_.:+-e")
        || based.is_some_and(|digits| of(digits, "_+-abcdef"));
    let special = matches!(unsigned, ".inf" | ".nan");
    // A date is read as one by some; a text that merely starts with a digit is not.
    (word || number || special) && !text.contains(['"', '\\'])
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_break(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A number as the original prints it after a way through floating point: the shortest digits that read
/// back the same, with an exponent from a million on and below a ten-thousandth.
fn shortest_float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn numbers_go_through_floating_point() {
        for (number, text) in [
            (json!(1_655_000_000_000_i64), "1.655e+12"),
            (json!(404), "404"),
            (json!(999_999), "999999"),
            (json!(1_000_000), "1e+06"),
            (json!(0), "0"),
            (json!(-1.5), "-1.5"),
            (json!(0.0001), "0.0001"),
            (json!(0.000_01), "1e-05"),
        ] {
            assert_eq!(Node::from_json(&number).to_yaml(2), format!("{text}\n"));
        }
    }

    #[test]
    fn error_body_has_the_layout_of_the_original() {
        let body = json!({
            "trackingKey": "k", "_type": "ErrorsResponse", "serverTimestamp": 1_655_000_000_000_i64,
            "errors": [{"message": "no: really", "_type": "InternalError", "more": {"a": [1, []]}}],
        });
        insta::assert_snapshot!(Node::from_json(&body).to_yaml(2), @r"
        _type: ErrorsResponse
        errors:
          - _type: InternalError
            message: 'no: really'
            more:
              a:
                - 1
                - []
        serverTimestamp: 1.655e+12
        trackingKey: k
        ");
    }

    #[test]
    fn texts_are_quoted_where_they_would_be_read_as_something_else_and_not_elsewhere() {
        for quoted in
            ["05", "0x1d", "0b1", "1e5", "-7", "1_000", "12:30", "2030-12-31", ".5", "no", "", "1e5-00"]
        {
            assert_eq!(scalar(quoted), format!("\"{quoted}\""));
        }
        for plain in ["05dccfd0-0000000e", "d13336d3-000000", "0xyz", "7 items", "1.2.3a", "no.", "a1"] {
            assert_eq!(scalar(plain), plain);
        }
    }

    fn arbitrary_json() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof![
            any::<String>(),
            "[-+0-9a-fx._:eE]{0,6}",
            "(yes|NO|~|null|true|- a|a: b|a #b|'|\"|\\{|---|\\.\\.\\.)"
        ];
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|truth| json!(truth)),
            (-1000_i64..1000).prop_map(|number| json!(number)),
            text.clone().prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
                prop::collection::btree_map(text.clone(), inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(value in arbitrary_json(), indent in prop_oneof![Just(2_usize), Just(4)]) {
            let text = Node::from_json(&value).to_yaml(indent);
            let read: serde_json::Value = serde_yaml::from_str(&text)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
