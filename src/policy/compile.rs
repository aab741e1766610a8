//! Puts declarations together: resolves every name, and refuses what does not fit, all of it at once.

use super::declaration::{Declarations, Effect, Inclusion, RuleDeclaration, Subject};
use super::error::{Location, PROBLEMS_KEPT_MAX, PROBLEMS_MAX, PolicyErrors, Problem, nearest};
use super::roles::{ROLES_MAX, RoleIndex, RoleSet, RoleTable};
use super::table::{GrantedTable, Row, RowKind, RowSubject, Table, TableBuilder};
use super::{Permission, PolicySet, RoleBindings, Rule};
use crate::decision::PolicyVersion;
use crate::token::RoleName;
use std::collections::HashMap;
use std::sync::Arc;

/// The most routes of a policy set, over all rules; permissions count once for each role that holds them.
pub const ROUTES_MAX: usize = 1_000_000;

struct Compiler {
    problems: Vec<Problem>,
    roles: RoleTable,
    /// Whether it is told that there are too many roles. Once is enough: each that follows is one too many.
    has_told_roles: bool,
}

/// Builds the policy set of what scripts and configuration declare.
pub(super) fn compile(
    mut declared: Declarations,
    bindings: &RoleBindings,
    version: PolicyVersion,
) -> Result<PolicySet, PolicyErrors> {
    let mut compiler = Compiler { problems: Vec::new(), roles: RoleTable::default(), has_told_roles: false };
    compiler.intern_declared(&declared);
    compiler.add_bindings(&mut declared, bindings);
    let permissions = compiler.permissions(&declared);
    compiler.close(&declared.inclusions);
    let mut rules = compiler.granted_rules(&declared, &permissions);
    rules.extend(compiler.declared_rules(declared.rules));
    rules.sort_by(|one, other| one.location.order().cmp(&other.location.order()));
    if rules.iter().map(|rule| rule.routes.len()).sum::<usize>() > ROUTES_MAX {
        compiler.tell(too_many_routes());
    }
    if let Some(errors) = PolicyErrors::of(compiler.problems) {
        return Err(errors);
    }

    let table = table(&rules);
    let holders = holders(&compiler.roles, &declared.grants);
    let granted = permissions.iter().filter(|(name, _)| holders.contains_key(*name));
    let granted = GrantedTable::new(granted.map(|(name, permission)| (name, &permission.routes[..])));
    Ok(PolicySet {
        rules: rules.into(),
        table,
        roles: Arc::new(compiler.roles),
        permissions,
        holders,
        granted,
        version,
    })
}

impl Compiler {
    fn tell(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_KEPT_MAX {
            self.problems.push(problem);
        }
    }

    /// Whether a problem will be told about, so that a look at all names for its sake is worth its time.
    fn is_heard(&self) -> bool {
        self.problems.len() < PROBLEMS_MAX
    }

    fn intern(&mut self, role: &RoleName, location: &Location) -> Option<RoleIndex> {
        let index = self.roles.intern(role);
        if index.is_none() && !std::mem::replace(&mut self.has_told_roles, true) {
            self.tell(Problem::new(location.clone(), format!("more than {ROLES_MAX} roles")));
        }
        index
    }

    fn intern_declared(&mut self, declared: &Declarations) {
        for role in &declared.roles {
            self.intern(&role.name, &role.location);
        }
    }

    /// Aliases become roles that include their target; custom roles become roles with grants.
    fn add_bindings(&mut self, declared: &mut Declarations, bindings: &RoleBindings) {
        let known: Vec<RoleName> = self.roles.names().to_vec();
        let is_policy_role = |name: &RoleName| known.contains(name);
        for alias in &bindings.aliases {
            if is_policy_role(&alias.name) {
                let message =
                    format!("`{}` is a role of the policies and cannot be an alias of another", alias.name);
                self.tell(Problem::new(alias.location.clone(), message));
            } else if !is_policy_role(&alias.role) {
                self.tell(unknown_role(&alias.role, &alias.location, &known));
            } else if self.intern(&alias.name, &alias.location).is_some() {
                declared.inclusions.push(Inclusion {
                    role: alias.name.clone(),
                    included: alias.role.clone(),
                    location: alias.location.clone(),
                });
            }
        }
        for custom in &bindings.custom {
            if is_policy_role(&custom.name) {
                let message =
                    format!("`{}` is a role of the policies and cannot be declared again", custom.name);
                self.tell(Problem::new(custom.location.clone(), message));
            } else if let Some(alias) = bindings.aliases.iter().find(|alias| alias.name == custom.name) {
                // Such a role would hold far more than what stands beside its name.
                let message = format!("`{}` is an alias of `{}`, and a custom role", custom.name, alias.role);
                let help =
                    format!("it is made an alias at {}: give one of them another name", alias.location);
                self.tell(Problem::new(custom.location.clone(), message).with_help(help));
            } else if self.intern(&custom.name, &custom.location).is_some() {
                declared.grants.extend(custom.grants());
            }
        }
    }

    fn permissions(&mut self, declared: &Declarations) -> HashMap<Arc<str>, Permission> {
        let mut permissions: HashMap<Arc<str>, Permission> = HashMap::new();
        for permission in &declared.permissions {
            if let Some(first) = permissions.get(&permission.name) {
                let message = format!("the permission `{}` is declared twice", permission.name);
                let help = format!("it is declared at {} already", first.location);
                self.tell(Problem::new(permission.location.clone(), message).with_help(help));
                continue;
            }
            let routes = permission.routes.iter().cloned().map(Arc::new).collect();
            let location = permission.location.clone();
            permissions.insert(Arc::clone(&permission.name), Permission { routes, location });
        }
        permissions
    }

    fn close(&mut self, inclusions: &[Inclusion]) {
        let mut pairs = Vec::new();
        let mut locations = Vec::new();
        for inclusion in inclusions {
            let Some(role) = self.intern(&inclusion.role, &inclusion.location) else { continue };
            let Some(included) = self.roles.find(inclusion.included.as_str()) else {
                if self.is_heard() {
                    self.tell(unknown_role(&inclusion.included, &inclusion.location, self.roles.names()));
                }
                continue;
            };
            pairs.push((role, included));
            locations.push(&inclusion.location);
        }
        if let Err(cycle) = self.roles.close(&pairs)
            && let Some(location) = locations.get(cycle.inclusion)
        {
            let way: Vec<_> = cycle.path.iter().map(|role| format!("`{role}`")).collect();
            let message = format!("a role includes itself: {}", way.join(" includes "));
            self.tell(Problem::new((*location).clone(), message));
        }
    }

    fn granted_rules(
        &mut self,
        declared: &Declarations,
        permissions: &HashMap<Arc<str>, Permission>,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut routes = 0;
        for grant in &declared.grants {
            let Some(permission) = permissions.get(&grant.permission) else {
                let message = format!("no permission is named `{}`", grant.permission);
                let known = permissions.keys().map(|name| &**name);
                let like = if self.is_heard() { nearest(&grant.permission, known) } else { None };
                let help = match like {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "declare it with `permission(name, [routes])`".to_owned(),
                };
                let mut problem = Problem::new(grant.location.clone(), message).with_help(help);
                problem.length = u32::try_from(grant.permission.chars().count()).unwrap_or(1);
                problem.literal = Some(Arc::clone(&grant.permission));
                self.tell(problem);
                continue;
            };
            routes += permission.routes.len();
            // Each grant takes memory for all routes of its permission.
            if routes > ROUTES_MAX {
                self.tell(too_many_routes());
                break;
            }
            let subject = Subject::Role(grant.role.clone());
            rules.push(Rule {
                effect: Effect::Allow,
                holder: self.holder(&subject),
                subject,
                routes: permission.routes.clone(),
                except: Box::default(),
                permission: Some(Arc::clone(&grant.permission)),
                condition: None,
                location: grant.location.clone(),
            });
        }
        rules
    }

    fn declared_rules(&mut self, declared: Vec<RuleDeclaration>) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(declared.len());
        for rule in declared {
            if rule.routes.is_empty() {
                self.tell(Problem::new(rule.location.clone(), "the rule is about no route"));
            }
            rules.push(Rule {
                effect: rule.effect,
                holder: self.holder(&rule.subject),
                subject: rule.subject,
                routes: rule.routes.into_iter().map(Arc::new).collect(),
                except: rule.except.into(),
                permission: None,
                condition: rule.condition,
                location: rule.location,
            });
        }
        rules
    }

    fn holder(&self, subject: &Subject) -> Option<RoleIndex> {
        match subject {
            Subject::Role(role) => self.roles.find(role.as_str()),
            Subject::Anyone | Subject::Authenticated => None,
        }
    }
}

/// The roles to which each permission is granted directly.
fn holders(roles: &RoleTable, grants: &[super::declaration::Grant]) -> HashMap<Arc<str>, RoleSet> {
    let mut by_permission: HashMap<Arc<str>, Vec<RoleIndex>> = HashMap::new();
    for grant in grants {
        if let Some(role) = roles.find(grant.role.as_str()) {
            by_permission.entry(Arc::clone(&grant.permission)).or_default().push(role);
        }
    }
    by_permission.into_iter().map(|(permission, roles)| (permission, roles.into_iter().collect())).collect()
}

/// The table of all rules.
fn table(rules: &[Rule]) -> Table {
    table_of(rules, |rule| match rule.effect {
        _ if rule.is_conditional() || !rule.except.is_empty() => RowKind::Guarded,
        Effect::Allow => RowKind::Allow,
        Effect::Deny => RowKind::Deny,
    })
}

/// A table of all rules in which the rows of each are of this kind.
pub(super) fn table_of(rules: &[Rule], kind: impl Fn(&Rule) -> RowKind) -> Table {
    let mut table = TableBuilder::new();
    for (number, rule) in (0..).zip(rules) {
        let subject = match (&rule.subject, rule.holder) {
            (Subject::Anyone, _) => RowSubject::Anyone,
            (Subject::Authenticated, _) => RowSubject::Authenticated,
            (Subject::Role(_), Some(role)) => RowSubject::Role(role),
            // Nobody holds a role that is not there.
            (Subject::Role(_), None) => continue,
        };
        let kind = kind(rule);
        for (at, route) in (0..).zip(&rule.routes) {
            table.add(route, Row { rule: number, route: at, subject, kind, methods: route.methods });
        }
    }
    table.build()
}

fn too_many_routes() -> Problem {
    Problem::new(Location::whole(), format!("the policies have more than {ROUTES_MAX} routes"))
}

pub(super) fn unknown_role(role: &RoleName, location: &Location, known: &[RoleName]) -> Problem {
    let message = format!("no policy defines the role `{role}`");
    let mut names: Vec<&str> = known.iter().map(RoleName::as_str).collect();
    names.sort_unstable();
    let help = match nearest(role.as_str(), names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the roles are {}", names.join(", ")),
    };
    let mut problem = Problem::new(location.clone(), message).with_help(help);
    problem.length = u32::try_from(role.as_str().len()).unwrap_or(1);
    problem.literal = Some(Arc::from(role.as_str()));
    problem
}
