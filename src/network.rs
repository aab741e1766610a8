//! Networks of IP addresses, written as `10.0.0.0/8`: whom a server takes for a proxy or a load balancer of its own.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The most networks of one list.
pub const NETWORKS_MAX: usize = 256;
/// The fewest bits of a network whose every address is believed: as large as the largest one that is private.
pub(crate) const PEER_PREFIX_MIN: u8 = 8;
/// The bits by which an IPv4 address is longer when it is written as one of IPv6.
const MAPPED_BITS: u8 = 96;

/// One network: all addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A list of networks, of at most [`NETWORKS_MAX`]. The empty list contains no address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Box<[Network]>);

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No IP address before the slash, or none at all.
    #[error("this is not a network; write it as `10.0.0.0/8`, `fd00::/8`, or one address as `10.0.0.1`")]
    Form,
    /// A length that addresses of this kind do not have.
    #[error("the length after the slash must be a whole number, 0 to {most}")]
    Prefix {
        /// The longest one.
        most: u8,
    },
    /// An address that is longer than the network's own part of it.
    #[error("the address has bits beyond the length; write `{meant}`, or the one address without a length")]
    HostBits {
        /// The network in which the address is.
        meant: Network,
    },
    /// An IPv4 address in the spelling of IPv6.
    #[error("IPv4 addresses are written as such: `10.0.0.0/8`, not `::ffff:10.0.0.0/104`")]
    Mapped,
}

/// More networks than a list takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list has at most {NETWORKS_MAX} networks")]
pub struct TooManyNetworks;

impl Network {
    /// Whether the address is one of this network. An IPv4 address is one in either spelling.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == bits(self.address)
    }

    /// How many bits its addresses have in common.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl Networks {
    /// A list of these networks.
    ///
    /// # Errors
    /// When there are more than [`NETWORKS_MAX`].
    pub fn new(networks: Vec<Network>) -> Result<Self, TooManyNetworks> {
        if networks.len() > NETWORKS_MAX { Err(TooManyNetworks) } else { Ok(Self(networks.into())) }
    }

    /// Whether the address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The networks, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Network> {
        self.0.iter()
    }

    /// Whether no address is in any of them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        if address.to_canonical() != address {
            return Err(NetworkError::Mapped);
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => length(prefix, most).ok_or(NetworkError::Prefix { most })?,
        };
        let base = masked(address, prefix);
        if base != bits(address) {
            let meant = Self { address: Ipv6Addr::from_bits(base).to_canonical(), prefix };
            return Err(NetworkError::HostBits { meant });
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Digits alone, and no zero before them: what others read as octal must not be read in two ways.
fn length(text: &str, most: u8) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|length| is_plain && *length <= most)
}

/// An address as one number, IPv4 as the mapped part of IPv6.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, prefix: u8) -> u128 {
    let kept = if address.is_ipv4() { prefix.saturating_add(MAPPED_BITS) } else { prefix };
    let dropped = 128_u32.saturating_sub(u32::from(kept));
    bits(address) & u128::MAX.checked_shl(dropped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_found_at_the_ends_of_a_network_and_not_past_them() {
        for (text, within, beyond) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("10.1.2.3", ["10.1.2.3", "::ffff:10.1.2.3"], ["10.1.2.2", "10.1.2.4"]),
            ("192.168.4.0/22", ["192.168.4.0", "192.168.7.255"], ["192.168.3.255", "192.168.8.0"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::1"]),
            ("::/0", ["::", "ffff::"], ["0.0.0.0", "::ffff:1.2.3.4"]),
            ("fd00::/8", ["fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["fcff::", "fe00::"]),
            ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["::", "::2"]),
            ("2001:db8::/127", ["2001:db8::", "2001:db8::1"], ["2001:db8::2", "2001:db7::"]),
        ] {
            for address in within {
                assert!(network(text).contains(address.parse().unwrap()), "{text} {address}");
            }
            for address in beyond {
                assert!(!network(text).contains(address.parse().unwrap()), "{text} {address}");
            }
        }
    }

    #[test]
    fn text_that_can_be_read_in_two_ways_is_no_network() {
        for (text, hint) in [
            ("", "`10.0.0.0/8`"),
            ("localhost", "not a network"),
            ("10.0.0/8", "not a network"),
            ("010.0.0.0/8", "not a network"),
            (" 10.0.0.0/8", "not a network"),
            ("fe80::1%eth0", "not a network"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/33", "0 to 32"),
            ("10.0.0.0/08", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("10.0.0.0/8/8", "0 to 32"),
            ("10.0.0.0/255.0.0.0", "0 to 32"),
            ("::/129", "0 to 128"),
            ("::/256", "0 to 128"),
            ("10.0.0.1/8", "write `10.0.0.0/8`"),
            ("2001:db8::1/64", "write `2001:db8::/64`"),
            ("::ffff:10.0.0.0/104", "as such"),
        ] {
            let wrong = text.parse::<Network>().unwrap_err().to_string();
            assert!(wrong.contains(hint), "{text}: {wrong}");
        }
    }

    #[test]
    fn networks_are_written_as_they_are_read() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::1/128"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("10.0.0.1").to_string(), "10.0.0.1/32");
    }

    #[test]
    fn a_list_is_full_at_its_limit_and_an_empty_one_has_nobody() {
        let one = network("10.0.0.0/8");
        let full = Networks::new(vec![one; NETWORKS_MAX]).unwrap();
        assert!(full.contains("10.1.1.1".parse().unwrap()) && !full.is_empty());
        assert_eq!(Networks::new(vec![one; NETWORKS_MAX + 1]), Err(TooManyNetworks));
        assert!(Networks::default().is_empty());
        assert!(!Networks::default().contains("10.1.1.1".parse().unwrap()));
    }
}
