//! The shipped policies answer what the cases beside them say, and the cases leave no route out.

use rolegate::policy::Route;
use rolegate::policy::cases::{Case, CaseFile};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Routes of StackState, each with the line of the list that it stands on.
const LISTS: [(&str, &str, usize); 2] =
    [("stackstate-5.0.9-routes.tsv", "/api", 42), ("stackstate-admin-routes.tsv", "/admin", 4)];

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
