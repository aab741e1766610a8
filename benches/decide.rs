//! What a decision costs, as ratios: the gate against the least that any gate has to do, a condition against a bare
//! call of the script engine, one thread against several, and what it takes to load many rules.
//!
//! `cargo bench --bench decide`; with `-- --json FILE` to keep the figures, with `-- --only PART` for one of `decide`,
//! `condition`, `threads` and `load`.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::indexing_slicing, reason = "numbers are made below the lengths that they index")]

#[path = "decide/floor.rs"]
mod floor;
#[path = "decide/measure.rs"]
mod measure;

use floor::Floor;
use measure::{Numbers, Outcome, Pair, ROUND_REQUESTS, ROUNDS, median, memory_kib, nanoseconds};
use rolegate::CanonicalPath;
use rolegate::audit::MemoryAudit;
use rolegate::engine::{Answer, Engine};
use rolegate::policy::{Limits, PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Credential, Request};
use rolegate::store::memory::MemoryStore;
use rolegate::store::{Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use std::error::Error;
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];
const ROLES: usize = 100;
const TOKENS: usize = 1_000;
/// Random requests that are made beforehand, and then made in turn.
const REQUESTS: usize = 65_536;
const CONDITION_ROUND_REQUESTS: usize = 1_000;
const THREAD_ROUNDS: usize = 21;
const THREAD_ROUND: Duration = Duration::from_millis(100);
/// The requests that each thread makes in turn.
const THREAD_REQUESTS: usize = 512;
/// Rhai tells places in scripts of at most 65,534 lines.
const LINES_PER_FILE: usize = 25_000;
/// The time in which rhai parses a file grows with the square of the number of its closures.
const CLOSURES_PER_FILE: usize = 2_000;

/// Prints a table, and gives the figures as JSON.
type Part = fn() -> Outcome<String>;

/// An engine, requests that it permits, and the least that a gate would have to do for them.
struct World {
    engine: Engine,
    floor: Floor,
    requests: Vec<Request>,
    /// The token of each request.
    tokens: Vec<usize>,
    now: Timestamp,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        // `cargo test --benches` only wants to know that this starts.
        return Ok(());
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--load") {
        return load(arguments.get(at + 1).map_or("", String::as_str));
    }
    let value = |name| arguments.iter().position(|argument| argument == name).map(|at| arguments.get(at + 1));
    let only = value("--only").flatten();
    let parts: [(&str, Part); 4] =
        [("decide", decisions), ("condition", conditions), ("threads", threads), ("load", loading)];
    let mut figures = Vec::new();
    for (name, part) in parts.into_iter().filter(|(name, _)| only.is_none_or(|only| only == name)) {
        figures.push(format!("\"{name}\": {}", part()?));
    }
    if let Some(file) = value("--json") {
        std::fs::write(file.ok_or("--json needs a file")?, format!("{{{}}}\n", figures.join(", ")))?;
    }
    Ok(())
}

/// The gate against the floor, at each size, for one request over and over and for random ones.
fn decisions() -> Outcome<String> {
    writeln!(
        stdout(),
        "authenticate + authorize, against SHA-256 + one hash-map probe + one trie walk; medians of {ROUNDS} rounds\n"
    )?;
    writeln!(stdout(), "   rules          floor     ours   ratio (limit 2)")?;
    let (mut hot_ns, mut figures) = (Vec::new(), Vec::new());
    for size in SIZES {
        let world = World::new(size)?;
        let hot = world.compare(&world.requests[..1]);
        let random = world.compare(&world.requests);
        for (kind, pair) in [("hot", hot), ("random", random)] {
            let Pair { floor_ns, ours_ns, ratio } = pair;
            writeln!(stdout(), "{size:8} {kind:6} {floor_ns:5.0} ns {ours_ns:5.0} ns   {ratio:5.2}")?;
        }
        hot_ns.push(hot.ours_ns);
        let (hot, random) = (hot.json(), random.json());
        figures.push(format!("{{\"rules\": {size}, \"hot\": {hot}, \"random\": {random}}}"));
    }
    let growth = hot_ns.last().copied().unwrap_or_default() / hot_ns[0];
    writeln!(
        stdout(),
        "\nthe hot request at {} rules against {}: {growth:.2} (limit 1.5)\n",
        SIZES[3],
        SIZES[0]
    )?;
    Ok(format!("[{}]", figures.join(", ")))
}

impl World {
    fn new(size: usize) -> Outcome<Self> {
        let policies = PolicySet::load(&sources(size, Kind::Plain), &RoleBindings::default(), &limits())?;
        let now = Timestamp::from(SystemTime::now());
        let store = MemoryStore::new();
        let mut floor = Floor::new();
        let mut secrets = Vec::new();
        for number in 0..TOKENS {
            let text = format!("the-secret-of-token-number-{number}");
            let (secret, kind) = Secret::parse(&text)?;
            let role = RoleName::parse(&format!("role-{}", number % ROLES))?;
            let record = record(secret.digest(), kind, number, role, now)?;
            floor.tokens.insert(*record.digest.as_bytes(), number);
            let _ = store.insert(&record, Names::MayRepeat)?;
            secrets.push((secret, kind));
        }
        for rule in 0..size {
            floor.add(&pattern(rule), rule);
        }
        let engine = Engine::open(Box::new(store), Box::new(MemoryAudit::new()), policies, now)?;
        let mut numbers = Numbers::new();
        let mut tokens = Vec::with_capacity(REQUESTS);
        let requests = (0..REQUESTS).map(|_| {
            let rule = numbers.below(size);
            // A token of the role that the rule is about.
            let token = rule % ROLES + ROLES * numbers.below(TOKENS / ROLES);
            let path = pattern(rule).replace("{id}", &numbers.below(1_000_000).to_string());
            tokens.push(token);
            request(&path, &secrets[token])
        });
        let requests: Vec<Request> = requests.collect::<Outcome<_>>()?;
        let world = Self { engine, floor, requests, tokens, now };
        for request in &world.requests {
            if !world.ours(request) || world.floor.decide(request).is_none() {
                return Err(format!("{request:?} is not permitted").into());
            }
        }
        Ok(world)
    }

    fn ours(&self, request: &Request) -> bool {
        matches!(self.engine.check(request, self.now), Answer::Permitted(_))
    }

    fn compare(&self, requests: &[Request]) -> Pair {
        let mut at = 0;
        Pair::of(|is_ours| {
            let from = if is_ours { at } else { at + requests.len() / 2 };
            let started = Instant::now();
            for number in from..from + ROUND_REQUESTS {
                let request = &requests[number % requests.len()];
                if is_ours {
                    black_box(self.ours(black_box(request)));
                } else {
                    black_box(self.floor.decide(black_box(request)));
                }
            }
            at += ROUND_REQUESTS / 2;
            nanoseconds(started.elapsed(), ROUND_REQUESTS)
        })
    }
}

/// A condition against a bare call of the same function with one argument.
fn conditions() -> Outcome<String> {
    const CONDITION: &str = r#"request.param("name") != "core""#;
    #[derive(Clone)]
    struct View(Arc<Request>);

    let mut engine = rhai::Engine::new_raw();
    engine.register_type_with_name::<View>("request").register_fn(
        "param",
        |view: &mut View, _name: &str| -> rhai::Dynamic {
            let segment = view.0.path().segments().nth(1).unwrap_or_default();
            rhai::ImmutableString::from(segment).into()
        },
    );
    let tree = engine.compile(format!("fn condition(request) {{ {CONDITION} }}"))?;

    let text = format!("role(\"role-0\").allow(\"POST /packs/{{name}}\").when(|request| {CONDITION});");
    let source = Source { name: Arc::from("conditions.rhai"), text };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &limits())?;
    let now = Timestamp::from(SystemTime::now());
    let (secret, kind) = Secret::parse("the-secret-of-this-benchmark")?;
    let store = MemoryStore::new();
    let _ = store
        .insert(&record(secret.digest(), kind, 0, RoleName::parse("role-0")?, now)?, Names::MayRepeat)?;
    let engine_of_ours = Engine::open(Box::new(store), Box::new(MemoryAudit::new()), policies, now)?;
    let mut parts = request("/packs/other", &(secret, kind))?.into_parts();
    parts.method = http::Method::POST;
    let request = Request::from(parts);
    let view = View(Arc::new(request.clone()));

    let pair = Pair::of(|is_ours| {
        let started = Instant::now();
        for _ in 0..CONDITION_ROUND_REQUESTS {
            let permitted = if is_ours {
                matches!(engine_of_ours.check(black_box(&request), now), Answer::Permitted(_))
            } else {
                let argument = black_box(&view).clone();
                engine.call_fn(&mut rhai::Scope::new(), &tree, "condition", (argument,)).unwrap_or(false)
            };
            assert!(permitted, "the condition is true");
        }
        nanoseconds(started.elapsed(), CONDITION_ROUND_REQUESTS)
    });
    let Pair { floor_ns, ours_ns, ratio } = pair;
    writeln!(
        stdout(),
        "authenticate + authorize with a condition, against a bare call of the same function\n"
    )?;
    writeln!(stdout(), "                  call     ours   ratio (limit 2)")?;
    writeln!(stdout(), "         {CONDITION}")?;
    writeln!(stdout(), "                {floor_ns:5.0} ns {ours_ns:5.0} ns   {ratio:5.2}\n")?;
    Ok(pair.json())
}

/// Decisions per second of several threads against one.
fn threads() -> Outcome<String> {
    let world = World::new(SIZES[2])?;
    let cores = std::thread::available_parallelism()?;
    writeln!(stdout(), "decisions per second, {cores} cores, medians of {THREAD_ROUNDS} rounds\n")?;
    writeln!(
        stdout(),
        "                     1 thread      2 threads      4 threads       CPU time of a decision"
    )?;
    let mut figures = vec![format!("\"cores\": {cores}")];
    for (kind, key) in [("each its own tokens", "own_tokens"), ("all the same token", "one_token")] {
        let mut rates = [const { Vec::new() }; 3];
        let mut costs = [const { Vec::new() }; 3];
        for _ in 0..THREAD_ROUNDS {
            for (at, threads) in [1, 2, 4].into_iter().enumerate() {
                let (rate, cpu_ns) = world.rate(threads, key == "one_token");
                rates[at].push(rate);
                costs[at].push(cpu_ns);
            }
        }
        let ([one, two, four], costs) = (rates.map(median), costs.map(median));
        let (by_two, by_four) = (two / one, four / one);
        writeln!(
            stdout(),
            "{kind:19} {one:10.0}  {two:10.0} {by_two:4.2}  {four:10.0} {by_four:4.2}   {:4.0} ns, {:4.0} ns, {:4.0} ns",
            costs[0],
            costs[1],
            costs[2]
        )?;
        let rates = format!("\"one\": {one:.0}, \"two\": {two:.0}, \"four\": {four:.0}");
        figures.push(format!("\"{key}\": {{{rates}, \"cpu_ns\": {costs:.1?}}}"));
    }
    writeln!(stdout())?;
    Ok(format!("{{{}}}", figures.join(", ")))
}

impl World {
    /// Decisions per second of so many threads, and the CPU time of one decision: on a machine that does something
    /// else, too, only that tells whether threads wait for each other. No two threads share a request.
    fn rate(&self, threads: usize, is_one_token: bool) -> (f64, f64) {
        let own: Vec<Vec<Request>> = (0..threads)
            .map(|thread| {
                let numbered = self.requests.iter().zip(&self.tokens);
                let mine = numbered.filter(|(_, token)| match is_one_token {
                    true => **token == self.tokens[0],
                    false => **token % threads == thread,
                });
                let copy = |request: &Request| Request::from(request.clone().into_parts());
                mine.map(|(request, _)| copy(request)).take(THREAD_REQUESTS).collect()
            })
            .collect();
        let (stop, decisions, cpu_ns) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let started = Instant::now();
        std::thread::scope(|scope| {
            for own in &own {
                let (stop, decisions, cpu_ns) = (&stop, &decisions, &cpu_ns);
                scope.spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        own.iter().for_each(|request| {
                            black_box(self.ours(black_box(request)));
                        });
                        count += own.len() as u64;
                    }
                    decisions.fetch_add(count, Ordering::Relaxed);
                    cpu_ns.fetch_add(thread_cpu_ns(), Ordering::Relaxed);
                });
            }
            std::thread::sleep(THREAD_ROUND);
            stop.store(true, Ordering::Relaxed);
        });
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let [decisions, cpu_ns] = [decisions, cpu_ns].map(|sum| sum.into_inner() as f64);
        (decisions / started.elapsed().as_secs_f64(), cpu_ns / decisions)
    }
}

/// The CPU time that this thread has used; zero where the system does not tell.
fn thread_cpu_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// What loading takes, each in a process of its own.
fn loading() -> Outcome<String> {
    writeln!(
        stdout(),
        "loading {} rules, one a line, in a process of its own (limits 2 s, 150 MiB)\n",
        SIZES[3]
    )?;
    let mut figures = Vec::new();
    for (what, key) in [("without conditions", "plain"), ("each with a condition", "conditional")] {
        let output = std::process::Command::new(std::env::current_exe()?).args(["--load", key]).output()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            return Err(format!("loading failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().ok_or("too little was told")?.map_err(Box::<dyn Error>::from);
        let (ms, kept, peak) = (next()?, next()?, next()?);
        writeln!(stdout(), "{what:22} {ms:5} ms, {kept:4} MiB kept, {peak:4} MiB at most")?;
        figures.push(format!("\"{key}\": {{\"ms\": {ms}, \"kept_mib\": {kept}, \"peak_mib\": {peak}}}"));
    }
    Ok(format!("{{{}}}", figures.join(", ")))
}

/// Loads the largest policy and tells milliseconds, and MiB of memory that are resident after it and at the peak.
fn load(kind: &str) -> Outcome<()> {
    let kind = if kind == "conditional" { Kind::Conditional } else { Kind::Plain };
    let sources = sources(SIZES[3], kind);
    let before = memory_kib("VmRSS:")? / 1024;
    let started = Instant::now();
    let policies = PolicySet::load(&sources, &RoleBindings::default(), &limits())?;
    let ms = started.elapsed().as_millis();
    let (after, peak) = (memory_kib("VmRSS:")? / 1024, memory_kib("VmHWM:")? / 1024);
    assert_eq!(policies.rules().len(), SIZES[3], "every rule is there");
    writeln!(stdout(), "{ms} {} {}", after.saturating_sub(before), peak.saturating_sub(before))?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Conditional,
}

/// So many rules, one a line: each role may call its own part of a tree of routes.
fn sources(size: usize, kind: Kind) -> Vec<Source> {
    let lines: Vec<String> = (0..size)
        .map(|rule| {
            let condition = match kind {
                Kind::Plain => "",
                Kind::Conditional => ".when(|request| request.param(\"id\") != \"core\")",
            };
            format!("role(\"role-{}\").allow(\"GET {}\"){condition};\n", rule % ROLES, pattern(rule))
        })
        .collect();
    let lines_per_file = if kind == Kind::Plain { LINES_PER_FILE } else { CLOSURES_PER_FILE };
    let files = lines.chunks(lines_per_file).enumerate();
    files.map(|(at, lines)| Source { name: format!("{at}.rhai").into(), text: lines.concat() }).collect()
}

fn pattern(rule: usize) -> String {
    format!("/api/service-{}/resource-{}/{{id}}", rule % 317, rule)
}

fn limits() -> ScriptLimits {
    ScriptLimits { load: Limits { functions: SIZES[3], ..Limits::LOAD }, ..ScriptLimits::default() }
}

fn record(
    digest: TokenDigest,
    kind: SecretKind,
    number: usize,
    role: RoleName,
    now: Timestamp,
) -> Outcome<TokenRecord> {
    Ok(TokenRecord {
        id: TokenId::new(TokenId::MIN + number as u64).ok_or("no id")?,
        digest,
        kind,
        origin: TokenOrigin::Api,
        name: format!("token {number}"),
        description: None,
        roles: vec![role],
        dedicated_subject: None,
        disabled: None,
        former: None,
        created: now,
        updated: now,
        expires: None,
    })
}

fn request(path: &str, (secret, kind): &(Secret, SecretKind)) -> Outcome<Request> {
    let mut parts = Request::new(http::Method::GET, CanonicalPath::parse(path)?).into_parts();
    parts.credential = Credential::Token(secret.clone(), *kind);
    Ok(Request::from(parts))
}
