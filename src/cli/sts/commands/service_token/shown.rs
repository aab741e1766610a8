//! A token as servers tell it, and how it is shown.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A token. Servers may leave out anything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    id: Option<i64>,
    last_update_timestamp: Option<i64>,
    pub(super) name: Option<String>,
    description: Option<String>,
    expiration: Option<i64>,
    roles: Option<Vec<String>>,
    dedicated_subject: Option<String>,
    created: Option<i64>,
    origin: Option<String>,
    disabled: Option<i64>,
    /// As the server sees it; StackState's servers tell none.
    state: Option<String>,
    former_expiration: Option<i64>,
    last_used: Option<i64>,
    use_count: Option<u64>,
    fingerprint: Option<String>,
}

/// In whose eyes times are shown.
pub(super) struct Eyes {
    pub(super) zone: jiff::tz::TimeZone,
    pub(super) now: jiff::Timestamp,
}

impl Token {
    /// The token with the keys of the contract, and those that rolegate adds where a server tells them.
    pub(super) fn to_json(&self) -> Value {
        let number = |number: Option<i64>| number.map(Value::from);
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let fields = [
            ("id", number(self.id)),
            ("lastUpdateTimestamp", number(self.last_update_timestamp)),
            ("name", Some(self.name.as_deref().unwrap_or_default().into())),
            ("description", text(&self.description)),
            ("expiration", number(self.expiration)),
            ("roles", Some(self.roles.clone().map_or(Value::Null, Value::from))),
            ("dedicatedSubject", text(&self.dedicated_subject)),
            ("created", number(self.created)),
            ("origin", text(&self.origin)),
            ("disabled", number(self.disabled)),
            ("state", text(&self.state)),
            ("formerExpiration", number(self.former_expiration)),
            ("lastUsed", number(self.last_used)),
            ("useCount", self.use_count.map(Value::from)),
            ("fingerprint", text(&self.fingerprint)),
        ];
        let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(Map::from_iter(fields))
    }

    /// The same as the list of the original has it, which knows no state.
    pub(super) fn to_plain_json(&self) -> Value {
        let mut token = self.to_json();
        if let Some(fields) = token.as_object_mut() {
            fields.remove("state");
        }
        token
    }

    /// The row of a list: as the original has it, and with `is_full` with what rolegate adds.
    pub(super) fn to_row(&self, eyes: &Eyes, is_full: bool) -> Vec<Option<String>> {
        let date = |millis| local_date(millis, &eyes.zone);
        let mut row = vec![
            self.id.map(|id| id.to_string()),
            Some(self.name.clone().unwrap_or_default()),
            Some(self.expiration.map(date).unwrap_or_default()),
            self.roles_text(),
        ];
        if is_full {
            row.push(Some(self.last_used.map_or_else(|| "never".to_owned(), date)));
            row.push(Some(self.state(eyes).to_owned()));
        }
        row
    }

    /// All of it, a property a row.
    pub(super) fn to_rows(&self, eyes: &Eyes) -> Vec<Vec<Option<String>>> {
        let time = |millis| local_time(millis, &eyes.zone);
        let never = |millis: Option<i64>| Some(millis.map_or_else(|| "never".to_owned(), time));
        let state = match (self.state(eyes), self.disabled) {
            ("disabled", Some(since)) => format!("disabled since {}", time(since)),
            (state, _) => state.to_owned(),
        };
        let rows = [
            ("id", self.id.map(|id| id.to_string())),
            ("name", Some(self.name.clone().unwrap_or_default())),
            ("description", self.description.clone()),
            ("roles", self.roles_text()),
            ("state", Some(state)),
            ("expiration", never(self.expiration)),
            ("created", self.created.map(time)),
            ("last update", self.last_update_timestamp.map(time)),
            ("last use", never(self.last_used)),
            ("uses", self.use_count.map(|count| count.to_string())),
            ("origin", self.origin.clone()),
            ("fingerprint", self.fingerprint.clone()),
        ];
        let further = [
            ("former secret until", self.former_expiration.map(time)),
            ("dedicated subject", self.dedicated_subject.clone()),
        ];
        let further = further.into_iter().filter(|(_, value)| value.is_some());
        let rows = rows.into_iter().chain(further);
        rows.map(|(property, value)| vec![Some(property.to_owned()), value]).collect()
    }

    fn roles_text(&self) -> Option<String> {
        self.roles.as_ref().map(|roles| format!("[{}]", roles.join(" ")))
    }

    /// What the server says, and otherwise what the times say by the clock of this machine.
    fn state(&self, eyes: &Eyes) -> &str {
        if let Some(state) = &self.state {
            return state;
        }
        match self.expiration {
            Some(expiration) if expiration <= eyes.now.as_millisecond() => "expired",
            _ if self.disabled.is_some() => "disabled",
            _ => "live",
        }
    }
}

/// The calendar date of a moment where the user is; a moment beyond all calendars stays a number.
fn local_date(millis: i64, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(moment) => zone.to_datetime(moment).date().to_string(),
        Err(_) => millis.to_string(),
    }
}

/// The same with the time of day, and how far the zone is from UTC.
pub(super) fn local_time(millis: i64, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(moment) => moment.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Err(_) => millis.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_date_is_that_of_the_users_zone() {
        let midnight = 1_924_905_600_000;
        let west = jiff::tz::TimeZone::posix("EST5").unwrap();
        assert_eq!(local_date(midnight, &jiff::tz::TimeZone::UTC), "2030-12-31");
        assert_eq!(local_date(midnight, &west), "2030-12-30");
        assert_eq!(local_date(i64::MAX, &jiff::tz::TimeZone::UTC), i64::MAX.to_string());
        assert_eq!(local_time(midnight, &jiff::tz::TimeZone::UTC), "2030-12-31 00:00:00 +00:00");
        assert_eq!(local_time(midnight, &west), "2030-12-30 19:00:00 -05:00");
        assert_eq!(local_time(i64::MIN, &west), i64::MIN.to_string());
    }

    #[test]
    fn a_token_is_expired_at_its_millisecond_whether_disabled_or_not() {
        let eyes =
            Eyes { zone: jiff::tz::TimeZone::UTC, now: jiff::Timestamp::from_millisecond(1000).unwrap() };
        for (token, state) in [
            (json!({}), "live"),
            (json!({"expiration": 1001}), "live"),
            (json!({"expiration": 1000}), "expired"),
            (json!({"expiration": 1001, "disabled": 1}), "disabled"),
            (json!({"expiration": 1000, "disabled": 1}), "expired"),
            // The server knows it better.
            (json!({"expiration": 1000, "state": "live"}), "live"),
            (json!({"expiration": 1001, "state": "expired"}), "expired"),
        ] {
            let token: Token = serde_json::from_value(token).unwrap();
            assert_eq!(token.state(&eyes), state, "{}", token.to_json());
        }
    }
}
