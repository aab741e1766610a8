//! What is said about wrong policies, word by word; each case has a twin that loads.

use crate::policies::load;
use rolegate::policy::{PolicyErrors, PolicySet, RoleBindings, ScriptLimits, Source};
use std::fmt::Write as _;
use std::sync::Arc;

/// A wrong script, and the same without the fault.
type Case = (&'static str, &'static str);

/// All messages of a group of cases, below the scripts that they are about.
fn report(cases: &[Case]) -> Result<String, std::fmt::Error> {
    let mut report = String::new();
    for (wrong, right) in cases {
        let message = load(wrong).map_or_else(|errors| errors.to_string(), |_| "IT LOADS".to_owned());
        writeln!(report, "{wrong}\n----\n{message}\n")?;
        if let Err(errors) = load(right) {
            writeln!(report, "THE TWIN DOES NOT LOAD: {right}\n{errors}\n")?;
        }
    }
    Ok(report)
}

#[test]
fn wrong_routes_are_shown_where_they_are_written() -> std::fmt::Result {
    let report = report(&[
        (r#"open("GET health");"#, r#"open("GET /health");"#),
        (
            "role(\"ci\").allow([\n    \"GET /a\",\n    \"GET /a/**/b\",\n]);",
            "role(\"ci\").allow([\n    \"GET /a\",\n    \"GET /a/*/b\",\n]);",
        ),
        ("let bad = \"FETCH /a\";\nopen(bad);", "let good = \"GET /a\";\nopen(good);"),
        (
            "for name in [\"a\", \"b\"] {\n    open(\"GET \" + name);\n}",
            "for name in [\"a\", \"b\"] {\n    open(\"GET /\" + name);\n}",
        ),
        (r#"open("GET /a").except("GET /a;b");"#, r#"open("GET /a").except("GET /a");"#),
        (r#"open(["GET /a", 5]);"#, r#"open(["GET /a", "GET /5"]);"#),
        (r#"open([]);"#, r#"open(["GET /"]);"#),
        (r#"role("ci").allow([]);"#, r#"role("ci").allow("ANY /**");"#),
        (r#"permission("p", "GET p");"#, r#"permission("p", "GET /p"); role("r").grants("p");"#),
    ])?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn wrong_names_come_with_the_nearest_right_one() -> std::fmt::Result {
    let report = report(&[
        (r#"role("ci").alow("GET /a").allow("GET b");"#, r#"role("ci").allow("GET /a").allow("GET /b");"#),
        (r#"deny("GET /a").whenever(|r| true);"#, r#"deny("GET /a").unless(|r| true);"#),
        (r#"opn("GET /a");"#, r#"open("GET /a");"#),
        ("open(\"GET /a\");\nlet a = 1;\nopen(aa);", "open(\"GET /a\");\nlet a = \"GET /a\";\nopen(a);"),
        (
            "fn my_route(name) { \"GET /\" + name }\nopen(my_route());",
            "fn my_route(name) { \"GET /\" + name }\nopen(my_route(\"a\"));",
        ),
        (r#"open("GET /".replace("/"));"#, r#"open("GET /".to_upper());"#),
        (r#"open;"#, r#"open("GET /a");"#),
        (
            "permission(\"read-settings\", \"GET /s\");\nrole(\"a\").grants([\n    \"read-setings\",\n]);",
            "permission(\"read-settings\", \"GET /s\");\nrole(\"a\").grants([\n    \"read-settings\",\n]);",
        ),
        (
            "role(\"guest\").allow(\"GET /s\");\nrole(\"a\").includes([\"guset\"]);",
            "role(\"guest\").allow(\"GET /s\");\nrole(\"a\").includes([\"guest\"]);",
        ),
        (
            "role(\"ci\").allow(\"GET /\");\ndeny(\"GET /\").unless(|r| r.has_role(\"c1\"));",
            "role(\"ci\").allow(\"GET /\");\ndeny(\"GET /\").unless(|r| r.has_role(\"ci\"));",
        ),
        (r#"role("a b").allow("GET /");"#, r#"role("a-b").allow("GET /");"#),
        (r#"permission("a b", "GET /");"#, r#"permission("a-b", "GET /"); role("r").grants("a-b");"#),
        (
            "permission(\"p\", \"GET /a\");\npermission(\"p\", \"GET /b\");\nrole(\"r\").grants(\"p\");",
            "permission(\"p\", \"GET /a\");\npermission(\"q\", \"GET /b\");\nrole(\"r\").grants([\"p\", \"q\"]);",
        ),
        (
            "role(\"a\").includes(\"b\").allow(\"GET /\");\nrole(\"b\").includes(role(\"a\"));",
            "role(\"a\").includes(\"b\").allow(\"GET /\");\nrole(\"b\").allow(\"GET /b\");",
        ),
    ])?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn rules_are_put_together_in_one_way() -> std::fmt::Result {
    let report = report(&[
        (r#"open("GET /").unless(|r| true);"#, r#"open("GET /").when(|r| true);"#),
        (r#"deny("GET /").when(|r| true);"#, r#"deny("GET /").unless(|r| true);"#),
        (r#"role("a").unless(|r| true);"#, r#"role("a").allow("GET /").when(|r| true);"#),
        (r#"role("a").except("GET /");"#, r#"role("a").allow("ANY /").except("GET /");"#),
        (
            r#"permission("p", "GET /"); role("a").allow("GET /a").grants("p").when(|r| true);"#,
            r#"permission("p", "GET /"); role("a").grants("p").allow("GET /a").when(|r| true);"#,
        ),
        (r#"open("GET /").when(|r| true).when(|r| false);"#, r#"open("GET /").when(|r| true && false);"#),
        (r#"role("a").allow("GET /", "GET /b");"#, r#"role("a").allow(["GET /", "GET /b"]);"#),
        (r#"permission("a");"#, r#"permission("a", "GET /"); role("r").grants("a");"#),
        (r#"role();"#, r#"role("a").allow("GET /");"#),
        (r#"role(5).allow("GET /");"#, r#"role("5").allow("GET /");"#),
        (r#"role("a").grants(5);"#, r#"permission("5", "GET /"); role("a").grants("5");"#),
        (r#"role("a").includes(true);"#, r#"role("a").allow("GET /"); role("b").includes(role("a"));"#),
        ("let a = 1;", "let a = 1; open(\"GET /\");"),
        ("// Nothing yet.", "// Nothing yet.\nopen(\"GET /\");"),
    ])?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn conditions_are_looked_at_when_they_are_loaded() -> std::fmt::Result {
    let report = report(&[
        (r#"open("GET /").when(true);"#, r#"open("GET /").when(|r| true);"#),
        (r#"open("GET /").when(|| true);"#, r#"open("GET /").when(|request| true);"#),
        (r#"open("GET /").when(|a, b| true);"#, r#"open("GET /").when(|a| true);"#),
        (
            "fn is_core(request, name) { true }\nopen(\"GET /\").when(is_core);",
            "fn is_core(request) { true }\nopen(\"GET /\").when(is_core);",
        ),
        (
            r#"open("GET /").when(Fn("is_cor"));"#,
            r#"fn is_cor(r) { true } open("GET /").when(Fn("is_cor"));"#,
        ),
        (
            r#"open("GET /{id}").when(|r| r.param("ID") == "1");"#,
            r#"open("GET /{id}").when(|r| r.param("id") == "1");"#,
        ),
        (
            r#"open("GET /").when(|r| r.param("id") == "1");"#,
            r#"open("GET /").when(|r| r.query("id") == "1");"#,
        ),
        (r#"open("GET /").when(|r| r.paht == "/");"#, r#"open("GET /").when(|r| r.path == "/");"#),
        (
            "let n = 0;\nopen(\"GET /\").when(|r| { n += 1; n < 5 });",
            "let n = 0;\nopen(\"GET /\").when(|r| { let m = n + 1; m < 5 });",
        ),
        (
            "let admins = role(\"a\");\nopen(\"GET /\").when(|r| r.has_role(admins));",
            "role(\"a\").allow(\"GET /a\");\nlet admins = \"a\";\nopen(\"GET /\").when(|r| r.has_role(admins));",
        ),
    ])?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn scripts_are_refused_that_people_and_rhai_read_differently() -> std::fmt::Result {
    let report = report(&[
        ("open(\"GET /\");\n/* deny(\"GET /\");\n", "open(\"GET /\");\n/* deny(\"GET /\"); */\n"),
        ("open(\"GET /\u{202e}a\");", "open(\"GET /a\");"),
        ("open(\"GET /\"); //\u{200b}", "open(\"GET /\"); // \u{e9}\u{1f511}"),
        ("#!/usr/bin/rhai\nopen(\"GET /\");", "// A comment.\nopen(\"GET /\");"),
        ("let n = 9223372036854775808; open(\"GET /\");", "let n = 9223372036854775807; open(\"GET /\");"),
        ("fn role(name) { 1 }\nopen(\"GET /\");", "fn my_role(name) { 1 }\nopen(\"GET /\");"),
        ("fn has_role(name) { true }\nopen(\"GET /\");", "fn has_no_role(name) { true }\nopen(\"GET /\");"),
        ("import \"other\" as other;\nopen(\"GET /\");", "open(\"GET /\");"),
        ("let t = timestamp();\nopen(\"GET /\");", "open(\"GET /\").when(|r| r.time > 0);"),
        ("eval(\"1\");\nopen(\"GET /\");", "open(\"GET /\");"),
        ("open(\"GET /\")\nopen(\"GET /a\")", "open(\"GET /\");\nopen(\"GET /a\")"),
        ("open(\"GET /\"", "open(\"GET /\")"),
        ("open(\"GET /);", "open(\"GET /\");"),
        ("open('GET /');", "open(\"GET /\");"),
        ("loop {}\nopen(\"GET /\");", "for n in 0..3 {}\nopen(\"GET /\");"),
        ("throw \"no\";\nopen(\"GET b\");", "open(\"GET /\");"),
    ])?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn problems_of_all_files_are_told_at_once() {
    let source = |name: &str, text: &str| Source { name: Arc::from(name), text: text.to_owned() };
    let load =
        |sources: &[Source]| PolicySet::load(sources, &RoleBindings::default(), &ScriptLimits::default());
    let sources = [
        source("a.rhai", "open(\"GET /\";"),
        source("b.rhai", "open(\"GET b\");\nrole(\"x\").alow(\"GET /\");"),
        source("c.rhai", "role(\"x\").grants(\"nothing\");"),
    ];
    let errors = load(&sources).unwrap_err();
    insta::assert_snapshot!(errors);
    insta::assert_snapshot!(load(&[]).unwrap_err(), @r"
    error: there is no policy, so every request would be denied
      --> policies
      = help: write rules into a file that ends in `.rhai`
    ");
    let twice = [source("a.rhai", "open(\"GET /\");"), source("a.rhai", "open(\"GET /b\");")];
    insta::assert_snapshot!(load(&twice).unwrap_err(), @r"
    error: two policies have this name
      --> a.rhai
    ");
    let apart = [source("a.rhai", "open(\"GET /\");"), source("b.rhai", "// Only a comment.")];
    assert_eq!(load(&apart).unwrap().rules().len(), 1);
}

#[test]
fn what_would_seem_to_end_a_policy_is_refused() -> std::fmt::Result {
    let report = report(&[
        (
            "open(\"GET /a\");\nif true { return; }\nopen(\"ANY /**\");",
            "fn f() { return \"GET /a\"; }\nopen(f());\nopen(\"GET /b\").when(|r| { return true; });",
        ),
        ("open(\"GET /a\"); // so\rdeny(\"GET /a\");", "open(\"GET /a\"); // so\r\ndeny(\"GET /b\");"),
        ("throw role(\"r\");", "try { throw role(\"r\"); } catch { }\nopen(\"GET /a\");"),
    ])?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn as_many_roles_as_the_limit_load_and_what_is_past_it_is_told_once() -> Result<(), PolicyErrors> {
    let text = |count: usize| -> String {
        (0..count).map(|number| format!("role(\"r{number}\").allow(\"GET /{number}\");\n")).collect()
    };
    let load = |text: String| {
        let source = Source { name: Arc::from("policy.rhai"), text };
        PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())
    };
    assert_eq!(load(text(1024))?.roles().len(), 1024);
    let errors = load(text(1200)).err().map(|errors| errors.to_string());
    insta::assert_snapshot!(errors.unwrap_or_default(), @r#"
    error: more than 1024 roles
      --> policy.rhai:1025:1
          |
     1025 | role("r1024").allow("GET /1024");
          | ^
    "#);
    Ok(())
}
