//! What a token may be, and which roles there are to give.

use super::change::{ChangeError, ProvisionError};
use super::lifecycle::GRACE_MAX;
use crate::bootstrap::{BOOTSTRAP_NAME, Provision};
use crate::policy::PolicySet;
use crate::time::Timestamp;
use crate::token::{NAME_MAX_BYTES, ROLES_PER_TOKEN_MAX, RoleName, TokenRecord};

/// Refuses what no token may be.
pub(super) fn check_new(
    record: &TokenRecord,
    policies: &PolicySet,
    now: Timestamp,
) -> Result<(), ChangeError> {
    check_content(record)?;
    refuse_unknown_role(record, policies)?;
    if record.is_expired(now) {
        return Err(ChangeError::ExpiryPast);
    }
    Ok(())
}

/// Refuses what no token may be, whatever the policies and the time.
pub(super) fn check_content(record: &TokenRecord) -> Result<(), ChangeError> {
    let texts = [
        ("name", Some(&record.name)),
        ("description", record.description.as_ref()),
        ("dedicated subject", record.dedicated_subject.as_ref()),
    ];
    for (field, text) in texts {
        if text.is_some_and(|text| text.len() > NAME_MAX_BYTES || text.chars().any(char::is_control)) {
            return Err(ChangeError::Text { field });
        }
    }
    if record.roles.len() > ROLES_PER_TOKEN_MAX {
        return Err(ChangeError::TooManyRoles);
    }
    let outlives = |end: Timestamp| record.expires.is_some_and(|expires| expires < end);
    if record.former.is_some_and(|former| former.digest == record.digest || outlives(former.expires)) {
        return Err(ChangeError::Former);
    }
    Ok(())
}

/// Refuses a former secret that would live on for longer than any rotation lets it.
pub(super) fn refuse_long_former(record: &TokenRecord, now: Timestamp) -> Result<(), ChangeError> {
    if record.former.is_some_and(|former| former.expires > now.saturating_add(GRACE_MAX)) {
        return Err(ChangeError::FormerTooLong);
    }
    Ok(())
}

pub(super) fn refuse_unknown_role(record: &TokenRecord, policies: &PolicySet) -> Result<(), ChangeError> {
    if let Some(role) = record.roles.iter().find(|role| !policies.has_role(role.as_str())) {
        return Err(ChangeError::UnknownRole { role: role.clone(), known: known_roles(policies) });
    }
    Ok(())
}

pub(super) fn refuse_unknown_roles(
    provision: &Provision,
    policies: &PolicySet,
) -> Result<(), ProvisionError> {
    let bootstrap = provision.bootstrap.iter().map(|block| (BOOTSTRAP_NAME, &block.roles));
    let declared = provision.declared.iter().map(|token| (token.name.as_str(), &token.roles));
    for (token, roles) in bootstrap.chain(declared) {
        if let Some(role) = roles.iter().find(|role| !policies.has_role(role.as_str())) {
            return Err(ProvisionError::UnknownRole {
                token: token.to_owned(),
                role: role.clone(),
                known: known_roles(policies),
            });
        }
    }
    Ok(())
}

fn known_roles(policies: &PolicySet) -> String {
    let mut names: Vec<&str> = policies.roles().iter().map(RoleName::as_str).collect();
    names.sort_unstable();
    names.join(", ")
}
