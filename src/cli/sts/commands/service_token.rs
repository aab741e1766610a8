//! `service-token` and what is below it.

mod change;
mod create;
mod describe;
mod list;
mod shown;

use super::Run;
use crate::cli::client::Answer;
use crate::cli::sts::client::OF_ROLEGATE;
use crate::cli::sts::failure::Failure;
use crate::cli::sts::table::visible;
use crate::cli::sts::value::{read_int, shown_number};
use http::{Method, StatusCode};
use serde_json::Value;

const PATH: &str = "/security/tokens";

impl Run<'_, '_> {
    /// The answer to a request that the original's server does not know.
    fn ask_rolegate(&mut self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let answer = self.connected()?.ask(method, path, body, self.printer)?;
        let is_unknown = match answer.status {
            StatusCode::METHOD_NOT_ALLOWED => true,
            // Where rolegate itself says so, it is the token that is not there.
            StatusCode::NOT_FOUND => answer.header(OF_ROLEGATE).is_none(),
            _ => false,
        };
        if is_unknown {
            let (status, command) = (answer.status_line(), &self.invocation.called.path);
            let text =
                format!("{status}: this server does not know `{command}`, which is for servers of rolegate");
            return Err(Failure::Response { text, body: None });
        }
        answer.success()
    }

    /// The id by flag, or by operand. Operands beside the flag are passed over, as the original does,
    /// unless they are ids themselves: then which one is meant is not clear.
    fn token_id(&self) -> Result<i64, Failure> {
        let (operands, verb) = (&self.invocation.operands, self.invocation.called.command.name);
        match (self.invocation.int("id"), operands.as_slice()) {
            (Some(id), _) => {
                let other = operands.iter().find(|it| read_int(it).is_ok_and(|other| other != id));
                other.map_or(Ok(id), |other| {
                    Err(Failure::Arguments(format!(
                        "two ids are given, {id} and {other}: {verb} one at a time"
                    )))
                })
            }
            (None, []) => Err(Failure::Arguments("required flag(s) \"id\" not set".to_owned())),
            (None, [id]) => read_int(id).map_err(|reason| {
                Failure::Arguments(format!("invalid id \"{}\": {reason}", visible(shown_number(id))))
            }),
            (None, [_, _, ..]) => {
                Err(Failure::Arguments(format!("several ids are given: {verb} one at a time")))
            }
        }
    }
}

/// The beginning of a day in UTC, as servers take it.
fn midnight(date: jiff::civil::Date) -> Result<i64, Failure> {
    let midnight = jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    let out_of_range = |_| Failure::Arguments(format!("the date {date} is too late: the last is 9999-12-30"));
    midnight.map(jiff::Timestamp::as_millisecond).map_err(out_of_range)
}

fn put(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(entries) = object.as_object_mut() {
        entries.insert(key.to_owned(), value.into());
    }
}
