//! `token scan`: tokens that leaked into files, and which of them are live. No output holds a token.

mod collect;
mod read;
mod report;
mod walk;
mod words;

use super::super::console::Console;
use super::super::settings::Surroundings;
use super::super::{DONE, FAILED, Format};
use clap::Args;
use collect::Collection;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Tokens were found that let somebody in, or may.
const LEAKED: u8 = 3;
/// Work that took less long needs no word about its speed.
const SPEED_TOLD_MIN: Duration = Duration::from_secs(1);

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  no live token was found
  1  something could not be read or looked up, and no live token was found
  2  wrong usage
  3  live tokens were found, or tokens that were not looked up";

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// A file, a folder with everything below it, or `-` for standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Tell also what looks like a token and is none, since its checksum is wrong
    #[arg(long)]
    all: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

pub(super) fn run(arguments: &Arguments, _: &Surroundings, console: &mut Console<'_>) -> u8 {
    let started = now();
    let mut collection = Collection::new(arguments.all);
    walk::search(&arguments.paths, false, |event| collection.take(event, console));
    console.progress("");
    collection.sort();
    match arguments.output {
        Format::Text => report::print(&collection, console),
        Format::Json => console.print(&format!("{:#}\n", report::json(&collection))),
    }
    let took = now().saturating_duration_since(started);
    if took >= SPEED_TOLD_MIN {
        console.remark(report::speed(&collection.totals, took));
    }
    if collection.has_leaks() {
        LEAKED
    } else if collection.totals.unread > 0 {
        FAILED
    } else {
        DONE
    }
}

#[expect(clippy::disallowed_methods, reason = "how fast the work is done is for the clock to say")]
fn now() -> Instant {
    Instant::now()
}
