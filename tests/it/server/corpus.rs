//! The notation that both corpora share.

use super::client::Response;

/// Statuses by which a request is refused before any policy sees it.
pub(super) const REFUSALS: [u16; 7] = [400, 411, 413, 414, 431, 501, 505];

/// The rows of a corpus, each with its columns.
pub(crate) fn rows(text: &'static str, columns: usize) -> Vec<Vec<&'static str>> {
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect()).collect();
    for row in &rows {
        assert_eq!(row.len(), columns, "{row:?}");
    }
    assert!(!rows.is_empty(), "a corpus without rows");
    rows
}

/// Writes `{N*text}` out.
pub(crate) fn expand(text: &str) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let repeated = after.split_once('}').and_then(|(inner, tail)| {
            let (count, text) = inner.split_once('*')?;
            Some((count.parse::<usize>().ok()?, text, tail))
        });
        expanded.push_str(before);
        match repeated {
            Some((count, text, tail)) => {
                expanded.push_str(&text.repeat(count));
                rest = tail;
            }
            None => {
                expanded.push('{');
                rest = after;
            }
        }
    }
    expanded + rest
}

/// Turns `\\`, `\xHH`, `\r`, `\n` and `\t` into the bytes that they stand for.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("`\\x{digits}` in {text}"))
            }
            other => panic!("`\\{other:?}` in {text}"),
        });
    }
    bytes
}

/// Whether the answer refuses the request before any policy; a closed connection does.
pub(super) fn is_refusal(response: Option<&Response>) -> bool {
    response.is_none_or(|response| REFUSALS.contains(&response.status))
}

#[test]
fn notation_is_read() {
    assert_eq!(expand("/{3*../}a{2*b}{x}"), "/../../../abb{x}");
    assert_eq!(unescape("a\\x7b\\\\\\r\\n\\t"), b"a{\\\r\n\t");
}
