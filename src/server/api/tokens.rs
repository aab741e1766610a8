//! `/api/security/tokens`: the service tokens, each of them, and what can be done with it.

mod change;
mod cursor;
mod list;
mod shown;

pub(super) use change::create;
pub(super) use list::shown as without_end;

use super::usage::UsageReport;
use super::{Api, Sent};
use crate::engine::{ChangeError, Permit, ReadError};
use crate::front::reply::{self, Failure, Reply};
use crate::store::StoreError;
use crate::token::TokenId;
use crate::token::candidates::without_secrets;
use http::{Method, StatusCode};
use shown::Description;

/// Where the tokens are.
pub(super) const PATH: &str = "/api/security/tokens";
const ROTATE: &str = "rotate";
const DISABLE: &str = "disable";
const ENABLE: &str = "enable";
const USAGE: &str = "usage";

/// Whether a path is that of all tokens.
pub(super) fn is_collection(path: &str) -> bool {
    path == PATH
}

/// Whether a path is that of one token, or of something below it.
pub(super) fn is_below(path: &str) -> bool {
    below(path).is_some()
}

/// Whether a path is that of a rotation, which may have a body.
pub(super) fn is_rotation(path: &str) -> bool {
    below(path).is_some_and(|rest| rest.split_once('/').is_some_and(|(_, action)| action == ROTATE))
}

/// All tokens. [`create`] makes another one.
pub(super) fn collection(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    match *permit.method() {
        Method::GET | Method::HEAD => list::list(api, permit, sent),
        _ => Err(Failure::method_not_allowed("GET, HEAD, POST")),
    }
}

/// One token, or what is to be done with it.
pub(super) fn item(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    let rest = below(permit.path().as_str()).unwrap_or_default();
    let (id, action) = match rest.split_once('/') {
        Some((id, action)) => (id, Some(action)),
        None => (rest, None),
    };
    let method = permit.method();
    match action {
        None if *method == Method::GET || *method == Method::HEAD => describe(api, permit, read_id(id)?),
        None if *method == Method::PATCH => change::update(api, permit, read_id(id)?, sent),
        None if *method == Method::DELETE => change::delete(api, permit, read_id(id)?),
        None => Err(Failure::method_not_allowed("GET, HEAD, PATCH, DELETE")),
        Some(ROTATE | DISABLE | ENABLE) if *method != Method::POST => {
            Err(Failure::method_not_allowed("POST"))
        }
        Some(USAGE) if *method == Method::GET || *method == Method::HEAD => usage(api, permit, read_id(id)?),
        Some(USAGE) => Err(Failure::method_not_allowed("GET, HEAD")),
        Some(ROTATE) => change::rotate(api, permit, read_id(id)?, sent),
        Some(DISABLE) => change::set_enabled(api, permit, read_id(id)?, false),
        Some(ENABLE) => change::set_enabled(api, permit, read_id(id)?, true),
        Some(_) => {
            let message = format!("this server has nothing at `{}`", permit.path());
            Err(Failure::new(StatusCode::NOT_FOUND, message))
        }
    }
}

fn describe(api: &Api, permit: &Permit, id: TokenId) -> Result<Reply, Failure> {
    let token = api.engine.get(permit, id).map_err(untold)?;
    Ok(reply::json(StatusCode::OK, &Description::of(&token, api.now())))
}

fn usage(api: &Api, permit: &Permit, id: TokenId) -> Result<Reply, Failure> {
    let (token, privileges) = api.engine.privileges(permit, id).map_err(untold)?;
    Ok(reply::json(StatusCode::OK, &UsageReport::of(&token, &privileges)))
}

/// Why a token is not told of.
fn untold(error: ReadError) -> Failure {
    match error {
        ReadError::Unknown(_) => Failure::new(StatusCode::NOT_FOUND, error.to_string()),
        ReadError::Store(error) => unread(&error),
    }
}

/// What comes after the path of all tokens and a slash.
fn below(path: &str) -> Option<&str> {
    path.strip_prefix(PATH)?.strip_prefix('/')
}

/// The id that a path has. One token has one id: a condition of a policy may have compared it as text.
fn read_id(text: &str) -> Result<TokenId, Failure> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = without_secrets(text);
        return Err(Failure::bad_request(format!("`{text}` is no id of a service token: it is a number")));
    }
    let id = text.parse().ok().and_then(TokenId::new).filter(|_| !text.starts_with('0'));
    id.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("no service token has the id {text}")))
}

/// Why a token was not created, changed or deleted.
pub(super) fn refused(what: &str, error: &ChangeError) -> Failure {
    let status = match error {
        ChangeError::Anonymous
        | ChangeError::Revoked
        | ChangeError::BeyondReach(_)
        | ChangeError::Incomparable(_) => StatusCode::FORBIDDEN,
        ChangeError::Unknown(_) => StatusCode::NOT_FOUND,
        ChangeError::Configured { .. }
        | ChangeError::Expired(_)
        | ChangeError::NameTaken { .. }
        | ChangeError::Outdated
        | ChangeError::Conflict(_) => StatusCode::CONFLICT,
        ChangeError::Text { .. }
        | ChangeError::TooManyRoles
        | ChangeError::UnknownRole { .. }
        | ChangeError::Grace
        | ChangeError::Former
        | ChangeError::FormerTooLong
        | ChangeError::ExpiryPast => StatusCode::BAD_REQUEST,
        ChangeError::Generate(_) | ChangeError::Commit(_) => return failed(what, error),
    };
    Failure::new(status, error.to_string())
}

/// A failure of this server: the log tells the cause, which may name files, and the client learns that
/// nothing was acknowledged.
fn failed(what: &str, error: &ChangeError) -> Failure {
    tracing::error!(%error, "a service token was not {what}");
    let message =
        format!("the service token was not {what}: this server cannot write; its log names the cause");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// The store does not tell of its tokens.
fn unread(error: &StoreError) -> Failure {
    tracing::error!(%error, "service tokens were not read");
    let message = "the service tokens cannot be read; the log of this server names the cause";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}
