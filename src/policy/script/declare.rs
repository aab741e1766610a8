//! The policy language: the functions by which a script declares permissions, roles and rules.
//!
//! They never raise an error: they note the problem and go on, so that one run finds all of them.

use super::condition::{ConditionFault, Functions, ScriptCondition};
use super::fingerprint::Prints;
use super::guard::{self, Hit};
use super::lint::{self, ParamMention};
use super::sandbox::type_in_words;
use super::source::SourceText;
use super::tally::Tally;
use super::{Limits, ScriptLimits, role_name};
use crate::policy::declaration::{
    Condition, Declarations, Effect, Grant, Inclusion, PermissionDeclaration, RoleDeclaration,
    RuleDeclaration, Subject,
};
use crate::policy::error::{PROBLEMS_KEPT_MAX, Problem, nearest};
use crate::policy::pattern::Route;
use crate::token::RoleName;
use parking_lot::{Mutex, MutexGuard};
use rhai::{AST, Dynamic, Engine, FnPtr, NativeCallContext, Position};
use std::collections::HashSet;
use std::sync::Arc;

/// The longest name of a permission, in bytes.
const PERMISSION_MAX_BYTES: usize = 128;
/// How the functions are used, for those who use them otherwise.
const USAGE: [(&str, &str); 11] = [
    ("permission", "permission(\"name\", [\"GET /route\"])"),
    ("role", "role(\"name\")"),
    ("authenticated", "authenticated([\"GET /route\"])"),
    ("open", "open([\"GET /route\"])"),
    ("deny", "deny([\"GET /route\"])"),
    ("grants", "role(\"name\").grants([\"permission\"])"),
    ("includes", "role(\"name\").includes(\"other-role\")"),
    ("allow", "role(\"name\").allow([\"GET /route\"])"),
    ("except", "….except([\"GET /route\"])"),
    ("when", "….when(|request| request.method == \"GET\")"),
    ("unless", "deny([\"GET /route\"]).unless(|request| request.has_role(\"name\"))"),
];
const ROLE_METHODS: [&str; 5] = ["grants", "includes", "allow", "except", "when"];
const ALLOW_METHODS: [&str; 2] = ["except", "when"];
const DENY_METHODS: [&str; 2] = ["except", "unless"];

/// What `role(name)` gives: the role, and the rule that `allow` has last made of it.
#[derive(Clone)]
pub(super) struct RoleHandle {
    /// `None` when the name is none.
    name: Option<RoleName>,
    rule: Option<RuleHandle>,
}

/// A rule of the script.
#[derive(Clone, Copy)]
pub(super) struct RuleHandle {
    at: usize,
    effect: Effect,
}

/// What has been declared so far, and by which script.
pub(super) struct Declaring {
    pub(super) declared: Declarations,
    pub(super) problems: Vec<Problem>,
    pub(super) source: SourceText,
    /// The functions of the script, which its conditions call.
    pub(super) functions: Functions,
    pub(super) prints: Prints,
    /// Where the script has last called one of these functions.
    last_call: Position,
    /// What evaluates its conditions.
    pub(super) conditions: Arc<Engine>,
    condition_limits: Limits,
    tally: Tally,
    /// The texts of all segments so far.
    texts: HashSet<Arc<str>>,
}

impl Declaring {
    pub(super) fn new(conditions: &Arc<Engine>, limits: &ScriptLimits) -> Self {
        Self {
            declared: Declarations::default(),
            problems: Vec::new(),
            source: SourceText::new(&Arc::from(""), ""),
            functions: Functions::new(AST::empty()),
            prints: Prints::default(),
            last_call: Position::NONE,
            conditions: Arc::clone(conditions),
            condition_limits: limits.condition.clone(),
            tally: Tally::default(),
            texts: HashSet::new(),
        }
    }

    /// Ends the run when too much has been declared, or is wrong. One call declares little.
    pub(super) fn note_limits(&self) {
        if self.tally.is_over() {
            guard::note(Hit::Declared);
        } else if self.problems.len() > PROBLEMS_KEPT_MAX {
            guard::note(Hit::Problems);
        }
    }

    /// What is wrong with calling `name` on these values, for which there is no function.
    pub(super) fn missing_method(&mut self, name: &str, handle: &Dynamic) {
        let location = self.source.method_after(self.last_call, name);
        let (what, methods): (_, &[&str]) = match handle.clone().try_cast::<RuleHandle>() {
            None => ("a role", &ROLE_METHODS),
            Some(RuleHandle { effect: Effect::Allow, .. }) => ("this rule", &ALLOW_METHODS),
            Some(RuleHandle { effect: Effect::Deny, .. }) => ("this rule", &DENY_METHODS),
        };
        if methods.contains(&name)
            && let Some(usage) = usage(name)
        {
            let problem = Problem::new(location, format!("`{name}` takes one argument"));
            self.problems.push(problem.with_help(format!("write `{usage}`")));
            return;
        }
        let help = match nearest(name, methods.iter().copied()) {
            Some(method) => format!("did you mean `{method}`?"),
            None => format!("{what} has `{}`", methods.join("`, `")),
        };
        let mut problem = Problem::new(location, format!("{what} has no `{name}`")).with_help(help);
        problem.length = u32::try_from(name.chars().count()).unwrap_or(1);
        self.problems.push(problem);
    }

    fn note(&mut self, position: Position, message: impl Into<String>, help: Option<String>) {
        let mut problem = self.source.problem(position, message);
        problem.help = help;
        self.problems.push(problem);
    }

    fn permission(&mut self, name: &Dynamic, routes: &Dynamic, position: Position) {
        let routes = self.routes("permission", routes, position);
        let Some(name) = text_of(name) else {
            let message = format!("the name of a permission is a text, not {}", type_in_words(name));
            self.note(position, message, None);
            return;
        };
        let is_letter =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':');
        if name.is_empty() || name.len() > PERMISSION_MAX_BYTES || !name.chars().all(is_letter) {
            let message = format!("`{name}` is no name for a permission");
            let problem = self.source.problem_at_literal(position, &name, message);
            let help = format!("use letters, digits and `-_.:`, at most {PERMISSION_MAX_BYTES} of them");
            self.problems.push(problem.with_help(help));
            return;
        }
        let location = self.source.location(position);
        self.declared.permissions.push(PermissionDeclaration { name: Arc::from(name), routes, location });
    }

    fn role(&mut self, name: &Dynamic, position: Position) -> RoleHandle {
        let name = self.role_of(name, position);
        if let Some(name) = &name {
            let location = self.source.location(position);
            self.tally.add_names(1);
            self.declared.roles.push(RoleDeclaration { name: name.clone(), location });
        }
        RoleHandle { name, rule: None }
    }

    /// The role that a text or a handle names.
    fn role_of(&mut self, value: &Dynamic, position: Position) -> Option<RoleName> {
        if let Some(handle) = value.clone().try_cast::<RoleHandle>() {
            return handle.name;
        }
        let Some(name) = text_of(value) else {
            let message = format!("the name of a role is a text, not {}", type_in_words(value));
            self.note(position, message, None);
            return None;
        };
        match role_name(&name) {
            Ok(role) => Some(role),
            Err(reason) => {
                let message = format!("`{name}` is no name for a role");
                let problem = self.source.problem_at_literal(position, &name, message);
                self.problems.push(problem.with_help(reason));
                None
            }
        }
    }

    fn grants(&mut self, role: &RoleHandle, permissions: &Dynamic, position: Position) -> RoleHandle {
        for permission in self.list("grants", "a permission", permissions, position) {
            let Some(permission) = text_of(&permission) else {
                let message =
                    format!("`grants` takes names of permissions, not {}", type_in_words(&permission));
                self.note(position, message, None);
                continue;
            };
            if let Some(role) = role.name.clone() {
                let location = self.source.location(position);
                self.tally.add_names(1);
                self.declared.grants.push(Grant { role, permission: Arc::from(permission), location });
            }
        }
        RoleHandle { name: role.name.clone(), rule: None }
    }

    fn includes(&mut self, role: &RoleHandle, roles: &Dynamic, position: Position) -> RoleHandle {
        for included in self.list("includes", "a role", roles, position) {
            let included = self.role_of(&included, position);
            if let (Some(role), Some(included)) = (role.name.clone(), included) {
                let location = self.source.location(position);
                self.tally.add_names(1);
                self.declared.inclusions.push(Inclusion { role, included, location });
            }
        }
        RoleHandle { name: role.name.clone(), rule: None }
    }

    fn allow(&mut self, role: &RoleHandle, routes: &Dynamic, position: Position) -> RoleHandle {
        let routes = self.routes("allow", routes, position);
        let rule =
            role.name.clone().map(|role| self.rule(Effect::Allow, Subject::Role(role), routes, position));
        RoleHandle { name: role.name.clone(), rule }
    }

    fn rule(
        &mut self,
        effect: Effect,
        subject: Subject,
        routes: Vec<Route>,
        position: Position,
    ) -> RuleHandle {
        let location = self.source.location(position);
        let rule = RuleDeclaration { effect, subject, routes, except: Vec::new(), condition: None, location };
        self.declared.rules.push(rule);
        RuleHandle { at: self.declared.rules.len() - 1, effect }
    }

    fn except(&mut self, rule: Option<RuleHandle>, routes: &Dynamic, position: Position) {
        let Some(rule) = self.last_rule("except", rule, position) else { return };
        let routes = self.routes("except", routes, position);
        if let Some(rule) = self.declared.rules.get_mut(rule.at) {
            rule.except.extend(routes);
        }
    }

    /// `when` and `unless`, which differ in the effect of the rules that they belong to.
    fn condition(&mut self, name: &str, rule: Option<RuleHandle>, function: &Dynamic, position: Position) {
        let Some(rule) = self.last_rule(name, rule, position) else { return };
        let (own, other) = match rule.effect {
            Effect::Allow => ("when", "an allowing rule has `when`: it allows while its condition is true"),
            Effect::Deny => ("unless", "a denying rule has `unless`: it denies until its condition is true"),
        };
        if name != own {
            self.note(position, format!("this rule has no `{name}`"), Some(other.to_owned()));
            return;
        }
        let Some(function) = function.clone().try_cast::<FnPtr>() else {
            let message = format!("`{name}` takes a condition, not {}", type_in_words(function));
            let help = format!("write it as a function of the request: `.{name}(|request| …)`");
            self.note(position, message, Some(help));
            return;
        };
        let condition =
            ScriptCondition::new(&self.conditions, &self.functions, &function, &self.condition_limits);
        let condition: Arc<dyn Condition> = match condition {
            Ok(condition) => {
                self.tally.add_names(1 + condition.kept_values());
                let call = self.source.words_from(position);
                Arc::new(condition.printed(&self.prints, &self.source, &self.functions, call))
            }
            Err(fault) => {
                let help = match &fault {
                    ConditionFault::Form(_) => format!("write it as `.{name}(|request| …)`"),
                    ConditionFault::Capture(_) => {
                        "use texts and numbers, such as the name of a role".to_owned()
                    }
                };
                self.note(position, fault.into_message(), Some(help));
                return;
            }
        };
        let words = self.source.words_from(position);
        let mut found = Vec::new();
        let params = lint::condition_words(&self.source, words, &mut found);
        self.problems.append(&mut found);
        self.refuse_unknown_params(rule, &params);
        let Some(declared) = self.declared.rules.get_mut(rule.at) else { return };
        if declared.condition.is_some() {
            let message = format!("the rule has a second `{name}`");
            let help = "put both conditions into one: `|request| first && second`";
            self.note(position, message, Some(help.to_owned()));
        } else {
            declared.condition = Some(condition);
        }
    }

    /// A parameter that no route of the rule has would make the condition fail each time.
    fn refuse_unknown_params(&mut self, rule: RuleHandle, params: &[ParamMention]) {
        let Some(rule) = self.declared.rules.get(rule.at).filter(|rule| !rule.routes.is_empty()) else {
            return;
        };
        let known: Vec<&str> = rule.routes.iter().flat_map(|route| route.pattern.parameter_names()).collect();
        for param in params.iter().filter(|param| !known.contains(&&*param.name)) {
            let message = format!("no route of this rule has a segment `{{{}}}`", param.name);
            let help = match nearest(&param.name, known.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("name the segment in the route: `/…/{{{}}}`", param.name),
            };
            let mut problem = Problem::new(param.location.clone(), message).with_help(help);
            problem.length = u32::try_from(param.name.chars().count() + 2).unwrap_or(1);
            self.problems.push(problem);
        }
    }

    fn last_rule(&mut self, name: &str, rule: Option<RuleHandle>, position: Position) -> Option<RuleHandle> {
        if rule.is_none() {
            let help = format!("write it right after `allow`: `.allow(…).{name}(…)`");
            self.note(position, format!("there is no rule that `{name}` could belong to"), Some(help));
        }
        rule
    }

    fn routes(&mut self, name: &str, value: &Dynamic, position: Position) -> Vec<Route> {
        let mut routes = Vec::new();
        for item in self.list(name, "a route", value, position) {
            let Some(text) = text_of(&item) else {
                let message = format!("a route is a text, not {}", type_in_words(&item));
                let help = usage(name).map(|usage| format!("write `{usage}`"));
                self.note(position, message, help);
                continue;
            };
            match Route::parse(&text) {
                Ok(mut route) => {
                    self.tally.add_route(&route);
                    route.share(&mut self.texts);
                    routes.push(route);
                }
                Err(error) => {
                    let shown: String = text.chars().take(200).collect();
                    let message = format!("`{shown}` is no route");
                    let problem = self.source.problem_at_literal(position, &text, message);
                    self.problems.push(problem.with_help(error.to_string()));
                }
            }
        }
        routes
    }

    /// The items of a list, or the one value that stands for a list of one.
    fn list(&mut self, name: &str, what: &str, value: &Dynamic, position: Position) -> Vec<Dynamic> {
        let Ok(list) = value.as_array_ref() else { return vec![value.clone()] };
        // A permission may stand for something that has no route: a page, or an answer to "who may".
        if list.is_empty() && name != "permission" {
            let message = format!("`{name}` needs {what}, and this list is empty");
            self.note(position, message, usage(name).map(|usage| format!("write `{usage}`")));
        }
        list.iter().cloned().collect()
    }
}

/// Registers the policy language.
pub(super) fn register(engine: &mut Engine, declaring: &Arc<Mutex<Declaring>>) {
    register_globals(engine, declaring);
    register_methods(engine, declaring);
}

fn register_globals(engine: &mut Engine, declaring: &Arc<Mutex<Declaring>>) {
    let shared = Arc::clone(declaring);
    engine.register_fn("permission", move |call: NativeCallContext<'_>, name: Dynamic, routes: Dynamic| {
        at(&shared, &call).permission(&name, &routes, call.call_position());
    });
    let shared = Arc::clone(declaring);
    engine.register_fn("role", move |call: NativeCallContext<'_>, name: Dynamic| {
        at(&shared, &call).role(&name, call.call_position())
    });
    let rules = [
        ("authenticated", Effect::Allow, Subject::Authenticated),
        ("open", Effect::Allow, Subject::Anyone),
        ("deny", Effect::Deny, Subject::Anyone),
    ];
    for (name, effect, subject) in rules {
        let shared = Arc::clone(declaring);
        engine.register_fn(name, move |call: NativeCallContext<'_>, routes: Dynamic| {
            let mut declaring = at(&shared, &call);
            let routes = declaring.routes(name, &routes, call.call_position());
            declaring.rule(effect, subject.clone(), routes, call.call_position())
        });
    }
}

fn register_methods(engine: &mut Engine, declaring: &Arc<Mutex<Declaring>>) {
    type Method = fn(&mut Declaring, &RoleHandle, &Dynamic, Position) -> RoleHandle;
    let methods: [(&str, Method); 3] =
        [("grants", Declaring::grants), ("includes", Declaring::includes), ("allow", Declaring::allow)];
    for (name, method) in methods {
        let shared = Arc::clone(declaring);
        engine.register_fn(name, move |call: NativeCallContext<'_>, role: RoleHandle, argument: Dynamic| {
            method(&mut at(&shared, &call), &role, &argument, call.call_position())
        });
    }
    let shared = Arc::clone(declaring);
    engine.register_fn("except", move |call: NativeCallContext<'_>, role: RoleHandle, routes: Dynamic| {
        at(&shared, &call).except(role.rule, &routes, call.call_position());
        role
    });
    let shared = Arc::clone(declaring);
    engine.register_fn("except", move |call: NativeCallContext<'_>, rule: RuleHandle, routes: Dynamic| {
        at(&shared, &call).except(Some(rule), &routes, call.call_position());
        rule
    });
    for name in ["when", "unless"] {
        let shared = Arc::clone(declaring);
        engine.register_fn(name, move |call: NativeCallContext<'_>, role: RoleHandle, function: Dynamic| {
            at(&shared, &call).condition(name, role.rule, &function, call.call_position());
            role
        });
        let shared = Arc::clone(declaring);
        engine.register_fn(name, move |call: NativeCallContext<'_>, rule: RuleHandle, function: Dynamic| {
            at(&shared, &call).condition(name, Some(rule), &function, call.call_position());
            rule
        });
    }
}

/// What is being declared, by a call at this place.
fn at<'a>(declaring: &'a Mutex<Declaring>, call: &NativeCallContext<'_>) -> MutexGuard<'a, Declaring> {
    let mut declaring = declaring.lock();
    declaring.last_call = call.call_position();
    declaring.note_limits();
    declaring
}

/// How the function is used; `None` when it is not one of the policy language.
pub(super) fn usage(name: &str) -> Option<&'static str> {
    USAGE.iter().find(|(known, _)| *known == name).map(|(_, usage)| *usage)
}

fn text_of(value: &Dynamic) -> Option<String> {
    value.as_immutable_string_ref().ok().map(|text| text.to_string())
}
