//! The one place where the server reads the clock.

use crate::time::Timestamp;
use std::sync::Arc;
use std::time::SystemTime;

/// Tells what time it is, once for each request.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the operating system.
#[expect(clippy::disallowed_methods, reason = "the door by which time comes into the server")]
pub fn wall_clock() -> Clock {
    Arc::new(|| Timestamp::from(SystemTime::now()))
}
