//! Kills a process that changes tokens, again and again, and checks what it left:
//! `cargo run --release --example crash -- --rounds 2000 --seed 7`.

#[path = "../tests/it/crash/driver.rs"]
mod driver;

use driver::{Driver, StoreClients};
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// The first argument of the process that is to be killed.
const CLIENTS: &str = "clients";

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if let [first, folder] = arguments.as_slice()
        && first == CLIENTS
    {
        return StoreClients::run(Path::new(folder));
    }
    let (rounds, seed) = (number(&arguments, "--rounds", 200)?, number(&arguments, "--seed", 1)?);
    let folder = tempfile::tempdir()?;
    let mut driver = Driver::new(folder.path(), seed);
    for round in 0..rounds {
        let mut command = Command::new(env::current_exe()?);
        command.arg(CLIENTS).arg(folder.path());
        driver.round(round, command)?;
        if (round + 1).is_multiple_of(100) || round + 1 == rounds {
            writeln!(io::stdout(), "{} of {rounds} rounds: {:?}", round + 1, driver.tally())?;
        }
    }
    Ok(())
}

/// The number after this option.
fn number(arguments: &[OsString], option: &str, default: u64) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let Some(at) = arguments.iter().position(|argument| argument == option) else { return Ok(default) };
    let value = arguments.get(at + 1).and_then(|value| value.to_str());
    value.and_then(|value| value.parse().ok()).ok_or_else(|| format!("`{option}` needs a number").into())
}
