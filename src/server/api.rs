//! The routes that speak the wire contract. None of them decides who may call it: the guard did, and every
//! handler takes the permit that it made.

mod authzen;
mod body;
mod info;
mod look_up;
mod policies;
mod shadow;
mod tokens;
pub(crate) mod usage;
mod transfer;

pub(super) use authzen::echoes;

use super::metrics::Metrics;
use super::reload::{PolicyStatus, Reloader};
use super::shadow::Shadow;
use crate::engine::{Engine, Permit};
use crate::front::Clock;
use crate::front::reply::{Failure, Reply};
use crate::policy::PolicySet;
use crate::public_url::PublicUrl;
use crate::time::Timestamp;
use bytes::Bytes;
use http::{Method, StatusCode};
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use warp::filters::path::FullPath;
use warp::{Filter, Rejection};

/// How many requests for a reload wait on threads at once. Further ones wait without one: as long as the policies
/// cannot be read, since a disk does not answer, no reload may take a thread from those who change tokens.
pub(super) const RELOADS_AT_ONCE: usize = 4;

/// How many reports about candidate policies are made at once: one may take megabytes.
pub(super) const REPORTS_AT_ONCE: usize = 2;

/// How many imports are made at once: each writes from many threads.
pub(super) const IMPORTS_AT_ONCE: usize = 2;

/// How many lists of evaluations are answered at once: each may ask many conditions.
pub(super) const EVALUATIONS_AT_ONCE: usize = 2;

/// Below it lies what only this program has.
const OWN_PATH: &str = "/api/rolegate";

/// What the handlers work with.
pub(super) struct Api {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) reloader: Option<Arc<Reloader>>,
    /// Room for requests that reload.
    pub(super) reloads: Arc<Semaphore>,
    /// Room for reports about candidate policies.
    pub(super) reports: Arc<Semaphore>,
    /// Room for imports.
    pub(super) imports: Arc<Semaphore>,
    /// Room for lists of evaluations.
    pub(super) evaluations: Arc<Semaphore>,
    /// The address under which clients know this server.
    pub(super) public_url: Option<PublicUrl>,
    pub(super) shadow: Option<Arc<Shadow>>,
    pub(super) started: Timestamp,
    pub(super) draining: watch::Receiver<bool>,
}

/// What the permit does not tell of a request.
struct Sent {
    /// The policies that decided.
    policies: Arc<PolicySet>,
    query: String,
    body: Bytes,
}

/// A handler. It may wait for the disk when it is called by [`waiting`].
type Handler = fn(&Api, &Permit, &Sent) -> Result<Reply, Failure>;

impl Api {
    /// How the policies are. Where nothing loads them anew, they are as they are.
    fn policy_status(&self) -> PolicyStatus {
        self.reloader.as_ref().map_or_else(
            || PolicyStatus::loaded(self.engine.policies().version(), self.started),
            |reloader| reloader.status(),
        )
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// Whether a path is one of those by which tokens, policies and what they would be are changed or seen.
pub(super) fn is_admin(path: &str) -> bool {
    let below =
        |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below(tokens::PATH) || below(OWN_PATH)
}

/// All routes of the API, and a 404 for what is permitted and no route.
pub(super) fn routes(api: &Arc<Api>) -> impl Filter<Extract = (Reply,), Error = Infallible> + Clone + use<> {
    let reload = |path: &str| path == policies::RELOAD_PATH;
    let report = |path: &str| path == shadow::PATH;
    let look_up = |path: &str| path == look_up::PATH;
    let (collection, token, rotation) = (tokens::is_collection, tokens::is_below, tokens::is_rotation);
    let export = |path: &str| path == transfer::EXPORT_PATH;
    let import = |path: &str| path == transfer::IMPORT_PATH;
    let nothing = permit().map(|permit: Permit| {
        let message = format!("this server has nothing at `{}`", permit.path());
        answer(&permit, Err(Failure::new(StatusCode::NOT_FOUND, message)))
    });
    // In three boxes: a release build gives up on the type of a longer chain, while warp boxes each link of its own
    // accord in a debug build.
    let about = quick(api, |path| path == "/health", info::health)
        .or(quick(api, |path| path == "/health/policies", policies::health))
        .unify()
        .or(quick(api, |path| path == "/metrics", info::metrics))
        .unify()
        .or(quick(api, |path| path == "/api/openapi.yaml", info::openapi))
        .unify()
        .or(quick(api, |path| path == "/api/server/info", info::info))
        .unify()
        .or(quick(api, |path| path == "/api/server/status", info::status))
        .unify()
        .or(quick(api, |path| path == "/api/user/session/availableRoles", info::available_roles))
        .unify()
        .or(quick(api, |path| path == "/api/user/authorization/for", info::authorization))
        .unify()
        .boxed();
    let tokens =
        waiting(api, warp::post().and(at(collection)).and(warp::body::bytes()), None, tokens::create)
            .or(waiting(api, at(collection).map(without_body).untuple_one(), None, tokens::collection))
            .unify()
            .or(waiting(api, warp::patch().and(at(token)).and(warp::body::bytes()), None, tokens::item))
            .unify()
            .or(waiting(api, warp::post().and(at(rotation)).and(warp::body::bytes()), None, tokens::item))
            .unify()
            .or(waiting(api, at(token).map(without_body).untuple_one(), None, tokens::item))
            .unify()
            .boxed();
    let own = waiting(api, warp::post().and(at(look_up)).and(warp::body::bytes()), None, look_up::look_up)
        .or(quick(api, look_up, look_up::refuse))
        .unify()
        .or(waiting(api, at(export).map(without_body).untuple_one(), None, transfer::export))
        .unify()
        .or(waiting(
            api,
            warp::post().and(at(import)).and(warp::body::bytes()),
            Some(&api.imports),
            transfer::import,
        ))
        .unify()
        .or(quick(api, import, transfer::import))
        .unify()
        .or(waiting(api, at(reload).map(without_body).untuple_one(), Some(&api.reloads), policies::reload))
        .unify()
        .or(waiting(api, at(report).map(without_body).untuple_one(), Some(&api.reports), shadow::report))
        .unify()
        .boxed();
    about
        .or(tokens)
        .unify()
        .or(own)
        .unify()
        .or(evaluations(api))
        .unify()
        .or(nothing)
        .unify()
        .recover(|rejection| ready(Ok::<_, Infallible>(no_permit(&rejection))))
        .unify()
}

/// The routes of the Authorization API.
fn evaluations(api: &Arc<Api>) -> impl Filter<Extract = (Reply,), Error = Rejection> + Clone + use<> {
    let one = |path: &str| path == authzen::EVALUATION_PATH;
    let several = |path: &str| path == authzen::EVALUATIONS_PATH;
    let of_either = |path: &str| [authzen::EVALUATION_PATH, authzen::EVALUATIONS_PATH].contains(&path);
    let asked = |is_path| warp::post().and(authzen::json()).and(at(is_path)).and(warp::body::bytes());
    waiting(api, asked(one), None, authzen::evaluation)
        .or(waiting(api, asked(several), Some(&api.evaluations), authzen::evaluations))
        .unify()
        .or(quick(api, of_either, authzen::refuse))
        .unify()
        .or(quick(api, |path| path == authzen::METADATA_PATH, authzen::metadata))
        .unify()
        .boxed()
}

/// A route whose handler answers at once.
fn quick(
    api: &Arc<Api>,
    is_path: fn(&str) -> bool,
    handler: Handler,
) -> impl Filter<Extract = (Reply,), Error = Rejection> + Clone + use<> {
    let api = Arc::clone(api);
    at(is_path).map(without_body).untuple_one().map(move |permit: Permit, policies, query, body| {
        let answered = handler(&api, &permit, &Sent { policies, query, body });
        answer(&permit, answered)
    })
}

/// A route whose handler waits for the store or the disk, or has much to tell, which must not hold up other requests; in
/// this room, when
/// there is a limit to how many may do so at once.
fn waiting<F>(
    api: &Arc<Api>,
    taken: F,
    room: Option<&Arc<Semaphore>>,
    handler: Handler,
) -> impl Filter<Extract = (Reply,), Error = Rejection> + Clone + use<F>
where
    F: Filter<Extract = (Permit, Arc<PolicySet>, String, Bytes), Error = Rejection> + Clone + Send,
{
    let (api, room) = (Arc::clone(api), room.cloned());
    taken.then(move |permit: Permit, policies, query, body| {
        let (api, room) = (Arc::clone(&api), room.clone());
        async move {
            // A request that is given up while it waits here takes no place. Nobody closes the room.
            let place = match room {
                Some(room) => room.acquire_owned().await.ok(),
                None => None,
            };
            let sent = Sent { policies, query, body };
            let own_permit = permit.clone();
            let handled = tokio::task::spawn_blocking(move || {
                let _place = place;
                handler(&api, &own_permit, &sent)
            });
            let handled = handled.await;
            // The task is never cancelled while it is waited for, so that it can only have panicked.
            answer(&permit, handled.unwrap_or_else(|_| Err(Failure::internal())))
        }
    })
}

/// What every handler takes, at a path. The path is compared whole, since a trailing slash makes another one.
fn at(
    is_path: fn(&str) -> bool,
) -> impl Filter<Extract = (Permit, Arc<PolicySet>, String), Error = Rejection> + Clone {
    let here = move |path: FullPath| {
        ready(if is_path(path.as_str()) { Ok(()) } else { Err(warp::reject::not_found()) })
    };
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path::full().and_then(here).untuple_one().and(permit()).and(warp::ext::get()).and(query)
}

/// What a handler takes that reads no body. A body that nobody needs stays where it is: a route may be open to
/// everybody, and one body of every connection would fill the memory.
const fn without_body(
    permit: Permit,
    policies: Arc<PolicySet>,
    query: String,
) -> (Permit, Arc<PolicySet>, String, Bytes) {
    (permit, policies, query, Bytes::new())
}

/// The permit of the request. There is no other way to one, and without one no handler runs.
fn permit() -> impl Filter<Extract = (Permit,), Error = Rejection> + Copy {
    warp::ext::get::<Permit>()
}

fn answer(permit: &Permit, answered: Result<Reply, Failure>) -> Reply {
    answered.unwrap_or_else(|failure| {
        failure.reply(permit.request_id().unwrap_or_default(), permit.decision().at)
    })
}

/// The answer when the guard is missing before these routes, or the body broke off; the guard puts the
/// latter in its own words.
fn no_permit(rejection: &Rejection) -> Reply {
    tracing::error!(?rejection, "a request did not reach its handler");
    Failure::internal().reply("", Timestamp::EPOCH)
}

/// Refuses all methods but those that read; a `HEAD` is answered like a `GET`, and hyper drops the body.
fn only_get(permit: &Permit) -> Result<(), Failure> {
    match *permit.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Failure::method_not_allowed("GET, HEAD")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::MemoryAudit;
    use crate::engine::Answer;
    use crate::path::CanonicalPath;
    use crate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
    use crate::store::memory::MemoryStore;
    use http_body_util::{BodyExt as _, Full};
    use std::sync::mpsc;
    use std::time::Duration;
    use tower_service::Service as _;

    fn api(shadow: Option<Arc<Shadow>>) -> Arc<Api> {
        let source = Source { name: "p.rhai".into(), text: r#"open("ANY /**");"#.to_owned() };
        let policies =
            PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
        let (store, audit) = (Box::new(MemoryStore::new()), Box::new(MemoryAudit::new()));
        let engine = Arc::new(Engine::open(store, audit, policies, Timestamp::EPOCH).unwrap());
        let (_sender, draining) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        Arc::new(Api {
            engine,
            clock: Arc::new(|| Timestamp::EPOCH),
            metrics,
            reloader: None,
            reloads: Arc::new(Semaphore::new(RELOADS_AT_ONCE)),
            reports: Arc::new(Semaphore::new(REPORTS_AT_ONCE)),
            imports: Arc::new(Semaphore::new(IMPORTS_AT_ONCE)),
            evaluations: Arc::new(Semaphore::new(EVALUATIONS_AT_ONCE)),
            public_url: None,
            shadow,
            started: Timestamp::EPOCH,
            draining,
        })
    }

    #[tokio::test]
    async fn handlers_do_not_run_without_a_permit() {
        let api = api(None);
        let mut service = warp::service(routes(&api));
        for (method, path) in [
            ("GET", "/health"),
            ("GET", "/health/policies"),
            ("GET", "/metrics"),
            ("POST", "/api/rolegate/policies/reload"),
            ("GET", "/api/rolegate/shadow"),
            ("POST", "/api/rolegate/tokens/lookup"),
            ("GET", "/api/rolegate/tokens/export"),
            ("POST", "/api/rolegate/tokens/import"),
            ("POST", "/access/v1/evaluation"),
            ("POST", "/access/v1/evaluations"),
            ("GET", "/access/v1/evaluations"),
            ("GET", "/.well-known/authzen-configuration"),
            ("GET", "/api/server/info"),
            ("GET", "/api/server/status"),
            ("GET", "/api/security/tokens"),
            ("POST", "/api/security/tokens"),
            ("GET", "/api/security/tokens/107484341630693"),
            ("PATCH", "/api/security/tokens/107484341630693"),
            ("DELETE", "/api/security/tokens/107484341630693"),
            ("POST", "/api/security/tokens/107484341630693/rotate"),
            ("POST", "/api/security/tokens/107484341630693/disable"),
            ("POST", "/api/security/tokens/107484341630693/enable"),
            ("GET", "/api/security/tokens/107484341630693/usage"),
            ("GET", "/api/user/session/availableRoles"),
            ("GET", "/api/user/authorization/for?permission=x"),
            ("GET", "/nothing"),
        ] {
            let request = http::Request::builder().method(method).uri(path);
            let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
            let response = service.call(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{method} {path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(body.starts_with(br#"{"_type":"ErrorsResponse""#), "{body:?}");
        }
    }

    #[tokio::test]
    async fn report_that_takes_long_holds_up_no_other_request() {
        let shadow = Arc::new(Shadow::start().unwrap());
        let api = api(Some(Arc::clone(&shadow)));
        let service = warp::service(routes(&api));
        let ask = |path: &str| {
            let asked = crate::request::Request::new(Method::GET, CanonicalPath::parse(path).unwrap());
            let policies = api.engine.policies();
            let Answer::Permitted(permit) = api.engine.check(&asked, Timestamp::EPOCH) else { panic!() };
            let request = http::Request::builder().uri(path).extension(permit).extension(policies);
            let mut service = service.clone();
            async move { service.call(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap().status() }
        };
        let (holding, held) = mpsc::channel();
        let (free, freed) = mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let _hold = shadow.hold();
            holding.send(()).unwrap();
            freed.recv_timeout(Duration::from_secs(60)).is_ok()
        });
        held.recv().unwrap();
        let report = tokio::spawn(ask(shadow::PATH));
        tokio::task::yield_now().await;
        assert_eq!(ask("/health").await, StatusCode::OK);
        let _late = free.send(());
        assert!(holder.join().unwrap(), "the other request had to wait for the report");
        assert_eq!(report.await.unwrap(), StatusCode::OK);
    }
}
