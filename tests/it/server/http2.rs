//! A client of HTTP/2 that sends what it is given, also what no client would, and what the path corpus comes to with it.

use super::corpus_paths::{Fixture, Row, Way, all_rows};
use super::world::Decided;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_MAX_BYTES: usize = 16_000;
/// Fields that speak of a connection of HTTP/1.1: a request with one of them is malformed.
const OF_THE_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The fields of a request, those that begin with a colon among them.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By an answer.
    Answered,
    /// By the end of its stream.
    Reset,
    /// By the end of the connection.
    Closed,
}

/// Sends one request on this connection and reads to its end.
pub(super) fn send(stream: &mut (impl Read + Write), fields: &[(Vec<u8>, Vec<u8>)]) -> Ended {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that nobody remembers, without any of the encodings that make it shorter.
        block.push(0);
        push_text(&mut block, name);
        push_text(&mut block, value);
    }
    let mut bytes = PREFACE.to_vec();
    let chunks: Vec<&[u8]> = block.chunks(FRAME_MAX_BYTES).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let end = if at + 1 == chunks.len() { END_HEADERS } else { 0 };
        let flags = end | if at == 0 { END_STREAM } else { 0 };
        let length = u32::try_from(chunk.len()).unwrap().to_be_bytes();
        bytes.extend([&length[1..], &[kind, flags, 0, 0, 0, 1], chunk].concat());
    }
    // The server may have ended the connection before the last byte.
    let _ended = stream.write_all(&bytes);
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Ended::Closed;
        }
        let [high, middle, low, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap()];
        if stream.read_exact(&mut payload).is_err() {
            return Ended::Closed;
        }
        match kind {
            _ if rest != [0, 0, 0, 1] => {}
            DATA | HEADERS if flags & END_STREAM != 0 => return Ended::Answered,
            RST_STREAM => return Ended::Reset,
            GO_AWAY => return Ended::Closed,
            _ => {}
        }
    }
}

/// A text with its length before it, of which the first seven bits stand in the first byte.
fn push_text(block: &mut Vec<u8>, text: &[u8]) {
    const PREFIX_MAX: usize = 127;
    if text.len() < PREFIX_MAX {
        block.push(u8::try_from(text.len()).unwrap());
    } else {
        block.push(127);
        let mut left = text.len() - PREFIX_MAX;
        while left >= 128 {
            block.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        block.push(u8::try_from(left).unwrap());
    }
    block.extend(text);
}

fn field(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.to_vec())
}

/// A request as HTTP/2 tells it.
pub(super) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Fields {
    let own = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    own.iter().chain(more).map(|(name, value)| field(name, value.as_bytes())).collect()
}

fn fields_of(fixture: &Fixture, row: &Row) -> Fields {
    let mut fields = vec![field(":method", &row.method_bytes()), field(":scheme", b"http")];
    if row.directive("nohost").is_none() {
        fields.push(field(":authority", &row.host()));
    }
    fields.push(field(":path", &row.target));
    if let Some(token) = fixture.token(row) {
        fields.push(field("authorization", format!("ApiKey {token}").as_bytes()));
    }
    for item in fixture.header_items(row) {
        let at = item.iter().position(|byte| *byte == b':').unwrap_or(item.len());
        let (name, value) = item.split_at(at);
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }
    fields
}

/// What a row came to.
fn outcome(fixture: &Fixture, row: &Row) -> (Ended, Vec<Decided>, usize) {
    fixture.world.record.take();
    let mut stream = TcpStream::connect(fixture.world.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = send(&mut stream, &fields_of(fixture, row));
    let (decided, reached) = fixture.world.record.take();
    (ended, decided, reached.len())
}

fn judge(fixture: &Fixture, row: &Row) -> Result<(), String> {
    let seen = outcome(fixture, row);
    let (_, decided, reached) = &seen;
    let was_refused = decided.is_empty() && *reached == 0;
    let named = |name: &str| {
        fixture.header_items(row).iter().any(|item| {
            item.to_ascii_lowercase().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b":"))
        })
    };
    // An address in the place of a path has no meaning here, and neither have these fields.
    let is_other_here = !row.target.starts_with(b"/") || OF_THE_CONNECTION.iter().any(|name| named(name));
    let is_as_expected = match row.expected {
        "400" => was_refused,
        "deny" => *reached == 0,
        _ if was_refused && (is_other_here || row.has_tag("frag")) => true,
        expected => {
            let path = expected.strip_prefix("same-as:").unwrap_or_else(|| panic!("{expected}"));
            let plain = fixture.plain_decisions(row, path);
            !decided.is_empty() && plain.last() == decided.last()
        }
    };
    if is_as_expected { Ok(()) } else { Err(format!("{} ({}): {seen:?}", row.id, row.why)) }
}

#[test]
fn every_row_of_the_path_corpus_comes_to_the_same() {
    let fixture = Fixture::with_http2();
    let rows = all_rows();
    // A line without a colon is no field in HTTP/1.1, and the name of one here.
    let own = |row: &&Row| {
        row.way() == Way::Direct
            && !row.is_of_the_connection()
            && row.directive("http").is_none()
            && fixture.header_items(row).iter().all(|item| item.contains(&b':'))
    };
    let judged: Vec<&Row> = rows.iter().filter(own).collect();
    let wrong: Vec<String> = judged.iter().filter_map(|row| judge(&fixture, row).err()).collect();
    println!("corpus paths over HTTP/2: {} rows, {} run", rows.len(), judged.len());
    assert!(judged.len() > 200, "{}", judged.len());
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn request_that_names_two_hosts_or_none_is_refused() {
    let fixture = Fixture::with_http2();
    let ask = |change: &dyn Fn(&mut Fields)| {
        fixture.world.record.take();
        let mut fields = request("GET", "/public/a.css", &[]);
        change(&mut fields);
        let mut stream = TcpStream::connect(fixture.world.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&mut stream, &fields);
        fixture.world.record.take().1.len()
    };
    for (host, reached) in
        [("localhost", 1), ("LOCALHOST:443", 1), ("localhost:80", 0), ("other", 0), ("", 0)]
    {
        let with_host = |fields: &mut Fields| fields.push(field("host", host.as_bytes()));
        assert_eq!(ask(&with_host), reached, "{host}");
        // In the place of the authority it is the only one, and has to be one.
        let host_alone = |fields: &mut Fields| {
            fields.remove(2);
            fields.push(field("host", host.as_bytes()));
        };
        assert_eq!(ask(&host_alone), usize::from(!host.is_empty()), "{host}");
    }
    assert_eq!(ask(&|_| {}), 1);
    assert_eq!(ask(&|fields| drop(fields.remove(2))), 0, "no host at all");
    assert_eq!(ask(&|fields| fields.extend([field("host", b"localhost"), field("host", b"localhost")])), 0);
    assert_eq!(ask(&|fields| fields.insert(2, field(":authority", b"localhost"))), 0, "two authorities");
    assert_eq!(ask(&|fields| fields.insert(3, field(":path", b"/api/x"))), 0, "two paths");
    assert_eq!(ask(&|fields| fields.push(field(":path", b"/api/x"))), 0, "a second path behind the fields");
    for path in ["", "?x", "api/x", "*"] {
        let other = |fields: &mut Fields| fields[3] = field(":path", path.as_bytes());
        assert_eq!(ask(&other), 0, "{path:?}");
    }
    for authority in ["user@localhost", "localhost/x", "localhost:99999", "a b"] {
        let other = |fields: &mut Fields| fields[2] = field(":authority", authority.as_bytes());
        assert_eq!(ask(&other), 0, "{authority}");
    }
}
