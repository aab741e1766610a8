//! What the audit log is told beside changes: who was denied or refused what, reloads that changed nothing, and where
//! the log goes on.

use super::{ChangeError, Engine, Forbidden, Permit};
use crate::audit::{Actor, AuditEntry, AuditError, AuditEvent, AuditOutcome, Change, LeftOut};
use crate::request::Request;
use crate::time::Timestamp;
use crate::token::TokenId;
use std::fmt;
use std::sync::Arc;

/// A denial that is to have an entry. One that is dropped without it is counted in the next entry of its principal.
#[must_use]
pub struct DenialEntry {
    engine: Arc<Engine>,
    denied: Forbidden,
    request: Request,
    left_out: u64,
    at: Timestamp,
    is_recorded: bool,
}

impl Engine {
    /// The entry that is to tell of a denial, for the caller to record before it answers; `None` when the denials of
    /// this principal are only counted for now; see [`crate::audit::DENIALS_AT_ONCE`]. Never waits.
    pub fn denial_entry(
        self: &Arc<Self>,
        denied: Forbidden,
        request: Request,
        now: Timestamp,
    ) -> Option<DenialEntry> {
        let left_out = self.denials.lock().admit(&denied.principal.id, now)?;
        let engine = Arc::clone(self);
        Some(DenialEntry { engine, denied, request, left_out, at: now, is_recorded: false })
    }

    /// Records how many denials and refusals have no entry, of those that no other entry will tell of; at the end of
    /// the program of `all`. What cannot be recorded now is kept for the next time.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn record_left_out(&self, all: bool, now: Timestamp) -> Result<(), AuditError> {
        let due = self.denials.lock().take_due(now, all);
        let mut failed = None;
        for left_out in due {
            let LeftOut { principal, count, since } = left_out;
            let event = AuditEvent::DenialsLeftOut { principal: principal.as_ref(), count, since };
            if let Err(error) = self.record_own(event, now) {
                self.denials.lock().put_back(principal.as_ref(), count, since);
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Has the audit log go on at its own place, when it was moved away, and records that it does.
    ///
    /// # Errors
    /// When the log cannot go on there.
    pub fn reopen_audit(&self, now: Timestamp) -> Result<bool, AuditError> {
        if !self.audit.reopen()? {
            return Ok(false);
        }
        self.record_own(AuditEvent::LogReopened, now)?;
        Ok(true)
    }

    /// Records that policies were loaded anew and those that decide stay. `by` is the permit of the request that asked
    /// for it; without one the program did it itself.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn record_kept(
        &self,
        by: Option<&Permit>,
        outcome: AuditOutcome,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), AuditError> {
        let event = AuditEvent::PoliciesKept { policy: self.policies.load().version(), outcome, reason };
        match by {
            Some(permit) => self.record_by(permit, event, now),
            None => self.record_own(event, now),
        }
    }

    /// Records why a change that the policies permit is not made, unless the log has it already or there is nobody
    /// to name.
    pub(super) fn noting_refusal<T>(
        &self,
        permit: &Permit,
        change: Change,
        token: Option<TokenId>,
        now: Timestamp,
        made: Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let (Some(principal), Err(error)) = (permit.principal(), &made) else { return made };
        if is_told_otherwise(error) {
            return made;
        }
        let Some(left_out) = self.denials.lock().admit(&principal.id, now) else { return made };
        let reason = &error.to_string();
        let event = AuditEvent::ChangeRefused { change, token, reason, left_out };
        if self.record_by(permit, event, now).is_err() {
            // Nothing was changed. That it was asked for is told once the log can be written.
            self.denials.lock().put_back(Some(&principal.id), left_out + 1, now);
        }
        made
    }

    fn record_by(&self, permit: &Permit, event: AuditEvent<'_>, now: Timestamp) -> Result<(), AuditError> {
        let facts = &permit.facts;
        self.audit.record(&AuditEntry {
            at: now,
            actor: permit.principal().map_or(Actor::Program, Actor::Principal),
            event,
            client_ip: facts.client_ip,
            request_id: facts.request_id.as_deref(),
        })
    }

    fn record_own(&self, event: AuditEvent<'_>, now: Timestamp) -> Result<(), AuditError> {
        let actor = Actor::Program;
        self.audit.record(&AuditEntry { at: now, actor, event, client_ip: None, request_id: None })
    }
}

impl DenialEntry {
    /// Records the denial. Waits for the log.
    ///
    /// # Errors
    /// When the log cannot be written. The denial stays one.
    pub fn record(mut self) -> Result<(), AuditError> {
        self.engine.audit.record(&AuditEntry {
            at: self.at,
            actor: Actor::Principal(&self.denied.principal),
            event: AuditEvent::AdminDenied {
                method: self.request.method().as_str(),
                path: self.request.path().as_str(),
                decision_id: &self.denied.id.to_string(),
                left_out: self.left_out,
            },
            client_ip: self.request.client_ip(),
            request_id: self.request.id().map(|id| &**id),
        })?;
        self.is_recorded = true;
        Ok(())
    }
}

impl Drop for DenialEntry {
    fn drop(&mut self) {
        if !self.is_recorded {
            let principal = Some(&self.denied.principal.id);
            self.engine.denials.lock().put_back(principal, self.left_out + 1, self.at);
        }
    }
}

impl fmt::Debug for DenialEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenialEntry").field("denied", &self.denied.id).finish_non_exhaustive()
    }
}

/// Whether the log tells of it by another entry, or of nobody: what failed after its entry has a second one, and
/// whoever has no live token any more is answered as if there never was one.
const fn is_told_otherwise(error: &ChangeError) -> bool {
    matches!(
        error,
        ChangeError::Anonymous
            | ChangeError::Revoked
            | ChangeError::NameTaken { .. }
            | ChangeError::Conflict(_)
            | ChangeError::Generate(_)
            | ChangeError::Commit(_)
    )
}
