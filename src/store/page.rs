//! Pages of tokens: an order, a filter, and where the page before ended.

use super::usage::Usage;
use crate::time::Timestamp;
use crate::token::{RoleName, TokenId, TokenRecord};
use std::cmp::Ordering;

/// The most tokens on a page.
pub const PAGE_MAX: usize = 1_000;
/// The most tokens that are looked at for a page. One with a filter that few pass may be short, or empty, though
/// there is more.
pub const PAGE_SCAN_MAX: usize = 10_000;

/// Which tokens are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// In which order.
    pub order: Order,
    /// Which ones.
    pub filter: Filter,
    /// After which position; `None` is from the start.
    pub after: Option<Position>,
    /// How many at most: no more than [`PAGE_MAX`] are given.
    pub limit: usize,
}

/// An order of tokens. Tokens that are alike in it are in the order of their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub by: OrderBy,
    /// Whether the last comes first.
    pub is_descending: bool,
}

/// What tokens are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderBy {
    /// Their creation.
    #[default]
    Created,
    /// Their names, by code points.
    Name,
    /// Their expiry; those that never expire come last.
    Expires,
}

/// Which tokens are wanted: those that all of these hold for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The name.
    pub name: Option<NameFilter>,
    /// A role that the token was given.
    pub role: Option<RoleName>,
    /// A point in time before which the token expires or has expired.
    pub expires_before: Option<Timestamp>,
    /// A point in time since which the token was not used. One that was never used counts from its creation.
    pub unused_since: Option<Timestamp>,
}

/// Which names are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFilter {
    /// This one.
    Exact(String),
    /// All that start so.
    Prefix(String),
}

/// A place between two tokens of an order: what the token before it is ordered by, and its id. It stays where it
/// is when that token goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// What the token is ordered by.
    pub key: Key,
    /// Its id.
    pub id: TokenId,
}

/// What a token is ordered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// When it was created.
    Created(Timestamp),
    /// Its name.
    Name(String),
    /// When it expires.
    Expires(Expiry),
}

/// An expiry that can be ordered: never is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// At this point.
    At(Timestamp),
    /// Not at all.
    Never,
}

/// Some tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The tokens, in order.
    pub tokens: Vec<Listed>,
    /// Where the next page starts; `None` when this is the last.
    pub next: Option<Position>,
}

/// A token of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The token.
    pub record: TokenRecord,
    /// What is known of its use.
    pub usage: Option<Usage>,
}

impl PageQuery {
    /// The first page of an order, with all tokens.
    pub fn first(order: Order) -> Self {
        Self { order, filter: Filter::default(), after: None, limit: PAGE_MAX }
    }

    /// How many tokens a page has at most.
    pub fn limit(&self) -> usize {
        self.limit.clamp(1, PAGE_MAX)
    }
}

impl Order {
    /// Where a token stands.
    pub fn position(self, record: &TokenRecord) -> Position {
        let key = match self.by {
            OrderBy::Created => Key::Created(record.created),
            OrderBy::Name => Key::Name(record.name.clone()),
            OrderBy::Expires => Key::Expires(record.expires.map_or(Expiry::Never, Expiry::At)),
        };
        Position { key, id: record.id }
    }

    /// Which of two positions comes first.
    pub fn compare(self, one: &Position, other: &Position) -> Ordering {
        let ascending = one.cmp(other);
        if self.is_descending { ascending.reverse() } else { ascending }
    }
}

impl Filter {
    /// Whether a token is wanted.
    pub fn admits(&self, record: &TokenRecord, usage: Option<&Usage>) -> bool {
        self.admits_record(record) && self.admits_use(record, usage)
    }

    /// Whether a token is wanted as far as its record tells.
    fn admits_record(&self, record: &TokenRecord) -> bool {
        let is_named = self.name.as_ref().is_none_or(|name| name.admits(&record.name));
        let has_role = self.role.as_ref().is_none_or(|role| record.roles.contains(role));
        let expires = self.expires_before.is_none_or(|end| record.expires.is_some_and(|it| it < end));
        is_named && has_role && expires
    }

    /// Whether a token is wanted as far as its use tells.
    fn admits_use(&self, record: &TokenRecord, usage: Option<&Usage>) -> bool {
        let last_used = usage.map_or(record.created, |usage| usage.last_used);
        self.unused_since.is_none_or(|start| last_used < start)
    }
}

impl NameFilter {
    /// Whether a name is wanted.
    pub fn admits(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => name == wanted,
            Self::Prefix(start) => name.starts_with(start.as_str()),
        }
    }
}

impl Page {
    /// A page of tokens that come in the order of the query, from its position on. The use of a token is asked for
    /// only when the page shows it, or the filter is about it.
    ///
    /// # Errors
    /// The first error that comes instead of a token or its use.
    pub fn gather<E>(
        query: &PageQuery,
        tokens: impl IntoIterator<Item = Result<TokenRecord, E>>,
        mut usage_of: impl FnMut(TokenId) -> Result<Option<Usage>, E>,
    ) -> Result<Self, E> {
        let mut page = Self::default();
        let mut last = None;
        for (seen, record) in tokens.into_iter().enumerate() {
            if seen >= PAGE_SCAN_MAX || page.tokens.len() >= query.limit() {
                page.next = last;
                break;
            }
            let record = record?;
            last = Some(query.order.position(&record));
            if query.filter.admits_record(&record) {
                let usage = usage_of(record.id)?;
                if query.filter.admits_use(&record, usage.as_ref()) {
                    page.tokens.push(Listed { record, usage });
                }
            }
        }
        Ok(page)
    }
}
