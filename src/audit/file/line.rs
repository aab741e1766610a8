//! One entry as one line of JSON.

use super::LINE_MAX_BYTES;
use super::chain::Tail;
use crate::audit::{Actor, AuditEntry, AuditEvent, Change};
use crate::token::candidates::without_secrets;
use crate::token::{ForeignId, PrincipalId, RoleName, TokenId, TokenOrigin, TokenRecord};
use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;
use std::io;

/// How every line starts.
const START: &[u8] = b"{\"seq\":";

/// What ties a line to the one before it.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) prev: String,
}

/// All of a line but its link.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    outcome: &'static str,
    actor: ActorLine<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    detail: Detail<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ActorLine<'a> {
    Token { token: u64, name: &'a str },
    Foreign { foreign: &'a str },
    Program(&'static str),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Nothing {},
    Started {
        policy: String,
    },
    Replaced {
        policy_before: String,
        policy: String,
    },
    Kept {
        policy: String,
        reason: &'a str,
    },
    Token {
        token: TokenLine<'a>,
    },
    Updated {
        before: TokenLine<'a>,
        token: TokenLine<'a>,
    },
    Failed {
        change: &'static str,
        reason: &'a str,
        token: TokenLine<'a>,
    },
    Spent {
        fingerprint: String,
    },
    SpendFailed {
        change: &'static str,
        reason: &'a str,
        fingerprint: String,
    },
    Refused {
        change: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_id: Option<u64>,
        reason: &'a str,
        #[serde(skip_serializing_if = "is_zero")]
        left_out: u64,
    },
    Denied {
        method: &'a str,
        path: &'a str,
        decision_id: &'a str,
        #[serde(skip_serializing_if = "is_zero")]
        left_out: u64,
    },
    LeftOut {
        token_id: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        foreign: Option<&'a str>,
        count: u64,
        since: String,
    },
    Lost {
        count: u64,
        since: String,
    },
    Counted {
        count: u64,
    },
}

/// A token without its secret and without its whole digest.
#[derive(Serialize)]
struct TokenLine<'a> {
    id: u64,
    fingerprint: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    origin: &'static str,
    roles: Vec<&'a str>,
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    former: Option<FormerLine>,
}

/// The secret that a token had before, while that one lives on.
#[derive(Serialize)]
struct FormerLine {
    fingerprint: String,
    expires: String,
}

/// An entry without its link, which is known when it is its turn to be written.
pub(super) fn body(entry: &AuditEntry<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    Line::of(entry).serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Visible))?;
    Ok(bytes)
}

/// Continues a log that ends so by this entry, and gives where it ends then. When the line would have more than
/// [`LINE_MAX_BYTES`], nothing is added, and the error is its length.
pub(super) fn append(log: &mut Vec<u8>, body: &[u8], tail: &Tail) -> Result<Tail, usize> {
    let seq = tail.seq.saturating_add(1);
    let link = format!("{{\"seq\":{seq},\"prev\":\"{}\",", hex(&tail.digest()));
    let body = body.strip_prefix(b"{").unwrap_or(body);
    // The ends of this line and of a torn one before it count.
    let length = link.len() + body.len() + 1 + usize::from(tail.is_torn);
    if length > LINE_MAX_BYTES {
        return Err(length);
    }
    if tail.is_torn {
        log.push(b'\n');
    }
    let start = log.len();
    log.extend_from_slice(link.as_bytes());
    log.extend_from_slice(body);
    let after = Tail::at(seq, log.get(start..).unwrap_or_default());
    log.push(b'\n');
    Ok(after)
}

/// Whether a line may be the beginning of an entry.
pub(super) fn may_be_torn(line: &[u8]) -> bool {
    START.starts_with(line) || line.starts_with(START)
}

/// Whether a line may be the beginning of the entry with this number.
pub(super) fn may_begin(line: &[u8], seq: u64) -> bool {
    let mut start = START.to_vec();
    start.extend_from_slice(format!("{seq},").as_bytes());
    start.starts_with(line) || line.starts_with(&start)
}

pub(super) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Link {
    /// The link of a whole line; `None` when it is no entry.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

impl<'a> Line<'a> {
    fn of(entry: &AuditEntry<'a>) -> Self {
        Self {
            time: entry.at.to_string(),
            event: entry.event.name(),
            outcome: entry.event.outcome().name(),
            actor: match entry.actor {
                Actor::Principal(principal) => match &principal.id {
                    PrincipalId::Token(id) => ActorLine::Token { token: id.get(), name: &principal.name },
                    PrincipalId::Foreign(id) => ActorLine::Foreign { foreign: id.as_str() },
                },
                Actor::Program => ActorLine::Program("rolegate"),
            },
            client_ip: entry.client_ip.map(|ip| ip.to_string()),
            request_id: entry.request_id,
            detail: Detail::of(&entry.event),
        }
    }
}

impl<'a> Detail<'a> {
    fn of(event: &AuditEvent<'a>) -> Self {
        match *event {
            AuditEvent::Started { policy } => Self::Started { policy: policy.to_string() },
            AuditEvent::TokenCreated(token)
            | AuditEvent::TokenDisabled(token)
            | AuditEvent::TokenEnabled(token)
            | AuditEvent::TokenDeleted(token) => Self::Token { token: TokenLine::of(token) },
            AuditEvent::TokenUpdated { before, after } | AuditEvent::TokenRotated { before, after } => {
                Self::Updated { before: TokenLine::of(before), token: TokenLine::of(after) }
            }
            AuditEvent::TokensExported { count } | AuditEvent::TokensImported { count } => {
                Self::Counted { count }
            }
            AuditEvent::ChangeFailed { change, token, reason } => {
                Self::Failed { change: change.name(), reason, token: TokenLine::of(token) }
            }
            AuditEvent::DigestSpent(digest) => Self::Spent { fingerprint: digest.fingerprint() },
            AuditEvent::SpendFailed { digest, reason } => {
                let (change, fingerprint) = (Change::Spend.name(), digest.fingerprint());
                Self::SpendFailed { change, reason, fingerprint }
            }
            AuditEvent::ChangeRefused { change, token, reason, left_out } => {
                Self::Refused { change: change.name(), token_id: token.map(TokenId::get), reason, left_out }
            }
            AuditEvent::PoliciesReplaced { before, after } => {
                Self::Replaced { policy_before: before.to_string(), policy: after.to_string() }
            }
            AuditEvent::PoliciesKept { policy, reason, .. } => {
                Self::Kept { policy: policy.to_string(), reason }
            }
            AuditEvent::AdminDenied { method, path, decision_id, left_out } => {
                Self::Denied { method, path, decision_id, left_out }
            }
            AuditEvent::DenialsLeftOut { principal, count, since } => Self::LeftOut {
                token_id: principal.and_then(PrincipalId::token).map(TokenId::get),
                foreign: principal.and_then(PrincipalId::foreign).map(ForeignId::as_str),
                count,
                since: since.to_string(),
            },
            AuditEvent::EntriesLost { count, since } => Self::Lost { count, since: since.to_string() },
            AuditEvent::LogReopened => Self::Nothing {},
        }
    }
}

impl<'a> TokenLine<'a> {
    fn of(token: &'a TokenRecord) -> Self {
        Self {
            id: token.id.get(),
            fingerprint: token.digest.fingerprint(),
            name: &token.name,
            description: token.description.as_deref(),
            origin: match token.origin {
                TokenOrigin::Api => "api",
                TokenOrigin::Bootstrap => "bootstrap",
                TokenOrigin::Declared => "declared",
            },
            roles: token.roles.iter().map(RoleName::as_str).collect(),
            expires: token.expires.map(|expires| expires.to_string()),
            disabled: token.disabled.map(|since| since.to_string()),
            former: token.former.map(|former| FormerLine {
                fingerprint: former.digest.fingerprint(),
                expires: former.expires.to_string(),
            }),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Compact JSON in which whatever a terminal would obey or hide is escaped, beyond what JSON asks for, and where no
/// generated secret stands, wherever a client wrote one.
pub(crate) struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        for part in without_secrets(text).split_inclusive(is_invisible) {
            let hidden = part.chars().next_back().filter(|letter| is_invisible(*letter));
            let Some(hidden) = hidden else {
                out.write_all(part.as_bytes())?;
                continue;
            };
            out.write_all(part.strip_suffix(hidden).unwrap_or_default().as_bytes())?;
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, and those that reverse or join what stands around them.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
