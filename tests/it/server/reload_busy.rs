//! A thousand reloads under busy connections: no request is lost, and every answer is the one of the policy version
//! that it names.

use super::client::{Client, Response};
use super::world::{Token, engine, request};
use rolegate::engine::Engine;
use rolegate::policy::{PolicyErrors, PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::server::{
    Metrics, PolicySource, ReloadOutcome, Reloader, Server, SourceError, Trigger, wall_clock,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use warp::Filter as _;

const CONNECTIONS: usize = 64;
const RELOADS: u64 = 1000;

/// What one set of policies answers: to the token and to nobody, at `/a` and at `/b`.
struct Variant {
    script: String,
    /// The permission that a refusal at this path names.
    lacking: &'static str,
    /// The path that the token may ask for.
    open: &'static str,
    /// The path that everyone may ask for.
    public: Option<&'static str>,
}

/// Each turn of a condition, of a permission and of an open route is another way to answer by two sets at once.
fn variants() -> Vec<Variant> {
    let of = |open: &'static str, shut: &str, lacking: &'static str, more: &str, public| Variant {
        script: format!(
            "permission(\"{lacking}\", \"GET {shut}\"); role(\"keeper\").grants([\"{lacking}\"]);\n\
             role(\"r\").allow(\"GET {open}\"){more};\n{}",
            match public {
                Some(path) => format!("open(\"GET {path}\");"),
                None => String::new(),
            }
        ),
        lacking,
        open,
        public,
    };
    vec![
        of("/a", "/b", "see-b", "", None),
        of("/b", "/a", "see-a", "", None),
        of("/a", "/b", "look-b", ".when(|request| request.path == \"/a\")", Some("/a")),
        of("/b", "/a", "look-a", ".when(|request| request.path == \"/b\")", Some("/b")),
    ]
}

impl Variant {
    fn source(&self) -> Source {
        Source { name: Arc::from("p.rhai"), text: self.script.clone() }
    }

    fn load(&self) -> Result<PolicySet, PolicyErrors> {
        PolicySet::load(&[self.source()], &RoleBindings::default(), &ScriptLimits::default())
    }

    /// Whether this is how these policies answer.
    fn gives(&self, path: &str, has_token: bool, response: &Response) -> bool {
        let is_permitted = self.public == Some(path) || has_token && self.open == path;
        let status = if is_permitted {
            200
        } else if has_token {
            403
        } else {
            401
        };
        response.status == status
            && (status != 403 || response.message().contains(&format!("the permission `{}` (", self.lacking)))
    }
}

/// Tells the clients to end, also when an assertion has failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Gives the variants in turn.
struct Turning {
    variants: Arc<Vec<Variant>>,
    next: AtomicU64,
}

impl PolicySource for Turning {
    fn read(&self) -> Result<Vec<Source>, SourceError> {
        let next = self.next.fetch_add(1, Ordering::SeqCst) as usize;
        Ok(vec![self.variants[next % self.variants.len()].source()])
    }

    fn compile(&self, sources: &[Source]) -> Result<PolicySet, PolicyErrors> {
        PolicySet::load(sources, &RoleBindings::default(), &ScriptLimits::default())
    }
}

/// Serves on several threads until told to end.
fn serve(engine: Arc<Engine>) -> (SocketAddr, oneshot::Sender<()>, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let told = async {
                let _told = ended.await;
            };
            Server::new(engine).serve(listener, warp::service(warp::any().map(|| "reached")), told).await;
        });
    });
    (address, end, thread)
}

/// Asks on one connection until all reloads are done, and counts the answers by version.
fn ask(
    address: SocketAddr,
    token: &Token,
    variants: &HashMap<String, &Variant>,
    is_done: &AtomicBool,
    answers: &AtomicU64,
) -> HashMap<String, u64> {
    let mut client = Client::connect(address);
    let mut seen = HashMap::new();
    for round in 0_usize.. {
        if is_done.load(Ordering::Relaxed) {
            break;
        }
        let path = ["/a", "/b"][round % 2];
        let token = Some(token).filter(|_| round % 3 > 0);
        client.send(request("GET", path, token, ""));
        let response = client.response_to("GET").unwrap_or_else(|| panic!("a request was lost"));
        let version = response
            .header("x-rolegate-policy")
            .unwrap_or_else(|| panic!("no version: {response:?}"))
            .to_owned();
        let variant = variants.get(&version).unwrap_or_else(|| panic!("`{version}` is none of ours"));
        let is_so = variant.gives(path, token.is_some(), &response);
        assert!(is_so, "{path} by {}: {response:?}", variant.script);
        *seen.entry(version).or_default() += 1;
        answers.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

#[test]
fn thousand_reloads_lose_no_request_and_mix_no_policies() {
    let variants = Arc::new(variants());
    let (engine, tokens) = engine(variants[0].load().unwrap(), &["r"]);
    let engine = Arc::new(engine);
    let by_version: HashMap<String, &Variant> =
        variants.iter().map(|variant| (variant.load().unwrap().version().to_string(), variant)).collect();
    assert_eq!(by_version.len(), variants.len());
    let turning = Turning { variants: Arc::clone(&variants), next: AtomicU64::new(1) };
    let (first, metrics) = ([variants[0].source()], Arc::new(Metrics::new()));
    let reloader = Reloader::new(Arc::clone(&engine), Box::new(turning), &first, wall_clock(), metrics);
    let (address, end, serving) = serve(engine);
    let (is_done, answers) = (AtomicBool::new(false), AtomicU64::new(0));

    let seen: Vec<HashMap<String, u64>> = std::thread::scope(|scope| {
        let client = || ask(address, &tokens[0], &by_version, &is_done, &answers);
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
        let ending = Ending(&is_done);
        for _ in 0..RELOADS {
            let before = answers.load(Ordering::Relaxed);
            assert_eq!(reloader.reload(Trigger::Signal).unwrap().outcome, ReloadOutcome::Loaded);
            // Each set decides for somebody before the next one takes its place.
            while answers.load(Ordering::Relaxed) == before
                && clients.iter().any(|client| !client.is_finished())
            {
                std::thread::yield_now();
            }
        }
        drop(ending);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    drop(end);
    serving.join().unwrap();

    let total: u64 = seen.iter().flat_map(HashMap::values).sum();
    println!("{total} answers on {CONNECTIONS} connections during {RELOADS} reloads, none lost or mixed");
    assert!(total >= RELOADS, "{total} answers");
    for version in by_version.keys() {
        assert!(seen.iter().any(|seen| seen.contains_key(version)), "{version} decided nothing");
    }
}
