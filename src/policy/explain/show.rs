//! Explanations as people read them.

use super::{Asked, Explanation, Finding, Note, Obstacle, Part};
use crate::decision::{Denial, Verdict};
use crate::policy::declaration::{Effect, Subject};
use crate::policy::script::Source;
use crate::token::{Principal, PrincipalId};
use http::Method;
use std::fmt;

/// The most characters of a line of a policy that are shown.
const LINE_MAX_CHARS: usize = 160;

/// An explanation with the lines of the rules that decided.
#[derive(Debug)]
pub struct WithSources<'e> {
    explanation: &'e Explanation<'e>,
    sources: &'e [Source],
}

/// Why a request is answered with 400, before any policy is asked. Its text is for people.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'r> {
    /// The method, as it was sent.
    pub method: &'r Method,
    /// The target, as it was sent.
    pub target: &'r str,
    /// What can be read in two ways.
    pub reason: &'r str,
}

impl Explanation<'_> {
    /// The same text with the line of the rule that decided, underlined, where its source is among these.
    pub const fn with_sources<'e>(&'e self, sources: &'e [Source]) -> WithSources<'e> {
        WithSources { explanation: self, sources }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, sources: &[Source]) -> fmt::Result {
        let word = if self.decision.is_allow() { "allowed" } else { "denied" };
        write!(f, "{word}: {} {}", self.method, self.path)?;
        match self.decision.verdict {
            Verdict::Allow(_) | Verdict::Deny(Denial::Rule(_)) => {}
            Verdict::Deny(Denial::NoRule) => f.write_str(", for no rule allows it")?,
        }
        f.write_str("\n  ")?;
        write_principal(f, self.principal.as_ref())?;
        write!(f, "\n  at {}, policy version {}", self.decision.at, self.decision.policy)?;
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        if !self.deciding.is_empty() {
            f.write_str("\n\ndecided by:")?;
            self.write_findings(f, &self.deciding, self.deciding_left_out, sources)?;
        }
        if !self.near.is_empty() {
            f.write_str("\n\nnearly:")?;
            self.write_findings(f, &self.near, self.near_left_out, &[])?;
        }
        Ok(())
    }

    fn write_findings(
        &self,
        f: &mut fmt::Formatter<'_>,
        findings: &[Finding<'_>],
        left_out: usize,
        sources: &[Source],
    ) -> fmt::Result {
        for finding in findings {
            write!(f, "\n  {finding}")?;
            if let Part::Decided(_) = finding.part {
                write_line(f, finding, sources)?;
            }
            self.write_part(f, finding)?;
        }
        if left_out > 0 {
            write!(f, "\n  and {left_out} more")?;
        }
        Ok(())
    }

    fn write_part(&self, f: &mut fmt::Formatter<'_>, finding: &Finding<'_>) -> fmt::Result {
        match &finding.part {
            Part::Decided(None) => Ok(()),
            Part::Decided(Some(asked)) | Part::Unmet(asked) | Part::Lifted(asked) => {
                write_asked(f, asked, finding.rule.effect)
            }
            Part::Agreed => f.write_str("\n      says the same"),
            Part::Overruled(asked) => {
                f.write_str("\n      does not count, for a rule denies")?;
                asked.as_ref().map_or(Ok(()), |asked| write_asked(f, asked, finding.rule.effect))
            }
            Part::NotAsked => {
                let settled = match (self.decision.verdict, finding.rule.effect) {
                    (Verdict::Allow(_), _) => "another rule allows the request",
                    (Verdict::Deny(Denial::NoRule), _) => "no rule allows the request",
                    (Verdict::Deny(Denial::Rule(_)), Effect::Allow | Effect::Deny) => {
                        "another rule denies the request"
                    }
                };
                write!(f, "\n      its `{}` was not asked: {settled}", condition_word(finding.rule.effect))
            }
            Part::Missed(obstacles) => {
                obstacles.iter().try_for_each(|obstacle| write_obstacle(f, obstacle, self, finding))
            }
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &[])
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, reason } = self;
        write!(f, "refused: {method} {}, with 400\n  {reason}", target.escape_debug())?;
        f.write_str("\n  no policy is asked about such a request, whoever makes it")
    }
}

impl fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explanation.write(f, self.sources)
    }
}

impl fmt::Display for Finding<'_> {
    /// Where the rule stands, and what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.rule.effect {
            Effect::Allow => "allows",
            Effect::Deny => "denies",
        };
        write!(f, "{} {verb} `{}`", self.rule.location, self.route)?;
        match &self.rule.subject {
            Subject::Anyone => f.write_str(" to everyone")?,
            Subject::Authenticated => f.write_str(" to every live token")?,
            Subject::Role(role) => write!(f, " to `{role}`")?,
        }
        if let Some(permission) = &self.rule.permission {
            write!(f, " by the permission `{permission}`")?;
        }
        match (&self.holder, &self.rule.subject) {
            (Some(holder), Subject::Role(role)) if holder != role => {
                write!(f, ", held through `{holder}`, which includes it")?;
            }
            _ => {}
        }
        // What a condition said is told further on.
        let is_open = self.rule.is_conditional() && matches!(self.part, Part::Missed(_));
        if is_open { f.write_str(", under a condition") } else { Ok(()) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownMethod(None) => f.write_str("rules cannot name this method, not even by `ANY`"),
            Self::UnknownMethod(Some(meant)) => {
                write!(f, "methods are case-sensitive and no rule is about this one: `{meant}` is another")
            }
            Self::Asterisk => f.write_str("no pattern matches `*`"),
            Self::UnknownRole(role, meant) => {
                write!(f, "no policy defines the role `{role}`, so that it permits nothing")?;
                meant.as_ref().map_or(Ok(()), |meant| write!(f, ": did you mean `{meant}`?"))
            }
        }
    }
}

fn write_principal(f: &mut fmt::Formatter<'_>, principal: Option<&Principal>) -> fmt::Result {
    let Some(principal) = principal else { return f.write_str("without a token") };
    match &principal.id {
        PrincipalId::Foreign(id) => write!(f, "foreign principal {id}")?,
        PrincipalId::Token(id) if principal.name.is_empty() => write!(f, "token {id}")?,
        PrincipalId::Token(id) => write!(f, "token {id} {:?}", principal.name)?,
    }
    match &*principal.roles {
        [] => f.write_str(" without a role"),
        [role] => write!(f, " with the role {role}"),
        roles => {
            let names: Vec<_> = roles.iter().map(ToString::to_string).collect();
            write!(f, " with the roles {}", names.join(", "))
        }
    }
}

fn write_asked(f: &mut fmt::Formatter<'_>, asked: &Asked, effect: Effect) -> fmt::Result {
    let word = condition_word(effect);
    match &asked.result {
        Ok(answer) if asked.is_recorded => write!(f, "\n      its `{word}` was {answer}, as recorded")?,
        Ok(answer) => write!(f, "\n      its `{word}` is {answer}")?,
        Err(reason) => write!(f, "\n      its `{word}` failed: {}", reason.escape_debug())?,
    }
    asked.reads.iter().try_for_each(|reading| write!(f, "\n        {reading}"))
}

/// How a policy writes the condition of such a rule.
const fn condition_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "when",
        Effect::Deny => "unless",
    }
}

fn write_obstacle(
    f: &mut fmt::Formatter<'_>,
    obstacle: &Obstacle<'_>,
    explanation: &Explanation<'_>,
    finding: &Finding<'_>,
) -> fmt::Result {
    f.write_str("\n      ")?;
    match obstacle {
        Obstacle::NeedsToken => f.write_str("the request has no token"),
        Obstacle::RoleNotHeld(role) => write!(f, "the token does not hold the role `{role}`"),
        Obstacle::Excluded(route) => write!(f, "it excludes the request by `{route}`"),
        Obstacle::OtherMethod => {
            let methods: Vec<_> = finding.route.methods.names().collect();
            write!(f, "other method: it is about {}, not {}", methods.join(", "), explanation.method)
        }
        Obstacle::OtherSlash if explanation.path.as_str().ends_with('/') => {
            f.write_str("other path: it has no slash at its end")
        }
        Obstacle::OtherSlash => f.write_str("other path: it has a slash at its end"),
        Obstacle::OtherCase => f.write_str("other path: upper and lower case differ"),
    }
}

/// The line that the rule stands on, with a mark below the word that declares it.
fn write_line(f: &mut fmt::Formatter<'_>, finding: &Finding<'_>, sources: &[Source]) -> fmt::Result {
    let location = &finding.rule.location;
    let source = sources.iter().find(|source| source.name == location.file);
    let line = source.and_then(|source| source.text.lines().nth((location.line as usize).checked_sub(1)?));
    let Some(line) = line else { return Ok(()) };
    let start = line.chars().take_while(|letter| letter.is_whitespace()).count();
    let before = (location.column as usize).saturating_sub(1).saturating_sub(start);
    let shown: String = line.trim().chars().take(LINE_MAX_CHARS).collect();
    // A tab is one column for the script and several on a terminal.
    let indent = shown.chars().take(before).map(|letter| if letter == '\t' { '\t' } else { ' ' });
    let is_word = |letter: &char| letter.is_alphanumeric() || *letter == '_';
    let word = shown.chars().skip(before).take_while(is_word).count();
    let (indent, marks) = (indent.collect::<String>(), "^".repeat(word.max(1)));
    write!(f, "\n      | {shown}\n      | {indent}{marks}")
}
