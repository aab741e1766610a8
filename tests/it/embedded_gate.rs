//! Routes of other libraries behind the gate: what reaches them, and what is answered before.

#![expect(clippy::unwrap_used, reason = "tests and their helpers fail by panicking")]

#[cfg(all(feature = "tower", feature = "warp"))]
mod examples;
#[cfg(feature = "warp")]
mod filters;
#[cfg(feature = "tower")]
mod layer;
mod world;
