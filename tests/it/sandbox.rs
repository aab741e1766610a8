//! The sandbox of conditions: every limit at the limit and past it, on a small stack, and what a script cannot
//! get around.

use crate::corpus_scripts::{decide, watched};
use crate::policies::load;
use rolegate::policy::{Limits, PolicySet, Printer, RoleBindings, ScriptLimits, Source};
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// How a condition with this body ends: `allow`, `deny`, or why it failed.
fn outcome(functions: &str, body: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let policy = format!("{functions}\nrole(\"r\").allow(\"GET /x\").when(|request| {{ {body} }});");
    watched(move || {
        let set = load(&policy)?;
        let decision = decide(&set, "/x")?;
        Ok(match decision.failures().next() {
            Some((_, reason)) => reason.to_owned(),
            None if decision.is_allow() => "allow".to_owned(),
            None => "deny".to_owned(),
        })
    })?
}

#[test]
fn every_limit_holds_at_the_limit_and_past_it() -> Outcome {
    let limits = Limits::CONDITION;
    let numbers =
        |count: usize| format!("let l = []; for i in 0..{count} {{ l.push(i); }} l.len() == {count}");
    let text = |bytes: usize| format!("let s = \"x\"; s.pad({bytes}, \"x\"); s.len() == {bytes}");
    let entries = |count: usize| format!("let m = #{{}}; for i in 0..{count} {{ m[`k${{i}}`] = 0; }} true");
    let variables = |count: usize| {
        let declared: String = (0..count).map(|i| format!("let v{i} = {i};")).collect();
        format!("{declared} true")
    };
    let lines = |count: u32| format!("for i in 0..{count} {{ print(i); }} true");
    for (functions, fits, breaks, reason) in [
        ("", numbers(limits.list_items), numbers(limits.list_items + 1), "the list is full"),
        ("", text(limits.string_bytes), text(limits.string_bytes + 1), "string too large"),
        // The entry past the limit is seen when the map is looked at the next time.
        ("", entries(limits.map_entries), entries(limits.map_entries + 2), "object map too large"),
        // The request is a variable too.
        ("", variables(limits.variables - 1), variables(limits.variables), "too many variables"),
        ("", lines(limits.print_lines), lines(limits.print_lines + 1), "too much is printed"),
        (
            "fn down(n) { if n == 0 { true } else { down(n - 1) } }",
            format!("down({})", limits.call_levels - 1),
            format!("down({})", limits.call_levels),
            "stack overflow",
        ),
        (
            "",
            "let n = 0; while n < 1000 { n += 1; } true".to_owned(),
            "loop {}".to_owned(),
            "too many operations",
        ),
    ] {
        assert_eq!(outcome(functions, &fits)?, "allow", "{fits}");
        let broken = outcome(functions, &breaks)?;
        assert!(broken.contains(reason), "{breaks}: {broken}");
    }
    Ok(())
}

#[test]
fn limits_cannot_be_caught_hidden_or_counted_anew() -> Outcome {
    let functions = "fn f(x) { f(x) } fn w(n, f) { w(n + 1, f.curry(f)) }";
    for (body, reason) in [
        ("try { f(1) } catch { true }", "stack overflow"),
        ("try { [1].map(|x| f(x)) } catch { true }", "stack overflow"),
        ("try { loop {} } catch { true }", "too many operations"),
        ("try { [1].some(|x| { loop {} }) } catch { true }", "too many operations"),
        ("[3, 2, 1].sort(|a, b| f(a)); true", "stack overflow"),
        ("[3, 2, 1].sort(|a, b| { loop {} }); true", "too many operations"),
        (
            "let l = [1,2,3,4,5,6,7,8,9]; l.map(|a| l.map(|b| l.map(|c| l.map(|d| a + d).len()).len()).len()); true",
            "too many operations",
        ),
        ("loop { try { throw 1; } catch { } }", "too many operations"),
        ("loop { try { [1].reduce(|a, b| throw 2) } catch { } }", "too many operations"),
        ("for i in 0..9223372036854775807 {} true", "too many operations"),
        ("try { for i in 0..99 { print(i); } } catch { } true", "too much is printed"),
        (
            "print(\"0123456789abcdef\"); let s = \"x\"; s.pad(2000, \"x\"); print(s); true",
            "too much is printed",
        ),
        // Nothing is counted after the last call, so that the flag alone makes these fail.
        ("let s = \"x\"; s.pad(2000, \"x\"); print(s) == ()", "too much is printed"),
        ("let s = \"x\"; s.pad(2000, \"x\"); () == print(s)", "too much is printed"),
        ("let g = |x| x; loop { g = g.curry(g); }", "hold too many values"),
        ("let g = |x| x; loop { let h = g; g = |y| h; }", "hold too many values"),
        ("let g = |x| x; loop { g = (|x| x).curry([g, g]); }", "hold too many values"),
        ("let m = #{a: 1}; let g = |x| x; loop { m.f = g; g = g.curry(m); }", "hold too many values"),
        ("let a = [1]; loop { a[0] = a; }", "hold too many values"),
        (
            "let a = []; a.push(0); let b = [0, 0, 0]; for i in 0..250 { a.push(i); } b[0] = a; b[1] = a; b.len() == 3",
            "array",
        ),
        (
            "let s = \"x\"; s.pad(4000, \"x\"); let a = [0, 0, 0]; for i in 0..3 { a[i] = s + i; } true",
            "string",
        ),
        ("w(0, |x| x)", "hold too many values"),
        ("let s = \"a\"; s.pad(4000, \"a\"); s.replace(\"a\", \"bbbbbbbb\"); true", "the text is too long"),
        ("let s = \"a\"; s.pad(4000, \"a\"); s.split(\"a\"); true", "the list is full"),
        ("let l = []; try { for i in 0..300 { l.push(i); } } catch { } true", "the list is full"),
        (
            "let s = \"a\"; s.pad(4000, \"a\"); try { s.replace(\"a\", \"bb\"); } catch { } true",
            "the text is too long",
        ),
        ("let s = \"a\"; s.pad(4000, \"a\"); try { s.split(\"a\"); } catch { } true", "the list is full"),
        (
            "let s = \"a\"; s.pad(2000, \"a\"); try { [s, \"b\", \"c\"].join(s); } catch { } true",
            "the text is too long",
        ),
        ("let l = []; l.push(|x| x); true", "a list cannot hold a function"),
        ("let l = []; l.push([#{a: |x| x}]); true", "a list cannot hold a function"),
        ("[1].map(|x| |y| x).len() == 1", "a list cannot hold a function"),
    ] {
        let ended = outcome(functions, body)?;
        assert!(ended.contains(reason), "{body}: {ended}");
    }
    Ok(())
}

#[test]
fn time_is_a_limit_of_its_own() -> Outcome {
    let mut limits = ScriptLimits::default();
    limits.condition.operations = u64::MAX;
    let text = "role(\"r\").allow(\"GET /x\").when(|r| { loop {} });";
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    let set = PolicySet::load(&[source], &RoleBindings::default(), &limits)?;
    let decision = watched(move || decide(&set, "/x"))??;
    assert_eq!(decision.failures().next().map(|(_, reason)| reason), Some("the time is up"));
    Ok(())
}

#[test]
fn deepest_allowed_script_runs_on_a_small_stack() -> Outcome {
    // Each level nests as many expressions as a function may.
    let functions = "fn d(n) { if n > 0 { [n].map(|m| 1 + (1 + d(m - 1))).first() } else { 0 } }";
    assert_eq!(outcome(functions, "d(4) == 8")?, "allow");
    let deep = outcome(functions, "d(100) == 200")?;
    assert!(deep.contains("stack overflow") || deep.contains("nested too deeply"), "{deep}");
    // A closure nests deeper than a function may; what the stack cannot hold ends the condition.
    for body in [
        format!("{}1{} == 41", "(1 + ".repeat(40), ")".repeat(40)),
        format!("{}true", "!!".repeat(150)),
        format!(
            "if request.time == 1 {{ false }} {} else {{ true }}",
            "else if request.time == 2 { false }".repeat(80)
        ),
        format!("[{}1{}].len() == 1", "[".repeat(40), "]".repeat(40)),
        format!("{}1{} == 1", "[1].map(|x| ".repeat(15), ").first()".repeat(15)),
    ] {
        let ended = outcome("", &body)?;
        let is_stopped = ended.contains("nested too deeply") || ended.contains("stack overflow");
        assert!(ended == "allow" || is_stopped, "{body}: {ended}");
    }
    Ok(())
}

#[test]
fn captures_are_copies_and_carry_nothing_from_one_decision_to_the_next() -> Outcome {
    let set = load(
        "let limits = [2];\n\
         role(\"r\").allow(\"GET /x\").when(|request| limits.len() == 1 && limits.contains(2));\n\
         role(\"r\").allow(\"GET /y\").when(|request| { limits.push(1); limits.len() < 3 });",
    )?;
    for _ in 0..5 {
        assert!(decide(&set, "/x")?.is_allow());
        let changed = decide(&set, "/y")?;
        assert!(!changed.is_allow() && changed.failures().count() == 1, "{changed:?}");
    }
    for (body, ended) in [
        ("let l = [\"/x\", \"/y\"]; l.some(|path| request.path == path)", "allow"),
        ("let l = [1, 2]; l.all(|a| l.some(|b| a == b))", "allow"),
        ("let p = request.path; [\"/x\"].filter(|q| q == p).len() == 1", "allow"),
        ("let a = 1; let f = |x| x + a; f.call(2) == 3", "allow"),
        ("let fs = |x| x * 2; [1, 2].map(fs).reduce(|s, v| s + v, 0) == 6", "allow"),
    ] {
        assert_eq!(outcome("", body)?, ended, "{body}");
    }
    Ok(())
}

#[test]
fn what_scripts_print_goes_to_the_printer_of_whoever_loads() -> Outcome {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&heard);
    let printer = Printer::new(move |line| {
        if let Ok(mut lines) = lines.lock() {
            lines.push(line.to_owned());
        }
    });
    let limits = ScriptLimits { printer, ..ScriptLimits::default() };
    let text = "print(\"loading\"); role(\"r\").allow(\"GET /x\").when(|r| { debug(r.path); true });";
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    let set = PolicySet::load(&[source], &RoleBindings::default(), &limits)?;
    assert!(decide(&set, "/x")?.is_allow());
    assert_eq!(*heard.lock().map_err(|_| "poisoned")?, ["loading", "\"/x\""]);
    Ok(())
}

#[test]
fn many_threads_evaluate_one_condition() -> Outcome {
    let set = load("role(\"r\").allow(\"GET /x\").when(|request| [\"/x\"].some(|p| request.path == p));")?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..200).all(|_| decide(&set, "/x").is_ok_and(|d| d.is_allow()))))
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().is_ok_and(|all| all)));
    });
    Ok(())
}

#[test]
fn limit_that_was_hit_by_the_last_statement_refuses_the_policy() {
    let prints =
        |count: u32| load(&format!("open(\"GET /\"); for i in 1..{count} {{ print(i); }} print(0);"));
    assert!(prints(Limits::LOAD.print_lines).is_ok());
    let errors =
        prints(Limits::LOAD.print_lines + 1).map_or_else(|errors| errors.to_string(), |_| String::new());
    assert!(errors.contains("too much is printed"), "{errors}");
}

#[test]
fn limits_of_loading_hold() {
    let open = "open(\"GET /\");";
    let refused = |text: &str| load(text).map_or_else(|errors| errors.to_string(), |_| "it loads".to_owned());
    let accepted = |text: &str| assert!(load(text).is_ok(), "{:.60}", text);
    let rules = |count: usize| "role(\"r\").allow(\"GET /x\");\n".repeat(count);
    accepted(&rules(2000));

    let chained = |count: usize| format!("role(\"r\"){};", ".allow(\"GET /x\")".repeat(count));
    accepted(&chained(340));
    assert!(refused(&chained(500)).contains("operators stand in one row"));

    let nested = |depth: usize| format!("{open} let a = {}1{};", "[".repeat(depth), "]".repeat(depth));
    accepted(&nested(20));
    assert!(refused(&nested(60)).contains("brackets are nested"));

    let large = |bytes: usize| format!("{open}//{}", "x".repeat(bytes - open.len() - 2));
    accepted(&large(Limits::SOURCE_MAX_BYTES));
    assert!(refused(&large(Limits::SOURCE_MAX_BYTES + 1)).contains("bytes"));

    let lines = |count: usize| format!("{}{open}", "\n".repeat(count - 1));
    accepted(&lines(65_534));
    assert!(refused(&lines(65_535)).contains("split it into several files"));
    let indented = |column: usize| format!("{}{open}", " ".repeat(column - open.len()));
    accepted(&indented(65_534));
    assert!(refused(&indented(65_535)).contains("split it into several files"));

    let condition =
        |words: usize| format!("open(\"GET /\").when(|r| {{ {} true }});", "1;".repeat(words / 2));
    accepted(&condition(4000));
    assert!(refused(&condition(5000)).contains("at most 4096 words"));

    let functions = |count: usize| {
        let defined: String = (0..count).map(|n| format!("fn f{n}() {{}};\n")).collect();
        format!("{defined}{open}")
    };
    accepted(&functions(1000));
    assert!(refused(&functions(Limits::LOAD.functions + 1)).contains("functions"));
}

#[cfg(feature = "cli")]
#[test]
fn nothing_that_a_script_prints_reaches_the_output_of_a_program() -> Outcome {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("p.rhai"), "print(\"LEAK\"); debug(\"LEAK\"); open(\"GET /\");")?;
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_rolegate"))
        .args(["policy", "check"])
        .arg(folder.path())
        .output()?;
    let stdout = String::from_utf8(check.stdout)?;
    assert!(check.status.success() && !stdout.is_empty(), "{stdout}");
    assert!(!stdout.contains("LEAK"), "{stdout}");
    Ok(())
}

/// All problems of loading these files, each named after its place; empty when they load.
fn problems_of(texts: &[String], limits: &ScriptLimits) -> String {
    let named = texts.iter().enumerate();
    let sources: Vec<Source> = named
        .map(|(at, text)| Source { name: Arc::from(format!("{at}.rhai")), text: text.clone() })
        .collect();
    PolicySet::load(&sources, &RoleBindings::default(), limits)
        .map_or_else(|errors| errors.to_string(), |_| String::new())
}

#[test]
fn loop_cannot_declare_without_end() {
    let mut limits = ScriptLimits::default();
    limits.load.time = Duration::from_secs(600);
    let routes = "let l = []; for i in 0..1300 { l.push(\"ANY /a\"); }";
    let permission = "permission(\"p\", l);";
    for (start, body, count, reason) in [
        // Each time: so often it fits, and far more often it does not.
        (routes.replace("/a", "/"), "open(l);", 3, "too much is declared"),
        (
            "let l = []; for i in 0..4000 { l.push(\"r\"); } role(\"r\");".into(),
            "role(\"q\").includes(l);",
            3,
            "too much",
        ),
        (format!("{routes} {permission}"), "role(\"r\").grants(\"p\");", 3, "more than 1000000 routes"),
    ] {
        let text = |count: usize| format!("{start} for n in 0..{count} {{ {body} }} open(\"GET /\");");
        let fits = problems_of(&[text(count)], &limits);
        assert!(fits.is_empty(), "{body}: {fits}");
        let refused = problems_of(&[text(70_000)], &limits);
        assert!(refused.contains(reason), "{body}: {refused}");
    }
    let wrong = format!("{} loop {{ open(l); }}", routes.replace("ANY", "x"));
    assert!(problems_of(&[wrong], &limits).contains("is no route"));
}

#[test]
fn files_share_the_time_and_the_bytes() {
    let mut limits = ScriptLimits::default();
    let files = [String::from("open(\"GET /a\");"), String::from("open(\"GET /b\");")];
    assert_eq!(problems_of(&files, &limits), "");
    limits.load.time = Duration::ZERO;
    assert!(problems_of(&files, &limits).contains("the time is up before this file is read"));

    // However slow the machine is: it is the bytes that matter here.
    let mut limits = ScriptLimits::default();
    limits.load.time = Duration::from_secs(600);
    let open = "open(\"GET /a\"); //";
    let comment = format!("{open}{}", "x".repeat(Limits::SOURCE_MAX_BYTES - open.len()));
    assert_eq!(problems_of(&vec![comment.clone(); 8], &limits), "");
    assert!(problems_of(&vec![comment; 9], &limits).contains("more than 33554432 bytes together"));
}
