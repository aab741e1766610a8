//! `policy test` as its operator meets it: coverage and reports for CI systems.

use super::Run;
use roxmltree::{Document, Node};
use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

type Outcome = Result<(), Box<dyn Error>>;

/// Four things that cases can exercise: a rule and its two methods, and the rule of `night` three more.
const POLICY: &str = r#"role("reader").allow("GET,PUT /a");
role("night").allow("POST /backup").when(|request| request.query("kind") == "full");
"#;
const CASES: &str = "\
principals: { reader: [reader], night: [night] }
cases:
  - { principal: reader, request: GET /a, expect: allow }
  - { principal: night, request: POST /backup?kind=full, expect: allow }
  - { principal: night, request: POST /backup?kind=none, expect: deny }
";

fn run(arguments: &[&str]) -> Run {
    let arguments: Vec<&str> = ["policy", "test"].iter().chain(arguments).copied().collect();
    Run::new(&arguments)
}

fn covered(arguments: &[&str]) -> Run {
    run(arguments).file("p.rhai", POLICY).file("p_test.yaml", CASES)
}

#[test]
fn coverage_tells_what_the_cases_leave_out() {
    insta::assert_snapshot!(covered(&["p.rhai", "--coverage"]).whole(), @r"
    exit code 0
    -- stdout
    p_test.yaml: 3 cases: 3 passed, 0 failed
    p.rhai:1:16 allows `GET,PUT /a` to `reader`: no case asks for `PUT /a`
    coverage: 85.71 %: rules 2 of 2, routes 2 of 3, conditions 2 of 2
    -- stderr
    ");
    insta::assert_snapshot!(covered(&["p.rhai", "--coverage", "-o", "json"]).whole());
    let untold = covered(&["p.rhai"]).told();
    assert_eq!(untold.out, "p_test.yaml: 3 cases: 3 passed, 0 failed\n");
}

#[test]
fn less_coverage_than_asked_for_fails_and_exactly_that_much_does_not() {
    insta::assert_snapshot!(covered(&["p.rhai", "--min-coverage", "85.71"]).whole(), @r"
    exit code 0
    -- stdout
    p_test.yaml: 3 cases: 3 passed, 0 failed
    coverage: 85.71 %: rules 2 of 2, routes 2 of 3, conditions 2 of 2
    -- stderr
    ");
    insta::assert_snapshot!(covered(&["p.rhai", "--min-coverage", "85.72"]).whole(), @r"
    exit code 1
    -- stdout
    p_test.yaml: 3 cases: 3 passed, 0 failed
    p.rhai:1:16 allows `GET,PUT /a` to `reader`: no case asks for `PUT /a`
    coverage: 85.71 %: rules 2 of 2, routes 2 of 3, conditions 2 of 2
    -- stderr
    error: the cases exercise 85.71 % of the policies, less than the 85.72 % that are asked for (--min-coverage)
    ");
    let told = covered(&["p.rhai", "--min-coverage", "85.72", "-o", "json"]).told();
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("\"success\": false"), "{}", told.out);
    let whole = format!("{CASES}  - {{ principal: reader, request: PUT /a, expect: allow }}\n");
    let run = run(&["p.rhai", "--min-coverage", "100"]).file("p.rhai", POLICY).file("p_test.yaml", &whole);
    insta::assert_snapshot!(run.whole(), @r"
    exit code 0
    -- stdout
    p_test.yaml: 4 cases: 4 passed, 0 failed
    coverage: 100 %: rules 2 of 2, routes 3 of 3, conditions 2 of 2
    -- stderr
    ");
}

#[test]
fn coverage_alone_does_not_fail_and_failing_cases_fail_whatever_they_cover() {
    assert_eq!(covered(&["p.rhai", "--coverage"]).told().code, Some(0));
    let failing = CASES.replace("deny", "allow");
    let run = run(&["p.rhai", "--min-coverage", "50"]).file("p.rhai", POLICY).file("p_test.yaml", &failing);
    assert_eq!(run.told().code, Some(1));
}

#[test]
fn failing_cases_are_explained_unless_that_is_unwanted() {
    let failing = CASES.replace("deny", "allow");
    let run = |arguments: &[&str]| run(arguments).file("p.rhai", POLICY).file("p_test.yaml", &failing);
    insta::assert_snapshot!(run(&["p.rhai"]).whole());
    insta::assert_snapshot!(run(&["p.rhai", "-o", "json"]).whole());
    insta::assert_snapshot!(run(&["p.rhai", "--explain", "0"]).whole(), @r"
    exit code 1
    -- stdout
    p_test.yaml:
    failed: POST /backup?kind=none as night
      --> p_test.yaml:5:5
      expected allow
      got      deny by no rule

    3 cases: 2 passed, 1 failed
    -- stderr
    ");
}

#[test]
fn what_is_no_percentage_is_wrong_usage() {
    for text in ["100.01", "-1", "99,5", "all", "1.234", ""] {
        let told = covered(&["p.rhai", &format!("--min-coverage={text}")]).told();
        assert_eq!(told.code, Some(2), "{text}");
        assert!(told.err.contains("write a number from 0 to 100"), "{}", told.err);
    }
    assert_eq!(covered(&["p.rhai", "--min-coverage=0"]).told().code, Some(0));
}

/// A folder in which two files of cases share a policy, and a third policy has no cases.
fn shared(arguments: &[&str]) -> Run {
    let cases = |policies: &str, request: &str| {
        format!(
            "policies: {policies}\nprincipals: {{ n: none }}\ncases: [{{ principal: n, request: {request}, expect: allow }}]\n"
        )
    };
    run(arguments)
        .file("p/shared.rhai", "open(\"GET /s\");\nopen(\"GET /t\");\n")
        .file("p/one.rhai", "open(\"GET /one\");\n")
        .file("p/untested.rhai", "open(\"GET /u\");\n")
        .file("p/one_test.yaml", &cases("[one.rhai, shared.rhai]", "GET /s"))
        .file("p/two_test.yaml", &cases("[shared.rhai]", "GET /t"))
}

#[test]
fn files_count_once_for_all_cases_and_one_without_cases_is_told() {
    insta::assert_snapshot!(shared(&["p", "--coverage"]).whole(), @r"
    exit code 0
    -- stdout
    p/one_test.yaml: 1 case: 1 passed, 0 failed
    p/two_test.yaml: 1 case: 1 passed, 0 failed
    2 files: 2 cases: 2 passed, 0 failed
    p/one.rhai:1:1 allows `GET /one` to everyone: no case is about it
    p/untested.rhai: not counted, for no cases are for it
    p/one.rhai: 0 %: rules 0 of 1, routes 0 of 1
    p/shared.rhai: 100 %: rules 2 of 2, routes 2 of 2
    coverage: 66.66 %: rules 2 of 3, routes 2 of 3
    -- stderr
    ");
}

#[test]
fn policy_file_without_cases_is_enough_to_fail_where_coverage_is_asked_for() {
    let told = shared(&["p", "--min-coverage", "1"]).told();
    assert_eq!(told.code, Some(1));
    insta::assert_snapshot!(told.err, @"error: no cases are for `p/untested.rhai`, so that they are not covered (--min-coverage)");
    assert_eq!(shared(&["p", "--min-coverage", "0"]).told().code, Some(0));
    assert_eq!(shared(&["p/one_test.yaml", "p/two_test.yaml", "--min-coverage", "1"]).told().code, Some(0));
}

#[test]
fn policies_of_several_case_files_that_do_not_load_are_told_once() {
    let broken = |arguments: &[&str]| shared(arguments).file("p/shared.rhai", "opne(\"GET /s\");\n");
    insta::assert_snapshot!(broken(&["p/two_test.yaml", "p/more_test.yaml", "p/one_test.yaml"])
        .file("p/more_test.yaml", "policies: [shared.rhai]\nprincipals: { n: none }\ncases: [{ principal: n, request: GET /, expect: deny }]\n")
        .whole(), @r#"
    exit code 1
    -- stdout
    3 files: 0 cases: 0 passed, 0 failed
    -- stderr
    error: there is no function `opne`
      --> p/shared.rhai:1:1
       |
     1 | opne("GET /s");
       | ^^^^
      = help: did you mean `open`?
    error: `p/more_test.yaml`: its policies do not load, as told above
    error: there is no function `opne`
      --> p/shared.rhai:1:1
       |
     1 | opne("GET /s");
       | ^^^^
      = help: did you mean `open`?
    "#);
}

#[test]
fn coverage_is_not_enough_when_some_cases_did_not_run() {
    let broken = |arguments: &[&str]| covered(arguments).file("x_test.yaml", "cases: []");
    insta::assert_snapshot!(broken(&["p.rhai", "x_test.yaml", "--min-coverage", "1"]).whole(), @r"
    exit code 1
    -- stdout
    p_test.yaml: 3 cases: 3 passed, 0 failed
    2 files: 3 cases: 3 passed, 0 failed
    p.rhai:1:16 allows `GET,PUT /a` to `reader`: no case asks for `PUT /a`
    coverage, without the files that did not run: 85.71 %: rules 2 of 2, routes 2 of 3, conditions 2 of 2
    -- stderr
    error: the file has no cases: write at least one, under `cases` or `matrix`
      --> x_test.yaml
    error: not all cases ran, so that it is not known what they exercise (--min-coverage)
    ");
    assert_eq!(broken(&["x_test.yaml", "--coverage"]).told().out, "");
    assert_eq!(broken(&["p.rhai", "--min-coverage", "1"]).told().code, Some(0));
}

/// The report of a run, and its exit code.
fn report(run: Run) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let folder = run.folder.path().join("report.xml");
    let mut run = run;
    let output = run.command.output()?;
    Ok((output.status.code(), String::from_utf8(fs::read(folder)?)?))
}

fn children<'d>(node: Node<'d, 'd>, name: &'static str) -> Vec<Node<'d, 'd>> {
    node.children().filter(|child| child.has_tag_name(name)).collect()
}

#[test]
fn report_has_a_suite_for_each_file_and_a_case_for_each_case() -> Outcome {
    let failing = CASES.replace("deny", "allow");
    let arguments = ["p.rhai", "x_test.yaml", "--junit", "report.xml", "--min-coverage", "85.72"];
    let run = run(&arguments).file("p.rhai", POLICY).file("p_test.yaml", &failing);
    let (code, xml) = report(run.file("x_test.yaml", "cases: []"))?;
    assert_eq!(code, Some(1));
    // How long it took is another number each time.
    let mut masked = String::new();
    for (at, part) in xml.split(" time=\"").enumerate() {
        match part.split_once('"').filter(|_| at > 0) {
            Some((time, rest)) => {
                assert!(time.parse::<f64>()? >= 0.0, "{time}");
                masked.push_str(" time=\"…\"");
                masked.push_str(rest);
            }
            None => masked.push_str(part),
        }
    }
    insta::assert_snapshot!(masked);
    Document::parse(&xml)?;
    Ok(())
}

#[test]
fn report_holds_whatever_a_case_is_called() -> Outcome {
    let name = "a <b> & \\\"c\\\" 'd'\\n\\te ]]> \\u0001\\u0085\\uFFFE\\U0001F600";
    let cases = format!(
        "principals: {{ n: none }}\ncases:\n  - {{ name: \"{name}\", principal: n, request: GET /, expect: allow }}\n"
    );
    let run = run(&["p.rhai", "--junit", "report.xml"]).file("p.rhai", POLICY).file("p_test.yaml", &cases);
    let (code, xml) = report(run)?;
    assert_eq!(code, Some(1), "{xml}");
    let document = Document::parse(&xml)?;
    let suite = children(document.root_element(), "testsuite").remove(0);
    let case = children(suite, "testcase").remove(0);
    let held = "a <b> & \"c\" 'd'\n\te ]]> \u{fffd}\u{85}\u{fffd}\u{1f600}";
    assert_eq!(case.attribute("name"), Some(held));
    let failure = children(case, "failure").remove(0);
    assert!(failure.text().is_some_and(|text| text.contains("]]>")), "{xml}");
    Ok(())
}

#[test]
fn cases_of_one_title_have_names_of_their_own() -> Outcome {
    let case = "  - { principal: night, request: GET /a, expect: deny }\n";
    let cases = format!("{CASES}{case}{case}");
    let run = run(&["p.rhai", "--junit", "report.xml"]).file("p.rhai", POLICY).file("p_test.yaml", &cases);
    let (code, xml) = report(run)?;
    assert_eq!(code, Some(0));
    let document = Document::parse(&xml)?;
    let suite = children(document.root_element(), "testsuite").remove(0);
    let names = children(suite, "testcase").into_iter().filter_map(|case| case.attribute("name"));
    let names: Vec<&str> = names.skip(3).collect();
    assert_eq!(names, ["GET /a as night", "GET /a as night (2)"]);
    Ok(())
}

#[test]
fn report_is_written_also_when_nothing_runs() -> Outcome {
    let run = run(&["none.rhai", "--junit", "report.xml"]).file("report.xml", "an earlier report");
    let (code, xml) = report(run)?;
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(xml, @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="rolegate policy test" tests="1" failures="0" errors="1" skipped="0" time="0.000000">
      <testsuite name="policy test" tests="1" failures="0" errors="1" skipped="0" time="0.000000">
        <testcase name="cases are found" classname="policy test" time="0.000000">
          <error message="no case can be run">cannot read `none.rhai`: No such file or directory (os error 2) (argument PATH)</error>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
    Document::parse(&xml)?;
    Ok(())
}

#[test]
fn report_that_cannot_be_written_fails_what_passes() {
    insta::assert_snapshot!(covered(&["p.rhai", "--junit", "none/report.xml"]).whole(), @r"
    exit code 1
    -- stdout
    p_test.yaml: 3 cases: 3 passed, 0 failed
    -- stderr
    error: cannot write `none/report.xml`: No such file or directory (os error 2) (--junit)
    ");
    assert_eq!(covered(&["p.rhai", "--junit", "report.xml"]).told().code, Some(0));
}

/// A run that goes on, and what it prints.
struct Watching {
    child: Child,
    /// `None` when nobody reads it.
    out: Option<BufReader<ChildStdout>>,
    folder: tempfile::TempDir,
}

impl Watching {
    fn start(run: Run) -> Result<Self, Box<dyn Error>> {
        let Run { folder, mut command } = run;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = child.stdout.take().map(BufReader::new);
        Ok(Self { child, out, folder })
    }

    /// What is printed up to the line that has this text.
    fn printed_up_to(&mut self, text: &str) -> Result<String, Box<dyn Error>> {
        let mut printed = String::new();
        loop {
            let before = printed.len();
            let out = self.out.as_mut().ok_or("nobody reads")?;
            if out.read_line(&mut printed)? == 0 {
                return Err(format!("it ended without `{text}`: {printed}").into());
            }
            if printed.get(before..).is_some_and(|line| line.contains(text)) {
                return Ok(printed);
            }
        }
    }

    /// Writes a file beside, and then in its place: nobody reads it while it is empty.
    fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        let beside = self.folder.path().join("beside");
        fs::write(&beside, text)?;
        fs::rename(beside, self.folder.path().join(name))
    }

    fn signal(&self, name: &str) -> Outcome {
        let script = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &script]).status()?;
        status.success().then_some(()).ok_or_else(|| "no such process".into())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watching_runs_again_on_every_change_until_it_is_told_to_stop() -> Outcome {
    for signal in ["INT", "TERM"] {
        let mut watching = Watching::start(covered(&["p.rhai", "--watch"]))?;
        let first = watching.printed_up_to("passed")?;
        let (separator, rest) = first.split_once('\n').ok_or("one line")?;
        assert!(separator.starts_with("---- 20") && separator.ends_with('Z'), "{separator}");
        assert_eq!(rest, "p_test.yaml: 3 cases: 3 passed, 0 failed\n");
        watching.write("p.rhai", &POLICY.replace("full", "half"))?;
        let second = watching.printed_up_to("cases:")?;
        assert!(second.contains("3 cases: 2 passed, 1 failed"), "{second}");
        watching.write("p.rhai", "role(\"reader\"")?;
        watching.printed_up_to("----")?;
        watching.write("p.rhai", POLICY)?;
        watching.printed_up_to("3 passed, 0 failed")?;
        watching.write("p_test.yaml", &CASES.replace("deny", "allow"))?;
        watching.printed_up_to("2 passed, 1 failed")?;
        watching.signal(signal)?;
        assert_eq!(watching.child.wait()?.code(), Some(0));
    }
    Ok(())
}

#[test]
fn watching_waits_for_cases_and_follows_the_policies_that_they_name() -> Outcome {
    let mut watching =
        Watching::start(run(&["p.rhai", "--watch"]).file("p.rhai", POLICY).file("q/r.rhai", ""))?;
    watching.printed_up_to("----")?;
    let cases = "principals: { n: none }\ncases: [{ principal: n, request: GET /, expect: allow }]\n";
    watching.write("p_test.yaml", &format!("policies: [q/r.rhai]\n{cases}"))?;
    watching.printed_up_to("----")?;
    watching.write("q/r.rhai", "open(\"GET /\");")?;
    watching.printed_up_to("1 passed, 0 failed")?;
    Ok(())
}

#[test]
fn watching_as_json_prints_one_value_for_each_run() -> Outcome {
    let mut watching = Watching::start(covered(&["p.rhai", "--watch", "-o", "json"]))?;
    let first = [watching.printed_up_to("\"success\"")?, watching.printed_up_to("}")?].concat();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&first)?["passed"], 3);
    watching.write("p.rhai", &format!("{POLICY}// changed\n"))?;
    let second = [watching.printed_up_to("\"success\"")?, watching.printed_up_to("}")?].concat();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&second)?["passed"], 3);
    Ok(())
}

#[test]
fn watching_ends_when_nobody_reads() -> Outcome {
    let mut watching = Watching::start(covered(&["p.rhai", "--watch"]))?;
    watching.printed_up_to("passed")?;
    watching.out = None;
    watching.write("p.rhai", &POLICY.replace("full", "half"))?;
    assert_eq!(watching.child.wait()?.code(), Some(0));
    Ok(())
}
