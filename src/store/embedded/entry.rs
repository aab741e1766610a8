//! What the tables of a store hold of one token, as bytes.

use super::orders::{self, ORDERS};
use super::{DIGESTS, row};
use crate::store::page::OrderBy;
use crate::token::{TokenId, TokenRecord};
use redb::TableHandle as _;

/// Takes the table, key and value of an entry that there must be.
pub(super) type AddExpected<'a> = &'a mut dyn FnMut(&'static str, &[u8], &[u8]);

/// The token of a row.
pub(super) fn token_of(key: &[u8], row: &[u8]) -> Result<TokenRecord, String> {
    let id = key.try_into().map(u64::from_le_bytes).map_err(|_| "a row has no number".to_owned())?;
    row::decode(id, row)
}

/// The token that an entry of the tables `tokens` and `uses` belongs to.
pub(super) fn id_of(key: &[u8]) -> Option<TokenId> {
    TokenId::new(u64::from_le_bytes(key.try_into().ok()?))
}

/// The token that an entry of a table belongs to which follows from the rows.
pub(super) fn holder_of(table: &str, key: &[u8], value: &[u8]) -> Option<u64> {
    if table == DIGESTS.name() {
        return value.try_into().ok().map(u64::from_le_bytes);
    }
    orders::id_of(key).map(TokenId::get)
}

/// What the other tables must hold of a token.
pub(super) fn expected_of(record: &TokenRecord, add: AddExpected<'_>) {
    for digest in record.digests() {
        add(DIGESTS.name(), digest.as_bytes(), &record.id.get().to_le_bytes());
    }
    for by in ORDERS {
        add(table_name(by), &orders::key_of(by, record), &[]);
    }
}

pub(super) const fn table_name(by: OrderBy) -> &'static str {
    match by {
        OrderBy::Created => "by_created",
        OrderBy::Name => "by_name",
        OrderBy::Expires => "by_expires",
    }
}
