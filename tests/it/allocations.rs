//! A decision takes nothing from the heap, unless a condition has to be asked. A count is no time: it is the same on
//! every machine.

use allocation_counter::measure;
use rolegate::audit::MemoryAudit;
use rolegate::engine::{Answer, Engine};
use rolegate::path::CanonicalPath;
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Credential, Request};
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, TokenId, TokenRecord};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

const TOKEN: &str = "the-token-of-the-allocation-tests";
const POLICY: &str = r#"
    role("reader").allow("GET /plain/{id}").allow("ANY /kept/**").except("ANY /kept/closed/**");
    role("writer").includes("reader").allow(["GET,POST /plain/*", "GET /**"]);
    authenticated("GET /live");
    open("GET /open");
    deny("ANY /denied/**");
    role("reader").allow("GET /asked/{id}").when(|request| request.param("id") != "core");
"#;

/// An engine with one token that has these roles, and so many rules more, among them a route of 600 roles.
fn engine(roles: &[&str], more_rules: usize) -> Result<Engine, Box<dyn Error>> {
    let mut text = POLICY.to_owned();
    for rule in 0..more_rules {
        let shape = if rule < 600 { "/shared".to_owned() } else { format!("/more/{}/{rule}", rule % 7) };
        writeln!(text, "role(\"role-{}\").allow(\"GET {shape}\");", rule % 600)?;
    }
    let source = Source { name: Arc::from("p.rhai"), text };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
    let (secret, kind) = Secret::parse(TOKEN)?;
    let store = MemoryStore::new();
    let _ = store.insert(
        &TokenRecord {
            roles: roles.iter().map(|role| RoleName::parse(role)).collect::<Result<_, _>>()?,
            ..crate::store::bare(TokenId::LEAST, secret.digest(), kind)
        },
        Names::MayRepeat,
    )?;
    Ok(Engine::open(Box::new(store), Box::new(MemoryAudit::new()), policies, Timestamp::EPOCH)?)
}

fn request(method: &str, path: &str, token: Option<&str>) -> Result<Request, Box<dyn Error>> {
    let mut parts = Request::new(method.parse()?, CanonicalPath::parse(path)?).into_parts();
    parts.credential = token.map_or(Credential::Missing, Credential::read);
    Ok(Request::from(parts))
}

/// How often the heap is asked for memory while this request is authenticated, decided and answered, and whether
/// it is permitted.
fn allocations(engine: &Engine, request: &Request) -> (u64, bool) {
    // What a thread makes once, the first request of the thread has made.
    let permitted = matches!(engine.check(request, Timestamp::EPOCH), Answer::Permitted(_));
    let counted = measure(|| drop(black_box(engine.check(black_box(request), Timestamp::EPOCH))));
    (counted.count_total, permitted)
}

#[test]
fn decision_without_a_condition_takes_nothing_from_the_heap() -> Result<(), Box<dyn Error>> {
    let many: Vec<String> = (0..60).map(|role| format!("role-{}", role * 10)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for more_rules in [0, 10_000] {
        for roles in [&["reader"][..], &["writer", "reader", "unknown"], &many] {
            let engine = engine(roles, more_rules)?;
            let mut permitted = 0;
            for (method, path, token) in [
                ("GET", "/plain/7", Some(TOKEN)),
                ("DELETE", "/plain/7", Some(TOKEN)),
                ("GET", "/kept/a/b", Some(TOKEN)),
                ("GET", "/kept/closed/b", Some(TOKEN)),
                ("GET", "/shared", Some(TOKEN)),
                ("GET", "/more/2/9998", Some(TOKEN)),
                ("GET", "/live", Some(TOKEN)),
                ("GET", "/denied/x", Some(TOKEN)),
                ("TRACE", "/plain/7", Some(TOKEN)),
                ("GET", "/open", None),
                ("GET", "/plain/7", None),
                ("GET", "/plain/7", Some("another-token-that-nobody-knows")),
                ("GET", "/plain/7", Some("short")),
            ] {
                let (count, is_permitted) = allocations(&engine, &request(method, path, token)?);
                assert_eq!(count, 0, "{method} {path} of {roles:?} with {more_rules} rules more");
                permitted += usize::from(is_permitted);
            }
            assert!((2..13).contains(&permitted), "{permitted} of them are permitted");
        }
    }
    Ok(())
}

#[test]
fn condition_takes_something_from_the_heap_and_so_the_count_counts() -> Result<(), Box<dyn Error>> {
    let engine = engine(&["reader"], 0)?;
    let (count, is_permitted) = allocations(&engine, &request("GET", "/asked/7", Some(TOKEN))?);
    assert!(is_permitted && count > 0);
    // A rule that allows by itself leaves nothing to ask.
    let engine = self::engine(&["writer"], 0)?;
    assert_eq!(allocations(&engine, &request("GET", "/asked/7", Some(TOKEN))?), (0, true));
    Ok(())
}
