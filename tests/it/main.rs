//! Everything that is tested from outside: one binary, one module a subject.

#[cfg(feature = "config")]
mod config;
mod engine;
mod policies;
mod policy_errors;
mod policy_fuzz;
mod sandbox;
#[cfg(feature = "config")]
mod policy_cases;
#[cfg(feature = "embedded")]
mod process;
#[cfg(feature = "cli")]
mod rolegate;
#[cfg(feature = "server")]
mod server;
mod conditions;
mod corpus_scripts;
mod docs_policies;
mod store;
#[cfg(feature = "embedded")]
mod full_disk;
#[cfg(feature = "embedded")]
mod crash;
#[cfg(feature = "cli")]
mod sts;
#[cfg(feature = "cli")]
mod readme;
mod tidy;
