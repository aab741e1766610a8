//! How benchmarks measure and compare: in turn, by medians, with the same random numbers in every run.

use std::error::Error;
use std::time::Duration;

/// What is compared is measured in turn, this many times; the medians count.
pub(crate) const ROUNDS: usize = 401;
/// Rounds are short: what else the machine does then either meets both, or few rounds.
pub(crate) const ROUND_REQUESTS: usize = 4_000;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Nanoseconds of the floor and of the gate.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) floor_ns: f64,
    pub(crate) ours_ns: f64,
    pub(crate) ratio: f64,
}

/// Random numbers, the same in every run.
pub(crate) struct Numbers(u64);

impl Pair {
    /// Measures both in turn. The ratio is that of each round, so that what slows the machine down for a while
    /// slows both.
    pub(crate) fn of(mut measure: impl FnMut(bool) -> f64) -> Self {
        let (mut floor, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (floor_ns, ours_ns) = (measure(false), measure(true));
            // The first round only warms up.
            if round > 0 {
                floor.push(floor_ns);
                ours.push(ours_ns);
                ratios.push(ours_ns / floor_ns);
            }
        }
        Self { floor_ns: median(floor), ours_ns: median(ours), ratio: median(ratios) }
    }

    pub(crate) fn json(&self) -> String {
        let Self { floor_ns, ours_ns, ratio } = self;
        format!("{{\"floor_ns\": {floor_ns:.1}, \"ours_ns\": {ours_ns:.1}, \"ratio\": {ratio:.3}}}")
    }
}

impl Numbers {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `end`, by xorshift.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % end
    }
}

/// What the system tells of the memory of this process, such as `VmRSS:` or `VmHWM:`, in KiB.
pub(crate) fn memory_kib(field: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

pub(crate) fn nanoseconds(elapsed: Duration, times: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let times = times as f64;
    elapsed.as_secs_f64() * 1e9 / times
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
