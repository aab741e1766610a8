//! Every example of the page on policies loads, decides as its table says, or is refused with its message.

use rolegate::policy::{self, Limits, PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::Request;
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId, TokenName};
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn page() -> Outcome<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/policies.md");
    Ok(String::from_utf8(fs::read(path)?)?)
}

/// The fenced blocks of the page: language, content, and the text up to the next block.
fn blocks(page: &str) -> Vec<(String, String, String)> {
    let mut parts = page.split("\n```").skip(1);
    let mut blocks = Vec::new();
    while let (Some(block), after) = (parts.next(), parts.next().unwrap_or_default()) {
        let (language, content) = block.split_once('\n').unwrap_or((block, ""));
        blocks.push((language.to_owned(), content.to_owned(), after.to_owned()));
    }
    blocks
}

fn load(text: &str) -> Result<PolicySet, policy::PolicyErrors> {
    let source = Source { name: Arc::from("policy.rhai"), text: text.to_owned() };
    PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())
}

/// The rows of the table that starts `text`, when it is one of decisions.
fn decisions(text: &str) -> Vec<Vec<&str>> {
    let table = text.trim_start().lines().take_while(|line| line.starts_with('|'));
    let mut rows = table.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    if rows.next().is_none_or(|head| head != ["Request", "Roles", "Decision"]) {
        return Vec::new();
    }
    rows.skip(1).collect()
}

fn decide(set: &PolicySet, request: &str, roles: &str) -> Outcome<bool> {
    let (method, target) = request.trim_matches('`').split_once(' ').ok_or("a request has two words")?;
    let headers = [("host".parse()?, "localhost".parse()?)].into_iter().collect();
    let request = Request::read(method.parse()?, &target.parse()?, http::Version::HTTP_11, headers, None)?;
    let named = roles.split(", ").filter(|role| !matches!(*role, "no token" | "none"));
    let roles_held: Vec<RoleName> = named.map(RoleName::parse).collect::<Result<_, _>>()?;
    let principal = Principal {
        id: TokenId::new(TokenId::MIN).ok_or("id")?.into(),
        name: TokenName::from("t"),
        roles: roles_held.into(),
        created: Timestamp::EPOCH,
    };
    let principal = (roles != "no token").then_some(&principal);
    Ok(set.decide(principal, &request, Timestamp::EPOCH).is_allow())
}

#[test]
fn every_example_loads_and_decides_as_its_table_says() -> Outcome<()> {
    let page = page()?;
    let (mut examples, mut rows) = (0, 0);
    for (language, content, after) in blocks(&page) {
        if language != "rhai" {
            continue;
        }
        let set = load(&content).map_err(|errors| format!("{content}\n{errors}"))?;
        for row in decisions(&after) {
            let [request, roles, expected] = row.as_slice() else {
                return Err("a row has three cells".into());
            };
            assert_eq!(
                decide(&set, request, roles)?,
                *expected == "allow",
                "{request} with {roles}: {content}"
            );
            rows += 1;
        }
        examples += 1;
    }
    assert!(examples >= 6 && rows >= 40, "{examples} examples and {rows} rows were found");
    Ok(())
}

#[cfg(feature = "config")]
#[test]
fn cases_of_the_page_pass_for_the_policy_before_them() -> Outcome<()> {
    use rolegate::policy::cases::coverage::Coverage;
    use rolegate::policy::cases::{CaseFile, run};
    let page = page()?;
    let blocks = blocks(&page);
    let pairs: Vec<_> = blocks.windows(2).filter(|pair| pair[1].0 == "yaml").collect();
    assert_eq!(pairs.len(), 1);
    for pair in pairs {
        let file = CaseFile::read("policy_test.yaml", pair[1].1.as_bytes())?;
        let policies = load(&pair[0].1)?;
        let report = run(&file, &policies);
        assert!(report.is_success() && report.passed() == 12, "{report}");
        let mistyped = pair[1].1.replacen("?kind=full", "?kind=ful", 1);
        let mistyped = CaseFile::read("policy_test.yaml", mistyped.as_bytes())?;
        let mut failing = run(&mistyped, &policies);
        failing.explain(&policies, &[], 1);
        let failed = failing.results().iter().find(|result| !result.is_passed());
        let told = format!("\n```text\n{}\n```\n", failed.ok_or("no case fails")?);
        assert!(page.contains(&told), "the page lacks{told}");
        let mut coverage = Coverage::default();
        coverage.add(&policies, &report);
        let gaps: String = coverage.gaps().iter().map(|gap| format!("{gap}\n")).collect();
        let told = format!("\n```text\n{gaps}coverage: {}\n```\n", coverage.counts());
        assert!(page.contains(&told), "the page lacks{told}");
    }
    Ok(())
}

#[test]
fn rust_of_the_page_stands_in_an_example() -> Outcome<()> {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let code = String::from_utf8(fs::read(examples.join("host_functions.rs"))?)?;
    let page = page()?;
    let rust: Vec<_> = blocks(&page).into_iter().filter(|(language, _, _)| language == "rust").collect();
    assert_eq!(rust.len(), 1);
    for (_, content, _) in rust {
        assert!(code.contains(&content), "no example has: {content}");
    }
    Ok(())
}

#[test]
fn refused_example_is_refused_with_its_message() -> Outcome<()> {
    let page = page()?;
    let blocks = blocks(&page);
    let pairs: Vec<_> = blocks.windows(2).filter(|pair| pair[0].0 == "rhai,refused").collect();
    assert_eq!(pairs.len(), 1);
    for pair in pairs {
        let errors = load(&pair[0].1).err().ok_or("it loads")?;
        assert_eq!(errors.to_string(), pair[1].1.trim_end());
    }
    Ok(())
}

#[test]
fn example_with_warnings_has_those_that_are_shown() -> Outcome<()> {
    let page = page()?;
    let blocks = blocks(&page);
    let pairs: Vec<_> = blocks.windows(2).filter(|pair| pair[0].0 == "rhai,warned").collect();
    assert_eq!(pairs.len(), 1);
    for pair in pairs {
        let source = Source { name: Arc::from("policy.rhai"), text: pair[0].1.clone() };
        let limits = ScriptLimits::default();
        let examined = PolicySet::examine(&[source], &RoleBindings::default(), None, &limits)?;
        let shown: Vec<_> = examined.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join("\n\n"), pair[1].1.trim_end());
    }
    Ok(())
}

#[test]
fn table_of_warnings_has_every_code_in_its_order() -> Outcome<()> {
    let page = page()?;
    let (_, table) = page.split_once("| Code | Told when |\n").ok_or("no table of warnings")?;
    let table = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let codes: Vec<&str> = table
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(','))
        .map(|code| code.trim().trim_matches('`'))
        .collect();
    let known: Vec<&str> = policy::warn::WarningCode::all().map(policy::warn::WarningCode::name).collect();
    assert_eq!(codes, known);
    Ok(())
}

#[cfg(feature = "config")]
#[test]
fn openapi_document_of_the_page_is_read() -> Outcome<()> {
    let page = page()?;
    let blocks = blocks(&page);
    let documents: Vec<_> = blocks.iter().filter(|block| block.0 == "yaml,openapi").collect();
    assert_eq!(documents.len(), 1);
    for document in documents {
        let read = policy::openapi::read("api.yaml", document.1.as_bytes(), None)?;
        assert_eq!((read.routes.len(), read.prefixes), (3, vec!["/api".to_owned()]));
    }
    Ok(())
}

#[test]
fn table_of_limits_tells_the_limits() -> Outcome<()> {
    let page = page()?;
    let written = |number: u64| {
        let digits = number.to_string();
        let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
        groups.collect::<Vec<_>>().join(",")
    };
    let (load, condition) = (Limits::LOAD, Limits::CONDITION);
    let size = |number: usize| u64::try_from(number).map(written);
    for row in [
        format!("included | {} | {} |", written(load.operations), written(condition.operations)),
        format!("| time | {} s | {} ms |", load.time.as_secs(), condition.time.as_millis()),
        format!("each other | {} | {} |", load.call_levels, condition.call_levels),
        format!("expressions | {} | {} in a function |", load.expression_depth, condition.expression_depth),
        format!("in bytes | {} | {} |", size(load.string_bytes)?, size(condition.string_bytes)?),
        format!("list | {} | {} |", size(load.list_items)?, size(condition.list_items)?),
        format!("map | {} | {} |", size(load.map_entries)?, size(condition.map_entries)?),
        format!("one function | {} | {} |", load.variables, condition.variables),
        format!("closures included | {} | |", size(load.functions)?),
        format!("signs | {} | {} |", size(load.tokens)?, size(condition.tokens)?),
        format!(
            "together | {}, {} | {}, {} |",
            load.print_lines,
            size(load.print_bytes)?,
            condition.print_lines,
            size(condition.print_bytes)?
        ),
        format!("in bytes | {} | |", size(Limits::SOURCE_MAX_BYTES)?),
        format!("files | {} | |", size(policy::SOURCES_MAX)?),
        format!("at most {} bytes, {} routes", size(policy::SOURCES_MAX_BYTES)?, size(policy::ROUTES_MAX)?),
        format!(
            "with {} segments and {} bytes",
            size(policy::SEGMENTS_ALL_MAX)?,
            size(policy::ROUTES_MAX_BYTES)?
        ),
        format!("and {} roles, inclusions, grants", size(policy::NAMES_MAX)?),
        format!("The {} s of loading are for all files together", load.time.as_secs()),
    ] {
        assert!(page.replace('\n', " ").contains(&row), "the page lacks `{row}`");
    }
    Ok(())
}
