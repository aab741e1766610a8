//! `policy routes`: who may call what, as text, as JSON, and as a page in a real browser.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Output};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const POLICY: &str = r#"permission("see", ["GET /api/views", "GET /api/views/{view}"]);
role("guest").grants(["see"]);
role("admin")
    .includes("guest")
    .allow("GET,PUT,DELETE /api/settings/{key}")
    .allow("POST /api/packs/{name}").when(|request| request.param("name") != "core");
authenticated("GET /api/info");
open("GET /health");
deny("ANY /api/internal/**");
"#;

/// A folder with the policy, and what the command prints about it.
fn routes(policy: &str, arguments: &[&str]) -> Outcome<(tempfile::TempDir, Output)> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("p.rhai"), policy)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    command.args(["policy", "routes", "p.rhai"]).args(arguments).current_dir(folder.path()).env_clear();
    let output = command.output()?;
    Ok((folder, output))
}

fn printed(policy: &str, arguments: &[&str]) -> Outcome<String> {
    let (_folder, output) = routes(policy, arguments)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn text_has_a_sign_for_every_subject_and_route() -> Outcome {
    insta::assert_snapshot!(printed(POLICY, &[])?);
    Ok(())
}

#[test]
fn roles_and_a_part_of_the_routes_can_be_chosen() -> Outcome {
    insta::assert_snapshot!(printed(POLICY, &["--role", "guest", "--under", "/api/views"])?, @r"
    A  without a token
    B  any token
    C  guest

    + allowed   ? conditions decide   x denied by a rule   o open to everyone   . nothing allows it

                            A B C
    /api/views         GET  . . +
    /api/views/{view}  GET  . . +

    1 permission, 2 roles, 6 rules, version a8ccf74597736b86
    ");
    Ok(())
}

#[test]
fn json_names_the_rules_behind_each_cell() -> Outcome {
    let told: serde_json::Value =
        serde_json::from_str(&printed(POLICY, &["-o", "json", "--under", "/api/packs"])?)?;
    insta::assert_json_snapshot!(told);
    Ok(())
}

#[test]
fn role_that_no_policy_knows_is_refused_with_the_nearest_one() -> Outcome {
    let (_folder, output) = routes(POLICY, &["--role", "gest"])?;
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stderr)?, @"error: no policy defines the role `gest`; did you mean `guest`?");
    let (_folder, output) = routes(POLICY, &["--role", "gest", "-o", "json"])?;
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(told["errors"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn page_brings_everything_with_it_and_takes_no_name_for_markup() -> Outcome {
    let policy = r#"role("a").allow("GET /a&b'c/{x}"); // </script><script>alert(1)</script>"#;
    let (_folder, output) = routes(policy, &["-o", "html"])?;
    let page = String::from_utf8(output.stdout)?;
    assert!(page.starts_with("<!doctype html>"), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(page.contains("default-src 'none'"));
    for foreign in ["http:", "https:", "//", "@import", "url(", " src=", "<link"] {
        // Two slashes begin a comment of the script as well.
        let is_there =
            page.lines().any(|line| line.contains(foreign) && !line.trim_start().starts_with("//"));
        assert!(!is_there || foreign == "//", "{foreign}");
    }
    assert!(!page.contains("<script>alert") && page.contains("\\u003cscript>alert"), "{page}");
    assert!(page.contains("GET /a&amp;b&#39;c/{x}"), "{page}");
    Ok(())
}

/// The page as a browser has it after its script ran.
fn in_browser(page: &Path, fragment: &str) -> Outcome<String> {
    let profile = tempfile::tempdir()?;
    let mut browser = Command::new("chromium");
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--dump-dom")
        .arg(format!("file://{}#{fragment}", page.display()));
    let output = browser.output().map_err(|error| format!("chromium: {error}; `./check` installs it"))?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn page_shows_in_a_browser_what_its_address_asks_for() -> Outcome {
    let (folder, output) = routes(POLICY, &["-o", "html"])?;
    let page = folder.path().join("routes.html");
    std::fs::write(&page, &output.stdout)?;
    let shown = |dom: &str| -> Vec<String> {
        let rows = dom.split("<tr ").filter_map(|row| row.split("</tr>").next());
        let rows = rows.filter(|row| row.contains("data-route") && !row.contains("hidden"));
        let routes = rows.filter_map(|row| row.split("data-route=\"").nth(1)?.split('"').next());
        routes.map(str::to_owned).collect()
    };
    let all = shown(&in_browser(&page, "")?);
    assert_eq!(all.len(), 7, "{all:?}");
    let some = shown(&in_browser(&page, "views%20get")?);
    assert_eq!(some, ["GET /api/views", "GET /api/views/{view}"]);
    Ok(())
}

/// What is done to the page, and what it then says of itself.
const USE_OF_THE_PAGE: &str = r#"<script>
const notes = [];
const note = (what, value) => notes.push(`${what}: ${value}`);
const cell = (route) => rows.find((row) => row.dataset.route === route).lastElementChild;
note("filter", filter.value);
note("first", document.querySelectorAll("td[tabindex='0']").length);
filter.value = "other";
filter.dispatchEvent(new Event("input"));
note("reached while filtered", document.querySelector("td[tabindex='0']").parentElement.dataset.route);
filter.value = "";
filter.dispatchEvent(new Event("input"));
// A page without a window is not always the one that has the focus, so that it is told of focus here.
const tellOfFocus = (kind) => cell("GET /many").dispatchEvent(new FocusEvent(kind, { bubbles: true }));
tellOfFocus("focusin");
note("rules told", told.querySelectorAll("i").length);
note("rest", told.lastChild.textContent);
note("is within the window", told.getBoundingClientRect().bottom <= innerHeight);
const wide = told.getBoundingClientRect().width;
told.style.left = `${innerWidth - 60}px`;
tell(cell("GET /many"));
note("is as wide near the edge", told.getBoundingClientRect().width === wide);
tellOfFocus("focusout");
note("is hidden", told.hidden);
document.body.dataset.notes = notes.join("; ");
</script>"#;

#[test]
fn page_is_used_by_keyboard_and_tells_rules_where_they_can_be_read() -> Outcome {
    let line = "role(\"a\").allow(\"GET /many\"); // one of very many rules that say the same thing again\n";
    let policy = format!("{}role(\"a\").allow(\"GET /other\");", line.repeat(30));
    let (folder, output) = routes(&policy, &["-o", "html", "--role", "a"])?;
    let page = folder.path().join("routes.html");
    let html = String::from_utf8(output.stdout)?.replace("</body>", &format!("{USE_OF_THE_PAGE}</body>"));
    std::fs::write(&page, html)?;
    let dom = in_browser(&page, "50%")?;
    let notes = dom.split("data-notes=\"").nth(1).and_then(|rest| rest.split('"').next());
    insta::assert_snapshot!(notes.unwrap_or(&dom).replace("; ", "\n"), @r"
    filter: 50%
    first: 1
    reached while filtered: GET /other
    rules told: 8
    rest: and 22 more rules
    is within the window: true
    is as wide near the edge: true
    is hidden: true
    ");
    Ok(())
}

#[test]
fn table_of_the_documentation_is_the_one_of_the_shipped_policy() -> Outcome {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rolegate = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    rolegate.args(["policy", "routes", "policies", "--under", "/api/security"]).current_dir(root);
    let output = rolegate.output()?;
    let table = String::from_utf8(output.stdout)?;
    let page = String::from_utf8(std::fs::read(root.join("docs/policies.md"))?)?;
    assert!(page.contains(table.trim_end()), "docs/policies.md shows another table than\n{table}");
    Ok(())
}
