//! Policies: what the scripts declare, compiled, and the decision on a request.

mod access;
#[cfg(feature = "config")]
pub mod cases;
mod check;
mod compile;
mod decide;
pub(crate) mod declaration;
pub mod diff;
pub(crate) mod error;
pub mod explain;
pub mod host;
#[cfg(feature = "config")]
pub mod openapi;
mod pattern;
mod reads;
mod roles;
pub mod matrix;
mod script;
pub mod space;
mod table;
pub mod opening;
pub mod warn;
pub mod within;

pub use access::{Access, Match, Reach};
pub use compile::ROUTES_MAX;
pub use declaration::{Effect, Subject};
pub use error::{Location, PROBLEMS_MAX, PolicyErrors, Problem};
pub use host::HostFunctions;
pub use pattern::{Pattern, ROUTE_MAX_BYTES, Route, RouteError, SEGMENTS_MAX};
pub use roles::ROLES_MAX;
pub use script::{
    Limits, NAMES_MAX, Printer, ROUTES_MAX_BYTES, SEGMENTS_ALL_MAX, SOURCES_MAX, SOURCES_MAX_BYTES,
    ScriptLimits, Source,
};

use crate::decision::{Decision, PolicyVersion, RuleId};
use crate::request::{MethodSet, Request};
use crate::token::RoleName;
use declaration::{Condition, Grant};
use roles::{RoleIndex, RoleSet, RoleTable};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use table::{GrantedTable, Table};
use warn::Written;

/// All policies of an engine, compiled. Immutable: a reload makes another one.
#[derive(Debug)]
pub struct PolicySet {
    rules: Box<[Rule]>,
    table: Table,
    roles: Arc<RoleTable>,
    permissions: HashMap<Arc<str>, Permission>,
    holders: HashMap<Arc<str>, RoleSet>,
    granted: GrantedTable,
    version: PolicyVersion,
}

/// A rule: effect, subject, routes, condition, and where it stands.
pub struct Rule {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whom it is about.
    pub subject: Subject,
    /// The routes that it is about.
    pub routes: Box<[Arc<Route>]>,
    /// Routes among them that it is not about.
    pub except: Box<[Route]>,
    /// The permission by which it allows; `None` for a rule with routes of its own.
    pub permission: Option<Arc<str>>,
    /// Where it stands.
    pub location: Location,
    condition: Option<Arc<dyn Condition>>,
    holder: Option<RoleIndex>,
}

/// A permission: routes under a name, for roles to be granted.
#[derive(Debug)]
pub struct Permission {
    /// The routes that it stands for.
    pub routes: Box<[Arc<Route>]>,
    /// Where it is declared.
    pub location: Location,
}

/// Roles that the configuration adds to those of the policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleBindings {
    /// Other names of roles.
    pub aliases: Vec<Alias>,
    /// Roles made of permissions.
    pub custom: Vec<CustomRole>,
}

/// Another name of a role: whoever holds the name holds the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The other name.
    pub name: RoleName,
    /// The role of the policies.
    pub role: RoleName,
    /// Where it is configured.
    pub location: Location,
}

/// A role made of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRole {
    /// The role's name.
    pub name: RoleName,
    /// The permissions that it grants, each with its place in the configuration.
    pub permissions: Vec<(Arc<str>, Location)>,
    /// Where it is configured.
    pub location: Location,
}

impl PolicySet {
    /// Runs policy scripts and compiles what they declare, together with what the configuration adds.
    ///
    /// # Errors
    /// With everything that is wrong, in all scripts.
    pub fn load(
        sources: &[Source],
        bindings: &RoleBindings,
        limits: &ScriptLimits,
    ) -> Result<Self, PolicyErrors> {
        Self::load_as_written(sources, bindings, limits).map(|(policies, _)| policies)
    }

    /// The same, with what a policy set itself has no use for.
    fn load_as_written(
        sources: &[Source],
        bindings: &RoleBindings,
        limits: &ScriptLimits,
    ) -> Result<(Self, Written), PolicyErrors> {
        let mut problems = check::sources(sources);
        if !problems.is_empty() {
            return Err(PolicyErrors::from(problems));
        }
        let mut loaded = match script::run(sources, limits) {
            Ok(loaded) => loaded,
            Err(message) => return Err(PolicyErrors::from(vec![Problem::new(Location::whole(), message)])),
        };
        problems.append(&mut loaded.problems);
        let mut set = None;
        let mut written = Written::default();
        if loaded.is_complete {
            // A rule whose routes are all wrong has been told about.
            if !problems.is_empty() {
                loaded.declared.rules.retain(|rule| !rule.routes.is_empty());
            }
            // Nor is it missed when the reason for its absence is told.
            if problems.is_empty() {
                problems.extend(check::declares_something(&loaded.declared, sources));
            }
            written.note(&loaded.declared);
            match compile::compile(loaded.declared, bindings, check::version(sources, bindings, &limits.host))
            {
                Ok(compiled) => {
                    problems.extend(check::unknown_roles(&compiled, &loaded.mentions));
                    set = Some(compiled);
                }
                Err(errors) => problems.extend(errors.into_problems()),
            }
        }
        match set {
            Some(set) if problems.is_empty() => {
                written.mentions = loaded.mentions;
                Ok((set, written))
            }
            _ => Err(check::with_lines(problems, sources, limits)),
        }
    }

    /// Which policy set this is.
    pub const fn version(&self) -> PolicyVersion {
        self.version
    }

    /// All rules, in the order of their files and lines.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule with this id; `None` for an id of another policy set.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0 as usize)
    }

    /// The rule by which this policy set made the decision; `None` when no rule did, or another policy set.
    pub fn deciding_rule(&self, decision: &Decision) -> Option<&Rule> {
        if decision.policy == self.version { self.rule(decision.rule()?) } else { None }
    }

    /// The route of the deciding rule that the request matched; `None` when no rule decided.
    pub fn deciding_route(&self, decision: &Decision, request: &Request) -> Option<&Arc<Route>> {
        let method = MethodSet::of(request.method().as_str());
        let routes = &self.deciding_rule(decision)?.routes;
        routes.iter().find(|route| route.covers(method, request.path()))
    }

    /// All roles: those of the scripts, aliases and custom roles.
    pub fn roles(&self) -> &[RoleName] {
        self.roles.names()
    }

    /// What is wrong with naming this role at this place; `None` when there is such a role.
    pub fn unknown_role(&self, role: &RoleName, location: &Location) -> Option<Problem> {
        (!self.has_role(role.as_str())).then(|| compile::unknown_role(role, location, self.roles()))
    }

    /// Whether there is a role of this name.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.find(name).is_some()
    }

    /// The names of all permissions, in no particular order.
    pub fn permissions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.permissions.keys().map(|name| &**name)
    }

    /// The permission of this name.
    pub fn permission(&self, name: &str) -> Option<&Permission> {
        self.permissions.get(name)
    }

    /// Whether holders of these roles hold the permission; `None` when there is no such permission.
    pub fn holds_permission(&self, roles: &[RoleName], permission: &str) -> Option<bool> {
        if !self.permissions.contains_key(permission) {
            return None;
        }
        let effective = self.roles.effective(roles);
        Some(self.holders.get(permission).is_some_and(|holders| holders.intersects(&effective)))
    }

    /// The permissions that some role grants and that have a route for this request, sorted. Found as a
    /// decision is, so that the text of a denial costs no more than the denial.
    pub fn permissions_for(&self, request: &Request) -> Vec<&str> {
        self.granted.covering(MethodSet::of(request.method().as_str()), request.path())
    }
}

impl Rule {
    /// Whether the rule has a condition.
    pub const fn is_conditional(&self) -> bool {
        self.condition.is_some()
    }
}

impl CustomRole {
    fn grants(&self) -> impl Iterator<Item = Grant> {
        self.permissions.iter().map(|(permission, location)| Grant {
            role: self.name.clone(),
            permission: Arc::clone(permission),
            location: location.clone(),
        })
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("effect", &self.effect)
            .field("subject", &self.subject)
            .field("routes", &self.routes)
            .field("except", &self.except)
            .field("permission", &self.permission)
            .field("is_conditional", &self.is_conditional())
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
