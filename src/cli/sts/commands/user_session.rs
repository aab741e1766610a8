//! `user-session roles`.

use super::Run;
use crate::cli::sts::failure::Failure;
use crate::cli::sts::table::visible;
use http::Method;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct AvailableRoles {
    roles: Option<Vec<String>>,
}

impl Run<'_, '_> {
    pub(super) fn session_roles(&mut self) -> Result<(), Failure> {
        let answer =
            self.connected()?.call(&Method::GET, "/user/session/availableRoles", None, self.printer)?;
        let AvailableRoles { roles } = answer.result()?;
        let roles = roles.unwrap_or_default();
        if self.printer.style.json {
            self.printer.json(&json!({ "roles": roles }));
        } else {
            for role in &roles {
                self.printer.text(&format!("{}\n", visible(role)));
            }
        }
        Ok(())
    }
}
