//! Policies made at random, written as scripts, and decided twice: by the compiled table, and by a loop over
//! what was declared that knows nothing but the rules of the language.

pub(crate) mod comparison;
pub(crate) mod evaluator;
pub(crate) mod model;

use comparison::{decide, fault, load};
use model::{policy, request};
use proptest::prelude::*;

/// So many policies are made in a usual run, and so many requests are decided by each.
const POLICIES: u32 = 300;
const REQUESTS: usize = 340;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: POLICIES, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default()
    })]

    #[test]
    fn table_decides_as_a_loop_over_the_declared_rules(
        policy in policy(),
        requests in proptest::collection::vec(request(), REQUESTS),
    ) {
        let set = load(&policy).map_err(|error| TestCaseError::fail(format!("{error}\n{:#?}", policy.sources())))?;
        for request in &requests {
            let decision = decide(&set, request).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let fault = fault(&set, &policy, request, &decision);
            let fault = fault.map(|fault| format!("{fault}\n{request:?}\n{:#?}", policy.sources()));
            prop_assert!(fault.is_none(), "{}", fault.unwrap_or_default());
        }
    }
}
