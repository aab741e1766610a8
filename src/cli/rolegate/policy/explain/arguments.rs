//! The arguments of `policy explain`, read so that what is wrong with one is told with what to write.

use crate::time::Timestamp;
use crate::token::{RoleName, TokenId};
use http::{HeaderName, HeaderValue, Method};
use std::net::IpAddr;

pub(super) fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| "a method is a word, such as `GET`".to_owned())
}

pub(super) fn role(text: &str) -> Result<RoleName, String> {
    RoleName::parse(text).map_err(|error| error.to_string())
}

pub(super) fn token_id(text: &str) -> Result<TokenId, String> {
    let id = text.parse().ok().and_then(TokenId::new);
    id.ok_or_else(|| "a token id has 15 digits; it is not the token itself".to_owned())
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let time = humantime::parse_rfc3339(text);
    time.map(Timestamp::from).map_err(|_| "write the time in UTC, such as `2026-03-01T08:00:00Z`".to_owned())
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write an address such as `192.0.2.1` or `2001:db8::1`".to_owned())
}

pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let form = || "a header is written `Name: value`".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(form)?;
    let name = name.parse().map_err(|_| format!("{}, and this name is none", form()))?;
    let value =
        HeaderValue::from_str(value.trim()).map_err(|_| format!("{}, and this value is none", form()))?;
    Ok((name, value))
}
