//! `token export`: all tokens as a file, from the store or from a running server.

mod part;

use super::super::console::Console;
use super::super::places;
use super::super::policies::counted;
use super::super::settings::{FileArguments, Surroundings};
use super::super::{DONE, FAILED};
use super::Failure;
use super::server::{Server, ServerArguments};
use crate::audit::file::FileAudit;
use crate::audit::{Actor, Audit as _, AuditEntry, AuditEvent};
use crate::backup::{Counts, TokenLine, Writer};
use crate::config::Config;
use crate::engine::{ExportPage, ExportPosition, TRANSFER_MAX};
use crate::server::wall_clock;
use crate::store::embedded::StoreView;
use crate::token::TokenDigest;
use clap::Args;
use http::Method;
use part::PartFile;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// How many tokens a server is asked for at once: even the largest ones fit into one answer.
const SERVER_PAGE: usize = 500;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed; no file is left behind
  2  wrong usage";

#[derive(Debug, Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    config: FileArguments,
    #[command(flatten)]
    server: ServerArguments,
    /// Write to this file, which its owner alone can read, instead of standard output (`-`). It takes its name once it is
    /// whole
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Where tokens will come from. Nothing was asked for yet.
enum Opening {
    Server(Box<Server>),
    Store(Box<Config>),
}

/// Where tokens come from.
enum Source {
    Server(Box<Server>, Option<String>),
    Store(Box<StoreView>, ExportPosition),
}

/// A part of an export, as a server answers.
#[derive(Deserialize)]
struct Answer {
    tokens: Vec<TokenLine>,
    spent: Vec<String>,
    next: Option<String>,
}

/// A part of an export, as it is written.
struct Part {
    tokens: Vec<TokenLine>,
    spent: Vec<TokenDigest>,
    is_last: bool,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    let exported = export(arguments, surroundings, console);
    console.progress("");
    match exported {
        // Whoever wanted to read standard output went away.
        Ok(None) => FAILED,
        Ok(Some(Counts { tokens, spent })) => {
            let count = |count: u64, thing| counted(usize::try_from(count).unwrap_or(usize::MAX), thing);
            console.remark(format_args!(
                "exported {} and {} of deleted ones",
                count(tokens, "token"),
                count(spent, "digest")
            ));
            DONE
        }
        Err(failure) => failure.tell(console),
    }
}

fn export(
    arguments: &Arguments,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> Result<Option<Counts>, Failure> {
    let path = arguments.file.as_deref().filter(|path| path.as_os_str() != "-");
    let opening = Opening::of(arguments, path, surroundings)?;
    // Before anything is read or audited: where nothing can be written, nothing is exported.
    let mut file = path.map(PartFile::create).transpose()?;
    let mut source = opening.open()?;
    let mut writer = Writer::start(wall_clock()());
    loop {
        let part = source.next()?;
        part.tokens.iter().try_for_each(|token| writer.token(token))?;
        part.spent.iter().for_each(|digest| writer.spent(digest));
        if part.is_last {
            writer.finish();
        }
        let lines = writer.take();
        match &mut file {
            Some(file) => file.write(&lines)?,
            None => console.print(&lines),
        }
        if console.is_unwritten() {
            return Ok(None);
        }
        if part.is_last {
            break;
        }
        console.progress(format_args!("{} tokens", writer.counts().tokens));
    }
    file.map(PartFile::finish).transpose()?;
    Ok(Some(writer.counts()))
}

impl Opening {
    fn of(arguments: &Arguments, path: Option<&Path>, surroundings: &Surroundings) -> Result<Self, Failure> {
        if let Some(server) = arguments.server.server(surroundings)? {
            return Ok(Self::Server(Box::new(server)));
        }
        let config = arguments.config.load(surroundings)?;
        if let Some(path) = path {
            places::check_other(&config, path)
                .map_err(|cause| Failure::Write { path: path.to_owned(), cause })?;
        }
        Ok(Self::Store(Box::new(config)))
    }

    fn open(self) -> Result<Source, Failure> {
        let config = match self {
            Self::Server(server) => return Ok(Source::Server(server, None)),
            Self::Store(config) => config,
        };
        let store = StoreView::open(&config.data_dir.value)?;
        let audit = FileAudit::open(&config.audit_file.value)?.with_max_bytes(config.audit.max_bytes as u64);
        audit.record(&AuditEntry {
            at: wall_clock()(),
            actor: Actor::Program,
            event: AuditEvent::TokensExported { count: store.count()? },
            client_ip: None,
            request_id: None,
        })?;
        Ok(Source::Store(Box::new(store), ExportPosition::START))
    }
}

impl Source {
    fn next(&mut self) -> Result<Part, Failure> {
        match self {
            Self::Store(store, position) => {
                let ExportPage { tokens, spent, next } = ExportPage::read(&**store, position, TRANSFER_MAX)?;
                let tokens = tokens.iter().map(TokenLine::from).collect();
                let is_last = next.is_none();
                if let Some(next) = next {
                    *position = next;
                }
                Ok(Part { tokens, spent, is_last })
            }
            Self::Server(server, cursor) => {
                let after = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
                let path = format!("/api/rolegate/tokens/export?limit={SERVER_PAGE}{after}");
                let answer = server.call(&Method::GET, &path, None)?;
                let odd = |what: &str| Failure::Server(format!("the answer of the server {what}"));
                let answer: Answer =
                    answer.json().map_err(|error| odd(&format!("cannot be read: {error}")))?;
                let is_cursor = |next: &String| {
                    next.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
                };
                if answer.next.as_ref().is_some_and(|next| !is_cursor(next) || Some(next) == cursor.as_ref())
                {
                    return Err(odd("does not tell where the export goes on"));
                }
                let spent = answer.spent.iter().map(|digest| TokenDigest::from_hex(digest));
                let spent =
                    spent.collect::<Option<_>>().ok_or_else(|| odd("has no digest where one should be"))?;
                *cursor = answer.next;
                Ok(Part { tokens: answer.tokens, spent, is_last: cursor.is_none() })
            }
        }
    }
}
