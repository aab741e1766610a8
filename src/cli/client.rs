//! An HTTP client of one server, as both programs need it: one token, no redirects, a limit on everything.

mod proxy;

use http::header::AsHeaderName;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use proxy::proxy_for;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// The largest answer that is read, in bytes.
pub(crate) const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What an answer of another type than JSON is called.
pub(crate) const NOT_JSON: &str = "undefined response type";

/// The variables of the environment, as texts; an empty one counts as not set.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A client of one server.
pub(crate) struct HttpClient(ureq::Agent);

/// How to reach a server.
pub(crate) struct Reach<'a> {
    /// Where the paths start.
    pub(crate) base: &'a str,
    /// Who may vouch for the server.
    pub(crate) trust: &'a Trust,
    /// The time limit of one request.
    pub(crate) timeout: Duration,
    /// What the client calls itself.
    pub(crate) user_agent: &'static str,
    /// What names the proxies.
    pub(crate) env: Variables<'a>,
}

/// Who may vouch for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The certificate authorities that browsers know.
    Public,
    /// These certificate authorities, in PEM.
    Authorities(Vec<u8>),
    /// Nobody need.
    Anyone,
}

/// Why no request can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetupError {
    /// The address is none.
    #[error("the URL cannot be read")]
    Url,
    /// The environment names a proxy that is none.
    #[error("the proxy of the environment is no URL")]
    Proxy,
    /// The certificates are none.
    #[error("the certificate authorities given are not PEM")]
    Certificates,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoAnswer(String);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl HttpClient {
    /// A client for a server.
    ///
    /// # Errors
    /// When the address, the certificate authorities or the proxy cannot be used.
    pub(crate) fn new(reach: &Reach<'_>) -> Result<Self, SetupError> {
        let uri: http::Uri = reach.base.parse().map_err(|_| SetupError::Url)?;
        let proxy =
            proxy_for(uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default(), reach.env)
                .map(|proxy| ureq::Proxy::new(&proxy))
                .transpose()
                .map_err(|_| SetupError::Proxy)?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A token must not follow a redirect to wherever it leads.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(reach.timeout)))
            .timeout_global(Some(reach.timeout))
            .proxy(proxy)
            .tls_config(tls_config(reach.trust)?)
            .user_agent(reach.user_agent)
            .accept("application/json")
            .build();
        Ok(Self(config.into()))
    }

    /// Sends a request with a token in this header, and with a body in JSON where there is one.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) fn send(
        &self,
        method: &Method,
        uri: &str,
        (name, token): (&'static str, &str),
        body: Option<String>,
    ) -> Result<Answer, NoAnswer> {
        let mut token =
            HeaderValue::from_str(token).map_err(|_| NoAnswer("the token cannot be sent".to_owned()))?;
        token.set_sensitive(true);
        let mut request = Request::builder().method(method).uri(uri).header(name, token);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let malformed = |_| NoAnswer("the URL cannot be read".to_owned());
        let sent = match body {
            Some(body) => self.0.run(request.body(body).map_err(malformed)?),
            None => self.0.run(request.body(()).map_err(malformed)?),
        };
        let mut response = sent.map_err(|error| NoAnswer(describe(&error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_vec();
        let body = body.map_err(|error| NoAnswer(describe(&error)))?;
        Ok(Answer { status, headers, body })
    }
}

impl Answer {
    /// The text of a header that it has.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What its body says that it is.
    pub(crate) fn content_type(&self) -> &str {
        self.header(header::CONTENT_TYPE).unwrap_or_default()
    }

    /// What the answer says, in JSON. The error is what is wrong with it, without quoting it: an answer
    /// can hold a new token.
    ///
    /// # Errors
    /// When it is not JSON, or not of this shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.body.is_empty() {
            return Err("unexpected end of JSON input".to_owned());
        }
        if !self.is_json() {
            return Err(match self.content_type() {
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

    /// The status, and for a redirect where it leads, which is not followed, or for a limit when to come back.
    pub(crate) fn status_line(&self) -> String {
        // A date in its place is not shown: the status says enough.
        let retry_after_secs = self.header(header::RETRY_AFTER).and_then(|secs| secs.parse::<u64>().ok());
        if let (StatusCode::TOO_MANY_REQUESTS, Some(secs)) = (self.status, retry_after_secs) {
            let unit = if secs == 1 { "second" } else { "seconds" };
            return format!("{}, try again in {secs} {unit}", status_line(self.status));
        }
        match self.header(header::LOCATION) {
            Some(location) if self.status.is_redirection() => {
                format!("{}, not followed to {}", status_line(self.status), without_password(location))
            }
            _ => status_line(self.status),
        }
    }

    /// The messages of an error in the server's own form.
    pub(crate) fn error_messages(&self) -> Option<String> {
        let body: Value = self.is_json().then(|| serde_json::from_slice(&self.body).ok())??;
        let errors = body.get("errors")?.as_array()?;
        let messages: Vec<&str> = errors.iter().filter_map(|error| error.get("message")?.as_str()).collect();
        (!messages.is_empty()).then(|| messages.join(", "))
    }

    /// Whether it says that it is JSON.
    pub(crate) fn is_json(&self) -> bool {
        is_json(self.content_type())
    }

    /// The type of its body, without parameters.
    pub(crate) fn mime_type(&self) -> String {
        mime_type(self.content_type())
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

/// A status in words.
pub(crate) fn status_line(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// A URL without the user and password that it may hold.
pub(crate) fn without_password(url: &str) -> String {
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

fn tls_config(trust: &Trust) -> Result<TlsConfig, SetupError> {
    let config = TlsConfig::builder();
    let config = match trust {
        Trust::Public => config,
        Trust::Anyone => config.disable_verification(true),
        Trust::Authorities(pem) => {
            let broken = || SetupError::Certificates;
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
        let error = tls_config(&Trust::Authorities(b"nothing".to_vec())).err().unwrap();
        assert_eq!(error, SetupError::Certificates);
        assert!(tls_config(&Trust::Public).is_ok() && tls_config(&Trust::Anyone).is_ok());
    }
}
