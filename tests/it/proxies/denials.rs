//! What a client is told of a request that does not get through, and what happens when nobody can be asked.

use super::api::Api;
use super::client::exchange;
use super::gate::Gate;
use super::proxy::Proxy;
use super::{Who, World};
use crate::process::address_of_nobody;
use std::net::SocketAddr;

/// It takes a status and a few header fields from rolegate's answer, and nothing of its body.
const WITHOUT_BODY: &str = "nginx";

/// Looks at a 401 and a 403.
pub(super) fn check(name: &str) {
    let world = World::start(name);
    let user = format!("Authorization: ApiKey {}\r\n", world.gate.token(Who::User).unwrap());
    for (credential, status, word) in [
        ("", 401, "this route needs a live service token"),
        (&*user, 403, "this token may not `POST /admin/x`"),
    ] {
        let request = format!(
            "POST /admin/x HTTP/1.1\r\nHost: localhost\r\n{credential}Content-Length: 5\r\n\r\nhello"
        );
        let answers = exchange(world.proxy.address, request.as_bytes(), &["POST"]);
        let [answer] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.is_denial(), "{answer:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401, "{answer:?}");
        if name != WITHOUT_BODY {
            assert_eq!(answer.field("content-type"), Some("application/json"));
            assert!(answer.body.contains(word), "{answer:?}");
        }
    }
    let World { proxy, api, .. } = world;
    proxy.end();
    assert!(api.end().iter().all(|reached| reached.target == b"/health"));
}

/// Looks at what becomes of requests that rolegate would permit, when it is not there.
pub(super) fn check_without_rolegate(name: &str) {
    let (nobody, _kept) = address_of_nobody().unwrap();
    check_nothing_passes(name, nobody, ("", ""));
}

#[test]
fn script_that_fails_permits_nothing() {
    let gate = Gate::start();
    check_nothing_passes("haproxy", gate.address, ("core.httpclient()", "core.no_such_client()"));
}

fn check_nothing_passes(name: &str, asked: SocketAddr, change: (&str, &str)) {
    let (gate, api) = (Gate::start(), Api::start());
    let proxy = Proxy::start_changed(name, asked, api.address, change);
    let token = gate.token(Who::Admin).unwrap();
    for target in ["/api/users", "/admin", "/public/a.css", "/health"] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ApiKey {token}\r\n\r\n");
        let answers = exchange(proxy.address, request.as_bytes(), &["GET"]);
        assert!(matches!(answers[0].status, 403 | 500..=504), "{answers:?}");
    }
    proxy.end();
    let reached = api.end();
    assert!(reached.is_empty(), "{reached:?}");
}
