//! Why a request is decided as it is: a plain loop over the rules that knows nothing of the compiled table, so
//! that it also checks what it explains.

mod show;
mod survey;

pub use super::reads::{Fact, READ_MAX_BYTES, READS_MAX, Reading, Seen};
pub use show::{Refusal, WithSources};

use super::declaration::{ConditionInput, Effect, EffectiveRoles, Subject};
use super::error::nearest;
use super::pattern::Route;
use super::reads::{Noted, Reads};
use super::roles::RoleSet;
use super::{PolicySet, Rule};
use crate::decision::{ConditionOutcome, Decision, Denial, RuleId, Verdict};
use crate::path::CanonicalPath;
use crate::request::{MethodSet, Request};
use crate::time::Timestamp;
use crate::token::{Principal, RoleName};
use http::Method;
use std::sync::Arc;
use survey::{Hit, Miss, Survey};

/// The most rules that are shown of those that decided and those that agree with them, and of those that nearly
/// did.
pub const EXPLAIN_NEAR_MAX: usize = 10;

/// Why a request is decided as it is. Its text is for people.
#[derive(Debug)]
#[non_exhaustive]
pub struct Explanation<'p> {
    /// The decision: the one that [`PolicySet::decide`] makes.
    pub decision: Decision,
    /// The method of the request.
    pub method: Method,
    /// The path of the request.
    pub path: CanonicalPath,
    /// Whose request it is.
    pub principal: Option<Principal>,
    /// What decided: the rule that did comes first, then those that say the same, then allowing rules that it
    /// overrules. At most [`EXPLAIN_NEAR_MAX`].
    pub deciding: Vec<Finding<'p>>,
    /// How many more there are.
    pub deciding_left_out: usize,
    /// What nearly decided otherwise, the nearest first. At most [`EXPLAIN_NEAR_MAX`].
    pub near: Vec<Finding<'p>>,
    /// How many more there are.
    pub near_left_out: usize,
    /// What is odd about the request itself.
    pub notes: Vec<Note>,
}

/// A rule's part in a decision.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finding<'p> {
    /// The rule's number.
    pub id: RuleId,
    /// The rule.
    pub rule: &'p Rule,
    /// That of its routes which is about the request, or nearly is.
    pub route: &'p Route,
    /// The principal's own role by which the rule is about it; `None` when the rule asks for no role, or for
    /// one that is not held.
    pub holder: Option<RoleName>,
    /// Its part.
    pub part: Part<'p>,
}

/// What part a rule has in a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part<'p> {
    /// It decided; with what its condition said, if it has one.
    Decided(Option<Asked>),
    /// It says the same as the rule that decided.
    Agreed,
    /// It allows, and another rule denies.
    Overruled(Option<Asked>),
    /// It would allow, but its condition does not hold.
    Unmet(Asked),
    /// It would deny, but its condition lifts that.
    Lifted(Asked),
    /// It is about the request, but its condition was not asked: it could not change the answer.
    NotAsked,
    /// It is not about the request, for these reasons.
    Missed(Vec<Obstacle<'p>>),
}

/// What a condition said, and what it read to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// Whether it holds, or why it failed.
    pub result: Result<bool, String>,
    /// What it read.
    pub reads: Vec<Reading>,
    /// Whether the result is the one that was recorded, since it depends on what was not.
    pub is_recorded: bool,
}

/// What was recorded of a decision that is explained later.
#[expect(missing_debug_implementations, reason = "what it knows is a function")]
pub struct Recall<'r> {
    /// What the conditions said.
    pub outcomes: &'r [ConditionOutcome],
    /// Whether the request has this as it was recorded. Of anything else nobody knows what it was.
    pub knows: &'r dyn Fn(&Fact) -> bool,
}

/// Why a rule is not about a request, the least first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Obstacle<'p> {
    /// The rule excludes the request by this route.
    Excluded(&'p str),
    /// The route is about the same path with a slash at its end, or without it.
    OtherSlash,
    /// The route is about the same path in other letters, upper case or lower case.
    OtherCase,
    /// The request has no live token.
    NeedsToken,
    /// The principal does not hold this role.
    RoleNotHeld(&'p RoleName),
    /// The route is about other methods.
    OtherMethod,
}

/// What is odd about a request, so that no rule is about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Rules cannot name the method; with the one that is probably meant.
    UnknownMethod(Option<&'static str>),
    /// No pattern matches `*`.
    Asterisk,
    /// No policy defines this role of the principal; with the one that is probably meant.
    UnknownRole(RoleName, Option<RoleName>),
}

impl PolicySet {
    /// Explains the decision on a request of a principal, or of nobody. Takes as long as a look at every rule.
    pub fn explain<'p>(
        &'p self,
        principal: Option<&Principal>,
        request: &Request,
        now: Timestamp,
    ) -> Explanation<'p> {
        self.explain_recalling(principal, request, now, None)
    }

    /// Explains a decision that was recorded. A condition that reads what was not recorded says what it is recorded
    /// to have said.
    pub fn explain_recorded<'p>(
        &'p self,
        principal: Option<&Principal>,
        request: &Request,
        now: Timestamp,
        recall: &Recall<'_>,
    ) -> Explanation<'p> {
        self.explain_recalling(principal, request, now, Some(recall))
    }

    fn explain_recalling<'p>(
        &'p self,
        principal: Option<&Principal>,
        request: &Request,
        now: Timestamp,
        recall: Option<&Recall<'_>>,
    ) -> Explanation<'p> {
        let held = principal.map_or(RoleSet::EMPTY, |principal| self.roles.effective(&principal.roles));
        let survey = survey::survey(self, principal.is_some(), &held, request);
        let mut explainer =
            Explainer { policies: self, principal, request, now, held, recall, answers: Vec::new() };
        let verdict = explainer.decide(&survey.hits);
        explainer.explain(survey, verdict)
    }
}

/// One explanation under way.
struct Explainer<'p, 'r> {
    policies: &'p PolicySet,
    principal: Option<&'r Principal>,
    request: &'r Request,
    now: Timestamp,
    held: RoleSet,
    recall: Option<&'r Recall<'r>>,
    /// What conditions said, in the order in which they were asked.
    answers: Vec<Answer>,
}

/// What one condition said.
struct Answer {
    rule: RuleId,
    route: usize,
    asked: Asked,
}

impl<'p> Explainer<'p, '_> {
    /// Decides by design alone: a deny beats every allow, and a condition is asked when it can change the answer.
    fn decide(&mut self, hits: &[Hit<'p>]) -> Verdict {
        let sure =
            |effect| hits.iter().find(move |hit| hit.rule.effect == effect && !hit.rule.is_conditional());
        let open =
            |effect| hits.iter().filter(move |hit| hit.rule.effect == effect && hit.rule.is_conditional());
        if let Some(deny) = sure(Effect::Deny) {
            return Verdict::Deny(Denial::Rule(deny.id));
        }
        let allow = sure(Effect::Allow).or_else(|| open(Effect::Allow).find(|hit| self.ask(hit) == Ok(true)));
        let Some(allow) = allow else { return Verdict::Deny(Denial::NoRule) };
        let standing = open(Effect::Deny).find(|hit| self.ask(hit) != Ok(true));
        standing.map_or(Verdict::Allow(allow.id), |deny| Verdict::Deny(Denial::Rule(deny.id)))
    }

    fn ask(&mut self, hit: &Hit<'p>) -> Result<bool, String> {
        let Some((condition, route)) = hit
            .rule
            .condition
            .as_ref()
            .and_then(|condition| Some((condition, hit.rule.routes.get(hit.route)?)))
        else {
            return Ok(true);
        };
        let reads = Arc::new(Reads::default());
        let result = condition.evaluate(ConditionInput {
            request: self.request.clone(),
            principal: self.principal.cloned(),
            roles: EffectiveRoles { table: Arc::clone(&self.policies.roles), set: self.held },
            route: Arc::clone(route),
            now: self.now,
            reads: Some(Arc::clone(&reads)),
        });
        let asked = self.recalled(hit, result, reads.take());
        let result = asked.result.clone();
        self.answers.push(Answer { rule: hit.id, route: hit.route, asked });
        result
    }

    /// What the condition says: its own answer, or the recorded one when it reads what was not recorded.
    fn recalled(&self, hit: &Hit<'p>, result: Result<bool, String>, mut noted: Noted) -> Asked {
        let Some(recall) = self.recall else {
            return Asked { result, reads: noted.readings, is_recorded: false };
        };
        let mut is_recorded = noted.is_cut;
        for reading in noted.readings.iter_mut().filter(|reading| !(recall.knows)(&reading.fact)) {
            reading.seen = Seen::Unrecorded;
            is_recorded = true;
        }
        if !is_recorded {
            return Asked { result, reads: noted.readings, is_recorded };
        }
        let outcome =
            recall.outcomes.iter().find(|outcome| outcome.rule == hit.id && outcome.route == hit.route);
        let missing = || Err("it reads what was not recorded, and was not asked then".to_owned());
        let result = outcome.map_or_else(missing, |outcome| outcome.result.clone());
        Asked { result, reads: noted.readings, is_recorded }
    }

    fn explain(self, survey: Survey<'p>, verdict: Verdict) -> Explanation<'p> {
        let (mut deciding, mut near) = (Vec::new(), Vec::new());
        for hit in &survey.hits {
            let part = self.part(hit, verdict);
            let is_deciding = matches!(part, Part::Decided(_) | Part::Agreed | Part::Overruled(_));
            let Some(finding) = self.finding(hit, part) else { continue };
            if is_deciding { deciding.push(finding) } else { near.push(finding) }
        }
        // What could have made the answer another one: whatever allows when nothing does, or denies.
        let wanted = match verdict {
            Verdict::Allow(_) => Some(Effect::Deny),
            Verdict::Deny(Denial::NoRule) => Some(Effect::Allow),
            Verdict::Deny(Denial::Rule(_)) => {
                let has_allow = survey.hits.iter().any(|hit| hit.rule.effect == Effect::Allow);
                (!has_allow).then_some(Effect::Allow)
            }
        };
        let misses = survey.misses.into_iter().filter(|miss| Some(miss.rule.effect) == wanted);
        near.extend(misses.map(Miss::into_finding));
        let deciding_left_out = keep_nearest(&mut deciding);
        let near_left_out = keep_nearest(&mut near);
        let conditions = self.answers.into_iter().map(|answer| ConditionOutcome {
            rule: answer.rule,
            route: answer.route,
            result: answer.asked.result,
        });
        let decision = Decision {
            verdict,
            conditions: conditions.collect(),
            policy: self.policies.version,
            at: self.now,
        };
        Explanation {
            decision,
            method: self.request.method().clone(),
            path: self.request.path().clone(),
            principal: self.principal.cloned(),
            deciding,
            deciding_left_out,
            near,
            near_left_out,
            notes: notes(self.policies, self.principal, self.request),
        }
    }

    /// The part that a rule has which is about the request.
    fn part(&self, hit: &Hit<'p>, verdict: Verdict) -> Part<'p> {
        let answer = self.answers.iter().find(|answer| answer.rule == hit.id && answer.route == hit.route);
        let asked = answer.map(|answer| answer.asked.clone());
        let decided = match verdict {
            Verdict::Allow(rule) | Verdict::Deny(Denial::Rule(rule)) => Some(rule),
            Verdict::Deny(Denial::NoRule) => None,
        };
        let is_conditional = hit.rule.is_conditional();
        match (asked, hit.rule.effect) {
            (None, _) if is_conditional => Part::NotAsked,
            (Some(asked), Effect::Allow) if asked.result != Ok(true) => Part::Unmet(asked),
            (Some(asked), Effect::Deny) if asked.result == Ok(true) => Part::Lifted(asked),
            (asked, Effect::Allow) if !matches!(verdict, Verdict::Allow(_)) => Part::Overruled(asked),
            (asked, _) if decided == Some(hit.id) => Part::Decided(asked),
            _ => Part::Agreed,
        }
    }

    fn finding(&self, hit: &Hit<'p>, part: Part<'p>) -> Option<Finding<'p>> {
        let route = hit.rule.routes.get(hit.route)?;
        Some(Finding { id: hit.id, rule: hit.rule, route, holder: self.holder(hit.rule), part })
    }

    /// The principal's own role by which it is the subject of the rule: the role itself before one that includes
    /// it.
    fn holder(&self, rule: &Rule) -> Option<RoleName> {
        let (Subject::Role(wanted), Some(index)) = (&rule.subject, rule.holder) else { return None };
        let roles = &self.principal?.roles;
        let includes =
            |role: &&RoleName| self.policies.roles.effective(std::slice::from_ref(*role)).contains(index);
        roles.iter().find(|role| *role == wanted).or_else(|| roles.iter().find(includes)).cloned()
    }
}

impl<'p> Part<'p> {
    /// Nearness: what was asked before what was not, few obstacles before many.
    fn order(&self) -> (u8, usize, Vec<Obstacle<'p>>) {
        match self {
            Self::Decided(_) => (0, 0, Vec::new()),
            Self::Agreed => (1, 0, Vec::new()),
            Self::Overruled(_) => (2, 0, Vec::new()),
            Self::Unmet(_) => (3, 0, Vec::new()),
            Self::Lifted(_) => (4, 0, Vec::new()),
            Self::NotAsked => (5, 0, Vec::new()),
            Self::Missed(obstacles) => (6, obstacles.len(), obstacles.clone()),
        }
    }
}

impl Explanation<'_> {
    /// The rule that decided; `None` when no rule did.
    pub fn decided_by(&self) -> Option<&Finding<'_>> {
        self.deciding.first().filter(|finding| matches!(finding.part, Part::Decided(_)))
    }
}

/// Orders the findings and keeps [`EXPLAIN_NEAR_MAX`]; returns how many are gone.
fn keep_nearest(findings: &mut Vec<Finding<'_>>) -> usize {
    findings.sort_by_cached_key(|finding| (finding.part.order(), finding.id));
    let left_out = findings.len().saturating_sub(EXPLAIN_NEAR_MAX);
    findings.truncate(EXPLAIN_NEAR_MAX);
    left_out
}

fn notes(policies: &PolicySet, principal: Option<&Principal>, request: &Request) -> Vec<Note> {
    let mut notes = Vec::new();
    let method = request.method().as_str();
    if MethodSet::of(method).is_empty() {
        let meant = MethodSet::of(&method.to_ascii_uppercase()).names().next();
        notes.push(Note::UnknownMethod(meant));
    }
    if *request.path() == CanonicalPath::asterisk() {
        notes.push(Note::Asterisk);
    }
    let roles = principal.map(|principal| &*principal.roles).unwrap_or_default();
    let unknown = roles.iter().filter(|role| !policies.has_role(role.as_str()));
    notes.extend(unknown.take(EXPLAIN_NEAR_MAX).map(|role| {
        let like = nearest(role.as_str(), policies.roles().iter().map(RoleName::as_str));
        let meant = policies.roles().iter().find(|known| Some(known.as_str()) == like);
        Note::UnknownRole(role.clone(), meant.cloned())
    }));
    notes
}

#[cfg(test)]
mod tests;
