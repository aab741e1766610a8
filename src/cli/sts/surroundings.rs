//! What the process was started with: environment and terminals. Read once; the rest takes it as an argument.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

/// Columns of a terminal that does not say how wide it is.
const COLUMNS_DEFAULT: usize = 80;

/// The process's surroundings. It may hold secrets of the environment, and so has no `Debug`.
pub(crate) struct Surroundings {
    vars: BTreeMap<OsString, OsString>,
    /// The width of the terminal that standard output is; `None` when it is none.
    pub(crate) stdout_columns: Option<usize>,
    /// What time it is.
    pub(crate) now: jiff::Timestamp,
}

impl Surroundings {
    /// The surroundings of this process.
    pub(crate) fn of_process() -> Self {
        let stdout_columns = std::io::stdout().is_terminal().then(|| {
            terminal_size::terminal_size().map_or(COLUMNS_DEFAULT, |(width, _)| usize::from(width.0))
        });
        Self { vars: std::env::vars_os().collect(), stdout_columns, now: jiff::Timestamp::now() }
    }

    /// A variable's text; an empty one counts as not set.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let text = self.vars.get(std::ffi::OsStr::new(name))?.to_string_lossy().into_owned();
        (!text.is_empty()).then_some(text)
    }

    /// A variable that names a place in the file system.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let path = self.vars.get(std::ffi::OsStr::new(name))?;
        (!path.is_empty()).then(|| PathBuf::from(path))
    }

    /// Whether the variable exists, with whatever value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.vars.contains_key(std::ffi::OsStr::new(name))
    }

    /// Surroundings with these variables and no terminal.
    #[cfg(test)]
    pub(crate) fn of_vars(vars: &[(&str, &str)]) -> Self {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Self { vars: vars.collect(), stdout_columns: None, now: jiff::Timestamp::UNIX_EPOCH }
    }
}
