//! One connection by HTTP/2: as many requests at once as its limits allow, and an end for those who only hold it open.

use super::{BUFFER_MAX_BYTES, Exchange, REQUEST_LINE_EXTRA_BYTES, Respond};
use crate::path::TARGET_MAX_BYTES;
use crate::server::limits::Limits;
use crate::server::streams::{Judgement, Streams};
use http::header::CONNECTION;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};

/// What HTTP/2 counts for a field beside its name and value, less what the guard counts.
const FIELD_EXTRA_BYTES: usize = 28;
/// What a client may send of all bodies before somebody reads it, and of one.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The largest frame; the smallest that may be asked for.
const FRAME_MAX_BYTES: u32 = 16 * 1024;
/// How much of names and values both sides remember of a connection.
const HEADER_TABLE_BYTES: u32 = 4096;
/// Requests that a client took back before anybody looked at them, and those that were malformed below HTTP. More
/// are a flood, and end the connection.
const RESETS_WAITING_MAX: usize = 20;
const MALFORMED_STREAMS_MAX: usize = 100;

/// Serves a connection by HTTP/2, and gives its socket back.
pub(super) async fn http2<S>(mut stream: S, exchange: Exchange<impl Respond>) -> S
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Exchange { responder, peer, limits, mut draining, is_full, certificate } = exchange;
    let streams = Arc::new(Streams::new(limits.header_read_timeout, limits.write_timeout));
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        let (responder, open) = (Arc::clone(&responder), streams.open());
        let is_crowded = is_full.load(Ordering::Relaxed);
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(certificate);
        }
        async move {
            let Ok(mut response) = responder.respond(request, peer, is_crowded).await;
            // The field means nothing in HTTP/2: one request is no reason to end those beside it, as long as nobody
            // waits for a connection.
            let is_closing = response.headers_mut().remove(CONNECTION).is_some() && is_crowded;
            Ok::<_, Infallible>(response.map(|body| open.answer(body, is_closing)))
        }
    });
    {
        let mut connection = pin!(builder(&limits).serve_connection(TokioIo::new(&mut stream), service));
        let mut is_told = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "connection ended early");
                    }
                    break;
                }
                _ = draining.wait_for(|draining| *draining), if !is_told => {}
                judgement = streams.judge(is_told, limits.linger_timeout) => match judgement {
                    Judgement::Finish => {}
                    Judgement::Drop(cause) => {
                        tracing::debug!(%peer, cause, "connection dropped");
                        break;
                    }
                }
            }
            is_told = true;
            connection.as_mut().graceful_shutdown();
        }
    }
    stream
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let extra = limits.header_fields.saturating_mul(FIELD_EXTRA_BYTES);
    let head_bytes =
        limits.header_bytes.saturating_add(extra).saturating_add(TARGET_MAX_BYTES + REQUEST_LINE_EXTRA_BYTES);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .adaptive_window(false)
        .max_frame_size(FRAME_MAX_BYTES)
        .max_concurrent_streams(u32::try_from(limits.streams).unwrap_or(u32::MAX))
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .header_table_size(HEADER_TABLE_BYTES)
        .max_pending_accept_reset_streams(RESETS_WAITING_MAX)
        .max_local_error_reset_streams(MALFORMED_STREAMS_MAX)
        .max_send_buf_size(BUFFER_MAX_BYTES)
        .keep_alive_interval(None);
    builder
}

#[cfg(test)]
mod tests {
    use super::super::Transport;
    use super::super::tests::{MINUTE, World, limits, patient};
    use super::*;
    use crate::server::streams::CUT_MAX;
    use bytes::Bytes;
    use h2::client::{Builder as ClientBuilder, SendRequest};
    use h2::{Reason, RecvStream};
    use http::{Request, Response, Uri};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// A client, and how its connection ends.
    struct Client {
        sending: SendRequest<Bytes>,
        ended: JoinHandle<Result<(), h2::Error>>,
    }

    async fn start(limits: Limits) -> World {
        World::start_below(limits, Transport { is_http2_cleartext: true, ..Transport::default() }).await
    }

    async fn connect_by(world: &World, builder: &ClientBuilder) -> Client {
        let (sending, connection) = builder.handshake(world.connect().await).await.unwrap();
        Client { sending, ended: tokio::spawn(connection) }
    }

    async fn connect(world: &World) -> Client {
        connect_by(world, &ClientBuilder::new()).await
    }

    fn request(path: &str) -> Request<()> {
        let uri: Uri = format!("http://h{path}").parse().unwrap();
        Request::get(uri).body(()).unwrap()
    }

    impl Client {
        async fn ask(&mut self, path: &str) -> Result<Response<RecvStream>, h2::Error> {
            self.sending = self.sending.clone().ready().await?;
            self.sending.send_request(request(path), true)?.0.await
        }
    }

    async fn text(response: Response<RecvStream>) -> String {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            bytes.extend(part);
        }
        String::from_utf8(bytes).unwrap()
    }

    /// A frame as it is on the wire.
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Reads frames up to the end of the connection. Returns the codes of those that tell of a connection error.
    async fn errors(mut stream: TcpStream) -> Vec<u32> {
        const GO_AWAY: u8 = 7;
        let mut codes = Vec::new();
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if stream.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == GO_AWAY {
                codes.push(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        codes
    }

    #[tokio::test]
    async fn requests_are_answered_beside_each_other() {
        let mut world = start(patient()).await;
        let mut client = connect(&world).await;
        let mut other = Client { sending: client.sending.clone(), ended: tokio::spawn(async { Ok(()) }) };
        let held = tokio::spawn(async move { text(other.ask("/hold").await.unwrap()).await });
        assert_eq!(world.arrived.recv().await.unwrap(), "/hold");
        assert_eq!(text(client.ask("/a").await.unwrap()).await, "/a");
        world.echo.release.notify_one();
        assert_eq!(held.await.unwrap(), "/hold");
        // What would end a connection of HTTP/1.1 ends nothing here.
        let response = client.ask("/close").await.unwrap();
        assert!(response.headers().get("connection").is_none());
        assert_eq!(text(client.ask("/large").await.unwrap()).await.len(), 64 * 1024 * 1024);
    }

    #[tokio::test]
    async fn requests_beyond_the_limit_of_a_connection_are_refused() {
        let world = start(limits(|limits| limits.streams = 2)).await;
        // This client does not know the limit, since it does not wait for the server's settings.
        let mut stream = world.connect().await;
        let fields = [0x82, 0x86, 0x84, 0x41, 1, b'h'];
        let held = [0x82, 0x86, 0x44, 5, b'/', b'h', b'o', b'l', b'd', 0x41, 1, b'h'];
        let mut bytes = PREFACE.to_vec();
        for (stream, fields) in [(1, &held[..]), (3, &held), (5, &fields), (7, &fields)] {
            bytes.extend(frame(1, 5, stream, fields));
        }
        stream.write_all(&bytes).await.unwrap();
        let mut refused = Vec::new();
        let mut head = [0; 9];
        while refused.len() < 2 {
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            stream.read_exact(&mut payload).await.unwrap();
            if head[3] == 3 {
                refused.push((head[8], payload[3]));
            }
        }
        assert_eq!(refused, [(5, 7), (7, 7)], "REFUSED_STREAM");
    }

    #[tokio::test]
    async fn idle_connection_is_closed_in_time_and_one_with_a_running_request_is_not() {
        let mut world = start(Limits::default()).await;
        let mut client = connect(&world).await;
        assert_eq!(text(client.ask("/a").await.unwrap()).await, "/a");
        world.arrived.recv().await.unwrap();
        let mut other = Client { sending: client.sending.clone(), ended: tokio::spawn(async { Ok(()) }) };
        let held = tokio::spawn(async move { text(other.ask("/hold").await.unwrap()).await });
        world.arrived.recv().await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(Limits::HEADER_READ_TIMEOUT * 10).await;
        assert!(!client.ended.is_finished());
        world.echo.release.notify_one();
        assert_eq!(held.await.unwrap(), "/hold");
        let started = tokio::time::Instant::now();
        drop(client.sending);
        assert!(client.ended.await.unwrap().is_ok());
        assert!(started.elapsed() < Limits::HEADER_READ_TIMEOUT * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_never_asks_is_closed_whatever_it_began_with() {
        let world = start(Limits::default()).await;
        let headers_without_end = frame(1, 1, 1, &[0x82, 0x86]);
        for begun in [&PREFACE[..10], PREFACE, &[PREFACE, &headers_without_end].concat()] {
            let mut stream = world.connect().await;
            stream.write_all(begun).await.unwrap();
            let started = tokio::time::Instant::now();
            errors(stream).await;
            assert!(started.elapsed() < Limits::HEADER_READ_TIMEOUT * 3, "{:?}", started.elapsed());
        }
    }

    #[tokio::test]
    async fn client_that_reads_nothing_of_its_answer_is_dropped() {
        for window in [0, 1000] {
            let mut world = start(Limits::default()).await;
            let mut client = connect_by(&world, ClientBuilder::new().initial_window_size(window)).await;
            let mut body = client.ask("/large").await.unwrap().into_body();
            world.arrived.recv().await.unwrap();
            tokio::time::pause();
            let started = tokio::time::Instant::now();
            let mut received = 0;
            while let Some(Ok(part)) = body.data().await {
                received += part.len();
            }
            assert_eq!(received, usize::try_from(window).unwrap());
            assert!(started.elapsed() < Limits::WRITE_TIMEOUT * 3, "{:?}", started.elapsed());
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn running_request_finishes_while_the_server_ends() {
        let mut world = start(patient()).await;
        let mut client = connect(&world).await;
        let mut other = Client { sending: client.sending.clone(), ended: tokio::spawn(async { Ok(()) }) };
        let held = tokio::spawn(async move { text(other.ask("/hold").await.unwrap()).await });
        assert_eq!(world.arrived.recv().await.unwrap(), "/hold");
        let mut idle = connect(&world).await;
        assert_eq!(text(idle.ask("/a").await.unwrap()).await, "/a");
        world.shut_down();
        idle.ended.await.unwrap().unwrap();
        let late = client.ask("/late").await;
        assert!(late.is_err(), "a request was taken after the end was told");
        world.echo.release.notify_one();
        assert_eq!(held.await.unwrap(), "/hold");
        drop(client.sending);
        client.ended.await.unwrap().unwrap();
        world.serving.await.unwrap();
    }

    #[tokio::test]
    async fn connection_of_whoever_has_no_claim_ends_while_others_wait() {
        let mut world = start(limits(|limits| {
            limits.connections = 1;
            limits.header_read_timeout = MINUTE;
            limits.handshake_timeout = MINUTE;
        }))
        .await;
        let mut client = connect(&world).await;
        assert_eq!(text(client.ask("/close").await.unwrap()).await, "/close");
        world.arrived.recv().await.unwrap();
        let mut waiting = world.get("/waiting").await;
        // The second connection may still be on its way: what follows goes on until it waits.
        while let Ok(response) = client.ask("/close").await {
            assert_eq!(text(response).await, "/close");
            tokio::task::yield_now().await;
        }
        drop(client.sending);
        super::super::tests::until(&mut waiting, "/waiting").await;
    }

    /// CVE-2023-44487: requests that are taken back at once.
    #[tokio::test]
    async fn flood_of_requests_that_are_taken_back_ends_the_connection() {
        let world = start(patient()).await;
        let mut stream = world.connect().await;
        let mut bytes = PREFACE.to_vec();
        let fields = [0x82, 0x86, 0x84, 0x41, 1, b'h'];
        for stream in (1..20_000).step_by(2) {
            bytes.extend(frame(1, 5, stream, &fields));
            bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
        }
        // The server may close before the last of them.
        let _closed = stream.write_all(&bytes).await;
        let codes = errors(stream).await;
        assert!(codes.iter().all(|code| Reason::from(*code) == Reason::ENHANCE_YOUR_CALM), "{codes:?}");
    }

    #[tokio::test]
    async fn requests_that_are_taken_back_while_they_are_answered_are_a_flood_too() {
        let mut world = start(patient()).await;
        let mut client = connect(&world).await;
        let mut cut = 0;
        while let Ok(ready) = client.sending.clone().ready().await {
            client.sending = ready;
            let Ok((response, _)) = client.sending.send_request(request("/hold"), true) else { break };
            tokio::select! {
                _ = world.arrived.recv() => {}
                _ = &mut client.ended => break,
            }
            drop(response);
            cut += 1;
            assert!(cut < CUT_MAX * 3, "nobody ends it");
            tokio::task::yield_now().await;
        }
        assert!(cut > CUT_MAX / 2, "{cut}");
    }

    #[tokio::test]
    async fn a_few_requests_that_are_taken_back_end_nothing() {
        let mut world = start(patient()).await;
        let mut client = connect(&world).await;
        for _ in 0..CUT_MAX * 2 {
            let (cut, _) = client.sending.send_request(request("/hold"), true).unwrap();
            world.arrived.recv().await.unwrap();
            drop(cut);
            for _ in 0..2 {
                assert_eq!(text(client.ask("/a").await.unwrap()).await, "/a");
                world.arrived.recv().await.unwrap();
            }
        }
    }

    /// CVE-2024-27316: header fields that never end.
    #[tokio::test]
    async fn flood_of_continuations_ends_the_connection() {
        let mut world = start(patient()).await;
        let mut stream = world.connect().await;
        let mut bytes = [PREFACE, &frame(1, 1, 1, &[0x82, 0x86, 0x84])].concat();
        for number in 0..5_000 {
            let field = format!("\0\x05x{number:04}\x01a");
            bytes.extend(frame(9, 0, 1, field.as_bytes()));
        }
        let _closed = stream.write_all(&bytes).await;
        let codes = errors(stream).await;
        assert!(codes.iter().all(|code| Reason::from(*code) != Reason::NO_ERROR), "{codes:?}");
        assert!(world.arrived.try_recv().is_err());
    }

    #[tokio::test]
    async fn header_fields_beyond_what_is_buffered_never_arrive_and_end_no_other_request() {
        let mut world = start(patient()).await;
        let mut client = connect(&world).await;
        let mut long = request("/long");
        long.headers_mut().insert("x", "x".repeat(60_000).parse().unwrap());
        let answer = client.sending.send_request(long, true).unwrap().0.await;
        assert_eq!(answer.unwrap().status(), 431);
        assert_eq!(text(client.ask("/a").await.unwrap()).await, "/a");
        assert_eq!(world.arrived.recv().await.unwrap(), "/a");
    }

    #[tokio::test]
    async fn limits_are_told_in_the_settings() {
        let world = start(patient()).await;
        let mut stream = world.connect().await;
        stream.write_all(PREFACE).await.unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        let told: Vec<(u8, u32)> = payload
            .chunks(6)
            .map(|setting| (setting[1], u32::from_be_bytes(setting[2..].try_into().unwrap())))
            .collect();
        for setting in [(1, HEADER_TABLE_BYTES), (3, 100), (4, STREAM_WINDOW_BYTES), (5, FRAME_MAX_BYTES)] {
            assert!(told.contains(&setting), "{told:?}");
        }
    }
}
