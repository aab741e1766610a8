//! rolegate beside Cedar, regorus, casbin-rs and a loop in Rhai, on the same rules and requests: prints a table of
//! ratios, and with `--write FOLDER` keeps it, with what the gate's own benchmark tells and a picture, in that
//! folder's `performance.md`.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml`

mod engines;
mod measure;
mod plot;
mod report;
mod workload;

use measure::{Figure, Outcome};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use workload::SIZES;

/// A size at which only rolegate is measured: the others would take hours.
const LARGEST: usize = 100_000;

fn main() -> Outcome<()> {
    let folder = folder(&std::env::args().skip(1).collect::<Vec<_>>())?;
    let mut figures = Vec::new();
    for size in SIZES {
        eprintln!("{size} rules");
        let (rules, requests) = (workload::rules(size), workload::requests(size));
        figures.extend(measure::measure(size, &requests, engines::all(&rules, &requests)?)?);
    }
    eprintln!("{LARGEST} rules");
    let (rules, requests) = (workload::rules(LARGEST), workload::requests(LARGEST));
    figures.extend(measure::measure(LARGEST, &requests, engines::ours(&rules, &requests)?)?);
    eprintln!("casbin-rs, in a process of its own");
    figures.extend(casbin()?);

    let table = report::table(&figures)?;
    println!("{table}");
    if let Some(folder) = folder {
        std::fs::write(folder.join("performance.svg"), plot::draw(&figures)?)?;
        let page = folder.join("performance.md");
        let text = report::keep(&std::fs::read_to_string(&page)?, "peers", &table)?;
        let decide = format!("```text\n{}\n```\n", gate()?.trim_end());
        std::fs::write(page, report::keep(&text, "decide", &decide)?)?;
    }
    Ok(())
}

fn folder(arguments: &[String]) -> Outcome<Option<PathBuf>> {
    match arguments {
        [] => Ok(None),
        [flag, folder] if flag == "--write" => Ok(Some(PathBuf::from(folder))),
        _ => Err("usage: compare [--write FOLDER]".into()),
    }
}

/// What rolegate's own benchmark of the gate tells.
fn gate() -> Outcome<String> {
    eprintln!("the gate against its floor");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--quiet", "--locked", "--bench", "decide", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the gate could not be measured".into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds and runs the other program of this package, which must not share a build with this one.
fn casbin() -> Outcome<Vec<Figure>> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--locked", "--no-default-features", "--features", "casbin"])
        .args(["--bin", "casbin", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("casbin-rs could not be measured".into());
    }
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let figures = told.as_array().ok_or("no list of figures")?.iter().map(|figure| {
        Ok(Figure {
            name: figure["name"].as_str().ok_or("no name")?.to_owned(),
            rules: usize::try_from(figure["rules"].as_u64().ok_or("no size")?)?,
            decide_ns: figure["decide_ns"].as_f64().ok_or("no time")?,
        })
    });
    figures.collect()
}
