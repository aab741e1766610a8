//! Failed authentications by client address: whoever brings many tokens that are not live is told to wait. A live
//! token is never held up by it, not even from the same address.

mod table;

use super::clock::Stopwatch;
use super::limits::FailedAuthentications;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use table::Table;

/// Bits of an IPv6 address that belong to the interface: one host has all addresses that differ in them alone.
const INTERFACE_BITS: u32 = 64;

/// Counts failed authentications.
pub(super) struct Attempts {
    /// `None` when they are not limited.
    table: Option<Table>,
    stopwatch: Stopwatch,
}

/// Whose attempts are counted together: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    V4(Ipv4Addr),
    V6(u64),
}

/// What a failed authentication is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The answer it would have anyway. So many before it were refused without a line in the log.
    Within { unlogged: u32 },
    /// One too many.
    TooMany(TooMany),
}

/// An attempt that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    /// When the next one is within the limit.
    pub(super) retry_after: Duration,
    /// Whether it is the first since one was within the limit.
    pub(super) is_first: bool,
    /// Whether addresses are counted together here, since there are too many of them.
    pub(super) is_shared: bool,
}

impl Attempts {
    pub(super) fn new(limit: Option<FailedAuthentications>, stopwatch: Stopwatch) -> Self {
        Self { table: limit.map(Table::new), stopwatch }
    }

    /// Counts one more failed authentication of this client.
    pub(super) fn failed(&self, client: Client) -> Attempt {
        match &self.table {
            Some(table) => table.failed(client, (self.stopwatch)()),
            None => Attempt::Within { unlogged: 0 },
        }
    }
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        // A socket for both versions tells an IPv4 address as an IPv6 one.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() >> INTERFACE_BITS;
                // Nothing is lost: half of the bits have gone.
                Self::V6(u64::try_from(network).unwrap_or(u64::MAX))
            }
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(network) => {
                let address = Ipv6Addr::from_bits(u128::from(*network) << INTERFACE_BITS);
                write!(f, "{address}/{}", 128 - INTERFACE_BITS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn client(address: &str) -> Client {
        Client::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn ipv6_addresses_of_one_64_are_one_client_and_those_of_the_next_are_another() {
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db9:0:1::1"));
    }

    #[test]
    fn every_ipv4_address_is_a_client_of_its_own_in_either_spelling() {
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("::ffff:192.0.2.1"), client("::ffff:192.0.2.2"));
        // These only look alike: no IPv4 host has them.
        assert_ne!(client("::192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("::"), client("0.0.0.0"));
    }

    #[test]
    fn clients_are_shown_as_what_is_counted_together() {
        assert_eq!(client("::ffff:192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(client("2001:db8:0:1:2:3:4:5").to_string(), "2001:db8:0:1::/64");
    }

    #[test]
    fn without_a_limit_every_attempt_is_within_it() {
        let still: Stopwatch = Arc::new(|| Duration::ZERO);
        let limited = Attempts::new(Some(FailedAuthentications { burst: 2, per_minute: 1 }), still.clone());
        let unlimited = Attempts::new(None, still);
        let failed = |attempts: &Attempts| {
            (0..1000)
                .filter(|_| attempts.failed(client("192.0.2.1")) != Attempt::Within { unlogged: 0 })
                .count()
        };
        assert_eq!((failed(&limited), failed(&unlimited)), (998, 0));
    }
}
