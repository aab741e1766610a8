//! Programs whose system calls on some files fail as told, by `strace --inject`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Which calls fail, and how.
pub(crate) struct Injection<'a> {
    /// The calls, as strace has them, with commas between.
    pub(crate) calls: &'a str,
    /// With which error.
    pub(crate) error: &'a str,
    /// Which of these calls of a thread, as strace has it; `None` is all.
    pub(crate) when: Option<String>,
    /// The files that the calls are about, as they are named at the time of the call.
    pub(crate) files: Vec<PathBuf>,
}

impl Injection<'_> {
    /// A program with its arguments and variables, under strace from its first instruction on: when it attached later,
    /// it would miss a thread that starts meanwhile.
    pub(crate) fn around(&self, program: &Command) -> Command {
        let mut command = Command::new("strace");
        // It tells nothing: a line about a new thread, written to a pipe that nobody reads any more, would end it.
        command.args(["-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null"]);
        self.files.iter().for_each(|file| {
            command.arg("-P").arg(file);
        });
        let when = self.when.iter().map(|when| format!(":when={when}")).collect::<String>();
        command.arg("-e").arg(format!("trace={}", self.calls));
        command.arg("-e").arg(format!("inject={}:error={}{when}", self.calls, self.error));
        command.arg(program.get_program()).args(program.get_args());
        program.get_envs().for_each(|(name, value)| {
            command.env(name, value.unwrap_or_default());
        });
        command.stdin(Stdio::null());
        command
    }
}
