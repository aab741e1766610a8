//! A client that sends exactly the bytes that it is given.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A test that waits longer than this has failed. Nothing waits for it otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// The value of a header field that stands there once.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "`{name}` stands there twice: {self:?}");
        value
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The text of the first error of a `GenericErrorsResponse`.
    pub(super) fn message(&self) -> String {
        self.json()["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// What all answers to one question have in common: not the time, and not the number of the request.
    pub(super) fn without_moment(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date" && name != "x-request-id");
        self
    }
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// A connection from this address of this machine: on Linux, all of 127.0.0.0/8 is.
    pub(super) fn connect_from(from: Ipv4Addr, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            socket.connect(address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Self::over(stream)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes. The server may have closed the connection before the last of them, which is its right.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.send_all(bytes) {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
            assert!(closed.contains(&error.kind()), "{error}");
        }
    }

    /// Sends bytes, all of them.
    pub(super) fn send_all(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next final answer; `None` when the server closed the connection instead.
    pub(super) fn response(&mut self) -> Option<Response> {
        self.response_to("GET")
    }

    /// The next final answer to a request of this method.
    pub(super) fn response_to(&mut self, method: &str) -> Option<Response> {
        loop {
            let response = self.any_response(method)?;
            if response.status >= 200 {
                return Some(response);
            }
        }
    }

    /// The next answer, interim ones among them.
    pub(super) fn any_response(&mut self, method: &str) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !self.read_more() {
                assert!(self.received.is_empty(), "the server broke off: {:?}", self.received);
                return None;
            }
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())))
            .map(|field| field.unwrap_or_else(|| panic!("not a header field in {head:?}")))
            .collect();
        let mut response = Response { status: status.unwrap(), headers, body: String::new() };
        if response.status >= 200 && response.status != 204 && method != "HEAD" {
            let length = response.header("content-length").and_then(|length| length.parse().ok());
            response.body = self.read_body(length);
        }
        Some(response)
    }

    /// Everything up to the server's close. A reset is a close too.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.received)
    }

    fn read_body(&mut self, length: Option<usize>) -> String {
        while length.is_none_or(|length| self.received.len() < length) {
            if !self.read_more() {
                assert!(length.is_none(), "the server broke off within a body");
                break;
            }
        }
        let end = length.unwrap_or(self.received.len());
        String::from_utf8(self.received.drain(..end).collect()).unwrap()
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.received.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the server neither answered nor closed: {error}"),
        }
    }
}
