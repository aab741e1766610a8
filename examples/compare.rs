//! Compares the compiled table with the reference evaluator of the tests on policies and requests made at random,
//! as often as asked for:
//!
//! ```text
//! cargo run --release --example compare -- 10000000 [SEED]
//! ```
//!
//! Where they differ, the smallest policy and request that show it are printed, and the exit code is 1.

#[path = "../tests/it/reference/comparison.rs"]
mod comparison;
#[path = "../tests/it/reference/evaluator.rs"]
mod evaluator;
#[path = "../tests/it/reference/model.rs"]
mod model;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;
use std::process::ExitCode;
use std::time::Instant;

/// So many requests are decided by each policy.
const REQUESTS: u64 = 500;
/// So many policies pass between two words about how it goes.
const POLICIES_PER_WORD: u64 = 500;
const USAGE: &str = "usage: compare COMPARISONS [SEED], both whole numbers";

/// What was compared, up to the first difference: what it is made smaller by counts no more.
#[derive(Default)]
struct Counts {
    has_difference: Cell<bool>,
    policies: Cell<u64>,
    comparisons: Cell<u64>,
    allowed: Cell<u64>,
    with_conditions: Cell<u64>,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that tells its result")]
fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(asked)), seed @ (None | Some(Ok(_))), None) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let seed = seed.and_then(Result::ok).unwrap_or(1);
    let counts = Counts::default();
    let outcome = compare(asked, seed, &counts);
    println!(
        "{} comparisons of {} policies (seed {seed}): {} allowed, {} after asking a condition",
        counts.comparisons.get(),
        counts.policies.get(),
        counts.allowed.get(),
        counts.with_conditions.get(),
    );
    match outcome {
        Ok(()) => {
            println!("the table and the reference agree");
            ExitCode::SUCCESS
        }
        Err(difference) => {
            println!("{difference}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "long work shows how it goes")]
#[expect(clippy::disallowed_methods, reason = "long work shows how long it takes")]
fn compare(asked: u64, seed: u64, counts: &Counts) -> Result<(), String> {
    let cases = u32::try_from(asked.div_ceil(REQUESTS)).map_err(|_| "too many comparisons".to_owned())?;
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 10_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(byte, given)| *byte = given);
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let requests = proptest::collection::vec(model::request(), usize::try_from(REQUESTS).unwrap_or(1));
    let started = Instant::now();
    let outcome = runner.run(&(model::policy(), requests), |(policy, requests)| {
        decide_both(&policy, &requests, counts).map_err(|difference| {
            counts.has_difference.set(true);
            TestCaseError::fail(difference)
        })?;
        if counts.policies.get().is_multiple_of(POLICIES_PER_WORD) {
            let seconds = started.elapsed().as_secs();
            eprintln!("{} comparisons in {seconds} s", counts.comparisons.get());
        }
        Ok(())
    });
    outcome.map_err(|error| error.to_string())
}

fn decide_both(
    policy: &model::PolicyModel,
    requests: &[model::RequestModel],
    counts: &Counts,
) -> Result<(), String> {
    let sources = || format!("{:#?}", policy.sources());
    let set = comparison::load(policy).map_err(|error| format!("{error}\n{}", sources()))?;
    for request in requests {
        let decision = comparison::decide(&set, request).map_err(|error| error.to_string())?;
        let fault = comparison::fault(&set, policy, request, &decision);
        if let Some(fault) = fault {
            return Err(format!("{fault}\n{request:?}\n{}", sources()));
        }
        counts.add(&counts.comparisons, true);
        counts.add(&counts.allowed, decision.is_allow());
        counts.add(&counts.with_conditions, !decision.conditions.is_empty());
    }
    counts.add(&counts.policies, true);
    Ok(())
}

impl Counts {
    fn add(&self, count: &Cell<u64>, is_one: bool) {
        count.set(count.get() + u64::from(is_one && !self.has_difference.get()));
    }
}
