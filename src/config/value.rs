//! Single values: from text to what it stands for, or why not.

use super::duration::parse_duration;
use super::error::shown;
use super::keys::{Key, Kind, size};
use crate::network::{Network, PEER_PREFIX_MIN};
use crate::public_url::{PublicUrl, PublicUrlError};
use crate::request::is_credential;
use crate::time::Timestamp;
use crate::token::{NAME_MAX_BYTES, RoleName, TokenDigest};
use http::HeaderName;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The longest path, in bytes.
pub const PATH_MAX_BYTES: usize = 4096;
/// The longest name of a permission, in bytes.
pub const PERMISSION_MAX_BYTES: usize = 256;
/// The longest name of a rule, in bytes: its permission, or its route.
pub const RULE_MAX_BYTES: usize = 2048;
/// The longest name of a query parameter, in bytes.
pub const PARAMETER_MAX_BYTES: usize = 256;

pub(super) fn address(_: &Key, text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':'));
        let meant =
            port.map_or_else(|| "127.0.0.1:8080".to_owned(), |port| format!("127.0.0.1:{}", shown(port)));
        format!("`{}` is not an IP address with a port; write it as `{meant}`", shown(text))
    })
}

/// A network whose addresses are believed.
pub(super) fn peer(_: &Key, text: &str) -> Result<Network, String> {
    let network: Network = text.parse().map_err(|wrong| format!("`{}`: {wrong}", shown(text)))?;
    if network.prefix() < PEER_PREFIX_MIN {
        return Err(format!(
            "`{network}` is too wide: every address of it is believed whatever it tells; list those \
             addresses themselves, or networks of at least {PEER_PREFIX_MIN} bits"
        ));
    }
    Ok(network)
}

pub(super) fn public_url(_: &Key, text: &str) -> Result<PublicUrl, String> {
    text.parse().map_err(|wrong: PublicUrlError| format!("`{}`: {wrong}", shown(text)))
}

pub(super) fn switch(_: &Key, text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{}` is neither `true` nor `false`", shown(text))),
    }
}

pub(super) fn path(_: &Key, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is missing".to_owned());
    }
    if text.len() > PATH_MAX_BYTES {
        return Err(format!("a path has at most {PATH_MAX_BYTES} bytes"));
    }
    if text.contains(char::is_control) {
        return Err(format!("`{}` has a control character", shown(text)));
    }
    if text.starts_with("~/") {
        return Err(format!("`{}`: `~` is not replaced by a folder; write the path in full", shown(text)));
    }
    refuse_variable(text)?;
    Ok(PathBuf::from(text))
}

pub(super) fn choice(key: &Key, text: &str) -> Result<&'static str, String> {
    let words = if let Kind::Choice(words) = key.kind { words } else { &[] };
    let found = words.iter().find(|word| **word == text).copied();
    found.ok_or_else(|| format!("`{}` must be {}", shown(text), key.kind.describe()))
}

pub(super) fn duration(key: &Key, text: &str) -> Result<Duration, String> {
    let Kind::Duration(least, most) = key.kind else { return Err("this key is no duration".to_owned()) };
    parse_duration(text, &(least..=most)).map_err(|wrong| format!("`{}`: {wrong}", shown(text)))
}

pub(super) fn count(key: &Key, text: &str) -> Result<usize, String> {
    let Kind::Count(least, most) = key.kind else { return Err("this key is no count".to_owned()) };
    let number = digits(text).ok_or_else(|| format!("`{}` is not a whole number", shown(text)))?;
    within(number, least, most).ok_or_else(|| format!("`{}` is not between {least} and {most}", shown(text)))
}

pub(super) fn bytes(key: &Key, text: &str) -> Result<usize, String> {
    let Kind::Size(least, most) = key.kind else { return Err("this key is no size".to_owned()) };
    let units = [("KiB", 1024), ("MiB", 1024 * 1024)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end_matches(' '), factor)))
        .unwrap_or((text, 1));
    let form = || format!("`{}` is not a size; write bytes as `65536`, or `64 KiB`, or `1 MiB`", shown(text));
    let number = digits(number).ok_or_else(form)?;
    number
        .checked_mul(unit)
        .and_then(|number| within(number, least, most))
        .ok_or_else(|| format!("`{}` is not between {} and {}", shown(text), size(least), size(most)))
}

pub(super) fn name(_: &Key, text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("a name is missing".to_owned());
    }
    if text.len() > NAME_MAX_BYTES {
        return Err(format!("a name has at most {NAME_MAX_BYTES} bytes"));
    }
    if text.contains(char::is_control) {
        return Err(format!("`{}` has a control character", shown(text)));
    }
    refuse_variable(text)?;
    Ok(text.to_owned())
}

/// What a rule is called: its permission, its route, or all of them.
pub(super) fn rule(_: &Key, text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > RULE_MAX_BYTES {
        return Err(format!("a rule is named by 1 to {RULE_MAX_BYTES} bytes"));
    }
    if text.contains(char::is_control) {
        return Err(format!("`{}` has a control character", shown(text)));
    }
    refuse_variable(text)?;
    Ok(text.to_owned())
}

/// Only secrets are taken from variables; elsewhere the text would stay as it is, which nobody means.
fn refuse_variable(text: &str) -> Result<(), String> {
    if text.contains("${") {
        return Err(format!("`{}`: a variable is replaced only where a token is asked for", shown(text)));
    }
    Ok(())
}

pub(super) fn role(_: &Key, text: &str) -> Result<RoleName, String> {
    RoleName::parse(text).map_err(|wrong| format!("`{}`: {wrong}", shown(text)))
}

/// The name of a header field that may be written to a log.
pub(super) fn logged_header(_: &Key, text: &str) -> Result<HeaderName, String> {
    if is_credential(text) {
        return Err(format!("`{}` carries credentials, and no log may hold any", shown(text)));
    }
    text.parse().map_err(|_| format!("`{}` is no name of a header field", shown(text)))
}

/// The name of a query parameter.
pub(super) fn parameter(_: &Key, text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > PARAMETER_MAX_BYTES || text.contains(char::is_control) {
        let reason = format!("a query parameter's name has 1 to {PARAMETER_MAX_BYTES} bytes");
        return Err(format!("`{}`: {reason}", shown(text)));
    }
    Ok(text.to_owned())
}

pub(super) fn permission(_: &Key, text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > PERMISSION_MAX_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let reason = format!("a permission's name has 1 to {PERMISSION_MAX_BYTES} visible ASCII characters");
        return Err(format!("`{}`: {reason}", shown(text)));
    }
    Ok(text.to_owned())
}

pub(super) fn digest(_: &Key, text: &str) -> Result<TokenDigest, String> {
    // What stands there instead of a digest may be the token itself, so it is not repeated.
    text.strip_prefix("sha256:").and_then(TokenDigest::from_hex).ok_or_else(|| {
        "this is not a digest; write `sha256:` and 64 hexadecimal digits, the SHA-256 of the token alone, \
         without a line end"
            .to_owned()
    })
}

pub(super) fn moment(_: &Key, text: &str) -> Result<Timestamp, String> {
    let parsed = humantime::parse_rfc3339(text).ok().filter(|_| text.ends_with('Z'));
    parsed
        .map(Timestamp::from)
        .ok_or_else(|| format!("`{}` is not a time; write it in UTC, as `2030-01-31T00:00:00Z`", shown(text)))
}

/// A whole number, without sign and not longer than any that is needed.
fn digits(text: &str) -> Option<u64> {
    let plain = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn within(number: u64, least: u64, most: u64) -> Option<usize> {
    (least..=most).contains(&number).then(|| usize::try_from(number).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::find;

    #[test]
    fn addresses_are_read_and_names_are_not_looked_up() {
        let key = find("rolegate.listen").unwrap();
        assert_eq!(address(key, "[::1]:0").unwrap().to_string(), "[::1]:0");
        for (text, hint) in
            [("localhost:9000", "`127.0.0.1:9000`"), (":80", "`127.0.0.1:80`"), ("8080", ":8080`")]
        {
            assert!(address(key, text).unwrap_err().contains(hint), "{text}");
        }
    }

    #[test]
    fn paths_and_names_with_variables_that_nobody_replaces_are_refused() {
        let key = find("rolegate.data_dir").unwrap();
        for text in ["${HOME}/data", "${DATA}", "/srv/${DATA}", "~/data"] {
            assert!(path(key, text).unwrap_err().contains("replaced"), "{text}");
        }
        for text in ["/srv/data", "$data", "a~", "~", "{data}"] {
            assert_eq!(path(key, text), Ok(PathBuf::from(text)), "{text}");
        }
        let key = find("rolegate.tokens[].name").unwrap();
        assert!(name(key, "${NAME}").unwrap_err().contains("replaced"));
        assert_eq!(name(key, "5 $ a month"), Ok("5 $ a month".to_owned()));
    }

    #[test]
    fn counts_and_sizes_are_taken_to_their_ends_and_not_past_them() {
        let key = find("rolegate.limits.header_fields").unwrap();
        assert_eq!((count(key, "8"), count(key, "256")), (Ok(8), Ok(256)));
        for text in ["7", "257", "-8", "+8", "8.0", "0x10", "", "9999999999999999999999"] {
            assert!(count(key, text).is_err(), "{text}");
        }
        let key = find("rolegate.limits.header_bytes").unwrap();
        assert_eq!(
            (bytes(key, "1024"), bytes(key, "1 MiB"), bytes(key, "16KiB")),
            (Ok(1024), Ok(1 << 20), Ok(16384))
        );
        for text in ["1023", "1025 KiB", "2 MiB", "16 kB", "16K", "1.5 KiB", "KiB", "999999999999 MiB"] {
            assert!(bytes(key, text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_utc_and_complete() {
        let key = find("rolegate.tokens[].expires").unwrap();
        assert_eq!(moment(key, "1970-01-01T00:00:01Z"), Ok(Timestamp::from_millis(1000)));
        assert_eq!(moment(key, "2030-01-31T00:00:00.5Z").unwrap().as_millis() % 1000, 500);
        for text in
            ["2030-01-31", "2030-01-31T00:00:00+02:00", "2030-02-30T00:00:00Z", "2030-01-31 00:00:00Z", "1"]
        {
            assert!(moment(key, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_given_as_its_digest_is_not_repeated() {
        let key = find("rolegate.tokens[].digest").unwrap();
        assert!(digest(key, &format!("sha256:{}", "0F".repeat(32))).is_ok());
        let hex = "0f".repeat(32);
        for text in ["svctok-secret", &hex, &format!("sha256:{hex}0"), &format!("SHA256:{hex}")] {
            assert!(!digest(key, text).unwrap_err().contains("secret"), "{text}");
        }
    }

    #[test]
    fn names_are_printable_and_bounded() {
        let key = find("rolegate.tokens[].name").unwrap();
        assert!(name(key, &"x".repeat(NAME_MAX_BYTES)).is_ok());
        for text in ["", "  ", "a\u{7}b", &"x".repeat(NAME_MAX_BYTES + 1)] {
            assert!(name(key, text).is_err(), "{text:?}");
        }
        let key = find("rolegate.data_dir").unwrap();
        assert!(path(key, &"x".repeat(PATH_MAX_BYTES)).is_ok());
        for text in ["", "a\0b", &"x".repeat(PATH_MAX_BYTES + 1)] {
            assert!(path(key, text).is_err());
        }
        assert!(permission(key, "read-settings").is_ok());
        for text in ["", "read settings", &"x".repeat(PERMISSION_MAX_BYTES + 1)] {
            assert!(permission(key, text).is_err());
        }
    }
}
