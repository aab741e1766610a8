//! The HTTP front: a connection loop with limits, the guard that decides before any route runs, and the
//! API for service tokens.

mod limits;
mod socket;
mod body;
mod connection;

pub use body::{BodyError, RequestBody};
pub use limits::Limits;
