//! The same measurement under `strace`, which stops at syncs alone: it counts them, and makes each take as long as on
//! another disk.

use super::Outcome;
use super::measured::{Round, Run, Runs, Traced};
use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The option by which this program is told, when it is run again, where to leave what it measured.
pub(crate) const WINDOWS: &str = "--windows";
/// How much longer a sync takes then: about what one takes on network disks of common clouds.
pub(crate) const SYNC_OF_A_CLOUD_DISK: Duration = Duration::from_millis(1);

/// Measures with every sync held up for so long; `None` where there is no `strace`. The delay is that of the thread
/// that syncs alone.
pub(crate) fn run(part: &str, rounds: usize, delay: Duration) -> Outcome<Option<Traced>> {
    let folder = tempfile::tempdir()?;
    let [log, windows] = ["log", "windows"].map(|name| folder.path().join(name));
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-ttt", "-e", "trace=fdatasync,fsync", "-e", "signal=none"]);
    if !delay.is_zero() {
        command.args(["-e", &format!("inject=fdatasync,fsync:delay_exit={}", delay.as_micros())]);
    }
    command.arg("-o").arg(&log).arg("--").arg(std::env::current_exe()?);
    command.args(["--only", part, "--rounds", &rounds.to_string(), WINDOWS]).arg(&windows);
    let status = match command.stdout(Stdio::null()).status() {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !status.success() {
        return Err(format!("the run under strace failed: {status}").into());
    }
    let runs = Runs::read_windows(&windows)?;
    let log = fs::read_to_string(log)?;
    let syncs: Vec<f64> = log.lines().filter_map(began).collect();
    if !delay.is_zero() {
        runs.0.iter().try_for_each(|round| round.print("slow disk"))?;
    }
    let each = |run: &dyn Fn(&Round) -> Run| {
        let runs = || runs.0.iter().map(run);
        let within = |run: Run| {
            let end = run.began + run.seconds;
            syncs.iter().filter(|at| (run.began..end).contains(*at)).count()
        };
        runs().map(within).sum::<usize>() as f64 / runs().map(|run| run.created).sum::<f64>()
    };
    let syncs = [each(&|round| round.one), each(&|round| round.all)];
    Ok(Some(Traced { runs, syncs }))
}

/// When the sync began that a line of the log tells of; `None` when it tells of the end of one that is told already.
fn began(line: &str) -> Option<f64> {
    let (_, rest) = line.trim_start().split_once(' ')?;
    let (time, call) = rest.trim_start().split_once(' ')?;
    ["fdatasync(", "fsync("].iter().any(|name| call.starts_with(name)).then(|| time.parse().ok())?
}
