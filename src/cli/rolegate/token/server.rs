//! The running server that a command on tokens asks, instead of the store that the server keeps open.

use super::super::settings::Surroundings;
use super::Failure;
use crate::cli::client::{Answer, HttpClient, Reach, Trust, without_password};
use crate::cli::files::{certificates_of_file, token_of_file};
use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

const USER_AGENT: &str = concat!("rolegate/", env!("CARGO_PKG_VERSION"));
const TOKEN_HEADER: &str = "X-API-Key";
/// The longest time limit of a request.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Which server, and who asks it.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Ask the running server at this URL, such as https://rolegate.example.com
    #[arg(long, value_name = "URL", requires = "service_token_file", conflicts_with = "files")]
    url: Option<String>,
    /// The file that holds the service token to ask it with, or `-` for standard input
    #[arg(long, value_name = "FILE", requires = "url")]
    service_token_file: Option<PathBuf>,
    /// The certificate authorities that may vouch for it, as a file in PEM, instead of those that browsers know
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_cert_path: Option<PathBuf>,
    /// How long one request to it may take
    #[arg(long, value_name = "TIME", requires = "url", default_value = "60s", value_parser = timeout)]
    timeout: Duration,
}

/// A server that can be asked.
pub(super) struct Server {
    http: HttpClient,
    base: String,
    token: Zeroizing<String>,
}

impl ServerArguments {
    /// Whether the token is read from standard input.
    pub(super) fn takes_standard_input(&self) -> bool {
        self.service_token_file.as_ref().is_some_and(|file| file.as_os_str() == "-")
    }

    /// The server, when one is named.
    pub(super) fn server(&self, surroundings: &Surroundings) -> Result<Option<Server>, Failure> {
        let (Some(url), Some(file)) = (&self.url, &self.service_token_file) else { return Ok(None) };
        let token = token_of_file(file)?;
        let trust = match &self.ca_cert_path {
            Some(path) => Trust::Authorities(certificates_of_file(path)?),
            None => Trust::Public,
        };
        let base = url.trim_end_matches('/').to_owned();
        let env = &|name: &str| surroundings.variables.get(name).ok().map(str::to_owned);
        let reach = Reach { base: &base, trust: &trust, timeout: self.timeout, user_agent: USER_AGENT, env };
        let http = HttpClient::new(&reach).map_err(|error| Failure::Server(error.to_string()))?;
        Ok(Some(Server { http, base, token }))
    }
}

impl Server {
    /// Sends a request, and returns the answer when it is a success.
    pub(super) fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let shown = without_password(&self.base);
        let token = (TOKEN_HEADER, self.token.as_str());
        let sent = self.http.send(method, &format!("{}{path}", self.base), token, body.map(Value::to_string));
        let answer = sent.map_err(|error| Failure::Server(format!("no answer from {shown}: {error}")))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let reason = match answer.error_messages() {
            _ if answer.status == StatusCode::UNAUTHORIZED => {
                ": the token of `--service-token-file` is not live there".to_owned()
            }
            Some(messages) => format!(": {messages}"),
            None => String::new(),
        };
        Err(Failure::Server(format!("{shown} answers {}{reason}", answer.status_line())))
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero() && *time <= TIMEOUT_MAX);
    time.ok_or_else(|| "write a time of up to an hour, such as `30s` or `2m`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limit_is_more_than_nothing_and_at_most_an_hour() {
        assert_eq!(timeout("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(timeout("1h"), Ok(TIMEOUT_MAX));
        for text in ["0s", "1h 1ms", "30", "-1s", ""] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }
}
