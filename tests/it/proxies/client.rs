//! A client that sends exactly the bytes that it is given, and takes what proxies answer to them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A proxy that neither answers nor closes for so long has failed the test. Nothing waits for it otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether rolegate was asked, and denied.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self.status, 401 | 403 | 429) && self.field("x-request-id").is_some()
    }
}

/// The answers to requests that are sent at once on a connection of their own, one for each of these methods. There are
/// fewer when the connection ends before.
pub(super) fn exchange(address: SocketAddr, request: &[u8], methods: &[&str]) -> Vec<Answer> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // A proxy may answer and close before it has read everything.
    let _sent = stream.write_all(request);
    let mut received = Vec::new();
    let mut answers = Vec::new();
    for method in methods {
        match answer(&mut stream, &mut received, method) {
            Some(answer) => answers.push(answer),
            None => break,
        }
    }
    answers
}

fn answer(stream: &mut TcpStream, received: &mut Vec<u8>, method: &str) -> Option<Answer> {
    loop {
        let end = loop {
            if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !read_more(stream, received) {
                return None;
            }
        };
        let head: Vec<u8> = received.drain(..end + 4).take(end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        let mut answer = Answer { status, fields, body: String::new() };
        if status >= 200 {
            if method != "HEAD" && status != 204 && status != 304 {
                answer.body = String::from_utf8_lossy(&body(&answer, stream, received)).into_owned();
            }
            return Some(answer);
        }
    }
}

fn body(answer: &Answer, stream: &mut TcpStream, received: &mut Vec<u8>) -> Vec<u8> {
    let length = answer.field("content-length").and_then(|length| length.parse().ok());
    let is_chunked = answer.field("transfer-encoding").is_some();
    let is_whole = |received: &[u8]| match (is_chunked, length) {
        (true, _) => received.ends_with(b"0\r\n\r\n"),
        (false, Some(length)) => received.len() >= length,
        (false, None) => false,
    };
    while !is_whole(received) && read_more(stream, received) {}
    let end = length.unwrap_or(received.len()).min(received.len());
    received.drain(..end).collect()
}

/// Whether more was read; a reset is an end too.
fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(read) => {
            received.extend_from_slice(&buffer[..read]);
            true
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("the proxy neither answered nor closed: {error}"),
    }
}
