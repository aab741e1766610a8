//! Talks to the server: one question about the server first, then the request itself.

use super::failure::{Failure, ServerBody};
use super::printer::{Printer, compact_json, shortened};
use super::proxy::proxy_for;
use super::settings::{Connection, Trust};
use super::surroundings::Surroundings;
use super::version::{MINIMUM, ServerVersion};
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// The largest answer that is read, in bytes.
pub(crate) const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("rolegate-sts/", env!("CARGO_PKG_VERSION"));
/// What an answer of another type than JSON is called.
const NOT_JSON: &str = "undefined response type";

/// A client of one server.
pub(crate) struct Client {
    agent: ureq::Agent,
    connection: Connection,
    trace: bool,
}

/// What a server says of itself.
pub(crate) struct ServerInfo {
    /// Its version.
    pub(crate) version: ServerVersion,
    /// The version of the platform that it is part of.
    pub(crate) platform_version: Option<String>,
    /// All of it, as it was sent.
    pub(crate) json: Value,
}

/// An answer.
pub(crate) struct Answer {
    status: StatusCode,
    content_type: String,
    /// Where a redirect leads.
    location: Option<String>,
    /// In how many seconds to ask again.
    retry_after_secs: Option<u64>,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAnswer(String);

impl Client {
    /// A client for this connection. With `trace` it tells of each request on standard error.
    ///
    /// # Errors
    /// When the certificate authorities or the proxy given cannot be used.
    pub(crate) fn new(connection: Connection, trace: bool, env: &Surroundings) -> Result<Self, Failure> {
        let uri: http::Uri =
            connection.base.parse().map_err(|_| Failure::Settings("the URL cannot be read".to_owned()))?;
        let proxy = proxy_for(uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default(), env)
            .map(|proxy| ureq::Proxy::new(&proxy))
            .transpose()
            .map_err(|_| Failure::Settings("the proxy of the environment is no URL".to_owned()))?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A token must not follow a redirect to wherever it leads.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(connection.timeout)))
            .timeout_global(Some(connection.timeout))
            .proxy(proxy)
            .tls_config(tls_config(&connection.trust)?)
            .user_agent(USER_AGENT)
            .accept("application/json")
            .build();
        Ok(Self { agent: config.into(), connection, trace })
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
        Ok(ServerInfo { version, platform_version, json })
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
        let answer = self.send(method, path, body, printer).map_err(|error| Failure::Response {
            text: format!("no answer from {}: {error}", without_password(&self.connection.base)),
            body: None,
        })?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status_line();
        let (text, body) = match answer.error_body() {
            Some(body) => (status, Some(body)),
            None if answer.body.is_empty() => (status, None),
            None => (format!("{status} ({NOT_JSON})"), None),
        };
        Err(Failure::Response { text, body })
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
        let mut token = HeaderValue::from_str(credential.expose())
            .map_err(|_| NoAnswer("the token cannot be sent".to_owned()))?;
        token.set_sensitive(true);
        let mut request = Request::builder().method(method).uri(&uri).header(credential.kind.header(), token);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let malformed = |_| NoAnswer("the URL cannot be read".to_owned());
        let sent = match body {
            Some(body) => self.agent.run(request.body(compact_json(body)).map_err(malformed)?),
            None => self.agent.run(request.body(()).map_err(malformed)?),
        };
        let mut response = sent.map_err(|error| NoAnswer(describe(&error)))?;
        let text_of = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let content_type = text_of(header::CONTENT_TYPE).unwrap_or_default();
        let location = text_of(header::LOCATION);
        // A date in its place is not shown: the status says enough.
        let retry_after_secs = text_of(header::RETRY_AFTER).and_then(|secs| secs.parse().ok());
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_vec();
        let body = body.map_err(|error| NoAnswer(describe(&error)))?;
        if self.trace {
            let size = body.len();
            printer.remark(&format!("< {} ({content_type}, {size} bytes)", status_line(status)));
        }
        Ok(Answer { status, content_type, location, retry_after_secs, body })
    }
}

impl Answer {
    /// What the answer says, in JSON. The error is what is wrong with it, without quoting it: an answer
    /// can hold a new token.
    ///
    /// # Errors
    /// When it is not JSON, or not of this shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.body.is_empty() {
            return Err("unexpected end of JSON input".to_owned());
        }
        if !is_json(&self.content_type) {
            return Err(match self.content_type.as_str() {
                "" => NOT_JSON.to_owned(),
                other => format!("{NOT_JSON}: the server sent `{other}` where JSON was expected"),
            });
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            match error.classify() {
                serde_json::error::Category::Eof => "unexpected end of JSON input".to_owned(),
                serde_json::error::Category::Data => {
                    format!(
                        "the server's answer has another shape than expected at line {line}, column {column}"
                    )
                }
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                    format!("the server's answer is not JSON at line {line}, column {column}")
                }
            }
        })
    }

    /// The same for the answer to a request: a failure of that request.
    ///
    /// # Errors
    /// When it is not JSON, or not of this shape.
    pub(crate) fn result<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.json().map_err(|text| Failure::Response { text, body: None })
    }

    /// The status, and for a redirect where it leads, which is not followed, or for a limit when to come back.
    fn status_line(&self) -> String {
        if let (StatusCode::TOO_MANY_REQUESTS, Some(secs)) = (self.status, self.retry_after_secs) {
            let unit = if secs == 1 { "second" } else { "seconds" };
            return format!("{}, try again in {secs} {unit}", status_line(self.status));
        }
        match &self.location {
            Some(location) if self.status.is_redirection() => {
                format!("{}, not followed to {}", status_line(self.status), without_password(location))
            }
            _ => status_line(self.status),
        }
    }

    /// The body of an error, where it is one that can be shown.
    fn error_body(&self) -> Option<ServerBody> {
        if is_json(&self.content_type) {
            return serde_json::from_slice(&self.body).ok().map(ServerBody::Json);
        }
        let is_text = mime_type(&self.content_type) == "text/plain" && !self.body.is_empty();
        is_text.then(|| ServerBody::Text(String::from_utf8_lossy(&self.body).into_owned()))
    }

    /// The messages of an error in the server's own form.
    fn error_messages(&self) -> Option<String> {
        let Some(ServerBody::Json(body)) = self.error_body() else { return None };
        let errors = body.get("errors")?.as_array()?;
        let messages: Vec<&str> = errors.iter().filter_map(|error| error.get("message")?.as_str()).collect();
        (!messages.is_empty()).then(|| messages.join(", "))
    }
}

/// `application/json`, `text/json` and vendors' forms of both, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let mime_type = mime_type(content_type);
    let subtype = mime_type.strip_prefix("application/").or_else(|| mime_type.strip_prefix("text/"));
    subtype.is_some_and(|it| it == "json" || it.starts_with("vnd.") && it.ends_with("+json"))
}

fn mime_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn status_line(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// A URL without the user and password that it may hold.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => url.to_owned(),
    }
}

fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BodyExceedsLimit(_) => {
            format!("the answer is larger than {} MiB", ANSWER_MAX_BYTES / 1024 / 1024)
        }
        ureq::Error::HostNotFound => "the host name is not known".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time (`--timeout` sets the limit)".to_owned(),
        ureq::Error::Rustls(cause) => no_trust(cause),
        // What the TLS library says in the middle of a connection comes as a fault of reading.
        ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => no_trust(cause),
        ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".to_owned()
        }
        ureq::Error::Io(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

fn no_trust(cause: &dyn std::error::Error) -> String {
    format!("the TLS connection failed: {cause} (`--ca-cert-path` says whom to trust)")
}

fn tls_config(trust: &Trust) -> Result<TlsConfig, Failure> {
    let config = TlsConfig::builder();
    let config = match trust {
        Trust::Public => config,
        Trust::Anyone => config.disable_verification(true),
        Trust::Authorities(pem) => {
            let broken = || Failure::Certificates("the certificate authorities given are not PEM".to_owned());
            let mut certificates: Vec<Certificate<'static>> = Vec::new();
            for item in ureq::tls::parse_pem(pem) {
                if let PemItem::Certificate(certificate) = item.map_err(|_| broken())? {
                    certificates.push(certificate);
                }
            }
            if certificates.is_empty() {
                return Err(broken());
            }
            config.root_certs(RootCerts::from(certificates))
        }
    };
    Ok(config.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_type() {
        for yes in
            ["application/json", "text/json", "application/json; charset=utf-8", "Application/vnd.x.v1+json"]
        {
            assert!(is_json(yes), "{yes}");
        }
        for no in ["", "text/html", "application/jsonx", "text/plain", "application/vnd.x", "image/json"] {
            assert!(!is_json(no), "{no}");
        }
    }

    #[test]
    fn passwords_in_urls_are_not_shown() {
        assert_eq!(without_password("https://u:p@h:1/x@y"), "https://…@h:1/x@y");
        assert_eq!(without_password("https://h/x@y"), "https://h/x@y");
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let failure = tls_config(&Trust::Authorities(b"nothing".to_vec())).err().unwrap();
        assert_eq!(failure.exit_code(), 11);
        assert!(tls_config(&Trust::Public).is_ok() && tls_config(&Trust::Anyone).is_ok());
    }
}
