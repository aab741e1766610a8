//! `service-token delete`, `disable`, `enable` and `update`.

use super::shown::Token;
use super::{PATH, Run, midnight, put};
use crate::cli::client::Answer;
use crate::cli::sts::failure::Failure;
use http::Method;
use serde_json::{Value, json};

impl Run<'_, '_> {
    pub(in crate::cli::sts::commands) fn delete_token(&mut self) -> Result<(), Failure> {
        let id = self.token_id()?;
        let path = format!("{PATH}/{id}");
        self.connected()?.call(&Method::DELETE, &path, None, self.printer)?;
        if self.printer.style.json {
            self.printer.json(&json!({ "deleted-service-token": id }));
        } else {
            self.printer.success(&format!("service token deleted: {id}"));
        }
        Ok(())
    }

    pub(in crate::cli::sts::commands) fn switch_token(&mut self, is_on: bool) -> Result<(), Failure> {
        let id = self.token_id()?;
        let (action, done) = if is_on { ("enable", "enabled") } else { ("disable", "disabled") };
        let answer = self.ask_rolegate(&Method::POST, &format!("{PATH}/{id}/{action}"), None)?;
        self.tell_change(&answer, id, done)
    }

    pub(in crate::cli::sts::commands) fn update_token(&mut self) -> Result<(), Failure> {
        let (id, changes) = (self.token_id()?, self.changes()?);
        let answer = self.ask_rolegate(&Method::PATCH, &format!("{PATH}/{id}"), Some(&changes))?;
        self.tell_change(&answer, id, "updated")
    }

    fn tell_change(&mut self, answer: &Answer, id: i64, done: &str) -> Result<(), Failure> {
        if self.printer.style.json {
            let token: Token = answer.result()?;
            self.printer.json(&json!({ "service-token": token.to_json() }));
        } else {
            self.printer.success(&format!("service token {done}: {id}"));
        }
        Ok(())
    }

    /// What the flags say that is to change.
    fn changes(&self) -> Result<Value, Failure> {
        let args = self.invocation;
        for name in ["description", "expiration"] {
            let none = format!("no-{name}");
            if args.has(name) && args.switch(&none) {
                let text = format!("only one of the flags {{{name} | {none}}} can be given");
                return Err(Failure::Arguments(text));
            }
        }
        let mut changes = json!({});
        for name in ["name", "description"] {
            if let Some(text) = args.text(name) {
                put(&mut changes, name, text);
            }
        }
        if args.has("roles") {
            put(&mut changes, "roles", args.list("roles"));
        }
        if args.has("expiration") {
            let none = "the expiration is no date: --no-expiration takes it away".to_owned();
            let date = args.date("expiration").ok_or(Failure::Arguments(none))?;
            put(&mut changes, "expiryDate", midnight(date)?);
        }
        for (flag, key) in [("no-description", "description"), ("no-expiration", "expiryDate")] {
            if args.switch(flag) {
                put(&mut changes, key, Value::Null);
            }
        }
        if changes == json!({}) {
            let text =
                "nothing is to be changed: give a name, a description, roles or an expiration".to_owned();
            return Err(Failure::Arguments(text));
        }
        if args.switch("unique") {
            put(&mut changes, "unique", true);
        }
        Ok(changes)
    }
}
