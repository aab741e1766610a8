//! Orders as tables: every token has one key in each, and keys are compared byte by byte.

use crate::store::page::{Expiry, Filter, Key, NameFilter, OrderBy, PageQuery, Position};
use crate::time::Timestamp;
use crate::token::{TokenId, TokenRecord};
use redb::TableDefinition;

/// Every order that is kept.
pub(super) const ORDERS: [OrderBy; 3] = [OrderBy::Created, OrderBy::Name, OrderBy::Expires];

/// What ends a text in a key. It is less than whatever a longer text has in its place.
const TEXT_END: [u8; 2] = [0, 0];
/// What a zero byte within a text is written as.
const TEXT_ZERO: [u8; 2] = [0, 0xff];
/// What the key of a token that expires starts with; that of one that never does starts with the next byte.
const EXPIRES: u8 = 0;
const NEVER: u8 = 1;
const ID_BYTES: usize = 8;

/// Some keys that follow one another: those from `start` on that are less than `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Vec<u8>,
    /// `None` is to the last.
    pub(super) end: Option<Vec<u8>>,
}

/// The table of an order. Nothing stands beside its keys.
pub(super) const fn table(by: OrderBy) -> TableDefinition<'static, &'static [u8], ()> {
    TableDefinition::new(match by {
        OrderBy::Created => "by_created",
        OrderBy::Name => "by_name",
        OrderBy::Expires => "by_expires",
    })
}

/// The key of a token in an order.
pub(super) fn key_of(by: OrderBy, record: &TokenRecord) -> Vec<u8> {
    let mut key = Vec::with_capacity(ID_BYTES + TEXT_END.len() + record.name.len().max(ID_BYTES));
    match by {
        OrderBy::Created => put_time(&mut key, record.created),
        OrderBy::Name => put_name(&mut key, &record.name),
        OrderBy::Expires => put_expiry(&mut key, record.expires.map_or(Expiry::Never, Expiry::At)),
    }
    put_id(&mut key, record.id);
    key
}

/// The token that a key belongs to; `None` when it is no key.
pub(super) fn id_of(key: &[u8]) -> Option<TokenId> {
    let (_, id) = key.split_last_chunk::<ID_BYTES>()?;
    TokenId::new(u64::from_be_bytes(*id))
}

/// All tokens that have a name.
pub(super) fn named(name: &str) -> Span {
    let mut start = Vec::new();
    put_name(&mut start, name);
    let end = successor(&start);
    Span { start, end }
}

/// What of an order a query has to look at: what its filter admits there, after its position.
pub(super) fn span(query: &PageQuery) -> Span {
    let mut span = narrowed(query.order.by, &query.filter).unwrap_or_default();
    let Some(after) = &query.after else { return span };
    match key_of_position(query.order.by, after) {
        Ok(mut key) if !query.order.is_descending => {
            // The least that is greater than the key itself.
            key.push(0);
            span.start = span.start.max(key);
        }
        Ok(key) => span.end = Some(span.end.map_or_else(|| key.clone(), |end| end.min(key.clone()))),
        Err(is_before) if is_before != query.order.is_descending => {}
        Err(_) => span.end = Some(Vec::new()),
    }
    span
}

/// What of an order the filter leaves, if the filter is about what is ordered there.
pub(super) fn narrowed(by: OrderBy, filter: &Filter) -> Option<Span> {
    match (by, &filter.name, filter.expires_before) {
        (OrderBy::Name, Some(NameFilter::Exact(name)), _) => Some(named(name)),
        (OrderBy::Name, Some(NameFilter::Prefix(start)), _) => {
            let mut key = Vec::new();
            put_text(&mut key, start);
            let end = successor(&key);
            Some(Span { start: key, end })
        }
        (OrderBy::Expires, _, Some(end)) => {
            let mut key = Vec::new();
            put_expiry(&mut key, Expiry::At(end));
            Some(Span { start: Vec::new(), end: Some(key) })
        }
        (OrderBy::Created | OrderBy::Name | OrderBy::Expires, _, _) => None,
    }
}

impl Span {
    /// Whether no key can be in it.
    pub(super) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// The key at a position. A position of another order has none here: the error tells whether it stands before
/// all of this one, as `Order::compare` has it.
fn key_of_position(by: OrderBy, position: &Position) -> Result<Vec<u8>, bool> {
    let mut key = Vec::new();
    match (by, &position.key) {
        (OrderBy::Created, Key::Created(created)) => put_time(&mut key, *created),
        (OrderBy::Name, Key::Name(name)) => put_name(&mut key, name),
        (OrderBy::Expires, Key::Expires(expiry)) => put_expiry(&mut key, *expiry),
        (OrderBy::Created, Key::Name(_) | Key::Expires(_)) => return Err(false),
        (OrderBy::Name, other) => return Err(matches!(other, Key::Created(_))),
        (OrderBy::Expires, Key::Created(_) | Key::Name(_)) => return Err(true),
    }
    put_id(&mut key, position.id);
    Ok(key)
}

/// With its sign turned and the highest byte first, a time is compared as its bytes are.
fn put_time(key: &mut Vec<u8>, time: Timestamp) {
    key.extend_from_slice(&(time.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

fn put_expiry(key: &mut Vec<u8>, expiry: Expiry) {
    match expiry {
        Expiry::At(time) => {
            key.push(EXPIRES);
            put_time(key, time);
        }
        Expiry::Never => key.push(NEVER),
    }
}

fn put_name(key: &mut Vec<u8>, name: &str) {
    put_text(key, name);
    key.extend_from_slice(&TEXT_END);
}

fn put_text(key: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            0 => key.extend_from_slice(&TEXT_ZERO),
            other => key.push(other),
        }
    }
}

fn put_id(key: &mut Vec<u8>, id: TokenId) {
    key.extend_from_slice(&id.get().to_be_bytes());
}

/// The least key that is greater than all that start so; `None` when none is.
fn successor(start: &[u8]) -> Option<Vec<u8>> {
    let mut key = start.to_vec();
    while let Some(last) = key.pop() {
        if let Some(next) = last.checked_add(1) {
            key.push(next);
            return Some(key);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::page::Order;
    use crate::token::{SecretKind, TokenDigest, TokenOrigin};
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = TokenRecord> {
        let times = (any::<i64>(), proptest::option::of(prop_oneof![any::<i64>(), Just(i64::MAX), Just(0)]));
        // Few letters, so that names are often the start of one another.
        ("[\u{0}\u{1}a\u{ff}\u{10ffff}]{0,4}", times, 0..4_u64).prop_map(|(name, times, id)| TokenRecord {
            id: TokenId::new(TokenId::MIN + id).unwrap(),
            digest: TokenDigest::from_bytes([0; 32]),
            kind: SecretKind::Generated,
            origin: TokenOrigin::Api,
            name,
            description: None,
            roles: Vec::new(),
            dedicated_subject: None,
            created: Timestamp::from_millis(times.0),
            updated: Timestamp::EPOCH,
            expires: times.1.map(Timestamp::from_millis),
            disabled: None,
            former: None,
        })
    }

    fn has(span: &Span, key: &[u8]) -> bool {
        span.start.as_slice() <= key && span.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_are_ordered_as_tokens_are(one in records(), other in records()) {
            for by in ORDERS {
                let order = Order { by, is_descending: false };
                let expected = order.compare(&order.position(&one), &order.position(&other));
                prop_assert_eq!(key_of(by, &one).cmp(&key_of(by, &other)), expected);
                prop_assert_eq!(id_of(&key_of(by, &one)), Some(one.id));
                prop_assert_eq!(key_of_position(by, &order.position(&one)), Ok(key_of(by, &one)));
            }
        }

        #[test]
        fn span_holds_what_comes_after_the_position_and_passes_the_filter(
            one in records(),
            other in records(),
            is_descending in any::<bool>(),
            at in (0..3_usize, 0..3_usize),
            filtered in 0..4_u8,
        ) {
            let (order, cursor) = (Order { by: ORDERS[at.0], is_descending }, Order { by: ORDERS[at.1], is_descending });
            let mut filter = Filter::default();
            match filtered {
                0 => filter.name = Some(NameFilter::Exact(one.name.clone())),
                1 => filter.name = Some(NameFilter::Prefix(one.name.chars().take(1).collect())),
                2 => filter.expires_before = one.expires,
                _ => {}
            }
            let after = cursor.position(&one);
            let is_after = order.compare(&order.position(&other), &after).is_gt();
            let passes = match order.by {
                OrderBy::Name => filter.name.as_ref().is_none_or(|name| name.admits(&other.name)),
                OrderBy::Expires => filter.expires_before.is_none_or(|end| other.expires.is_some_and(|it| it < end)),
                OrderBy::Created => true,
            };
            let query = PageQuery { order, filter, after: Some(after), limit: 1 };
            let span = span(&query);
            prop_assert_eq!(!span.is_empty() && has(&span, &key_of(order.by, &other)), is_after && passes);
            let all = PageQuery { after: None, ..query };
            prop_assert_eq!(has(&super::span(&all), &key_of(order.by, &other)), passes);
        }
    }

    #[test]
    fn what_is_no_key_has_no_token() {
        assert_eq!(id_of(&[1; 7]), None);
        assert_eq!(id_of(&[0xff; 8]), None);
        assert_eq!(successor(&[0xff, 0xff]), None);
        assert_eq!(successor(&[1, 0xff]), Some(vec![2]));
    }
}
