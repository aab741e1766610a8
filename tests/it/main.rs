//! Everything that is tested from outside: one binary, one module a subject.

mod store;
mod tidy;
#[cfg(feature = "cli")]
mod sts;
