//! Whether everything that a token with some roles may do lies within what a token with other roles may: what a
//! token may hand on to another one.
//!
//! Both tokens are compared on every method and every path at once, with the conditions of rules left open. What
//! cannot be told counts as too much.

use super::declaration::{AskedRoles, Condition, ConditionInput, Effect, EffectiveRoles, Subject};
use super::diff::words;
use super::diff::{Change, DiffError, Region, Said};
use super::pattern::Pattern;
use super::roles::RoleSet;
use super::{PolicySet, Rule};
use crate::decision::RuleId;
use crate::path::CanonicalPath;
use crate::request::{MethodSet, Request};
use crate::time::Timestamp;
use crate::token::RoleName;
use http::Method;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// Something that is granted and that the granter does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Requests.
    Routes(ExcessRoutes),
    /// A permission without routes: it means something to the program behind, and nothing here tells what.
    Permission(Arc<str>),
    /// A role that no policy defines now: nobody knows what it will permit once one does.
    Role(RoleName),
}

/// Requests that are granted and that the granter may not make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExcessRoutes {
    /// With which methods.
    pub methods: MethodSet,
    /// On which paths,
    pub pattern: Pattern,
    /// except these.
    pub except: Vec<Pattern>,
    /// A path among them.
    pub witness: CanonicalPath,
    /// The rules that allow them.
    pub rules: Vec<RuleId>,
    /// Whether a condition has a say, so that not every such request has to be too much.
    pub is_conditional: bool,
}

/// Why it cannot be told whether roles lie within others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the roles reach cannot be compared: {0}")]
pub struct WithinError(#[from] DiffError);

impl PolicySet {
    /// Everything that a live token with the roles `granted` may do, or could under some condition, and a live
    /// token with the roles `granter` may not. Empty when the one lies within the other.
    ///
    /// # Errors
    /// When wildcards overlap in more ways than are looked at; see [`super::space::CLASSES_MAX`].
    pub fn beyond(&self, granter: &[RoleName], granted: &[RoleName]) -> Result<Vec<Excess>, WithinError> {
        let tokens = Tokens::new(self, granter, granted);
        let mut excess = tokens.routes()?;
        excess.extend(self.permissions_beyond(&tokens.granter, &tokens.granted).map(Excess::Permission));
        let is_unknown = |role: &&RoleName| !self.has_role(role.as_str()) && !granter.contains(role);
        excess.extend(granted.iter().filter(is_unknown).cloned().map(Excess::Role));
        Ok(excess)
    }

    /// The permissions without routes that holders of the one set hold and those of the other do not, by name.
    fn permissions_beyond(&self, granter: &RoleSet, granted: &RoleSet) -> impl Iterator<Item = Arc<str>> {
        let holds = |roles: &RoleSet, name: &Arc<str>| {
            self.holders.get(name).is_some_and(|holders| holders.intersects(roles))
        };
        let without_routes = self.permissions.iter().filter(|(_, permission)| permission.routes.is_empty());
        let beyond = without_routes.map(|(name, _)| name);
        let beyond = beyond.filter(|name| holds(granted, name) && !holds(granter, name));
        beyond.cloned().collect::<BTreeSet<_>>().into_iter()
    }
}

/// Two tokens by the roles that they hold, with all that these include.
struct Tokens<'p> {
    policies: &'p PolicySet,
    granter: RoleSet,
    granted: RoleSet,
}

impl<'p> Tokens<'p> {
    fn new(policies: &'p PolicySet, granter: &[RoleName], granted: &[RoleName]) -> Self {
        let [granter, granted] = [granter, granted].map(|roles| policies.roles.effective(roles));
        Self { policies, granter, granted }
    }

    fn routes(&self) -> Result<Vec<Excess>, WithinError> {
        let [granter, granted] = [&self.granter, &self.granted].map(|held| self.said(held));
        if self.is_plainly_within(&granter, &granted) {
            return Ok(Vec::new());
        }
        let shifted = self.shifted().cloned().collect();
        let mut routes: Vec<ExcessRoutes> =
            self.policies.beyond_rules(&granted, &granter, shifted)?.map(ExcessRoutes::from).collect();
        routes.sort_by_cached_key(|routes| (routes.pattern.to_string(), routes.methods));
        Ok(routes.into_iter().map(Excess::Routes).collect())
    }

    /// The rules that have a say about a token that holds these roles. A condition that asks for roles and for
    /// nothing else has its answer here.
    fn said(&self, held: &RoleSet) -> Vec<Said<'p>> {
        let about = (0..).zip(&self.policies.rules);
        let about = about.filter(|(_, rule)| rule.is_about(&Subject::Authenticated, held));
        let said = about.filter_map(|(number, rule)| {
            let is_open = match rule.condition.as_deref() {
                None => false,
                Some(condition) => match self.answer(condition, rule, held) {
                    None => true,
                    // A condition that holds makes an allowing rule one without, and takes a denying one away.
                    Some(holds) if holds == (rule.effect == Effect::Allow) => false,
                    Some(_) => return None,
                },
            };
            Some(Said { number, rule, is_open })
        });
        said.collect()
    }

    /// The answer of a condition to every request of a token that holds these roles; `None` when there is no such
    /// answer, or it cannot be had.
    fn answer(&self, condition: &dyn Condition, rule: &Rule, held: &RoleSet) -> Option<bool> {
        if condition.fingerprint().asks_more {
            return None;
        }
        let input = ConditionInput {
            request: Request::new(Method::GET, CanonicalPath::asterisk()),
            principal: None,
            roles: EffectiveRoles { table: Arc::clone(&self.policies.roles), set: *held },
            route: Arc::clone(rule.routes.first()?),
            now: Timestamp::EPOCH,
            reads: None,
        };
        condition.evaluate(input).ok()
    }

    /// Whether the rules alone show that nothing is too much, without a look at any path. Wherever an allowing rule
    /// has a say for the granted token, the same rule has it for the granter, with no condition or with one that
    /// answers both alike; and whatever holds the granter there holds the granted token.
    fn is_plainly_within(&self, granter: &[Said<'_>], granted: &[Said<'_>]) -> bool {
        let by_number = |said: &[Said<'_>]| -> HashMap<u32, bool> {
            said.iter().map(|said| (said.number, said.is_open)).collect()
        };
        let (granter_rules, granted_rules) = (by_number(granter), by_number(granted));
        // Whether the weaker of two forms of a rule has a say whenever the stronger has: one without a condition
        // always has.
        let follows = |said: &Said<'_>, others: &HashMap<u32, bool>| match others.get(&said.number) {
            None => false,
            Some(false) => true,
            Some(true) => said.is_open && self.answers_alike(said.rule),
        };
        let of = |effect: Effect| move |said: &&Said<'_>| said.rule.effect == effect;
        granted.iter().filter(of(Effect::Allow)).all(|said| follows(said, &granter_rules))
            && granter.iter().filter(of(Effect::Deny)).all(|said| follows(said, &granted_rules))
    }

    /// Whether the condition of the rule answers both tokens alike, whatever else is asked.
    fn answers_alike(&self, rule: &Rule) -> bool {
        let Some(print) = rule.condition.as_ref().map(|condition| condition.fingerprint()) else {
            return true;
        };
        !print.asks_token
            && match &print.asked {
                AskedRoles::Nothing => true,
                AskedRoles::Roles(asked) => !self.shifted().any(|role| asked.contains(role.as_str())),
                AskedRoles::Anything => self.shifted().next().is_none(),
            }
    }

    /// The roles that one of the tokens holds and the other does not.
    fn shifted(&self) -> impl Iterator<Item = &'p RoleName> {
        let roles = &self.policies.roles;
        let is_held =
            |set: &RoleSet, name: &RoleName| roles.find(name.as_str()).is_some_and(|role| set.contains(role));
        let is_shifted = move |name: &&RoleName| is_held(&self.granter, name) != is_held(&self.granted, name);
        roles.names().iter().filter(is_shifted)
    }
}

impl ExcessRoutes {
    /// Whether it is about requests with this method and this path.
    pub fn contains(&self, method: MethodSet, path: &CanonicalPath) -> bool {
        self.methods.intersects(method)
            && self.pattern.matches(path)
            && !self.except.iter().any(|pattern| pattern.matches(path))
    }
}

impl From<Region> for ExcessRoutes {
    fn from(region: Region) -> Self {
        let is_conditional = region.change != Change::Gains;
        let Region { methods, pattern, except, witness, new: rules, .. } = region;
        Self { methods, pattern, except, witness, rules, is_conditional }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routes(routes) => routes.fmt(f),
            Self::Permission(name) => write!(f, "the permission `{name}`, which has no routes"),
            Self::Role(role) => write!(f, "the role `{role}`, which no policy defines"),
        }
    }
}

impl fmt::Display for ExcessRoutes {
    /// As rules write it, such as `GET,POST /api/node/** except /api/node/{type}`: `GET` covers `HEAD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (get, head) = (MethodSet::of("GET"), MethodSet::of("HEAD"));
        let is_list = self.methods != MethodSet::ANY && self.methods.contains(get);
        let methods = if is_list { self.methods.without(head) } else { self.methods };
        write!(f, "`{}`", words::route(methods, &self.pattern, &self.except))?;
        if self.is_conditional { f.write_str(" where conditions allow it") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
