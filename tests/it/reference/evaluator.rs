//! A loop over what was declared, that decides by the rules of the language alone and knows nothing of the
//! compiled table. It is meant to be read beside the page that explains policies, not to be fast.

use super::model::{
    ALIASES, CUSTOM, ConditionModel, Declaration, End, Holders, Kind, MEMBERS, PERMISSIONS, PolicyModel,
    ROLES, RequestModel, RouteModel, RuleModel, SegmentModel, TOKEN,
};
use std::collections::BTreeSet;

/// Everything that has a say about a request. A declaration is known by its number in the policy.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What allows; `None` for a role of the configuration.
    pub(crate) allowing: Vec<Option<usize>>,
    pub(crate) denying: Vec<usize>,
    /// Conditions that fail: of rules that would allow, and of rules that deny.
    pub(crate) failing_when: BTreeSet<usize>,
    pub(crate) failing_unless: BTreeSet<usize>,
}

/// What a condition gives; `None` when it fails.
type Answer = Option<bool>;

impl Outcome {
    /// What nobody allowed is denied, and what one rule denies is denied.
    pub(crate) fn is_allow(&self) -> bool {
        !self.allowing.is_empty() && self.denying.is_empty()
    }
}

impl PolicyModel {
    /// Decides by looking at every declaration.
    pub(crate) fn decide(&self, request: &RequestModel) -> Outcome {
        let held = self.held(request);
        let mut outcome = Outcome::default();
        for (name, permissions) in CUSTOM {
            if held.contains(name) && permissions.iter().any(|name| self.permits(name, request)) {
                outcome.allowing.push(None);
            }
        }
        for (at, (_, declaration)) in self.declarations.iter().enumerate() {
            match declaration {
                Declaration::Includes { .. } => {}
                Declaration::Grants { holders, permissions } => {
                    if holders.are_among(&held) && permissions.iter().any(|name| self.permits(name, request))
                    {
                        outcome.allowing.push(Some(at));
                    }
                }
                Declaration::Rules { kind, rules } => {
                    let is_about = match kind {
                        Kind::Allow(holders) => holders.are_among(&held),
                        Kind::Authenticated => request.roles.is_some(),
                        Kind::Open | Kind::Deny => true,
                    };
                    for rule in rules.iter().filter(|rule| is_about && !rule.excludes(request)) {
                        outcome.add(at, *kind, rule, request, &held);
                    }
                }
            }
        }
        outcome
    }

    /// The roles of the token, those that they are other names of, and those that they include.
    fn held(&self, request: &RequestModel) -> BTreeSet<&'static str> {
        let mut held: BTreeSet<_> = request.roles.iter().flatten().copied().collect();
        for (alias, role) in ALIASES {
            if held.contains(alias) {
                held.insert(role);
            }
        }
        // As often as there are roles, so that chains of inclusions come to their end.
        for _ in ROLES {
            for (_, declaration) in &self.declarations {
                if let Declaration::Includes { role, included } = declaration
                    && ROLES.get(*role).is_some_and(|role| held.contains(role))
                {
                    held.extend(included.iter().filter_map(|included| ROLES.get(*included)));
                }
            }
        }
        held
    }

    /// Whether the permission has a route for the request.
    fn permits(&self, permission: &str, request: &RequestModel) -> bool {
        let named = PERMISSIONS.iter().zip(&self.permissions).find(|(name, _)| **name == permission);
        named.is_some_and(|(_, routes)| routes.iter().any(|route| route.matches(request)))
    }
}

impl Outcome {
    /// Without a condition, a rule counts. With one, `when` allows where it is true, and `unless` denies where
    /// it is not; one that fails is not true.
    fn add(
        &mut self,
        at: usize,
        kind: Kind,
        rule: &RuleModel,
        request: &RequestModel,
        held: &BTreeSet<&str>,
    ) {
        for route in rule.routes.iter().filter(|route| route.matches(request)) {
            let answer = rule.condition.map(|condition| condition.answer(route, request, held));
            match (kind, answer) {
                (Kind::Deny, Some(Some(true))) => {}
                (Kind::Deny, answer) => {
                    self.denying.push(at);
                    if answer == Some(None) {
                        self.failing_unless.insert(at);
                    }
                }
                (_, None | Some(Some(true))) => self.allowing.push(Some(at)),
                (_, Some(Some(false))) => {}
                (_, Some(None)) => {
                    self.failing_when.insert(at);
                }
            }
        }
    }
}

impl Holders {
    /// Whether one of them is held.
    fn are_among(self, held: &BTreeSet<&str>) -> bool {
        match self {
            Self::Role(name) => held.contains(name),
            Self::Members(from, to) => {
                let members = MEMBERS.iter().take(to).skip(from);
                members.into_iter().any(|member| held.contains(member))
            }
        }
    }
}

impl RuleModel {
    fn excludes(&self, request: &RequestModel) -> bool {
        self.except.iter().any(|route| route.matches(request))
    }
}

impl RouteModel {
    fn matches(&self, request: &RequestModel) -> bool {
        let is_named = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&request.method);
        let has_method = match &self.methods {
            None => is_named,
            Some(methods) => {
                methods.contains(&request.method) || (request.method == "HEAD" && methods.contains(&"GET"))
            }
        };
        has_method && self.matches_path(request)
    }

    fn matches_path(&self, request: &RequestModel) -> bool {
        let mut parts = request.segments.iter().map(|(canonical, _)| *canonical);
        for segment in &self.segments {
            let Some(part) = parts.next() else { return false };
            let fits = match segment {
                SegmentModel::Literal { canonical, .. } => part == *canonical,
                SegmentModel::Any | SegmentModel::Named(_) => !part.is_empty(),
            };
            if !fits {
                return false;
            }
        }
        // What follows the segments: nothing, a slash alone, or a slash and whatever comes.
        match (self.end, parts.next(), parts.next()) {
            (End::Segment, rest, _) => rest.is_none(),
            (End::Slash, rest, more) => rest == Some("") && more.is_none(),
            (End::Below, rest, _) => rest.is_some(),
        }
    }

    /// What stands in the place of `{x}`, decoded.
    fn x(&self, request: &RequestModel) -> Option<&'static str> {
        let at = self.segments.iter().position(|segment| *segment == SegmentModel::Named("x"))?;
        request.segments.get(at).map(|(_, decoded)| *decoded)
    }
}

impl ConditionModel {
    fn answer(self, route: &RouteModel, request: &RequestModel, held: &BTreeSet<&str>) -> Answer {
        match self {
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Throws | Self::GivesNumber | Self::Loops | Self::HitsCaughtLimit => None,
            Self::IsMethod(method) => Some(request.method == method),
            Self::IsPath(path) => Some(request.canonical_path() == path),
            Self::HasRole(role) => Some(held.contains(role)),
            Self::HasToken => Some(request.roles.is_some()),
            Self::IsTokenNamed(name) => request.roles.is_some().then_some(name == TOKEN),
            Self::IsX(value) => route.x(request).map(|x| x == value),
            Self::IsQ(value) => {
                let pairs = request.query.into_iter().flat_map(|query| query.split('&'));
                let given: Vec<_> = pairs.filter_map(|pair| pair.strip_prefix("q=")).collect();
                (given.len() < 2).then(|| given == [value])
            }
        }
    }
}

impl RequestModel {
    /// The path in canonical spelling.
    pub(crate) fn canonical_path(&self) -> String {
        self.segments.iter().map(|(canonical, _)| format!("/{canonical}")).collect()
    }
}
