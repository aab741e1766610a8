//! The programs of the command line.

pub mod rolegate;
pub mod sts;
