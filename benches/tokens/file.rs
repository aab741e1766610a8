//! The file of the embedded store: the time to load it, and that of a page of its list.

use crate::made::Made;
use crate::measure::{Numbers, Outcome, median, memory_kib};
use crate::{SMALL, child, count, cpu_seconds};
use rolegate::store::Store as _;
use rolegate::store::embedded::{EmbeddedStore, FILE_NAME};
use rolegate::store::page::{Filter, Order, OrderBy, PageQuery, Position};
use rolegate::tokens::TokenIndex;
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::time::Instant;

const PAGE: usize = 100;
const PAGE_ROUNDS: usize = 101;
/// So many random tokens tell where the middle of an order is.
const SAMPLE: usize = 10_001;
const ORDERS: [(OrderBy, &str); 3] =
    [(OrderBy::Created, "created"), (OrderBy::Name, "name"), (OrderBy::Expires, "expires")];

/// Makes a file of each size, looks at its list, and loads it in a process of its own.
pub(crate) fn file(size: usize) -> Outcome<String> {
    let mut figures = Vec::new();
    for size in [SMALL, size] {
        let folder = tempfile::tempdir()?;
        let made = Made::new(size, "")?;
        let started = Instant::now();
        let numbers = made.by_id();
        let records = numbers.into_iter().filter_map(|number| made.record(number).ok());
        let store = EmbeddedStore::create(folder.path(), records)?;
        let created = started.elapsed().as_secs_f64();
        let bytes = std::fs::metadata(folder.path().join(FILE_NAME))?.len();
        writeln!(stdout(), "a file of {size} tokens: {} MiB, made in {created:.1} s\n", bytes >> 20)?;
        let pages = pages(&store, &made, size)?;
        drop((store, made));

        let path = folder.path().to_str().ok_or("the folder has a name that is no text")?;
        let told = child("file", &["--folder", path])?;
        let [opened, loaded, cpu, peak] = told.as_slice() else { return Err("too little was told".into()) };
        let [rate, cpu_rate] = [loaded, cpu].map(|seconds| count(size) / seconds / 1e6);
        writeln!(stdout(), "opened in {opened:.2} s, which checks every page of it")?;
        writeln!(
            stdout(),
            "loaded in {loaded:.2} s, {cpu:.2} s of the processors: {rate:.2} million/s (limit 1), {cpu_rate:.2} by CPU time"
        )?;
        writeln!(stdout(), "{peak:.0} MiB at most\n")?;
        let times = format!("\"open_s\": {opened:.3}, \"load_s\": {loaded:.3}, \"load_cpu_s\": {cpu:.3}");
        figures.push(format!(
            "{{\"tokens\": {size}, \"file_bytes\": {bytes}, {times}, \"peak_mib\": {peak:.0}, \"pages\": {pages}}}"
        ));
    }
    Ok(format!("[{}]", figures.join(", ")))
}

/// Opens and loads a store; tells the seconds of both, those of the processors for the latter, and MiB at the peak.
pub(crate) fn open_and_load(folder: &Path) -> Outcome<()> {
    let started = Instant::now();
    let store = EmbeddedStore::open(folder)?;
    let opened = started.elapsed().as_secs_f64();
    let (started, cpu_before) = (Instant::now(), cpu_seconds()?);
    let index = TokenIndex::load(&store)?;
    let (loaded, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
    assert!(!index.is_empty(), "the tokens are there");
    writeln!(stdout(), "{opened} {loaded} {cpu} {}", memory_kib("VmHWM:")? / 1024)?;
    Ok(())
}

/// The time of a page at the start, in the middle and at the end of each order.
fn pages(store: &EmbeddedStore, made: &Made, size: usize) -> Outcome<String> {
    writeln!(stdout(), "a page of {PAGE} tokens    at the start   in the middle      at the end")?;
    let mut figures = Vec::new();
    for (by, name) in ORDERS {
        for (is_descending, direction) in [(false, "ascending"), (true, "descending")] {
            let order = Order { by, is_descending };
            let query = |after| PageQuery { order, filter: Filter::default(), after, limit: PAGE };
            let mut times = Vec::new();
            for after in [None, Some(middle(order, made, size)?), Some(end(store, order)?)] {
                let query = query(after);
                let round = || {
                    let started = Instant::now();
                    let page = store.page(black_box(&query))?;
                    let us = started.elapsed().as_secs_f64() * 1e6;
                    assert_eq!(page.tokens.len(), PAGE, "the page is full");
                    Ok(us)
                };
                times.push(median((0..PAGE_ROUNDS).map(|_| round()).collect::<Outcome<_>>()?));
            }
            let told: Vec<String> = times.iter().map(|us| format!("{us:12.0} us")).collect();
            writeln!(stdout(), "{name:8} {direction:12} {}", told.join(" "))?;
            figures.push(format!("{{\"order\": \"{name} {direction}\", \"us\": {times:.1?}}}"));
        }
    }
    writeln!(stdout())?;
    Ok(format!("[{}]", figures.join(", ")))
}

/// A position in the middle of an order, or near to it.
fn middle(order: Order, made: &Made, size: usize) -> Outcome<Position> {
    let mut numbers = Numbers::new();
    let sample = (0..SAMPLE).map(|_| Ok(order.position(&made.record(numbers.below(size))?)));
    let mut sample: Vec<Position> = sample.collect::<Outcome<_>>()?;
    let (_, middle, _) = sample.select_nth_unstable_by(SAMPLE / 2, |one, other| order.compare(one, other));
    Ok(middle.clone())
}

/// The position before the last page of an order.
fn end(store: &EmbeddedStore, order: Order) -> Outcome<Position> {
    let from_the_end = Order { is_descending: !order.is_descending, ..order };
    let query = PageQuery { order: from_the_end, filter: Filter::default(), after: None, limit: PAGE + 1 };
    let page = store.page(&query)?;
    Ok(order.position(&page.tokens.last().ok_or("the list is empty")?.record))
}
