//! Finds one decision in a log, line by line, whatever else the file holds.

use super::line::{LINE_MAX_BYTES, Line, TokenLine};
use crate::decision::{ConditionOutcome, RuleId};
use crate::path::CanonicalPath;
use crate::policy::explain::Fact;
use crate::request::{Credential, Request, RequestParts};
use crate::time::Timestamp;
use crate::token::{ForeignId, Principal, PrincipalId, RoleName, TokenId, TokenName};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::io::{self, BufRead};
use std::sync::Arc;

/// How every line starts.
const LINE_START: &[u8] = b"{\"time\":";
/// The ids of a line stand within so many bytes from its start.
const IDS_MAX_BYTES: usize = 512;

/// What the search came to.
#[derive(Debug)]
pub struct Found {
    /// The decision, when the log has it.
    pub past: Option<Past>,
    /// Lines that are no decisions.
    pub odd_lines: u64,
    /// Whether the last line lacks its end: its writer was stopped, or is at it.
    pub is_torn: bool,
}

/// A decision that was made, with what is known of its request.
#[derive(Debug)]
pub struct Past {
    /// Its id; decisions that allow have none.
    pub decision_id: Option<String>,
    /// The id of its request.
    pub request_id: Option<String>,
    /// When it was made.
    pub at: Timestamp,
    /// By which policies, as their version is written.
    pub policy_version: String,
    /// Whether it allowed.
    pub is_allow: bool,
    /// Whose request it was.
    pub principal: Option<Principal>,
    /// Why the request had no live token.
    pub cause: Option<String>,
    /// The request, as far as it was recorded.
    pub request: Request,
    /// Where the rule stands that decided.
    pub rule: Option<String>,
    /// The number of that rule in those policies.
    pub rule_number: Option<u32>,
    /// What the conditions said.
    pub outcomes: Vec<ConditionOutcome>,
    headers: Vec<HeaderName>,
    query: Vec<String>,
}

/// Why a log does not give a decision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The log cannot be read.
    #[error("cannot read the decision log: {0}")]
    Io(#[from] io::Error),
    /// The line is there and says what cannot be.
    #[error("line {line} of the decision log has this decision, but {what}")]
    Content {
        /// The number of the line.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

/// Looks for the decision with this id, or the one on the request with this id. `progress` hears how many bytes were
/// read.
///
/// # Errors
/// When the log cannot be read, and when the decision is there and cannot be understood.
pub fn find(mut log: impl BufRead, id: &str, mut progress: impl FnMut(u64)) -> Result<Found, FindError> {
    let mut found = Found { past: None, odd_lines: 0, is_torn: false };
    let (mut number, mut read) = (0, 0);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let ended = read_line(&mut log, &mut bytes)?;
        if ended.length == 0 {
            return Ok(found);
        }
        number += 1;
        read += ended.length;
        progress(read);
        found.is_torn = !ended.is_whole;
        if ended.is_too_long {
            found.odd_lines += 1;
            continue;
        }
        // A cheap look first: most lines are about something else.
        if !bytes.starts_with(LINE_START) {
            found.odd_lines += u64::from(ended.is_whole);
        } else if names(&bytes, id) {
            match serde_json::from_slice::<Line>(&bytes) {
                Ok(line) if line.is_about(id) => {
                    let wrong = |what| FindError::Content { line: number, what };
                    found.past = Some(Past::of(line).map_err(wrong)?);
                    return Ok(found);
                }
                Ok(_) => {}
                Err(_) => found.odd_lines += u64::from(ended.is_whole),
            }
        }
    }
}

impl Past {
    fn of(line: Line) -> Result<Self, String> {
        let at = time(&line.time)?;
        let mut headers = HeaderMap::new();
        let mut names = Vec::new();
        for (name, value) in &line.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is no header"))?;
            if let Some(value) = value {
                let value =
                    HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` is none"))?;
                headers.append(name.clone(), value);
            }
            names.push(name);
        }
        let path = match line.path.as_str() {
            "*" => CanonicalPath::asterisk(),
            path => CanonicalPath::parse(path).map_err(|error| format!("its path is refused: {error}"))?,
        };
        let client_ip = line.client_ip.as_deref().map(str::parse).transpose();
        let request = Request::from(RequestParts {
            method: line.method.parse().map_err(|_| "its method is none".to_owned())?,
            path,
            query: query(&line.query),
            headers,
            host: None,
            client_ip: client_ip.map_err(|_| "its client address is none".to_owned())?,
            credential: Credential::Missing,
            id: line.request_id.as_deref().map(Arc::from),
        });
        let outcomes = line.conditions.into_iter().map(|condition| ConditionOutcome {
            rule: RuleId(condition.rule.number),
            route: condition.route,
            result: match condition.outcome.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err("it failed when the request was decided; the log of the server says why".to_owned()),
            },
        });
        Ok(Self {
            decision_id: line.decision_id,
            request_id: line.request_id,
            at,
            policy_version: line.policy_version,
            is_allow: line.verdict == "allow",
            principal: line.token.map(principal).transpose()?,
            cause: line.cause,
            request,
            rule_number: line.rule.as_ref().map(|rule| rule.number),
            rule: line.rule.map(|rule| rule.place),
            outcomes: outcomes.collect(),
            headers: names,
            query: line.query.into_keys().collect(),
        })
    }

    /// Whether the request has this as it was when it was decided.
    pub fn knows(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Header(name) => self.headers.iter().any(|known| known.as_str().eq_ignore_ascii_case(name)),
            Fact::Query(name) => self.query.iter().any(|known| **known == **name),
            // What the embedding program said then, it may not say now.
            Fact::Call(_) => false,
            _ => true,
        }
    }
}

impl Line {
    fn is_about(&self, id: &str) -> bool {
        [&self.decision_id, &self.request_id].into_iter().any(|known| known.as_deref() == Some(id))
    }
}

/// How a line ended.
struct Ended {
    length: u64,
    is_whole: bool,
    is_too_long: bool,
}

/// Reads up to the end of a line; of one that is too long nothing is kept.
fn read_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Ended> {
    let mut ended = Ended { length: 0, is_whole: false, is_too_long: false };
    loop {
        let buffer = match log.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(ended);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let (part, used) = match end.and_then(|end| buffer.split_at_checked(end)) {
            Some((part, _)) => (part, part.len() + 1),
            None => (buffer, buffer.len()),
        };
        if line.len() + part.len() > LINE_MAX_BYTES {
            ended.is_too_long = true;
            line.clear();
        } else if !ended.is_too_long {
            line.extend_from_slice(part);
        }
        log.consume(used);
        ended.length += used as u64;
        if end.is_some() {
            ended.is_whole = true;
            return Ok(ended);
        }
    }
}

/// Whether the text stands where a line has its ids.
fn names(line: &[u8], id: &str) -> bool {
    let start = line.get(..IDS_MAX_BYTES).unwrap_or(line);
    !id.is_empty() && start.windows(id.len()).any(|window| window == id.as_bytes())
}

fn time(text: &str) -> Result<Timestamp, String> {
    let time = humantime::parse_rfc3339(text);
    time.map(Timestamp::from).map_err(|_| format!("`{}` is no time", text.escape_debug()))
}

fn principal(token: TokenLine) -> Result<Principal, String> {
    let roles: Result<Vec<RoleName>, _> = token.roles.iter().map(|role| RoleName::parse(role)).collect();
    Ok(Principal {
        id: principal_id(token.id, token.foreign.as_deref())?,
        name: TokenName::from(token.name),
        roles: roles.map_err(|error| format!("a role is none: {error}"))?.into(),
        created: time(&token.created)?,
    })
}

/// By what the principal is known: one of the two.
fn principal_id(token: Option<u64>, foreign: Option<&str>) -> Result<PrincipalId, String> {
    match (token, foreign) {
        (Some(number), None) => {
            let id = TokenId::new(number).ok_or_else(|| format!("{number} is no token id"))?;
            Ok(id.into())
        }
        (None, Some(text)) => {
            let id = ForeignId::parse(text).map_err(|error| format!("its principal is none: {error}"))?;
            Ok(id.into())
        }
        (None, None) | (Some(_), Some(_)) => Err("its principal has no id, or two".to_owned()),
    }
}

/// A query of the parameters that were recorded.
fn query(parameters: &std::collections::BTreeMap<String, Option<String>>) -> Option<Box<str>> {
    let pairs = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let encoded: Vec<String> =
        pairs.map(|(name, value)| format!("{}={}", form_encode(name), form_encode(value))).collect();
    (!encoded.is_empty()).then(|| encoded.join("&").into())
}

fn form_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}
