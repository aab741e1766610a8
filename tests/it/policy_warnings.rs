//! What is said about policies that load and are most likely not meant; each case has a twin that is in order.

use rolegate::RoleName;
use rolegate::policy::warn::{Examined, WarningCode};
use rolegate::policy::{PolicyErrors, PolicySet, RoleBindings, ScriptLimits, Source};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

type Outcome = Result<(), Box<dyn Error>>;

/// An odd script, and the same without its oddity.
type Case = (&'static str, &'static str);

fn examine_for(text: &str, held: Option<&[&str]>) -> Result<Examined, PolicyErrors> {
    let source = Source { name: Arc::from("policy.rhai"), text: text.to_owned() };
    let held: Option<Vec<RoleName>> =
        held.map(|held| held.iter().filter_map(|role| RoleName::parse(role).ok()).collect());
    PolicySet::examine(&[source], &RoleBindings::default(), held.as_deref(), &ScriptLimits::default())
}

fn examine(text: &str) -> Result<Examined, PolicyErrors> {
    examine_for(text, None)
}

fn codes(text: &str) -> Result<Vec<WarningCode>, PolicyErrors> {
    Ok(examine(text)?.warnings.iter().map(|warning| warning.code).collect())
}

/// All warnings of a group of cases, below the scripts that they are about.
fn report(code: WarningCode, cases: &[Case]) -> Result<String, Box<dyn Error>> {
    let mut report = String::new();
    for (odd, right) in cases {
        let warnings = examine(odd).map_err(|errors| format!("{odd}\n{errors}"))?.warnings;
        writeln!(report, "{odd}\n----")?;
        for warning in &warnings {
            writeln!(report, "{warning}\n")?;
        }
        if !warnings.iter().any(|warning| warning.code == code) {
            writeln!(report, "IT IS NOT TOLD\n")?;
        }
        for warning in examine(right).map_err(|errors| format!("{right}\n{errors}"))?.warnings {
            writeln!(report, "THE TWIN IS TOLD: {right}\n{warning}\n")?;
        }
    }
    assert!(!report.contains("IT IS NOT TOLD") && !report.contains("THE TWIN IS TOLD"), "{report}");
    Ok(report)
}

#[test]
fn rules_that_can_never_decide() -> Outcome {
    let report = report(
        WarningCode::CoveredRule,
        &[
            // Equal rules: the later one.
            (
                "role(\"a\").allow(\"GET /x\");\nrole(\"a\").allow(\"GET /x\");",
                "role(\"a\").allow(\"GET /x\");\nrole(\"a\").allow(\"PUT /x\");",
            ),
            // A wider subject.
            (
                "role(\"a\").allow(\"GET /x\");\nopen(\"ANY /x\");",
                "role(\"a\").allow(\"PUT /x\");\nopen(\"GET /x\");",
            ),
            (
                "role(\"a\").includes(\"b\").allow(\"GET /x/y\").when(|r| r.time > 5);\nrole(\"b\").allow(\"GET /x/*\");",
                "role(\"a\").allow(\"GET /x/y\").when(|r| r.time > 5);\nrole(\"b\").includes(\"a\").allow(\"GET /x/*\");",
            ),
            // Several rules together, methods and shapes of `**` among it.
            (
                "role(\"a\").allow(\"GET,PUT /x/**\");\nauthenticated([\"GET,PUT /x/\", \"GET /x/*\", \"GET /x/*/**\"]);\nrole(\"a\").includes(\"b\");\nrole(\"b\").allow([\"PUT /x/*\", \"PUT /x/*/**\"]);",
                "role(\"a\").allow(\"GET,PUT /x/**\");\nauthenticated([\"GET,PUT /x/\", \"GET /x/*\", \"GET /x/*/**\"]);\nrole(\"a\").includes(\"b\");\nrole(\"b\").allow([\"PUT /x/*\", \"PUT /x/*/*/**\"]);",
            ),
            // What an exception leaves out is covered by another rule, or is not.
            (
                "authenticated(\"GET /x/**\").except(\"GET /x/y/**\");\nauthenticated(\"GET /x/y/**\");\nrole(\"a\").allow(\"GET /x/*/*\");",
                "authenticated(\"GET /x/**\").except(\"GET /x/y/**\");\nauthenticated(\"GET /x/y/z\");\nrole(\"a\").allow(\"GET /x/*/*\");",
            ),
            // By a denial, and denials by each other.
            (
                "role(\"a\").allow([\"GET /x/y\", \"GET /x/z\"]);\nrole(\"a\").allow(\"GET /y\");\ndeny(\"ANY /x/**\");",
                "role(\"a\").allow([\"GET /x/y\", \"GET /x\"]);\nrole(\"a\").allow(\"GET /y\");\ndeny(\"ANY /x/**\");",
            ),
            (
                "authenticated(\"GET /**\");\ndeny(\"GET /x/y\").unless(|r| r.time > 5);\ndeny(\"GET /x/**\");",
                "authenticated(\"GET /**\");\ndeny(\"GET /x/y\");\ndeny(\"GET /x/**\").unless(|r| r.time > 5);",
            ),
            // Rules of a loop, which stand in one place.
            (
                "open(\"GET /x/**\");\nfor name in [\"a\", \"b\", \"c\"] { role(name).allow(`GET /x/${name}`); }",
                "open(\"GET /x/**\");\nfor name in [\"a\", \"b\", \"c\"] { role(name).allow(`GET /y/${name}`); }",
            ),
            // Partly denied, partly allowed.
            (
                "role(\"a\").allow([\"GET /x\", \"GET /y\"]);\nopen(\"GET /x\");\ndeny(\"GET /y\");",
                "role(\"a\").allow([\"GET /x\", \"GET /z\"]);\nopen(\"GET /x\");\ndeny(\"GET /y\");",
            ),
        ],
    )?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn permissions_that_are_granted_for_nothing() -> Outcome {
    let report = report(
        WarningCode::CoveredRule,
        &[
            (
                "permission(\"p\", \"GET /x\");\nrole(\"a\").grants(\"p\");\nrole(\"b\").includes(\"a\").grants([\"p\"]);",
                "permission(\"p\", \"GET /x\");\nrole(\"a\").grants(\"p\");\nrole(\"b\").grants([\"p\"]);",
            ),
            (
                "permission(\"p\", []);\nrole(\"a\").grants(\"p\").grants(\"p\");",
                "permission(\"p\", []);\nrole(\"a\").grants(\"p\");\nrole(\"b\").grants(\"p\");",
            ),
            // Permissions that overlap are in order: each can be asked for by its name.
            (
                "permission(\"p\", \"GET /x\");\nrole(\"a\").grants(\"p\");\nrole(\"b\").grants(\"p\");\nopen(\"GET /x\");",
                "permission(\"p\", \"GET /x\");\npermission(\"q\", [\"GET /x\", \"GET /y\"]);\nrole(\"a\").grants([\"p\", \"q\"]);",
            ),
            // A direct rule beside a permission is not.
            (
                "permission(\"p\", \"GET /x\");\nrole(\"a\").grants(\"p\").allow(\"GET /x\");",
                "permission(\"p\", \"GET /x\");\nrole(\"a\").grants(\"p\").allow(\"GET /y\");",
            ),
        ],
    )?;
    insta::assert_snapshot!(report);
    Ok(())
}

#[test]
fn rules_and_roles_that_are_left_nothing() -> Outcome {
    let mut all = report(
        WarningCode::EmptyRule,
        &[(
            "open([\"GET /x\", \"GET /y\"]).except(\"ANY /*\");",
            "open([\"GET /x\", \"GET /y/z\"]).except(\"ANY /*\");",
        )],
    )?;
    all += &report(
        WarningCode::EmptiedRole,
        &[
            (
                "permission(\"p\", \"GET /x/y\");\nrole(\"a\").allow(\"PUT /x/*\").grants(\"p\");\nauthenticated(\"GET /x/z\");\ndeny(\"GET /x/**\");\ndeny(\"PUT /**\");",
                "permission(\"p\", \"GET /x/y\");\nrole(\"a\").allow(\"PUT /x/*\").grants(\"p\");\nauthenticated(\"GET /z\");\ndeny(\"GET /x/**\").unless(|r| r.has_role(\"a\"));\ndeny(\"PUT /**\").except(\"PUT /x/y\");",
            ),
            // A role that includes one with something left has something left; that its own rule does not decide
            // is another matter.
            (
                "role(\"a\").includes(\"b\").allow(\"GET /x\");\nrole(\"b\").allow(\"GET /y\");\ndeny(\"GET /*\");",
                "role(\"a\").includes(\"b\").allow(\"GET /x\");\nrole(\"b\").allow(\"GET /y\");\ndeny(\"GET /z\");",
            ),
        ],
    )?;
    all += &report(
        WarningCode::IdleRole,
        &[
            ("role(\"a\");\nopen(\"GET /x\");", "role(\"a\").allow(\"GET /x\");"),
            (
                "role(\"a\").includes(\"b\");\nrole(\"b\");\nrole(\"c\").allow(\"GET /x\");",
                "role(\"a\").includes(\"c\");\nrole(\"b\");\nrole(\"c\").allow(\"GET /x\").when(|r| r.has_role(\"b\"));",
            ),
            (
                "role(\"a\");\nrole(\"c\").allow(\"GET /x\").when(|r| r.has_role(\"c\"));",
                "role(\"a\");\nfor name in [\"a\"] { role(\"c\").allow(\"GET /x\").when(|r| r.has_role(name)); }",
            ),
        ],
    )?;
    insta::assert_snapshot!(all);
    Ok(())
}

#[test]
fn routes_and_conditions_that_do_nothing() -> Outcome {
    let mut all = report(
        WarningCode::CoveredRoute,
        &[
            (
                "open([\"GET /x/**\", \"GET /y\", \"GET /x/{a}/z\", \"GET /y\"]);",
                "open([\"GET /x/**\", \"GET /y\", \"PUT /x/{a}/z\", \"GET /x\"]);",
            ),
            (
                "permission(\"p\", [\"GET /x/y\", \"GET,PUT /x/*\"]);\nrole(\"a\").grants(\"p\");",
                "permission(\"p\", [\"GET,PUT /x/y\", \"GET /x/*\"]);\nrole(\"a\").grants(\"p\");",
            ),
        ],
    )?;
    all += &report(
        WarningCode::IdleExcept,
        &[
            (
                "open(\"GET /x/**\").except([\"GET /x\", \"GET /x/y\"]);",
                "open(\"GET /x/**\").except([\"GET /x/\", \"GET /x/y\"]);",
            ),
            ("open(\"GET /x/*\").except(\"PUT /x/y\");", "open(\"GET /x/*\").except(\"ANY /x/y\");"),
            (
                "open(\"GET /x/{a}/z\").except(\"GET /*/*/y\");",
                "open(\"GET /x/{a}/z\").except(\"GET /*/y/*\");",
            ),
        ],
    )?;
    all += &report(
        WarningCode::IdleUnless,
        &[
            (
                "open(\"GET /x/*\");\ndeny([\"GET /y/**\", \"PUT /x/y\"]).unless(|r| r.time > 5);",
                "open(\"GET /x/*\");\ndeny([\"GET /y/**\", \"GET /x/y\"]).unless(|r| r.time > 5);",
            ),
            (
                "open(\"GET /x\");\ndeny(\"GET /x/**\").unless(|r| r.time > 5);",
                "open(\"GET /x/*/z\");\ndeny(\"GET /x/**\").unless(|r| r.time > 5);",
            ),
        ],
    )?;
    insta::assert_snapshot!(all);
    Ok(())
}

#[test]
fn names_and_prefixes_that_mislead() -> Outcome {
    let mut all = report(
        WarningCode::OpenBelowProtected,
        &[
            (
                "role(\"a\").allow(\"GET /api/**\");\nopen([\"GET /health\", \"GET /api/health\"]);",
                "role(\"a\").allow(\"GET /api/**\").except(\"GET /api/health\");\nopen([\"GET /health\", \"GET /api/health\"]);",
            ),
            (
                "authenticated(\"ANY /api/**\");\nopen(\"GET /api/public/**\");",
                "authenticated(\"ANY /**\");\nopen(\"GET /api/public/**\");",
            ),
            (
                "permission(\"p\", \"ANY /api/**\");\nrole(\"a\").grants(\"p\");\nopen(\"GET /api/x\");",
                "permission(\"p\", \"PUT /api/**\");\nrole(\"a\").grants(\"p\");\nopen(\"GET /api/x\").when(|r| r.time > 5);",
            ),
        ],
    )?;
    all += &report(
        WarningCode::RenamedSegment,
        &[
            (
                "open(\"GET /x/{id}/y\");\nauthenticated(\"PUT /x/{name}/y\");\nauthenticated(\"DELETE /x/{name}/y\");",
                "open(\"GET /x/{id}/y\");\nauthenticated(\"PUT /x/{id}/y\");\nauthenticated(\"DELETE /x/*/y\");\nauthenticated(\"GET /x/{name}\");",
            ),
            (
                "permission(\"p\", [\"GET /{a}/**\"]);\nrole(\"r\").grants(\"p\").allow(\"PUT /{b}/**\");",
                "permission(\"p\", [\"GET /{a}/**\"]);\nrole(\"r\").grants(\"p\").allow(\"PUT /{a}/**\");",
            ),
        ],
    )?;
    all += &report(
        WarningCode::UnusedPermission,
        &[(
            "permission(\"p\", \"GET /x\");\nopen(\"GET /x\");",
            "permission(\"p\", \"GET /x\");\nrole(\"a\").grants(\"p\");",
        )],
    )?;
    insta::assert_snapshot!(all);
    Ok(())
}

#[test]
fn conditions_that_cannot_be_meant() -> Outcome {
    let mut all = report(
        WarningCode::ConstantCondition,
        &[
            ("open(\"GET /x\").when(|r| true);", "open(\"GET /x\").when(|r| r.time > 5);"),
            ("open(\"GET /x\").when(|r| false);", "open(\"GET /x\").when(|r| !(r.time > 5));"),
            (
                "open(\"GET /x\");\ndeny(\"GET /x\")\n    .unless(|r| true);",
                "open(\"GET /x\");\ndeny(\"GET /x\").unless(|r| r.time > 5 || true);",
            ),
            (
                "open(\"GET /x\");\ndeny(\"GET /x\").unless(|r| false);",
                "open(\"GET /*\");\ndeny(\"GET /x\");",
            ),
        ],
    )?;
    all += &report(
        WarningCode::UnknownMethod,
        &[
            (
                "open(\"ANY /x\").when(|r| r.method == \"get\");",
                "open(\"ANY /x\").when(|r| r.method == \"GET\");",
            ),
            (
                "open(\"ANY /x\").when(|r| \"FETCH\" != r.method);",
                "open(\"ANY /x\").when(|r| \"PATCH\" != r.method);",
            ),
            (
                "fn reads(request) { request.method in [\"GET\", \"Head\"] }\nopen(\"ANY /x\").when(reads);",
                "fn reads(request) { request.method in [\"GET\", \"HEAD\"] }\nlet other = #{ method: \"x\" };\nif other.method == \"x\" { open(\"ANY /x\").when(reads); }",
            ),
        ],
    )?;
    all += &report(
        WarningCode::HiddenHeader,
        &[(
            "open(\"ANY /x\").when(|r| r.header(\"Authorization\") != ());",
            "open(\"ANY /x\").when(|r| r.header(\"x-stage\") != ());",
        )],
    )?;
    all += &report(
        WarningCode::UnequalKinds,
        &[
            (
                "open(\"ANY /x\").when(|r| r.query(\"n\") != 5);",
                "open(\"ANY /x\").when(|r| r.query(\"n\") != \"5\");",
            ),
            (
                "open(\"ANY /{n}\").when(|r| 5 == r.param(\"n\"));",
                "open(\"ANY /{n}\").when(|r| 5 == parse_int(r.param(\"n\")));",
            ),
            (
                "open(\"ANY /x\").when(|r| r.header(\"x-dry\") == true);",
                "open(\"ANY /x\").when(|r| r.header(\"x-dry\") == ());",
            ),
        ],
    )?;
    insta::assert_snapshot!(all);
    Ok(())
}

#[test]
fn part_of_a_longer_expression_is_not_taken_for_a_whole_one() -> Outcome {
    for condition in [
        "5 == r.query(\"n\").len()",
        "true == r.query(\"n\").is_empty()",
        "r.query(\"n\") == 5.to_string()",
        "\"a\" + 5 == r.query(\"n\")",
        "r.path == r.query(\"n\") == true",
        "\"get\" == r.method.to_lower()",
        "r.method == \"get\".to_upper()",
        "r.method in [\"get\".to_upper()]",
        "r.method in [\"get\"].map(|method| method.to_upper())",
        "r.path + r.method == \"/xGET\"",
    ] {
        let text = format!("open(\"ANY /x\").when(|r| {condition});");
        assert_eq!(codes(&text)?, [], "{condition}");
    }
    // As wholes they are told, wherever they stand.
    for (condition, code) in [
        ("r.path == \"/x\" && 5 == r.query(\"n\") || false", WarningCode::UnequalKinds),
        ("{ if -5 != r.query(\"n\") { return true } false }", WarningCode::UnequalKinds),
        ("!(r.query(\"n\") == 5)", WarningCode::UnequalKinds),
        ("{ let is_read = r.method == \"get\"; is_read }", WarningCode::UnknownMethod),
        ("[r.method == \"get\", true].all(|one| one)", WarningCode::UnknownMethod),
        ("\"get\" == r.method", WarningCode::UnknownMethod),
    ] {
        let text = format!("open(\"ANY /x\").when(|r| {condition});");
        assert_eq!(codes(&text)?, [code], "{condition}");
    }
    Ok(())
}

#[test]
fn role_that_is_asked_for_in_any_way_is_not_idle() -> Outcome {
    for condition in [
        "r.has_role(\"a\")",
        "has_role(r, \"a\")",
        "{ let name = \"a\"; r.has_role(name) }",
        "r.has_role(\"a\" + \"\")",
        "r.token.roles.contains(\"a\")",
    ] {
        let text = format!("role(\"a\"); authenticated(\"GET /x\").when(|r| {condition});");
        assert_eq!(codes(&text)?, [], "{condition}");
    }
    let text = "role(\"a\"); authenticated(\"GET /x\").when(|r| r.token.name == \"roles\");";
    assert_eq!(codes(text)?, [WarningCode::IdleRole]);
    Ok(())
}

#[test]
fn roles_are_held_by_tokens_by_inclusion_and_by_other_names_and_are_not_looked_at_otherwise() -> Outcome {
    let text = "role(\"a\").includes(\"b\").allow(\"GET /a\");\nrole(\"b\").allow(\"GET /b\");\nrole(\"c\").allow(\"GET /c\");";
    assert!(examine(text)?.warnings.is_empty());
    assert!(examine_for(text, Some(&["a", "c"]))?.warnings.is_empty());
    let warnings = examine_for(text, Some(&["b"]))?.warnings;
    let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
    Ok(())
}

#[test]
fn comments_allow_what_they_are_about_and_nothing_else() -> Outcome {
    let twice = "open(\"GET /x\");\nopen(\"GET /x\");\n";
    let covered = [WarningCode::CoveredRule];
    assert_eq!(codes(twice)?, covered);
    for (text, expected) in [
        (
            "open(\"GET /x\");\n// rolegate: allow(covered-rule) until the next release\nopen(\"GET /x\");",
            &[][..],
        ),
        ("open(\"GET /x\");\nopen(\"GET /x\"); // rolegate: allow(covered-rule)", &[]),
        (
            "// rolegate: allow-in-file(covered-rule, idle-role)\nopen(\"GET /x\");\nopen(\"GET /x\");\nrole(\"a\");",
            &[],
        ),
        (
            "open(\"GET /x\");\n// rolegate: allow(covered-rule)\n\n// More.\nopen([\n    \"GET /x\",\n]);",
            &[],
        ),
        (
            "// rolegate: allow(covered-rule)\nopen(\"GET /x\");\nopen(\"GET /x\");",
            &[WarningCode::IdleAllow, WarningCode::CoveredRule],
        ),
        (
            "open(\"GET /x\");\nopen(\"GET /x\");\n// rolegate: allow(covered-rule)",
            &[WarningCode::CoveredRule, WarningCode::IdleAllow],
        ),
        (
            "open(\"GET /x\");\n// rolegate: allow(covered-route)\nopen(\"GET /x\");",
            &[WarningCode::IdleAllow, WarningCode::CoveredRule],
        ),
        (
            "open(\"GET /x\");\n// rolegate: allow(covered_rule)\nopen(\"GET /x\");",
            &[WarningCode::IdleAllow, WarningCode::CoveredRule],
        ),
        ("// rolegate: ignore everything\nopen(\"GET /x\");", &[WarningCode::IdleAllow]),
        // One of a list alone.
        (
            "open([\n\"GET /x/*\",\n// rolegate: allow(covered-route)\n\"GET /x/y\",\n\"GET /x/z\"]);",
            &[WarningCode::CoveredRoute],
        ),
        // One rule of a chain alone.
        (
            "role(\"a\").allow(\"GET /*\")\n// rolegate: allow(covered-rule)\n.allow(\"GET /x\")\n.allow(\"GET /y\");",
            &[WarningCode::CoveredRule],
        ),
        // Not a comment.
        (
            "let text = \"// rolegate: allow-in-file(covered-rule)\";\nopen(\"GET /x\");\nopen(\"GET /x\");",
            &[WarningCode::CoveredRule],
        ),
        (
            "let text = `\n// rolegate: allow-in-file(covered-rule)\n`;\nopen(\"GET /x\");\nopen(\"GET /x\");",
            &[WarningCode::CoveredRule],
        ),
        (
            "let text = `a${1}\n\n // rolegate: allow-in-file(covered-rule)`;\nopen(\"GET /x\");\nopen(\"GET /x\");",
            &[WarningCode::CoveredRule],
        ),
        (
            "/*\n// rolegate: allow-in-file(covered-rule)\n*/\nopen(\"GET /x\");\nopen(\"GET /x\");",
            &[WarningCode::CoveredRule],
        ),
        // One after such a text.
        (
            "let text = `\n// rolegate: allow(x)\n`;\n// rolegate: allow-in-file(covered-rule)\nopen(\"GET /x\");\nopen(\"GET /x\");",
            &[],
        ),
        // What the policies open is said by such comments, too.
        ("// rolegate: opens GET /x to everyone because of a ticket (4711)\nopen(\"GET /x\");", &[]),
        ("// rolegate: opens GET /x\nopen(\"GET /x\");", &[WarningCode::IdleAllow]),
        ("open(\"GET /x\"); // rolegate: opens GET /x to everyone", &[WarningCode::IdleAllow]),
        // What was not looked for may be allowed.
        ("// rolegate: allow-in-file(unheld-role, open-route)\nrole(\"a\").allow(\"GET /x\");", &[]),
    ] {
        assert_eq!(codes(text)?, expected, "{text}");
    }
    let wrong = "open(\"GET /x\");  // rolegate: allow(idle-rol, covered-rule)\n// rolegate: deny(x)\n\
                 // rolegate: opens GET x to a\nopen(\"GET /y\"); // rolegate: opens GET /y to everyone\n";
    let shown: Vec<_> = examine(wrong)?.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
    Ok(())
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = WarningCode::all().map(WarningCode::name).collect();
    assert_eq!(names.len(), WarningCode::all().len());
    for code in WarningCode::all() {
        assert_eq!(WarningCode::parse(code.name()), Some(code));
    }
    assert_eq!(WarningCode::parse("covered-rules"), None);
}

#[test]
fn shipped_policy_has_no_warnings() -> Outcome {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/stackstate.rhai");
    let text = String::from_utf8(std::fs::read(path)?)?;
    let shown: Vec<_> = examine(&text)?.warnings.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n\n"));
    Ok(())
}
