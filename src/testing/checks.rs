//! Checks that explain themselves when they fail, in the words of `rolegate policy explain`.

use super::{Ask, Caller, World, fail};
use std::fmt;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The policies permit it.
    Permitted,
    /// It is a live token's, and the policies do not permit it: 403.
    Denied,
    /// It needs a live token and has none: 401.
    Unauthenticated,
    /// It can be read in two ways, and no policy is asked: 400.
    Malformed,
}

/// Fails the test, with the reasons of the decision, unless this becomes of the request. The macros call it.
#[track_caller]
pub fn assert_outcome<'a>(
    world: &World,
    caller: impl Into<Caller<'a>>,
    ask: impl Into<Ask>,
    expected: Outcome,
) {
    let (caller, ask) = (caller.into(), ask.into());
    let outcome = world.check(caller, ask.clone());
    if outcome != expected {
        let who = match caller {
            Caller::Nobody => "a request without a token".to_owned(),
            Caller::Token(name) => format!("a request of `{name}`"),
        };
        let told = world.explain(caller, ask);
        fail(&format!("{who} should be {expected}, and is {outcome}\n\n{told}\n"));
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permitted => "permitted",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Malformed => "malformed",
        })
    }
}

/// Asserts that a world permits each of these requests to a caller:
/// `assert_permits!(world, "ci", "GET /api/things", "GET /api/other")`.
#[doc(hidden)]
#[macro_export]
macro_rules! assert_permits {
    ($world:expr, $caller:expr, $($ask:expr),+ $(,)?) => {{
        $($crate::testing::assert_outcome(&$world, $caller, $ask, $crate::testing::Outcome::Permitted);)+
    }};
}

/// Asserts that a world denies each of these requests to a caller whose token is live:
/// `assert_denies!(world, "ci", "GET /api/secrets")`.
#[doc(hidden)]
#[macro_export]
macro_rules! assert_denies {
    ($world:expr, $caller:expr, $($ask:expr),+ $(,)?) => {{
        $($crate::testing::assert_outcome(&$world, $caller, $ask, $crate::testing::Outcome::Denied);)+
    }};
}

/// Asserts that each of these requests needs a live token, and that the caller has none:
/// `assert_unauthenticated!(world, NOBODY, "GET /api/things")`.
#[doc(hidden)]
#[macro_export]
macro_rules! assert_unauthenticated {
    ($world:expr, $caller:expr, $($ask:expr),+ $(,)?) => {{
        $($crate::testing::assert_outcome(&$world, $caller, $ask, $crate::testing::Outcome::Unauthenticated);)+
    }};
}

/// Asserts that each of these requests can be read in two ways, so that no policy is asked, whoever makes it:
/// `assert_malformed!(world, "GET /api//things")`.
#[doc(hidden)]
#[macro_export]
macro_rules! assert_malformed {
    ($world:expr, $($ask:expr),+ $(,)?) => {{
        $($crate::testing::assert_outcome(
            &$world,
            $crate::testing::NOBODY,
            $ask,
            $crate::testing::Outcome::Malformed,
        );)+
    }};
}
