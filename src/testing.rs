//! A kit for the tests of programs that embed rolegate, and of policies: a world with tokens and policies in a few
//! lines, checks that explain themselves when they fail, and the suite that every store has to pass.
//!
//! ```
//! use rolegate::testing::{NOBODY, World, assert_denies, assert_permits, assert_unauthenticated};
//!
//! let world = World::new()
//!     .policy(r#"role("deployer").allow("POST /teams/{team}/deploy"); open("GET /health");"#)
//!     .token("ci", ["deployer"]);
//! assert_permits!(world, "ci", "POST /teams/red/deploy");
//! assert_denies!(world, "ci", "GET /teams/red", "DELETE /teams/red");
//! assert_unauthenticated!(world, NOBODY, "POST /teams/red/deploy");
//! assert_permits!(world, NOBODY, "GET /health");
//! ```
//!
//! Everything here panics where something is not as it was said to be, as tests do; nothing else of this crate does.

mod ask;
mod checks;
mod store;
mod world;

#[doc(inline)]
pub use crate::{assert_denies, assert_malformed, assert_permits, assert_unauthenticated};
pub use ask::{Ask, Caller, NOBODY};
pub use checks::{Outcome, assert_outcome};
pub use store::{store_conformance, store_durability};
pub use world::World;

/// Ends a test.
#[track_caller]
#[expect(clippy::panic, reason = "this is how a test fails")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}
