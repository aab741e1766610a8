//! Functions and values that the embedding program gives to conditions.

mod value;

use super::script::{self, NAME_MAX_BYTES};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub(super) use value::{Given, Value};
pub use value::{HostArgument, HostResult, HostValue};

/// The most functions and values that a program can register.
pub const HOST_FUNCTIONS_MAX: usize = 256;
/// The most arguments of a function that a program registers.
pub const HOST_ARGUMENTS_MAX: usize = 4;

/// Functions and values that a program registers for conditions.
///
/// Conditions call both alike, a value as a function without arguments. They are for conditions alone: while a
/// policy is loaded, calling one is an error. A name has one function, and a policy that uses the name for
/// something else is refused.
///
/// ```
/// use rolegate::policy::{HostFunctions, PolicySet, RoleBindings, ScriptLimits, Source};
/// use rolegate::{CanonicalPath, Request, Timestamp};
///
/// let host = HostFunctions::new()
///     .value("region", "eu-west-1")?
///     .function("is_weekend", |time_ms: i64| (time_ms / 86_400_000 + 3) % 7 >= 5)?
///     .function("quota", |team: &str| -> Result<i64, String> {
///         if team == "a" { Ok(5) } else { Err(format!("no team `{team}`")) }
///     })?;
/// let text = r#"open("GET /{team}").when(|request| {
///     region() == "eu-west-1" && !is_weekend(request.time) && quota(request.param("team")) > 0
/// });"#;
///
/// let source = Source { name: "p.rhai".into(), text: text.to_owned() };
/// let limits = ScriptLimits { host, ..ScriptLimits::default() };
/// let policies = PolicySet::load(&[source], &RoleBindings::default(), &limits)?;
/// let request = |path| Ok::<_, rolegate::path::PathError>(Request::new(http::Method::GET, CanonicalPath::parse(path)?));
/// assert!(policies.decide(None, &request("/a")?, Timestamp::EPOCH).is_allow());
///
/// let denied = policies.decide(None, &request("/b")?, Timestamp::EPOCH);
/// let (_, reason) = denied.failures().next().ok_or("the condition fails")?;
/// assert_eq!(reason, "`quota`: no team `b` (line 2, column 61)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **What a function may be.** Any closure or function that is `Send`, `Sync` and `'static`, with at most
/// [`HOST_ARGUMENTS_MAX`] arguments of the types of [`HostArgument`] and a result of those of [`HostResult`].
/// `&Request` takes what a condition has as `request`, `&Principal` what it has as `request.token`. A closure
/// writes down the types of its arguments.
///
/// **When it fails.** A condition fails when a function gives an error or is called with values of other types,
/// unless the script catches that; and, whatever the script does, when a function panics, gives more than a
/// condition may hold, or returns when the time of the condition is up. A function cannot be interrupted: it
/// must end by itself, soon. The message of a panic goes to the program's panic hook alone, not into
/// decisions and logs; the text of an error goes into both, and what a function was given and gave into
/// explanations: neither should tell secrets.
///
/// **What it sees.** Functions are called by every thread that decides. A condition is evaluated only when it
/// can change the answer, so that effects of a function cannot be relied on; and a decision should follow from
/// the request and its time, so that it can be explained later.
#[derive(Clone, Default)]
pub struct HostFunctions {
    entries: BTreeMap<Arc<str>, Entry>,
}

/// Why a function or value cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostFunctionError {
    /// The name is none.
    #[error(
        "`{}` is no name for a function: use ASCII letters, digits and `_`, at most {NAME_MAX_BYTES} of them, and start with a letter",
        shown(name)
    )]
    Name {
        /// What was to be the name.
        name: String,
    },
    /// The name already means something to policies.
    #[error("`{name}` means something else in policies: choose another name")]
    Taken {
        /// The name.
        name: String,
    },
    /// The name is registered.
    #[error("`{name}` is registered already: a name has one function, whatever its arguments")]
    Repeated {
        /// The name.
        name: String,
    },
    /// There are [`HOST_FUNCTIONS_MAX`] functions and values.
    #[error(
        "`{name}` is one too many: a program registers at most {HOST_FUNCTIONS_MAX} functions and values"
    )]
    TooMany {
        /// The name.
        name: String,
    },
}

/// A function that can be registered: see [`HostFunctions`].
///
/// Implemented for closures and functions; `Signature` tells them apart and is always inferred.
pub trait HostFunction<Signature>: Send + Sync + 'static {
    #[doc(hidden)]
    const ARGUMENTS: usize;

    #[doc(hidden)]
    fn call(&self, arguments: &[Given<'_>]) -> Result<Value, CallFault>;
}

/// Why a call gave nothing.
#[derive(Debug)]
pub enum CallFault {
    /// The argument at this place, from 0, is of another type than the function takes; the text tells which.
    Argument(usize, String),
    /// The function said so.
    Failed(String),
    /// The function panicked.
    Panicked,
}

/// What stands behind a name.
#[derive(Clone)]
pub(super) enum Entry {
    Value(Value),
    Function(Arc<dyn Callable>),
}

/// A registered function, whatever its signature.
pub(super) trait Callable: Send + Sync {
    fn arguments(&self) -> usize;

    /// Calls the function.
    ///
    /// # Errors
    /// When it fails, panics, or takes other arguments.
    fn call(&self, arguments: &[Given<'_>]) -> Result<Value, CallFault>;
}

impl HostFunctions {
    /// None at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a value, which conditions read as `name()`.
    ///
    /// # Errors
    /// When the name is none or is taken, or too much is registered.
    pub fn value(self, name: &str, value: impl HostValue) -> Result<Self, HostFunctionError> {
        self.with(name, Entry::Value(value.into_value()))
    }

    /// The same with a function, which conditions call as `name(…)`.
    ///
    /// # Errors
    /// When the name is none or is taken, or too much is registered.
    pub fn function<Signature: 'static>(
        self,
        name: &str,
        function: impl HostFunction<Signature>,
    ) -> Result<Self, HostFunctionError> {
        let callable = Guarded { function, signature: std::marker::PhantomData };
        self.with(name, Entry::Function(Arc::new(callable)))
    }

    /// The names of all functions and values, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.keys().map(|name| &**name)
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.entries.iter()
    }

    /// How many arguments the function of this name takes; `None` when there is none.
    pub(super) fn arguments_of(&self, name: &str) -> Option<usize> {
        self.entries.get(name).map(Entry::arguments)
    }

    /// Hands out what tells these functions from others: names, numbers of arguments, and values. What a
    /// function computes cannot be seen.
    pub(super) fn describe(&self, part: &mut dyn FnMut(&str)) {
        part(&self.entries.len().to_string());
        for (name, entry) in &self.entries {
            part(name);
            match entry {
                Entry::Value(value) => value.describe(part),
                Entry::Function(function) => {
                    part("function");
                    part(&function.arguments().to_string());
                }
            }
        }
    }

    fn with(mut self, name: &str, entry: Entry) -> Result<Self, HostFunctionError> {
        let named = || name.to_owned();
        if !script::is_name(name) {
            return Err(HostFunctionError::Name { name: named() });
        }
        if script::has_meaning(name) {
            return Err(HostFunctionError::Taken { name: named() });
        }
        if self.entries.contains_key(name) {
            return Err(HostFunctionError::Repeated { name: named() });
        }
        if self.entries.len() >= HOST_FUNCTIONS_MAX {
            return Err(HostFunctionError::TooMany { name: named() });
        }
        self.entries.insert(Arc::from(name), entry);
        Ok(self)
    }
}

impl fmt::Debug for HostFunctions {
    /// Names alone: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Entry {
    pub(super) fn arguments(&self) -> usize {
        match self {
            Self::Value(_) => 0,
            Self::Function(function) => function.arguments(),
        }
    }
}

/// A function whose panics end in a value.
struct Guarded<F, Signature> {
    function: F,
    signature: std::marker::PhantomData<fn() -> Signature>,
}

impl<Signature: 'static, F: HostFunction<Signature>> Callable for Guarded<F, Signature> {
    fn arguments(&self) -> usize {
        F::ARGUMENTS
    }

    fn call(&self, arguments: &[Given<'_>]) -> Result<Value, CallFault> {
        // What a panic leaves behind in the function's own state is the program's, as with any other thread.
        let result = catch_unwind(AssertUnwindSafe(|| self.function.call(arguments)));
        result.unwrap_or_else(|payload| {
            // Dropping what was thrown may panic once more.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            Err(CallFault::Panicked)
        })
    }
}

macro_rules! host_functions {
    ($($count:literal: $($argument:ident $type:ident $at:literal),*;)*) => {$(
        impl<F, R, $($type),*> HostFunction<fn($($type),*) -> R> for F
        where
            F: Fn($($type),*) -> R + for<'v> Fn($($type::Taken<'v>),*) -> R + Send + Sync + 'static,
            R: HostResult,
            $($type: HostArgument,)*
        {
            const ARGUMENTS: usize = $count;

            fn call(&self, arguments: &[Given<'_>]) -> Result<Value, CallFault> {
                // Of the two ways to call the function, this takes the one by borrowed arguments.
                fn call<R, $($type),*>(function: impl Fn($($type),*) -> R, $($argument: $type),*) -> R {
                    function($($argument),*)
                }
                debug_assert_eq!(arguments.len(), $count, "registered for as many");
                $(let $argument = taken::<$type>(arguments, $at)?;)*
                call(self, $($argument),*).into_result().map_err(CallFault::Failed)
            }
        }
    )*};
}

host_functions! {
    0: ;
    1: a A 0;
    2: a A 0, b B 1;
    3: a A 0, b B 1, c C 2;
    4: a A 0, b B 1, c C 2, d D 3;
}

fn taken<'v, A: HostArgument>(arguments: &[Given<'v>], at: usize) -> Result<A::Taken<'v>, CallFault> {
    arguments.get(at).and_then(A::take).ok_or_else(|| CallFault::Argument(at, A::expected()))
}

/// The start of a name that is none, as it can be printed.
fn shown(name: &str) -> String {
    script::printable(name, NAME_MAX_BYTES)
}
