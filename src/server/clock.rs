//! The one place where the server reads the clock, and the other one by which it measures how long something takes.

mod steady;

pub use steady::{CLOCK_FILE_NAME, ClockError, SteadyClock, WentBack};

use crate::time::Timestamp;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Tells what time it is, once for each request.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Tells how long it has been running. Whatever happens to the clock on the wall, it only goes forward.
pub type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The clock of the operating system.
#[expect(clippy::disallowed_methods, reason = "the door by which time comes into the server")]
pub fn wall_clock() -> Clock {
    Arc::new(|| Timestamp::from(SystemTime::now()))
}

/// A stopwatch that starts now.
pub fn stopwatch() -> Stopwatch {
    let started = Instant::now();
    Arc::new(move || started.elapsed())
}
