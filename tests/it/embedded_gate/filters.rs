//! The filters by themselves, in chains of other filters.

use super::world::{Journal, NOW, World};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use rolegate::filters::{self, Authenticated, ClientIp, Filters};
use rolegate::{Permit, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use warp::{Filter, Rejection, Reply};

fn filters(world: &World) -> Filters {
    Filters::new(Arc::clone(&world.engine)).with_clock(Arc::new(|| NOW))
}

fn get(target: &str, token: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().uri(target).header("host", "h").body(Full::default()).unwrap();
    if !token.is_empty() {
        request.headers_mut().insert("x-api-key", token.parse().unwrap());
    }
    request
}

fn with(mut request: Request<Full<Bytes>>, name: &'static str, value: &str) -> Request<Full<Bytes>> {
    request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    request
}

async fn ask(
    routes: impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone + Send + Sync + 'static,
    request: Request<Full<Bytes>>,
) -> Response<String> {
    let mut service = warp::service(routes);
    let response = tower::Service::call(&mut service, request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
}

/// A route of any name under `/files`, which counts how often it runs.
fn files(
    filters: &Filters,
    runs: &Arc<AtomicUsize>,
) -> impl Filter<Extract = (impl Reply + use<>,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
    let runs = Arc::clone(runs);
    warp::path!("files" / String).and(filters.permitted()).map(move |name: String, permit: Permit| {
        runs.fetch_add(1, Ordering::SeqCst);
        format!("{name} by {}", permit.principal().map_or("nobody", |principal| &principal.name))
    })
}

#[tokio::test]
async fn guarded_route_runs_for_what_is_permitted_alone() {
    let world = World::new();
    let runs = Arc::<AtomicUsize>::default();
    let routes = files(&filters(&world), &runs).recover(filters::answer);
    for (status, request) in [
        (401, get("/files/a", "")),
        (401, get("/files/a", &world.expired)),
        (403, get("/files/secret", &world.reader)),
        (400, with(get("/files/a", &world.reader), "authorization", "ApiKey x")),
        (400, with(get("/files/a", &world.reader), "x_rolegate_token-id", "1")),
        (400, with(get("/files/a", &world.reader), "host", "h")),
        (400, get("http://other/files/a", &world.reader)),
        (400, Request::builder().uri("/files/a").body(Full::default()).unwrap()),
        // The route was chosen by it, and it is not what would be decided on.
        (400, get("/files/%61", &world.reader)),
        (400, get("/files/%73ecret", &world.reader)),
        (414, get(&format!("/files/{}", "a".repeat(9000)), &world.reader)),
        (431, with(get("/files/a", &world.reader), "x-long", &"a".repeat(16 * 1024))),
    ] {
        let shown = format!("{request:.200?}");
        let answer = ask(routes.clone(), request).await;
        assert_eq!(answer.status().as_u16(), status, "{shown}");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json", "{shown}");
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store", "{shown}");
        assert_eq!(answer.headers().contains_key(WWW_AUTHENTICATE), status == 401, "{shown}");
        assert_eq!(answer.headers().contains_key(CONNECTION), ![401, 403].contains(&status), "{shown}");
        assert!(answer.body().starts_with(r#"{"_type":"ErrorsResponse","#), "{shown}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    for target in ["/files/a", "/files/a?x=%61", "http://h/files/a", "/files/a?"] {
        let answer = ask(routes.clone(), get(target, &world.reader)).await;
        assert_eq!(
            (answer.status().as_u16(), answer.body().as_str()),
            (200, "a by token of reader"),
            "{target}"
        );
    }
    assert_eq!(runs.load(Ordering::SeqCst), 4);
    assert_eq!(ask(routes, get("/elsewhere", "")).await.status(), 404, "that is no route");
}

#[tokio::test]
async fn answer_before_the_next_route_keeps_it_from_standing_in() {
    let world = World::new();
    let runs = Arc::<AtomicUsize>::default();
    let guarded = files(&filters(&world), &runs);
    let fallback = warp::get().map(|| "for everybody");
    let routes = guarded.clone().recover(filters::answer).or(fallback);
    assert_eq!(ask(routes.clone(), get("/files/a", "")).await.status(), 401);
    assert_eq!(ask(routes, get("/elsewhere", "")).await.body(), "for everybody");

    // What a rejection means to warp, and why the answer has to come first. The guarded route does not run even so.
    let open = guarded.clone().or(fallback).recover(filters::answer);
    assert_eq!(ask(open, get("/files/a", "")).await.body(), "for everybody");
    // Where no other route takes it, one answer at the end does too.
    let late = guarded.or(warp::path!("health").map(|| "up")).recover(filters::answer);
    assert_eq!(ask(late, get("/files/a", "")).await.status(), 401);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn authenticated_takes_any_live_token_and_asks_no_policy() {
    let world = World::new();
    let routes = warp::path!("whoami")
        .and(filters(&world).authenticated())
        .map(|who: Authenticated| who.into_principal().name.to_string())
        .recover(filters::answer);
    let answer = ask(routes.clone(), get("/whoami", &world.local)).await;
    assert_eq!((answer.status().as_u16(), answer.body().as_str()), (200, "token of local"));
    assert_eq!(world.engine.uses_waiting(), 0);
    assert_eq!(ask(routes.clone(), get("/whoami", "")).await.status(), 401);
    assert_eq!(ask(routes.clone(), get("/whoami", &world.expired)).await.status(), 401);
    let doubled = with(get("/whoami", &world.local), "authorization", "ApiKey x");
    assert_eq!(ask(routes, doubled).await.status(), 400);
}

#[tokio::test]
async fn client_address_limits_clock_and_observer_are_those_that_were_given() {
    let world = World::new();
    let runs = Arc::<AtomicUsize>::default();
    let journal = Arc::<Journal>::default();
    let now = Arc::new(AtomicI64::new(NOW.as_millis() - 1));
    let clock = Arc::clone(&now);
    let filters = filters(&world)
        .with_clock(Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))))
        .with_header_fields_max(3)
        .with_header_max_bytes(120)
        .with_observer(Arc::clone(&journal) as _);
    let routes = files(&filters, &runs).recover(filters::answer);
    let from = |address: &str| {
        let mut request = get("/files/a", &world.local);
        request.extensions_mut().insert(ClientIp(address.parse().unwrap()));
        request
    };
    assert_eq!(ask(routes.clone(), from("127.0.0.1")).await.status(), 200);
    assert_eq!(ask(routes.clone(), from("127.0.0.2")).await.status(), 403);
    assert_eq!(ask(routes.clone(), get("/files/a", &world.local)).await.status(), 403);

    assert_eq!(ask(routes.clone(), get("/files/a", &world.expired)).await.status(), 200);
    now.store(NOW.as_millis(), Ordering::SeqCst);
    assert_eq!(ask(routes.clone(), get("/files/a", &world.expired)).await.status(), 401);

    let three = || with(get("/files/a", &world.reader), "x-a", "1");
    assert_eq!(ask(routes.clone(), three()).await.status(), 200);
    assert_eq!(ask(routes.clone(), with(three(), "x-b", "1")).await.status(), 431);
    assert_eq!(ask(routes.clone(), with(get("/files/a", ""), "x-a", &"1".repeat(120))).await.status(), 431);
    assert_eq!(ask(routes, get("/files/%73", &world.reader)).await.status(), 400);
    insta::assert_debug_snapshot!(journal.take(), @r#"
    [
        "permitted GET /files/a",
        "forbidden GET /files/a",
        "forbidden GET /files/a",
        "permitted GET /files/a",
        "unauthenticated GET /files/a",
        "permitted GET /files/a",
    ]
    "#);
}

#[tokio::test]
async fn target_with_a_host_and_no_header_is_read_as_http_2_sends_it() {
    let world = World::new();
    let runs = Arc::<AtomicUsize>::default();
    let routes = files(&filters(&world), &runs).recover(filters::answer);
    let mut request = get("https://h/files/a", &world.reader);
    request.headers_mut().remove("host").unwrap();
    assert_eq!(ask(routes.clone(), request).await.status(), 200);

    let mut request = get("https://u@h/files/a", &world.reader);
    request.headers_mut().remove("host").unwrap();
    assert_eq!(ask(routes, request).await.status(), 400);
}
