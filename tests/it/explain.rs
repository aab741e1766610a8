//! Explanations of policies made at random: each decides as the compiled table does.

use crate::reference::model::{RequestModel, bindings, policy, principal, request};
use proptest::prelude::*;
use rolegate::policy::explain::Part;
use rolegate::policy::{Effect, PolicySet, ScriptLimits};
use rolegate::{CanonicalPath, Request, Timestamp, Verdict};
use std::error::Error;
use std::time::Duration;

/// So many policies are made in a usual run.
const POLICIES: u32 = 500;
const REQUESTS: usize = 24;

/// What is wrong with the explanation; `None` when it says what was decided.
fn fault(set: &PolicySet, request: &RequestModel) -> Result<Option<String>, Box<dyn Error>> {
    let principal = principal(request)?;
    let read = Request::new(request.method.parse()?, CanonicalPath::parse(&request.path)?);
    let decision = set.decide(principal.as_ref(), &read, Timestamp::EPOCH);
    let explanation = set.explain(principal.as_ref(), &read, Timestamp::EPOCH);
    if explanation.decision != decision {
        return Ok(Some(format!("decided {decision:?}, explained {:?}", explanation.decision)));
    }
    let first = explanation.decided_by().map(|finding| finding.id);
    if first != decision.rule() {
        return Ok(Some(format!("decided by {:?}, explained by {first:?}", decision.rule())));
    }
    // The condition of every outcome is told with the same result, unless it is among those left out.
    let findings = explanation.deciding.iter().chain(&explanation.near);
    let told = findings.filter_map(|finding| match &finding.part {
        Part::Decided(asked) | Part::Overruled(asked) => asked.as_ref(),
        Part::Unmet(asked) | Part::Lifted(asked) => Some(asked),
        _ => None,
    });
    let is_whole = explanation.deciding_left_out == 0 && explanation.near_left_out == 0;
    if is_whole && told.count() != decision.conditions.len() {
        return Ok(Some(format!("other conditions are told than {:?}", decision.conditions)));
    }
    let is_allow = matches!(decision.verdict, Verdict::Allow(_));
    let is_odd = explanation.near.iter().any(|finding| {
        matches!(finding.part, Part::Missed(_)) && (finding.rule.effect == Effect::Allow) == is_allow
    });
    Ok(is_odd.then(|| format!("a near miss would change nothing: {explanation}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: POLICIES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn explanation_is_of_the_decision_that_is_made(
        policy in policy(),
        requests in proptest::collection::vec(request(), REQUESTS),
    ) {
        let bindings = bindings().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let sources = policy.sources();
        // Steps end a condition on any machine alike; time would end it in the one and not in the other.
        let mut limits = ScriptLimits::default();
        limits.condition.time = Duration::from_secs(60);
        let set = PolicySet::load(&sources, &bindings, &limits);
        let set = set.map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        for request in &requests {
            let fault = fault(&set, request).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(fault.is_none(), "{}\n{:?}\n{:#?}", fault.unwrap_or_default(), request, sources);
        }
    }
}
