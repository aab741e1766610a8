//! The programs of the command line.

mod files;
mod client;
pub mod sts;
pub mod rolegate;
