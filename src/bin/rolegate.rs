//! The operator's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rolegate::cli::rolegate::run(std::env::args_os()))
}
