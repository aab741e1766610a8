//! What came of an import: in text as it happens, in JSON at the end.

use super::super::super::Format;
use super::super::super::console::Console;
use super::super::super::policies::counted;
use crate::token::TokenId;
use serde::Deserialize;
use serde_json::{Value, json};

/// How many tokens a report in JSON tells of one by one; further ones are counted.
const TOLD_MAX: usize = 100_000;

/// What came of a token or digest.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
}

/// What it came of.
pub(super) enum Subject {
    Token {
        line: u64,
        id: TokenId,
        name: String,
    },
    /// A spent digest, by its fingerprint.
    Digest(String),
}

/// A report that grows.
pub(super) struct Report {
    is_dry_run: bool,
    output: Format,
    tokens: Totals,
    spent: Totals,
    told: Vec<Value>,
    untold: u64,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    created: usize,
    replaced: usize,
    unchanged: usize,
    conflicts: usize,
    /// Tokens that the file itself has as deleted.
    deleted: usize,
}

impl Report {
    pub(super) fn new(is_dry_run: bool, output: Format) -> Self {
        let (tokens, spent) = (Totals::default(), Totals::default());
        Self { is_dry_run, output, tokens, spent, told: Vec::new(), untold: 0 }
    }

    /// Whether every token and digest of the file is here as it has them, or would be.
    pub(super) const fn is_complete(&self) -> bool {
        self.tokens.conflicts + self.spent.conflicts + self.tokens.deleted == 0
    }

    /// Whether nothing was told of.
    pub(super) const fn is_empty(&self) -> bool {
        self.tokens.all() + self.spent.all() == 0
    }

    /// Adds what came of a token or digest.
    pub(super) fn take(&mut self, subject: &Subject, told: Told, console: &mut Console<'_>) {
        let totals = match subject {
            Subject::Token { .. } => &mut self.tokens,
            Subject::Digest(_) => &mut self.spent,
        };
        match told.outcome.as_str() {
            "created" => totals.created += 1,
            "replaced" => totals.replaced += 1,
            "unchanged" => {
                totals.unchanged += 1;
                return;
            }
            // What is not known must not pass for done.
            _ => totals.conflicts += 1,
        }
        self.tell(subject, told, console);
    }

    /// Adds a token that the file itself has as deleted.
    pub(super) fn deleted(&mut self, subject: &Subject, console: &mut Console<'_>) {
        self.tokens.deleted += 1;
        let reason = Some("it was deleted while the file was written".to_owned());
        self.tell(subject, Told { outcome: "deleted".to_owned(), reason }, console);
    }

    pub(super) fn progress(&self, console: &mut Console<'_>) {
        console.progress(format_args!("{} tokens", self.tokens.all()));
    }

    /// Tells the sum.
    pub(super) fn print(&self, console: &mut Console<'_>) {
        match self.output {
            Format::Text => {
                let (tokens, spent) = (&self.tokens, &self.spent);
                let would = self.prefix();
                console.line(format_args!("{would}{}: {}", counted(tokens.all(), "token"), tokens.text()));
                if spent.all() > 0 {
                    console.line(format_args!(
                        "{would}{} of deleted tokens: {}",
                        counted(spent.all(), "digest"),
                        spent.text()
                    ));
                }
            }
            Format::Json => {
                let report = json!({
                    "dryRun": self.is_dry_run,
                    "tokens": self.tokens.json(),
                    "spent": self.spent.json(),
                    "changes": self.told,
                    "untold": self.untold,
                });
                console.print(&format!("{report:#}\n"));
            }
        }
    }

    /// What each line starts with that is not true yet.
    const fn prefix(&self) -> &'static str {
        if self.is_dry_run { "dry run: " } else { "" }
    }

    fn tell(&mut self, subject: &Subject, told: Told, console: &mut Console<'_>) {
        match self.output {
            Format::Text => {
                let subject = match subject {
                    Subject::Token { line, id, name } => format!("line {line}: {id} `{}`", name.escape_debug()),
                    Subject::Digest(fingerprint) => format!("digest {fingerprint}…"),
                };
                let reason = told.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let would = self.prefix();
                console.line(format_args!("{would}{subject}: {}{reason}", told.outcome));
            }
            Format::Json if self.told.len() >= TOLD_MAX => self.untold += 1,
            Format::Json => self.told.push(match subject {
                Subject::Token { line, id, name } => json!({
                    "line": line, "id": id.get(), "name": name, "outcome": told.outcome, "reason": told.reason,
                }),
                Subject::Digest(fingerprint) => {
                    json!({ "fingerprint": fingerprint, "outcome": told.outcome, "reason": told.reason })
                }
            }),
        }
    }
}

impl Totals {
    const fn all(&self) -> usize {
        self.created + self.replaced + self.unchanged + self.conflicts + self.deleted
    }

    fn text(&self) -> String {
        let parts = [
            (self.created, "created"),
            (self.replaced, "replaced"),
            (self.unchanged, "unchanged"),
            (self.conflicts, "in conflict"),
            (self.deleted, "deleted"),
        ];
        let parts =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
    }

    fn json(&self) -> Value {
        json!({
            "created": self.created,
            "replaced": self.replaced,
            "unchanged": self.unchanged,
            "conflicts": self.conflicts,
            "deleted": self.deleted,
        })
    }
}
