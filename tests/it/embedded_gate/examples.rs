//! The examples, started in this process on free ports.

use std::error::Error;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

macro_rules! example {
    ($name:ident, $file:literal) => {
        #[path = $file]
        #[expect(dead_code, reason = "its `main` is for people; tests start what it starts")]
        #[expect(clippy::duplicate_mod, reason = "the examples share some files")]
        mod $name;
    };
}

example!(guard_axum, "../../../examples/guard_axum.rs");
example!(guard_hyper, "../../../examples/guard_hyper.rs");
example!(guard_tonic, "../../../examples/guard_tonic.rs");
example!(guard_warp, "../../../examples/guard_warp.rs");

const TOKEN: &str = "a-token-that-this-program-chose";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs a server for as long as `ask` takes, and what `ask` comes to.
async fn while_serving<T>(
    serving: impl Future<Output = Outcome<()>>,
    ask: impl Future<Output = Outcome<T>>,
    stop: oneshot::Sender<()>,
) -> T {
    let asking = async {
        let asked = ask.await;
        drop(stop);
        asked
    };
    let (served, asked) = tokio::join!(serving, asking);
    served.unwrap();
    asked.unwrap()
}

async fn start() -> (TcpListener, SocketAddr, oneshot::Sender<()>, impl Future<Output = ()> + Send + 'static)
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, told) = oneshot::channel();
    let stopped = async {
        let _told = told.await;
    };
    (listener, address, stop, stopped)
}

/// The status and the body that each of these requests is answered with.
async fn get_all(address: SocketAddr, requests: &[(&str, &str)]) -> Outcome<Vec<String>> {
    let mut answers = Vec::new();
    for (target, token) in requests {
        let mut stream = TcpStream::connect(address).await?;
        let credential = if token.is_empty() { String::new() } else { format!("X-API-Key: {token}\r\n") };
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{credential}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        // The id of a decision differs from run to run.
        let body = body.split(" (decision ").next().unwrap_or_default();
        let body = body.rsplit(r#""message":""#).next().unwrap_or_default();
        let body = body.trim_end_matches(r#""}]}"#);
        answers.push(format!("{target}: {status} {}", body.trim()));
    }
    Ok(answers)
}

#[tokio::test]
async fn axum_example_answers_as_it_says() {
    let (listener, address, stop, stopped) = start().await;
    let requests = [
        ("/hello", TOKEN),
        ("/%68ello", TOKEN),
        ("/hello", ""),
        ("/secrets", TOKEN),
        ("/health", ""),
        ("/nowhere", TOKEN),
        ("/a//b", TOKEN),
    ];
    let answers =
        while_serving(guard_axum::serve(listener, stopped), get_all(address, &requests), stop).await;
    insta::assert_debug_snapshot!(answers, @r#"
    [
        "/hello: 200 hello, bootstrap: you may GET /hello",
        "/%68ello: 200 hello, bootstrap: you may GET /hello",
        "/hello: 401 this route needs a live service token, sent as `Authorization: ApiKey <token>` or as `X-API-Key: <token>`",
        "/secrets: 403 this token may not `GET /secrets`",
        "/health: 200 up",
        "/nowhere: 403 this token may not `GET /nowhere`",
        "/a//b: 400 the path has an empty segment",
    ]
    "#);
}

#[tokio::test]
async fn hyper_example_answers_as_it_says() {
    let (listener, address, stop, stopped) = start().await;
    let requests =
        [("/hello", TOKEN), ("/%68ello", TOKEN), ("/hello", ""), ("/other", TOKEN), ("/health", "")];
    let answers =
        while_serving(guard_hyper::serve(listener, stopped), get_all(address, &requests), stop).await;
    insta::assert_debug_snapshot!(answers, @r#"
    [
        "/hello: 200 hello, bootstrap: this is /hello",
        "/%68ello: 200 hello, bootstrap: this is /hello",
        "/hello: 401 this route needs a live service token, sent as `Authorization: ApiKey <token>` or as `X-API-Key: <token>`",
        "/other: 403 this token may not `GET /other`",
        "/health: 200 hello, nobody: this is /health",
    ]
    "#);
}

#[tokio::test]
async fn warp_example_answers_as_it_says() {
    let (listener, address, stop, stopped) = start().await;
    let requests = [
        ("/hello", TOKEN),
        ("/%68ello", TOKEN),
        ("/hello", ""),
        ("/secrets", TOKEN),
        ("/whoami", TOKEN),
        ("/whoami", ""),
        ("/health", ""),
        ("/nowhere", TOKEN),
    ];
    let answers =
        while_serving(guard_warp::serve(listener, stopped), get_all(address, &requests), stop).await;
    insta::assert_debug_snapshot!(answers, @r#"
    [
        "/hello: 200 hello, bootstrap",
        "/%68ello: 404 ",
        "/hello: 401 this route needs a live service token, sent as `Authorization: ApiKey <token>` or as `X-API-Key: <token>`",
        "/secrets: 403 this token may not `GET /secrets`",
        "/whoami: 200 bootstrap",
        "/whoami: 401 this route needs a live service token, sent as `Authorization: ApiKey <token>` or as `X-API-Key: <token>`",
        "/health: 200 up",
        "/nowhere: 404 ",
    ]
    "#);
}

#[tokio::test]
async fn tonic_example_tells_its_client_what_grpc_clients_read() {
    let (listener, address, stop, stopped) = start().await;
    let lines = while_serving(guard_tonic::serve(listener, stopped), guard_tonic::call(address), stop).await;
    let lines: Vec<_> =
        lines.iter().map(|line| line.split(" (decision ").next().unwrap_or_default()).collect();
    insta::assert_debug_snapshot!(lines, @r#"
    [
        "check with the token: SERVING",
        "check without a token: Unauthenticated: this route needs a live service token, sent as `Authorization: ApiKey <token>` or as `X-API-Key: <token>`",
        "watch with the token: PermissionDenied: this token may not `POST /grpc.health.v1.Health/Watch`",
    ]
    "#);
}

#[test]
fn page_on_embedding_shows_what_the_examples_do() {
    let examples = [
        include_str!("../../../examples/guard_axum.rs"),
        include_str!("../../../examples/guard_tonic.rs"),
        include_str!("../../../examples/guard_hyper.rs"),
        include_str!("../../../examples/guard_warp.rs"),
    ];
    let shown: Vec<&str> = examples.iter().flat_map(|example| example.lines()).map(str::trim).collect();
    let page = include_str!("../../../docs/embedding.md");
    let (_, section) = page.split_once("\n## Adapters\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<&str> =
        section.split("```rs\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3);
    for line in blocks.iter().flat_map(|block| block.lines()) {
        assert!(shown.contains(&line.trim()), "no example has `{line}`");
    }
}
