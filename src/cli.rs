//! The programs of the command line.

mod files;
mod client;
pub mod rolegate;
pub mod sts;
