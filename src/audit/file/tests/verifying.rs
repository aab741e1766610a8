//! What is found in a log that somebody changed.

use super::*;

/// The lines of a log of six entries.
fn lines() -> Vec<String> {
    let (_folder, path) = place();
    written(&path, 6);
    text(&path).lines().map(str::to_owned).collect()
}

/// What is wrong with these lines, as one text without the path.
fn findings(lines: &[&str], last: Option<&str>) -> String {
    let (_folder, path) = place();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let last = last.map(|last| last.parse().unwrap());
    let inspection = inspect(std::slice::from_ref(&path), last.as_ref(), |_, _| {}).unwrap();
    let text: Vec<String> = inspection.findings.iter().map(ToString::to_string).collect();
    text.join("\n").replace(&format!("{}:", path.display()), "")
}

#[test]
fn log_that_is_whole_has_nothing_wrong() {
    let lines = lines();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(findings(&lines, None), "");
    // What was moved away from the start is told by the first number.
    assert_eq!(findings(&lines[2..], None), "");
}

#[test]
fn changed_missing_and_reordered_lines_are_found_with_their_places() {
    let whole = lines();
    let l: Vec<&str> = whole.iter().map(String::as_str).collect();
    let renamed = l[1].replace("main", "evil");
    let other_link = l[2].replace("\"prev\":\"", "\"prev\":\"0");
    let renumbered = l[1].replace("\"seq\":2", "\"seq\":4");
    let first = l[0].replace("\"prev\":\"0", "\"prev\":\"1");
    let torn = l[3].get(..40).unwrap();
    let all = [
        ("changed", findings(&[l[0], &renamed, l[2], l[3]], None)),
        ("its link changed", findings(&[l[0], l[1], &other_link, l[3]], None)),
        ("its number changed", findings(&[l[0], &renumbered, l[2], l[3]], None)),
        ("first changed", findings(&[&first, l[1]], None)),
        ("one missing", findings(&[l[0], l[2], l[3]], None)),
        ("two missing", findings(&[l[0], l[3], l[4]], None)),
        ("swapped", findings(&[l[0], l[2], l[1], l[3], l[4]], None)),
        ("moved back", findings(&[l[0], l[2], l[3], l[4], l[1], l[5]], None)),
        ("repeated", findings(&[l[0], l[1], l[1], l[2]], None)),
        ("inserted", findings(&[l[0], "notes", l[1], l[2]], None)),
        ("torn line inserted", findings(&[l[0], torn, l[1], l[2]], None)),
        ("something else at the end", findings(&[l[0], "notes"], None)),
        ("replaced by something else", findings(&[l[0], "notes", l[2]], None)),
        ("two things", findings(&[l[0], &renamed, l[2], l[4], l[5]], None)),
    ];
    let text: String = all.iter().map(|(name, found)| format!("# {name}\n{found}\n")).collect();
    insta::assert_snapshot!("findings", text);
}

#[test]
fn first_entry_that_is_none_any_more_is_no_torn_line() {
    let whole = lines();
    let l: Vec<&str> = whole.iter().map(String::as_str).collect();
    let foreign = "1: inserted: this is no entry, and no beginning of one";
    for at in (8..l[0].len()).step_by(5) {
        assert_eq!(findings(&[l[0].get(..at).unwrap(), l[1], l[2]], None), foreign, "cut at {at}");
    }
    assert_eq!(findings(&[&l[0].replacen("\"prev\"", "'prev'", 1), l[1]], None), foreign);
    // The beginning of the second entry, from a crash whose first entry lies in a file that was moved away.
    assert_eq!(findings(&[l[1].get(..40).unwrap(), l[1], l[2]], None), "");
    assert_eq!(findings(&[l[1].get(..3).unwrap(), l[1], l[2]], None), "");
    // At the end as well, only the entry that had to come may have been cut short.
    assert_eq!(findings(&[l[0], l[1].get(..40).unwrap()], None), "");
    assert_eq!(findings(&[l[0], l[2].get(..40).unwrap()], None), foreign.replace('1', "2"));
}

#[test]
fn entry_that_must_be_there_tells_a_log_that_was_cut_off() {
    let whole = lines();
    let l: Vec<&str> = whole.iter().map(String::as_str).collect();
    let prev = |line: &str| line.split("\"prev\":\"").nth(1).unwrap().get(..64).unwrap().to_owned();
    let third = format!("3:{}", prev(l[3]));
    assert_eq!(findings(&l[..3], Some(&third)), "");
    assert_eq!(findings(&l, Some(&third)), "");
    assert_eq!(findings(&l, third.get(..18)), "");
    assert_eq!(
        findings(&l[..2], Some(&third)),
        " missing: entry 3 must be there, and the log ends with entry 2"
    );
    assert_eq!(findings(&l[3..], Some("3")), " missing: entry 3 must be there");
    // Nothing follows that would tell of a change of the last line.
    let renamed = l[2].replace("main", "evil");
    assert_eq!(findings(&[l[0], l[1], &renamed], None), "");
    let found = findings(&[l[0], l[1], &renamed], Some(&third));
    assert!(found.starts_with("3: changed: entry 3 must have another digest than "), "{found}");
}

#[test]
fn findings_past_the_limit_are_counted() {
    let whole = lines();
    let (_folder, path) = place();
    let check = |count: usize| {
        fs::write(&path, format!("{}\n", whole[0]).repeat(count + 1)).unwrap();
        let inspection = inspect(std::slice::from_ref(&path), None, |_, _| {}).unwrap();
        (inspection.findings.len(), inspection.more_findings)
    };
    assert_eq!(check(FINDINGS_MAX), (FINDINGS_MAX, 0));
    assert_eq!(check(FINDINGS_MAX + 3), (FINDINGS_MAX, 3));
}

#[test]
fn line_of_any_length_is_read_past() {
    let whole = lines();
    let long = "x".repeat(LINE_MAX_BYTES + 1);
    let longer = "x".repeat(3 * LINE_MAX_BYTES);
    for line in [long.as_str(), longer.as_str()] {
        assert_eq!(findings(&[line], None), "1: inserted: this is longer than any entry");
        assert!(findings(&[&whole[0], line, &whole[1]], None).contains("2: inserted"));
    }
    assert!(findings(&[&"x".repeat(LINE_MAX_BYTES)], None).contains("no beginning of one"));
}

#[test]
fn end_that_is_being_written_is_told_and_nothing_wrong() {
    let (_folder, path) = place();
    written(&path, 2);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 30]).unwrap();
    let inspection = inspect(std::slice::from_ref(&path), None, |_, _| {}).unwrap();
    assert!(inspection.is_whole() && inspection.files[0].is_cut);
    assert_eq!((inspection.entries, inspection.torn), (1, 1));
}

#[test]
fn older_logs_stay_whole() {
    // As the first version wrote it: without an outcome, and behind a torn line naming that line alone.
    let digest = |line: &str| {
        let mut tail = Tail::default();
        tail.extend(line.as_bytes());
        line::hex(&tail.digest())
    };
    let first = format!("{{\"seq\":1,\"prev\":\"{}\",\"event\":\"started\"}}", "0".repeat(64));
    let torn = "{\"seq\":2,\"pr";
    let second = format!("{{\"seq\":2,\"prev\":\"{}\",\"event\":\"started\"}}", digest(torn));
    assert_eq!(findings(&[&first, torn, &second], None), "");
    let changed = torn.replace("seq", "sep");
    assert_ne!(findings(&[&first, &changed, &second], None), "");
}

#[test]
fn earlier_parts_are_found_read_in_order_and_told() {
    let (folder, path) = place();
    let audit = FileAudit::open(&path).unwrap();
    for name in ["audit.log.2", "audit.log.1", "audit.log-20300131"] {
        audit.record(&started()).unwrap();
        fs::rename(&path, folder.path().join(name)).unwrap();
    }
    audit.record(&started()).unwrap();
    fs::write(folder.path().join("audit.log.3.gz"), "packed").unwrap();
    let inspection = inspect(std::slice::from_ref(&path), None, |_, _| {}).unwrap();
    let names: Vec<_> = inspection
        .files
        .iter()
        .map(|file| (file.path.file_name().unwrap().to_str().unwrap(), file.range.unwrap().0))
        .collect();
    assert_eq!(names, [("audit.log.2", 1), ("audit.log.1", 2), ("audit.log-20300131", 3), ("audit.log", 4)]);
    assert_eq!(inspection.packed, [folder.path().join("audit.log.3.gz")]);
    // Named twice, or by another name, a file is read once.
    let twice = [path.clone(), path.with_extension("log.1")];
    assert_eq!(inspect(&twice, None, |_, _| {}).unwrap().entries, 4);
    let error = verify(&folder.path().join("other")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the audit log"), "{error}");
}
