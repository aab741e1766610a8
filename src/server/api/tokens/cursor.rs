//! Where a page ended, as a text that a client hands back for the next one.
//!
//! It is no secret and no proof: it holds the last token's place in the order (its name, where names are the order)
//! in clear, and who writes another one starts somewhere else in a list that may be seen whole anyway.

use crate::store::page::{Expiry, Filter, Key, NameFilter, Order, OrderBy, Position};
use crate::time::Timestamp;
use crate::token::{NAME_MAX_BYTES, TokenId};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The longest text that is read as a cursor, in characters.
pub(super) const CURSOR_MAX_CHARS: usize = 4 * (HEAD_BYTES + 1 + NAME_MAX_BYTES).div_ceil(3);

const VERSION: u8 = 1;
const FILTER_BYTES: usize = 8;
const ID_BYTES: usize = 8;
/// Version, order, filter and id. What the token is ordered by comes last.
const HEAD_BYTES: usize = 2 + FILTER_BYTES + ID_BYTES;

/// Why a text does not say where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CursorError {
    /// It was not made here, or was cut or changed.
    #[error("this is no cursor: send the text of the header `x-rolegate-next-cursor` as it is")]
    Unreadable,
    /// The order is another one.
    #[error("the cursor was made for another order: send the same `sort` as for the first page")]
    OtherOrder,
    /// The filters are other ones.
    #[error(
        "the cursor was made for other filters: send the same `name`, `role`, `expiresBefore` and `unusedSince` as \
         for the first page"
    )]
    OtherFilter,
}

/// The cursor of a position in this order of these tokens.
pub(super) fn write(order: Order, filter: &Filter, position: &Position) -> String {
    let mut bytes = vec![VERSION, order_byte(order)];
    bytes.extend(filter_mark(filter));
    bytes.extend(position.id.get().to_be_bytes());
    match &position.key {
        Key::Created(at) => bytes.extend(at.as_millis().to_be_bytes()),
        Key::Name(name) => bytes.extend(name.as_bytes()),
        Key::Expires(Expiry::At(at)) => bytes.extend(at.as_millis().to_be_bytes()),
        Key::Expires(Expiry::Never) => {}
    }
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The position that a cursor holds, if it was made for this order and these tokens.
pub(super) fn read(text: &str, order: Order, filter: &Filter) -> Result<Position, CursorError> {
    if text.len() > CURSOR_MAX_CHARS {
        return Err(CursorError::Unreadable);
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Unreadable)?;
    let (&[version, made_for], rest) = bytes.split_first_chunk().ok_or(CursorError::Unreadable)?;
    let (mark, rest) = rest.split_first_chunk::<FILTER_BYTES>().ok_or(CursorError::Unreadable)?;
    let (id, key) = rest.split_first_chunk::<ID_BYTES>().ok_or(CursorError::Unreadable)?;
    let id = TokenId::new(u64::from_be_bytes(*id)).ok_or(CursorError::Unreadable)?;
    if version != VERSION || made_for & !ORDER_BITS != 0 || made_for & BY_BITS == BY_BITS {
        return Err(CursorError::Unreadable);
    }
    if made_for != order_byte(order) {
        return Err(CursorError::OtherOrder);
    }
    if *mark != filter_mark(filter) {
        return Err(CursorError::OtherFilter);
    }
    let time = || key.try_into().ok().map(i64::from_be_bytes).map(Timestamp::from_millis);
    let key = match order.by {
        OrderBy::Created => time().map(Key::Created),
        OrderBy::Name if key.len() > NAME_MAX_BYTES => None,
        OrderBy::Name => String::from_utf8(key.to_vec()).ok().map(Key::Name),
        OrderBy::Expires if key.is_empty() => Some(Key::Expires(Expiry::Never)),
        OrderBy::Expires => time().map(|at| Key::Expires(Expiry::At(at))),
    };
    Ok(Position { key: key.ok_or(CursorError::Unreadable)?, id })
}

const BY_BITS: u8 = 0b011;
const DESCENDING_BIT: u8 = 0b100;
const ORDER_BITS: u8 = BY_BITS | DESCENDING_BIT;

const fn order_byte(order: Order) -> u8 {
    let by = match order.by {
        OrderBy::Created => 0,
        OrderBy::Name => 1,
        OrderBy::Expires => 2,
    };
    if order.is_descending { by | DESCENDING_BIT } else { by }
}

/// What tells filters apart. Each part starts with how long it is, so that no two filters have one text.
fn filter_mark(filter: &Filter) -> [u8; FILTER_BYTES] {
    let (kind, name) = match &filter.name {
        None => (0, ""),
        Some(NameFilter::Exact(name)) => (1, name.as_str()),
        Some(NameFilter::Prefix(start)) => (2, start.as_str()),
    };
    let role = filter.role.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update([kind]);
    for text in [name, &role] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text);
    }
    for time in [filter.expires_before, filter.unused_since] {
        hash.update([u8::from(time.is_some())]);
        hash.update(time.map_or(0, Timestamp::as_millis).to_be_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::RoleName;
    use proptest::prelude::*;

    fn orders() -> impl Iterator<Item = Order> {
        [OrderBy::Created, OrderBy::Name, OrderBy::Expires]
            .into_iter()
            .flat_map(|by| [false, true].map(|is_descending| Order { by, is_descending }))
    }

    fn position(order: Order, number: i64, name: &str) -> Position {
        let key = match order.by {
            OrderBy::Created => Key::Created(Timestamp::from_millis(number)),
            OrderBy::Name => Key::Name(name.to_owned()),
            OrderBy::Expires if number == 0 => Key::Expires(Expiry::Never),
            OrderBy::Expires => Key::Expires(Expiry::At(Timestamp::from_millis(number))),
        };
        Position { key, id: TokenId::new(107_484_341_630_693).unwrap() }
    }

    fn filters() -> [Filter; 7] {
        let none = Filter::default;
        let at = |millis| Some(Timestamp::from_millis(millis));
        [
            none(),
            Filter { name: Some(NameFilter::Exact("ci".into())), ..none() },
            Filter { name: Some(NameFilter::Prefix("ci".into())), ..none() },
            Filter { role: Some(RoleName::parse("ci").unwrap()), ..none() },
            Filter { expires_before: at(0), ..none() },
            Filter { unused_since: at(0), ..none() },
            Filter { expires_before: at(1), ..none() },
        ]
    }

    #[test]
    fn cursor_is_for_the_order_and_the_filters_that_it_was_made_for() {
        for (made, order) in orders().flat_map(|made| orders().map(move |order| (made, order))) {
            let at = position(made, 7, "ci");
            let read = read(&write(made, &Filter::default(), &at), order, &Filter::default());
            assert_eq!(read, if made == order { Ok(at) } else { Err(CursorError::OtherOrder) });
        }
        let order = Order::default();
        for (one, made) in filters().iter().enumerate() {
            for (two, filter) in filters().iter().enumerate() {
                let at = position(order, 7, "");
                let read = read(&write(order, made, &at), order, filter);
                assert_eq!(read, if one == two { Ok(at) } else { Err(CursorError::OtherFilter) });
            }
        }
    }

    #[test]
    fn longest_cursor_is_read_and_a_longer_one_is_not() {
        let order = Order { by: OrderBy::Name, is_descending: false };
        for (bytes, is_read) in [(NAME_MAX_BYTES, true), (NAME_MAX_BYTES + 1, false)] {
            let text = write(order, &Filter::default(), &position(order, 0, &"n".repeat(bytes)));
            assert!(text.len() <= CURSOR_MAX_CHARS);
            assert_eq!(read(&text, order, &Filter::default()).is_ok(), is_read, "{bytes}");
        }
        let long = "A".repeat(CURSOR_MAX_CHARS + 1);
        assert_eq!(read(&long, order, &Filter::default()), Err(CursorError::Unreadable));
    }

    #[test]
    fn texts_that_are_no_cursor_are_told() {
        let (order, filter) = (Order::default(), Filter::default());
        let good = write(order, &filter, &position(order, 7, ""));
        assert!(read(&good, order, &filter).is_ok());
        let cut = good.get(..good.len() - 4).unwrap();
        let padded = format!("{good}=");
        for bad in ["", "A", "AQ", "!", "é", cut, &padded, &format!("{good}AAAA")] {
            assert_eq!(read(bad, order, &filter), Err(CursorError::Unreadable), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn cursor_reads_what_it_writes(number in any::<i64>(), name in "\\PC{0,64}", by in 0_usize..6) {
            let order = orders().nth(by).unwrap();
            let at = position(order, number, &name);
            let text = write(order, &Filter::default(), &at);
            prop_assert_eq!(read(&text, order, &Filter::default()), Ok(at));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_=-]{0,40}|.{0,20}", by in 0_usize..6) {
            let read = read(&text, orders().nth(by).unwrap(), &Filter::default());
            prop_assert!(read.is_ok() || read.is_err());
        }
    }
}
