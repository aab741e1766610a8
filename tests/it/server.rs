//! The HTTP front over raw sockets, against a real server on a free port.

mod api;
mod client;
mod corpus;
mod corpus_headers;
mod corpus_paths;
mod front;
mod world;
