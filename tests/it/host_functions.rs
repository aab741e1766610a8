//! Functions and values that an embedding program registers: what conditions get of them, and that none of
//! them opens anything by failing.

use crate::conditions::Outcome;
use rolegate::decision::Decision;
use rolegate::path::CanonicalPath;
use rolegate::policy::host::{HOST_FUNCTIONS_MAX, HostFunctionError};
use rolegate::policy::{HostFunctions, Limits, PolicyErrors, PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::Request;
use rolegate::time::Timestamp;
use rolegate::token::{Principal, RoleName, TokenId, TokenName};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[path = "../../examples/host_functions.rs"]
#[expect(dead_code, reason = "the program's start is not called here")]
mod example;

const SECRET: &str = "the-password-of-the-database";

/// Time enough for any machine, so that it decides nothing.
fn patient() -> ScriptLimits {
    let mut limits = ScriptLimits::default();
    limits.condition.time = Duration::from_secs(60);
    limits
}

fn load(text: &str, host: &HostFunctions) -> Result<PolicySet, PolicyErrors> {
    load_within(text, &ScriptLimits { host: host.clone(), ..patient() })
}

fn load_within(text: &str, limits: &ScriptLimits) -> Result<PolicySet, PolicyErrors> {
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    PolicySet::load(&[source], &RoleBindings::default(), limits)
}

fn decide(set: &PolicySet) -> Outcome<Decision> {
    let (principal, request, now) = asked()?;
    Ok(set.decide(Some(&principal), &request, now))
}

/// `GET /teams/a?n=5` of the token `team-a`.
fn asked() -> Outcome<(Principal, Request, Timestamp)> {
    let principal = Principal {
        id: TokenId::new(TokenId::MIN).ok_or("id")?.into(),
        name: TokenName::from("team-a"),
        roles: [RoleName::parse("r")?].into(),
        created: Timestamp::EPOCH,
    };
    let mut parts = Request::new(http::Method::GET, CanonicalPath::parse("/teams/a")?).into_parts();
    parts.query = Some("n=5".into());
    Ok((principal, Request::from(parts), Timestamp::from_millis(7)))
}

/// How a `when` with this body ends: `allow`, `deny`, or why it failed. A failing `unless` must not lift.
fn outcome(host: &HostFunctions, body: &str) -> Outcome<String> {
    let when = format!("role(\"r\").allow(\"GET /teams/{{team}}\").when(|request| {{ {body} }});");
    let decision = decide(&load(&when, host)?)?;
    let failure = decision.failures().next().map(|(_, reason)| reason.to_owned());
    let Some(failure) = failure else {
        return Ok(if decision.is_allow() { "allow" } else { "deny" }.to_owned());
    };
    assert!(!decision.is_allow(), "{body}: {failure}");
    let unless = format!("open(\"GET /teams/{{team}}\"); deny(\"GET /**\").unless(|request| {{ {body} }});");
    let unlifted = decide(&load(&unless, host)?)?;
    assert!(!unlifted.is_allow() && unlifted.failures().count() == 1, "{body}: {unlifted:?}");
    Ok(failure)
}

fn refusal(host: &HostFunctions, text: &str) -> String {
    load(text, host).map_or_else(|errors| errors.to_string(), |_| "it loads".to_owned())
}

/// One of each kind.
fn all_kinds() -> Result<HostFunctions, HostFunctionError> {
    fn named(name: String) -> Vec<String> {
        vec![name; 2]
    }
    let quotas: BTreeMap<String, i64> = [("a".to_owned(), 3)].into();
    HostFunctions::new()
        .value("region", "eu-west-1")?
        .value("most", 10)?
        .value("half", 0.5)?
        .value("is_live", true)?
        .value("unset", None::<bool>)?
        .value("zones", vec!["a", "b"])?
        .value("quotas", quotas)?
        .function("answer", || 42)?
        .function("is_paired", |number: i64| number % 2 == 0)?
        .function("negated", |flag: bool| !flag)?
        .function("doubled", |number: f64| number * 2.0)?
        .function("shout", |text: &str| text.to_uppercase())?
        .function("repeated", named)?
        .function("total", |numbers: Vec<i64>| numbers.iter().sum::<i64>())?
        .function("joined", |texts: Vec<&str>, sign: Option<&str>| texts.join(sign.unwrap_or("")))?
        .function("team_of", |token: &str| -> Result<Option<String>, String> {
            match token.strip_prefix("team-") {
                Some("none") => Ok(None),
                Some(team) => Ok(Some(team.to_owned())),
                None => Err(format!("`{token}` belongs to no team")),
            }
        })?
        .function("is_of", |request: &Request, token: &Principal| {
            request.path().as_str().ends_with('a') && token.name.ends_with('a')
        })?
        .function("holder", |token: Option<&Principal>| token.map_or("nobody", |_| "somebody"))?
        .function("sum_of_four", |a: i64, b: i64, c: i64, d: i64| a + b + c + d)
}

#[test]
fn values_and_functions_give_their_results() -> Outcome {
    let host = all_kinds()?;
    for body in [
        r#"region() == "eu-west-1""#,
        "most() == 10 && half() == 0.5 && is_live() && unset() == ()",
        r#"zones().contains("b") && zones().len() == 2"#,
        r#"quotas()["a"] == 3 && quotas().a == 3 && quotas().len() == 1"#,
        "answer() == 42",
        "is_paired(2) && !is_paired(3) && is_paired(request.time - 1)",
        "negated(false) && doubled(1.5) == 3.0 && doubled(2) == 4.0",
        r#"shout("ab") == "AB" && "ab".shout() == "AB""#,
        r#"repeated("x").len() == 2"#,
        r#"total([1, 2, 3]) == 6 && joined(["a", "b"], "-") == "a-b" && joined(["a", "b"], ()) == "ab""#,
        r#"team_of(request.token.name) == request.param("team")"#,
        r#"team_of("team-none") == ()"#,
        r#"is_of(request, request.token) && holder(request.token) == "somebody""#,
        r#"holder(()) == "nobody""#,
        "sum_of_four(1, 2, 3, 4) == 10",
        "[2, 4].all(|number| is_paired(number))",
        // A list that was given is the condition's own.
        "let l = zones(); l.push(\"c\"); l.len() == 3 && zones().len() == 2",
        "let team = \"none\"; try { team = team_of(\"x\"); } catch { } team == \"none\"",
    ] {
        assert_eq!(outcome(&host, body)?, "allow", "{body}");
        assert_eq!(outcome(&host, &format!("let holds = {{ {body} }}; !holds"))?, "deny", "{body}");
    }
    Ok(())
}

#[test]
fn failing_function_fails_the_condition_with_its_name() -> Outcome {
    let host = all_kinds()?;
    for (body, reason) in [
        (r#"team_of("x") == ()"#, "`team_of`: `x` belongs to no team (line 1, column"),
        (r#"is_paired("2")"#, "`is_paired` takes an integer, not a text"),
        ("is_paired(())", "`is_paired` takes an integer, not nothing"),
        ("is_paired(2.0)", "`is_paired` takes an integer, not a decimal number"),
        ("shout('a') == \"A\"", "`shout` takes a text, not a character"),
        ("total(5) == 5", "`total` takes a list whose items are an integer each, not an integer"),
        ("total([1, \"2\"]) == 3", "`total` takes a list whose items are an integer each, not a list"),
        ("joined([], 5) == \"\"", "`joined` takes a text or nothing as argument 2, not an integer"),
        ("is_of(request, ()) || true", "`is_of` takes the request's token as argument 2, not nothing"),
        ("is_of(request.token, request.token)", "`is_of` takes the request as argument 1, not a token"),
        ("holder(|x| x) == \"\"", "`holder` takes the request's token or nothing, not a function"),
        ("[1, \"2\"].all(|number| is_paired(number + 1))", "`is_paired` takes an integer, not a text"),
        ("answer()", "the condition gives an integer"),
    ] {
        let ended = outcome(&host, body)?;
        assert!(ended.contains(reason), "{body}: {ended}");
    }
    Ok(())
}

#[test]
fn panic_fails_the_condition_whatever_the_script_does_and_tells_nothing() -> Outcome {
    let host = HostFunctions::new()
        .function("fragile", |number: i64| -> bool {
            assert!(number < 5, "cannot connect with {SECRET}");
            true
        })?
        .function("spiteful", || -> bool { std::panic::panic_any(PanicsAgain) })?;
    assert_eq!(outcome(&host, "fragile(4)")?, "allow");
    for body in ["fragile(5)", "try { fragile(5) } catch { } true", "fragile(5) || true"] {
        let ended = outcome(&host, body)?;
        assert!(ended.starts_with("`fragile` panicked (line 1, column "), "{body}: {ended}");
    }
    assert!(outcome(&host, "[1, 9].filter(|n| fragile(n)); true")?.starts_with("`fragile` panicked"));
    assert!(outcome(&host, "spiteful()")?.starts_with("`spiteful` panicked"));

    // The thread that has seen the panic decides on as before.
    let set = load(
        "role(\"r\").allow(\"GET /teams/a\").when(|r| fragile(9));\n\
         role(\"r\").allow(\"GET /teams/*\").when(|r| fragile(1));",
        &host,
    )?;
    for _ in 0..3 {
        let decision = decide(&set)?;
        assert!(decision.is_allow() && decision.failures().count() == 1, "{decision:?}");
        assert!(!format!("{decision:?}").contains(SECRET), "{decision:?}");
    }
    Ok(())
}

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("again"));
    }
}

#[test]
fn result_is_held_to_the_limits_of_conditions() -> Outcome {
    let host = HostFunctions::new()
        .function("text", |bytes: i64| "x".repeat(usize::try_from(bytes).unwrap_or(0)))?
        .function("list", |items: i64| (0..items).collect::<Vec<i64>>())?
        .function("nested", |items: i64| vec![(0..items).collect::<Vec<i64>>(); 2])?
        .function("table", |entries: i64| {
            (0..entries).map(|entry| (entry.to_string(), entry)).collect::<BTreeMap<String, i64>>()
        })?;
    let limits = Limits::CONDITION;
    let nested = limits.list_items / 2 - 1;
    for (name, fits) in [
        ("text", limits.string_bytes),
        ("list", limits.list_items),
        ("nested", nested),
        ("table", limits.map_entries),
    ] {
        assert_eq!(outcome(&host, &format!("{name}({fits}).len() > 1"))?, "allow", "{name}");
        for body in [
            format!("{name}({}).len() > 1", fits + 1),
            format!("try {{ {name}({}); }} catch {{ }} true", fits + 1),
        ] {
            let ended = outcome(&host, &body)?;
            assert!(ended.starts_with(&format!("`{name}` gives more than a condition may hold")), "{ended}");
        }
    }
    assert!(outcome(&host, "text(10000000).len() > 1")?.starts_with("`text` gives more"));
    Ok(())
}

#[test]
fn value_larger_than_a_condition_may_hold_is_refused_at_load() -> Outcome {
    let with = |bytes: usize| HostFunctions::new().value("notice", "x".repeat(bytes));
    let text = "open(\"GET /\").when(|request| notice() != \"\");";
    let most = Limits::CONDITION.string_bytes;
    assert_eq!(refusal(&with(most)?, text), "it loads");
    let refused = refusal(&with(most + 1)?, text);
    assert!(refused.contains("the value `notice` of this program is larger"), "{refused}");
    Ok(())
}

#[test]
fn time_that_a_function_takes_counts() -> Outcome {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let host = HostFunctions::new().function("busy", move |micros: i64| {
        counted.fetch_add(1, Ordering::Relaxed);
        let start = now();
        let time = Duration::from_micros(micros.unsigned_abs());
        while now().duration_since(start) < time {
            std::hint::spin_loop();
        }
        true
    })?;
    let ended = |body: &str, time: Duration| -> Outcome<String> {
        let mut limits = ScriptLimits { host: host.clone(), ..ScriptLimits::default() };
        limits.condition.time = time;
        let text = format!("open(\"GET /teams/*\").when(|request| {{ {body} }});");
        let decision = decide(&load_within(&text, &limits)?)?;
        let failure = decision.failures().next().map(|(_, reason)| reason.to_owned());
        Ok(failure.unwrap_or_else(|| decision.is_allow().to_string()))
    };
    assert_eq!(ended("busy(2000)", Duration::from_secs(60))?, "true");
    for body in ["busy(2000)", "try { busy(2000) } catch { } true", "busy(2000); busy(2000)"] {
        calls.store(0, Ordering::Relaxed);
        let late = ended(body, Duration::from_millis(1))?;
        assert!(late.starts_with("`busy` returned when the time was up"), "{body}: {late}");
        // What comes after it is not called any more.
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{body}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a function that takes time needs a clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn name_is_a_word_that_means_nothing_else() -> Outcome {
    let register = |name: &str| HostFunctions::new().function(name, || true).map(|_| ());
    for name in ["a", "is_weekend", "teamOf", "x2", "hash", "Now", &"n".repeat(64)] {
        assert_eq!(register(name), Ok(()), "{name}");
    }
    for name in ["", "2x", "_x", "a-b", "a b", "über", "a\u{202e}", "a.b", "+", &"n".repeat(65)] {
        assert_eq!(register(name), Err(HostFunctionError::Name { name: name.to_owned() }), "{name}");
    }
    for name in [
        "if",
        "fn",
        "let",
        "true",
        "in",
        "switch",
        "import",
        "eval",
        "print",
        "call",
        "type_of",
        "this",
        "len",
        "starts_with",
        "parse_int",
        "some",
        "role",
        "deny",
        "when",
        "includes",
        "has_role",
        "param",
        "path",
        "token",
        "request",
        "roles",
        "sleep",
        "timestamp",
        "async",
        "new",
        "sort",
        "curry",
    ] {
        assert_eq!(register(name), Err(HostFunctionError::Taken { name: name.to_owned() }), "{name}");
    }
    let twice = HostFunctions::new().value("region", "eu")?.function("region", |_: i64| true);
    assert_eq!(twice.err(), Some(HostFunctionError::Repeated { name: "region".into() }));
    Ok(())
}

#[test]
fn as_many_as_the_limit_may_be_registered() -> Outcome {
    let with = |count: usize| {
        (0..count).try_fold(HostFunctions::new(), |host, at| host.value(&format!("value{at}"), true))
    };
    let host = with(HOST_FUNCTIONS_MAX)?;
    assert_eq!(host.names().len(), HOST_FUNCTIONS_MAX);
    let last = format!("value{}()", HOST_FUNCTIONS_MAX - 1);
    assert_eq!(outcome(&host, &last)?, "allow");
    let name = format!("value{HOST_FUNCTIONS_MAX}");
    assert_eq!(with(HOST_FUNCTIONS_MAX + 1).err(), Some(HostFunctionError::TooMany { name }));
    Ok(())
}

#[test]
fn errors_tell_what_to_do() {
    let texts = [
        HostFunctionError::Name { name: "a\u{202e}b".into() },
        HostFunctionError::Taken { name: "len".into() },
        HostFunctionError::Repeated { name: "region".into() },
        HostFunctionError::TooMany { name: "region".into() },
    ]
    .map(|error| error.to_string())
    .join("\n");
    insta::assert_snapshot!(texts, @r"
    `a�b` is no name for a function: use ASCII letters, digits and `_`, at most 64 of them, and start with a letter
    `len` means something else in policies: choose another name
    `region` is registered already: a name has one function, whatever its arguments
    `region` is one too many: a program registers at most 256 functions and values
    ");
}

#[test]
fn script_cannot_use_the_name_for_something_else() -> Outcome {
    let host = HostFunctions::new().value("region", "eu")?.function("is_paired", |n: i64| n % 2 == 0)?;
    let open = "open(\"GET /\").when(|request| region() == \"eu\");";
    assert_eq!(refusal(&host, open), "it loads");
    assert_eq!(
        refusal(&host, &format!("let o = #{{region: 1, is_paired: 2}}; o.region += 1; {open}")),
        "it loads"
    );
    for text in [
        "fn is_paired(number) { true }",
        "fn region() { \"eu\" }",
        "let region = 5;",
        "const region = 5;",
        "for region in [1] { }",
        "fn of(region) { 1 }",
        "let f = |is_paired| 1;",
        "try { } catch (region) { }",
    ] {
        let refused = refusal(&host, &format!("{text}\n{open}"));
        assert!(refused.contains("is a function of this program"), "{text}: {refused}");
        assert_eq!(
            refusal(&HostFunctions::new(), &format!("{text}\nopen(\"GET /\");")),
            "it loads",
            "{text}"
        );
    }
    insta::assert_snapshot!(refusal(&host, &format!("let region = 5;\n{open}")), @r"
    error: `region` is a function of this program
      --> p.rhai:1:5
       |
     1 | let region = 5;
       |     ^^^^^^
      = help: call it as `region(…)`, or give the variable another name
    ");
    Ok(())
}

#[test]
fn function_is_not_called_while_a_policy_is_loaded() -> Outcome {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let host = HostFunctions::new().value("region", "eu")?.function("is_paired", move |number: i64| {
        counted.fetch_add(1, Ordering::Relaxed);
        number % 2 == 0
    })?;
    for text in [
        "if is_paired(2) { open(\"GET /\"); }",
        "try { is_paired(2); } catch { open(\"GET /\"); }",
        "fn helper(number) { is_paired(number) } let unused = helper(2); open(\"GET /\");",
        "for letter in region() { open(\"GET /\"); }",
        "let found = [1, 2].filter(|number| is_paired(number)); open(\"GET /\");",
    ] {
        let refused = refusal(&host, text);
        assert!(refused.contains("is for conditions and cannot be called while"), "{text}: {refused}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    insta::assert_snapshot!(refusal(&host, "open(\"GET /\");\nif is_paired(2) { open(\"GET /even\"); }"), @r#"
    error: `is_paired` is for conditions and cannot be called while a policy is loaded
      --> p.rhai:2:4
       |
     2 | if is_paired(2) { open("GET /even"); }
       |    ^^^^^^^^^
      = help: call it within a condition: `.when(|request| is_paired(…))`
    "#);
    Ok(())
}

#[test]
fn misspelt_function_is_told_at_load_when_the_program_registers_any() -> Outcome {
    let host = HostFunctions::new().value("region", "eu")?.function("is_paired", |n: i64| n % 2 == 0)?;
    let with = |body: &str| format!("fn own(x) {{ x }}\nopen(\"GET /teams/*\").when(|request| {body});");
    for body in
        ["is_paired(2)", "own(true)", "region().len() == 2", "2.is_paired()", "[2].some(|n| is_paired(n))"]
    {
        assert_eq!(refusal(&host, &with(body)), "it loads", "{body}");
    }
    for (body, message) in [
        ("is_piared(2)", "there is no function `is_piared`"),
        ("2.is_piared()", "there is no function `is_piared`"),
        ("[2].some(|n| is_piared(n))", "there is no function `is_piared`"),
        ("is_paired(2, 3)", "`is_paired` takes one argument, not 2"),
        ("2.is_paired(3)", "`is_paired` takes one argument, not 2"),
        ("is_paired()", "`is_paired` takes one argument, not 0"),
        ("region(1) == 1", "`region` takes no argument, not 1"),
        ("region == \"eu\"", "`region` is a function of this program"),
    ] {
        let refused = refusal(&host, &with(body));
        assert!(refused.contains(message), "{body}: {refused}");
    }
    insta::assert_snapshot!(refusal(&host, &with("is_piared(2)")), @r#"
    error: there is no function `is_piared`
      --> p.rhai:2:37
       |
     2 | open("GET /teams/*").when(|request| is_piared(2));
       |                                     ^^^^^^^^^
      = help: did you mean `is_paired`?
    "#);
    Ok(())
}

#[test]
fn everything_of_the_language_is_known_when_a_program_registers_something() -> Outcome {
    let host = HostFunctions::new().value("region", "eu")?;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let shipped = String::from_utf8(std::fs::read(folder.join("stackstate.rhai"))?)?;
    assert_eq!(refusal(&host, &shipped), "it loads");
    let text = r#"
        let most = 3; let names = ["a", "b"];
        fn twice(number) { number * 2 }
        open("GET /teams/{team}").when(|request| {
            let n = -1; let m = #{a: 1, "b c": !true}; let s = `${n} and ${m.a}`;
            for i in 0..=2 { n += i % 2; n -= twice(1) ** 2; }
            let added = |x| x + most; let curried = Fn("twice"); let unset = ();
            print(s); debug(s);
            s[0] == '-' && m["a"] == 1 && "a" in names && !("c" in names) && names.some(|name| name == "a")
                && added.call(1) > most && curried.call(2) == 4 && (unset ?? 5) == 5 && m?.a == 1
                && type_of(n) == "i64" && switch n { 1 => false, -4 if n > 5 => false, _ => true }
                && request.query("n").parse_int() == 5 && s.contains("and") && s.sub_string(0, 1) != s
                && is_def_fn("twice", 1) && is_def_var("n") && 1 << 2 == 4 && (5 ^ 1) == 4 && (1 | 2) == 3
        });
    "#;
    assert_eq!(refusal(&host, text), "it loads");
    let decision = decide(&load(text, &host)?)?;
    assert!(decision.is_allow(), "{decision:?}");
    Ok(())
}

#[test]
fn policy_with_functions_of_a_program_loads_without_it_and_its_conditions_fail() -> Outcome {
    let none = HostFunctions::new();
    assert_eq!(
        outcome(&none, "is_paired(2)")?,
        "there is no function `is_paired(integer)` (line 1, column 55)"
    );
    assert!(outcome(&none, "region() == \"eu\"")?.starts_with("there is no function `region()`"));
    Ok(())
}

#[test]
fn version_tells_programs_apart_by_names_arguments_and_values() -> Outcome {
    let version = |host: HostFunctions| -> Outcome<String> {
        Ok(load("open(\"GET /\");", &host)?.version().to_string())
    };
    let of = HostFunctions::new;
    let none = version(of())?;
    let all = [
        none.clone(),
        version(of().value("region", "eu")?)?,
        version(of().value("region", "us")?)?,
        version(of().value("area", "eu")?)?,
        version(of().value("region", vec!["eu"])?)?,
        version(of().value("region", vec!["e", "u"])?)?,
        version(of().value("region", true)?)?,
        version(of().value("region", 1)?)?,
        version(of().value("region", 1.0)?)?,
        version(of().value("region", None::<i64>)?)?,
        version(of().function("region", || "eu")?)?,
        version(of().function("region", |_: i64| "eu")?)?,
    ];
    let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    assert_eq!(none, crate::policies::load("open(\"GET /\");")?.version().to_string());
    // The order in which a program registers is none.
    let (one, two) = (of().value("a", 1)?.value("b", 2)?, of().value("b", 2)?.value("a", 1)?);
    assert_eq!(version(one)?, version(two)?);
    Ok(())
}

#[test]
fn what_is_registered_is_not_printed() -> Outcome {
    let host = HostFunctions::new().value("password", SECRET)?.function("check", |_: &str| true)?;
    let limits = ScriptLimits { host, ..ScriptLimits::default() };
    let shown = format!("{limits:?}");
    assert!(shown.contains(r#"{"check", "password"}"#), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    Ok(())
}

#[test]
fn text_of_an_error_is_cut_and_made_visible() -> Outcome {
    let host = HostFunctions::new()
        .function("long", || -> Result<bool, String> { Err("x".repeat(100_000)) })?
        .function("hidden", || -> Result<bool, String> { Err("a\n\u{202e}\u{1b}[31mb".to_owned()) })?;
    let long = outcome(&host, "long()")?;
    assert!(long.starts_with("`long`: xxx") && long.len() < 600, "{}", long.len());
    assert!(outcome(&host, "hidden()")?.starts_with("`hidden`: a \u{fffd}\u{fffd}[31mb (line 1"));
    Ok(())
}

#[test]
fn many_threads_call_one_function() -> Outcome {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let host = HostFunctions::new().function("counted", move |number: i64| {
        counted.fetch_add(1, Ordering::Relaxed);
        assert!(number == 1, "every second one panics");
        true
    })?;
    let set = load(
        "role(\"r\").allow(\"GET /teams/a\").when(|request| counted(2));\n\
         role(\"r\").allow(\"GET /teams/*\").when(|request| counted(1));",
        &host,
    )?;
    let decides = || decide(&set).is_ok_and(|one| one.is_allow() && one.failures().count() == 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..50).all(|_| decides()))).collect();
        assert!(threads.into_iter().all(|thread| thread.join().is_ok_and(|all| all)));
    });
    assert_eq!(calls.load(Ordering::Relaxed), 8 * 50 * 2);
    Ok(())
}

#[test]
fn explanation_tells_what_functions_gave() -> Outcome {
    let host = all_kinds()?;
    let text = "role(\"r\").allow(\"GET /teams/*\").when(|request| region() == \"us\" || is_paired(request.time));\n\
                role(\"r\").allow(\"GET /teams/a\").when(|request| [1].some(|n| joined([\"a\"], ()) == \"b\"));\n\
                role(\"r\").allow(\"GET /teams/{team}\").when(|request| is_of(request, request.token) && team_of(\"x\") == ());";
    let set = load(text, &host)?;
    let (principal, request, now) = asked()?;
    let explained = set.explain(Some(&principal), &request, now).to_string();
    insta::assert_snapshot!(explained, @r#"
    denied: GET /teams/a, for no rule allows it
      token 100000000000000 "team-a" with the role r
      at 1970-01-01T00:00:00.007Z, policy version 5415d46f9c84db57

    nearly:
      p.rhai:1:11 allows `GET /teams/*` to `r`
          its `when` is false
            region() = "eu-west-1"
            request.time = 7
            is_paired(7) = false
      p.rhai:2:11 allows `GET /teams/a` to `r`
          its `when` is false
            joined(["a"], ()) = "a"
      p.rhai:3:11 allows `GET /teams/{team}` to `r`
          its `when` failed: `team_of`: `x` belongs to no team (line 3, column 86)
            request.token = a token
            is_of(a request, a token) = true
            team_of("x") fails: `team_of`: `x` belongs to no team
    "#);
    Ok(())
}

#[test]
fn one_set_of_functions_serves_load_after_load() -> Outcome {
    let host = all_kinds()?;
    let limits = ScriptLimits { host, ..patient() };
    for region in ["eu-west-1", "us-east-1"] {
        let text = format!("open(\"GET /teams/*\").when(|request| region() == \"{region}\");");
        let set = load_within(&text, &limits)?;
        assert_eq!(decide(&set)?.is_allow(), region == "eu-west-1");
    }
    Ok(())
}

#[test]
fn function_may_decide_by_other_policies() -> Outcome {
    let inner = crate::policies::load("open(\"GET /teams/a\").when(|request| request.time == 7);")?;
    let host = HostFunctions::new().function("is_open", move |request: &Request, now_ms: i64| {
        inner.decide(None, request, Timestamp::from_millis(now_ms)).is_allow()
    })?;
    assert_eq!(outcome(&host, "is_open(request, request.time)")?, "allow");
    assert_eq!(outcome(&host, "is_open(request, 8)")?, "deny");
    // The count of operations goes on after it.
    assert!(outcome(&host, "is_open(request, 7); loop {}")?.contains("too many operations"));
    Ok(())
}

#[test]
fn policies_that_decide_by_themselves_without_end_deny() -> Outcome {
    static SET: OnceLock<PolicySet> = OnceLock::new();
    let host = HostFunctions::new().function("is_open", |path: &str| -> Result<bool, String> {
        let request =
            Request::new(http::Method::GET, CanonicalPath::parse(path).map_err(|error| error.to_string())?);
        let set = SET.get().ok_or("not loaded")?;
        Ok(set.decide(None, &request, Timestamp::EPOCH).is_allow())
    })?;
    let text = "open(\"GET /a\").when(|request| is_open(\"/b\"));
        open(\"GET /b\").when(|request| request.path == \"/b\");
        open(\"GET /again\").when(|request| is_open(request.path));";
    let set = SET.get_or_init(|| load(text, &host).unwrap_or_else(|errors| panic!("{errors}")));
    let decide = |path| -> Outcome<Decision> {
        Ok(set.decide(None, &Request::new(http::Method::GET, CanonicalPath::parse(path)?), Timestamp::EPOCH))
    };
    assert!(decide("/a")?.is_allow());
    assert!(!decide("/again")?.is_allow());
    assert!(decide("/a")?.is_allow());
    Ok(())
}

#[test]
fn example_decides_as_it_says() -> Outcome {
    let mut printed = Vec::new();
    example::run(patient(), &mut printed)?;
    insta::assert_snapshot!(String::from_utf8(printed)?, @r"
    ci-1 POST /teams/red/deploy      allowed
    ci-1 POST /teams/blue/deploy     denied
    ci-1 POST /teams/red/deploy      denied
    ci-9 POST /teams/red/deploy      denied: `team_of`: `ci-9` is in no team (line 4, column 29)
    ci-1 GET  /teams/red             allowed
    ci-1 GET  /teams/red?region=ap   denied
    ");
    Ok(())
}
