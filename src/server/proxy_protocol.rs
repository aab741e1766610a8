//! The PROXY protocol, version 2: what a load balancer sends before the first byte of its client, to tell whose
//! connection it hands on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest header, in bytes. Addresses need 232; the rest is room for fields that are skipped.
pub(super) const HEADER_MAX_BYTES: usize = 4096;
const FIXED_BYTES: usize = 16;
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const UNIX_ADDRESSES_BYTES: usize = 216;

/// Why a connection does not begin as it must.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyProtocolError {
    #[error("the connection does not begin with a header of the PROXY protocol, version 2")]
    Missing,
    #[error("the header of the PROXY protocol has the unknown version {0}")]
    Version(u8),
    #[error("the header of the PROXY protocol has the unknown command {0}")]
    Command(u8),
    #[error("the header of the PROXY protocol tells of something else than a stream (`{0:#04x}`)")]
    Transport(u8),
    #[error("the header of the PROXY protocol is longer than {HEADER_MAX_BYTES} bytes")]
    TooLong,
    #[error("the header of the PROXY protocol ends within its addresses")]
    TooShort,
    #[error("the header of the PROXY protocol cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads a header, and not a byte beyond it. Returns the client that it tells of; `None` when the connection is the
/// sender's own, as one that only asks whether we are alive.
///
/// # Errors
/// When there is none, or it can be read in no way or in two.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyProtocolError> {
    // The signature first: whoever sends something else may wait for an answer before it sends more.
    let mut signature = [0; SIGNATURE.len()];
    stream.read_exact(&mut signature).await.map_err(cut_short)?;
    if signature != SIGNATURE {
        return Err(ProxyProtocolError::Missing);
    }
    let mut fixed = [0; FIXED_BYTES - SIGNATURE.len()];
    stream.read_exact(&mut fixed).await?;
    let [command, transport, length @ ..] = fixed;
    let (version, command) = (command >> 4, command & 0x0f);
    if version != VERSION {
        return Err(ProxyProtocolError::Version(version));
    }
    let length = usize::from(u16::from_be_bytes(length));
    if length > HEADER_MAX_BYTES - FIXED_BYTES {
        return Err(ProxyProtocolError::TooLong);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match command {
        // Whatever else it says is to be ignored, the kind of its addresses among it.
        LOCAL => Ok(None),
        PROXY => client(transport, &rest),
        other => Err(ProxyProtocolError::Command(other)),
    }
}

/// The first of the addresses, which is the client's.
fn client(transport: u8, rest: &[u8]) -> Result<Option<SocketAddr>, ProxyProtocolError> {
    match transport {
        0x00 => Ok(None),
        0x11 => {
            let (source, port) = split::<4>(rest)?;
            Ok(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(source)), port)))
        }
        0x21 => {
            let (source, port) = split::<16>(rest)?;
            Ok(Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(source)), port)))
        }
        // A socket of the sender's machine has no address that policies could tell.
        0x31 if rest.len() >= UNIX_ADDRESSES_BYTES => Ok(None),
        0x31 => Err(ProxyProtocolError::TooShort),
        other => Err(ProxyProtocolError::Transport(other)),
    }
}

/// The address of the source and its port. The destination stands between them, and what follows are fields.
fn split<const BYTES: usize>(rest: &[u8]) -> Result<([u8; BYTES], u16), ProxyProtocolError> {
    let split = || {
        let (source, rest) = rest.split_first_chunk::<BYTES>()?;
        let (_destination, rest) = rest.split_first_chunk::<BYTES>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (_destination, _fields) = rest.split_first_chunk::<2>()?;
        Some((*source, u16::from_be_bytes(*port)))
    };
    split().ok_or(ProxyProtocolError::TooShort)
}

fn cut_short(error: io::Error) -> ProxyProtocolError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ProxyProtocolError::Missing,
        _ => ProxyProtocolError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x01, 0xbb];

    fn header(command: u8, transport: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, transport], &length, rest].concat()
    }

    fn v6() -> Vec<u8> {
        let (source, destination) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), Ipv6Addr::LOCALHOST);
        [&source.octets()[..], &destination.octets(), &[0x30, 0x39, 0x01, 0xbb]].concat()
    }

    /// What is read of these bytes, and what is left of them.
    async fn told(bytes: &[u8]) -> (Result<Option<SocketAddr>, String>, usize) {
        let mut rest = bytes;
        let told = read(&mut rest).await.map_err(|wrong| wrong.to_string());
        (told, rest.len())
    }

    #[tokio::test]
    async fn address_of_the_client_is_read_and_nothing_beyond_the_header() {
        let request = b"GET / HTTP/1.1\r\n";
        let with_fields = [&V4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0xee, 0xff, 0xff]].concat();
        let full = [&V4[..], &vec![7; HEADER_MAX_BYTES - FIXED_BYTES - V4.len()]].concat();
        let v4 = Some("192.0.2.7:12345".parse().unwrap());
        for (command, transport, rest, client) in [
            (0x21, 0x11, V4.to_vec(), v4),
            (0x21, 0x11, with_fields, v4),
            (0x21, 0x11, full, v4),
            (0x21, 0x21, v6(), Some("[2001:db8::7]:12345".parse().unwrap())),
            (0x21, 0x00, Vec::new(), None),
            (0x21, 0x00, vec![1; 40], None),
            (0x21, 0x31, vec![b'/'; UNIX_ADDRESSES_BYTES], None),
            (0x20, 0x00, Vec::new(), None),
            (0x20, 0x11, V4.to_vec(), None),
            (0x20, 0xff, vec![1; 3], None),
        ] {
            let bytes = [&header(command, transport, &rest)[..], request].concat();
            assert_eq!(told(&bytes).await, (Ok(client), request.len()), "{command:x} {transport:x}");
        }
    }

    #[tokio::test]
    async fn malformed_headers_are_refused() {
        let too_long = vec![7; HEADER_MAX_BYTES - FIXED_BYTES + 1];
        for (bytes, hint) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "does not begin"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n".to_vec(), "does not begin"),
            (vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 9, 9], "does not begin"),
            (Vec::new(), "does not begin"),
            (SIGNATURE[..11].to_vec(), "does not begin"),
            ([&SIGNATURE[..11], b"\r"].concat(), "does not begin"),
            (SIGNATURE.to_vec(), "cannot be read"),
            (header(0x21, 0x11, &V4)[..15].to_vec(), "cannot be read"),
            (header(0x21, 0x11, &V4)[..27].to_vec(), "cannot be read"),
            (header(0x11, 0x11, &V4), "version 1"),
            (header(0x31, 0x11, &V4), "version 3"),
            (header(0x22, 0x11, &V4), "command 2"),
            (header(0x2f, 0x11, &V4), "command 15"),
            (header(0x21, 0x12, &V4), "`0x12`"),
            (header(0x21, 0x22, &v6()), "`0x22`"),
            (header(0x21, 0x10, &V4), "`0x10`"),
            (header(0x21, 0x01, &V4), "`0x01`"),
            (header(0x21, 0x13, &V4), "`0x13`"),
            (header(0x21, 0x32, &[0; UNIX_ADDRESSES_BYTES]), "`0x32`"),
            (header(0x21, 0x41, &V4), "`0x41`"),
            (header(0x21, 0x11, &V4[..11]), "ends within"),
            (header(0x21, 0x11, &[]), "ends within"),
            (header(0x21, 0x21, &V4), "ends within"),
            (header(0x21, 0x21, &v6()[..35]), "ends within"),
            (header(0x21, 0x31, &[0; UNIX_ADDRESSES_BYTES - 1]), "ends within"),
            (header(0x21, 0x11, &too_long), "longer than"),
            (header(0x20, 0x00, &too_long), "longer than"),
        ] {
            let (told, _) = told(&bytes).await;
            let wrong = told.unwrap_err();
            assert!(wrong.contains(hint), "{bytes:x?}: {wrong}");
        }
    }

    proptest::proptest! {
        /// Whatever comes, it is read or refused, and never more of it than one header.
        #[test]
        fn no_bytes_make_it_panic_or_read_on(
            command in 0_u8.., transport in 0_u8.., length in 0_u16..600, rest in proptest::collection::vec(0_u8.., 0..600),
        ) {
            let bytes = [&SIGNATURE[..], &[command, transport], &length.to_be_bytes(), &rest].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (told, left) = runtime.block_on(told(&bytes));
            if let Ok(client) = told {
                proptest::prop_assert_eq!(left, rest.len() - usize::from(length));
                proptest::prop_assert!(client.is_none() || command == 0x21 && [0x11, 0x21].contains(&transport));
            }
        }
    }
}
