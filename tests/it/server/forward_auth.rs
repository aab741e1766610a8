//! The forward-auth endpoint, asked over raw sockets as proxies ask.

use super::client::Response;
use super::world::{Behind, Token, World, engine, limits, policies, request};
use rolegate::server::{ForwardAuth, Networks, Server};
use std::net::Ipv4Addr;
use std::sync::Arc;

const POLICIES: &str = r#"
role("user").allow("ANY /api/**");
open("ANY /open/**");
authenticated("ANY /from/here").when(|request| request.client_ip == "192.0.2.1");
deny("ANY /api/forbidden");
"#;

/// The path of the endpoint.
pub(super) const ENDPOINT: &str = "/forward-auth";
/// The address of a proxy that is listed.
pub(super) const PROXY: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The address of a peer that is not.
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// An endpoint that believes the one proxy.
pub(super) fn endpoint() -> ForwardAuth {
    let peers = Networks::new(vec![PROXY.to_string().parse().unwrap()]).unwrap();
    ForwardAuth::new(ENDPOINT, peers).unwrap()
}

/// A server with the endpoint, and tokens with these roles.
fn start(roles: &[&str], change: impl FnOnce(Server) -> Server) -> (World, Vec<Token>) {
    let (engine, tokens) = engine(policies(POLICIES), roles);
    let server = Server::new(Arc::new(engine)).with_limits(limits()).with_forward_auth(endpoint());
    (World::start_server(change(server), Behind::Upstream), tokens)
}

/// What a proxy asks that tells of a request in header fields.
fn told(method: &str, target: &str, token: Option<&Token>, more: &str) -> String {
    let credential =
        token.map(|token| format!("X-API-Key: {}\r\n", token.secret.expose())).unwrap_or_default();
    format!(
        "GET {ENDPOINT} HTTP/1.1\r\nHost: rolegate\r\nX-Forwarded-Method: {method}\r\nX-Forwarded-Uri: {target}\r\n\
         X-Forwarded-Host: localhost\r\nX-Forwarded-Proto: https\r\n{credential}{more}\r\n"
    )
}

fn answer(world: &World, request: impl AsRef<[u8]>) -> Response {
    let mut client = world.connect();
    client.send(request);
    client.response().unwrap()
}

/// The four fields that tell who a request comes from.
fn identity(response: &Response) -> [Option<&str>; 4] {
    ["token-id", "name", "roles", "decision"].map(|name| response.header(&format!("x-rolegate-{name}")))
}

#[test]
fn permitted_request_is_answered_with_who_it_comes_from() {
    let (world, tokens) = start(&["user"], |server| server);
    let id = tokens[0].id.to_string();
    for request in [
        told("POST", "/api/a?b=1", Some(&tokens[0]), ""),
        request("POST", &format!("{ENDPOINT}/api/a?b=1"), Some(&tokens[0]), ""),
    ] {
        let response = answer(&world, request);
        let decision = response.header("x-request-id").map(str::to_owned);
        assert_eq!((response.status, response.body.as_str()), (200, ""));
        assert_eq!(
            identity(&response),
            [Some(id.as_str()), Some("token%20of%20user"), Some("user"), decision.as_deref()]
        );
    }
    let (decided, reached) = world.record.take();
    assert!(reached.is_empty() && decided.len() == 2, "{decided:?}");
    assert!(decided.iter().all(|one| one.path == "/api/a" && one.token == Some(tokens[0].id)));
}

#[test]
fn identity_is_told_empty_when_nobody_is_known_and_never_the_one_that_was_sent() {
    let (world, _) = start(&[], |server| server);
    let forged = "X-Rolegate-Token-Id: 1\r\nX-Rolegate-Name: root\r\nX-Rolegate-Roles: admin\r\nX-Rolegate-Decision: 2\r\n";
    for more in ["", forged] {
        let response = answer(&world, told("GET", "/open/a", None, more));
        let decision = response.header("x-request-id");
        assert_eq!((response.status, identity(&response)), (200, [Some(""), Some(""), Some(""), decision]));
    }
    for alias in ["X_Rolegate_Roles: admin\r\n", "X.Rolegate.Roles: admin\r\n", "X-Rolegate_Roles: admin\r\n"]
    {
        let response = answer(&world, told("GET", "/open/a", None, alias));
        assert_eq!((response.status, identity(&response)), (403, [None; 4]), "{alias}");
    }
}
