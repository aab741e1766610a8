//! Service tokens in, permitted routes out.

// values
pub mod time;
pub mod token;
pub mod path;
pub mod request;
pub mod decision;
#[cfg(feature = "config")]
pub(crate) mod yaml;

// parts
pub mod policy;
pub mod store;
pub mod tokens;
pub mod audit;
pub mod bootstrap;

// the gate
pub mod engine;

// the edge
#[cfg(feature = "server")]
pub mod server;

// assembly
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "cli")]
pub mod cli;
