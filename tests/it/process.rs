//! A part of a test that needs a process of its own: this binary once more, running one test alone.

use std::env;
use std::io;
#[cfg(feature = "cli")]
use std::net::{SocketAddr, TcpListener, TcpStream};
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

/// The same, in a process whose files cannot grow past so many blocks of 512 bytes.
pub(crate) fn part_without_room(test: &str, argument: &Path, blocks: u32) -> io::Result<Command> {
    let part = part(test, argument)?;
    let mut command = Command::new("sh");
    // Ignored, the signal becomes an error of the write, as on a disk that is full.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"")]);
    command.arg(part.get_program()).args(part.get_args());
    command.env(ARGUMENT, argument).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// The same, in a process that the permissions of files bind even when it is the superuser's.
pub(crate) fn part_under_permissions(test: &str, argument: &Path) -> io::Result<Command> {
    let part = part(test, argument)?;
    let id = Command::new("id").arg("-u").output()?;
    if id.stdout.trim_ascii() != b"0" {
        return Ok(part);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    command.arg(part.get_program()).args(part.get_args());
    command.env(ARGUMENT, argument).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// An address where nobody listens: that of the calling end of a connection. Nobody else gets it as long as both ends
/// are kept.
#[cfg(feature = "cli")]
pub(crate) fn address_of_nobody() -> io::Result<(SocketAddr, [TcpStream; 2])> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let calling = TcpStream::connect(listener.local_addr()?)?;
    let (called, address) = listener.accept()?;
    Ok((address, [calling, called]))
}

/// Takes the limit of this process away: the disk has room again.
pub(crate) fn make_room() -> io::Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status()?;
    status.success().then_some(()).ok_or_else(|| io::Error::other("prlimit failed"))
}
