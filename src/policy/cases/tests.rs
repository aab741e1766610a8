//! The format of cases and what comes of them, without scripts.

use super::*;
use crate::decision::PolicyVersion;
use crate::policy::compile::compile;
use crate::policy::declaration::*;
use crate::policy::{PolicySet, RoleBindings, Route, ScriptLimits, Source};

/// A condition with a fixed answer.
#[derive(Debug)]
struct Fixed(Result<bool, &'static str>);

impl Condition for Fixed {
    fn evaluate(&self, _: ConditionInput) -> Result<bool, String> {
        self.0.map_err(str::to_owned)
    }

    fn fingerprint(&self) -> &Fingerprint {
        static ALL: Fingerprint = Fingerprint {
            digest: [0; 32],
            asks_params: false,
            asked: AskedRoles::Nothing,
            asks_token: true,
            asks_more: true,
        };
        &ALL
    }
}

/// `p.rhai`: readers read `/a` by a permission, on line 1; `/open` is open, on line 2; `/broken` is denied
/// to readers by a condition that fails, on line 3.
fn policies() -> PolicySet {
    let at = |line| Location::new(&Arc::from("policies/p.rhai"), line, 1);
    let role = |name: &str| RoleName::parse(name).unwrap();
    let route = |text| vec![Route::parse(text).unwrap()];
    let mut declared = Declarations::default();
    let read: Arc<str> = "read".into();
    declared.permissions.push(PermissionDeclaration {
        name: Arc::clone(&read),
        routes: route("GET /a"),
        location: at(9),
    });
    declared.roles.push(RoleDeclaration { name: role("reader"), location: at(1) });
    declared.grants.push(Grant { role: role("reader"), permission: read, location: at(1) });
    for (line, subject, routes, condition) in [
        (2, Subject::Anyone, "GET /open", None),
        (3, Subject::Role(role("reader")), "GET /broken", Some(Fixed(Err("no such header")))),
    ] {
        declared.rules.push(RuleDeclaration {
            effect: Effect::Allow,
            subject,
            routes: route(routes),
            except: Vec::new(),
            condition: condition.map(|fixed| Arc::new(fixed) as Arc<dyn Condition>),
            location: at(line),
        });
    }
    compile(declared, &RoleBindings::default(), PolicyVersion(1)).unwrap()
}

fn read(yaml: &str) -> Result<CaseFile, PolicyErrors> {
    CaseFile::read("policies/p_test.yaml", yaml.as_bytes())
}

/// The messages of all problems, with line and column.
fn problems(yaml: &str) -> Vec<String> {
    let errors = read(yaml).unwrap_err();
    let problems = errors.problems().iter();
    let place = |location: &Location| format!("{}:{}", location.line, location.column);
    problems.map(|problem| format!("{} {}", place(&problem.location), problem.message)).collect()
}

/// One case, with a reader and nobody to be its principal.
fn case(lines: &str) -> String {
    let lines: Vec<&str> = lines.lines().map(str::trim).collect();
    format!("principals: {{ reader: [reader], nobody: none }}\ncases:\n  - {}\n", lines.join("\n    "))
}

fn outcome(lines: &str) -> Vec<Mismatch> {
    let file = read(&case(lines)).unwrap();
    run(&file, &policies()).results()[0].mismatches.clone()
}

#[test]
fn answers_are_compared_with_what_is_expected() {
    for (request, principal, answer) in [
        ("GET /a", "reader", "allow"),
        ("HEAD /a?x=1", "reader", "allow"),
        ("GET /%61", "reader", "allow"),
        ("GET http://localhost/a", "reader", "allow"),
        ("POST /a", "reader", "deny"),
        ("GET /a/", "reader", "deny"),
        ("GET /a", "nobody", "deny"),
        ("GET /open", "nobody", "allow"),
        ("OPTIONS *", "nobody", "deny"),
        ("GET /a//b", "reader", "malformed"),
        ("GET /a#b", "reader", "malformed"),
        ("GET http://elsewhere/a", "reader", "malformed"),
        ("GET *", "reader", "malformed"),
    ] {
        for expected in ["allow", "deny", "malformed"] {
            let lines = format!("request: \"{request}\"\nprincipal: {principal}\nexpect: {expected}");
            let mismatches = if expected == answer { vec![] } else { vec![Mismatch::Answer] };
            assert_eq!(outcome(&lines), mismatches, "{lines}");
        }
    }
}

#[test]
fn failing_case_is_told_without_what_a_terminal_would_obey() {
    let case = case(
        "name: \"a\\e[31m\\nb\"
        request: \"GET /a\\e[1m\"
        principal: reader
        expect: allow
        rule: \"p\\u202E.rhai:1\"",
    );
    let file = read(&case).unwrap();
    let report = run(&file, &policies());
    insta::assert_snapshot!(report.results()[0], @r"
    failed: a�[31m b
      --> policies/p_test.yaml:3:5
      request  GET /a�[1m as reader
      expected allow by p�.rhai:1
      got      malformed: the request target has a character that must be encoded
    ");
}

#[test]
fn rule_and_permission_are_compared_where_a_case_names_them() {
    let allow = "request: GET /a\nprincipal: reader\nexpect: allow\n";
    for (line, mismatches) in [
        ("rule: p.rhai:1", vec![]),
        ("rule: policies/p.rhai:1", vec![]),
        ("rule: p.rhai:2", vec![Mismatch::Rule]),
        ("rule: ai:1", vec![Mismatch::Rule]),
        ("rule: q.rhai:1", vec![Mismatch::Rule]),
        ("permission: read", vec![]),
        ("permission: write", vec![Mismatch::Permission]),
    ] {
        assert_eq!(outcome(&format!("{allow}{line}")), mismatches, "{line}");
    }
    let deny = "principal: reader\nexpect: deny\nrule:";
    assert_eq!(outcome(&format!("request: GET /b\n{deny} none")), []);
    assert_eq!(outcome(&format!("request: GET /b\n{deny} p.rhai:1")), [Mismatch::Rule]);
}

#[test]
fn broken_condition_fails_a_case_that_does_not_expect_it() {
    let broken = "request: GET /broken\nprincipal: reader\nexpect: deny\n";
    assert_eq!(outcome(broken), [Mismatch::Failure]);
    assert_eq!(outcome(&format!("{broken}failure: such header")), []);
    assert_eq!(outcome(&format!("{broken}failure: another reason")), [Mismatch::Failure]);
    let sound = "request: GET /b\nprincipal: reader\nexpect: deny\nfailure: such header";
    assert_eq!(outcome(sound), [Mismatch::Failure]);
}

#[test]
fn matrix_makes_a_case_of_every_row_and_principal() {
    let yaml = "
principals: { reader: [reader], nobody: none }
matrix:
  - principals: [nobody, reader]
    time: 2026-03-01T08:00:00Z
    rows:
      GET /a: [deny, allow]
      GET   /open: allow
";
    let file = read(yaml).unwrap();
    let titles: Vec<String> = file.cases().iter().map(Case::title).collect();
    assert_eq!(
        titles,
        ["GET /a as nobody", "GET /a as reader", "GET   /open as nobody", "GET   /open as reader"]
    );
    assert_eq!(file.cases()[1].location.to_string(), "policies/p_test.yaml:7:22");
    assert!(file.cases().iter().all(|case| case.time.to_string() == "2026-03-01T08:00:00.000Z"));
    assert!(run(&file, &policies()).is_success());
}

#[test]
fn principal_time_headers_and_address_reach_the_decision() {
    let yaml = "
policies: [a.rhai, sub/b.rhai]
principals:
  ci: { roles: [reader], name: ci-runner, id: 123456789012345, created: 2025-12-31T00:00:00Z }
cases:
  - principal: ci
    request: GET /a?q=1
    headers: { X-One: '1' }
    client_ip: 2001:db8::1
    time: 2026-03-01T08:00:00.5Z
    expect: allow
";
    let file = read(yaml).unwrap();
    assert_eq!(file.policies().iter().map(|name| &**name).collect::<Vec<_>>(), ["a.rhai", "sub/b.rhai"]);
    let case = &file.cases()[0];
    let principal = case.principal.principal.as_ref().unwrap();
    assert_eq!((principal.id.to_string().as_str(), &*principal.name), ("123456789012345", "ci-runner"));
    assert_eq!(principal.created.to_string(), "2025-12-31T00:00:00.000Z");
    assert_eq!(case.time.to_string(), "2026-03-01T08:00:00.500Z");
    let request = case.request.read.as_ref().unwrap();
    assert_eq!(request.header("x-one"), Ok(Some("1")));
    assert_eq!(request.query_parameter("q"), Ok(Some("1".to_owned())));
    assert_eq!(request.client_ip().unwrap().to_string(), "2001:db8::1");
    assert_eq!(DEFAULT_TIME.to_string(), "2026-01-01T00:00:00.000Z");
}

#[test]
fn policies_are_told_by_the_name_of_the_file_or_listed() {
    let yaml = case("request: GET /a\nprincipal: reader\nexpect: allow");
    assert_eq!(read(&yaml).unwrap().policies(), [Arc::from("p.rhai")]);
    for name in ["cases.yaml", "_test.yaml", "policies/"] {
        assert!(CaseFile::read(name, yaml.as_bytes()).is_err(), "{name}");
        assert!(CaseFile::read(name, format!("policies: [p.rhai]\n{yaml}").as_bytes()).is_ok(), "{name}");
    }
    for name in ["/etc/p.rhai", "../p.rhai", "./p.rhai", "a//p.rhai", "p.yaml", "a\\\\p.rhai", ""] {
        let listed = format!("policies: [\"{name}\"]\n{yaml}");
        assert_eq!(problems(&listed).len(), 1, "{name}");
    }
    assert_eq!(problems(&format!("policies: []\n{yaml}")), ["1:11 `policies` lists 1 to 100 files"]);
}

#[test]
fn file_without_cases_is_refused() {
    let expected = ["0:0 the file has no cases: write at least one, under `cases` or `matrix`"];
    for yaml in [
        "principals: { a: none }",
        "cases: []",
        "matrix: []",
        "principals: { a: none }\nmatrix: [{ principals: [a], rows: {} }]",
        "principals: { a: none }\nmatrix: [{ principals: [], rows: { GET /a: [] } }]",
        "policies: [p.rhai]",
    ] {
        assert_eq!(problems(yaml), expected, "{yaml}");
    }
    assert_eq!(problems(""), ["0:0 the file is empty"]);
    assert_eq!(problems("text"), ["1:1 a file of cases must be a map, and this is text"]);
}

#[test]
fn every_problem_is_told_with_its_place() {
    let yaml = "
principals:
  reader: [reader]
  bad: [ro le]
matrix:
  - principals: [reader, raeder]
    rows:
      GET /a: [allow, deny, deny]
      /b: allow
      GET /c: maybe
      GET /d: [deny, deny]
cases:
  - principal: reader
    expects: deny
  - { name: x, principal: reader, request: GET /a, expect: deny, permission: read }
  - { name: y, principal: reader, request: GET /a, expect: allow, rule: none }
  - { name: y, principal: reader, request: GET /a, expect: malformed, failure: x }
  - { name: z, principal: reader, request: GET /a, expect: allow, time: noon }
  - { name: z, principal: reader, request: GET /a, expect: allow, client_ip: here }
  - { principal: reader, request: GET /a, expect: allow, rule: p.rhai }
  - { principal: reader, request: GET /a, expect: allow, headers: { x-api-key: some-token-that-is-long } }
  - { principal: reader, request: GET /a, expect: allow, headers: { 'x y': z } }
  - { principal: reader, request: ~, expect: [allow] }
  - { principal: &who reader, request: GET /a, expect: allow }
";
    insta::assert_snapshot!(read(yaml).unwrap_err(), @r"
    error: anchors are not accepted; write the value where it is needed
      --> policies/p_test.yaml:24:18
        |
     24 |   - { principal: &who reader, request: GET /a, expect: allow }
        |                  ^
    ");
    let yaml = yaml.replace("&who ", "");
    insta::assert_snapshot!(problems(&yaml).join("\n"));
}

#[test]
fn names_of_cases_are_not_repeated() {
    let yaml = "
principals: { r: [reader] }
cases:
  - { name: x, principal: r, request: GET /a, expect: allow }
  - { name: x, principal: r, request: GET /b, expect: deny }
";
    assert_eq!(problems(yaml), ["5:5 a case at line 4 is named the same"]);
    assert!(
        read(&yaml.replace("x, principal: r, request: GET /b", "y, principal: r, request: GET /b")).is_ok()
    );
}

#[test]
fn as_many_cases_as_the_limit_are_read_and_one_more_is_not() {
    let mut yaml = String::from("principals: { n: none }\nmatrix:\n  - principals: [");
    yaml.push_str(&"n,".repeat(1000));
    yaml.push_str("]\n    rows:\n");
    (0..CASES_MAX / 1000).for_each(|row| yaml.push_str(&format!("      GET /{row}: deny\n")));
    assert_eq!(read(&yaml).unwrap().cases().len(), CASES_MAX);
    yaml.push_str("cases:\n  - { principal: n, request: GET /, expect: deny }");
    assert_eq!(problems(&yaml), ["106:5 a file has at most 100000 cases"]);
}

#[test]
fn limits_of_size_principals_and_roles_hold_at_the_limit_and_past_it() {
    let filled = |bytes: usize| {
        let mut yaml = case("request: GET /open\nprincipal: nobody\nexpect: allow");
        yaml.push('#');
        yaml.push_str(&"x".repeat(bytes - yaml.len()));
        yaml
    };
    assert!(read(&filled(CASES_MAX_BYTES)).is_ok());
    assert_eq!(problems(&filled(CASES_MAX_BYTES + 1)), ["0:0 the file is larger than 1048576 bytes"]);

    let principals = |count: usize| {
        let names: String = (0..count).map(|number| format!("  p{number}: none\n")).collect();
        format!("principals:\n{names}cases:\n  - {{ principal: p0, request: GET /open, expect: allow }}\n")
    };
    assert!(read(&principals(1000)).is_ok());
    assert!(problems(&principals(1001)).contains(&"2:3 a file has at most 1000 principals".to_owned()));

    let roles = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("r{number}")).collect();
        let names = names.join(", ");
        format!("principals: {{ p: [{names}] }}\ncases: [{{ principal: p, request: GET /, expect: deny }}]")
    };
    assert!(read(&roles(64)).is_ok());
    assert_eq!(problems(&roles(65)), ["1:18 a token holds at most 64 roles"]);
}

#[test]
fn role_that_no_policy_defines_is_a_problem_unless_it_is_meant() {
    let report = |principal: &str| {
        let yaml = format!(
            "principals: {{ p: {principal} }}\ncases: [{{ principal: p, request: GET /b, expect: deny }}]"
        );
        let file = read(&yaml).unwrap();
        let report = run(&file, &policies());
        (report.is_success(), report.failed(), report.to_string())
    };
    assert_eq!(report("[reader]"), (true, 0, "1 case: 1 passed, 0 failed".to_owned()));
    assert_eq!(report("{ unknown_roles: [raeder] }"), (true, 0, "1 case: 1 passed, 0 failed".to_owned()));
    let (success, failed, mistyped) = report("[raeder]");
    assert_eq!((success, failed), (false, 0));
    insta::assert_snapshot!(mistyped, @r"
    error: the principal `p` has the role `raeder`, which no policy defines
      --> policies/p_test.yaml:1:15
      = help: did you mean `reader`?

    1 case: 1 passed, 0 failed
    ");
    let (success, failed, known) = report("{ unknown_roles: [reader] }");
    assert_eq!((success, failed), (false, 0));
    insta::assert_snapshot!(known, @r"
    error: the principal `p` has the role `reader` as unknown
      --> policies/p_test.yaml:1:15
      = help: the policies define it: move it from `unknown_roles` to `roles`

    1 case: 1 passed, 0 failed
    ");
}

#[test]
fn report_shows_what_failed_and_counts_the_rest() {
    let yaml = "
principals: { reader: [reader], nobody: none }
matrix:
  - principals: [nobody, reader]
    rows:
      GET /a: [deny, deny]
      GET /open: [allow, allow]
cases:
  - { name: writing is allowed, principal: reader, request: PUT /a, expect: allow, permission: write }
  - { name: dots are read, principal: reader, request: GET /a/../open, expect: allow, rule: 'p.rhai:2' }
  - { name: broken, principal: reader, request: GET /broken, expect: deny }
  - { name: sound, principal: nobody, request: GET /b, expect: deny, rule: none }
";
    let file = read(yaml).unwrap();
    let report = run(&file, &policies());
    assert_eq!((report.passed(), report.failed(), report.is_success()), (4, 4, false));
    insta::assert_snapshot!(report);
    let passed = report.results().last().unwrap();
    insta::assert_snapshot!(passed, @r"
    passed: sound
      --> policies/p_test.yaml:12:5
      request  GET /b as nobody
      expected deny by no rule
      got      deny by no rule
    ");
}

/// Policies of a script, and a report on one case for them that fails.
fn explained(script: &str, most: usize) -> Report<'static> {
    let source = Source { name: "p.rhai".into(), text: script.to_owned() };
    let policies =
        PolicySet::load(std::slice::from_ref(&source), &RoleBindings::default(), &ScriptLimits::default());
    let policies = policies.unwrap();
    let yaml = "
principals: { reader: [reader] }
cases:
  - { name: dots, principal: reader, request: GET /a/../b, expect: deny }
  - { name: right, principal: reader, request: GET /c, expect: deny }
  - { name: wrong, principal: reader, request: GET /a, expect: allow }
  - { name: wrong as well, principal: reader, request: GET /b, expect: allow }
";
    let file: &'static CaseFile = Box::leak(Box::new(read(yaml).unwrap()));
    let mut report = run(file, &policies);
    report.explain(&policies, &[source], most);
    report
}

#[test]
fn failing_cases_are_explained_as_many_as_wanted() {
    let script = "role(\"reader\").allow(\"POST /a\");\ndeny(\"GET /b\");\n";
    let explained = |most| {
        let report = explained(script, most);
        report.results().iter().map(|result| result.explanation.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(explained(0), [false, false, false, false]);
    // The first that fails is malformed, which says it all.
    assert_eq!(explained(2), [false, false, true, false]);
    assert_eq!(explained(3), [false, false, true, true]);
    insta::assert_snapshot!(self::explained(script, 3));
}

#[test]
fn long_explanation_is_cut_below_its_case_and_kept_whole() {
    let mut script = String::from("role(\"reader\");\n");
    for number in 0..10 {
        script.push_str(&format!("deny(\"GET /a\");\nrole(\"r{number}\").allow(\"POST /a\");\n"));
    }
    let report = explained(&script, 3);
    let result = &report.results()[2];
    let lines = result.explanation.as_ref().unwrap().lines().count();
    assert!(lines > 40, "{lines}");
    let shown = result.to_string();
    let expected = format!("    and {} lines more", lines - 40);
    assert_eq!(shown.lines().count(), 5 + 1 + 40 + 1);
    assert_eq!(shown.lines().last(), Some(expected.as_str()));
}
