//! What people read: a table in Markdown, which is as good on a terminal.

use crate::measure::{Figure, Outcome};
use std::fmt::Write as _;

/// What the others are compared with.
pub const OURS: &str = "rolegate";

/// Every engine at every size: the time of a decision, and how many times ours that is.
pub fn table(figures: &[Figure]) -> Outcome<String> {
    let sizes = distinct(figures.iter().map(|figure| figure.rules));
    let names = distinct(figures.iter().map(|figure| figure.name.as_str()));
    let mut text = format!("Machine: {}.\n\n", machine());
    let titles: Vec<String> = sizes.iter().map(|size| format!("{} rules", grouped(*size))).collect();
    writeln!(
        text,
        "| {:<24} | {} |",
        "One decision",
        titles.iter().map(|title| format!("{title:>20}")).collect::<Vec<_>>().join(" | ")
    )?;
    writeln!(text, "|{}|{}", "-".repeat(26), format!("{}:|", "-".repeat(21)).repeat(sizes.len()))?;
    for name in names {
        write!(text, "| {name:<24} |")?;
        for size in &sizes {
            let cell = match (find(figures, name, *size), find(figures, OURS, *size)) {
                (Some(figure), Some(ours)) if name != OURS => {
                    let ratio = figure.decide_ns / ours.decide_ns;
                    format!("{} ({}x)", time(figure.decide_ns), rounded(ratio))
                }
                (Some(figure), _) => time(figure.decide_ns),
                (None, _) => "-".to_owned(),
            };
            write!(text, " {cell:>20} |")?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// The page with a block of it replaced: what stands between the two marks of this name.
pub fn keep(page: &str, name: &str, block: &str) -> Outcome<String> {
    let (start, end) = (format!("<!-- {name}: measured -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = page.split_once(&start).ok_or_else(|| format!("the page has no mark `{start}`"))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| format!("the page has no mark `{end}`"))?;
    Ok(format!("{before}{start}\n{block}\n{end}{after}"))
}

pub fn find<'f>(figures: &'f [Figure], name: &str, rules: usize) -> Option<&'f Figure> {
    figures.iter().find(|figure| figure.name == name && figure.rules == rules)
}

/// Each once, in the order of the first.
pub fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut known = Vec::new();
    for item in items {
        if !known.contains(&item) {
            known.push(item);
        }
    }
    known
}

pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|part| std::str::from_utf8(part).unwrap_or_default())
        .collect();
    parts.join(",")
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

/// Two digits that count are all that such a ratio has.
fn rounded(ratio: f64) -> String {
    if ratio < 10.0 {
        return format!("{ratio:.1}");
    }
    let magnitude = 10_f64.powf(ratio.log10().floor() - 1.0);
    format!("{:.0}", (ratio / magnitude).round() * magnitude)
}

/// The machine, as far as it tells.
fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{}, {cores} cores, {}", model.as_deref().unwrap_or("unknown processor"), std::env::consts::OS)
}
