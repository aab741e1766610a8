//! The log lines that tell what became of the configured tokens. They show ids and fingerprints, never a secret.

use super::{Asked, Notice, Step};
use crate::store::AfterDelete;
use crate::token::{RoleName, TokenRecord};
use std::fmt;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(record) => {
                write!(f, "created token {} with {}, {}", Named(record), Roles(record), Life(record))
            }
            Self::Update { before, after } => {
                write!(f, "updated token {}:", Named(before))?;
                let mut separator = " ";
                if before.name != after.name {
                    write!(f, "{separator}its name is now `{}`", after.name.escape_debug())?;
                    separator = ", ";
                }
                if before.roles != after.roles {
                    write!(f, "{separator}it now has {}", Roles(after))?;
                    separator = ", ";
                }
                if before.expires != after.expires {
                    // The moment of the change is the record's own: a shorter ttl may lie in the past by then.
                    let past = if after.is_expired(after.updated) { ", which has passed" } else { "" };
                    write!(f, "{separator}it now {}{past}", Life(after))?;
                    separator = ", ";
                }
                if before.origin != after.origin {
                    write!(f, "{separator}it is now a declared token")?;
                }
                Ok(())
            }
            Self::Delete(record, AfterDelete::RefuseDigest) => {
                write!(f, "deleted token {}: another token takes its place", Named(record))
            }
            Self::Delete(record, AfterDelete::ForgetDigest) => {
                write!(f, "deleted token {}: it is no longer declared", Named(record))
            }
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged(record) => {
                write!(f, "token {} is there, with {}, {}", Named(record), Roles(record), Life(record))
            }
            Self::BlockGone(record) => write!(
                f,
                "no bootstrap token is configured any more; token {} {}: delete it when it is not needed",
                Named(record),
                Life(record)
            ),
            Self::Expired(record) => write!(
                f,
                "token {} has expired and is not revived: configure another token in its place",
                Named(record)
            ),
            Self::Deleted(asked) => write!(
                f,
                "token {asked} was deleted and is not created again: configure another token in its place"
            ),
            Self::ExpiredBefore(asked) => {
                write!(f, "token {asked} is configured to have expired already and is not created")
            }
            Self::OwnedByApi(record) => write!(
                f,
                "token {} was created through the API and stays as it is, with {}, whatever is configured",
                Named(record),
                Roles(record)
            ),
            Self::CreatedElsewhere(record) => write!(
                f,
                "token `{}` with fingerprint {} was created by another process at the same moment",
                record.name.escape_debug(),
                record.digest.fingerprint()
            ),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` with fingerprint {}", self.name.escape_debug(), self.fingerprint)
    }
}

struct Named<'a>(&'a TokenRecord);
struct Roles<'a>(&'a TokenRecord);
struct Life<'a>(&'a TokenRecord);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.0.id, self.0.name.escape_debug())
    }
}

impl fmt::Display for Roles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<&str> = self.0.roles.iter().map(RoleName::as_str).collect();
        match roles.as_slice() {
            [] => f.write_str("no roles"),
            [role] => write!(f, "role {role}"),
            roles => write!(f, "roles {}", roles.join(", ")),
        }
    }
}

impl fmt::Display for Life<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.expires {
            None => f.write_str("never expires"),
            Some(expires) => write!(f, "expires at {expires}"),
        }
    }
}
