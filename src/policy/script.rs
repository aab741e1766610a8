//! Runs policy scripts once and collects what they declare. Nothing outside this module knows Rhai.

mod advice;
mod allowance;
mod calls;
mod capture;
mod condition;
mod declare;
mod fingerprint;
mod functions;
mod guard;
mod host;
mod lint;
mod notes;
mod run;
mod sandbox;
mod source;
mod tally;

use super::declaration::Declarations;
use super::error::Problem;
use super::host::HostFunctions;
use crate::token::RoleName;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(super) use advice::{advise, may_ask_for_any_role};
pub(super) use allowance::{Allowance, read_allowances};
pub(super) use lint::{NAME_MAX_BYTES, RoleMention, has_meaning, is_name, line_comments, printable};
pub(super) use source::SourceText;
pub use tally::{NAMES_MAX, ROUTES_MAX_BYTES, SEGMENTS_ALL_MAX};

/// The most files of one policy set.
pub const SOURCES_MAX: usize = 1_000;
/// The most bytes of all files of one policy set together.
pub const SOURCES_MAX_BYTES: usize = 32 * 1024 * 1024;
/// The native stack that scripts are read and run on, in bytes. Their depth is limited far below it.
const LOAD_STACK_BYTES: usize = 32 * 1024 * 1024;

/// One policy script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as it is to be named in messages.
    pub name: Arc<str>,
    /// The script.
    pub text: String,
}

/// What scripts may use, what the embedding program gives them, and who hears what they print.
#[derive(Clone, Debug)]
pub struct ScriptLimits {
    /// While a script runs to declare its rules.
    pub load: Limits,
    /// While one condition is evaluated.
    pub condition: Limits,
    /// Who hears what they print.
    pub printer: Printer,
    /// Functions and values of the embedding program, for conditions.
    pub host: HostFunctions,
}

/// What a script may use in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of evaluation, those within callbacks included.
    pub operations: u64,
    /// Wall-clock time; a limit for the case that single steps are slow. Loading has it once for all files.
    pub time: Duration,
    /// Calls of script functions within each other.
    pub call_levels: usize,
    /// Nesting of expressions and statements.
    pub expression_depth: usize,
    /// The longest string, in bytes; for a list or map, all strings in it together.
    pub string_bytes: usize,
    /// The most items of a list, those of lists within it included.
    pub list_items: usize,
    /// The most entries of a map, those of maps within it included.
    pub map_entries: usize,
    /// The most variables that are alive in one function.
    pub variables: usize,
    /// The most functions of a script, closures included. Does not apply to a single condition.
    pub functions: usize,
    /// The most words and signs: of a whole script, or of one closure or function.
    pub tokens: usize,
    /// The most calls of `print` and `debug`.
    pub print_lines: u32,
    /// The most bytes that they print together.
    pub print_bytes: usize,
}

/// Hears what scripts print; by default, nobody does.
#[derive(Clone, Default)]
pub struct Printer(Option<Arc<Hear>>);

type Hear = dyn Fn(&str) + Send + Sync;

/// What running all scripts gave.
pub(super) struct Loaded {
    pub(super) declared: Declarations,
    pub(super) problems: Vec<Problem>,
    /// Whether every script ran to its end, so that missing names are truly missing.
    pub(super) is_complete: bool,
    /// Roles that conditions name.
    pub(super) mentions: Vec<RoleMention>,
}

impl Source {
    /// The script itself: a mark of the byte order at the very start is what some editors write.
    fn script(&self) -> &str {
        self.text.strip_prefix('\u{feff}').unwrap_or(&self.text)
    }

    /// The script with its words, to find what a problem is about.
    pub(super) fn read_again(&self, limits: &ScriptLimits) -> SourceText {
        lint::words_again(&self.name, self.script(), limits.load.tokens)
    }
}

impl Limits {
    /// The most bytes of one script.
    pub const SOURCE_MAX_BYTES: usize = 4 * 1024 * 1024;

    /// The limits of loading.
    pub const LOAD: Self = Self {
        operations: 10_000_000,
        time: Duration::from_secs(10),
        call_levels: 32,
        expression_depth: 400,
        string_bytes: 8 * 1024,
        list_items: 10_000,
        map_entries: 1_000,
        variables: 256,
        functions: 20_000,
        tokens: 2_000_000,
        print_lines: 100,
        print_bytes: 16 * 1024,
    };

    /// The limits of one condition.
    pub const CONDITION: Self = Self {
        operations: 10_000,
        time: Duration::from_millis(50),
        call_levels: 16,
        expression_depth: 18,
        string_bytes: 4096,
        list_items: 256,
        map_entries: 64,
        variables: 32,
        functions: 0,
        tokens: 4096,
        print_lines: 10,
        print_bytes: 1024,
    };
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            load: Limits::LOAD,
            condition: Limits::CONDITION,
            printer: Printer::default(),
            host: HostFunctions::default(),
        }
    }
}

impl Printer {
    /// A printer that hands each line to `hear`.
    pub fn new(hear: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    fn print(&self, line: &str) {
        if let Some(hear) = &self.0 {
            hear(line);
        }
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Printer").field(&self.0.is_some()).finish()
    }
}

/// Runs all scripts on a thread of its own, whose stack is large enough whatever the caller's is.
///
/// # Errors
/// When the sandbox does not hold, a value of the program is too large, or no thread can be started.
pub(super) fn run(sources: &[Source], limits: &ScriptLimits) -> Result<Loaded, String> {
    sandbox::prove()?;
    host::check_values(&limits.host, &limits.condition)?;
    std::thread::scope(|scope| {
        let loader = std::thread::Builder::new().name("policy-load".to_owned()).stack_size(LOAD_STACK_BYTES);
        let thread = loader
            .spawn_scoped(scope, || run::all(sources, limits))
            .map_err(|error| format!("no thread can be started to read the policies: {error}"))?;
        thread.join().map_err(|_| "reading the policies ended in a panic".to_owned())
    })
}

/// Whether a text is a role's name, and why not.
fn role_name(text: &str) -> Result<RoleName, String> {
    RoleName::parse(text).map_err(|error| error.to_string())
}
