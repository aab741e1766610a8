//! The layer by itself, around services that watch what is asked of them.

use super::world::{Journal, NOW, World};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Bytes;
use parking_lot::Mutex;
use rolegate::tower::{Guard, GuardBody, GuardFuture, GuardLayer};
use rolegate::{Permit, PolicySet, Principal, Timestamp};
use std::convert::Infallible;
use std::future::{Pending, Ready, pending, poll_fn, ready};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};

/// No body of any library: the layer must hand it on untouched.
#[derive(Debug, PartialEq, Eq)]
struct Opaque(&'static str);

type Answered = Response<Full<Bytes>>;

/// Counts each way in which it is asked, and keeps what it is called with.
#[derive(Clone, Default)]
struct Watch {
    asked_ready: Arc<AtomicUsize>,
    called: Arc<Mutex<Vec<Request<Opaque>>>>,
    polled: Arc<AtomicUsize>,
}

struct Watched(Arc<AtomicUsize>);

impl Service<Request<Opaque>> for Watch {
    type Response = Answered;
    type Error = Infallible;
    type Future = Watched;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.asked_ready.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Opaque>) -> Watched {
        self.called.lock().push(request);
        Watched(Arc::clone(&self.polled))
    }
}

impl Future for Watched {
    type Output = Result<Answered, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(Response::new(Full::from("inner"))))
    }
}

impl Watch {
    /// How often it was asked whether it is ready, called, and had its future polled.
    fn asked(&self) -> (usize, usize, usize) {
        let called = self.called.lock().len();
        (self.asked_ready.load(Ordering::SeqCst), called, self.polled.load(Ordering::SeqCst))
    }

    fn last(&self) -> Request<Opaque> {
        self.called.lock().pop().unwrap()
    }
}

fn layer(world: &World) -> GuardLayer {
    GuardLayer::before_routing(Arc::clone(&world.engine)).with_clock(Arc::new(|| NOW))
}

fn get(target: &str, token: &str) -> Request<Opaque> {
    let mut request = Request::builder().uri(target).header(HOST, "h").body(Opaque("body")).unwrap();
    if !token.is_empty() {
        request.headers_mut().insert("x-api-key", token.parse().unwrap());
    }
    request
}

fn with(mut request: Request<Opaque>, name: &'static str, value: &str) -> Request<Opaque> {
    request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    request
}

fn is_pending(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Status, header and body of the answer.
async fn ask(layer: &GuardLayer, watch: &Watch, request: Request<Opaque>) -> Response<String> {
    let response = layer.layer(watch.clone()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    Response::from_parts(head, text(&body.collect().await.unwrap().to_bytes()))
}

#[tokio::test]
async fn service_is_neither_asked_nor_called_for_what_is_refused_and_is_for_what_is_permitted() {
    let world = World::new();
    let (watch, layer) = (Watch::default(), layer(&world));
    let long = format!("/{}", "a".repeat(9000));
    let longest_method = Request::builder().method("M".repeat(33).as_str()).uri("/health").header(HOST, "h");
    let refused = [
        (401, get("/files/a", "")),
        (401, get("/files/a", &world.expired)),
        (403, get("/files/secret", &world.reader)),
        (400, get("/files/../files/a", &world.reader)),
        (400, with(get("/files/a", &world.reader), "authorization", "ApiKey x")),
        (400, with(get("/health", ""), "x_rolegate_token-id", "1")),
        (400, with(get("/health", ""), "x.rolegate.roles", "1")),
        (400, Request::builder().uri("/health").body(Opaque("no host")).unwrap()),
        (414, get(&long, &world.reader)),
        (431, with(get("/health", ""), "x-long", &"a".repeat(16 * 1024))),
        (501, longest_method.body(Opaque("body")).unwrap()),
    ];
    for (status, request) in refused {
        let shown = format!("{request:.200?}");
        let answer = ask(&layer, &watch, request).await;
        assert_eq!(answer.status().as_u16(), status, "{shown}");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json", "{shown}");
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store", "{shown}");
        assert_eq!(answer.headers().contains_key(WWW_AUTHENTICATE), status == 401, "{shown}");
        // A connection whose framing may be in doubt ends; one of a clear request goes on.
        assert_eq!(answer.headers().contains_key(CONNECTION), ![401, 403].contains(&status), "{shown}");
        assert!(answer.body().starts_with(r#"{"_type":"ErrorsResponse","#), "{shown}");
        assert_eq!(watch.asked(), (0, 0, 0), "{shown}");
    }
    let answer = ask(&layer, &watch, get("/files/a", &world.reader)).await;
    assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, "inner"));
    assert!(!answer.headers().contains_key(CACHE_CONTROL), "the answer of the service is its own");
    assert_eq!(watch.asked(), (1, 1, 1));
}

#[tokio::test]
async fn guard_is_ready_without_asking_the_service() {
    let world = World::new();
    let watch = Watch::default();
    let mut guard = layer(&world).layer(watch.clone());
    poll_fn(|cx| Service::<Request<Opaque>>::poll_ready(&mut guard, cx)).await.unwrap();
    assert_eq!(watch.asked(), (0, 0, 0));
}

#[tokio::test]
async fn permitted_request_arrives_as_it_was_decided_on() {
    let world = World::new();
    let watch = Watch::default();
    let mut request = get("http://h/files/%61%c3%a9?x=%2e", &world.reader);
    *request.method_mut() = Method::PUT;
    request = with(request, "x-rolegate-token-id", "1");
    request = with(request, "x-rolegate-", "1");
    request = with(request, "x-other", "2");
    request.extensions_mut().insert("kept");
    ask(&layer(&world), &watch, request).await;

    let arrived = watch.last();
    assert_eq!((arrived.method(), arrived.uri()), (&Method::PUT, &"/files/a%C3%A9?x=%2e".parse().unwrap()));
    assert_eq!(arrived.body(), &Opaque("body"));
    let names: Vec<_> = arrived.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["host", "x-other"]);
    let extensions = arrived.extensions();
    assert_eq!(extensions.get(), Some(&"kept"));
    let permit = extensions.get::<Permit>().unwrap();
    assert_eq!(permit.path().as_str(), "/files/a%C3%A9");
    assert!(permit.request_id().is_some());
    assert_eq!(extensions.get::<Principal>(), permit.principal());
    assert_eq!(extensions.get::<Principal>().unwrap().name.to_string(), "token of reader");
    let policies = extensions.get::<Arc<PolicySet>>().unwrap();
    assert_eq!(policies.version(), permit.decision().policy);
    assert_eq!(world.engine.uses_waiting(), 1, "somebody has to write it down");
}

#[tokio::test]
async fn open_route_has_no_principal_whoever_was_there_before() {
    let world = World::new();
    let watch = Watch::default();
    ask(&layer(&world), &watch, get("/files/a", &world.reader)).await;
    let principal = watch.last().extensions().get::<Principal>().unwrap().clone();

    let mut request = get("/health", "");
    request.extensions_mut().insert(principal);
    ask(&layer(&world), &watch, request).await;
    let arrived = watch.last();
    assert!(arrived.extensions().get::<Principal>().is_none());
    assert!(arrived.extensions().get::<Permit>().unwrap().principal().is_none());
}

#[tokio::test]
async fn every_401_is_the_same_and_a_403_says_what_is_missing() {
    let world = World::new();
    let (watch, layer) = (Watch::default(), layer(&world));
    let mut answers = Vec::new();
    for request in [
        get("/files/a", ""),
        get("/files/a", &world.expired),
        get("/files/a", "a-token-that-nobody-made"),
        with(get("/elsewhere", ""), "authorization", "Basic OiVVU0VSJQ=="),
    ] {
        let mut answer = ask(&layer, &watch, request).await;
        answer.headers_mut().remove("x-request-id").unwrap();
        answers.push((answer.status(), answer.headers().clone(), answer.into_body()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].1[WWW_AUTHENTICATE], "ApiKey realm=\"rolegate\"");

    let denied = ask(&layer, &watch, get("/files/secret", &world.reader)).await;
    assert!(denied.body().contains("this token may not `GET /files/secret`"), "{denied:?}");
    assert!(!denied.body().contains(&world.reader));
}

#[tokio::test]
async fn path_as_it_was_sent_is_refused_after_routing_unless_it_is_the_canonical_one() {
    let world = World::new();
    let watch = Watch::default();
    let after = GuardLayer::after_routing(Arc::clone(&world.engine)).with_clock(Arc::new(|| NOW));
    for (target, status) in [
        ("/files/a", 200),
        ("http://h/files/a?x=%61", 200),
        ("/files/caf%C3%A9", 200),
        ("/files/%61", 400),
        ("/files/caf%c3%a9", 400),
        ("http://h/files/%61", 400),
    ] {
        let answer = ask(&after, &watch, get(target, &world.reader)).await;
        assert_eq!(answer.status(), status, "{target}");
        let before = ask(&layer(&world), &watch, get(target, &world.reader)).await;
        assert_eq!(before.status(), 200, "{target}");
    }
}

#[tokio::test]
async fn axum_calls_no_handler_that_was_chosen_by_another_spelling() {
    let world = World::new();
    let reached = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let reached = Arc::clone(&reached);
        axum::routing::get(move || {
            reached.lock().push(name);
            ready(name)
        })
    };
    let routes = axum::Router::new().route("/files/abc", note("abc")).route("/files/{name}", note("any"));
    let call = |router: axum::Router, target: &str| {
        let request = get(target, &world.reader).map(|_| axum::body::Body::empty());
        async move { router.oneshot(request).await.unwrap().status().as_u16() }
    };
    let inside = routes
        .clone()
        .layer(GuardLayer::after_routing(Arc::clone(&world.engine)).with_clock(Arc::new(|| NOW)));
    assert_eq!(call(inside.clone(), "/files/abc").await, 200);
    assert_eq!(call(inside.clone(), "/files/x").await, 200);
    assert_eq!(std::mem::take(&mut *reached.lock()), ["abc", "any"]);
    // The router took `{name}` for it, which is not what was decided on.
    assert_eq!(call(inside, "/files/%61bc").await, 400);
    assert!(reached.lock().is_empty());

    let around = axum::Router::new().fallback_service(layer(&world).layer(routes));
    assert_eq!(call(around.clone(), "/files/%61bc").await, 200);
    assert_eq!(std::mem::take(&mut *reached.lock()), ["abc"]);
    assert_eq!(call(around, "/files/secret").await, 403);
    assert!(reached.lock().is_empty());
}

#[tokio::test]
async fn limits_of_header_fields_hold_to_the_field_and_to_the_byte() {
    let world = World::new();
    let watch = Watch::default();
    let few = layer(&world).with_header_fields_max(2);
    let two = || with(get("/health", ""), "x-a", "1");
    assert_eq!(ask(&few, &watch, two()).await.status(), 200);
    assert_eq!(ask(&few, &watch, with(two(), "x-b", "1")).await.status(), 431);

    // `host: h` and its line end.
    let short = layer(&world).with_header_max_bytes(9 + "x-a: 123\r\n".len());
    assert_eq!(ask(&short, &watch, with(get("/health", ""), "x-a", "123")).await.status(), 200);
    assert_eq!(ask(&short, &watch, with(get("/health", ""), "x-a", "1234")).await.status(), 431);
}

#[tokio::test]
async fn client_address_comes_from_whoever_listens() {
    let world = World::new();
    let watch = Watch::default();
    let from = |address: Option<&str>| {
        let mut request = get("/files/a", &world.local);
        if let Some(address) = address {
            request.extensions_mut().insert::<IpAddr>(address.parse().unwrap());
        }
        request
    };
    let known = layer(&world).with_client_ip(|extensions| extensions.get::<IpAddr>().copied());
    assert_eq!(ask(&known, &watch, from(Some("127.0.0.1"))).await.status(), 200);
    assert_eq!(ask(&known, &watch, from(Some("127.0.0.2"))).await.status(), 403);
    assert_eq!(ask(&known, &watch, from(None)).await.status(), 403);
    assert_eq!(ask(&layer(&world), &watch, from(Some("127.0.0.1"))).await.status(), 403, "nobody asked");
}

#[tokio::test]
async fn clock_is_asked_for_each_request() {
    let world = World::new();
    let watch = Watch::default();
    let now = Arc::new(Mutex::new(Timestamp::from_millis(NOW.as_millis() - 1)));
    let clock = Arc::clone(&now);
    let layer = layer(&world).with_clock(Arc::new(move || *clock.lock()));
    assert_eq!(ask(&layer, &watch, get("/files/a", &world.expired)).await.status(), 200);
    *now.lock() = NOW;
    assert_eq!(ask(&layer, &watch, get("/files/a", &world.expired)).await.status(), 401);
}

#[tokio::test]
async fn observer_is_told_of_all_that_is_decided_and_refused() {
    let world = World::new();
    let (watch, journal) = (Watch::default(), Arc::<Journal>::default());
    let layer = layer(&world).with_observer(Arc::clone(&journal) as _);
    for request in [
        get("/files/a", &world.reader),
        get("/files/secret", &world.reader),
        get("/files/a", ""),
        get("/a//b", ""),
    ] {
        ask(&layer, &watch, request).await;
    }
    insta::assert_debug_snapshot!(journal.take(), @r#"
    [
        "permitted GET /files/a",
        "forbidden GET /files/secret",
        "unauthenticated GET /files/a",
        "malformed: the path has an empty segment",
    ]
    "#);
}

#[tokio::test]
async fn http_2_keeps_its_connection_and_its_host_and_grpc_has_an_answer_of_its_own() {
    let world = World::new();
    let (watch, layer) = (Watch::default(), layer(&world));
    let http_2 = |target: &str, token: &str| {
        let mut request = get(&format!("https://h:8443{target}"), token);
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(HOST);
        request
    };
    let answer = ask(&layer, &watch, http_2("/a//b", "")).await;
    assert_eq!(answer.status(), 400);
    assert!(!answer.headers().contains_key(CONNECTION));
    assert_eq!(ask(&layer, &watch, http_2("/files/a", &world.reader)).await.status(), 200);
    let arrived = watch.last();
    assert_eq!(arrived.uri(), "/files/a");
    assert_eq!(arrived.headers()[HOST], "h:8443");
    assert_eq!(arrived.version(), Version::HTTP_2);

    let call = |target: &str, token: &str| {
        let mut request = with(http_2(target, token), "content-type", "application/grpc");
        *request.method_mut() = Method::POST;
        request
    };
    for (target, token, status) in
        [("/p.S/M", "", "16"), ("/p.S/M", &*world.reader, "7"), ("/p.S//M", &world.reader, "3")]
    {
        let answer = layer.layer(watch.clone()).oneshot(call(target, token)).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(answer.headers()["grpc-status"], status);
        assert!(hyper::body::Body::is_end_stream(answer.body()));
    }
    assert_eq!(watch.asked().1, 0, "no call arrived");
}

#[tokio::test]
async fn nothing_follows_chunks_on_a_connection() {
    let world = World::new();
    let (watch, layer) = (Watch::default(), layer(&world));
    let closes = async |request| ask(&layer, &watch, request).await.headers().contains_key(CONNECTION);
    assert!(closes(with(get("/health", ""), "transfer-encoding", "chunked")).await);
    assert!(!closes(with(get("/health", ""), "content-length", "0")).await);
}

#[tokio::test]
async fn service_that_is_not_ready_is_waited_for_and_its_error_is_told() {
    #[derive(Clone)]
    struct Broken;
    impl Service<Request<Opaque>> for Broken {
        type Response = Answered;
        type Error = &'static str;
        type Future = Ready<Result<Answered, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Err("broken"))
        }

        fn call(&mut self, _: Request<Opaque>) -> Self::Future {
            ready(Ok(Response::new(Full::default())))
        }
    }
    #[derive(Clone)]
    struct Endless;
    impl Service<Request<Opaque>> for Endless {
        type Response = Answered;
        type Error = Infallible;
        type Future = Pending<Result<Answered, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Opaque>) -> Self::Future {
            pending()
        }
    }
    let world = World::new();
    let layer = layer(&world);
    assert_eq!(layer.layer(Broken).oneshot(get("/health", "")).await.unwrap_err(), "broken");
    assert_eq!(layer.layer(Broken).oneshot(get("/files/a", "")).await.unwrap().status(), 401);

    // While its only place is taken, a permitted request waits and a refused one does not.
    let limited = ServiceBuilder::new().layer(layer).concurrency_limit(1).service(Endless);
    let mut first = pin!(limited.clone().oneshot(get("/health", "")));
    assert!(is_pending(first.as_mut()));
    let mut second = pin!(limited.clone().oneshot(get("/health", "")));
    assert!(is_pending(second.as_mut()));
    assert_eq!(limited.clone().oneshot(get("/files/a", "")).await.unwrap().status(), 401);
}

#[tokio::test]
async fn body_of_the_service_passes_frame_by_frame() {
    let world = World::new();
    let service =
        service_fn(|_: Request<Opaque>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    let answer = layer(&world).layer(service).oneshot(get("/health", "")).await.unwrap();
    assert!(hyper::body::Body::is_end_stream(answer.body()));
    let refused = layer(&world).layer(service).oneshot(get("/files/a", "")).await.unwrap();
    let announced = hyper::body::Body::size_hint(refused.body()).exact().unwrap();
    assert_eq!(refused.into_body().collect().await.unwrap().to_bytes().len() as u64, announced);
}

#[test]
fn layer_and_what_it_makes_go_wherever_their_parts_go() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send>() {}
    shared::<GuardLayer>();
    shared::<Guard<Watch>>();
    sent::<GuardFuture<Watch, Opaque>>();
    sent::<GuardBody<Full<Bytes>>>();
}

#[test]
fn debug_shows_no_token() {
    let world = World::new();
    let mut guard = layer(&world).layer(Watch::default());
    let future = guard.call(get("/files/a", &world.reader));
    let shown = format!("{:?} {guard:?} {future:?}", layer(&world));
    assert!(!shown.contains(&world.reader), "{shown}");
    assert!(shown.contains("waiting"), "{shown}");
}
