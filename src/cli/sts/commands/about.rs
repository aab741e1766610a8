//! `version`, `help` and `completion`.

use super::Run;
use crate::cli::sts::completion;
use crate::cli::sts::failure::Failure;
use crate::cli::sts::help::full_help;
use crate::cli::sts::parse::find;
use crate::cli::sts::table::Table;
use crate::cli::sts::tree::ROOT;
use clap_complete::Shell;
use serde_json::json;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Whoever packages the program says when and from what it was built.
const BUILD_DATE: &str = or_unknown(option_env!("ROLEGATE_BUILD_DATE"));
const COMMIT: &str = or_unknown(option_env!("ROLEGATE_COMMIT"));

const fn or_unknown(told: Option<&'static str>) -> &'static str {
    match told {
        Some(told) => told,
        None => "unknown",
    }
}

impl Run<'_, '_> {
    pub(super) fn version(&mut self) -> Result<(), Failure> {
        if self.printer.style.json {
            self.printer.json(&json!({ "version": VERSION, "build-date": BUILD_DATE, "commit": COMMIT }));
        } else {
            let row = [VERSION, BUILD_DATE, COMMIT].map(|cell| Some(cell.to_owned())).to_vec();
            let table = Table { headers: vec!["version", "build date", "commit"], rows: vec![row] };
            self.printer.table(&table, "");
        }
        Ok(())
    }

    pub(super) fn help(&mut self) -> Result<(), Failure> {
        let (called, rest) = find(&ROOT, &self.invocation.operands);
        if !rest.is_empty() {
            let topic = self.invocation.operands.join(" ");
            return Err(Failure::Arguments(format!("unknown help topic \"{topic}\"")));
        }
        self.printer.text(&full_help(&called));
        Ok(())
    }

    pub(super) fn completion(&mut self, shell: Shell) -> Result<(), Failure> {
        let described = !self.invocation.switch("no-descriptions");
        self.printer.text(&completion::script(&ROOT, shell, described));
        Ok(())
    }
}
