//! The one gate: who a request comes from, whether the policies permit it, and every change to tokens.

mod change;
mod commit;
mod content;
#[cfg(feature = "server")]
mod evaluate;
mod reach;
mod lifecycle;
mod look_up;
mod record;
mod replace;
mod transfer;
mod turns;
mod uses;

pub use change::{ChangeError, CreatedToken, NewToken, ProvisionError, Provisioned, ReadError};
pub use commit::CommitError;
pub use lifecycle::{GRACE_MAX, TokenChanges};
pub use look_up::{KnownSecret, LOOK_UPS_MAX};
pub use reach::{BeyondReach, EXCESS_TOLD_MAX, EXCESS_TOLD_MAX_BYTES, GRANT_ANY_ROLE};
pub use record::DenialEntry;
pub use replace::ReplaceError;
pub use transfer::{
    ExportPage, ExportPosition, Import, ImportConflict, ImportOutcome, Imported, TRANSFER_MAX,
};

use crate::audit::{Actor, Audit, AuditEntry, AuditError, AuditEvent, Denials};
use crate::authenticator::{Authenticator, Authenticators, RealmError};
use crate::decision::Decision;
use crate::path::CanonicalPath;
use crate::policy::PolicySet;
use crate::request::Request;
use crate::store::page::{Filter, Order, PAGE_MAX, PageQuery};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::token::{Principal, RoleName, TokenRecord};
use crate::tokens::{Authenticated, Handle, TokenIndex, Unauthenticated};
use crate::uses::Uses;
use arc_swap::ArcSwap;
use http::Method;
use parking_lot::{Mutex, RwLock};
use rand::TryRng as _;
use rand::rngs::SysRng;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tokens, policies and audit behind one gate. Shared by all threads.
#[derive(Debug)]
pub struct Engine {
    policies: ArcSwap<PolicySet>,
    tokens: TokenIndex,
    authenticators: Authenticators,
    store: Box<dyn Store>,
    audit: Box<dyn Audit>,
    /// Shared by the changes that are under way. A deletion asks for it alone before it returns: then every
    /// change has ended that its token began while it was live.
    under_way: RwLock<()>,
    turns: turns::Turns,
    uses: Uses,
    /// Held by whoever writes uses down, so that whoever needs all of them written waits until they are.
    writing_uses: Mutex<()>,
    denials: Mutex<Denials>,
    comparisons: reach::Comparisons,
    /// Held by whoever replaces the policies, so that the audit log has each after the one that it replaced.
    replacing: Mutex<()>,
    decision_series: u32,
    decisions: AtomicU64,
}

/// The gate's answer to a request.
#[derive(Debug)]
#[must_use]
pub enum Answer {
    /// The policies permit the request.
    Permitted(Permit),
    /// The request needs a live token and has none.
    Unauthenticated(Challenge),
    /// The token is live, and the policies do not permit the request.
    Forbidden(Forbidden),
}

/// Proof that the policies permit a request. Only the gate makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    authenticated: Result<Known, Unauthenticated>,
    decision: Decision,
    facts: Facts,
}

/// A request that needs a live token and has none.
#[derive(Debug)]
#[non_exhaustive]
pub struct Challenge {
    /// By which the log finds this decision.
    pub id: DecisionId,
    /// Why there is no live token. The client is not told.
    pub cause: Unauthenticated,
    /// What the policies said to a request of nobody.
    pub decision: Decision,
}

/// A request of a live token that the policies do not permit.
#[derive(Debug)]
#[non_exhaustive]
pub struct Forbidden {
    /// By which the log finds this decision.
    pub id: DecisionId,
    /// Whose request it is.
    pub principal: Principal,
    /// Why it is denied.
    pub decision: Decision,
}

/// A number that no other decision of this process has, and hardly any of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecisionId {
    series: u32,
    number: u64,
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store does not give its tokens.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The start cannot be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The operating system has no randomness.
    #[error("the operating system gives no random numbers: {0}")]
    Randomness(#[from] rand::rngs::SysError),
}

/// Whose request it is.
#[derive(Clone, Debug)]
struct Known {
    principal: Principal,
    /// By which its token is found again; `None` for whoever has no token of the store.
    handle: Option<Handle>,
}

/// What an audit entry tells of a permitted request.
#[derive(Clone, Debug)]
struct Facts {
    method: Method,
    path: CanonicalPath,
    client_ip: Option<IpAddr>,
    request_id: Option<Arc<str>>,
}

impl Engine {
    /// Loads the tokens of the store into memory and records the start.
    ///
    /// # Errors
    /// When the store cannot be read, or the start cannot be audited.
    pub fn open(
        store: Box<dyn Store>,
        audit: Box<dyn Audit>,
        policies: PolicySet,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let tokens = TokenIndex::load(&*store)?;
        let event = AuditEvent::Started { policy: policies.version() };
        audit.record(&AuditEntry {
            at: now,
            actor: Actor::Program,
            event,
            client_ip: None,
            request_id: None,
        })?;
        Ok(Self {
            policies: ArcSwap::from_pointee(policies),
            tokens,
            authenticators: Authenticators::default(),
            store,
            audit,
            under_way: RwLock::new(()),
            turns: turns::Turns::default(),
            uses: Uses::default(),
            writing_uses: Mutex::new(()),
            denials: Mutex::default(),
            comparisons: reach::Comparisons::default(),
            replacing: Mutex::new(()),
            decision_series: SysRng.try_next_u32()?,
            decisions: AtomicU64::new(0),
        })
    }

    /// Takes other credentials than service tokens as well: `realm` is what the names that this authenticator vouches
    /// for are told apart by. Authenticators are asked in the order in which they were added.
    ///
    /// Such a foreign principal is permitted what its roles permit, except to change tokens and policies: a permit
    /// outlives its request, and nothing here could tell that the principal was revoked meanwhile.
    ///
    /// # Errors
    /// When the realm has no name that it may have, or another authenticator has it.
    pub fn with_authenticator(
        mut self,
        realm: &'static str,
        authenticator: Box<dyn Authenticator>,
    ) -> Result<Self, RealmError> {
        self.authenticators.add(realm, authenticator)?;
        Ok(self)
    }

    /// Authenticates a request and decides it. Never waits for the store.
    pub fn check(&self, request: &Request, now: Timestamp) -> Answer {
        self.check_by(&self.policies.load(), request, now)
    }

    /// The same by policies that the caller holds: those of [`Engine::policies`], so that everything that is told
    /// of the decision afterwards comes from the policies that made it, whatever was loaded meanwhile.
    pub fn check_by(&self, policies: &Arc<PolicySet>, request: &Request, now: Timestamp) -> Answer {
        let authenticated = self.authenticate(request, now);
        let principal = authenticated.as_ref().ok().map(|known| &known.principal);
        let decision = policies.decide(principal, request, now);
        if let Some(principal) = principal {
            // Of others there is nothing in the store that a use could be told of.
            if let Some(token) = principal.id.token() {
                self.uses.count(token, &decision, policies, now);
            }
        }
        match authenticated {
            authenticated if decision.is_allow() => {
                Answer::Permitted(Permit { authenticated, decision, facts: Facts::of(request) })
            }
            Ok(Known { principal, .. }) => {
                Answer::Forbidden(Forbidden { id: self.next_decision(), principal, decision })
            }
            Err(cause) => Answer::Unauthenticated(Challenge { id: self.next_decision(), cause, decision }),
        }
    }

    /// Tells whose request it is, without asking any policy. That permits nothing, and is not counted as a use.
    ///
    /// # Errors
    /// When the request is nobody's. What its client is told must not depend on the cause.
    pub fn principal_of(&self, request: &Request, now: Timestamp) -> Result<Principal, Unauthenticated> {
        self.authenticate(request, now).map(|known| known.principal)
    }

    /// The policies that decide now.
    pub fn policies(&self) -> Arc<PolicySet> {
        self.policies.load_full()
    }

    /// How many tokens there are, expired ones among them.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// The roles that tokens hold and no policy defines any more, each with the number of those tokens that have not expired. Such
    /// a role permits nothing.
    pub fn undefined_roles(&self, now: Timestamp) -> BTreeMap<RoleName, usize> {
        let policies = self.policies();
        self.tokens.count_roles(|role| !policies.has_role(role.as_str()), now)
    }

    /// All tokens, the oldest first. A permit is needed to see them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self, _permit: &Permit) -> Result<Vec<TokenRecord>, StoreError> {
        let (order, filter) = (Order::default(), Filter::default());
        let mut query = PageQuery { order, filter, after: None, limit: PAGE_MAX };
        let mut tokens = Vec::new();
        loop {
            let page = self.store.page(&query)?;
            tokens.extend(page.tokens.into_iter().map(|listed| listed.record));
            query.after = page.next;
            if query.after.is_none() {
                return Ok(tokens);
            }
        }
    }

    /// Who a request was permitted to, as that token is now; `None` when it is no longer live. A permit may be as old as
    /// a client takes to send a body. Nobody can say of foreign principals whether they still are who they were.
    fn holder(&self, permit: &Permit, now: Timestamp) -> Option<Principal> {
        self.tokens.principal_of(permit.authenticated.as_ref().ok()?.handle?, now)
    }

    /// Who the request comes from: its token says so, and authenticators of the program where it carries none.
    fn authenticate(&self, request: &Request, now: Timestamp) -> Result<Known, Unauthenticated> {
        match self.tokens.authenticate(request.credential(), now) {
            Ok(Authenticated { principal, handle }) => Ok(Known { principal, handle: Some(handle) }),
            Err(cause) => match self.authenticators.authenticate(request, now) {
                Some(Ok(principal)) => Ok(Known { principal, handle: None }),
                Some(Err(refusal)) => Err(Unauthenticated::Foreign(refusal)),
                None => Err(cause),
            },
        }
    }

    fn next_decision(&self) -> DecisionId {
        DecisionId { series: self.decision_series, number: self.decisions.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Permit {
    /// Whose request it is; `None` when nobody's token was needed and none was given.
    pub fn principal(&self) -> Option<&Principal> {
        self.authenticated.as_ref().ok().map(|known| &known.principal)
    }

    /// Why the request has no principal; `None` when it has one.
    pub fn unauthenticated(&self) -> Option<Unauthenticated> {
        self.authenticated.as_ref().err().copied()
    }

    /// How the policies decided.
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The method of the permitted request.
    pub const fn method(&self) -> &Method {
        &self.facts.method
    }

    /// The canonical path of the permitted request.
    pub const fn path(&self) -> &CanonicalPath {
        &self.facts.path
    }

    /// The id of the permitted request, as logs and the audit log have it.
    pub fn request_id(&self) -> Option<&str> {
        self.facts.request_id.as_deref()
    }
}

impl Facts {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            path: request.path().clone(),
            client_ip: request.client_ip(),
            request_id: request.id().cloned(),
        }
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:06x}", self.series, self.number)
    }
}
