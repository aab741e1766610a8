//! Measures engines in turn, round by round, so that what slows the machine down for a while slows all.

use crate::workload::Request;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A way to decide the request with this number.
pub type Decide = Box<dyn FnMut(usize) -> bool>;

/// An engine with its rules loaded and its requests prepared.
pub struct Contestant {
    pub name: &'static str,
    pub decide: Decide,
}

/// What one engine came to at one size.
pub struct Figure {
    pub name: String,
    pub rules: usize,
    /// Nanoseconds of one decision, the median over all rounds.
    pub decide_ns: f64,
}

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(150);

impl Contestant {
    /// Makes an engine ready.
    pub fn prepare(name: &'static str, make: impl FnOnce() -> Outcome<Decide>) -> Outcome<Self> {
        Ok(Self { name, decide: make()? })
    }
}

/// Measures all at one size, after each has shown that it gives every expected answer.
pub fn measure(rules: usize, requests: &[Request], contestants: Vec<Contestant>) -> Outcome<Vec<Figure>> {
    let mut contestants = contestants;
    for contestant in &mut contestants {
        for (at, request) in requests.iter().enumerate() {
            if (contestant.decide)(at) != request.expected {
                let Request { role, path, expected, .. } = request;
                let name = contestant.name;
                return Err(format!("{name} at {rules} rules: {role} {path} should be {expected}").into());
            }
        }
    }
    let mut rounds = vec![Vec::new(); contestants.len()];
    for round in 0..=ROUNDS {
        for (contestant, figures) in contestants.iter_mut().zip(&mut rounds) {
            let figure = once(&mut contestant.decide, requests.len());
            // The first round only warms up.
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    let figures = contestants.iter().zip(rounds).map(|(contestant, mut figures)| {
        figures.sort_by(f64::total_cmp);
        Figure {
            name: contestant.name.to_owned(),
            rules,
            decide_ns: figures.get(figures.len() / 2).copied().unwrap_or_default(),
        }
    });
    Ok(figures.collect())
}

/// Decides for the length of a round, and tells nanoseconds a decision.
fn once(decide: &mut Decide, requests: usize) -> f64 {
    let started = Instant::now();
    let mut count = 0_u32;
    // The clock is looked at now and then, since looking costs a third of a fast decision.
    let mut batch = 1;
    while started.elapsed() < ROUND {
        for _ in 0..batch {
            black_box(decide(black_box(count as usize % requests)));
            count += 1;
        }
        batch = (batch * 2).min(1_024);
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}
