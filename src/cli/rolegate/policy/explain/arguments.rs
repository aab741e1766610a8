//! The arguments of `policy explain`, read so that what is wrong with one is told with what to write.

use crate::time::Timestamp;
use crate::token::{RoleName, TokenId};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use http::{HeaderName, HeaderValue, Method};
use std::ffi::OsStr;
use std::net::IpAddr;

pub(super) fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| "a method is a word, such as `GET`".to_owned())
}

pub(super) fn role(text: &str) -> Result<RoleName, String> {
    RoleName::parse(text).map_err(|error| error.to_string())
}

/// Reads a token id. What is none may be the token itself, and is not repeated.
#[derive(Clone)]
pub(super) struct TokenIdParser;

impl TypedValueParser for TokenIdParser {
    type Value = TokenId;

    fn parse_ref(
        &self,
        command: &Command,
        _argument: Option<&Arg>,
        text: &OsStr,
    ) -> Result<TokenId, clap::Error> {
        let id = text.to_str().and_then(|text| text.parse().ok()).and_then(TokenId::new);
        id.ok_or_else(|| {
            let message = "`--token-id` takes the 15 digits of a token's id, not the token itself";
            clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n")).with_cmd(command)
        })
    }
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
