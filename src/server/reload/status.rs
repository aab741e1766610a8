//! How the policies are: in force as they are there, or not, and since when.

use super::{ReloadOutcome, Reloaded};
use crate::decision::PolicyVersion;
use crate::time::Timestamp;
use std::sync::Arc;

/// The longest message that is kept, in bytes.
pub(super) const MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// How the policies in force go with those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// What is there is in force.
    Loaded,
    /// What is there was read and is refused. The last good policies decide.
    Stale,
    /// What is there cannot be read. The last good policies decide.
    Error,
}

/// How the policies are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStatus {
    /// How they go with those that are there.
    pub state: PolicyState,
    /// Since when.
    pub since: Timestamp,
    /// The version in force.
    pub version: PolicyVersion,
    /// When it was put in force, or the program started.
    pub loaded: Timestamp,
    /// When they were loaded last, with whatever outcome.
    pub attempted: Timestamp,
    /// What is wrong with those that are there.
    pub message: Option<Arc<str>>,
}

impl PolicyState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Loaded, Self::Stale, Self::Error];

    /// The name as it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loaded => "LOADED",
            Self::Stale => "STALE",
            Self::Error => "ERROR",
        }
    }
}

impl PolicyStatus {
    /// Policies that are in force from now on.
    pub const fn loaded(version: PolicyVersion, now: Timestamp) -> Self {
        Self { state: PolicyState::Loaded, since: now, version, loaded: now, attempted: now, message: None }
    }

    /// What a reload makes of it.
    pub(super) fn follow(&mut self, reloaded: &Reloaded, now: Timestamp) {
        let state = match reloaded.outcome {
            ReloadOutcome::Loaded | ReloadOutcome::Unchanged => PolicyState::Loaded,
            ReloadOutcome::Refused | ReloadOutcome::Guarded | ReloadOutcome::Unaudited => PolicyState::Stale,
            ReloadOutcome::Unreadable => PolicyState::Error,
        };
        if state != self.state {
            (self.state, self.since) = (state, now);
        }
        if reloaded.version != self.version {
            (self.version, self.loaded) = (reloaded.version, now);
        }
        self.attempted = now;
        self.message.clone_from(&reloaded.message);
    }
}

/// The beginning of a message that is too long, and the whole of any other.
pub(in super::super) fn bounded(mut message: String) -> Arc<str> {
    if message.len() > MESSAGE_MAX_BYTES {
        message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES));
        message.push('…');
    }
    Arc::from(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_past_the_limit_and_not_at_it() {
        let whole = "é".repeat(MESSAGE_MAX_BYTES / 2);
        assert_eq!(&*bounded(whole.clone()), whole);
        let cut = bounded(format!("{whole}é"));
        assert_eq!(cut.strip_suffix('…'), Some(whole.as_str()));
    }

    #[test]
    fn time_of_a_state_is_that_of_its_beginning() {
        let at = Timestamp::from_millis;
        let mut status = PolicyStatus::loaded(PolicyVersion(1), at(0));
        let mut end = |outcome, version, now| {
            let (before, version) = (status.version, PolicyVersion(version));
            status.follow(&Reloaded { outcome, before, version, message: None }, at(now));
            (status.state, status.since, status.loaded, status.attempted)
        };
        let (loaded, stale, error) = (PolicyState::Loaded, PolicyState::Stale, PolicyState::Error);
        assert_eq!(end(ReloadOutcome::Unchanged, 1, 1), (loaded, at(0), at(0), at(1)));
        assert_eq!(end(ReloadOutcome::Refused, 1, 2), (stale, at(2), at(0), at(2)));
        assert_eq!(end(ReloadOutcome::Unaudited, 1, 3), (stale, at(2), at(0), at(3)));
        assert_eq!(end(ReloadOutcome::Unreadable, 1, 4), (error, at(4), at(0), at(4)));
        assert_eq!(end(ReloadOutcome::Loaded, 2, 5), (loaded, at(5), at(5), at(5)));
        assert_eq!(end(ReloadOutcome::Loaded, 3, 6), (loaded, at(5), at(6), at(6)));
    }
}
