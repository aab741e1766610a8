//! `policy diff` as its operator meets it: what it says, and with which exit code.

use super::Run;
use std::error::Error;
use std::fs;
use std::path::Path;

type Outcome = Result<(), Box<dyn Error>>;

const OLD: &str = r#"role("guest").allow("GET /api/view/**");
role("ci").allow("POST /api/deploy").when(|request| request.query("dry") == "1");
"#;

fn diff(old: &str, new: &str, arguments: &[&str]) -> Run {
    let arguments: Vec<&str> =
        ["policy", "diff", "old.rhai", "new.rhai"].iter().chain(arguments).copied().collect();
    Run::new(&arguments).file("old.rhai", old).file("new.rhai", new)
}

#[test]
fn help_of_policy_diff() {
    insta::assert_snapshot!(Run::new(&["policy", "diff", "--help"]).whole());
}

#[test]
fn moved_and_reformatted_rules_change_nothing() {
    let new = r#"// The same.
role("ci")
    .allow("POST /api/deploy")
    .when(|request| request.query("dry")  ==  "1");
role("guest").allow(["GET /api/view/**", "GET /api/view/{id}"]);
"#;
    insta::assert_snapshot!(diff(OLD, new, &[]).whole(), @r"
    exit code 0
    -- stdout
    nothing changes
    -- stderr
    ");
    insta::assert_snapshot!(diff(OLD, OLD, &["-o", "json"]).whole());
}

#[test]
fn opened_routes_are_told_with_their_rule_and_exit_code_3() {
    let new = format!("{OLD}role(\"guest\").allow(\"POST /api/script/execute\");\n");
    insta::assert_snapshot!(diff(OLD, &new, &[]).whole(), @r"
    exit code 3
    -- stdout
    + guest gains POST /api/script/execute
        now by new.rhai:3:15
    1 change: access is gained, or may be
    -- stderr
    ");
    insta::assert_snapshot!(diff(OLD, &new, &["-o", "json"]).whole());
    // The other way round, it is taken away.
    insta::assert_snapshot!(diff(&new, OLD, &[]).whole(), @r"
    exit code 1
    -- stdout
    - guest loses POST /api/script/execute
        was by old.rhai:3:15
    1 change: no access is gained
    -- stderr
    ");
}

#[test]
fn fewer_conditions_are_a_gain_and_more_are_none() {
    let without = OLD.replace(".when(|request| request.query(\"dry\") == \"1\")", "");
    let other = OLD.replace("== \"1\"", "!= \"0\"");
    insta::assert_snapshot!(diff(OLD, &without, &[]).whole(), @r"
    exit code 3
    -- stdout
    ~ ci may gain POST /api/deploy, where conditions have changed
        was by old.rhai:2:12
        now by new.rhai:2:12
    1 change: access is gained, or may be
    -- stderr
    ");
    insta::assert_snapshot!(diff(OLD, &other, &[]).whole(), @r"
    exit code 3
    -- stdout
    ~ ci may gain POST /api/deploy, where conditions have changed
        was by old.rhai:2:12
        now by new.rhai:2:12
    1 change: access is gained, or may be
    -- stderr
    ");
    insta::assert_snapshot!(diff(&without, OLD, &[]).whole(), @r"
    exit code 1
    -- stdout
    ~ ci keeps POST /api/deploy under more conditions
        was by old.rhai:2:12
        now by new.rhai:2:12
    1 change: no access is gained
    -- stderr
    ");
}

#[test]
fn role_that_is_held_otherwise_counts_where_a_condition_asks_for_it() {
    let policy = |includes: &str| {
        format!(
            "role(\"admin\"); role(\"guest\"){includes}.allow(\"GET /x\");
role(\"ci\").allow(\"GET /y\");
deny(\"ANY /y\").unless(|request| request.has_role(\"admin\"));
"
        )
    };
    let (one, both) = (policy(".includes(\"ci\")"), policy(".includes([\"ci\", \"admin\"])"));
    insta::assert_snapshot!(diff(&one, &both, &[]).whole(), @r"
    exit code 3
    -- stdout
    ~ guest may gain GET,HEAD /y, where conditions have changed
        such as GET /y
        was by old.rhai:3:1
        now by new.rhai:3:1
    1 change: access is gained, or may be
    -- stderr
    ");
    let (none, admin) = (policy(""), policy(".includes(\"admin\")"));
    insta::assert_snapshot!(diff(&none, &admin, &[]).whole(), @r"
    exit code 3
    -- stdout
    ~ guest may gain GET,HEAD /y, beside other roles: a condition asks for a role that is held otherwise
        such as GET /y
        was by old.rhai:3:1
        now by new.rhai:3:1
    1 change: access is gained, or may be
    -- stderr
    ");
}

#[test]
fn folders_are_compared_and_roles_of_a_configuration_added_to_both() {
    let run = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["policy", "diff", "a", "b"].iter().chain(arguments).copied().collect();
        let config = "rolegate:\n  policies: [a]\nstackstate:\n  authentication:\n    roles:\n      guest: [visitor]\n";
        let policy = "role(\"stackstate-guest\").allow(\"GET /a\");";
        let new = policy.replace("/a", "/b");
        Run::new(&arguments).file("c.yaml", config).file("a/p.rhai", policy).file("b/q.rhai", &new)
    };
    insta::assert_snapshot!(run(&["-c", "c.yaml"]).whole(), @r"
    exit code 3
    -- stdout
    + stackstate-guest, visitor gain GET,HEAD /b
        such as GET /b
        now by b/q.rhai:1:26
    - stackstate-guest, visitor lose GET,HEAD /a
        such as GET /a
        was by a/p.rhai:1:26
    2 changes: access is gained, or may be, in 1 of them
    -- stderr
    ");
    assert!(!run(&[]).told().out.contains("visitor"));
}

#[test]
fn policies_that_do_not_load_are_no_answer() {
    insta::assert_snapshot!(diff(OLD, "role(", &[]).whole(), @r"
    exit code 4
    -- stdout
    -- stderr
    error: expecting `)` to close the arguments list of this function call `role`
      --> new.rhai:1:6
       |
     1 | role(
       |      ^
    ");
    insta::assert_snapshot!(diff("role(", OLD, &["-o", "json"]).whole(), @r#"
    exit code 4
    -- stdout
    {
      "errors": [
        {
          "column": 6,
          "file": "old.rhai",
          "help": null,
          "line": 1,
          "message": "expecting `)` to close the arguments list of this function call `role`"
        }
      ]
    }
    -- stderr
    "#);
    assert_eq!(Run::new(&["policy", "diff", "none", "none"]).told().code, Some(4));
    assert_eq!(Run::new(&["policy", "diff", "none"]).told().code, Some(2));
}

#[test]
fn example_of_the_page_on_policies_is_true() -> Outcome {
    let page = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policies.md"))?;
    let page = String::from_utf8(page)?;
    let (_, chapter) = page.split_once("## What a change opens").ok_or("no such chapter")?;
    let blocks: Vec<&str> = chapter.split("\n```").skip(1).step_by(2).take(3).collect();
    let [old, new, told] = blocks.as_slice() else { return Err("a block is missing".into()) };
    let content = |block: &str| block.split_once('\n').map_or("", |(_, content)| content).to_owned();
    let answer = diff(&content(old), &content(new), &[]).told();
    assert_eq!((answer.code, answer.out.trim_end()), (Some(3), content(told).trim_end()));
    Ok(())
}
