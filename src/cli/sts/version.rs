//! The server's version, and whether this program can talk to it.

use serde::Deserialize;

/// The oldest version of a server that will do.
pub(crate) const MINIMUM: &str = "5.0.0";
const MINIMUM_PARTS: (i64, i64, i64) = (5, 0, 0);

/// A server's version, as it says it itself. What is missing is nothing or zero.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerVersion {
    major: Option<i64>,
    minor: Option<i64>,
    patch: Option<i64>,
    diff: Option<String>,
    commit: Option<String>,
    is_dev: Option<bool>,
}

impl ServerVersion {
    /// The version on one line: `5.0.3`, `5.0.3+12-abc1234`, `5.0.3-abc1234-dev`.
    pub(crate) fn text(&self) -> String {
        let (major, minor, patch) = self.parts();
        let mut text = format!("{major}.{minor}.{patch}");
        for (mark, part) in [('+', &self.diff), ('-', &self.commit)] {
            if let Some(part) = part.as_deref().filter(|part| !part.is_empty()) {
                text.push(mark);
                text.push_str(part);
            }
        }
        if self.is_dev == Some(true) {
            text.push_str("-dev");
        }
        text
    }

    /// Whether this is the oldest version that will do, or a later one, by the rules of semantic
    /// versions: a commit makes a pre-release, unless a diff makes it build metadata.
    pub(crate) fn is_supported(&self) -> bool {
        let text = self.text();
        let parts = self.parts();
        if parts.0 < 0 || parts.1 < 0 || parts.2 < 0 {
            return false;
        }
        let (front, metadata) = match text.split_once('+') {
            Some((front, metadata)) => (front, Some(metadata)),
            None => (text.as_str(), None),
        };
        let pre_release = front.split_once('-').map(|(_, pre_release)| pre_release);
        let well_formed = metadata.is_none_or(|it| it.split('.').all(is_identifier))
            && pre_release
                .is_none_or(|it| it.split('.').all(|id| is_identifier(id) && !has_leading_zero(id)));
        let late_enough = if pre_release.is_some() { parts > MINIMUM_PARTS } else { parts >= MINIMUM_PARTS };
        well_formed && late_enough
    }

    fn parts(&self) -> (i64, i64, i64) {
        (self.major.unwrap_or_default(), self.minor.unwrap_or_default(), self.patch.unwrap_or_default())
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(json: &str) -> ServerVersion {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn supported_versions_pass_the_gate() {
        for (json, text) in [
            (r#"{"major":5,"minor":0,"patch":0}"#, "5.0.0"),
            (r#"{"major":5,"minor":0,"patch":0,"diff":"","commit":"","isDev":false}"#, "5.0.0"),
            (r#"{"major":5,"minor":0,"patch":3,"diff":null,"commit":"abc1234"}"#, "5.0.3-abc1234"),
            (r#"{"major":5,"minor":0,"patch":0,"diff":"12","commit":"abc"}"#, "5.0.0+12-abc"),
            (r#"{"major":5,"minor":1,"patch":0,"isDev":true}"#, "5.1.0-dev"),
            (r#"{"major":6,"minor":0,"patch":0,"commit":"1234567"}"#, "6.0.0-1234567"),
        ] {
            assert_eq!(version(json).text(), text);
            assert!(version(json).is_supported(), "{json}");
        }
    }

    #[test]
    fn old_and_malformed_versions_do_not() {
        for json in [
            "{}",
            r#"{"major":4,"minor":6,"patch":9}"#,
            r#"{"major":5,"minor":0,"patch":0,"commit":"abc"}"#,
            r#"{"major":5,"minor":0,"patch":0,"isDev":true}"#,
            r#"{"major":5,"minor":0,"patch":1,"commit":"0123456"}"#,
            r#"{"major":5,"minor":0,"patch":1,"commit":"a_b"}"#,
            r#"{"major":5,"minor":0,"patch":-1}"#,
            r#"{"major":5,"minor":0,"patch":1,"diff":"a b"}"#,
        ] {
            assert!(!version(json).is_supported(), "{json}");
        }
    }
}
