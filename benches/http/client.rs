//! Clients that send one request again and again over connections of their own.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long each answer took, over so many connections, for one round. An answer that is no success ends the run.
pub(crate) async fn waits(
    address: SocketAddr,
    connections: usize,
    request: &str,
    round: Duration,
) -> Result<Vec<Duration>, Box<dyn Error + Send + Sync>> {
    let (end, request) = (Instant::now() + round, Arc::<str>::from(request));
    let repeat = |_| tokio::spawn(repeat(address, Arc::clone(&request), end));
    let clients: Vec<_> = (0..connections).map(repeat).collect();
    let mut waits = Vec::new();
    for client in clients {
        waits.extend(client.await??);
    }
    Ok(waits)
}

async fn repeat(address: SocketAddr, request: Arc<str>, end: Instant) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    let (mut waits, mut now) = (Vec::new(), Instant::now());
    while now < end {
        let asked = now;
        stream.write_all(request.as_bytes()).await?;
        let mut filled = 0;
        while !is_whole(buffer.get(..filled).unwrap_or_default())? {
            match stream.read(buffer.get_mut(filled..).unwrap_or_default()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        now = Instant::now();
        waits.push(now - asked);
    }
    Ok(waits)
}

/// Whether the answer has arrived whole.
fn is_whole(answer: &[u8]) -> io::Result<bool> {
    const LENGTH: &[u8] = b"content-length:";
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(false) };
    let (head, body) = answer.split_at(head + 4);
    if !head.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(String::from_utf8_lossy(answer).into_owned()));
    }
    let length = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(LENGTH.len())?;
        name.eq_ignore_ascii_case(LENGTH).then(|| str::from_utf8(value).ok()?.trim().parse().ok())?
    });
    Ok(length.is_some_and(|length: usize| body.len() >= length))
}
