//! What a secret is worth at a moment: whether its token is live, or why not.

use super::{TokenDigest, TokenRecord};
use crate::time::Timestamp;

/// What the secret of a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretState {
    /// It lets its holder in, until then or for ever.
    Live {
        /// When the token expires.
        until: Option<Timestamp>,
    },
    /// It was replaced, and still lets its holder in for a while.
    InGrace {
        /// The first moment at which it does not.
        until: Timestamp,
    },
    /// The token is disabled, and can be enabled again.
    Disabled {
        /// Since when.
        since: Timestamp,
    },
    /// The token has expired.
    Expired {
        /// Since when.
        since: Timestamp,
    },
    /// It was replaced, and is refused.
    Former {
        /// Since when.
        since: Timestamp,
    },
}

impl SecretState {
    /// What the secret with this digest is worth at `now`; `None` when it is none of this token.
    pub fn of(record: &TokenRecord, digest: &TokenDigest, now: Timestamp) -> Option<Self> {
        let former = match record.former {
            _ if record.digest == *digest => None,
            Some(former) if former.digest == *digest => Some(former),
            Some(_) | None => return None,
        };
        Some(match (former, Self::of_token(record, now)) {
            (Some(former), _) if former.expires <= now => Self::Former { since: former.expires },
            (Some(former), Self::Live { .. }) => Self::InGrace { until: former.expires },
            (_, state) => state,
        })
    }

    /// What the own secret of a token is worth at `now`.
    pub fn of_token(record: &TokenRecord, now: Timestamp) -> Self {
        match (record.expires.filter(|expires| *expires <= now), record.disabled) {
            (Some(since), _) => Self::Expired { since },
            (None, Some(since)) => Self::Disabled { since },
            (None, None) => Self::Live { until: record.expires },
        }
    }

    /// Whether it lets its holder in.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Live { .. } | Self::InGrace { .. })
    }

    /// The name by which programs know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live { .. } => "live",
            Self::InGrace { .. } => "in-grace",
            Self::Disabled { .. } => "disabled",
            Self::Expired { .. } => "expired",
            Self::Former { .. } => "former",
        }
    }

    /// The moment that the state is about.
    pub const fn moment(self) -> Option<Timestamp> {
        match self {
            Self::Live { until } => until,
            Self::InGrace { until } => Some(until),
            Self::Disabled { since } | Self::Expired { since } | Self::Former { since } => Some(since),
        }
    }

    /// The state of this name and moment; `None` when there is none such.
    pub fn from_name(name: &str, moment: Option<Timestamp>) -> Option<Self> {
        Some(match (name, moment) {
            ("live", until) => Self::Live { until },
            ("in-grace", Some(until)) => Self::InGrace { until },
            ("disabled", Some(since)) => Self::Disabled { since },
            ("expired", Some(since)) => Self::Expired { since },
            ("former", Some(since)) => Self::Former { since },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{FormerSecret, SecretKind, TokenId, TokenOrigin};

    const OWN: TokenDigest = TokenDigest::from_bytes([1; 32]);
    const FORMER: TokenDigest = TokenDigest::from_bytes([2; 32]);
    const OTHER: TokenDigest = TokenDigest::from_bytes([3; 32]);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A token that expires at 100, and whose former secret does at 50.
    fn record() -> TokenRecord {
        TokenRecord {
            id: TokenId::LEAST,
            digest: OWN,
            kind: SecretKind::Generated,
            origin: TokenOrigin::Api,
            name: "ci".into(),
            description: None,
            roles: Vec::new(),
            dedicated_subject: None,
            created: at(0),
            updated: at(0),
            expires: Some(at(100)),
            disabled: None,
            former: Some(FormerSecret { digest: FORMER, kind: SecretKind::Generated, expires: at(50) }),
        }
    }

    #[test]
    fn secret_is_live_up_to_its_expiry_and_the_former_one_up_to_its_own() {
        let state = |digest, now| SecretState::of(&record(), &digest, at(now));
        assert_eq!(state(OWN, 99), Some(SecretState::Live { until: Some(at(100)) }));
        assert_eq!(state(OWN, 100), Some(SecretState::Expired { since: at(100) }));
        assert_eq!(state(FORMER, 49), Some(SecretState::InGrace { until: at(50) }));
        assert_eq!(state(FORMER, 50), Some(SecretState::Former { since: at(50) }));
        assert_eq!(state(OTHER, 0), None);
        let forever = TokenRecord { expires: None, former: None, ..record() };
        assert_eq!(SecretState::of(&forever, &OWN, at(i64::MAX)), Some(SecretState::Live { until: None }));
        assert_eq!(SecretState::of(&forever, &FORMER, at(0)), None);
    }

    #[test]
    fn disabled_token_lets_nobody_in_by_either_secret() {
        let disabled = TokenRecord { disabled: Some(at(10)), ..record() };
        for digest in [OWN, FORMER] {
            let state = SecretState::of(&disabled, &digest, at(20)).unwrap();
            assert_eq!(state, SecretState::Disabled { since: at(10) });
            assert!(!state.is_live());
        }
        assert!(SecretState::of(&record(), &FORMER, at(20)).unwrap().is_live());
        // It cannot be enabled again.
        assert_eq!(SecretState::of(&disabled, &OWN, at(100)), Some(SecretState::Expired { since: at(100) }));
    }

    #[test]
    fn states_are_read_back_by_name_and_moment() {
        for (digest, now) in [(OWN, 0), (OWN, 100), (FORMER, 0), (FORMER, 50)] {
            let state = SecretState::of(&record(), &digest, at(now)).unwrap();
            assert_eq!(SecretState::from_name(state.name(), state.moment()), Some(state));
        }
        assert_eq!(
            SecretState::from_name("disabled", Some(at(1))),
            Some(SecretState::Disabled { since: at(1) })
        );
        assert_eq!(SecretState::from_name("disabled", None), None);
        assert_eq!(SecretState::from_name("lively", None), None);
    }
}
