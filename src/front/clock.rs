//! The one place where requests get their time from the operating system.

use crate::time::Timestamp;
use std::sync::Arc;
use std::time::SystemTime;

/// Tells what time it is, once for each request.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the operating system.
#[expect(clippy::disallowed_methods, reason = "the door by which time comes into adapters")]
pub fn wall_clock() -> Clock {
    Arc::new(|| Timestamp::from(SystemTime::now()))
}
