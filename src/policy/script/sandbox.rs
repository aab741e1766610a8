//! The engines that run scripts: only chosen functions, every limit set, and a proof that the limits hold.

use super::condition::{RequestView, TokenView};
use super::declare::{Declaring, RoleHandle, RuleHandle};
use super::{Limits, Printer, ScriptLimits, capture, condition, declare, functions, guard, host};
use crate::policy::host::HostFunctions;
use once_cell::sync::OnceCell;
use parking_lot::{Mutex, RwLock};
use rhai::packages::{
    ArithmeticPackage, BasicFnPackage, BasicIteratorPackage, BasicMathPackage, BasicStringPackage,
    LogicPackage, MoreStringPackage, Package,
};
use rhai::{Dynamic, Engine, OptimizationLevel};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rhai's own count of operations stands this many times above ours, which comes first and cannot be caught.
const OWN_COUNT_SLACK: u64 = 2;
/// Functions that rhai's evaluator provides by itself.
const BUILT_IN: [&str; 10] =
    ["print", "debug", "type_of", "eval", "Fn", "call", "curry", "is_shared", "is_def_var", "is_def_fn"];

rhai::def_package! {
    /// What rhai's own packages give, in one module: each further one is looked through at each first call.
    Library(_module): ArithmeticPackage, LogicPackage, BasicMathPackage, BasicStringPackage, MoreStringPackage,
        BasicIteratorPackage, BasicFnPackage {}
}

/// The engine that loads, with the names of all functions that scripts can call.
pub(super) struct Sandbox {
    pub(super) engine: Engine,
    /// The variables of the current script that closures capture.
    pub(super) captured: Arc<RwLock<BTreeSet<String>>>,
    /// What the embedding program has registered.
    pub(super) host: HostFunctions,
    names: BTreeSet<String>,
}

impl Sandbox {
    /// An engine in which scripts declare into `declaring`.
    pub(super) fn for_loading(limits: &ScriptLimits, declaring: &Arc<Mutex<Declaring>>) -> Self {
        let mut engine = base(&limits.load, &limits.printer);
        engine
            .set_max_functions(limits.load.functions)
            .set_max_expr_depths(limits.load.expression_depth, limits.condition.expression_depth);
        declare::register(&mut engine, declaring);
        host::register_refusals(&mut engine, &limits.host);
        let captured = Arc::new(RwLock::new(BTreeSet::new()));
        capture::resolve_with(&mut engine, Arc::clone(&captured));
        let mut names = names(&engine);
        names.extend(self::names(&for_conditions(limits)));
        Self { engine, captured, host: limits.host.clone(), names }
    }

    /// Whether scripts can call a function of this name without defining it.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The names of all functions.
    pub(super) fn functions(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// The engine that evaluates the conditions of a script whose values rhai's own limits hold.
pub(super) fn for_conditions(limits: &ScriptLimits) -> Engine {
    let mut engine = base(&limits.condition, &limits.printer);
    // Nothing is compiled here; a script that tried would find no room.
    engine.set_max_functions(0).set_max_expr_depths(1, 1);
    condition::register(&mut engine);
    host::register(&mut engine, &limits.host);
    engine
}

/// The engine that evaluates the conditions of any other script: it watches each variable that is read.
pub(super) fn for_conditions_with(limits: &ScriptLimits, captured: &BTreeSet<String>) -> Engine {
    let mut engine = for_conditions(limits);
    capture::resolve_with(&mut engine, Arc::new(RwLock::new(captured.clone())));
    engine
}

fn base(limits: &Limits, printer: &Printer) -> Engine {
    let mut engine = Engine::new_raw();
    Library::new().register_into_engine(&mut engine);
    functions::register(&mut engine);
    // A limit of zero would mean none.
    engine
        .set_optimization_level(OptimizationLevel::None)
        .set_strict_variables(true)
        .set_max_modules(0)
        .set_max_strings_interned(0)
        .set_max_operations(limits.operations.saturating_mul(OWN_COUNT_SLACK).max(1))
        .set_max_call_levels(limits.call_levels)
        .set_max_string_size(limits.string_bytes.max(1))
        .set_max_array_size(limits.list_items.max(1))
        .set_max_map_size(limits.map_entries.max(1))
        .set_max_variables(limits.variables);
    engine.on_progress(|_| guard::operation().map(|hit| Dynamic::from(hit.to_string())));
    let (printed, debugged) = (printer.clone(), printer.clone());
    engine.on_print(move |line| guard::print(&printed, line));
    engine.on_debug(move |line, _, _| guard::print(&debugged, line));
    engine
}

fn names(engine: &Engine) -> BTreeSet<String> {
    let registered = engine.collect_fn_metadata(None, |info| Some(info.metadata.name.to_string()), true);
    let is_word = |name: &String| name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    registered.into_iter().filter(is_word).chain(BUILT_IN.map(str::to_owned)).collect()
}

/// The engine that loads without anything of an embedding program, to ask for what words mean.
pub(super) fn bare() -> &'static Sandbox {
    static BARE: OnceCell<Sandbox> = OnceCell::new();
    BARE.get_or_init(|| {
        let limits = ScriptLimits::default();
        let conditions = Arc::new(for_conditions(&limits));
        Sandbox::for_loading(&limits, &Arc::new(Mutex::new(Declaring::new(&conditions, &limits))))
    })
}

/// A value's type, with its article.
pub(super) fn type_in_words(value: &Dynamic) -> &'static str {
    if value.is_unit() {
        "nothing"
    } else if value.is_bool() {
        "a boolean"
    } else if value.is_int() {
        "an integer"
    } else if value.is_float() {
        "a decimal number"
    } else if value.is_char() {
        "a character"
    } else if value.is_string() {
        "a text"
    } else if value.is_array() {
        "a list"
    } else if value.is_map() {
        "a map"
    } else if value.is_fnptr() {
        "a function"
    } else if value.is::<RoleHandle>() {
        "a role"
    } else if value.is::<RuleHandle>() {
        "a rule"
    } else if value.is::<RequestView>() {
        "a request"
    } else if value.is::<TokenView>() {
        "a token"
    } else {
        "another value"
    }
}

/// Proves, once in a process, that this build of rhai stops what has to be stopped. Features of rhai that
/// another crate of the build has switched on could have taken the limits away.
///
/// # Errors
/// When it does not.
pub(super) fn prove() -> Result<(), String> {
    static PROOF: OnceCell<()> = OnceCell::new();
    PROOF.get_or_try_init(prove_now).copied()
}

fn prove_now() -> Result<(), String> {
    let limits = ScriptLimits::default();
    let mut engine = base(&limits.condition, &limits.printer);
    // The closure of the last script is a function too.
    engine.set_max_functions(2).set_max_expr_depths(32, 32);
    prove_of(&engine, &limits.condition)
}

/// Each probe goes past one limit and ends by itself soon after, should the limit not be there.
fn prove_of(engine: &Engine, limits: &Limits) -> Result<(), String> {
    let probes = [
        ("a long loop", "let n = 0; while n < 100000 { n += 1; }"),
        ("a deep recursion", "fn f(n) { if n == 0 { 0 } else { f(n - 1) } } f(40)"),
        ("a long text", "let s = \"x\"; for i in 0..14 { s += s; }"),
        ("a long list", "let l = []; for i in 0..300 { l.push(i); }"),
        ("a large map", "let m = #{}; for i in 0..99 { m[`k${i}`] = i; } m.a = 1; m"),
        ("an overflow of integers", "let n = 9223372036854775807; n + 1"),
        ("a third function", "fn f() {} fn g() {} fn h() {}"),
    ];
    for (what, script) in probes {
        let (result, hit) = guard::within(limits, || engine.eval::<Dynamic>(script));
        if result.is_ok() && hit.is_none() {
            return Err(unsafe_build(&format!("it does not stop {what}")));
        }
    }
    let works = "fn f(n) { n * 2 } let l = [1, 2]; l.map(|n| f(n)).contains(4) && #{a: 1}.a == 1 && 1.5 > 1";
    let (result, hit) = guard::within(limits, || engine.eval::<bool>(works));
    match (result, hit) {
        (Ok(true), None) => Ok(()),
        (Ok(_), _) => Err(unsafe_build("it computes wrongly")),
        (Err(error), _) => Err(unsafe_build(&format!("it refuses what is allowed: {error}"))),
    }
}

fn unsafe_build(why: &str) -> String {
    format!(
        "this build of the script engine cannot run policies: {why}; another crate of the build has \
         switched on features of `rhai` that take its limits away: see `cargo tree -e features -i rhai`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Loosen = fn(&mut Engine);

    fn proof(loosen: impl FnOnce(&mut Engine)) -> Result<(), String> {
        let limits = ScriptLimits::default();
        let mut engine = base(&limits.condition, &limits.printer);
        engine.set_max_functions(2).set_max_expr_depths(32, 32);
        loosen(&mut engine);
        prove_of(&engine, &limits.condition)
    }

    #[test]
    fn engine_with_its_limits_is_proved_and_one_without_any_of_them_is_not() {
        assert_eq!(proof(|_| {}), Ok(()));
        let refusals: [(&str, Loosen); 6] = [
            ("a long loop", |engine| {
                engine.set_max_operations(0).on_progress(|_| None);
            }),
            ("a deep recursion", |engine| {
                engine.set_max_call_levels(100).on_progress(|_| None);
            }),
            ("a long text", |engine| {
                engine.set_max_string_size(0);
            }),
            ("a long list", |engine| {
                engine.set_max_array_size(1000);
            }),
            ("a large map", |engine| {
                engine.set_max_map_size(0);
            }),
            ("a third function", |engine| {
                engine.set_max_functions(5);
            }),
        ];
        for (what, loosen) in refusals {
            let error = proof(loosen).unwrap_err();
            assert!(error.contains(what), "{what}: {error}");
        }
        let strict = proof(|engine| {
            engine.set_max_functions(1);
        });
        assert!(strict.unwrap_err().contains("refuses what is allowed"));
    }
}
