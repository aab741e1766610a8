//! Real clients over TLS: both versions of HTTP, certificates that are replaced, and clients that have to bring one.

use super::forward_auth::endpoint;
use super::http2::{Ended, request, send};
use super::world::{BEGINNING, Behind, World, engine, limits, policies};
use crate::secure::{Authority, Client, Made, VERSIONS, ask, connect_by, first, last, self_signed, shown};
use rolegate::server::{ClientCertificates, Networks, Server, Tls, TlsMaterial};
use rustls::HandshakeKind;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use zeroize::Zeroizing;

const POLICY: &str =
    "open(\"GET /open\"); open(\"GET /told\").when(|request| request.client_ip == \"192.0.2.7\");";

fn material(made: &Made) -> TlsMaterial {
    TlsMaterial {
        certificate: made.certificate.clone().into_bytes(),
        key: Zeroizing::new(made.key.clone().into_bytes()),
        clients: None,
        offers_http2: true,
    }
}

fn asking(made: &Made, wanted: ClientCertificates, authority: &Authority) -> TlsMaterial {
    TlsMaterial { clients: Some((wanted, authority.pem().into_bytes())), ..material(made) }
}

fn start_with(material: &TlsMaterial, change: impl FnOnce(Server) -> Server) -> (World, Arc<Tls>) {
    let (engine, _) = engine(policies(POLICY), &[]);
    let tls = Arc::new(Tls::new(material, BEGINNING).unwrap());
    let mut limits = limits();
    limits.handshake_timeout = limits.request_timeout;
    let server = Server::new(Arc::new(engine)).with_limits(limits).with_tls(Arc::clone(&tls));
    (World::start_server(change(server), Behind::Upstream), tls)
}

fn start(material: &TlsMaterial) -> (World, Arc<Tls>) {
    start_with(material, |server| server)
}

fn is_answered(answer: &Result<String, String>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.ends_with("reached"))
}

#[test]
fn both_versions_of_tls_and_of_http_are_spoken() {
    let made = self_signed();
    let (world, _) = start(&material(&made));
    for version in VERSIONS {
        let client = Client { versions: &[version], ..Client::trusting(&made.certificate) };
        let answer = client.get(world.address, "/open");
        assert!(is_answered(&answer), "{answer:?}");
        for (protocols, chosen) in [
            (&["h2", "http/1.1"][..], "h2"),
            (&["http/1.1", "h2"], "h2"),
            (&["h2"], "h2"),
            (&["http/1.1"], "http/1.1"),
        ] {
            world.record.take();
            let mut stream = Client { protocols, ..client }.connect(world.address);
            if chosen == "h2" {
                assert_eq!(send(&mut stream, &request("GET", "/open", &[])), Ended::Answered);
            } else {
                ask(&mut stream, "/open", "reached");
            }
            assert_eq!(stream.conn.alpn_protocol(), Some(chosen.as_bytes()));
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            assert_eq!(world.record.take().1.len(), 1);
        }
    }
}

#[test]
fn protocols_that_are_not_offered_are_not_spoken() {
    let made = self_signed();
    let (world, _) = start(&TlsMaterial { offers_http2: false, ..material(&made) });
    let client = Client::trusting(&made.certificate);
    let mut stream = Client { protocols: &["h2", "http/1.1"], ..client }.connect(world.address);
    ask(&mut stream, "/open", "reached");
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    for protocols in [&["h2"][..], &["spdy/3"]] {
        let answer = Client { protocols, ..Client::trusting(&made.certificate) }.get(world.address, "/open");
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[test]
fn server_without_tls_does_not_answer_who_begins_with_it() {
    let (engine, _) = engine(policies(POLICY), &[]);
    let world = World::start_with(engine, Behind::Upstream, limits());
    assert!(Client::trusting(&self_signed().certificate).get(world.address, "/open").is_err());
    assert!(world.record.take().1.is_empty());
}

#[test]
fn http_without_tls_reaches_nothing() {
    let (world, _) = start(&material(&self_signed()));
    let mut stream = TcpStream::connect(world.address).unwrap();
    stream.write_all(b"GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("speaks TLS"), "{answer}");
    assert!(world.record.take().1.is_empty());
}

#[test]
fn replaced_certificate_is_for_new_connections_and_old_ones_go_on() {
    let (old, new) = (self_signed(), self_signed());
    let (world, tls) = start(&material(&old));
    let mut open = Client::trusting(&old.certificate).connect(world.address);
    ask(&mut open, "/open", "reached");

    // The new key does not belong to the old certificate: everything stays.
    let mixed = Made { certificate: old.certificate.clone(), key: new.key.clone() };
    tls.replace(&material(&mixed), BEGINNING).unwrap_err();
    assert!(is_answered(&Client::trusting(&old.certificate).get(world.address, "/open")));

    tls.replace(&material(&new), BEGINNING).unwrap();
    assert!(Client::trusting(&old.certificate).get(world.address, "/open").is_err());
    let mut other = Client::trusting(&new.certificate).connect(world.address);
    ask(&mut other, "/open", "reached");
    ask(&mut open, "/open", "reached");
    assert_eq!((shown(&open), shown(&other)), (first(&old.certificate), first(&new.certificate)));
}

#[test]
fn clients_bring_a_certificate_where_they_have_to_and_a_good_one_where_they_may() {
    let (made, ours, theirs) = (self_signed(), Authority::new(), Authority::new());
    let (good, bad, own) = (ours.sign(), theirs.sign(), self_signed());
    for (wanted, alone) in [(ClientCertificates::Required, false), (ClientCertificates::Optional, true)] {
        let (world, _) = start(&asking(&made, wanted, &ours));
        for (brings, is_let_in) in
            [(None, alone), (Some(&good), true), (Some(&bad), false), (Some(&own), false)]
        {
            for version in VERSIONS {
                let client = Client { brings, versions: &[version], ..Client::trusting(&made.certificate) };
                let answer = client.get(world.address, "/open");
                assert_eq!(is_answered(&answer), is_let_in, "{wanted:?} {answer:?}");
                assert_eq!(world.record.take().1.len(), usize::from(is_let_in));
            }
        }
    }
}

#[test]
fn peers_of_the_forward_auth_endpoint_bring_a_certificate_where_clients_may() {
    let (made, ours) = (self_signed(), Authority::new());
    let good = ours.sign();
    let status = |material: &TlsMaterial, brings, protocols| {
        let (world, _) = start_with(material, |server| server.with_forward_auth(endpoint()));
        let client = Client { brings, protocols, ..Client::trusting(&made.certificate) };
        if protocols == ["h2"] {
            let asked = request("GET", "/forward-auth/open", &[]);
            assert_eq!(send(&mut client.connect(world.address), &asked), Ended::Answered);
            return world.record.take().0.len();
        }
        let answer = client.get(world.address, "/forward-auth/open").unwrap();
        let decided = world.record.take().0.len();
        assert_eq!(answer.starts_with("HTTP/1.1 200"), decided == 1, "{answer}");
        assert!(decided == 1 || answer.contains("need a client certificate"), "{answer}");
        decided
    };
    let optional = asking(&made, ClientCertificates::Optional, &ours);
    for protocols in [&["http/1.1"][..], &["h2"]] {
        assert_eq!(status(&optional, None, protocols), 0);
        assert_eq!(status(&optional, Some(&good), protocols), 1);
        assert_eq!(status(&asking(&made, ClientCertificates::Required, &ours), Some(&good), protocols), 1);
        assert_eq!(status(&material(&made), None, protocols), 1);
    }
}

#[test]
fn session_of_a_client_is_not_taken_up_again_once_its_authority_is_gone() {
    let (made, ours, theirs) = (self_signed(), Authority::new(), Authority::new());
    let good = ours.sign();
    let (world, tls) = start(&asking(&made, ClientCertificates::Required, &ours));
    let config = Client { brings: Some(&good), ..Client::trusting(&made.certificate) }.config();
    let ask = || {
        let mut stream = connect_by(&config, world.address);
        let answer = last(&mut stream, "/open");
        (is_answered(&answer), stream.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    };
    assert_eq!(ask(), (true, false));
    assert_eq!(ask(), (true, true), "the session was not taken up");
    tls.replace(&asking(&made, ClientCertificates::Required, &theirs), BEGINNING).unwrap();
    assert_eq!(ask(), (false, false));
}

#[test]
fn header_of_a_load_balancer_comes_before_tls_and_its_client_is_what_policies_see() {
    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x30\x39\x01\xbb";
    let made = self_signed();
    let listed = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]).unwrap();
    let (world, _) = start_with(&material(&made), |server| server.with_proxy_protocol(listed));
    let mut stream = Client::trusting(&made.certificate).connect(world.address);
    stream.sock.write_all(HEADER).unwrap();
    ask(&mut stream, "/told", "reached");
    // Without it, or with it where TLS has begun, nothing is asked.
    assert!(Client::trusting(&made.certificate).get(world.address, "/told").is_err());

    let (world, _) = start(&material(&made));
    let mut stream = Client::trusting(&made.certificate).connect(world.address);
    stream.sock.write_all(HEADER).unwrap();
    let _closed = stream.write_all(b"GET /told HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(stream.read_to_end(&mut Vec::new()).is_err());
    assert!(world.record.take().1.is_empty());
    let answer = Client::trusting(&made.certificate).get(world.address, "/told").unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
