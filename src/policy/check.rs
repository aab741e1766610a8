//! What is looked at around the scripts: the set of files, what they declare together, and its version.

use super::compile::unknown_role;
use super::declaration::Declarations;
use super::error::{Location, PROBLEMS_MAX, PolicyErrors, Problem, file_name};
use super::script::{RoleMention, SOURCES_MAX, SOURCES_MAX_BYTES, ScriptLimits, Source, SourceText};
use super::{HostFunctions, PolicySet, RoleBindings};
use crate::decision::PolicyVersion;
use crate::token::RoleName;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is wrong with the set of files.
pub(super) fn sources(sources: &[Source]) -> Vec<Problem> {
    if sources.is_empty() {
        let problem = Problem::new(Location::whole(), "there is no policy, so every request would be denied");
        return vec![problem.with_help("write rules into a file that ends in `.rhai`")];
    }
    if sources.len() > SOURCES_MAX {
        let message = format!("there are {} policies, more than {SOURCES_MAX}", sources.len());
        return vec![Problem::new(Location::whole(), message)];
    }
    if sources.iter().map(|source| source.text.len()).sum::<usize>() > SOURCES_MAX_BYTES {
        let message = format!("the policies have more than {SOURCES_MAX_BYTES} bytes together");
        return vec![Problem::new(Location::whole(), message)];
    }
    let mut names = HashSet::new();
    let repeated = sources.iter().filter(|source| !names.insert(&source.name));
    repeated
        .map(|source| Problem::new(Location::new(&source.name, 0, 0), "two policies have this name"))
        .collect()
}

/// Policies without any rule deny everything without saying so.
pub(super) fn declares_something(declared: &Declarations, sources: &[Source]) -> Option<Problem> {
    if !declared.rules.is_empty() || !declared.grants.is_empty() {
        return None;
    }
    let place = match sources {
        [only] => Location::new(&only.name, 0, 0),
        _ => Location::whole(),
    };
    let problem = Problem::new(place, "no rule is declared, so every request would be denied");
    Some(problem.with_help("declare one, such as `role(\"name\").allow(\"GET /route\")`"))
}

/// Roles that conditions ask for and nobody can have.
pub(super) fn unknown_roles(set: &PolicySet, mentions: &[RoleMention]) -> Vec<Problem> {
    let unknown = mentions.iter().filter(|mention| !set.has_role(&mention.name));
    // More are not told, and each costs a look at all names.
    unknown
        .take(PROBLEMS_MAX)
        .map(|mention| match RoleName::parse(&mention.name) {
            Ok(role) => {
                let mut problem = unknown_role(&role, &mention.location, set.roles());
                problem.length += 2;
                problem.literal = None;
                problem
            }
            Err(error) => {
                let message = format!("`{}` is no name for a role", mention.name);
                Problem::new(mention.location.clone(), message).with_help(error.to_string())
            }
        })
        .collect()
}

/// Which set of policies this is, wherever it lies: of a file, its name counts and not its folder. Every part is
/// preceded by its length, so that no two sets read the same.
pub(super) fn version(sources: &[Source], bindings: &RoleBindings, host: &HostFunctions) -> PolicyVersion {
    let mut hasher = Sha256::new();
    let mut part = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    let mut ordered: Vec<&Source> = sources.iter().collect();
    ordered
        .sort_by(|one, other| (file_name(&one.name), &one.name).cmp(&(file_name(&other.name), &other.name)));
    part(&ordered.len().to_string());
    for source in ordered {
        part(file_name(&source.name));
        part(&source.text);
    }
    let mut aliases: Vec<_> =
        bindings.aliases.iter().map(|alias| (alias.name.as_str(), alias.role.as_str())).collect();
    aliases.sort_unstable();
    part(&aliases.len().to_string());
    for (name, role) in aliases {
        part(name);
        part(role);
    }
    let mut custom: Vec<_> = bindings.custom.iter().collect();
    custom.sort_by(|one, other| one.name.cmp(&other.name));
    part(&custom.len().to_string());
    for role in custom {
        part(role.name.as_str());
        let mut permissions: Vec<&str> =
            role.permissions.iter().map(|(permission, _)| &**permission).collect();
        permissions.sort_unstable();
        part(&permissions.len().to_string());
        permissions.into_iter().for_each(&mut part);
    }
    if !host.is_empty() {
        host.describe(&mut part);
    }
    let digest = hasher.finalize();
    let first = digest.first_chunk::<8>().copied().unwrap_or_default();
    PolicyVersion(u64::from_be_bytes(first))
}

/// The problems with the lines that they are about.
pub(super) fn with_lines(
    mut problems: Vec<Problem>,
    sources: &[Source],
    limits: &ScriptLimits,
) -> PolicyErrors {
    let mut read: HashMap<Arc<str>, SourceText> = HashMap::new();
    // Scripts are read again only now, when something is wrong: their words take more memory than all rules.
    let mut source_of = |problem: &Problem, look: &mut dyn FnMut(&SourceText)| {
        let file = &problem.location.file;
        if let Some(source) = sources.iter().find(|source| source.name == *file) {
            look(read.entry(Arc::clone(file)).or_insert_with(|| source.read_again(limits)));
        }
    };
    for problem in &mut problems {
        if let Some(literal) = problem.literal.take() {
            source_of(&problem.clone(), &mut |source| source.point_at_literal(problem, &literal));
        }
    }
    // Those that are not told about need no lines.
    let mut problems = PolicyErrors::from(problems).into_problems();
    for problem in &mut problems {
        source_of(&problem.clone(), &mut |source| source.show_line(problem));
    }
    PolicyErrors::from(problems)
}
