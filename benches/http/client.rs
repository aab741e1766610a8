//! Clients that send one request again and again over connections of their own.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Requests per second over so many connections, for one round. An answer that is no success ends the run.
pub(crate) async fn rate(
    address: SocketAddr,
    connections: usize,
    request: &str,
    round: Duration,
) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let (started, request) = (Instant::now(), Arc::<str>::from(request));
    let repeat = |_| tokio::spawn(repeat(address, Arc::clone(&request), started + round));
    let clients: Vec<_> = (0..connections).map(repeat).collect();
    let mut requests = 0_u32;
    for client in clients {
        requests += client.await??;
    }
    Ok(f64::from(requests) / started.elapsed().as_secs_f64())
}

async fn repeat(address: SocketAddr, request: Arc<str>, end: Instant) -> io::Result<u32> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    let mut requests = 0;
    while Instant::now() < end {
        stream.write_all(request.as_bytes()).await?;
        let mut filled = 0;
        while !is_whole(buffer.get(..filled).unwrap_or_default())? {
            match stream.read(buffer.get_mut(filled..).unwrap_or_default()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        requests += 1;
    }
    Ok(requests)
}

/// Whether the answer has arrived whole.
fn is_whole(answer: &[u8]) -> io::Result<bool> {
    let text = std::str::from_utf8(answer).map_err(io::Error::other)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(false) };
    if !head.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(text.to_owned()));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Ok(length.is_some_and(|length: usize| body.len() >= length))
}
