//! The clocks of the server: one that a jump back does not fool, and one by which it measures how long something takes.

mod steady;

pub use steady::{CLOCK_FILE_NAME, ClockError, SteadyClock, WentBack};

use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Tells how long it has been running. Whatever happens to the clock on the wall, it only goes forward.
pub type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// A stopwatch that starts now.
pub fn stopwatch() -> Stopwatch {
    let started = Instant::now();
    Arc::new(move || started.elapsed())
}
