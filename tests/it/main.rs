//! Everything that is tested from outside: one binary, one module a subject.

mod allocations;
mod authenticators;
mod conditions;
#[cfg(feature = "config")]
mod config;
mod corpus_scripts;
#[cfg(feature = "embedded")]
mod crash;
mod dependencies;
mod docs_policies;
#[cfg(any(feature = "tower", feature = "warp"))]
mod embedded_gate;
mod engine;
mod escalation;
mod examples;
mod explain;
#[cfg(feature = "embedded")]
mod full_disk;
mod fuzz_corpora;
mod host_functions;
#[cfg(feature = "cli")]
mod leak_rules;
mod policies;
#[cfg(feature = "config")]
mod policy_cases;
mod policy_diff;
mod policy_errors;
mod policy_fuzz;
#[cfg(feature = "cli")]
mod policy_routes;
mod policy_warnings;
mod policy_within;
#[cfg(feature = "embedded")]
mod process;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod proxies;
#[cfg(feature = "cli")]
mod readme;
mod reference;
#[cfg(feature = "cli")]
mod rolegate;
mod sandbox;
#[cfg(feature = "tls")]
mod secure;
#[cfg(feature = "server")]
mod server;
mod store;
#[cfg(feature = "server")]
mod strace;
#[cfg(feature = "cli")]
mod sts;
mod testing;
mod tidy;
