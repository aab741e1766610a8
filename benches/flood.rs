//! What is left for live tokens while other clients bring wrong ones as fast as they can.
//!
//! `cargo bench --bench flood`; it needs `ulimit -n 8192`.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "http/world.rs"]
mod world;

use http::header::CONTENT_LENGTH;
use rolegate::server::{Limits, Server};
use std::error::Error;
use std::io::{self, Write as _, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use warp::Filter as _;

const TOKEN: &str = "the-token-of-this-benchmark-run";
/// Connections with the live token.
const GOOD: usize = 8;
const ROUND: Duration = Duration::from_secs(3);
/// A live token that waits longer than this for an answer has none.
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Who else sends requests.
#[derive(Clone, Copy)]
struct Flood {
    name: &'static str,
    connections: usize,
    /// Each connection comes from an address of its own.
    is_spread: bool,
    is_limited: bool,
    credential: Credential,
}

#[derive(Clone, Copy)]
enum Credential {
    None,
    Unknown,
    Checksum,
}

/// What was counted in one round.
#[derive(Default)]
struct Counts {
    good: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
    connected: AtomicU64,
    is_over: AtomicBool,
}

const fn flood(
    name: &'static str,
    connections: usize,
    is_spread: bool,
    is_limited: bool,
    credential: Credential,
) -> Flood {
    Flood { name, connections, is_spread, is_limited, credential }
}

const FLOODS: [Flood; 8] = [
    flood("nobody", 0, false, true, Credential::None),
    flood("400 without a credential", 400, false, true, Credential::None),
    flood("400 of one address, limit off", 400, false, false, Credential::Unknown),
    flood("400 of one address", 400, false, true, Credential::Unknown),
    flood("400 of one address, wrong checksum", 400, false, true, Credential::Checksum),
    flood("400 of 400 addresses", 400, true, true, Credential::Unknown),
    flood("2000 of one address, limit off", 2000, false, false, Credential::Unknown),
    flood("2000 of one address", 2000, false, true, Credential::Unknown),
];

fn main() -> Outcome<()> {
    if std::env::args().any(|argument| argument == "--test") {
        // `cargo test --benches` only wants to know that this starts.
        return Ok(());
    }
    // Lines are made, as a server makes them, and go nowhere.
    tracing_subscriber::fmt().with_ansi(false).with_writer(io::sink).init();
    writeln!(
        stdout(),
        "{GOOD} connections with a live token, beside:\n{:36} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>11}",
        "",
        "200/s",
        "% of all",
        "401/s",
        "429/s",
        "connects/s",
        "median us",
        "99 % us"
    )?;
    for flood in FLOODS {
        run(flood)?;
    }
    Ok(())
}

fn run(flood: Flood) -> Outcome<()> {
    // All on one thread: then the share of live tokens does not depend on what else the machine does.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let address = start(&runtime, flood.is_limited)?;
    let counts = Arc::<Counts>::default();
    for number in 0..flood.connections {
        let counts = Arc::clone(&counts);
        runtime.spawn(async move {
            while !counts.is_over.load(Ordering::Relaxed) {
                // A connection that is closed or reset is followed by another one.
                let _ended = attack(flood, number, address, &counts).await;
            }
        });
    }
    // Until all of them are at it.
    std::thread::sleep(ROUND / 2);
    let reset = [&counts.refused, &counts.limited, &counts.connected];
    reset.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    let started = Instant::now();
    let mut waits = runtime.block_on(async {
        let end = started + ROUND;
        let good: Vec<_> =
            (0..GOOD).map(|_| tokio::spawn(client(address, end, Arc::clone(&counts)))).collect();
        let mut waits = Vec::new();
        for client in good {
            // Who got no answer within its patience counts as nothing.
            waits.extend(client.await??);
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(waits)
    })?;
    let secs = started.elapsed().as_secs_f64();
    counts.is_over.store(true, Ordering::Relaxed);
    waits.sort_unstable();
    let at = |part: usize| waits.get(waits.len() * part / 100).map_or(0, Duration::as_micros);
    let rate = |count: &AtomicU64| {
        let count = u32::try_from(count.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        f64::from(count) / secs
    };
    let all: f64 = [&counts.good, &counts.refused, &counts.limited].into_iter().map(rate).sum();
    writeln!(
        stdout(),
        "{:36} {:9.0} {:9.1} {:9.0} {:9.0} {:10.0} {:10} {:11}",
        flood.name,
        rate(&counts.good),
        100.0 * rate(&counts.good) / all,
        rate(&counts.refused),
        rate(&counts.limited),
        rate(&counts.connected),
        at(50),
        at(99)
    )?;
    runtime.shutdown_background();
    Ok(())
}

fn start(runtime: &Runtime, is_limited: bool) -> Outcome<SocketAddr> {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let mut limits = Limits::default();
    if !is_limited {
        limits.failed_authentications = None;
    }
    let route = warp::path!("api" / "server" / "status")
        .and(warp::get())
        .map(|| warp::reply::with_header(r#"{"status":"ready"}"#, "content-type", "application/json"));
    let server = Server::new(Arc::new(world::engine(TOKEN)?)).with_limits(limits);
    runtime.spawn(server.serve(listener, warp::service(route), std::future::pending()));
    Ok(address)
}

/// One connection of a client that brings wrong tokens, until it is closed.
async fn attack(flood: Flood, number: usize, address: SocketAddr, counts: &Counts) -> io::Result<()> {
    let [.., high, low] = (if flood.is_spread { number } else { 0 }).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)))?;
    let mut stream = socket.connect(address).await?;
    counts.connected.fetch_add(1, Ordering::Relaxed);
    let mut buffer = vec![0; 4096];
    while !counts.is_over.load(Ordering::Relaxed) {
        let credential = match flood.credential {
            Credential::None => String::new(),
            Credential::Unknown => format!("X-API-Key: {TOKEN}-{number}\r\n"),
            Credential::Checksum => "X-API-Key: svctok-AAAAAAA-AAAAAAA-AAAAAAA-AAAAAAA\r\n".to_owned(),
        };
        let answer = ask(&mut stream, &credential, &mut buffer).await?;
        let count = if answer.status == 429 { &counts.limited } else { &counts.refused };
        count.fetch_add(1, Ordering::Relaxed);
        if answer.is_last {
            break;
        }
    }
    Ok(())
}

/// How long each answer to a live token took.
async fn client(address: SocketAddr, end: Instant, counts: Arc<Counts>) -> io::Result<Vec<Duration>> {
    let credential = format!("X-API-Key: {TOKEN}\r\n");
    let mut buffer = vec![0; 4096];
    let mut waits = Vec::new();
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        while Instant::now() < end {
            let asked = Instant::now();
            let answer = ask(&mut stream, &credential, &mut buffer).await?;
            if answer.status != 200 {
                return Err(io::Error::other(format!("a live token was answered with {}", answer.status)));
            }
            waits.push(asked.elapsed());
            counts.good.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok(waits),
    }
}

struct Answer {
    status: u16,
    is_last: bool,
}

async fn ask(stream: &mut TcpStream, credential: &str, buffer: &mut [u8]) -> io::Result<Answer> {
    let request = format!("GET /api/server/status HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut filled = 0;
    loop {
        match stream.read(buffer.get_mut(filled..).unwrap_or_default()).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        if let Some(answer) = read(buffer.get(..filled).unwrap_or_default())? {
            return Ok(answer);
        }
    }
}

/// The answer, once it has arrived whole.
fn read(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let field = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let length: usize = field(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()).unwrap_or(0);
    let is_last = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((body.len() >= length).then(|| Answer { status: status.unwrap_or(0), is_last }))
}
