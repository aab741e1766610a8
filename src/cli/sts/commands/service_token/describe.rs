//! `service-token describe`.

use super::shown::{Eyes, Token};
use super::{PATH, Run};
use crate::cli::sts::failure::Failure;
use crate::cli::sts::table::Table;
use http::Method;
use serde_json::json;

impl Run<'_, '_> {
    pub(in crate::cli::sts::commands) fn describe_token(&mut self) -> Result<(), Failure> {
        let path = format!("{PATH}/{}", self.token_id()?);
        let token: Token = self.ask_rolegate(&Method::GET, &path, None)?.result()?;
        if self.printer.style.json {
            self.printer.json(&json!({ "service-token": token.to_json() }));
        } else {
            let table = Table { headers: vec!["property", "value"], rows: token.to_rows(&self.eyes()) };
            self.printer.table(&table, "");
        }
        Ok(())
    }

    /// How times are shown to whoever asks.
    pub(super) fn eyes(&self) -> Eyes {
        Eyes { zone: jiff::tz::TimeZone::system(), now: self.env.now }
    }
}
