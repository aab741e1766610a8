//! The HTTP front over raw sockets, against a real server on a free port.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking, and corpora print their counts"
)]

mod api;
mod attempts;
mod authenticators;
mod authzen;
mod audit;
mod client;
pub(crate) mod corpus;
mod corpus_headers;
mod corpus_paths;
mod forward_auth;
mod front;
mod http2;
#[cfg(feature = "tower")]
mod fronts;
mod look_up;
mod policies;
mod reload;
mod reload_busy;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod tokens_list;
mod tokens_model;
mod transfer;
mod world;
