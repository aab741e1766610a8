//! What came of a run, as JUnit XML: a test suite for each file of cases, as CI systems show them.

use super::super::Failure;
use super::suite::{FileOutcome, Outcome, Ran};
use crate::policy::Problem;
use crate::policy::cases::CaseResult;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::collections::HashMap;
use std::io;
use std::time::Duration;

type Xml = Writer<Vec<u8>>;

struct TestSuite {
    name: String,
    time: Duration,
    cases: Vec<TestCase>,
}

struct TestCase {
    name: String,
    /// The line of the file that the suite is named after; `None` for what is about a file as a whole.
    line: Option<u32>,
    time: Duration,
    trouble: Option<Trouble>,
}

/// Why a test case is not in order.
struct Trouble {
    /// `failure` for another answer than the expected one, `error` for none.
    element: &'static str,
    message: String,
    text: String,
}

/// The report. `coverage` is whether the cases exercise enough, or why not, when that was asked.
///
/// # Errors
/// When the XML cannot be written.
pub(super) fn xml(
    outcome: Result<&Outcome<'_>, &Failure>,
    coverage: Option<Result<(), &str>>,
) -> io::Result<Vec<u8>> {
    let mut suites: Vec<TestSuite> = match outcome {
        Ok(outcome) => outcome.files.iter().map(TestSuite::of_file).collect(),
        Err(failure) => {
            let trouble = Trouble::error("no case can be run", failure.to_string());
            vec![TestSuite::of_one("policy test", "cases are found", Some(trouble))]
        }
    };
    if let Some(coverage) = coverage {
        let trouble = coverage.err().map(|reason| Trouble::failure(reason.to_owned(), String::new()));
        suites.push(TestSuite::of_one("coverage", "the cases exercise enough of the policies", trouble));
    }
    let cases = suites.iter().flat_map(|suite| &suite.cases);
    let mut attributes = vec![("name", "rolegate policy test".to_owned())];
    attributes.extend(tally(cases, suites.iter().map(|suite| suite.time).sum()));
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites")
        .with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())))
        .write_inner_content(|xml| suites.iter().try_for_each(|suite| suite.write(xml)))?;
    let mut bytes = xml.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

impl TestSuite {
    fn of_one(name: &str, case: &str, trouble: Option<Trouble>) -> Self {
        let case = TestCase { name: case.to_owned(), line: None, time: Duration::ZERO, trouble };
        Self { name: name.to_owned(), time: Duration::ZERO, cases: vec![case] }
    }

    fn of_file(file: &FileOutcome<'_>) -> Self {
        let cases = match &file.ran {
            Ok(ran) => cases(ran),
            Err(failure) => {
                let trouble = Trouble::error("the cases cannot be run", failure.to_string());
                Self::of_one("", "cases and policies load", Some(trouble)).cases
            }
        };
        Self { name: xml_text(&file.path.to_string_lossy()), time: file.time, cases }
    }

    fn write(&self, xml: &mut Xml) -> io::Result<()> {
        let mut attributes = vec![("name", self.name.clone())];
        attributes.extend(tally(&self.cases, self.time));
        xml.create_element("testsuite")
            .with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())))
            .write_inner_content(|xml| self.cases.iter().try_for_each(|case| case.write(&self.name, xml)))?;
        Ok(())
    }
}

impl TestCase {
    fn of_result(result: &CaseResult<'_>, name: String, time: Duration) -> Self {
        let trouble = (!result.is_passed()).then(|| {
            let message = format!("expected {}, got {}", result.case.expected, result.got);
            Trouble::failure(message, result.to_string())
        });
        Self { name, line: Some(result.case.location.line), time, trouble }
    }

    fn of_problem(problem: &Problem) -> Self {
        let trouble = Trouble::error(&problem.message, problem.to_string());
        let line = Some(problem.location.line);
        Self { name: xml_text(&problem.message), line, time: Duration::ZERO, trouble: Some(trouble) }
    }

    fn write(&self, suite: &str, xml: &mut Xml) -> io::Result<()> {
        let (line, time) = (self.line.map(|line| line.to_string()), seconds(self.time));
        let mut attributes = vec![("name", self.name.as_str()), ("classname", suite)];
        if let Some(line) = &line {
            attributes.extend([("file", suite), ("line", line)]);
        }
        attributes.push(("time", &time));
        let element = xml.create_element("testcase").with_attributes(attributes);
        let Some(trouble) = &self.trouble else {
            element.write_empty()?;
            return Ok(());
        };
        element.write_inner_content(|xml| {
            let element = xml.create_element(trouble.element);
            let element = element.with_attribute(("message", trouble.message.as_str()));
            element.write_text_content(BytesText::new(&trouble.text))?;
            Ok(())
        })?;
        Ok(())
    }
}

impl Trouble {
    fn failure(message: String, text: String) -> Self {
        Self { element: "failure", message: xml_text(&message), text: xml_text(&text) }
    }

    fn error(message: &str, text: String) -> Self {
        Self { element: "error", message: xml_text(message), text: xml_text(&text) }
    }
}

/// The cases of a file under names of their own, for CI systems take two of one name for the same case.
fn cases(ran: &Ran<'_>) -> Vec<TestCase> {
    let results = ran.report.results();
    let mut turns: HashMap<String, u32> = HashMap::new();
    let cases = results.iter().zip(&ran.times).map(|(result, time)| {
        let title = xml_text(&result.case.title());
        let turn = turns.entry(title.clone()).or_default();
        *turn += 1;
        let name = if *turn == 1 { title } else { format!("{title} ({turn})") };
        TestCase::of_result(result, name, *time)
    });
    let problems = ran.report.problems().iter().map(TestCase::of_problem);
    cases.chain(problems).collect()
}

fn tally<'c>(cases: impl IntoIterator<Item = &'c TestCase>, time: Duration) -> [(&'static str, String); 5] {
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    for case in cases {
        tests += 1;
        match &case.trouble {
            Some(trouble) if trouble.element == "error" => errors += 1,
            Some(_) => failures += 1,
            None => {}
        }
    }
    [
        ("tests", tests.to_string()),
        ("failures", failures.to_string()),
        ("errors", errors.to_string()),
        ("skipped", "0".to_owned()),
        ("time", seconds(time)),
    ]
}

fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

/// The text without characters that XML cannot hold, not even escaped.
fn xml_text(text: &str) -> String {
    let is_held = |letter: char| match letter {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => letter >= ' ',
    };
    text.chars().map(|letter| if is_held(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect()
}
