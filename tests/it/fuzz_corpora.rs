//! What fuzzing kept, what once failed, and the corpora of the other tests meet the properties of `fuzz/` in each
//! test run.

#[path = "../../fuzz/properties/canonicaliser.rs"]
mod canonicaliser;
#[cfg(feature = "config")]
#[path = "../../fuzz/properties/configuration.rs"]
mod configuration;
#[path = "../../fuzz/properties/headers.rs"]
mod headers;
#[path = "../../fuzz/properties/policy_source.rs"]
mod policy_source;
#[path = "../../fuzz/properties/route_pattern.rs"]
mod route_pattern;
#[path = "../../fuzz/properties/token.rs"]
mod token;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where inputs lie: those that together reach what fuzzing has reached, and those that once broke a property.
const FOLDERS: [&str; 2] = ["fuzz/corpus", "fuzz/crashes"];

fn inputs(target: &str) -> io::Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in FOLDERS.map(|folder| root.join(folder).join(target)) {
        if folder.exists() {
            for entry in fs::read_dir(folder)? {
                found.push(entry?.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[expect(clippy::print_stdout, reason = "says which input broke a property, and how many there were")]
fn replay(target: &str, property: fn(&[u8])) -> io::Result<()> {
    let inputs = inputs(target)?;
    assert!(inputs.len() > 10, "the corpus of {target} was not found");
    for input in &inputs {
        println!("{}", input.display());
        property(&fs::read(input)?);
    }
    println!("corpus {target}: {} inputs of the fuzzer", inputs.len());
    Ok(())
}

/// The names of what lies in a folder of `fuzz/`, without their ends.
fn names(folder: &str) -> io::Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The lines of a table, cell by cell.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

#[test]
fn every_target_has_properties_and_a_corpus_that_is_replayed() -> io::Result<()> {
    let replayed = ["canonicaliser", "configuration", "headers", "policy_source", "route_pattern", "token"]
        .map(String::from);
    for folder in ["properties", "targets", "corpus"] {
        assert_eq!(names(folder)?, replayed, "{folder}");
    }
    Ok(())
}

#[test]
fn canonicaliser() -> io::Result<()> {
    for row in rows(include_str!("../corpora/paths.tsv")) {
        row.get(2).into_iter().for_each(|path| canonicaliser::check(path.as_bytes()));
    }
    replay("canonicaliser", canonicaliser::check)
}

#[test]
fn route_pattern() -> io::Result<()> {
    replay("route_pattern", route_pattern::check)
}

#[test]
fn token() -> io::Result<()> {
    replay("token", token::check)
}

#[test]
fn headers() -> io::Result<()> {
    for row in rows(include_str!("../corpora/headers.tsv")) {
        let fields = row.get(1).map(|fields| fields.replace(" || ", "\n"));
        fields.into_iter().for_each(|fields| headers::check(fields.as_bytes()));
    }
    replay("headers", headers::check)
}

#[test]
fn policy_source() -> io::Result<()> {
    replay("policy_source", policy_source::check)
}

#[cfg(feature = "config")]
#[test]
fn configuration() -> io::Result<()> {
    replay("configuration", configuration::check)
}
