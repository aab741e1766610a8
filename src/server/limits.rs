//! The limits of the HTTP front, each with its default.

use crate::front::HeaderLimits;
use std::time::Duration;

/// What the HTTP front allows a client. Every limit has a default; one alone can be switched off, and its name is
/// [`failed_authentications`](Self::failed_authentications).
///
/// The longest request target is not among them: it is [`TARGET_MAX_BYTES`](crate::path::TARGET_MAX_BYTES),
/// everywhere and always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections. While so many are open, new ones wait in the listener's queue, and an answer to a request
    /// without a live token ends its connection. The default leaves room below the 1,024 open files that Linux
    /// gives a process.
    pub connections: usize,
    /// Requests that one connection may have open at once, by HTTP/2; more are refused.
    pub streams: usize,
    /// Header fields of one request; more are answered with 431.
    pub header_fields: usize,
    /// Bytes of all header fields of one request, counted as on the wire; more are answered with 431.
    pub header_bytes: usize,
    /// Bytes of one request body; more are answered with 413.
    pub body_bytes: usize,
    /// How long a client may take before its first request, where a connection begins with TLS or with a header of
    /// the PROXY protocol. Then the connection is closed.
    pub handshake_timeout: Duration,
    /// How long a client may take from the start of a request, or from the end of the one before it, to the
    /// end of its header fields. Then the connection is closed.
    pub header_read_timeout: Duration,
    /// How long a client may take between two parts of a request body; longer is answered with 408.
    pub body_read_timeout: Duration,
    /// How long a request may take from the end of its header fields to the start of its answer; longer is
    /// answered with 503.
    pub request_timeout: Duration,
    /// How long a client may take without accepting a byte of the answer. Then the connection is dropped.
    pub write_timeout: Duration,
    /// How long running requests may take to end once the server shuts down. Then their connections are dropped.
    pub drain_timeout: Duration,
    /// How long a closed connection is read on, so that the client gets to see the last answer.
    pub linger_timeout: Duration,
    /// How often an address may bring a token that is not live; `None` is as often as it likes. What comes too
    /// often is answered with 429 instead of 401. A live token is never held up by it.
    pub failed_authentications: Option<FailedAuthentications>,
}

/// How often one client address, or one /64 of IPv6, may bring a token that is not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAuthentications {
    /// So often at once, after it was quiet; 0 counts as 1.
    pub burst: u32,
    /// So often a minute in the long run; 0 counts as 1.
    pub per_minute: u32,
}

impl Limits {
    /// The default of [`connections`](Self::connections).
    pub const CONNECTIONS_MAX: usize = 960;
    /// The default of [`streams`](Self::streams).
    pub const STREAMS_MAX: usize = 100;
    /// The default of [`header_fields`](Self::header_fields).
    pub const HEADER_FIELDS_MAX: usize = HeaderLimits::DEFAULT.fields;
    /// The default of [`header_bytes`](Self::header_bytes).
    pub const HEADER_MAX_BYTES: usize = HeaderLimits::DEFAULT.bytes;
    /// The default of [`body_bytes`](Self::body_bytes).
    pub const BODY_MAX_BYTES: usize = 1024 * 1024;
    /// The default of [`handshake_timeout`](Self::handshake_timeout).
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
    /// The default of [`header_read_timeout`](Self::header_read_timeout).
    pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
    /// The default of [`body_read_timeout`](Self::body_read_timeout).
    pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`request_timeout`](Self::request_timeout).
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
    /// The default of [`write_timeout`](Self::write_timeout).
    pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`drain_timeout`](Self::drain_timeout).
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`linger_timeout`](Self::linger_timeout).
    pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
    /// The default of [`failed_authentications`](Self::failed_authentications).
    pub const FAILED_AUTHENTICATIONS: FailedAuthentications =
        FailedAuthentications { burst: 30, per_minute: 10 };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Self::CONNECTIONS_MAX,
            streams: Self::STREAMS_MAX,
            header_fields: Self::HEADER_FIELDS_MAX,
            header_bytes: Self::HEADER_MAX_BYTES,
            body_bytes: Self::BODY_MAX_BYTES,
            handshake_timeout: Self::HANDSHAKE_TIMEOUT,
            header_read_timeout: Self::HEADER_READ_TIMEOUT,
            body_read_timeout: Self::BODY_READ_TIMEOUT,
            request_timeout: Self::REQUEST_TIMEOUT,
            write_timeout: Self::WRITE_TIMEOUT,
            drain_timeout: Self::DRAIN_TIMEOUT,
            linger_timeout: Self::LINGER_TIMEOUT,
            failed_authentications: Some(Self::FAILED_AUTHENTICATIONS),
        }
    }
}
