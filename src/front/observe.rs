//! A way to watch decisions as they are made, for a record of decisions or for tests.

use crate::engine::Answer;
use crate::policy::PolicySet;
use crate::request::{Malformed, Request};
use std::sync::Arc;

/// Is told of every request at the guard, before any route runs. It cannot change what was decided. What is answered
/// with 429 is kept from it: that was no decision of the policies, and there may be a flood of it.
pub trait Observe: Send + Sync + 'static {
    /// The engine answered to this request, by these policies.
    fn decided(&self, request: &Request, answer: &Answer, policies: &Arc<PolicySet>);

    /// A request was refused before any policy saw it.
    fn refused(&self, cause: &Malformed);
}
