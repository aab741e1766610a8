//! The configuration of a command: its arguments, the environment, and the files they name.

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
    /// A configuration file; give several, and each is laid over those before it. Without any, the files of
    /// ROLEGATE_CONFIG are read, or else config/rolegate.yaml and config/authentication.yaml
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Where to listen, such as 127.0.0.1:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<String>,
    /// The folder of the token store
    #[arg(long, value_name = "FOLDER")]
    pub(super) data_dir: Option<String>,
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

    /// Whether colours are unwelcome, by <https://no-color.org>.
    pub(super) fn no_color(&self) -> bool {
        !matches!(self.variables.get("NO_COLOR"), Err(VariableError::Missing | VariableError::Empty))
    }
}

impl ConfigArguments {
    /// The files that are read.
    pub(super) fn files(&self, surroundings: &Surroundings) -> Vec<PathBuf> {
        if !self.files.is_empty() {
            return self.files.clone();
        }
        match surroundings.variables.get(FILES_VARIABLE) {
            Ok(files) => std::env::split_paths(files).filter(|file| !file.as_os_str().is_empty()).collect(),
            Err(_) => FILES_DEFAULT.map(PathBuf::from).to_vec(),
        }
    }

    /// Reads the configuration.
    pub(super) fn load(&self, surroundings: &Surroundings) -> Result<Config, ConfigErrors> {
        let listen =
            self.listen.clone().map(|value| Flag { key: "rolegate.listen", name: "--listen", value });
        let data_dir =
            self.data_dir.clone().map(|value| Flag { key: "rolegate.data_dir", name: "--data-dir", value });
        let flags: Vec<Flag> = listen.into_iter().chain(data_dir).collect();
        let files = self.files(surroundings);
        load(&Input { files: &files, variables: &surroundings.variables, flags: &flags, read: &read })
    }
}
