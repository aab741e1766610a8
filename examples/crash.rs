//! Kills a process that changes tokens, again and again, and checks what it left:
//! `cargo run --release --example crash -- --rounds 2000 --seed 7`, and the same with
//! `--server target/release/rolegate` for a whole server with its clients. With `--faults` nothing is killed, but
//! system calls fail, each at each place, under strace.

#[path = "../tests/it/crash/driver.rs"]
mod driver;
#[path = "../tests/it/crash/faults.rs"]
mod faults;
#[path = "../tests/it/crash/server.rs"]
mod server;
#[path = "../tests/it/strace.rs"]
mod strace;

use driver::{Driver, StoreClients};
use faults::{Fault, FaultClient, FaultTally};
use server::ServerDriver;
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// The first argument of the process that is to be killed.
const CLIENTS: &str = "clients";
/// The same for the process whose writes are to fail.
const FAULTS: &str = "faults";

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if let [first, folder] = arguments.as_slice()
        && first == CLIENTS
    {
        return StoreClients::run(Path::new(folder));
    }
    if let [first, folder] = arguments.as_slice()
        && first == FAULTS
    {
        return FaultClient::run(Path::new(folder));
    }
    let (rounds, seed) = (number(&arguments, "--rounds", 200)?, number(&arguments, "--seed", 1)?);
    if arguments.iter().any(|argument| argument == "--faults") {
        return fail(rounds, seed);
    }
    let folder = tempfile::tempdir()?;
    if let Some(program) = after(&arguments, "--server") {
        let mut driver = ServerDriver::new(Path::new(program), folder.path(), seed)?;
        for round in 0..rounds {
            driver.round(round)?;
            tell(round, rounds, driver.tally())?;
        }
        let entries = driver.finish()?;
        return Ok(writeln!(io::stdout(), "the audit log is whole: {entries} entries")?);
    }
    let mut driver = Driver::new(folder.path(), seed);
    for round in 0..rounds {
        let mut command = Command::new(env::current_exe()?);
        command.arg(CLIENTS).arg(folder.path());
        driver.round(round, command)?;
        tell(round, rounds, driver.tally())?;
    }
    Ok(())
}

/// The faults with the numbers from `first` on.
fn fail(rounds: u64, first: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut tally = FaultTally::default();
    for number in 0..rounds {
        let folder = faults::folder()?;
        let mut program = Command::new(env::current_exe()?);
        program.arg(FAULTS).arg(folder.path());
        faults::round(Fault::of(first + number), folder.path(), &program, &mut tally)?;
        tell(number, rounds, tally)?;
    }
    Ok(())
}

fn tell(round: u64, rounds: u64, tally: impl Debug) -> io::Result<()> {
    let done = round + 1;
    if done.is_multiple_of(100) || done == rounds {
        writeln!(io::stdout(), "{done} of {rounds} rounds: {tally:?}")?;
    }
    Ok(())
}

/// What stands after this option.
fn after<'a>(arguments: &'a [OsString], option: &str) -> Option<&'a OsString> {
    let at = arguments.iter().position(|argument| argument == option)?;
    arguments.get(at + 1)
}

/// The number after this option.
fn number(arguments: &[OsString], option: &str, default: u64) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let Some(value) = after(arguments, option) else { return Ok(default) };
    let number = value.to_str().and_then(|value| value.parse().ok());
    number.ok_or_else(|| format!("`{option}` needs a number").into())
}
