//! Path templates as patterns.

use crate::policy::pattern::Pattern;

/// A path template.
pub(super) struct Template {
    pub(super) pattern: Pattern,
    /// The first segment that is a parameter in part only: no pattern can say that.
    pub(super) partial: Option<String>,
}

impl Template {
    /// Reads a path with its prefix.
    ///
    /// # Errors
    /// When no request can have such a path; the text says why.
    pub(super) fn read(path: &str) -> Result<Self, String> {
        let mut text = String::new();
        let mut partial = None;
        for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
            text.push('/');
            if !segment.contains('{') {
                // A star stands for itself here.
                text.push_str(&segment.replace('*', "%2A"));
                continue;
            }
            let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if inner.is_none_or(|name| name.is_empty() || name.contains(['{', '}'])) {
                partial.get_or_insert_with(|| segment.to_owned());
            }
            text.push('*');
        }
        let pattern = Pattern::parse(&text).map_err(|error| error.to_string())?;
        Ok(Self { pattern, partial })
    }
}
