//! The client's program, run as users run it, against a server that follows a script.

mod world;
mod page;
mod help;
mod service_token;
mod lifecycle;
mod choosing;
mod context;
mod settings;
mod tls;
mod refusals;
#[cfg(unix)]
mod care;
mod together;
