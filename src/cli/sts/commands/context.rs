//! `context save`, `list`, `show`, `set`, `validate` and `delete`.

use super::Run;
use crate::cli::files::{certificates_of_file, token_of_file};
use crate::cli::sts::base64;
use crate::cli::sts::client::{Client, ServerInfo};
use crate::cli::sts::contexts::{ConfigFile, Context};
use crate::cli::sts::failure::Failure;
use crate::cli::sts::settings::{self, TrustSettings};
use crate::cli::sts::table::{Table, visible};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

impl Run<'_, '_> {
    pub(super) fn save_context(&mut self) -> Result<(), Failure> {
        let args = self.invocation;
        let name = args.text("name").unwrap_or("default");
        // A file that cannot be read stays as it is: the contexts in it may be all that there is.
        let mut file = self.config_file()?;
        let context = self.context_to_save()?;
        let trust = TrustSettings {
            skip: context.skip_ssl,
            path: None,
            data: Some(context.ca_cert_base64_data.as_str()).filter(|data| !data.is_empty()),
        };
        let connection = settings::context_connection(name, &context, trust, args, self.env)?;
        if !args.switch("skip-validate") {
            self.verify(Client::new(connection, self.traces(), self.env)?)?;
        }
        file.save(name, &context);
        file.write()?;
        if self.printer.style.json {
            self.printer.json(&json!({ "context": context.to_json(), "current-context": name }));
        } else {
            self.printer.success(&format!("saved context: '{}'", visible(name)));
        }
        Ok(())
    }

    pub(super) fn list_contexts(&mut self) -> Result<(), Failure> {
        let contexts = self.existing_file()?.contexts();
        if self.printer.style.json {
            let entry =
                |(name, context): &(String, Context)| json!({ "name": name, "context": context.to_json() });
            let contexts: Vec<Value> = contexts.iter().map(entry).collect();
            self.printer.json(&json!({ "contexts": contexts }));
        } else {
            let rows = contexts.into_iter().map(|(name, context)| vec![Some(name), Some(context.url)]);
            let table = Table { headers: vec!["name", "url"], rows: rows.collect() };
            self.printer.table(&table, "No contexts found.");
        }
        Ok(())
    }

    pub(super) fn show_context(&mut self) -> Result<(), Failure> {
        let file = self.existing_file()?;
        let name = file.current();
        let context = file.context(&name)?;
        if self.printer.style.json {
            self.printer.json(&json!({ "current-context": context.to_json(), "name": name }));
        } else {
            self.printer.text(&format!("{}\n", visible(&name)));
        }
        Ok(())
    }

    pub(super) fn set_context(&mut self) -> Result<(), Failure> {
        let name = self.invocation.text("name").unwrap_or_default();
        let mut file = self.existing_file()?;
        file.set_current(name)?;
        file.write()?;
        if self.printer.style.json {
            self.printer.json(&json!({ "current-context": name }));
        } else {
            self.printer.text(&format!("Current context set to {}\n", visible(name)));
        }
        Ok(())
    }

    pub(super) fn validate_context(&mut self) -> Result<(), Failure> {
        let file = self.existing_file()?;
        let name = match self.invocation.text("name") {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => file.current(),
        };
        let context = file.context(&name)?;
        let trust = TrustSettings {
            skip: context.skip_ssl,
            path: None,
            data: Some(context.ca_cert_base64_data.as_str()).filter(|data| !data.is_empty()),
        };
        let connection = settings::context_connection(&name, &context, trust, self.invocation, self.env)?;
        let info = self.verify(Client::new(connection, self.traces(), self.env)?)?;
        if self.printer.style.json {
            self.printer.json(&json!({ "connected": true, "context": name, "server-info": info.json }));
        } else {
            self.printer.success(&format!("context {} is valid.\n", visible(&name)));
        }
        Ok(())
    }

    pub(super) fn delete_context(&mut self) -> Result<(), Failure> {
        let name = self.invocation.text("name").unwrap_or_default();
        let mut file = self.existing_file()?;
        file.delete(name)?;
        file.write()?;
        if self.printer.style.json {
            self.printer.json(&json!({ "deleted context": name }));
        } else {
            self.printer.success(&format!("deleted context '{}'\n", visible(name)));
        }
        Ok(())
    }

    /// The context that the flags describe. The environment has no part in it, but for the file that the
    /// token is in.
    fn context_to_save(&self) -> Result<Context, Failure> {
        let text = |flag: &str| self.invocation.text(flag).unwrap_or_default().to_owned();
        let token_file = match self.invocation.text("service-token-file") {
            Some(path) => Some(PathBuf::from(path)),
            None if self.invocation.has("api-token") || self.invocation.has("service-token") => None,
            None => self.env.path("STS_CLI_SERVICE_TOKEN_FILE"),
        };
        let service_token = match &token_file {
            Some(path) => token_of_file(path)?.as_str().to_owned(),
            None => text("service-token"),
        };
        let skip_ssl = self.invocation.switch("skip-ssl");
        let ca_cert_base64_data = match text("ca-cert-path").as_str() {
            _ if skip_ssl => String::new(),
            "" => text("ca-cert-base64-data"),
            path => base64::encode(&certificates_of_file(Path::new(path))?),
        };
        Ok(Context {
            url: text("url"),
            api_token: text("api-token"),
            service_token,
            api_path: self.invocation.text("api-path").unwrap_or("/api").to_owned(),
            skip_ssl,
            ca_cert_base64_data,
        })
    }

    /// Connects, and says so.
    fn verify(&mut self, client: Client) -> Result<ServerInfo, Failure> {
        let info = client.connect(self.printer)?;
        if !self.printer.style.json {
            let version = match &info.platform_version {
                Some(version) => format!("Platform version: {version}"),
                None => format!("StackState version: {}", info.version.text()),
            };
            self.printer.success(&format!("connection verified to {} ({})", client.url(), visible(&version)));
        }
        Ok(info)
    }

    fn config_file(&self) -> Result<ConfigFile, Failure> {
        ConfigFile::read(&settings::config_path(self.invocation, self.env))
    }

    fn existing_file(&self) -> Result<ConfigFile, Failure> {
        let file = self.config_file()?;
        if file.exists { Ok(file) } else { Err(settings::not_loaded(&[])) }
    }
}
