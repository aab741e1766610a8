//! The ids by which logs and answers name a request.

use rand::TryRng as _;
use rand::rngs::SysRng;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The longest id of a request: the series, a dash, and any number.
const ID_MAX_BYTES: usize = 8 + 1 + 16;
const NUMBER_DIGITS_MIN: usize = 8;

/// A text that no other request of this process has, and hardly any of another.
pub(crate) fn next_request_id() -> Arc<str> {
    static SERIES: OnceLock<u32> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Without randomness ids repeat from process to process, which is no reason to refuse a request.
    let series = SERIES.get_or_init(|| SysRng.try_next_u32().unwrap_or_default());
    request_id(*series, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `{series:08x}-{number:08x}`, without the formatter, which takes longer than all else that a line needs.
fn request_id(series: u32, number: u64) -> Arc<str> {
    let mut text = [b'0'; ID_MAX_BYTES];
    let mut at = text.len();
    let mut write = |digit: u8| {
        at -= 1;
        if let Some(place) = text.get_mut(at) {
            *place = digit;
        }
    };
    let mut left = number;
    for _ in 0..NUMBER_DIGITS_MIN {
        write(hex_digit(left));
        left >>= 4;
    }
    while left > 0 {
        write(hex_digit(left));
        left >>= 4;
    }
    write(b'-');
    (0..u32::BITS).step_by(4).for_each(|bits| write(hex_digit(u64::from(series) >> bits)));
    let text = text.get(at..).unwrap_or_default();
    Arc::from(str::from_utf8(text).unwrap_or_default())
}

const fn hex_digit(number: u64) -> u8 {
    let digit = (number & 0xf) as u8;
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_two_numbers_in_hexadecimal() {
        for (series, number) in
            [(0, 0), (0x12ab, 0x9f), (u32::MAX, 0xffff_ffff), (7, 0x1_0000_0000), (1, u64::MAX)]
        {
            assert_eq!(&*request_id(series, number), format!("{series:08x}-{number:08x}"));
        }
    }

    #[test]
    fn request_ids_differ() {
        assert_ne!(next_request_id(), next_request_id());
    }
}
