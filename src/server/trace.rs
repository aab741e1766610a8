//! The trace of which a request is a part, as W3C Trace Context tells it.

use http::{HeaderMap, HeaderName};
use std::fmt;

const HEADER: HeaderName = HeaderName::from_static("traceparent");
/// `00-<32 digits>-<16 digits>-<2 digits>`; later versions may be longer.
const LENGTH_BYTES: usize = 55;

/// The id of a trace, which is not zero.
/// [W3C Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId(u128);

impl TraceId {
    /// The id that the header fields name. A field that is repeated or not in its form is no reason to refuse a request,
    /// and names no trace.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(HEADER).iter();
        match (fields.next(), fields.next()) {
            (Some(only), None) => Self::parse(only.as_bytes()),
            _ => None,
        }
    }

    fn parse(field: &[u8]) -> Option<Self> {
        let (known, more) = field.split_at_checked(LENGTH_BYTES)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (parent, flags) = (parts.next()?, parts.next()?);
        let is_of_this_form = match version {
            b"00" => more.is_empty(),
            b"ff" => false,
            _ => more.first().is_none_or(|byte| *byte == b'-'),
        };
        let lengths = [version, trace, parent, flags].map(<[u8]>::len);
        if !is_of_this_form || lengths != [2, 32, 16, 2] || hex(version).is_none() {
            return None;
        }
        let (trace, parent, _) = (hex(trace)?, hex(parent)?, hex(flags)?);
        (trace != 0 && parent != 0).then_some(Self(trace))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The number that these digits are; capitals are none here.
fn hex(digits: &[u8]) -> Option<u128> {
    if digits.iter().any(u8::is_ascii_uppercase) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(fields: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(HEADER, HeaderValue::from_str(field).unwrap());
        }
        TraceId::of(&headers).map(|id| id.to_string())
    }

    #[test]
    fn trace_is_named_by_its_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for field in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            // A later version may say more.
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-follows",
        ] {
            assert_eq!(of(&[field]).as_deref(), Some(id), "{field}");
        }
    }

    #[test]
    fn what_is_not_in_its_form_names_none() {
        for field in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-follows",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what-follows",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0--0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(of(&[field]), None, "{field}");
        }
        let twice = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!((of(&[]), of(&[twice, twice])), (None, None));
    }
}
