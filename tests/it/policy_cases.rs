//! The shipped policies answer what the cases beside them say, and the cases leave no route out.

use rolegate::policy::cases::coverage::{Coverage, Percent};
use rolegate::policy::cases::{self, Case, CaseFile};
use rolegate::policy::{PolicySet, RoleBindings, Route, ScriptLimits, Source};
use rolegate::token::RoleName;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Permissions of the shipped policy that are rolegate's own, and in no table of StackState's.
const OWN_PERMISSIONS: [&str; 8] = [
    "evaluate-access",
    "export-tokens",
    "grant-any-role",
    "import-tokens",
    "look-up-tokens",
    "read-metrics",
    "read-shadow",
    "reload-policies",
];

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Routes of StackState, each with the line of the list that it stands on.
const LISTS: [(&str, &str, usize); 2] =
    [("stackstate-5.0.9-routes.tsv", "/api", 42), ("stackstate-admin-routes.tsv", "/admin", 4)];

#[test]
#[expect(clippy::print_stdout, reason = "how many cases ran is a figure that the tests report")]
fn shipped_policies_answer_their_cases_which_exercise_all_of_them() -> Outcome {
    let mut count = 0;
    for path in case_files()? {
        let file = read_cases(&path)?;
        let mut sources = Vec::new();
        for policy in file.policies() {
            sources.push(source(&path.with_file_name(&**policy))?);
        }
        let policies = PolicySet::load(&sources, &RoleBindings::default(), &ScriptLimits::default())?;
        let report = cases::run(&file, &policies);
        assert!(report.is_success(), "{report}");
        let mut coverage = Coverage::default();
        coverage.add(&policies, &report);
        let gaps: Vec<String> = coverage.gaps().iter().map(ToString::to_string).collect();
        assert_eq!(coverage.counts().percent(), Percent::ALL, "{}", gaps.join("\n"));
        println!("{}: {} cases passed, coverage {}", path.display(), report.passed(), coverage.counts());
        count += report.passed();
    }
    assert!(count > 600, "only {count} cases ran");
    Ok(())
}

#[test]
fn every_line_of_the_stackstate_policy_that_opens_a_route_is_held_by_a_case() -> Outcome {
    let file = read_cases(&folder().join("stackstate_test.yaml"))?;
    let text = stackstate()?.text;
    let lines: Vec<&str> = text.lines().collect();
    let (mut changed, mut unnoticed) = (0, Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let Some(without) = without_routes(line) else { continue };
        let mut broken = lines.clone();
        if let Some(line) = broken.get_mut(at) {
            *line = &without;
        }
        changed += 1;
        if cases::run(&file, &load(&broken.join("\n"))?).failed() == 0 {
            unnoticed.push(format!("{}: {line}", at + 1));
        }
    }
    let is_route = |line: &&&str| !line.starts_with("//") && line.contains(" /");
    assert_eq!(changed, lines.iter().filter(is_route).count(), "lines with a route");
    assert!(unnoticed.is_empty(), "no case fails without\n{}", unnoticed.join("\n"));
    Ok(())
}

#[test]
fn every_grant_too_many_or_too_few_is_noticed_where_it_opens_a_route() -> Outcome {
    let file = read_cases(&folder().join("stackstate_test.yaml"))?;
    let text = stackstate()?.text;
    let policies = load(&text)?;
    let roles = policies.roles().to_vec();
    let (mut changed, mut unnoticed) = (0, Vec::new());
    for permission in policies.permissions() {
        // One that stands for no route changes no decision: the table of permissions has it.
        if text.contains(&format!("permission(\"{permission}\", []);")) {
            continue;
        }
        for role in &roles {
            let holds = policies.holds_permission(std::slice::from_ref(role), permission) == Some(true);
            let other = if holds {
                without_grant(&text, role, permission).ok_or("a grant was not found")?
            } else {
                // Before the others, so that it decides where two permissions open a route.
                format!("role(\"{role}\").grants([\"{permission}\"]);\n{text}")
            };
            changed += 1;
            if cases::run(&file, &load(&other)?).failed() == 0 {
                unnoticed.push(format!("{permission} of {role}, held: {holds}"));
            }
        }
    }
    assert_eq!(changed, 4 * 29, "four roles by the permissions that have routes");
    assert!(unnoticed.is_empty(), "no case notices a change of\n{}", unnoticed.join("\n"));
    Ok(())
}

#[test]
fn tokens_in_the_hands_of_the_power_user_are_noticed() -> Outcome {
    let file = read_cases(&folder().join("stackstate_test.yaml"))?;
    let more = format!(
        "{}\nrole(\"stackstate-power-user\").grants([\"manage-service-tokens\"]);",
        stackstate()?.text
    );
    let policies = load(&more)?;
    let report = cases::run(&file, &policies);
    // Nine routes as the power user, HEAD of two of them, three more spellings, and the case by name.
    assert_eq!(report.failed(), 15, "{report}");
    Ok(())
}

#[test]
fn stackstate_roles_hold_the_permissions_of_the_documented_table() -> Outcome {
    let table = fs::read(root().join("tests/fixtures/stackstate-5.0-permissions.tsv"));
    let table = String::from_utf8(table?)?;
    let policies = load(&stackstate()?.text)?;
    let mut rows = table.lines().map(|line| line.split('\t'));
    let roles: Vec<RoleName> =
        rows.next().ok_or("no header")?.skip(1).map(RoleName::parse).collect::<Result<_, _>>()?;
    let mut counts = vec![0; roles.len()];
    let mut permissions = 0;
    for mut row in rows {
        let permission = row.next().ok_or("an empty row")?;
        permissions += 1;
        for ((role, held), count) in roles.iter().zip(row).zip(&mut counts) {
            let expected = held == "yes";
            let holds = policies.holds_permission(std::slice::from_ref(role), permission);
            assert_eq!(holds, Some(expected), "{role} and {permission}");
            *count += usize::from(expected);
        }
    }
    let own: Vec<&str> = policies.permissions().filter(|name| OWN_PERMISSIONS.contains(name)).collect();
    assert_eq!(
        (permissions, policies.permissions().len() - own.len(), own.len()),
        (35, 35, OWN_PERMISSIONS.len())
    );
    assert_eq!(counts, [34, 5, 30, 8], "admin, platform-admin, power-user, guest");
    assert_eq!(policies.roles().len(), 4);
    Ok(())
}

#[test]
fn stackstate_cases_ask_for_every_route_as_every_role() -> Outcome {
    let file = read_cases(&folder().join("stackstate_test.yaml"))?;
    let columns = ["nobody", "stranger", "guest", "power-user", "admin", "platform-admin"];
    let matrix: Vec<&Case> = file.cases().iter().filter(|case| case.name.is_none()).collect();
    let mut missing = Vec::new();
    for route in routes()? {
        for column in columns {
            let is_asked = |case: &&Case| *case.principal.name == *column && is_for(case, &route);
            if !matrix.iter().any(is_asked) {
                missing.push(format!("{route} as {column}"));
            }
        }
    }
    assert!(missing.is_empty(), "no case asks {}", missing.join(", "));
    Ok(())
}

#[test]
fn every_case_file_belongs_to_policies_beside_it() -> Outcome {
    let files = case_files()?;
    assert!(!files.is_empty());
    for path in files {
        for policy in read_cases(&path)?.policies() {
            assert!(path.with_file_name(&**policy).is_file(), "{} names {policy}", path.display());
        }
    }
    Ok(())
}

/// The line without the routes that it opens; `None` when it opens none.
fn without_routes(line: &str) -> Option<String> {
    let is_route = line.starts_with("    \"") && line.contains(" /");
    let is_rule = line.starts_with("open(") || line.starts_with("authenticated(");
    if is_route || is_rule {
        return Some(String::new());
    }
    let (start, routes) = line.split_once(", [\"")?;
    (start.starts_with("permission(") && routes.ends_with("]);")).then(|| format!("{start}, []);"))
}

/// The policy with one name taken out of the list that a role is granted.
fn without_grant(text: &str, role: &RoleName, permission: &str) -> Option<String> {
    let (before, list) = text.split_once(&format!("role(\"{role}\").grants(["))?;
    let (list, after) = list.split_once("]);")?;
    let shorter = list.replacen(&format!("\"{permission}\","), "", 1);
    (shorter != list).then(|| format!("{before}role(\"{role}\").grants([{shorter}]);{after}"))
}

fn load(stackstate: &str) -> Outcome<PolicySet> {
    let source = Source { name: "stackstate.rhai".into(), text: stackstate.to_owned() };
    Ok(PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?)
}

fn stackstate() -> Outcome<Source> {
    source(&folder().join("stackstate.rhai"))
}

fn source(path: &Path) -> Outcome<Source> {
    Ok(Source { name: path.to_string_lossy().into(), text: String::from_utf8(fs::read(path)?)? })
}

fn is_for(case: &Case, route: &Route) -> bool {
    let Ok(request) = &case.request.read else { return false };
    let is_method = route.methods.names().next() == Some(request.method().as_str());
    is_method && route.pattern.matches(request.path())
}

/// All routes of the lists, with the prefix under which they are served.
fn routes() -> Outcome<Vec<Route>> {
    let mut routes = Vec::new();
    for (list, prefix, count) in LISTS {
        let text = fs::read(root().join("tests/fixtures").join(list)).map(String::from_utf8)??;
        let before = routes.len();
        for line in text.lines().skip(1) {
            let mut columns = line.split('\t');
            let (Some(method), Some(path)) = (columns.next(), columns.next()) else {
                return Err(format!("{list}: `{line}` is no route").into());
            };
            routes.push(Route::parse(&format!("{method} {prefix}{path}"))?);
        }
        assert_eq!(routes.len() - before, count, "{list}");
    }
    Ok(routes)
}

fn read_cases(path: &Path) -> Outcome<CaseFile> {
    Ok(CaseFile::read(&path.to_string_lossy(), &fs::read(path)?)?)
}

/// All files of cases in the shipped policies' folder.
fn case_files() -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with("_test.yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn folder() -> PathBuf {
    root().join("policies")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
