//! `service-token create`, `list` and `delete`.

use super::Run;
use crate::cli::sts::failure::Failure;
use crate::cli::sts::table::{Table, visible};
use crate::cli::sts::value::read_int;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

const PATH: &str = "/security/tokens";

/// A new token.
#[derive(Deserialize)]
struct Created {
    name: Option<String>,
    token: Option<String>,
    expiration: Option<i64>,
}

/// A token in the list. Servers may leave out anything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: Option<i64>,
    last_update_timestamp: Option<i64>,
    name: Option<String>,
    description: Option<String>,
    expiration: Option<i64>,
    roles: Option<Vec<String>>,
    dedicated_subject: Option<String>,
}

impl Run<'_, '_> {
    pub(super) fn create_token(&mut self) -> Result<(), Failure> {
        let args = self.invocation;
        let mut body = json!({ "name": args.text("name").unwrap_or_default(), "roles": args.list("roles") });
        if let Some(date) = args.date("expiration") {
            let midnight = jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
            let midnight = midnight.map(|it| it.as_millisecond());
            let out_of_range = |_| Failure::Arguments("the expiration is out of range".to_owned());
            put(&mut body, "expiryDate", midnight.map_err(out_of_range)?.into());
        }
        if let Some(subject) = args.text("dedicatedSubject").filter(|subject| !subject.is_empty()) {
            put(&mut body, "dedicatedSubject", subject.into());
        }

        let answer = self.connected()?.call(&Method::POST, PATH, Some(&body), self.printer)?;
        let created: Created = answer.result()?;
        let Some(token) = created.token.filter(|token| !token.is_empty()) else {
            let text = "the server's answer holds no token".to_owned();
            return Err(Failure::Response { text, body: None });
        };
        if self.printer.style.json {
            let mut shown = json!({ "name": created.name.unwrap_or_default(), "token": token });
            if let Some(expiration) = created.expiration {
                put(&mut shown, "expiration", expiration.into());
            }
            self.printer.json(&json!({ "service-token": shown }));
        } else {
            let token = self.printer.highlighted(&visible(&token));
            self.printer.success(&format!("service token created: {token}\n"));
        }
        Ok(())
    }

    pub(super) fn list_tokens(&mut self) -> Result<(), Failure> {
        let answer = self.connected()?.call(&Method::GET, PATH, None, self.printer)?;
        let mut tokens: Vec<Listed> = answer.result()?;
        tokens.sort_by(|one, other| one.name.cmp(&other.name));
        if self.printer.style.json {
            let tokens: Vec<Value> = tokens.iter().map(Listed::to_json).collect();
            self.printer.json(&json!({ "service-tokens": tokens }));
        } else {
            let zone = jiff::tz::TimeZone::system();
            let rows = tokens.iter().map(|token| token.to_row(&zone)).collect();
            let table = Table { headers: vec!["id", "name", "expiration", "roles"], rows };
            self.printer.table(&table, "No service tokens found.");
        }
        Ok(())
    }

    pub(super) fn delete_token(&mut self) -> Result<(), Failure> {
        let id = self.id_to_delete()?;
        let path = format!("{PATH}/{id}");
        self.connected()?.call(&Method::DELETE, &path, None, self.printer)?;
        if self.printer.style.json {
            self.printer.json(&json!({ "deleted-service-token": id }));
        } else {
            self.printer.success(&format!("service token deleted: {id}"));
        }
        Ok(())
    }

    /// The id by flag, or by operand. Operands beside the flag are passed over, as the original does,
    /// unless they are ids themselves: then what to delete is not clear.
    fn id_to_delete(&self) -> Result<i64, Failure> {
        let operands = &self.invocation.operands;
        match (self.invocation.int("id"), operands.as_slice()) {
            (Some(id), _) => {
                let other = operands.iter().find(|it| read_int(it).is_ok_and(|other| other != id));
                other.map_or(Ok(id), |other| {
                    Err(Failure::Arguments(format!(
                        "two ids are given, {id} and {other}: delete one at a time"
                    )))
                })
            }
            (None, []) => Err(Failure::Arguments("required flag(s) \"id\" not set".to_owned())),
            (None, [id]) => read_int(id)
                .map_err(|reason| Failure::Arguments(format!("invalid id \"{}\": {reason}", visible(id)))),
            (None, [_, _, ..]) => {
                Err(Failure::Arguments("several ids are given: delete one at a time".to_owned()))
            }
        }
    }
}

impl Listed {
    fn to_json(&self) -> Value {
        let fields = [
            ("id", self.id.map(Value::from)),
            ("lastUpdateTimestamp", self.last_update_timestamp.map(Value::from)),
            ("name", Some(self.name.as_deref().unwrap_or_default().into())),
            ("description", self.description.as_deref().map(Value::from)),
            ("expiration", self.expiration.map(Value::from)),
            ("roles", Some(self.roles.clone().map_or(Value::Null, Value::from))),
            ("dedicatedSubject", self.dedicated_subject.as_deref().map(Value::from)),
        ];
        let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(Map::from_iter(fields))
    }

    fn to_row(&self, zone: &jiff::tz::TimeZone) -> Vec<Option<String>> {
        vec![
            self.id.map(|id| id.to_string()),
            Some(self.name.clone().unwrap_or_default()),
            Some(self.expiration.map(|millis| local_date(millis, zone)).unwrap_or_default()),
            self.roles.as_ref().map(|roles| format!("[{}]", roles.join(" "))),
        ]
    }
}

/// The calendar date of a moment where the user is; a moment beyond all calendars stays a number.
fn local_date(millis: i64, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(moment) => zone.to_datetime(moment).date().to_string(),
        Err(_) => millis.to_string(),
    }
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(entries) = object.as_object_mut() {
        entries.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_the_users_zone() {
        let midnight = 1_924_905_600_000;
        assert_eq!(local_date(midnight, &jiff::tz::TimeZone::UTC), "2030-12-31");
        assert_eq!(local_date(midnight, &jiff::tz::TimeZone::posix("EST5").unwrap()), "2030-12-30");
        assert_eq!(local_date(i64::MAX, &jiff::tz::TimeZone::UTC), i64::MAX.to_string());
    }
}
