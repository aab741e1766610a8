//! Processes that are killed while they change tokens: what was acknowledged stays.

mod driver;
#[cfg(feature = "server")]
mod faults;
#[cfg(feature = "cli")]
mod server;

use self::driver::{Driver, StoreClients};
use crate::process;
#[cfg(feature = "server")]
use crate::strace;

/// Rounds of the suite; `cargo run --release --example crash -- --rounds N` runs more.
const ROUNDS: u64 = 100;

#[cfg(feature = "cli")]
#[test]
#[expect(clippy::print_stdout, reason = "what the kills hit is a figure that the tests report")]
fn killed_server_keeps_what_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rolegate"));
    let mut driver = server::ServerDriver::new(program, folder.path(), 1).unwrap();
    (0..ROUNDS).for_each(|round| driver.round(round).unwrap());
    driver.finish().unwrap();
    let tally = driver.tally();
    println!(
        "crash: server killed {ROUNDS} times, {} creates, {} updates and {} deletes acknowledged",
        tally.created, tally.updated, tally.deleted
    );
    let least = tally.created.min(tally.updated).min(tally.deleted);
    assert!(least > 2 * ROUNDS, "too little happened: {tally:?}");
    assert!(tally.unanswered > ROUNDS, "too few kills hit a change under way: {tally:?}");
}

#[test]
#[expect(clippy::print_stdout, reason = "what the kills hit is a figure that the tests report")]
fn killed_store_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::new(folder.path(), 1);
    for round in 0..ROUNDS {
        let command = process::part("crash::clients", folder.path()).unwrap();
        driver.round(round, command).unwrap();
    }
    let tally = driver.tally();
    println!(
        "crash: store killed {ROUNDS} times, {} creates, {} updates, {} batches of uses and {} deletes acknowledged",
        tally.created, tally.updated, tally.used, tally.deleted
    );
    let least = tally.created.min(tally.updated).min(tally.used).min(tally.deleted);
    assert!(least > 3 * ROUNDS, "too little happened: {tally:?}");
    assert!(tally.unanswered > ROUNDS, "too few kills hit a change under way: {tally:?}");
}

/// The process that is killed; started by the test above.
#[test]
fn clients() {
    if let Some(folder) = process::argument() {
        StoreClients::run(&folder).unwrap();
    }
}

/// Faults of the suite; `cargo run --release --example crash -- --faults --rounds N` makes more.
#[cfg(feature = "server")]
const FAULTS: u64 = 48;

#[cfg(feature = "server")]
#[test]
#[expect(clippy::print_stdout, reason = "how much failed is a figure that the tests report")]
fn failing_writes_lose_nothing_and_the_process_goes_on() {
    let mut tally = faults::FaultTally::default();
    for number in 0..FAULTS {
        let folder = faults::folder().unwrap();
        let program = process::part("crash::fault_client", folder.path()).unwrap();
        faults::round(faults::Fault::of(number), folder.path(), &program, &mut tally).unwrap();
    }
    println!(
        "crash: {FAULTS} faults, {} changes acknowledged and {} refused with an error",
        tally.done, tally.failed
    );
    assert!(tally.done > 10 * FAULTS && tally.failed > FAULTS, "too little happened: {tally:?}");
}

/// The process whose writes fail; started by the test above.
#[cfg(feature = "server")]
#[test]
fn fault_client() {
    if let Some(folder) = process::argument() {
        faults::FaultClient::run(&folder).unwrap();
    }
}
