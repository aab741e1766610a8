//! Other credentials than service tokens: whoever the embedding program itself can tell, such as the holder of a
//! client certificate or of a cloud's identity.

use crate::request::{Credential, Request, Unusable};
use crate::time::Timestamp;
use crate::token::{
    ForeignId, ForeignIdError, Principal, ROLES_PER_TOKEN_MAX, RoleName, TokenName, check_realm,
};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Tells by something else than a service token who a request comes from.
///
/// It is asked only about requests that present no service token: with a token, be it live or not, the token alone
/// decides. It is asked on the thread of the request and for each one, so that it has to answer within microseconds:
/// no file, no network, no lock that others hold for long; keys are fetched beforehand, on a thread of the program's own.
/// It must compare secrets in constant time and must not log them. Whatever goes wrong in it, a panic among it, is a
/// refusal.
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Who the request comes from.
    fn authenticate(&self, request: &Request, now: Timestamp) -> Authentication;
}

/// What an authenticator says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Authentication {
    /// The request carries no credential of this kind: others are asked, and in the end it is nobody's.
    NotMine,
    /// The credential is good.
    Authenticated(ForeignPrincipal),
    /// The credential is of this kind and no good: the request is nobody's, and no other authenticator is asked. The
    /// client is not told why; logs are.
    Refused(&'static str),
}

/// Whom an authenticator vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPrincipal {
    /// Its name in the realm: 1 to 256 characters of visible ASCII. One name is one principal, for ever.
    pub subject: String,
    /// The roles that it holds. One that no policy defines permits nothing.
    pub roles: Vec<RoleName>,
}

/// Why a credential of another kind is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{realm}: {cause}")]
pub struct ForeignRefusal {
    /// Which authenticator it belongs to.
    pub realm: &'static str,
    /// What is wrong.
    pub cause: RefusalCause,
}

/// What is wrong with a credential of another kind, or with whoever looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalCause {
    /// The authenticator says so.
    #[error("{0}")]
    Refused(&'static str),
    /// The authenticator vouches for a name that is none.
    #[error("the authenticator gives no principal: {0}")]
    Name(ForeignIdError),
    /// The authenticator gives more roles than anybody may hold.
    #[error("the authenticator gives more than {ROLES_PER_TOKEN_MAX} roles")]
    TooManyRoles,
    /// The authenticator panicked.
    #[error("the authenticator panicked")]
    Panicked,
}

/// Why an authenticator is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RealmError {
    /// The realm has no name that it may have.
    #[error(transparent)]
    Name(#[from] ForeignIdError),
    /// Another authenticator has the same realm, and their subjects would be taken for each other.
    #[error("another authenticator has the realm `{0}`: give this one a realm of its own")]
    Taken(&'static str),
}

/// The authenticators of an engine, in the order in which they are asked.
#[derive(Debug, Default)]
pub(crate) struct Authenticators(Vec<(&'static str, Box<dyn Authenticator>)>);

impl Authenticators {
    pub(crate) fn add(
        &mut self,
        realm: &'static str,
        authenticator: Box<dyn Authenticator>,
    ) -> Result<(), RealmError> {
        check_realm(realm)?;
        if self.0.iter().any(|(other, _)| *other == realm) {
            return Err(RealmError::Taken(realm));
        }
        self.0.push((realm, authenticator));
        Ok(())
    }

    /// Who the request comes from; `None` when no authenticator is to be asked, or none knows the credential.
    pub(crate) fn authenticate(
        &self,
        request: &Request,
        now: Timestamp,
    ) -> Option<Result<Principal, ForeignRefusal>> {
        // A token that is mistyped, expired or unknown must not become somebody else.
        let has_token = match request.credential() {
            Credential::Missing | Credential::Unusable(Unusable::Scheme) => false,
            Credential::Unusable(Unusable::Token(_)) | Credential::Token(..) => true,
        };
        if has_token {
            return None;
        }
        self.0.iter().find_map(|(realm, authenticator)| {
            let answer = match ask(&**authenticator, request, now) {
                Some(Authentication::NotMine) => return None,
                Some(Authentication::Authenticated(known)) => principal(realm, known, now),
                Some(Authentication::Refused(cause)) => Err(RefusalCause::Refused(cause)),
                None => Err(RefusalCause::Panicked),
            };
            Some(answer.map_err(|cause| ForeignRefusal { realm, cause }))
        })
    }
}

impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    fn authenticate(&self, request: &Request, now: Timestamp) -> Authentication {
        (**self).authenticate(request, now)
    }
}

/// What the authenticator says; `None` when it panics.
fn ask(authenticator: &dyn Authenticator, request: &Request, now: Timestamp) -> Option<Authentication> {
    // What a panic leaves behind in its own state is the program's, as with any other thread.
    let answer = catch_unwind(AssertUnwindSafe(|| authenticator.authenticate(request, now)));
    answer
        .map_err(|payload| {
            // Dropping what was thrown may panic once more.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
        })
        .ok()
}

fn principal(realm: &str, known: ForeignPrincipal, now: Timestamp) -> Result<Principal, RefusalCause> {
    if known.roles.len() > ROLES_PER_TOKEN_MAX {
        return Err(RefusalCause::TooManyRoles);
    }
    let id = ForeignId::new(realm, &known.subject).map_err(RefusalCause::Name)?;
    // Where a name alone is shown, it says that it is no token's.
    let name = TokenName::from(id.as_str());
    Ok(Principal { id: id.into(), name, roles: known.roles.into(), created: now })
}
