//! Warnings: what loads and decides, and is yet not what its author can have meant.

mod cover;
mod index;
mod names;
mod roles;
mod routes;
mod specification;

pub use specification::{Comparison, Mismatch, Specification, SpecifiedRoute};

use super::declaration::Declarations;
use super::error::{Location, PolicyErrors, Problem};
use super::opening::{OpeningError, Openings};
use super::script::{Allowance, RoleMention, ScriptLimits, Source, SourceText, advise, read_allowances};
use super::{PolicySet, RoleBindings};
use crate::token::RoleName;
use index::RouteIndex;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// The most warnings that are told; a last one says how many are left out.
pub const WARNINGS_MAX: usize = 1_000;
/// So many warnings are kept to be ordered.
const WARNINGS_KEPT_MAX: usize = 10 * WARNINGS_MAX;
/// The most comments that allow warnings.
const ALLOWANCES_MAX: usize = 1_000;
/// The most steps of one check. What would take more is left out, and a warning says so.
const STEPS_MAX: u64 = 20_000_000;

/// The kinds of warnings. Their names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WarningCode {
    /// A rule that can never decide.
    CoveredRule,
    /// A route that another route of the same rule contains.
    CoveredRoute,
    /// A rule that its own exceptions leave no request.
    EmptyRule,
    /// A denial that leaves a role nothing.
    EmptiedRole,
    /// A role without anything that it could do.
    IdleRole,
    /// A role that nobody holds by configuration.
    UnheldRole,
    /// A permission that nobody grants.
    UnusedPermission,
    /// An exception that excludes nothing.
    IdleExcept,
    /// A condition that lifts a denial of what nobody is allowed.
    IdleUnless,
    /// A rule for everyone below a prefix that needs a token.
    OpenBelowProtected,
    /// Two patterns that differ only in the name of a segment.
    RenamedSegment,
    /// A condition that is always true, or always false.
    ConstantCondition,
    /// A comparison with a text that no method of a request equals.
    UnknownMethod,
    /// A condition that reads a header field which it never sees.
    HiddenHeader,
    /// A comparison of a text with something else.
    UnequalKinds,
    /// A comment that allows warnings, and there is none.
    IdleAllow,
    /// A check that was left out, because it would take too long, or has too much to tell.
    UnfinishedCheck,
    /// A route of a specification that no role reaches.
    UnreachedRoute,
    /// A route of a specification that is open to everyone.
    OpenRoute,
    /// A rule that matches no route of a specification.
    UnmatchedRule,
}

/// Something that is most likely not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Its kind.
    pub code: WarningCode,
    /// What, where, and what to do about it.
    pub problem: Problem,
}

/// Policies with everything that there is to say about them.
pub struct Examined {
    /// The policies.
    pub policies: PolicySet,
    /// The warnings, ordered by place. There are at most [`WARNINGS_MAX`].
    pub warnings: Vec<Warning>,
    allowances: Vec<Allowance>,
}

/// What scripts have written beside their rules.
#[derive(Default)]
pub(super) struct Written {
    /// Each role, with the place at which it is first named.
    roles: Vec<(RoleName, Location)>,
    pub(super) mentions: Vec<RoleMention>,
    pub(super) sources: Vec<SourceText>,
    /// Lines that are to say what the policies open, and say nothing.
    misread: Vec<(Location, OpeningError)>,
}

/// What a check may still do.
struct Work {
    steps: u64,
}

/// A check has done all that it may.
struct Exhausted;

impl WarningCode {
    /// All kinds, with their names.
    const NAMES: [(Self, &'static str); 20] = [
        (Self::CoveredRule, "covered-rule"),
        (Self::CoveredRoute, "covered-route"),
        (Self::EmptyRule, "empty-rule"),
        (Self::EmptiedRole, "emptied-role"),
        (Self::IdleRole, "idle-role"),
        (Self::UnheldRole, "unheld-role"),
        (Self::UnusedPermission, "unused-permission"),
        (Self::IdleExcept, "idle-except"),
        (Self::IdleUnless, "idle-unless"),
        (Self::OpenBelowProtected, "open-below-protected"),
        (Self::RenamedSegment, "renamed-segment"),
        (Self::ConstantCondition, "constant-condition"),
        (Self::UnknownMethod, "unknown-method"),
        (Self::HiddenHeader, "hidden-header"),
        (Self::UnequalKinds, "unequal-kinds"),
        (Self::IdleAllow, "idle-allow"),
        (Self::UnfinishedCheck, "unfinished-check"),
        (Self::UnreachedRoute, "unreached-route"),
        (Self::OpenRoute, "open-route"),
        (Self::UnmatchedRule, "unmatched-rule"),
    ];

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(code, _)| *code == self).map_or("", |(_, name)| *name)
    }

    /// All kinds.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Self::NAMES.iter().map(|(code, _)| *code)
    }
}

impl Warning {
    pub(super) fn new(code: WarningCode, location: &Location, message: impl Into<String>) -> Self {
        Self { code, problem: Problem::new(location.clone(), message) }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.problem = self.problem.with_help(help);
        self
    }

    /// The same warning about the text literal `literal` that stands near its place.
    fn about(mut self, literal: &str) -> Self {
        self.problem.literal = Some(Arc::from(literal));
        self
    }

    /// The warning as it is shown below another word than `warning`.
    pub fn labelled(&self, label: &'static str) -> impl fmt::Display {
        Labelled { warning: self, label }
    }
}

impl PolicySet {
    /// Loads policies as [`PolicySet::load`] does, and tells what about them is most likely not meant. `held` are
    /// the roles that the configuration gives to somebody, when it is known.
    ///
    /// # Errors
    /// As [`PolicySet::load`].
    pub fn examine(
        sources: &[Source],
        bindings: &RoleBindings,
        held: Option<&[RoleName]>,
        limits: &ScriptLimits,
    ) -> Result<Examined, PolicyErrors> {
        let (policies, written) = Self::load_for_examination(sources, bindings, limits)?;
        Ok(Examined::of(policies, &written, held, STEPS_MAX))
    }

    fn load_for_examination(
        sources: &[Source],
        bindings: &RoleBindings,
        limits: &ScriptLimits,
    ) -> Result<(Self, Written), PolicyErrors> {
        let (policies, mut written) = Self::load_as_written(sources, bindings, limits)?;
        // Words take more memory than rules: those who only load do without them.
        written.sources = sources.iter().map(|source| source.read_again(limits)).collect();
        written.misread = Openings::of(sources).misread().to_vec();
        Ok((policies, written))
    }
}

impl Examined {
    fn of(policies: PolicySet, written: &Written, held: Option<&[RoleName]>, steps: u64) -> Self {
        let index = RouteIndex::of(&policies);
        let mut warnings = cover::warnings(&policies, written, &index, steps);
        warnings.extend(routes::warnings(&policies, &index, steps));
        warnings.extend(names::warnings(&policies));
        warnings.extend(roles::warnings(&policies, written, held));
        warnings.extend(written.sources.iter().flat_map(advise));
        let mut allowances: Vec<Allowance> = Vec::new();
        for source in &written.sources {
            let (found, wrong) = read_allowances(source, ALLOWANCES_MAX.saturating_sub(allowances.len()));
            allowances.extend(found);
            warnings.extend(wrong);
        }
        warnings.extend(misread_openings(written, &warnings));
        let is_cut = warnings.len() > WARNINGS_KEPT_MAX;
        warnings.truncate(WARNINGS_KEPT_MAX);
        let mut warnings = allowed(warnings, &mut allowances, &written.sources);
        warnings.extend(idle_allowances(&allowances, held.is_some(), &written.sources));
        Self { warnings: ordered(warnings, is_cut), policies, allowances }
    }

    /// Whether a comment allows warnings of this kind about what stands at this place.
    pub fn allows(&self, code: WarningCode, location: &Location) -> bool {
        self.allowances.iter().any(|allowance| allowance.covers(code, location))
    }
}

impl Written {
    /// Notes what compiling does not keep.
    pub(super) fn note(&mut self, declared: &Declarations) {
        let mut places: HashMap<&RoleName, &Location> = HashMap::new();
        for role in &declared.roles {
            places.entry(&role.name).or_insert(&role.location);
        }
        self.roles = places.into_iter().map(|(name, location)| (name.clone(), location.clone())).collect();
        self.roles.sort_by(|(_, one), (_, other)| one.cmp(other));
    }
}

impl Work {
    const fn new(steps: u64) -> Self {
        Self { steps }
    }

    fn spend(&mut self, steps: usize) -> Result<(), Exhausted> {
        self.steps = self.steps.checked_sub(steps as u64).ok_or(Exhausted)?;
        Ok(())
    }
}

/// That a check has not looked at everything.
fn unfinished(code: WarningCode, what: &str) -> Warning {
    let message = format!("the check `{code}` has not looked at all {what}, for that would take too long");
    Warning::new(WarningCode::UnfinishedCheck, &Location::whole(), message).with_help(
        "it ends where many rules are about the same paths: give them fewer routes, or permissions",
    )
}

/// Lines that are to say what the policies open, and say nothing; but for those about which something is told.
fn misread_openings(written: &Written, told: &[Warning]) -> Vec<Warning> {
    let told = told.iter().filter(|warning| warning.code == WarningCode::IdleAllow);
    let told: HashSet<(&str, u32)> = told.map(|warning| place_of_line(&warning.problem.location)).collect();
    let misread = written.misread.iter().filter(|(location, _)| !told.contains(&place_of_line(location)));
    misread
        .map(|(location, error)| Warning::new(WarningCode::IdleAllow, location, error.to_string()))
        .collect()
}

fn place_of_line(location: &Location) -> (&str, u32) {
    (&location.file, location.line)
}

/// Those warnings that no comment allows, each pointing at the text that it is about.
fn allowed(warnings: Vec<Warning>, allowances: &mut [Allowance], sources: &[SourceText]) -> Vec<Warning> {
    let by_name: HashMap<&str, &SourceText> = sources.iter().map(|source| (&*source.name, source)).collect();
    let mut told = Vec::new();
    for mut warning in warnings {
        let rule = warning.problem.location.clone();
        if let Some(source) = by_name.get(&*rule.file) {
            if let Some(literal) = warning.problem.literal.take() {
                source.point_at_literal(&mut warning.problem, &literal);
            }
            source.underline(&mut warning.problem);
        }
        let mut is_allowed = false;
        for allowance in &mut *allowances {
            if allowance.covers(warning.code, &rule)
                || allowance.covers(warning.code, &warning.problem.location)
            {
                allowance.is_used = true;
                is_allowed = true;
            }
        }
        if !is_allowed {
            told.push(warning);
        }
    }
    told
}

/// Comments that allow nothing. Of kinds that were not looked for, nothing can be said.
fn idle_allowances(allowances: &[Allowance], knows_holders: bool, sources: &[SourceText]) -> Vec<Warning> {
    let is_looked_for = |code: &WarningCode| match code {
        WarningCode::UnreachedRoute | WarningCode::OpenRoute | WarningCode::UnmatchedRule => false,
        WarningCode::UnheldRole => knows_holders,
        _ => true,
    };
    let idle = allowances.iter().filter(|allowance| !allowance.is_used && is_looked_for(&allowance.code));
    let told = idle.map(|allowance| {
        let message = format!("there is no warning `{}` here that the comment could allow", allowance.code);
        let mut warning = Warning::new(WarningCode::IdleAllow, &allowance.location, message);
        warning.problem.length = allowance.length;
        if let Some(source) = sources.iter().find(|source| source.name == allowance.location.file) {
            source.show_line(&mut warning.problem);
        }
        warning.with_help("delete it")
    });
    told.collect()
}

/// The warnings by place, as many as are told, and how many are not.
fn ordered(mut warnings: Vec<Warning>, is_cut: bool) -> Vec<Warning> {
    warnings
        .sort_by(|one, other| (&one.problem.location, one.code).cmp(&(&other.problem.location, other.code)));
    warnings.dedup();
    if is_cut || warnings.len() > WARNINGS_MAX {
        let more = if is_cut { "many".to_owned() } else { (warnings.len() + 1 - WARNINGS_MAX).to_string() };
        warnings.truncate(WARNINGS_MAX - 1);
        let message = format!("{more} more warnings are not told");
        warnings.push(Warning::new(WarningCode::UnfinishedCheck, &Location::whole(), message));
    }
    warnings
}

struct Labelled<'w> {
    warning: &'w Warning,
    label: &'static str,
}

impl fmt::Display for Labelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.warning.problem.write(&format!("{}[{}]", self.label, self.warning.code), f)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.labelled("warning"), f)
    }
}

impl fmt::Display for WarningCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examined")
            .field("policies", &self.policies.version())
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
