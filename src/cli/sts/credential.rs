//! The one thing that a client proves who it is with.

use std::fmt;
use zeroize::Zeroizing;

/// A token, and which header it travels in. Its `Debug` shows the kind alone.
#[derive(Clone)]
pub(crate) struct Credential {
    /// What kind of token it is.
    pub(crate) kind: CredentialKind,
    text: Zeroizing<String>,
}

/// The kinds of tokens that servers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    /// A service token.
    ServiceToken,
    /// The personal token of a user.
    ApiToken,
    /// The token of a Kubernetes service account.
    Kubernetes,
}

impl Credential {
    /// A credential of this kind.
    pub(crate) fn new(kind: CredentialKind, text: &str) -> Self {
        Self { kind, text: Zeroizing::new(text.to_owned()) }
    }

    /// The token itself. Whoever calls this must not log what it returns.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }
}

impl CredentialKind {
    /// The header that it is sent in.
    pub(crate) const fn header(self) -> &'static str {
        match self {
            Self::ServiceToken => "X-API-Key",
            Self::ApiToken => "X-API-Token",
            Self::Kubernetes => "X-API-ServiceBearer",
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?})", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_kind_and_not_the_token() {
        let credential = Credential::new(CredentialKind::ServiceToken, "svctok-secret");
        assert_eq!(format!("{credential:?}"), "Credential(ServiceToken)");
    }
}
