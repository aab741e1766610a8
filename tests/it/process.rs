//! A part of a test that needs a process of its own: this binary once more, running one test alone.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Carries the argument of the part; without it the part does nothing, as when all tests run.
const ARGUMENT: &str = "ROLEGATE_TEST_PART";

/// A command that runs the test of this name with this argument.
pub(crate) fn part(test: &str, argument: &Path) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ARGUMENT, argument).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// The argument, in the process that was started for it.
#[expect(clippy::disallowed_methods, reason = "the only way past the test harness, which takes no arguments")]
pub(crate) fn argument() -> Option<PathBuf> {
    env::var_os(ARGUMENT).map(PathBuf::from)
}
