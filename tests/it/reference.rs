//! Policies made at random, written as scripts, and decided twice: by the compiled table, and by a loop over
//! what was declared that knows nothing but the rules of the language.

pub(crate) mod model;

use model::{bindings, fault, policy, request};
use proptest::prelude::*;
use rolegate::policy::{PolicySet, ScriptLimits};

/// So many policies are made in a usual run; `PROPTEST_CASES` asks for another number.
const POLICIES: u32 = 2_000;
const REQUESTS: usize = 24;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let is_asked_for = default.cases != 256;
    let cases = if is_asked_for { default.cases } else { POLICIES };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2_000, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn table_decides_as_a_loop_over_the_declared_rules(
        policy in policy(),
        requests in proptest::collection::vec(request(), REQUESTS),
    ) {
        let bindings = bindings().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let sources = policy.sources();
        let set = PolicySet::load(&sources, &bindings, &ScriptLimits::default());
        let set = set.map_err(|errors| TestCaseError::fail(format!("{errors}\n{sources:#?}")))?;
        for request in &requests {
            let fault = fault(&set, &policy, request).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(fault.is_none(), "{}\n{:?}\n{:#?}", fault.unwrap_or_default(), request, sources);
        }
    }
}
