//! `token scan`: tokens that leaked into files, and which of them are live. No output holds a token.

mod collect;
mod read;
mod report;
mod source;
mod walk;
mod words;

use super::super::console::Console;
use super::super::settings::{FileArguments, OutputArguments, Surroundings};
use super::super::{DONE, FAILED, Format};
use super::server::ServerArguments;
use super::{Failure, WRONG_USAGE};
use crate::server::wall_clock;
use crate::store::embedded::StoreView;
use clap::Args;
use collect::Collection;
use source::Source;
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

pub(super) const CONFIG_HELP: &str = "Look tokens up in the store of this configuration; give several files, and each is laid over those before it";

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    /// A file, a folder with everything below it, or `-` for standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    config: FileArguments,
    #[command(flatten)]
    server: ServerArguments,
    /// Find also tokens that their operator chose, such as the bootstrap token: every word of 20 to 256 visible
    /// characters, as it stands or in base64, is looked up by its digest. It takes --config or --url
    #[arg(long)]
    chosen: bool,
    /// Tell also what looks like a token and is none, since its checksum is wrong
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let started = now();
    if arguments.server.takes_standard_input() && arguments.paths.iter().any(|path| path.as_os_str() == "-") {
        console.error("standard input cannot hold both the token and what is searched");
        return WRONG_USAGE;
    }
    let source = match source(arguments, surroundings) {
        Ok(source) => source,
        Err(failure) => return failure.tell(console),
    };
    if arguments.chosen && source.is_none() {
        console.error("`--chosen` knows tokens by their digests alone: it takes `--config` or `--url`");
        return WRONG_USAGE;
    }
    let mut collection = Collection::new(source, arguments.all);
    walk::search(&arguments.paths, arguments.chosen, |event| collection.take(event, console));
    collection.complete();
    console.progress("");
    match arguments.output.format {
        Format::Text => report::print(&collection, console),
        Format::Json => console.print(&format!("{:#}\n", report::json(&collection))),
    }
    let took = now().saturating_duration_since(started);
    if took >= SPEED_TOLD_MIN {
        console.remark(report::speed(&collection.totals, took));
    }
    let is_failed = collection.failure().is_some_and(|failure| failure.tell(console) != DONE);
    if collection.has_leaks() {
        LEAKED
    } else if is_failed || collection.totals.unread > 0 {
        FAILED
    } else {
        DONE
    }
}

/// Who is asked which tokens are live; `None` when nobody is. A server is asked once before anything is searched, so
/// that one that does not answer, or lets nobody in, is told at once.
fn source(arguments: &Arguments, surroundings: &Surroundings) -> Result<Option<Source>, Failure> {
    if let Some(server) = arguments.server.server(surroundings)? {
        let source = Source::Server(Box::new(server));
        source.look_up(&[])?;
        return Ok(Some(source));
    }
    if !arguments.config.is_given() {
        return Ok(None);
    }
    let config = arguments.config.load(surroundings)?;
    let store = StoreView::open(&config.data_dir.value)?;
    Ok(Some(Source::Store(Box::new(store), wall_clock()())))
}

#[expect(clippy::disallowed_methods, reason = "how fast the work is done is for the clock to say")]
fn now() -> Instant {
    Instant::now()
}
