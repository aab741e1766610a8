//! What the engine alone is made of: each crate is a decision.

use std::collections::BTreeSet;
use std::error::Error;
use std::process::Command;

/// What a runtime, a server, a database or a format would bring.
const NEVER: [&str; 10] =
    ["tokio", "hyper", "warp", "tower", "redb", "serde", "serde_json", "tracing", "log", "mio"];

/// The crates that are built for a program which embeds the engine, each with the part of its version that stays the
/// same while it is compatible. Those that run at build time are among them.
fn crates() -> Result<BTreeSet<String>, Box<dyn Error>> {
    let cargo = Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal", "--no-default-features", "--prefix", "none", "--format", "{p}"])
        // The same on every machine that tests.
        .args(["--target", "x86_64-unknown-linux-gnu", "--offline", "--locked", "--color", "never"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    let told = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "cargo tree: {told}");
    let mut crates = BTreeSet::new();
    for line in String::from_utf8(cargo.stdout)?.lines() {
        let (name, version) = line.split_once(" v").ok_or("a line without a version")?;
        let version: Vec<&str> = version.split([' ', '.']).collect();
        let compatible = match version.as_slice() {
            ["0", minor, ..] => format!("0.{minor}"),
            [major, ..] => (*major).to_owned(),
            [] => return Err("a version without numbers".into()),
        };
        if name != "rolegate" {
            crates.insert(format!("{name} {compatible}"));
        }
    }
    Ok(crates)
}

#[test]
fn engine_alone_is_made_of_these_crates() -> Result<(), Box<dyn Error>> {
    let crates = crates()?;
    let names: Vec<&str> = crates.iter().filter_map(|known| known.split(' ').next()).collect();
    let forbidden: Vec<_> = NEVER.iter().filter(|never| names.contains(never)).collect();
    assert!(forbidden.is_empty(), "the engine alone needs none of these: {forbidden:?}");
    let list: Vec<&str> = crates.iter().map(String::as_str).collect();
    insta::assert_snapshot!(list.join("\n"));
    Ok(())
}
