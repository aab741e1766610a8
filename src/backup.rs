//! The file that tokens are exported to: JSON lines, the last of which sums up the others. It holds digests and no
//! secret.

mod line;
#[cfg(feature = "cli")]
mod read;
#[cfg(feature = "cli")]
mod write;

pub(crate) use line::{TokenLine, hex};
#[cfg(feature = "cli")]
pub(crate) use read::{BackupError, Counts, Entry, Whole, read, read_again};
#[cfg(feature = "cli")]
pub(crate) use write::{TooManyTokens, Writer};

/// What the first line calls the format.
#[cfg(feature = "cli")]
const FORMAT: &str = "rolegate-tokens";
/// The version that is written, and the latest that is read.
#[cfg(feature = "cli")]
const VERSION: u64 = 1;
/// The most tokens of a file, for who writes it and who reads it: a reader remembers what it needs to tell two of them
/// apart. Spent digests have no such limit, since deletions may not have one either, and no reader remembers them.
#[cfg(feature = "cli")]
const TOKENS_MAX: u64 = 20_000_000;

#[cfg(all(test, feature = "cli"))]
#[expect(clippy::unwrap_used, reason = "helpers of tests")]
mod tests;
