//! How the use of one token is written: as a token is, by the same rules.

use super::row::{Reader, put_length, put_text};
use crate::store::usage::{RouteUse, Usage};

/// The version of the encoding, its first byte.
const VERSION: u8 = 1;

/// Writes the use of a token; the token's id is the key.
pub(super) fn encode(usage: &Usage) -> Vec<u8> {
    let mut row = Vec::with_capacity(64);
    row.push(VERSION);
    row.extend_from_slice(&usage.last_used.as_millis().to_le_bytes());
    row.extend_from_slice(&usage.count.to_le_bytes());
    put_length(&mut row, usage.routes.len());
    for route in &usage.routes {
        put_text(&mut row, &route.by);
        row.extend_from_slice(&route.last_used.as_millis().to_le_bytes());
        row.extend_from_slice(&route.count.to_le_bytes());
    }
    row
}

/// Reads the use of a token; the error says what does not fit.
pub(super) fn decode(id: u64, row: &[u8]) -> Result<Usage, String> {
    let mut reader = Reader(row);
    let read = |reader: &mut Reader<'_>| -> Option<Usage> {
        let (last_used, count, length) = (reader.time()?, reader.number()?, reader.length()?);
        let route = |reader: &mut Reader<'_>| {
            let by = reader.text()?.to_owned();
            Some(RouteUse { by, last_used: reader.time()?, count: reader.number()? })
        };
        let routes: Option<Vec<_>> = (0..length).map(|_| route(reader)).collect();
        Some(Usage { last_used, count, routes: routes? })
    };
    match reader.byte() {
        Some(VERSION) => {}
        Some(other) => return Err(format!("the use of token {id} has the unknown version {other}")),
        None => return Err(format!("the use of token {id} is empty")),
    }
    match read(&mut reader) {
        Some(usage) if reader.0.is_empty() => Ok(usage),
        Some(_) | None => Err(format!("the use of token {id} cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn usages() -> impl Strategy<Value = Usage> {
        let route = (".*", any::<i64>(), any::<u64>()).prop_map(|(by, last_used, count)| RouteUse {
            by,
            last_used: Timestamp::from_millis(last_used),
            count,
        });
        let routes = proptest::collection::vec(route, 0..4);
        (any::<i64>(), any::<u64>(), routes).prop_map(|(last_used, count, routes)| Usage {
            last_used: Timestamp::from_millis(last_used),
            count,
            routes,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_shorter_or_longer(
            usage in usages(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut row = encode(&usage);
            prop_assert_eq!(decode(1, &row), Ok(usage));
            prop_assert!(decode(1, &row[..cut.index(row.len())]).is_err());
            row.push(0);
            prop_assert!(decode(1, &row).is_err());
        }

        #[test]
        fn no_bytes_make_reading_panic(row in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(1, &row);
            let _ = decode(1, &[&[VERSION], row.as_slice()].concat());
        }
    }
}
