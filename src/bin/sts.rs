//! The client's program, a drop-in for StackState's command line client.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rolegate::cli::sts::run(std::env::args_os()))
}
