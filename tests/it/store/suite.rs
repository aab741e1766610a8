//! What tests of stores have in common.

#[cfg(feature = "embedded")]
use rolegate::store::page::PageQuery;
use rolegate::store::page::{Order, OrderBy};
#[cfg(feature = "embedded")]
use rolegate::store::{Store, StoreError};
#[cfg(feature = "embedded")]
use rolegate::token::TokenRecord;

const ORDERS: [OrderBy; 3] = [OrderBy::Created, OrderBy::Name, OrderBy::Expires];

/// All orders, both ways.
pub(crate) fn orders() -> impl Iterator<Item = Order> {
    ORDERS.into_iter().flat_map(|by| [false, true].map(|is_descending| Order { by, is_descending }))
}

/// All pages from the first on.
#[cfg(feature = "embedded")]
pub(crate) fn walk(store: &dyn Store, mut query: PageQuery) -> Result<Vec<TokenRecord>, StoreError> {
    let mut tokens = Vec::new();
    loop {
        let page = store.page(&query)?;
        assert!(page.tokens.len() <= query.limit());
        tokens.extend(page.tokens.into_iter().map(|listed| listed.record));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(tokens),
        }
    }
}
