//! `token usage`: which permissions a token holds, and which of them it used.

use super::super::console::Console;
use super::super::policies::{Configured, LoadError};
use super::super::settings::{FileArguments, OutputArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use super::server::ServerArguments;
use super::{Failure, WRONG_USAGE};
use crate::privilege::privileges;
use crate::server::{GrantReport, PrivilegeReport, UsageReport};
use crate::store::Store as _;
use crate::store::embedded::StoreView;
use crate::store::page::Listed;
use crate::time::Timestamp;
use crate::token::TokenId;
use clap::Args;
use http::Method;

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// The id of the token, as lists of tokens show it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    config: FileArguments,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let Some(id) = arguments.id.parse().ok().and_then(TokenId::new) else {
        // Not repeated: it may be the token itself.
        console.error("ID is the number of a token, of 15 digits, as lists of tokens show it");
        return WRONG_USAGE;
    };
    let report = match report(id, arguments, surroundings) {
        Ok(Some(report)) => report,
        Ok(None) => {
            console.error(format_args!("the store has no token with the id {id}"));
            return FAILED;
        }
        Err(failure) => return failure.tell(console),
    };
    match arguments.output.format {
        Format::Text => print(&report, console),
        Format::Json => match serde_json::to_value(&report) {
            Ok(json) => console.print(&format!("{json:#}\n")),
            Err(error) => {
                console.error(error);
                return FAILED;
            }
        },
    }
    DONE
}

/// What a server tells, or the store of the configuration while no server has it open.
fn report(
    id: TokenId,
    arguments: &Arguments,
    surroundings: &Surroundings,
) -> Result<Option<UsageReport>, Failure> {
    if let Some(server) = arguments.server.server(surroundings)? {
        let path = format!("/api/security/tokens/{id}/usage");
        let answer = server.call(&Method::GET, &path, None)?;
        return answer.json().map(Some).map_err(Failure::Server);
    }
    let config = arguments.config.load(surroundings)?;
    let configured = Configured::of(&config);
    let policies = configured.read().and_then(|sources| {
        configured.compile(&sources, super::super::reload::hear).map_err(LoadError::from)
    })?;
    let store = StoreView::open(&config.data_dir.value)?;
    let Some(record) = store.get(id)? else { return Ok(None) };
    let usage = store.usage(id)?;
    let privileges = privileges(&policies, &record.roles, usage.as_ref());
    Ok(Some(UsageReport::of(&Listed { record, usage }, &privileges)))
}

fn print(report: &UsageReport, console: &mut Console<'_>) {
    let UsageReport { id, name, roles, created, last_used, use_count, privileges } = report;
    console.line(format_args!("token      {id} ({})", visible(name)));
    let roles: Vec<_> = roles.iter().map(|role| visible(role)).collect();
    console.line(format_args!(
        "roles      {}",
        if roles.is_empty() { "none".to_owned() } else { roles.join(", ") }
    ));
    console.line(format_args!("created    {}", moment(*created)));
    match last_used {
        Some(last_used) => {
            let requests = if *use_count == 1 { "request" } else { "requests" };
            console.line(format_args!("last used  {} ({use_count} {requests} in all)", moment(*last_used)));
        }
        None => console.line("last used  never"),
    }
    let width = privileges.iter().map(|it| it.name.chars().count()).max().unwrap_or_default().min(60);
    for (grant, title) in [
        (GrantReport::Permission, "its roles hold these permissions"),
        (GrantReport::Rule, "its roles have these routes of their own"),
        (GrantReport::Everyone, "every token has these routes"),
        (GrantReport::Former, "it used these and has them no longer"),
    ] {
        let of_grant: Vec<&PrivilegeReport> = privileges.iter().filter(|it| it.grant == grant).collect();
        let used = of_grant.iter().filter(|it| it.last_used.is_some()).count();
        if of_grant.is_empty() || (grant == GrantReport::Everyone && used == 0) {
            continue;
        }
        console.line(format_args!("\n{title} ({used} of {} used):", of_grant.len()));
        for privilege in of_grant {
            let name = visible(&privilege.name);
            let told = match privilege.last_used {
                Some(last_used) => {
                    let times = if privilege.use_count == 1 { "time" } else { "times" };
                    format!("{} {times}, last {}", privilege.use_count, moment(last_used))
                }
                None => "never used".to_owned(),
            };
            console.line(format_args!("  {name:width$}  {told}"));
        }
    }
}

/// Names are made by clients: what steers a terminal is shown and not obeyed.
fn visible(text: &str) -> String {
    text.escape_debug().to_string()
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
