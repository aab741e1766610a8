//! What the commands do.

mod about;
mod context;
mod service_token;
mod user_session;

use super::client::{Client, ServerInfo};
use super::failure::Failure;
use super::parse::Invocation;
use super::printer::Printer;
use super::settings;
use super::spec::Action;
use super::surroundings::Surroundings;

/// One run of a command.
pub(crate) struct Run<'a, 'b> {
    /// What was asked.
    pub(crate) invocation: &'a Invocation,
    /// Where it was asked.
    pub(crate) env: &'a Surroundings,
    /// Where the answer goes.
    pub(crate) printer: &'a mut Printer<'b>,
}

impl Run<'_, '_> {
    /// Does what the command is for.
    ///
    /// # Errors
    /// Whatever ends the command without success.
    pub(crate) fn execute(&mut self) -> Result<(), Failure> {
        match self.invocation.called.command.action {
            Action::Group => Ok(()),
            Action::Help => self.help(),
            Action::Completion(shell) => self.completion(shell),
            Action::TokenCreate => self.create_token(),
            Action::TokenList => self.list_tokens(),
            Action::TokenDelete => self.delete_token(),
            Action::TokenDescribe => self.describe_token(),
            Action::TokenDisable => self.switch_token(false),
            Action::TokenEnable => self.switch_token(true),
            Action::TokenRotate => self.rotate_token(),
            Action::TokenUpdate => self.update_token(),
            Action::ContextSave => self.save_context(),
            Action::ContextList => self.list_contexts(),
            Action::ContextShow => self.show_context(),
            Action::ContextSet => self.set_context(),
            Action::ContextValidate => self.validate_context(),
            Action::ContextDelete => self.delete_context(),
            Action::SessionRoles => self.session_roles(),
            Action::Version => self.version(),
        }
    }

    /// A client for the server that the settings name, after the server has answered.
    fn connected(&mut self) -> Result<Client, Failure> {
        self.introduced().map(|(client, _)| client)
    }

    fn introduced(&mut self) -> Result<(Client, ServerInfo), Failure> {
        let connection = settings::connection(self.invocation, self.env)?;
        let client = Client::new(connection, self.traces(), self.env)?;
        let info = client.connect(self.printer)?;
        Ok((client, info))
    }

    fn traces(&self) -> bool {
        self.invocation.count("verbose") > 0
    }
}
