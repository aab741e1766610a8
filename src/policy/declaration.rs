//! What the scripts and the configuration declare, before it is put together.

use super::error::Location;
use super::pattern::Route;
use super::reads::Reads;
use super::roles::{RoleSet, RoleTable};
use crate::request::Request;
use crate::time::Timestamp;
use crate::token::{Principal, RoleName};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Whether a rule allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It allows, unless another rule denies.
    Allow,
    /// It denies, whatever others allow.
    Deny,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Every request, with a token or without.
    Anyone,
    /// Every live token.
    Authenticated,
    /// Tokens that hold this role, or one that includes it.
    Role(RoleName),
}

/// A condition of a rule. Evaluating it must end, whatever it is given.
pub(crate) trait Condition: Send + Sync + fmt::Debug {
    /// Evaluates the condition.
    ///
    /// # Errors
    /// When it has no answer; the text says why.
    fn evaluate(&self, input: ConditionInput) -> Result<bool, String>;

    /// What tells it from other conditions.
    fn fingerprint(&self) -> &Fingerprint;
}

/// What tells conditions apart: two with the same fingerprint give the same answers to the same request, as long
/// as the roles are the same that they ask for, and the parameters of their routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint {
    /// Of its text, of all that it can call, and of what it captures.
    pub(crate) digest: [u8; 32],
    /// Whether it can ask for parameters of its route.
    pub(crate) asks_params: bool,
    /// The roles that it can ask for.
    pub(crate) asked: AskedRoles,
    /// Whether it can ask which token it is: for its id, name, creation or roles.
    pub(crate) asks_token: bool,
    /// Whether it can ask for anything but roles.
    pub(crate) asks_more: bool,
}

/// The roles that a condition can ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum AskedRoles {
    /// None.
    #[default]
    Nothing,
    /// These.
    Roles(BTreeSet<Arc<str>>),
    /// What it asks for stands nowhere in the script.
    Anything,
}

/// What a condition sees. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConditionInput {
    pub(crate) request: Request,
    pub(crate) principal: Option<Principal>,
    pub(crate) roles: EffectiveRoles,
    /// The route of the rule that matched: it names the parameters.
    pub(crate) route: Arc<Route>,
    pub(crate) now: Timestamp,
    /// Where readings are noted; `None` while requests are decided.
    pub(crate) reads: Option<Arc<Reads>>,
}

/// The roles of a principal, with all that they include.
#[derive(Clone)]
pub(crate) struct EffectiveRoles {
    pub(super) table: Arc<RoleTable>,
    pub(super) set: RoleSet,
}

/// Everything that scripts and configuration declare, in the order in which they do.
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    pub(crate) permissions: Vec<PermissionDeclaration>,
    pub(crate) roles: Vec<RoleDeclaration>,
    pub(crate) inclusions: Vec<Inclusion>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) rules: Vec<RuleDeclaration>,
}

/// `permission(name, routes)`.
#[derive(Debug)]
pub(crate) struct PermissionDeclaration {
    pub(crate) name: Arc<str>,
    pub(crate) routes: Vec<Route>,
    pub(crate) location: Location,
}

/// `role(name)`; it may stand any number of times.
#[derive(Debug)]
pub(crate) struct RoleDeclaration {
    pub(crate) name: RoleName,
    pub(crate) location: Location,
}

/// `role(name).includes(included)`.
#[derive(Debug)]
pub(crate) struct Inclusion {
    pub(crate) role: RoleName,
    pub(crate) included: RoleName,
    pub(crate) location: Location,
}

/// `role(name).grants([permission])`.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) role: RoleName,
    pub(crate) permission: Arc<str>,
    pub(crate) location: Location,
}

/// `allow`, `authenticated`, `open` or `deny`, with what follows it.
#[derive(Debug)]
pub(crate) struct RuleDeclaration {
    pub(crate) effect: Effect,
    pub(crate) subject: Subject,
    pub(crate) routes: Vec<Route>,
    /// Routes that the rule is not about.
    pub(crate) except: Vec<Route>,
    /// `when` of an allowing rule, `unless` of a denying one.
    pub(crate) condition: Option<Arc<dyn Condition>>,
    pub(crate) location: Location,
}

impl EffectiveRoles {
    /// Whether the role is held, directly or by inclusion.
    pub(crate) fn contains(&self, role: &str) -> bool {
        self.table.find(role).is_some_and(|role| self.set.contains(role))
    }
}

impl fmt::Debug for EffectiveRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.table.names().iter().filter(|name| self.contains(name.as_str()));
        f.debug_set().entries(held.map(RoleName::as_str)).finish()
    }
}
