//! The programs of the command line.

pub mod sts;
