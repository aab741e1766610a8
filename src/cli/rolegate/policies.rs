//! Policies on disk: finds the files that the configuration or the command line names, reads and compiles them.

use crate::config::{Config, Located, Origin, read};
use crate::policy::warn::Examined;
use crate::policy::{
    Limits, Location, PolicyErrors, PolicySet, Printer, RoleBindings, SOURCES_MAX, SOURCES_MAX_BYTES,
    ScriptLimits, Source,
};
use crate::token::RoleName;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the name of a policy file in a folder ends.
pub(super) const POLICY_SUFFIX: &str = ".rhai";
/// How the name of a file of cases ends.
pub(super) const CASES_SUFFIX: &str = "_test.yaml";
/// The most entries of a policy folder that are looked at.
const FOLDER_MAX_ENTRIES: usize = 10_000;
/// How often policies are read until two readings in a row agree.
const READINGS_MAX: usize = 20;

/// A file or folder, and who named it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) by: Origin,
}

/// Why policies cannot be loaded from disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// A file or folder that is named cannot be read.
    #[error("cannot read `{}`: {source} ({by})", path.display())]
    Unreadable { path: PathBuf, by: Origin, source: io::Error },
    /// A folder without what is looked for.
    #[error("the folder `{}` holds no file that ends in `{suffix}` ({by})", path.display())]
    EmptyFolder { path: PathBuf, by: Origin, suffix: &'static str },
    /// More files than are looked at.
    #[error("the folder `{}` holds more than {FOLDER_MAX_ENTRIES} files ({by})", path.display())]
    FullFolder { path: PathBuf, by: Origin },
    /// Too large, or no text.
    #[error("`{}` {what}", path.display())]
    Content { path: PathBuf, what: String },
    /// Something that has no end, or no contents that could be read again.
    #[error("`{}` is neither a file nor a folder ({by})", path.display())]
    NoFile { path: PathBuf, by: Origin },
    /// No two readings agree.
    #[error(
        "the policies change faster than they can be read: {READINGS_MAX} readings gave no two that agree"
    )]
    Restless,
    /// The policies themselves are wrong.
    #[error(transparent)]
    Policy(#[from] PolicyErrors),
}

impl Named {
    /// What an argument of the command line names.
    pub(super) fn by_argument(path: &Path) -> Self {
        Self::by_flag(path, "PATH")
    }

    /// What this flag of the command line names.
    pub(super) fn by_flag(path: &Path, flag: &'static str) -> Self {
        Self { path: path.to_owned(), by: Origin::Flag(flag) }
    }

    /// The policies that the configuration names.
    pub(super) fn policies_of(config: &Config) -> Vec<Self> {
        Self::all_of(&config.policies)
    }

    fn all_of(paths: &[Located<PathBuf>]) -> Vec<Self> {
        paths.iter().map(|named| Self { path: named.value.clone(), by: named.origin.clone() }).collect()
    }

    /// The file itself, or the files of the folder that end in `suffix`, by name.
    pub(super) fn files(&self, suffix: &'static str) -> Result<Vec<PathBuf>, LoadError> {
        let unreadable = |source| self.unreadable(source);
        if !std::fs::metadata(&self.path).map_err(unreadable)?.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut files = Vec::new();
        for (at, entry) in std::fs::read_dir(&self.path).map_err(unreadable)?.enumerate() {
            if at >= FOLDER_MAX_ENTRIES {
                return Err(LoadError::FullFolder { path: self.path.clone(), by: self.by.clone() });
            }
            let path = entry.map_err(unreadable)?.path();
            let is_meant = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix));
            if is_meant && self.is_file(&path)? {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Err(LoadError::EmptyFolder { path: self.path.clone(), by: self.by.clone(), suffix });
        }
        files.sort();
        Ok(files)
    }

    /// Whether an entry of the folder is a file, through links: Kubernetes mounts a file as a link to one in a hidden
    /// folder. A link that leads nowhere may stand for rules that deny, which must not vanish unseen; a hidden one is
    /// how an editor marks what it has open.
    fn is_file(&self, entry: &Path) -> Result<bool, LoadError> {
        match std::fs::metadata(entry) {
            Ok(about) => Ok(about.is_file()),
            Err(_) if entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) => {
                Ok(false)
            }
            Err(source) => Err(LoadError::Unreadable { path: entry.to_owned(), by: self.by.clone(), source }),
        }
    }

    /// Reads one of the files, of at most `limit_bytes`.
    pub(super) fn bytes_of(&self, file: &Path, limit_bytes: usize) -> Result<Vec<u8>, LoadError> {
        let mut contents = read(file, limit_bytes).map_err(|source| LoadError::Unreadable {
            path: file.to_owned(),
            by: self.by.clone(),
            source,
        })?;
        if contents.bytes.len() > limit_bytes {
            let what = format!("is larger than {limit_bytes} bytes");
            return Err(LoadError::Content { path: file.to_owned(), what });
        }
        Ok(std::mem::take(&mut *contents.bytes))
    }

    /// Refuses what cannot be read twice, such as a pipe, before it is opened: that could wait for ever.
    fn refuse_no_file(&self) -> Result<(), LoadError> {
        let about = std::fs::metadata(&self.path).map_err(|source| self.unreadable(source))?;
        if about.is_file() || about.is_dir() {
            return Ok(());
        }
        Err(LoadError::NoFile { path: self.path.clone(), by: self.by.clone() })
    }

    fn unreadable(&self, source: io::Error) -> LoadError {
        LoadError::Unreadable { path: self.path.clone(), by: self.by.clone(), source }
    }
}

/// Reads all policies, each file once: it may be named by itself and by its folder.
pub(super) fn sources(named: &[Named]) -> Result<Vec<Source>, LoadError> {
    let mut sources: Vec<Source> = Vec::new();
    let mut bytes = 0;
    for place in named {
        for file in place.files(POLICY_SUFFIX)? {
            let name: Arc<str> = Arc::from(&*file.to_string_lossy());
            // One more than there may be is enough to be refused.
            let is_too_much = sources.len() > SOURCES_MAX || bytes > SOURCES_MAX_BYTES;
            if is_too_much || sources.iter().any(|source| source.name == name) {
                continue;
            }
            if name.ends_with(CASES_SUFFIX) {
                let what = "holds cases and no policy: `rolegate policy test` runs them".to_owned();
                return Err(LoadError::Content { path: file, what });
            }
            let text = String::from_utf8(place.bytes_of(&file, Limits::SOURCE_MAX_BYTES)?);
            let text = text.map_err(|wrong| {
                let what = format!("is not UTF-8 text: byte {} is wrong", wrong.utf8_error().valid_up_to());
                LoadError::Content { path: file, what }
            })?;
            bytes += text.len();
            sources.push(Source { name, text });
        }
    }
    Ok(sources)
}

/// Compiles policies within limits of loading.
pub(super) fn compile(
    sources: &[Source],
    bindings: &RoleBindings,
    load: &Limits,
    hear: impl Fn(&str) + Send + Sync + 'static,
) -> Result<PolicySet, PolicyErrors> {
    let limits = ScriptLimits { load: load.clone(), printer: Printer::new(hear), ..ScriptLimits::default() };
    PolicySet::load(sources, bindings, &limits)
}

/// The policies of a configuration, with the roles that it adds.
pub(super) struct Configured {
    places: Vec<Named>,
    bindings: RoleBindings,
    limits: Limits,
    roles_of_tokens: Vec<(RoleName, Location)>,
}

impl Configured {
    pub(super) fn of(config: &Config) -> Self {
        let roles = config.roles_of_tokens().map(|(role, location)| (role.clone(), location));
        Self {
            places: Named::policies_of(config),
            bindings: config.bindings(),
            limits: config.policy_limits.clone(),
            roles_of_tokens: roles.collect(),
        }
    }

    /// The same with the candidates in the place of the policies.
    pub(super) fn shadow_of(config: &Config) -> Self {
        Self { places: Named::all_of(&config.shadow_policies), ..Self::of(config) }
    }

    /// The files and folders.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.places.iter().map(|place| place.path.clone()).collect()
    }

    /// Reads the policies as they are at one moment. They are read more than once, so that only files and folders
    /// can be policies of a configuration.
    pub(super) fn read(&self) -> Result<Vec<Source>, LoadError> {
        self.places.iter().try_for_each(Named::refuse_no_file)?;
        settled(|| sources(&self.places))
    }

    /// Compiles the policies, and looks whether the roles of the configured tokens are among theirs.
    pub(super) fn compile(
        &self,
        sources: &[Source],
        hear: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<PolicySet, PolicyErrors> {
        let policies = compile(sources, &self.bindings, &self.limits, hear)?;
        self.refuse_unknown_roles(&policies)?;
        Ok(policies)
    }

    fn refuse_unknown_roles(&self, policies: &PolicySet) -> Result<(), PolicyErrors> {
        let roles = self.roles_of_tokens.iter();
        let unknown: Vec<_> =
            roles.filter_map(|(role, location)| policies.unknown_role(role, location)).collect();
        if unknown.is_empty() { Ok(()) } else { Err(PolicyErrors::from(unknown)) }
    }
}

/// Loads the policies of a configuration.
pub(super) fn load(
    config: &Config,
    hear: impl Fn(&str) + Send + Sync + 'static,
) -> Result<(Vec<Source>, PolicySet), LoadError> {
    let configured = Configured::of(config);
    let sources = configured.read()?;
    let policies = configured.compile(&sources, hear)?;
    Ok((sources, policies))
}

/// The same, with the warnings about them; what scripts print is not heard.
pub(super) fn examine(config: &Config) -> Result<(Vec<Source>, Examined), LoadError> {
    let configured = Configured::of(config);
    let sources = configured.read()?;
    let bindings = &configured.bindings;
    let tokens = configured.roles_of_tokens.iter().map(|(role, _)| role);
    // The configuration gives a role to somebody, too, when it gives it another name.
    let names = bindings.aliases.iter().map(|alias| &alias.name);
    let custom = bindings.custom.iter().map(|role| &role.name);
    let held: Vec<RoleName> = tokens.chain(names).chain(custom).cloned().collect();
    let limits = ScriptLimits { load: configured.limits.clone(), ..ScriptLimits::default() };
    let examined = PolicySet::examine(&sources, bindings, Some(&held), &limits)?;
    configured.refuse_unknown_roles(&examined.policies)?;
    Ok((sources, examined))
}

/// What policies amount to, in a few words.
pub(super) fn summary(policies: &PolicySet) -> String {
    format!(
        "{}, {}, {}, version {}",
        counted(policies.permissions().len(), "permission"),
        counted(policies.roles().len(), "role"),
        counted(policies.rules().len(), "rule"),
        policies.version()
    )
}

/// A number of things, in words.
pub(super) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Reads until two readings in a row agree. Files are exchanged together, as by the link of a mounted folder, while they
/// are read one after the other: a single reading could give policies that never were.
fn settled<T: PartialEq>(mut read: impl FnMut() -> Result<T, LoadError>) -> Result<T, LoadError> {
    let mut before = read();
    for _ in 1..READINGS_MAX {
        let now = read();
        let agree = match (&before, &now) {
            (Ok(before), Ok(now)) => before == now,
            (Err(before), Err(now)) => before.to_string() == now.to_string(),
            _ => false,
        };
        if agree {
            return now;
        }
        before = now;
    }
    Err(LoadError::Restless)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read when each reading gives the next of these; a number below 0 cannot be read.
    fn read_of(readings: &[i32]) -> Result<i32, String> {
        let mut readings = readings.iter().copied();
        let read = || match readings.next().unwrap() {
            number if number < 0 => Err(LoadError::Content {
                path: PathBuf::from("p.rhai"),
                what: format!("is not there ({number})"),
            }),
            number => Ok(number),
        };
        settled(read).map_err(|error| error.to_string())
    }

    #[test]
    fn what_two_readings_agree_on_is_taken() {
        let gone = Err("`p.rhai` is not there (-1)".to_owned());
        assert_eq!(read_of(&[1, 1]), Ok(1));
        assert_eq!(read_of(&[-1, -1]), gone);
        // While they are exchanged, a reading gives both, or a file that is gone already.
        assert_eq!(read_of(&[12, 2, 2]), Ok(2));
        assert_eq!(read_of(&[1, 12, 2, 2]), Ok(2));
        assert_eq!(read_of(&[1, -1, 2, 2]), Ok(2));
        assert_eq!(read_of(&[-1, -2, -1, -1]), gone);
    }

    #[test]
    fn policies_that_never_agree_are_refused() {
        let most = i32::try_from(READINGS_MAX).unwrap();
        let restless: Vec<i32> = (0..most).collect();
        let last: Vec<i32> = (0..most - 1).chain([most - 2]).collect();
        assert_eq!(read_of(&last), Ok(most - 2));
        assert!(read_of(&restless).unwrap_err().contains("change faster than they can be read"));
    }
}
