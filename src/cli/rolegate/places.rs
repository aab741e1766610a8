//! Whether each file that a server writes is its own: where two parts of it wrote the same one, both would lose.

use crate::audit::file::{is_earlier_part, target};
use crate::config::{Config, ConfigError, ConfigErrors, Located, Origin, Problem};
use crate::server::CLOCK_FILE_NAME;
use crate::server::decision_log::older;
use crate::store::embedded::FILE_NAME;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

const AUDIT: &str = "rolegate.audit_file";
const DECISIONS: &str = "rolegate.decision_log.file";

/// Refuses logs whose files could meet each other, or those of the data folder.
///
/// # Errors
/// With each log that could.
pub(super) fn check(config: &Config) -> Result<(), ConfigErrors> {
    let folder = place(&config.data_dir.value);
    let audit = &config.audit_file;
    let mut errors: Vec<ConfigError> = in_data_folder(&folder, audit, &[&audit.value])
        .map(|what| refused(AUDIT, audit, &what, "data/audit.jsonl"))
        .into_iter()
        .collect();
    if let Some(log) = &config.decision_log {
        let file = &log.file;
        let full = older(&file.value);
        let met = in_data_folder(&folder, file, &[&file.value, &full]);
        if let Some(what) = met.or_else(|| of_audit_log(audit, &file.value, &full)) {
            errors.push(refused(DECISIONS, file, &what, "data/decisions.jsonl"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors::new(errors, &[])) }
}

/// Refuses a file that is written for somebody else, and would take the place of one that the server writes.
///
/// # Errors
/// When it would.
pub(super) fn check_other(config: &Config, file: &Path) -> io::Result<()> {
    let folder = place(&config.data_dir.value);
    let logs = config.decision_log.as_ref().map(|log| &log.file.value);
    let is_log = logs.is_some_and(|log| place(log) == place(file));
    let met = of_data_folder(&folder, &[file]).or_else(|| of_audit_log(&config.audit_file, file, file));
    match met.or_else(|| is_log.then(|| "is the file of the decision log".to_owned())) {
        Some(what) => Err(io::Error::other(format!("it {what}; choose another name"))),
        None => Ok(()),
    }
}

fn refused(key: &str, file: &Located<PathBuf>, what: &str, example: &str) -> ConfigError {
    let at: Option<Origin> = Some(file.origin.clone());
    let reason = format!("`{}` {what}; choose another name, such as `{example}`", file.value.display());
    ConfigError { at, problem: Problem::BadValue { key: key.to_owned(), reason } }
}

/// What of the data folder these files are, or could become.
fn in_data_folder(folder: &Path, said: &Located<PathBuf>, files: &[&Path]) -> Option<String> {
    // A default is in the data folder by a name that is nobody else's.
    if said.origin == Origin::Default {
        return None;
    }
    of_data_folder(folder, files)
}

fn of_data_folder(folder: &Path, files: &[&Path]) -> Option<String> {
    files.iter().find_map(|file| {
        let file = place(file);
        if file == folder {
            return Some("is the data folder".to_owned());
        }
        let name = file.file_name().filter(|_| file.parent() == Some(folder))?.to_str()?;
        let belongs =
            |own: &str| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if belongs(FILE_NAME) {
            Some("has the name of a file of the token store".to_owned())
        } else if belongs(CLOCK_FILE_NAME) {
            Some("has the name of a file that keeps the time".to_owned())
        } else {
            None
        }
    })
}

/// What of the audit log the decision log is, or could become.
fn of_audit_log(audit: &Located<PathBuf>, file: &Path, full: &Path) -> Option<String> {
    let (audit, file, full) = (place(&audit.value), place(file), place(full));
    if file == audit {
        return Some("is the file of the audit log".to_owned());
    }
    if is_earlier_part(&audit, &file) || is_earlier_part(&audit, &full) {
        return Some("has the name of an earlier part of the audit log".to_owned());
    }
    (full == audit).then(|| format!("gets the name of the audit log when it is full, `{}`", full.display()))
}

/// Where a file is, whatever links and folders lead there, and whether it is there or not.
fn place(path: &Path) -> PathBuf {
    let path = target(path);
    let path = std::path::absolute(&path).unwrap_or(path);
    let found = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    let Some((above, mut place)) = found else { return path };
    for component in path.strip_prefix(above).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => {
                place.pop();
            }
            component => place.push(component),
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, Variables, load, read};

    /// What is wrong with a configuration that has these lines and keeps its data in a folder.
    fn told(folder: &Path, lines: &str) -> String {
        let file = folder.join("rolegate.yaml");
        let text = format!("rolegate:\n  policies: [a.rhai]\n{lines}\n")
            .replace("DIR", &folder.display().to_string());
        fs::write(&file, text).unwrap();
        let (files, variables) = ([file], Variables::default());
        let config = load(&Input { files: &files, variables: &variables, flags: &[], read: &read }).unwrap();
        check(&config).err().map(|errors| errors.to_string()).unwrap_or_default()
    }

    #[test]
    fn log_that_could_meet_files_of_the_server_is_refused_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data/deep")).unwrap();
        std::os::unix::fs::symlink("data", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("data/audit.jsonl", folder.path().join("away")).unwrap();
        let data = "  data_dir: DIR/data\n";
        for (audit, decisions, part) in [
            ("", "DIR/data/audit.jsonl", "is the file of the audit log"),
            ("", "DIR/data/audit.jsonl.1", "earlier part of the audit log"),
            ("", "DIR/data/audit.jsonl-20300131", "earlier part of the audit log"),
            ("", "DIR/data/audit.jsonl.000000000012.gz", "earlier part of the audit log"),
            ("", "DIR/data/../data/./audit.jsonl.1", "earlier part of the audit log"),
            ("", "DIR/link/audit.jsonl.1", "earlier part of the audit log"),
            ("", "DIR/away", "is the file of the audit log"),
            ("DIR/away", "DIR/data/audit.jsonl.7", "earlier part of the audit log"),
            ("DIR/a.1", "DIR/a", "gets the name of the audit log when it is full"),
            ("DIR/none/a", "DIR/none/b/../a", "is the file of the audit log"),
            ("", "DIR/data/tokens.redb", "token store"),
            ("", "DIR/data/tokens.redb.new", "token store"),
            ("", "DIR/link/clock", "keeps the time"),
            ("", "DIR/data/clock.new", "keeps the time"),
            ("", "DIR/data", "is the data folder"),
            ("DIR/data/clock", "DIR/d", "`rolegate.audit_file`"),
            ("DIR/data/tokens.redb", "", "token store"),
            ("", "DIR/data/decisions.jsonl", ""),
            ("", "DIR/data/audit.jsonl.decisions", ""),
            ("", "DIR/data/audit.jsonl1", ""),
            ("", "DIR/audit.jsonl.1", ""),
            ("DIR/a", "DIR/a.b", ""),
            ("DIR/data/tokens", "DIR/data/clocks", ""),
            ("DIR/tokens.redb", "DIR/data/deep/clock", ""),
        ] {
            let key = |key: &str, path: &str| {
                if path.is_empty() { String::new() } else { format!("{key} {path}\n") }
            };
            let lines = [key("  audit_file:", audit), key("  decision_log:\n    file:", decisions)].concat();
            let told = told(folder.path(), &format!("{data}{lines}"));
            assert_eq!((told.contains(part), told.is_empty()), (true, part.is_empty()), "{lines}{told}");
        }
    }

    #[test]
    fn refusal_tells_where_it_stands_and_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let told = told(folder.path(), "  data_dir: DIR/data\n  decision_log:\n    file: DIR/data/clock");
        assert!(told.contains("rolegate.yaml:5:11: `rolegate.decision_log.file`: `"), "{told}");
        assert!(told.ends_with("; choose another name, such as `data/decisions.jsonl`"), "{told}");
    }
}
