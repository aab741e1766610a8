//! Service tokens in, permitted routes out: tells who a request comes from, and decides by policies that are
//! Rhai scripts which routes the token's roles may call.
//!
//! ```
//! use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
//! use rolegate::{CanonicalPath, Request, Timestamp};
//!
//! let source = Source { name: "health.rhai".into(), text: r#"open("GET /health");"#.to_owned() };
//! let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())?;
//! let request = Request::new(http::Method::GET, CanonicalPath::parse("/health")?);
//! assert!(policies.decide(None, &request, Timestamp::EPOCH).is_allow());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Engine`] puts tokens, policies and an audit log behind one gate: [`Engine::check`] answers a request, and
//! the [`Permit`] that it gives is the only way to change tokens. Everything else is a part of it, or an
//! adapter: the server and its stores come by feature, and without any there is no runtime and no I/O.
//!
//! The modules stand in reading order, and each uses only those above it.

// values
pub mod time;
pub mod token;
pub mod path;
pub mod request;
pub mod decision;
#[cfg(any(feature = "config", feature = "server"))]
pub(crate) mod network;
#[cfg(any(feature = "config", feature = "server"))]
pub(crate) mod public_url;
#[cfg(feature = "config")]
pub(crate) mod yaml;

// parts
#[cfg(any(feature = "embedded", feature = "server"))]
pub(crate) mod batch;
pub mod policy;
pub mod authenticator;
pub mod store;
pub mod tokens;
pub(crate) mod uses;
pub mod privilege;
pub mod audit;
pub mod bootstrap;

// the gate
pub mod engine;
#[cfg_attr(doctest, doc = include_str!("../docs/embedding.md"))]
pub mod testing;

// the edge
#[cfg(any(feature = "server", feature = "tower", feature = "warp"))]
pub(crate) mod front;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "warp")]
pub mod filters;
#[cfg(feature = "server")]
pub(crate) mod backup;
#[cfg(feature = "server")]
pub mod server;

// assembly
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "cli")]
pub mod cli;

pub use audit::Audit;
pub use bootstrap::Provision;
pub use decision::{Decision, Denial, Verdict};
pub use engine::{Answer, Engine, NewToken, Permit};
pub use path::CanonicalPath;
pub use policy::{PolicyErrors, PolicySet};
pub use request::{Credential, Request};
pub use store::Store;
pub use time::Timestamp;
pub use token::{Principal, RoleName, Secret, TokenId, TokenRecord};
