//! The file that tokens are exported to: JSON lines, the last of which sums up the others. It holds digests and no
//! secret.

mod line;
#[cfg(feature = "cli")]
mod read;
#[cfg(feature = "cli")]
mod write;

pub(crate) use line::{TokenLine, hex};
#[cfg(feature = "cli")]
pub(crate) use read::{BackupError, Counts, Entry, read};
#[cfg(feature = "cli")]
pub(crate) use write::Writer;

/// What the first line calls the format.
#[cfg(feature = "cli")]
const FORMAT: &str = "rolegate-tokens";
/// The version that is written, and the latest that is read.
#[cfg(feature = "cli")]
const VERSION: u64 = 1;
