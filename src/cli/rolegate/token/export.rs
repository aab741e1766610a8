//! `token export`: all tokens as a file, from the store or from a running server.

use super::super::console::Console;
use super::super::policies::counted;
use super::super::settings::{FileArguments, Surroundings};
use super::super::{DONE, FAILED};
use super::Failure;
use super::server::{Server, ServerArguments};
use crate::audit::file::FileAudit;
use crate::audit::{Actor, Audit as _, AuditEntry, AuditEvent};
use crate::backup::{Counts, TokenLine, Writer};
use crate::engine::{ExportPage, ExportPosition, TRANSFER_MAX};
use crate::server::wall_clock;
use crate::store::embedded::StoreView;
use crate::token::TokenDigest;
use clap::Args;
use http::Method;
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
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
    /// Write to this file, which its owner alone can read, instead of standard output. It takes its name once it is whole
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
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

/// A file under another name, until it is whole.
struct PartFile<'a> {
    path: &'a Path,
    part: PathBuf,
    file: File,
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
    let mut source = source(arguments, surroundings)?;
    let mut file = arguments.file.as_deref().map(PartFile::create).transpose()?;
    let mut writer = Writer::start(wall_clock()());
    loop {
        let part = source.next()?;
        part.tokens.iter().for_each(|token| writer.token(token));
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

fn source(arguments: &Arguments, surroundings: &Surroundings) -> Result<Source, Failure> {
    if let Some(server) = arguments.server.server(surroundings)? {
        return Ok(Source::Server(Box::new(server), None));
    }
    let config = arguments.config.load(surroundings)?;
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

impl<'a> PartFile<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        // A pipe, a device or a link would be replaced by a file, and whoever reads there would get nothing.
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            let cause = io::Error::other("it is there and no regular file; choose another name");
            return Err(Failure::Write { path: path.to_owned(), cause });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.map_err(|cause| Failure::Write { path: part.clone(), cause })?;
        Ok(Self { path, part, file })
    }

    fn write(&mut self, lines: &str) -> Result<(), Failure> {
        let written = self.file.write_all(lines.as_bytes());
        written.map_err(|cause| Failure::Write { path: self.path.to_owned(), cause })
    }

    /// Gives the file its name, when it is on disk.
    fn finish(self) -> Result<(), Failure> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let named = || -> io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.part, self.path)?;
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        named().map_err(|cause| Failure::Write { path: self.path.to_owned(), cause })
    }
}

impl Drop for PartFile<'_> {
    fn drop(&mut self) {
        // It has its name already, or is of no use to anybody.
        let _ = fs::remove_file(&self.part);
    }
}
