//! What ten million tokens cost: memory, the time to load them, authentication against the least that it has to do,
//! and pages of a list.
//!
//! `cargo bench --bench tokens`; with `-- --json FILE` to keep the figures, with `-- --only PART` for one of `memory`,
//! `file` and `authenticate`, with `-- --size NUMBER` for another number of tokens than ten million, with
//! `-- --write docs/performance.md` to put what it prints into that page.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "tokens/file.rs"]
mod file;
#[path = "tokens/made.rs"]
mod made;
#[path = "decide/measure.rs"]
mod measure;

use made::Made;
use measure::{Numbers, Outcome, Pair, ROUND_REQUESTS, ROUNDS, memory_kib, nanoseconds};
use rolegate::request::Credential;
use rolegate::tokens::TokenIndex;
use rustc_hash::FxBuildHasher;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const SMALL: usize = 10_000;
const LARGE: usize = 10_000_000;
/// Random requests that are made beforehand, and then made in turn: of so many different tokens that no cache has them.
const REQUESTS: usize = 1_000_000;
/// One in so many tokens is removed, and another one comes.
const CHURN: usize = 10;
/// With it a name is longer than what fits into a slot.
const LONG_TAIL: &str = " of a project with a long name";

/// Between these a page has what was printed last.
const START: &str = "<!-- tokens: measured -->";
const END: &str = "<!-- tokens: end -->";

/// Prints a table, and gives the figures as JSON.
type Part = fn(usize) -> Outcome<String>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        // `cargo test --benches` only wants to know that this starts.
        return Ok(());
    }
    let value = |name| arguments.iter().position(|argument| argument == name).map(|at| arguments.get(at + 1));
    let text = |name| value(name).flatten().map(String::as_str);
    let size = text("--size").map_or(Ok(LARGE), str::parse)?;
    match text("--child") {
        Some("memory") => return memory_of(size, text("--tail").unwrap_or_default()),
        Some("file") => {
            return file::open_and_load(Path::new(text("--folder").ok_or("--folder is missing")?));
        }
        Some(other) => return Err(format!("there is no part `{other}`").into()),
        None => {}
    }
    if let Some(page) = value("--write") {
        return write_into(Path::new(page.ok_or("--write needs a file")?), &arguments);
    }
    let parts: [(&str, Part); 3] = [("memory", memory), ("file", file::file), ("authenticate", authenticate)];
    let only = text("--only");
    let mut figures = Vec::new();
    for (name, part) in parts.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        figures.push(format!("\"{name}\": {}", part(size)?));
    }
    if let Some(file) = value("--json") {
        std::fs::write(file.ok_or("--json needs a file")?, format!("{{{}}}\n", figures.join(", ")))?;
    }
    Ok(())
}

/// Bytes a token, and the time to load them from memory.
fn memory(size: usize) -> Outcome<String> {
    writeln!(
        stdout(),
        "the index in memory, each in a process of its own; million/s, by CPU time in brackets\n"
    )?;
    writeln!(stdout(), "      tokens                      bytes a token   after 10 % churn       loaded")?;
    writeln!(stdout(), "                                      (limit 100)        (limit 100)    (limit 1)")?;
    let mut figures = Vec::new();
    for (size, tail, what) in
        [(SMALL, "", "short names"), (size, "", "short names"), (size, LONG_TAIL, "names of 43 bytes")]
    {
        let told = child("memory", &["--size", &size.to_string(), "--tail", tail])?;
        let [loaded, churned, rate, cpu_rate] = told.as_slice() else {
            return Err("too little was told".into());
        };
        let [rate, cpu_rate] = [rate / 1e6, cpu_rate / 1e6];
        writeln!(stdout(), "{size:12} {what:18} {loaded:18.1} {churned:18.1} {rate:8.2} ({cpu_rate:.2})")?;
        let bytes = format!("\"bytes\": {loaded:.1}, \"churned_bytes\": {churned:.1}");
        let numbers = format!("{bytes}, \"million_s\": {rate:.2}, \"million_cpu_s\": {cpu_rate:.2}");
        figures.push(format!("{{\"tokens\": {size}, \"names\": \"{what}\", {numbers}}}"));
    }
    writeln!(stdout())?;
    Ok(format!("[{}]", figures.join(", ")))
}

/// Loads so many tokens; tells bytes a token then and after some were replaced, and tokens per second.
fn memory_of(size: usize, tail: &str) -> Outcome<()> {
    let made = Made::new(size + size / CHURN, tail)?.loading(size);
    let before = memory_kib("VmRSS:")?;
    let (started, cpu_before) = (Instant::now(), cpu_seconds()?);
    let index = TokenIndex::load(&made)?;
    let rate = count(size) / started.elapsed().as_secs_f64();
    let cpu_rate = count(size) / (cpu_seconds()? - cpu_before);
    let loaded = bytes_each(before, size)?;

    let mut numbers = Numbers::new();
    let gone: BTreeSet<usize> = (0..size / CHURN).map(|_| numbers.below(size)).collect();
    for (comes, goes) in (size..).zip(gone) {
        let goes = made.record(goes)?;
        assert!(index.remove(&goes), "it was there");
        index.insert(&made.record(comes)?);
    }
    assert_eq!(index.len(), size, "as many came as went");
    writeln!(stdout(), "{loaded} {} {rate} {cpu_rate}", bytes_each(before, size)?)?;
    Ok(())
}

/// Authentication against the floor, for one request over and over and for random ones.
fn authenticate(size: usize) -> Outcome<String> {
    writeln!(stdout(), "authentication, against SHA-256 + one hash-map probe; medians of {ROUNDS} rounds\n")?;
    writeln!(stdout(), "      tokens          floor     ours   ratio (limit 2)")?;
    let (mut random, mut figures) = (Vec::new(), Vec::new());
    for size in [SMALL, size] {
        let world = World::new(size)?;
        let one = world.compare(world.requests.get(..1).unwrap_or_default());
        let all = world.compare(&world.requests);
        for (kind, Pair { floor_ns, ours_ns, ratio }) in [("hot", one), ("random", all)] {
            writeln!(stdout(), "{size:12} {kind:6} {floor_ns:5.0} ns {ours_ns:5.0} ns   {ratio:5.2}")?;
        }
        random.push(all);
        figures.push(format!("{{\"tokens\": {size}, \"hot\": {}, \"random\": {}}}", one.json(), all.json()));
    }
    let [small, large] = random.as_slice() else { return Err("two sizes are measured".into()) };
    let growth = large.ours_ns / (small.ours_ns + large.floor_ns - small.floor_ns);
    writeln!(
        stdout(),
        "\nrandom tokens of {size} against those of {SMALL} and what the floor takes longer: {growth:.2} (limit 2)\n"
    )?;
    Ok(format!("[{}]", figures.join(", ")))
}

/// An index, the least that could be in its place, and who presents what.
struct World {
    index: TokenIndex,
    floor: HashMap<[u8; 32], usize, FxBuildHasher>,
    requests: Vec<Credential>,
}

impl World {
    fn new(size: usize) -> Outcome<Self> {
        let made = Made::new(size, "")?;
        let index = TokenIndex::load(&made)?;
        let digests = (0..size).filter_map(|number| Some((*made.digest(number)?.as_bytes(), number)));
        let floor = digests.collect();
        let mut numbers = Numbers::new();
        let requests = (0..REQUESTS).map(|_| made::credential(numbers.below(size)));
        Ok(Self { index, floor, requests: requests.collect::<Outcome<_>>()? })
    }

    fn compare(&self, requests: &[Credential]) -> Pair {
        let (now, mut at) = (made::now(), 0);
        let round = move |is_ours: bool| {
            // Half of all requests apart, so that neither asks for what the other just had.
            let from = if is_ours { at } else { at + requests.len() / 2 };
            let (first, rest) = requests.split_at(from % requests.len());
            let in_turn = rest.iter().chain(first).cycle().take(ROUND_REQUESTS);
            let started = Instant::now();
            let mut known = 0;
            for request in in_turn {
                let is_known = if is_ours {
                    black_box(self.index.authenticate(black_box(request), now)).is_ok()
                } else {
                    black_box(self.look_up(black_box(request))).is_some()
                };
                known += usize::from(is_known);
            }
            let elapsed = started.elapsed();
            assert_eq!(known, ROUND_REQUESTS, "every token is known");
            at += usize::from(is_ours) * ROUND_REQUESTS;
            nanoseconds(elapsed, ROUND_REQUESTS)
        };
        Pair::of(round)
    }

    fn look_up(&self, request: &Credential) -> Option<&usize> {
        let Credential::Token(secret, _) = request else { return None };
        let digest: [u8; 32] = Sha256::digest(secret.expose()).into();
        self.floor.get(&digest)
    }
}

/// Runs once more with the same arguments, and puts what is printed between two marks of a page.
fn write_into(page: &Path, arguments: &[String]) -> Outcome<()> {
    let mut rest: Vec<&String> = arguments.iter().skip(1).collect();
    let at = rest.iter().position(|argument| *argument == "--write").ok_or("--write is missing")?;
    rest.drain(at..at + 2);
    let output = Command::new(std::env::current_exe()?).args(rest).stderr(Stdio::inherit()).output()?;
    let printed = String::from_utf8(output.stdout)?;
    stdout().write_all(printed.as_bytes())?;
    if !output.status.success() {
        return Err("measuring failed, and the page is as it was".into());
    }
    let text = std::fs::read_to_string(page)?;
    let missing = || format!("the page has no `{START}` with `{END}` after it");
    let (before, after) = text.split_once(START).ok_or_else(missing)?;
    let (_, after) = after.split_once(END).ok_or_else(missing)?;
    let printed = printed.trim_end();
    Ok(std::fs::write(page, format!("{before}{START}\n\n```text\n{printed}\n```\n\n{END}{after}"))?)
}

/// What a part tells from a process of its own.
fn child(part: &str, arguments: &[&str]) -> Outcome<Vec<f64>> {
    let output = Command::new(std::env::current_exe()?).args(["--child", part]).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("{part} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let told = String::from_utf8(output.stdout)?;
    Ok(told.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// The time that all threads of this process have had of a processor: beside other work on the machine, only that
/// tells what something costs.
fn cpu_seconds() -> Outcome<f64> {
    let mut sum = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let told = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += told.split_whitespace().next().ok_or("no such field")?.parse::<f64>()?;
    }
    Ok(sum / 1e9)
}

/// The memory that was taken since then, for each token.
fn bytes_each(before_kib: u64, size: usize) -> Outcome<f64> {
    let taken = memory_kib("VmRSS:")?.saturating_sub(before_kib) * 1024;
    Ok(count(usize::try_from(taken)?) / count(size))
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
const fn count(size: usize) -> f64 {
    size as f64
}
