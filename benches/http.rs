//! What the server costs: a guarded route against the same bare warp route, side by side in one run.
//!
//! `cargo bench --bench http`; with `-- --only NAME` for one part of it.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "http/client.rs"]
mod client;
#[path = "http/route.rs"]
mod route;
#[path = "http/server.rs"]
mod server;
#[path = "http/world.rs"]
mod world;

use std::error::Error;
use tokio::runtime::{Builder, Runtime};

const TOKEN: &str = "the-token-of-this-benchmark-run";
const BODY: &str = r#"{"status":"ready"}"#;
const REQUEST: &str = "GET /api/server/status HTTP/1.1\r\nHost: localhost\r\n\
     X-API-Key: the-token-of-this-benchmark-run\r\n\r\n";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
type Part = fn() -> Outcome<()>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        // `cargo test --benches` only wants to know that this starts.
        return Ok(());
    }
    let value = |name| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let parts: [(&str, Part); 1] = [("route", route::measure)];
    for (_, part) in parts.into_iter().filter(|(name, _)| value("--only").is_none_or(|only| only == *name)) {
        part()?;
    }
    Ok(())
}

/// All clients of a part, on one thread.
fn clients() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).thread_name("clients").enable_all().build()?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
