//! What is told of a store that was checked: for people, and for programs.

use super::super::policies;
use crate::store::embedded::{Findings, LostToken, Remedy};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// What to do about a store that no repair can mend.
pub(super) const UNREPAIRABLE: &str =
    "it cannot be repaired: restore it from a backup, or move it away to start with an empty one";

/// What was found in a store, and what was done about it.
pub(super) struct Told<'a> {
    pub(super) file: PathBuf,
    pub(super) findings: &'a Findings,
    /// What came of a repair.
    pub(super) outcome: Option<String>,
}

pub(super) fn text(told: &Told<'_>) -> String {
    let findings = told.findings;
    let mut text = String::new();
    let count = u64::try_from(findings.faults.len()).unwrap_or(u64::MAX) + findings.further_faults;
    let verdict = if findings.is_whole() { "whole".to_owned() } else { counted(count, "fault") };
    let _ = writeln!(text, "{}: {verdict}", told.file.display());
    if let Some(format) = findings.format {
        let tokens = counted(findings.tokens, "token");
        let spent = counted(findings.spent, "spent digest");
        let _ = writeln!(
            text,
            "  format {format}: {tokens}, {} of them with a known use, {spent}",
            findings.used
        );
    }
    for fault in &findings.faults {
        let _ = writeln!(text, "  {}: {}{}", fault.at, fault.what, remedy(fault.remedy, findings));
    }
    if findings.further_faults > 0 {
        let _ = writeln!(text, "  and {} more", findings.further_faults);
    }
    if findings.lost_tokens() > 0 {
        let _ = writeln!(text, "a repair loses {}:", counted(findings.lost_tokens(), "token"));
        findings.lost.iter().for_each(|lost| text.push_str(&line(lost)));
        if findings.further_lost > 0 {
            let _ = writeln!(text, "  and {} more, of which nothing is known", findings.further_lost);
        }
        text.push_str("bootstrap and declared tokens among them are created anew by the next start\n");
    } else if !findings.is_whole() && findings.can_be_repaired() {
        text.push_str("a repair loses no token\n");
    }
    if findings.spent_lost > 0 {
        let _ = writeln!(
            text,
            "WARNING: a repair forgets {}: take tokens that were deleted for good out of the configuration first",
            counted(findings.spent_lost, "spent digest")
        );
    }
    let advice = (!findings.can_be_repaired()).then_some(UNREPAIRABLE);
    if let Some(outcome) = told.outcome.as_deref().or(advice) {
        let _ = writeln!(text, "{outcome}");
    }
    text
}

pub(super) fn json(told: &Told<'_>) -> String {
    let findings = told.findings;
    let faults = findings.faults.iter().map(|fault| {
        let repair = match fault.remedy {
            _ if !findings.can_be_repaired() => "impossible",
            Remedy::Mended => "mends",
            Remedy::LeftOut => "leaves out",
            Remedy::None => "impossible",
        };
        json!({ "at": fault.at, "fault": fault.what, "repair": repair })
    });
    let lost = findings
        .lost
        .iter()
        .map(|lost| json!({ "id": lost.id.get(), "fingerprint": lost.fingerprint, "why": lost.why }));
    let value = json!({
        "file": told.file.to_string_lossy(),
        "whole": findings.is_whole(),
        "repairable": findings.can_be_repaired(),
        "format": findings.format,
        "tokens": findings.tokens,
        "used": findings.used,
        "spent": findings.spent,
        "faults": faults.collect::<Value>(),
        "furtherFaults": findings.further_faults,
        "lostTokens": lost.collect::<Value>(),
        "furtherLostTokens": findings.further_lost,
        "lostSpentDigests": findings.spent_lost,
        "outcome": told.outcome,
    });
    format!("{value:#}\n")
}

/// Why nothing can be told of a store.
pub(super) fn failure(messages: &[String]) -> String {
    format!("{:#}\n", json!({ "errors": messages }))
}

fn line(lost: &LostToken) -> String {
    let fingerprint = lost.fingerprint.as_deref().unwrap_or("unknown");
    format!("  {}, fingerprint {fingerprint}: {}\n", lost.id, lost.why)
}

/// What would come of a fault by a repair, which does nothing about any of them where it cannot mend one.
fn remedy(remedy: Remedy, findings: &Findings) -> &'static str {
    match remedy {
        Remedy::None => "; no repair can mend it",
        _ if !findings.can_be_repaired() => "",
        Remedy::Mended => "; a repair mends it",
        Remedy::LeftOut => "; a repair leaves it out",
    }
}

fn counted(count: u64, what: &str) -> String {
    policies::counted(usize::try_from(count).unwrap_or(usize::MAX), what)
}
