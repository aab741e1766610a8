//! What a store of many tokens costs: to open it, to read all of it, pages of it in every order, changes, and uses.
//!
//! `cargo bench --bench store`; with `-- --size NUMBER` for another number of tokens than a million, with
//! `-- --folder FOLDER` to leave the store there.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use rolegate::store::embedded::{EmbeddedStore, check};
use rolegate::store::page::{Filter, NameFilter, Order, OrderBy, PAGE_MAX, PageQuery, Position};
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{AfterDelete, Names, Store};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SIZE: u64 = 1_000_000;
const CREATED: i64 = 1_767_225_600_000;
/// Pages of each kind that are read.
const PAGES: usize = 200;
/// Changes of each kind that are made.
const CHANGES: u64 = 200;
/// Uses that are written at a time.
const USES: usize = 5_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        // `cargo test --benches` only wants to know that this starts.
        return Ok(());
    }
    let value = |name| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let size = value("--size").map_or(Ok(SIZE), |size| size.parse())?;
    let temporary = tempfile::tempdir()?;
    let folder = value("--folder").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    measure(&folder, size)
}

fn measure(folder: &Path, size: u64) -> Outcome<()> {
    let begun = Instant::now();
    let mut numbers: Vec<u64> = (0..size).collect();
    numbers.sort_unstable_by_key(|number| id(*number));
    drop(EmbeddedStore::create(folder, numbers.iter().filter_map(|number| record(*number)))?);
    tell("make the store", begun.elapsed())?;
    drop(numbers);

    let begun = Instant::now();
    let store = EmbeddedStore::open(folder)?;
    tell("open", begun.elapsed())?;
    let begun = Instant::now();
    let mut count = 0_u64;
    store.load(&mut |_| count += 1)?;
    tell(&format!("read all {count} tokens"), begun.elapsed())?;

    for by in [OrderBy::Created, OrderBy::Name, OrderBy::Expires] {
        for is_descending in [false, true] {
            let order = Order { by, is_descending };
            let query = PageQuery { limit: 100, ..PageQuery::first(order) };
            pages(&store, &format!("page of 100, {order:?}"), |number| PageQuery {
                after: record(number * (size / PAGES as u64)).map(|record| order.position(&record)),
                ..query.clone()
            })?;
        }
    }
    let by_created = PageQuery::first(Order::default());
    let named = |filter| Filter { name: Some(filter), ..Filter::default() };
    pages(&store, "the token of a name, by creation", |number| PageQuery {
        filter: named(NameFilter::Exact(format!("token {number}"))),
        ..by_created.clone()
    })?;
    pages(&store, "names that start so (1,111 of a million), by creation", |number| PageQuery {
        filter: named(NameFilter::Prefix(format!("token {}", number % 900 + 100))),
        limit: PAGE_MAX,
        ..by_created.clone()
    })?;
    let role = RoleName::parse("nobody-has-it")?;
    pages(&store, "10,000 tokens looked at for a role that none has", |number| PageQuery {
        filter: Filter { role: Some(role.clone()), ..Filter::default() },
        after: record(number).map(|record| Order::default().position(&record)),
        ..by_created.clone()
    })?;
    changes(&store, size)?;
    drop(store);
    let begun = Instant::now();
    let findings = check(folder, &mut |_, _, _| {})?;
    tell(&format!("check all of it ({} faults)", findings.faults.len()), begun.elapsed())
}

fn pages(store: &EmbeddedStore, what: &str, query: impl Fn(u64) -> PageQuery) -> Outcome<()> {
    let mut times = Vec::new();
    for number in 0..PAGES as u64 {
        let query = query(number);
        let begun = Instant::now();
        let page = store.page(&query)?;
        times.push(begun.elapsed());
        let _: Option<Position> = page.next;
    }
    median(what, times)
}

fn changes(store: &EmbeddedStore, size: u64) -> Outcome<()> {
    let (mut inserts, mut unique, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    for number in size..size + CHANGES {
        let record = record(number).ok_or("no such number")?;
        let other = TokenRecord { name: format!("unique {number}"), ..record.clone() };
        for (record, names, times) in
            [(record.clone(), Names::MayRepeat, &mut inserts), (other, Names::Unique, &mut unique)]
        {
            let begun = Instant::now();
            let _ = store.insert(&record, names)?;
            times.push(begun.elapsed());
            let begun = Instant::now();
            store.delete(record.id, AfterDelete::ForgetDigest)?;
            deletes.push(begun.elapsed());
        }
    }
    median("create a token", inserts)?;
    median("create a token with a name of its own", unique)?;
    median("delete a token", deletes)?;
    let mut times = Vec::new();
    for turn in 0..10_u64 {
        let numbers = (0..USES as u64).map(|number| (number * 7_919 + turn) * 104_729 % size);
        let usage = Usage { last_used: Timestamp::from_millis(CREATED), count: 1, routes: Vec::new() };
        let uses = numbers.filter_map(|number| Some(TokenUse { id: id(number)?, usage: usage.clone() }));
        let mut uses: Vec<TokenUse> = uses.collect();
        uses.sort_by_key(|one| one.id);
        let begun = Instant::now();
        store.record_uses(&uses)?;
        times.push(begun.elapsed());
    }
    median(&format!("write the uses of {USES} tokens"), times)
}

fn record(number: u64) -> Option<TokenRecord> {
    let millis = i64::try_from(number).ok()?;
    let created = Timestamp::from_millis(CREATED + millis.wrapping_mul(7_919) % 31_536_000_000);
    Some(TokenRecord {
        id: id(number)?,
        digest: TokenDigest::from_bytes(Sha256::digest(number.to_le_bytes()).into()),
        kind: SecretKind::Generated,
        origin: TokenOrigin::Api,
        name: format!("token {number}"),
        description: None,
        roles: vec![RoleName::parse("stackstate-power-user").ok()?],
        dedicated_subject: None,
        created,
        updated: created,
        expires: (!number.is_multiple_of(10))
            .then(|| Timestamp::from_millis(CREATED + millis % 1_000 * 86_400_000)),
        disabled: None,
        former: None,
    })
}

fn id(number: u64) -> Option<TokenId> {
    let span = TokenId::MAX - TokenId::MIN + 1;
    TokenId::new(TokenId::MIN + number.wrapping_mul(89_999_981) % span)
}

fn median(what: &str, mut times: Vec<Duration>) -> Outcome<()> {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    Ok(writeln!(stdout(), "{what:66} {:>12.3?} median {:>12.3?} p99", at(50), at(99))?)
}

fn tell(what: &str, took: Duration) -> Outcome<()> {
    Ok(writeln!(stdout(), "{what:66} {took:>12.3?}")?)
}
