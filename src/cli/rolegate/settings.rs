//! The configuration of a command: its arguments, the environment, and the files they name.

use super::{Format, places};
use crate::config::{
    Config, ConfigErrors, FILES_VARIABLE, Flag, Input, VariableError, Variables, load, read,
};
use clap::Args;
use std::path::PathBuf;

/// What is read when nothing else is named.
const FILES_DEFAULT: [&str; 2] = ["config/rolegate.yaml", "config/authentication.yaml"];

/// Which configuration a command takes.
#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(flatten)]
    pub(super) files: FileArguments,
    /// Where to listen, such as 127.0.0.1:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The folder of the token store
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
}

/// Which files a command takes its configuration from.
#[derive(Debug, Args)]
pub(super) struct FileArguments {
    /// A configuration file; give several, and each is laid over those before it. Without any, the files of
    /// ROLEGATE_CONFIG are read, or else config/rolegate.yaml and config/authentication.yaml
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How a command prints its answer.
#[derive(Debug, Args)]
pub(super) struct OutputArguments {
    /// How to print
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub(super) format: Format,
}

/// What the process was started with.
pub(super) struct Surroundings {
    pub(super) variables: Variables,
}

impl Surroundings {
    /// The surroundings of this process.
    pub(super) fn of_process() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// Whether colours are unwelcome, by <https://no-color.org>, or would be shown as signs.
    pub(super) fn no_color(&self) -> bool {
        let is_dumb = self.variables.get("TERM").is_ok_and(|terminal| terminal == "dumb");
        is_dumb
            || !matches!(self.variables.get("NO_COLOR"), Err(VariableError::Missing | VariableError::Empty))
    }
}

impl ConfigArguments {
    /// Reads the configuration.
    pub(super) fn load(&self, surroundings: &Surroundings) -> Result<Config, ConfigErrors> {
        let flag = |key, name, value: &Option<String>| value.clone().map(|value| Flag { key, name, value });
        let listen = flag("rolegate.listen", "--listen", &self.listen);
        let data_dir = flag("rolegate.data_dir", "--data-dir", &self.data_dir);
        let flags: Vec<Flag> = listen.into_iter().chain(data_dir).collect();
        self.files.load_with(surroundings, &flags)
    }
}

impl FileArguments {
    /// Whether any file was named as an argument.
    pub(super) fn is_given(&self) -> bool {
        !self.files.is_empty()
    }

    /// The files that are read.
    pub(super) fn names(&self, surroundings: &Surroundings) -> Vec<PathBuf> {
        if !self.files.is_empty() {
            return self.files.clone();
        }
        match surroundings.variables.get(FILES_VARIABLE) {
            Ok(files) => std::env::split_paths(files).filter(|file| !file.as_os_str().is_empty()).collect(),
            Err(VariableError::Missing) => FILES_DEFAULT.map(PathBuf::from).to_vec(),
            // Set, and to nothing that names a file: an error, and not the files of the default.
            Err(VariableError::Empty | VariableError::NotUtf8) => Vec::new(),
        }
    }

    /// Reads the configuration.
    pub(super) fn load(&self, surroundings: &Surroundings) -> Result<Config, ConfigErrors> {
        self.load_with(surroundings, &[])
    }

    fn load_with(&self, surroundings: &Surroundings, flags: &[Flag]) -> Result<Config, ConfigErrors> {
        let files = self.names(surroundings);
        let config = load(&Input { files: &files, variables: &surroundings.variables, flags, read: &read })?;
        places::check(&config)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_when_it_is_set_to_anything_and_so_does_a_dumb_terminal() {
        let no_color = |variables: &[(&str, &str)]| {
            Surroundings { variables: variables.iter().map(|(name, value)| (*name, *value)).collect() }
                .no_color()
        };
        assert!(no_color(&[("NO_COLOR", "0")]));
        assert!(!no_color(&[("NO_COLOR", "")]));
        assert!(!no_color(&[]));
        assert!(no_color(&[("TERM", "dumb")]));
        assert!(!no_color(&[("TERM", "xterm")]));
    }
}
