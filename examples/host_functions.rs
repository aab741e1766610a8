//! Conditions that call functions of the program: a directory of teams, working hours, and what happens when
//! one of them fails.
//!
//! `cargo run --example host_functions --no-default-features`

use rolegate::path::CanonicalPath;
use rolegate::policy::{HostFunctions, PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::Request;
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId, TokenName};
use std::collections::HashMap;
use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;

const POLICY: &str = r#"
    role("deployer")
        .allow("POST /teams/{team}/deploy")
            .when(|request| team_of(request.token) == request.param("team") && !is_weekend(request.time))
        .allow("GET /teams/{team}")
            .when(|request| regions().contains(request.query("region") ?? "eu"));
"#;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn main() -> Result<(), Box<dyn Error>> {
    run(ScriptLimits::default(), &mut stdout())
}

/// Decides a few requests within these limits and writes what became of them.
pub(crate) fn run(limits: ScriptLimits, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let limits = ScriptLimits { host: host()?, ..limits };
    let source = Source { name: Arc::from("teams.rhai"), text: POLICY.to_owned() };
    // A program keeps the limits, and loads with them again when its policies change.
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &limits)?;

    let monday = Timestamp::from_millis(4 * DAY_MS + 9 * HOUR_MS);
    let sunday = Timestamp::from_millis(3 * DAY_MS + 9 * HOUR_MS);
    for (token, method, path, query, now) in [
        ("ci-1", http::Method::POST, "/teams/red/deploy", None, monday),
        ("ci-1", http::Method::POST, "/teams/blue/deploy", None, monday),
        ("ci-1", http::Method::POST, "/teams/red/deploy", None, sunday),
        ("ci-9", http::Method::POST, "/teams/red/deploy", None, monday),
        ("ci-1", http::Method::GET, "/teams/red", None, monday),
        ("ci-1", http::Method::GET, "/teams/red", Some("region=ap"), monday),
    ] {
        let mut parts = Request::new(method, CanonicalPath::parse(path)?).into_parts();
        parts.query = query.map(Box::from);
        let request = Request::from(parts);
        let decision = policies.decide(Some(&principal(token)?), &request, now);
        let verdict = if decision.is_allow() { "allowed" } else { "denied" };
        let target = format!("{path}{}", query.map_or(String::new(), |query| format!("?{query}")));
        write!(out, "{token} {:4} {target:22} {verdict}", request.method().as_str())?;
        for (_, reason) in decision.failures() {
            write!(out, ": {reason}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What this program gives to conditions.
fn host() -> Result<HostFunctions, Box<dyn Error>> {
    // Whatever a function owns is shared by all threads that decide.
    let teams: HashMap<&str, &str> = [("ci-1", "red"), ("ci-2", "blue")].into();
    let team_of = move |token: &Principal| -> Result<String, String> {
        let team = teams.get(&*token.name).ok_or_else(|| format!("`{}` is in no team", token.name))?;
        Ok((*team).to_owned())
    };
    Ok(HostFunctions::new()
        .value("regions", vec!["eu", "us"])?
        .function("team_of", team_of)?
        .function("is_weekend", is_weekend)?)
}

/// Whether the time, in milliseconds since 1970, lies on a Saturday or Sunday.
fn is_weekend(time_ms: i64) -> bool {
    // The first of January 1970 was a Thursday.
    matches!((time_ms.div_euclid(DAY_MS) + 3) % 7, 5 | 6)
}

fn principal(name: &str) -> Result<Principal, Box<dyn Error>> {
    Ok(Principal {
        id: TokenId::new(TokenId::MIN).ok_or("no id")?.into(),
        name: TokenName::from(name),
        roles: [RoleName::parse("deployer")?].into(),
        created: Timestamp::EPOCH,
    })
}
