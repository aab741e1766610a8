//! From an accepted connection to one that speaks HTTP: the header of the PROXY protocol, TLS, and which HTTP it is.

use super::http2::http2;
use super::{Exchange, Respond, http1};
use crate::network::Networks;
use crate::server::proxy_protocol::{self, ProxyProtocolError};
use crate::server::socket::Socket;
use crate::server::transport_metrics::{Opening, TransportMetrics};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use {
    super::ClientCertificate,
    crate::server::tls::{Tls, is_http2},
    std::sync::Arc,
    tokio::io::AsyncWriteExt as _,
    tokio_rustls::{TlsAcceptor, server::TlsStream},
};

/// What HTTP/2 begins with; no method of HTTP/1.1 does.
const HTTP_2_PREFACE: [u8; 3] = *b"PRI";
/// How long is waited for the rest of those bytes, when they come one by one.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);
/// The first byte of a handshake of TLS.
#[cfg(feature = "tls")]
const TLS_HANDSHAKE: u8 = 0x16;
/// The answer to HTTP without TLS where TLS is spoken. It is not looked at what was asked.
#[cfg(feature = "tls")]
const TLS_NEEDED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n\
    Connection: close\r\n\r\nthis port speaks TLS: ask for https://\r\n";

/// What is spoken below HTTP.
#[derive(Debug, Default)]
pub(in crate::server) struct Transport {
    /// Who begins every connection with a header of the PROXY protocol.
    pub(in crate::server) proxies: Networks,
    /// Whether HTTP/2 is served without TLS too, to whoever begins with it.
    pub(in crate::server) is_http2_cleartext: bool,
    #[cfg(feature = "tls")]
    pub(in crate::server) tls: Option<Arc<Tls>>,
    pub(in crate::server) metrics: TransportMetrics,
}

/// A connection that is ready for HTTP.
enum Opened {
    Http1(TcpStream),
    Http2(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<Socket<TcpStream>>>),
}

/// Why a connection does not get that far.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Proxy(#[from] ProxyProtocolError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[cfg(feature = "tls")]
    #[error("it does not begin with TLS")]
    Plain(TcpStream),
}

impl Transport {
    /// Serves a connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, exchange: Exchange<impl Respond>) {
        // Without it the last part of an answer waits for the peer's acknowledgement; failing is no harm.
        let _set = stream.set_nodelay(true);
        if self.is_bare() {
            let (socket, linger) = (Socket::new(stream, exchange.limits.write_timeout), exchange.limits);
            http1(socket, exchange).await.linger(linger.linger_timeout).await;
        } else {
            // On the heap: otherwise every connection would take as much room as one with TLS.
            Box::pin(self.open_and_serve(stream, exchange)).await;
        }
    }

    /// Whether a connection begins with its first request.
    fn is_bare(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return false;
        }
        self.proxies.is_empty() && !self.is_http2_cleartext
    }

    async fn open_and_serve(&self, stream: TcpStream, mut exchange: Exchange<impl Respond>) {
        let (limits, address) = (exchange.limits, exchange.peer);
        let mut draining = exchange.draining.clone();
        let opening = tokio::time::timeout(limits.handshake_timeout, self.open(stream, &mut exchange));
        let opened = tokio::select! {
            opened = opening => opened,
            // Nothing was asked yet that could be answered.
            _ = draining.wait_for(|draining| *draining) => return,
        };
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return self.refuse(error, address, &exchange).await,
            Err(_) => {
                self.metrics.count(Opening::Late);
                tracing::debug!(peer = %address, "connection closed: its handshake took too long");
                return;
            }
        };
        self.metrics.count(Opening::Done);
        let socket = match opened {
            Opened::Http1(stream) => http1(Socket::new(stream, limits.write_timeout), exchange).await,
            Opened::Http2(stream) => http2(Socket::new(stream, limits.write_timeout), exchange).await,
            #[cfg(feature = "tls")]
            Opened::Tls(stream) => {
                let (_, session) = stream.get_ref();
                if exchange.certificate.is_some() && session.peer_certificates().is_some() {
                    exchange.certificate = Some(ClientCertificate::Good);
                }
                let stream = if is_http2(session.alpn_protocol()) {
                    http2(*stream, exchange).await
                } else {
                    http1(*stream, exchange).await
                };
                stream.into_inner().0
            }
        };
        socket.linger(limits.linger_timeout).await;
    }

    async fn open(
        &self,
        mut stream: TcpStream,
        exchange: &mut Exchange<impl Respond>,
    ) -> Result<Opened, OpenError> {
        if self.proxies.contains(exchange.peer.ip())
            && let Some(client) = proxy_protocol::read(&mut stream).await?
        {
            exchange.peer = client;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 || first != [TLS_HANDSHAKE] {
                return Err(OpenError::Plain(stream));
            }
            let socket = Socket::new(stream, exchange.limits.write_timeout);
            let (config, asks_clients) = tls.begin();
            exchange.certificate = asks_clients.then_some(ClientCertificate::Missing);
            let stream = TlsAcceptor::from(config).accept(socket).await?;
            return Ok(Opened::Tls(Box::new(stream)));
        }
        if self.is_http2_cleartext && begins_http2(&stream).await? {
            return Ok(Opened::Http2(stream));
        }
        Ok(Opened::Http1(stream))
    }

    /// Closes a connection that did not begin as it must.
    async fn refuse(
        &self,
        error: OpenError,
        address: std::net::SocketAddr,
        exchange: &Exchange<impl Respond>,
    ) {
        let is_of_proxy = matches!(error, OpenError::Proxy(_));
        self.metrics.count(if is_of_proxy { Opening::Proxy } else { Opening::Tls });
        tracing::debug!(peer = %address, client = %exchange.peer, %error, "connection closed at its start");
        #[cfg(feature = "tls")]
        if let OpenError::Plain(stream) = error {
            let mut socket = Socket::new(stream, exchange.limits.write_timeout);
            // Whoever does not read it is closed as well.
            let _told = socket.write_all(TLS_NEEDED).await;
            let _told = socket.shutdown().await;
            socket.linger(exchange.limits.linger_timeout).await;
        }
    }
}

/// Looks at the first bytes and leaves them where they are.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP_2_PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        let seen = first.get(..length).unwrap_or_default();
        if seen.is_empty() || !HTTP_2_PREFACE.starts_with(seen) {
            return Ok(false);
        }
        if length == HTTP_2_PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MINUTE, World, limits, patient, rest, until};
    use super::*;
    use crate::server::limits::Limits;
    use tokio::io::AsyncReadExt as _;
    #[cfg(not(feature = "tls"))]
    use tokio::io::AsyncWriteExt as _;

    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x30\x39\x01\xbb";
    const REQUEST: &[u8] = b"GET /peer HTTP/1.1\r\nHost: h\r\n\r\n";

    fn proxied(peers: &str) -> Transport {
        let peers = Networks::new(vec![peers.parse().unwrap()]).unwrap();
        Transport { proxies: peers, ..Transport::default() }
    }

    fn refused(world: &mut World) {
        assert!(world.arrived.try_recv().is_err(), "a request arrived");
    }

    #[tokio::test]
    async fn client_is_the_one_that_a_listed_proxy_tells_of() {
        let world = World::start_below(patient(), proxied("127.0.0.0/8")).await;
        let mut stream = world.connect().await;
        // The request comes in the same packet, and nothing of it is lost.
        stream.write_all(&[HEADER, REQUEST].concat()).await.unwrap();
        until(&mut stream, "192.0.2.7:12345").await;
        // The header belongs to the connection, not to the request.
        stream.write_all(REQUEST).await.unwrap();
        until(&mut stream, "192.0.2.7:12345").await;

        let mut stream = world.connect().await;
        for byte in HEADER {
            stream.write_all(&[*byte]).await.unwrap();
        }
        stream.write_all(REQUEST).await.unwrap();
        until(&mut stream, "192.0.2.7:12345").await;
    }

    #[tokio::test]
    async fn proxy_that_asks_for_itself_is_the_client() {
        let world = World::start_below(patient(), proxied("127.0.0.1")).await;
        let mut stream = world.connect().await;
        let own = stream.local_addr().unwrap().to_string();
        stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        until(&mut stream, &own).await;
    }

    #[tokio::test]
    async fn listed_proxy_without_its_header_is_closed_without_an_answer() {
        let mut world = World::start_below(patient(), proxied("127.0.0.1")).await;
        for bytes in [REQUEST, b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 443\r\n", &HEADER[1..]] {
            let mut stream = world.connect().await;
            stream.write_all(bytes).await.unwrap();
            assert_eq!(rest(&mut stream).await, "");
            refused(&mut world);
        }
    }

    #[tokio::test]
    async fn header_of_anybody_else_is_not_looked_at_and_no_request_follows_it() {
        let old: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 443\r\n";
        for transport in [proxied("192.0.2.0/24"), Transport::default()] {
            let mut world = World::start_below(patient(), transport).await;
            for header in [HEADER, old] {
                let mut stream = world.connect().await;
                stream.write_all(&[header, REQUEST].concat()).await.unwrap();
                let answer = rest(&mut stream).await;
                assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("200 OK"), "{answer}");
                refused(&mut world);
            }
            let mut stream = world.connect().await;
            let own = stream.local_addr().unwrap().to_string();
            stream.write_all(REQUEST).await.unwrap();
            until(&mut stream, &own).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn proxy_that_sends_no_header_is_closed_in_time() {
        let world = World::start_below(Limits::default(), proxied("127.0.0.1")).await;
        let mut stream = world.connect().await;
        stream.write_all(&HEADER[..20]).await.unwrap();
        let started = tokio::time::Instant::now();
        assert_eq!(rest(&mut stream).await, "");
        assert!(started.elapsed() >= Limits::HANDSHAKE_TIMEOUT);
        assert!(started.elapsed() < Limits::HANDSHAKE_TIMEOUT * 2);
    }

    #[tokio::test]
    async fn http_2_without_tls_is_for_servers_that_are_told_so() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let always = Transport { is_http2_cleartext: true, ..Transport::default() };
        let world = World::start_below(patient(), always).await;
        for chunk_bytes in [1, 2, preface.len()] {
            let mut stream = world.connect().await;
            for chunk in preface.chunks(chunk_bytes) {
                stream.write_all(chunk).await.unwrap();
            }
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame[3], 4, "the server begins with its settings");
        }
        // HTTP/1.1 goes on beside it, however its first bytes come.
        let mut stream = world.connect().await;
        for part in [&b"P"[..], b"UT /a HTTP/1.1\r\nHost: h\r\n\r\n"] {
            stream.write_all(part).await.unwrap();
        }
        until(&mut stream, "/a").await;

        let world = World::start_below(patient(), Transport::default()).await;
        let mut stream = world.connect().await;
        stream.write_all(preface).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    }

    #[cfg(feature = "tls")]
    mod tls {
        use super::*;
        use crate::server::tls::Tls;
        use crate::server::tls::tests::{NOW, material, self_signed};
        use std::sync::Arc;

        fn secure() -> Transport {
            let tls = Tls::new(&material(&self_signed()), NOW).unwrap();
            Transport { tls: Some(Arc::new(tls)), ..Transport::default() }
        }

        #[tokio::test(start_paused = true)]
        async fn client_that_does_not_end_its_handshake_is_closed_in_time() {
            let world = World::start_below(Limits::default(), secure()).await;
            for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
                let mut stream = world.connect().await;
                stream.write_all(begun).await.unwrap();
                let started = tokio::time::Instant::now();
                assert_eq!(rest(&mut stream).await, "");
                assert!(started.elapsed() >= Limits::HANDSHAKE_TIMEOUT);
                assert!(started.elapsed() < Limits::HANDSHAKE_TIMEOUT * 2);
            }
        }

        #[tokio::test]
        async fn connections_in_their_handshake_count_and_end_with_the_server() {
            let mut world = World::start_below(
                limits(|limits| {
                    limits.connections = 1;
                    limits.handshake_timeout = MINUTE;
                }),
                secure(),
            )
            .await;
            let mut first = world.connect().await;
            let mut second = world.connect().await;
            second.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            // The second one is not looked at before the first is over.
            drop(first.write_all(b"G").await);
            assert!(rest(&mut first).await.contains("this port speaks TLS"));
            assert!(rest(&mut second).await.contains("this port speaks TLS"));
            let mut third = world.connect().await;
            third.write_all(b"\x16").await.unwrap();
            world.shut_down();
            assert_eq!(rest(&mut third).await, "");
            world.serving.await.unwrap();
        }

        #[tokio::test]
        async fn http_without_tls_is_told_so_and_closed() {
            let mut world = World::start_below(patient(), secure()).await;
            let mut stream = world.connect().await;
            stream.write_all(REQUEST).await.unwrap();
            let answer = rest(&mut stream).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("Connection: close"), "{answer}");
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
            refused(&mut world);
        }
    }
}
