//! The program behind a proxy: it answers every request with 200, and records it as it came.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// By this header field a client tells which row of a corpus its request is, whenever it arrives.
pub(super) const ROW: &str = "X-Row";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";

/// A running program.
pub(super) struct Api {
    pub(super) address: SocketAddr,
    reached: Arc<Mutex<Vec<Reached>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A request that reached it.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) method: String,
    pub(super) target: Vec<u8>,
    /// Names as they were sent.
    pub(super) fields: Vec<(String, String)>,
}

impl Reached {
    /// The row that the client told, if it is one.
    pub(super) fn row(&self) -> Option<&str> {
        self.values(ROW).next()
    }

    /// The values of a header field, whatever the case of its name.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.fields.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str())
    }

    /// Method and target in short.
    pub(super) fn line(&self) -> String {
        let target: String = self.target.escape_ascii().to_string().chars().take(40).collect();
        format!("{} {target}", self.method)
    }

    fn parse(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head).into_owned();
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fields = lines.map(|line| line.split_once(':').unwrap_or((line, "")));
        Self {
            method: method.to_owned(),
            target: target.as_bytes().to_vec(),
            fields: fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
        }
    }
}

impl Api {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (reached, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (record, over) = (Arc::clone(&reached), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let (stream, record) = (stream.unwrap(), Arc::clone(&record));
                connections.push(std::thread::spawn(move || serve(stream, &record)));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self { address, reached, is_over, thread: Some(thread) }
    }

    /// Everything that reached it. The proxy must have ended, so that all of its connections have.
    pub(super) fn end(mut self) -> Vec<Reached> {
        self.stop();
        std::mem::take(&mut *self.reached.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.is_over.store(true, Ordering::SeqCst);
            drop(TcpStream::connect(self.address).unwrap());
            thread.join().unwrap();
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers the requests of one connection, to its end.
fn serve(mut stream: TcpStream, record: &Mutex<Vec<Reached>>) {
    let mut received = Vec::new();
    while let Some(head) = take_head(&mut stream, &mut received) {
        let reached = Reached::parse(&head);
        let length = reached.values("content-length").next().and_then(|length| length.parse().ok());
        let is_chunked = reached.values("transfer-encoding").next().is_some();
        let is_head = reached.method == "HEAD";
        record.lock().unwrap_or_else(PoisonError::into_inner).push(reached);
        let body = match (is_chunked, length) {
            (true, _) => skip_chunks(&mut stream, &mut received),
            (false, Some(length)) => skip(&mut stream, &mut received, length),
            (false, None) => Some(()),
        };
        let answer = if is_head { ANSWER.to_owned() } else { format!("{ANSWER}reached") };
        if body.is_none() || stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn take_head(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Vec<u8>> {
    take_until(stream, received, b"\r\n\r\n")
}

fn skip_chunks(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<()> {
    loop {
        let line = take_until(stream, received, b"\r\n")?;
        let size = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            while !take_until(stream, received, b"\r\n")?.is_empty() {}
            return Some(());
        }
        skip(stream, received, size + 2)?;
    }
}

fn take_until(stream: &mut TcpStream, received: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = received.windows(end.len()).position(|window| window == end) {
            let taken = received.drain(..at + end.len()).take(at).collect();
            return Some(taken);
        }
        read_more(stream, received)?;
    }
}

fn skip(stream: &mut TcpStream, received: &mut Vec<u8>, length: usize) -> Option<()> {
    while received.len() < length {
        read_more(stream, received)?;
    }
    received.drain(..length);
    Some(())
}

fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
    received.extend_from_slice(&buffer[..read]);
    Some(())
}
