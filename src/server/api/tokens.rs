//! `/api/security/tokens`: list, create and delete service tokens.

use super::super::reply::{self, Failure, Reply};
use super::body::{self, Fields};
use super::{Api, Sent};
use crate::engine::{ChangeError, NewToken, Permit};
use crate::time::Timestamp;
use crate::token::{ROLES_PER_TOKEN_MAX, RoleName, TokenId, TokenRecord};
use http::{Method, StatusCode};
use serde::Serialize;

/// Where the tokens are.
pub(super) const PATH: &str = "/api/security/tokens";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedToken<'a> {
    id: u64,
    last_update_timestamp: i64,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<i64>,
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedicated_subject: Option<&'a str>,
}

#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<i64>,
}

/// All tokens.
pub(super) fn collection(api: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    match *permit.method() {
        Method::GET | Method::HEAD => {
            let records = api.engine.list(permit).map_err(|error| failed("listed", &error))?;
            let tokens: Vec<_> = records.iter().map(listed).collect();
            Ok(reply::json(StatusCode::OK, &tokens))
        }
        _ => Err(Failure::method_not_allowed("GET, HEAD, POST")),
    }
}

/// One token, which can be deleted and nothing else.
pub(super) fn item(api: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    if permit.method() != Method::DELETE {
        return Err(Failure::method_not_allowed("DELETE"));
    }
    let text = permit.path().as_str().strip_prefix(PATH).and_then(|rest| rest.strip_prefix('/'));
    let text = text.unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::bad_request(format!("`{text}` is no id of a service token: it is a number")));
    }
    let unknown = || Failure::new(StatusCode::NOT_FOUND, format!("no service token has the id {text}"));
    // One token has one id: a condition of a policy may have compared it as text.
    if text.starts_with('0') {
        return Err(unknown());
    }
    let id = text.parse().ok().and_then(TokenId::new).ok_or_else(unknown)?;
    match api.engine.delete(permit, id, api.now()) {
        Err(ChangeError::Revoked) => Ok(reply::unauthenticated()),
        deleted => {
            deleted.map(|()| reply::empty(StatusCode::NO_CONTENT)).map_err(|error| refused("deleted", &error))
        }
    }
}

/// A new token.
pub(super) fn create(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    let new = read(&sent.body)?;
    let created = match api.engine.create(permit, new, api.now()) {
        Ok(created) => created,
        Err(ChangeError::Revoked) => return Ok(reply::unauthenticated()),
        Err(error @ ChangeError::ExpiryPast) => return Ok(reply::invalid_expiry(&error.to_string())),
        Err(error) => return Err(refused("created", &error)),
    };
    let answer = Created {
        name: &created.record.name,
        token: created.secret.expose(),
        expiration: created.record.expires.map(Timestamp::as_millis),
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

fn read(bytes: &[u8]) -> Result<NewToken, Failure> {
    let mut fields = Fields::read(bytes)?;
    let name = fields.text("name")?.ok_or_else(|| body::missing("name"))?;
    let names = fields.texts("roles")?.ok_or_else(|| body::missing("roles"))?;
    if names.len() > ROLES_PER_TOKEN_MAX {
        return Err(refused("created", &ChangeError::TooManyRoles));
    }
    let mut roles = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let role = RoleName::parse(name)
            .map_err(|error| Failure::bad_request(format!("the request body's `roles[{at}]`: {error}")))?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    // The newest client always sends a subject, and an empty one when there is none.
    let dedicated_subject = fields.text("dedicatedSubject")?.filter(|subject| !subject.is_empty());
    Ok(NewToken {
        name,
        description: fields.text("description")?,
        roles,
        expires: fields.integer("expiryDate")?.map(Timestamp::from_millis),
        dedicated_subject,
        unique: false,
    })
}

fn listed(record: &TokenRecord) -> ListedToken<'_> {
    ListedToken {
        id: record.id.get(),
        last_update_timestamp: record.updated.as_millis(),
        name: &record.name,
        description: record.description.as_deref(),
        expiration: record.expires.map(Timestamp::as_millis),
        roles: record.roles.iter().map(RoleName::as_str).collect(),
        dedicated_subject: record.dedicated_subject.as_deref(),
    }
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
        | ChangeError::Conflict(_) => StatusCode::CONFLICT,
        ChangeError::Text { .. }
        | ChangeError::TooManyRoles
        | ChangeError::UnknownRole { .. }
        | ChangeError::Grace
        | ChangeError::ExpiryPast => StatusCode::BAD_REQUEST,
        ChangeError::Generate(_) | ChangeError::Commit(_) => return failed(what, error),
    };
    Failure::new(status, error.to_string())
}

/// A failure of this server: the log tells the cause, which may name files, and the client learns that
/// nothing was acknowledged.
fn failed(what: &str, error: &impl std::error::Error) -> Failure {
    tracing::error!(%error, "a service token was not {what}");
    let message =
        format!("the service token was not {what}: this server cannot write; its log names the cause");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}
