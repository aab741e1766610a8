//! Other policies in the place of those that decide. Audited first, as every change is; then one pointer is swapped.

use super::{Engine, Permit};
use crate::audit::{Actor, AuditEntry, AuditError, AuditEvent};
use crate::decision::PolicyVersion;
use crate::policy::PolicySet;
use crate::time::Timestamp;
use std::sync::Arc;

/// Why policies are not replaced. Those that decided go on deciding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The request was permitted to nobody in particular, or to somebody without a token.
    #[error("policies are replaced by holders of a token only, and the request carries none")]
    Anonymous,
    /// The token that the request was permitted to is no longer live.
    #[error("the token of the request was deleted or has expired meanwhile")]
    Revoked,
    /// The replacement cannot be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Engine {
    /// Puts other policies in the place of those that decide now, and returns the version of the latter. A decision
    /// is made by the one or the other. `by` is the permit of the request that asks for it; without one the
    /// program does it itself.
    ///
    /// # Errors
    /// When the permit is nobody's or its token is no longer live, or the replacement cannot be audited.
    pub fn replace_policies(
        &self,
        policies: PolicySet,
        by: Option<&Permit>,
        now: Timestamp,
    ) -> Result<PolicyVersion, ReplaceError> {
        let _under_way = self.under_way.read();
        let actor = self.replacer(by, now)?;
        let _one_at_a_time = self.replacing.lock();
        let before = self.policies.load().version();
        let facts = by.map(|permit| &permit.facts);
        self.audit.record(&AuditEntry {
            at: now,
            actor,
            event: AuditEvent::PoliciesReplaced { before, after: policies.version() },
            client_ip: facts.and_then(|facts| facts.client_ip),
            request_id: facts.and_then(|facts| facts.request_id.as_deref()),
        })?;
        self.policies.store(Arc::new(policies));
        Ok(before)
    }

    /// Whether whoever holds this permit may replace policies now.
    ///
    /// # Errors
    /// When the permit is nobody's, or its token is no longer live.
    pub fn may_replace(&self, by: Option<&Permit>, now: Timestamp) -> Result<(), ReplaceError> {
        self.replacer(by, now).map(drop)
    }

    fn replacer<'p>(&self, by: Option<&'p Permit>, now: Timestamp) -> Result<Actor<'p>, ReplaceError> {
        let Some(permit) = by else { return Ok(Actor::Program) };
        let principal =
            permit.principal().filter(|it| it.id.token().is_some()).ok_or(ReplaceError::Anonymous)?;
        // The permit may be as old as loading policies takes.
        if self.holder(permit, now).is_some() {
            Ok(Actor::Principal(principal))
        } else {
            Err(ReplaceError::Revoked)
        }
    }
}
