//! What a key takes, and how that is said.

use super::super::duration::describe;
use super::{CUSTOM_ROLES_MAX, DECLARED_TOKENS_MAX, LIST_MAX_ITEMS, MIB};
use crate::network::NETWORKS_MAX;
use crate::token::ROLES_PER_TOKEN_MAX;
use std::time::Duration;

/// What a key takes.
#[derive(Debug, PartialEq)]
pub enum Kind {
    /// A map with keys of this table.
    Block,
    /// A map whose keys are names of one's own.
    Named,
    /// A list of maps with keys of this table.
    Blocks,
    /// A list of names.
    Names,
    /// A list of a few names, at most so many.
    FewNames(usize),
    /// A list of networks of IP addresses.
    Networks,
    /// A list of the roles of a token.
    Roles,
    /// A list of files and folders.
    Paths,
    /// An IP address with a port.
    Address,
    /// The address of a server.
    Url,
    /// A file or a folder.
    Path,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A duration within these ends.
    Duration(Duration, Duration),
    /// A whole number within these ends.
    Count(u64, u64),
    /// A size within these ends, in bytes.
    Size(u64, u64),
    /// Free text.
    Text,
    /// A secret, itself or as `${VARIABLE}`.
    Secret,
    /// The digest of a token.
    Digest,
    /// A point in time.
    Moment,
    /// A key of the chart that is accepted and has no effect here.
    NoEffect,
}

impl Kind {
    /// Whether it is a single value.
    pub(in crate::config) fn is_scalar(&self) -> bool {
        !matches!(
            self,
            Self::Block
                | Self::Named
                | Self::Blocks
                | Self::Names
                | Self::FewNames(_)
                | Self::Networks
                | Self::Roles
                | Self::Paths
                | Self::NoEffect
        )
    }

    /// Whether it is text, so that a number in its place only lacks its quotes.
    pub(in crate::config) fn is_text(&self) -> bool {
        matches!(self, Self::Path | Self::Url | Self::Text | Self::Secret)
    }

    /// What the key takes, in words that fit after "must be".
    pub fn describe(&self) -> String {
        match self {
            Self::Block => "a map".to_owned(),
            Self::Named => format!("a map of at most {CUSTOM_ROLES_MAX} names"),
            Self::Blocks => format!("a list of at most {DECLARED_TOKENS_MAX} maps"),
            Self::Names => format!("a list of at most {LIST_MAX_ITEMS} names"),
            Self::FewNames(most) => format!("a list of at most {most} names"),
            Self::Networks => format!("a list of at most {NETWORKS_MAX} networks, such as `10.0.0.0/8`"),
            Self::Roles => format!("a list of at most {ROLES_PER_TOKEN_MAX} roles"),
            Self::Paths => format!("a list of at most {LIST_MAX_ITEMS} files and folders"),
            Self::Address => "an IP address with a port, such as `127.0.0.1:8080`".to_owned(),
            Self::Url => "an address such as `https://rolegate.example.com`".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Choice(words) => format!("one of `{}`", words.join("`, `")),
            Self::Duration(least, most) => format!("a duration, {} to {}", describe(*least), describe(*most)),
            Self::Count(least, most) => format!("a whole number, {least} to {most}"),
            Self::Size(least, most) => format!("a size, {} to {}", size(*least), size(*most)),
            Self::Text => "text".to_owned(),
            Self::Secret => "text, or `${VARIABLE}`".to_owned(),
            Self::Digest => "`sha256:` and 64 hexadecimal digits".to_owned(),
            Self::Moment => "a time in UTC, such as `2030-01-31T00:00:00Z`".to_owned(),
            Self::NoEffect => "anything".to_owned(),
        }
    }
}

/// A number of bytes in the largest unit that leaves no rest.
pub fn size(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ if bytes.is_multiple_of(1024) => format!("{} KiB", bytes / 1024),
        _ => bytes.to_string(),
    }
}
