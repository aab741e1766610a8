//! `service-token create` and `rotate`: what shows a secret.

use super::{PATH, Run, midnight, put};
use crate::cli::client::Answer;
use crate::cli::sts::failure::Failure;
use crate::cli::sts::table::visible;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// A token with its new secret. Other servers than rolegate tell no id.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revealed {
    id: Option<i64>,
    name: Option<String>,
    token: Option<String>,
    expiration: Option<i64>,
    former_expiration: Option<i64>,
}

impl Run<'_, '_> {
    pub(in crate::cli::sts::commands) fn create_token(&mut self) -> Result<(), Failure> {
        let args = self.invocation;
        let mut body = json!({ "name": args.text("name").unwrap_or_default(), "roles": args.list("roles") });
        if let Some(date) = args.date("expiration") {
            put(&mut body, "expiryDate", midnight(date)?);
        }
        for key in ["dedicatedSubject", "description"] {
            if let Some(text) = args.text(key).filter(|text| !text.is_empty()) {
                put(&mut body, key, text);
            }
        }
        if args.switch("unique") {
            put(&mut body, "unique", true);
        }
        let (client, info) = self.introduced()?;
        // Another server would pass over these, and make a token whose name is not the only one.
        let further = ["description", "unique"].into_iter().find(|key| body.get(key).is_some());
        if let Some(flag) = further.filter(|_| !info.is_rolegate) {
            let text = format!(
                "no token is created: this server does not know `--{flag}`, which is for servers of rolegate"
            );
            return Err(Failure::Response { text, body: None });
        }
        let answer = client.call(&Method::POST, PATH, Some(&body), self.printer)?;
        self.reveal(&answer, "created")
    }

    pub(in crate::cli::sts::commands) fn rotate_token(&mut self) -> Result<(), Failure> {
        let path = format!("{PATH}/{}/rotate", self.token_id()?);
        let grace = self.invocation.duration("grace");
        let body = grace.map_or_else(
            || json!({}),
            |grace| json!({ "gracePeriod": u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }),
        );
        let answer = self.ask_rolegate(&Method::POST, &path, Some(&body))?;
        self.reveal(&answer, "rotated")
    }

    /// Shows the secret of an answer. It is the only time.
    fn reveal(&mut self, answer: &Answer, done: &str) -> Result<(), Failure> {
        let revealed: Revealed = answer.result()?;
        let Some(token) = revealed.token.filter(|token| !token.is_empty()) else {
            let text = "the server's answer holds no token".to_owned();
            return Err(Failure::Response { text, body: None });
        };
        if self.printer.style.json {
            let mut shown = json!({ "name": revealed.name.unwrap_or_default(), "token": token });
            let numbers = [
                ("id", revealed.id),
                ("expiration", revealed.expiration),
                ("formerExpiration", revealed.former_expiration),
            ];
            for (key, number) in numbers {
                if let Some(number) = number {
                    put(&mut shown, key, Value::from(number));
                }
            }
            self.printer.json(&json!({ "service-token": shown }));
        } else {
            let token = self.printer.highlighted(&visible(&token));
            self.printer.success(&format!("service token {done}: {token}\n"));
            if let Some(end) = revealed.former_expiration {
                let end = super::shown::local_time(end, &jiff::tz::TimeZone::system());
                self.printer.text(&format!("The former secret is accepted until {end}.\n"));
            }
        }
        Ok(())
    }
}
