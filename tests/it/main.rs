//! Everything that is tested from outside: one binary, one module a subject.

#[cfg(feature = "config")]
mod config;
#[cfg(feature = "config")]
mod policy_cases;
#[cfg(feature = "cli")]
mod rolegate;
mod policies;
mod store;
mod tidy;
#[cfg(feature = "cli")]
mod sts;
