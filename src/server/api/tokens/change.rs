//! What changes tokens: create, rotate, disable, enable, update and delete.

use super::super::body::{self, Fields};
use super::super::{Api, Sent};
use super::shown::{Description, former_expiration};
use crate::engine::{ChangeError, CreatedToken, NewToken, Permit, TokenChanges};
use crate::front::reply::{self, Failure, Reply};
use crate::time::Timestamp;
use crate::token::{ROLES_PER_TOKEN_MAX, RoleName, TokenId, TokenRecord};
use http::StatusCode;
use serde::Serialize;

/// What a change of a token may say. An expiry is `expiryDate` to those who ask, and `expiration` in answers.
const CHANGES: [&str; 5] = ["name", "description", "roles", "expiryDate", "unique"];

/// A token with its new secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revealed<'a> {
    id: u64,
    name: &'a str,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    former_expiration: Option<i64>,
}

/// A new token.
pub(in crate::server::api) fn create(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    let (new, now) = (read_new(&sent.body)?, api.now());
    concluded("created", api.engine.create(permit, new, now), |created| revealed(&created, now))
}

/// Another secret for a token. The body may say for how long the one before lives on.
pub(super) fn rotate(api: &Api, permit: &Permit, id: TokenId, sent: &Sent) -> Result<Reply, Failure> {
    let now = api.now();
    let mut grace = None;
    if !sent.body.is_empty() {
        let mut fields = Fields::read(&sent.body)?;
        fields.only(&["gracePeriod"])?;
        grace = fields.duration("gracePeriod")?;
    }
    let rotated = api.engine.rotate(permit, id, grace.unwrap_or_default(), now);
    concluded("rotated", rotated, |rotated| revealed(&rotated, now))
}

/// A token off, or on again.
pub(super) fn set_enabled(
    api: &Api,
    permit: &Permit,
    id: TokenId,
    is_enabled: bool,
) -> Result<Reply, Failure> {
    let now = api.now();
    let what = if is_enabled { "enabled" } else { "disabled" };
    concluded(what, api.engine.set_enabled(permit, id, is_enabled, now), |record| described(&record, now))
}

/// Other words, roles or another expiry for a token.
pub(super) fn update(api: &Api, permit: &Permit, id: TokenId, sent: &Sent) -> Result<Reply, Failure> {
    let (changes, now) = (read_changes(&sent.body)?, api.now());
    concluded("updated", api.engine.change(permit, id, &changes, now), |record| described(&record, now))
}

pub(super) fn delete(api: &Api, permit: &Permit, id: TokenId) -> Result<Reply, Failure> {
    concluded("deleted", api.engine.delete(permit, id, api.now()), |()| reply::empty(StatusCode::NO_CONTENT))
}

/// The answer to a change, in the way in which all of them are refused.
fn concluded<T>(
    what: &str,
    outcome: Result<T, ChangeError>,
    tell: impl FnOnce(T) -> Reply,
) -> Result<Reply, Failure> {
    match outcome {
        Ok(done) => Ok(tell(done)),
        Err(ChangeError::Revoked) => Ok(reply::unauthenticated()),
        Err(error @ ChangeError::ExpiryPast) => Ok(reply::invalid_expiry(&error.to_string())),
        Err(error) => Err(super::refused(what, &error)),
    }
}

fn revealed(created: &CreatedToken, now: Timestamp) -> Reply {
    let record = &created.record;
    let answer = Revealed {
        id: record.id.get(),
        name: &record.name,
        token: created.secret.expose(),
        expiration: record.expires.map(Timestamp::as_millis),
        former_expiration: former_expiration(record, now),
    };
    reply::json(StatusCode::OK, &answer)
}

fn described(record: &TokenRecord, now: Timestamp) -> Reply {
    reply::json(StatusCode::OK, &Description::of_record(record, now))
}

fn read_new(bytes: &[u8]) -> Result<NewToken, Failure> {
    let mut fields = Fields::read(bytes)?;
    let name = fields.text("name")?.ok_or_else(|| body::missing("name"))?;
    let roles = read_roles(&fields.texts("roles")?.ok_or_else(|| body::missing("roles"))?)?;
    // The newest client always sends a subject, and an empty one when there is none.
    let dedicated_subject = fields.text("dedicatedSubject")?.filter(|subject| !subject.is_empty());
    Ok(NewToken {
        name,
        description: fields.text("description")?,
        roles,
        expires: fields.integer("expiryDate")?.map(Timestamp::from_millis),
        dedicated_subject,
        unique: fields.switch("unique")?,
    })
}

fn read_changes(bytes: &[u8]) -> Result<TokenChanges, Failure> {
    let mut fields = Fields::read(bytes)?;
    fields.only(&CHANGES)?;
    if !CHANGES.iter().any(|name| *name != "unique" && fields.has(name)) {
        let message =
            "the request body changes nothing: it takes `name`, `description`, `roles` or `expiryDate`";
        return Err(Failure::bad_request(message));
    }
    let (has_description, has_expiry) = (fields.has("description"), fields.has("expiryDate"));
    Ok(TokenChanges {
        name: fields.firm_text("name")?,
        description: has_description.then(|| fields.text("description")).transpose()?,
        roles: fields.firm_texts("roles")?.map(|names| read_roles(&names)).transpose()?,
        expires: has_expiry
            .then(|| fields.integer("expiryDate"))
            .transpose()?
            .map(|millis| millis.map(Timestamp::from_millis)),
        unique: fields.switch("unique")?,
    })
}

/// The roles with these names, each once.
fn read_roles(names: &[String]) -> Result<Vec<RoleName>, Failure> {
    if names.len() > ROLES_PER_TOKEN_MAX {
        return Err(super::refused("read", &ChangeError::TooManyRoles));
    }
    let mut roles = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let role = RoleName::parse(name)
            .map_err(|error| Failure::bad_request(format!("the request body's `roles[{at}]`: {error}")))?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}
