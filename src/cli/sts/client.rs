//! Talks to the server: one question about the server first, then the request itself.

use super::failure::{Failure, ServerBody};
use super::printer::{Printer, compact_json, shortened};
use super::settings::Connection;
use super::surroundings::Surroundings;
use super::version::{MINIMUM, ServerVersion};
use crate::cli::client::{
    Answer, HttpClient, NOT_JSON, NoAnswer, Reach, SetupError, status_line, without_password,
};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

const USER_AGENT: &str = concat!("rolegate-sts/", env!("CARGO_PKG_VERSION"));

/// What every answer of rolegate has, and no other server's.
pub(crate) const OF_ROLEGATE: &str = "x-rolegate-policy";

/// A client of one server.
pub(crate) struct Client {
    http: HttpClient,
    connection: Connection,
    trace: bool,
}

/// What a server says of itself.
pub(crate) struct ServerInfo {
    /// Its version.
    pub(crate) version: ServerVersion,
    /// The version of the platform that it is part of.
    pub(crate) platform_version: Option<String>,
    /// Whether it is rolegate, which has more than the contract.
    pub(crate) is_rolegate: bool,
    /// All of it, as it was sent.
    pub(crate) json: Value,
}

impl Client {
    /// A client for this connection. With `trace` it tells of each request on standard error.
    ///
    /// # Errors
    /// When the certificate authorities or the proxy given cannot be used.
    pub(crate) fn new(connection: Connection, trace: bool, env: &Surroundings) -> Result<Self, Failure> {
        let Connection { base, trust, timeout, .. } = &connection;
        let env = &|name: &str| env.text(name);
        let reach = Reach { base, trust, timeout: *timeout, user_agent: USER_AGENT, env };
        let http = HttpClient::new(&reach)?;
        Ok(Self { http, connection, trace })
    }

    /// The URL that the user gave, fit to be shown.
    pub(crate) fn url(&self) -> String {
        without_password(&self.connection.url)
    }

    /// Asks the server what it is, and refuses one that is too old.
    ///
    /// # Errors
    /// When it does not answer, does not let the client in, or is too old.
    pub(crate) fn connect(&self, printer: &mut Printer<'_>) -> Result<ServerInfo, Failure> {
        let base = without_password(&self.connection.base);
        let failed = |reason: &str, body| Failure::Connect {
            text: format!("could not connect to {base} {reason}"),
            body,
        };
        let answer = self
            .send(&Method::GET, "/server/info", None, printer)
            .map_err(|error| failed(&format!("due to {error}"), None))?;
        if !answer.status.is_success() {
            return Err(self.refused_connection(&base, &answer));
        }
        let json: Value = answer.json().map_err(|reason| failed(&format!("({reason})"), None))?;
        let read = (json.is_object())
            .then(|| {
                let version = match json.get("version") {
                    None | Some(Value::Null) => ServerVersion::default(),
                    Some(version) => serde_json::from_value(version.clone()).ok()?,
                };
                let platform = json.get("platformVersion").and_then(Value::as_str).map(str::to_owned);
                Some((version, platform))
            })
            .flatten();
        let Some((version, platform_version)) = read else {
            return Err(failed("(the answer does not tell the server's version)", None));
        };
        if !version.is_supported() {
            return Err(Failure::ApiVersion { got: version.text(), need: MINIMUM });
        }
        let is_rolegate = answer.header(OF_ROLEGATE).is_some();
        Ok(ServerInfo { version, platform_version, is_rolegate, json })
    }

    /// Sends a request to the API.
    ///
    /// # Errors
    /// When there is no answer, or it is not a success.
    pub(crate) fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        printer: &mut Printer<'_>,
    ) -> Result<Answer, Failure> {
        self.ask(method, path, body, printer)?.success()
    }

    /// The same; an answer that is no success is an answer, too.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        printer: &mut Printer<'_>,
    ) -> Result<Answer, Failure> {
        self.send(method, path, body, printer).map_err(|error| Failure::Response {
            text: format!("no answer from {}: {error}", without_password(&self.connection.base)),
            body: None,
        })
    }

    fn refused_connection(&self, base: &str, answer: &Answer) -> Failure {
        let raw = shortened(&String::from_utf8_lossy(&answer.body));
        let text = if answer.status == StatusCode::UNAUTHORIZED {
            let reason = answer.error_messages().unwrap_or(raw);
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            format!(
                "authentication failed when connecting to {base}{reason}\n\
                 The token may be mistyped, expired or deleted. `sts context save --help` tells how to save another."
            )
        } else {
            let reason = match answer.error_messages() {
                Some(messages) if answer.status == StatusCode::TOO_MANY_REQUESTS => messages,
                _ => raw,
            };
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            format!("could not connect to {base} ({}){reason}", answer.status_line())
        };
        Failure::Connect { text, body: answer.error_body() }
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        printer: &mut Printer<'_>,
    ) -> Result<Answer, NoAnswer> {
        let credential = &self.connection.credential;
        let uri = format!("{}{path}", self.connection.base);
        if self.trace {
            printer.remark(&format!("> {method} {}", without_password(&uri)));
            printer.remark(&format!("> {}: (not shown)", credential.kind.header()));
        }
        let token = (credential.kind.header(), credential.expose());
        let answer = self.http.send(method, &uri, token, body.map(compact_json))?;
        if self.trace {
            let (status, size) = (status_line(answer.status), answer.body.len());
            printer.remark(&format!("< {status} ({}, {size} bytes)", answer.content_type()));
        }
        Ok(answer)
    }
}

impl Answer {
    /// The answer, if it is a success.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn success(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let status = self.status_line();
        let (text, body) = match self.error_body() {
            Some(body) => (status, Some(body)),
            None if self.body.is_empty() => (status, None),
            None => (format!("{status} ({NOT_JSON})"), None),
        };
        Err(Failure::Response { text, body })
    }

    /// The same for the answer to a request: a failure of that request.
    ///
    /// # Errors
    /// When it is not JSON, or not of this shape.
    pub(crate) fn result<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.json().map_err(|text| Failure::Response { text, body: None })
    }

    /// The body of an error, where it is one that can be shown.
    fn error_body(&self) -> Option<ServerBody> {
        if self.is_json() {
            return serde_json::from_slice(&self.body).ok().map(ServerBody::Json);
        }
        let is_text = self.mime_type() == "text/plain" && !self.body.is_empty();
        is_text.then(|| ServerBody::Text(String::from_utf8_lossy(&self.body).into_owned()))
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Url | SetupError::Proxy => Self::Settings(error.to_string()),
            SetupError::Certificates => Self::Certificates(error.to_string()),
        }
    }
}
