//! Which server to talk to and with which token: flags before environment before configuration file,
//! field by field, and a token from the first two takes the place of any in the file.

use super::contexts::{ConfigFile, Context};
use super::credential::{Credential, CredentialKind};
use super::failure::Failure;
use super::parse::Invocation;
use super::surroundings::Surroundings;
use crate::cli::client::Trust;
use crate::cli::files::{certificates_of_file, token_of_file};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time limit of a request when none is given.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// The longest time limit of a request.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
const API_PATH_DEFAULT: &str = "/api";
/// Where Kubernetes puts the token of the service account that a pod runs as.
const KUBERNETES_TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A server and how to reach it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The URL as it was given.
    pub(crate) url: String,
    /// Where the API's paths start.
    pub(crate) base: String,
    /// Who the client is.
    pub(crate) credential: Credential,
    /// Who may vouch for the server.
    pub(crate) trust: Trust,
    /// The time limit of one request.
    pub(crate) timeout: Duration,
}

/// What a command line and the environment say about certificates.
pub(crate) struct TrustSettings<'a> {
    /// `--skip-ssl`
    pub(crate) skip: bool,
    /// `--ca-cert-path`
    pub(crate) path: Option<PathBuf>,
    /// `--ca-cert-base64-data`
    pub(crate) data: Option<&'a str>,
}

/// The connection that a command is to use.
///
/// # Errors
/// When the settings do not make one, or a file that they name cannot be read.
pub(crate) fn connection(invocation: &Invocation, env: &Surroundings) -> Result<Connection, Failure> {
    let file = ConfigFile::read(&config_path(invocation, env))?;
    let asked = setting(invocation, "context", env, "STS_CLI_CONTEXT");
    let name = asked.clone().unwrap_or_else(|| file.current());
    let url = setting(invocation, "url", env, "STS_CLI_URL");
    let given = given_credential(invocation, env)?;
    let stored = match file.context(&name) {
        Ok(context) => context,
        // Whoever names everything needs no context, unless he names one.
        Err(_) if !file.exists || asked.is_none() && url.is_some() && given.is_some() => Context::default(),
        Err(not_found) => return Err(not_found),
    };
    let skip = match invocation.has("skip-ssl") {
        true => invocation.switch("skip-ssl"),
        false => env.text("STS_SKIP_SSL").map_or(stored.skip_ssl, |text| is_yes(&text)),
    };
    let data = setting(invocation, "ca-cert-base64-data", env, "STS_CA_CERT_BASE64_DATA")
        .unwrap_or_else(|| stored.ca_cert_base64_data.clone());
    let trust = TrustSettings {
        skip,
        path: path_setting(invocation, "ca-cert-path", env, "STS_CA_CERT_PATH"),
        data: Some(data.as_str()).filter(|data| !data.is_empty()),
    };
    let context = Context {
        url: url.unwrap_or_else(|| stored.url.clone()),
        api_path: env.text("STS_CLI_API_PATH").unwrap_or_else(|| stored.api_path.clone()),
        ..stored
    };
    let credential = match given {
        Some(credential) => Ok(Some(credential)),
        None => stored_credential(&context),
    };
    let credential = match credential {
        Ok(None) => {
            kubernetes_credential(Path::new(KUBERNETES_TOKEN_PATH)).map_or(Ok(None), |it| Ok(Some(it)))
        }
        found => found,
    };
    let problems = |problems: Vec<String>| match file.exists {
        true => not_valid(&name, &problems),
        false => not_loaded(&problems),
    };
    assemble(&context, credential, trust, timeout(invocation, env)?, env, problems)
}

/// The connection of one context alone; the environment has no say in it.
///
/// # Errors
/// When the context does not name a server and one token.
pub(crate) fn context_connection(
    name: &str,
    context: &Context,
    trust: TrustSettings<'_>,
    invocation: &Invocation,
    env: &Surroundings,
) -> Result<Connection, Failure> {
    let credential = stored_credential(context);
    let problems = |problems: Vec<String>| not_valid(name, &problems);
    assemble(context, credential, trust, timeout(invocation, env)?, env, problems)
}

/// Where the configuration file is.
pub(crate) fn config_path(invocation: &Invocation, env: &Surroundings) -> PathBuf {
    if let Some(path) = invocation.text("config").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let home = || env.path("HOME").or_else(std::env::home_dir).unwrap_or_default().join(".config");
    env.path("XDG_CONFIG_HOME").unwrap_or_else(home).join("stackstate-cli").join("config.yaml")
}

/// The URL below which the API's paths stand.
pub(crate) fn api_base(url: &str, api_path: &str) -> String {
    let path = if api_path.is_empty() { API_PATH_DEFAULT } else { api_path };
    format!("{}/{}", url.trim_end_matches('/'), path.trim_start_matches('/')).trim_matches('/').to_owned()
}

/// A flag's text, or else the variable's; an empty one counts as not given.
fn setting(invocation: &Invocation, flag: &str, env: &Surroundings, variable: &str) -> Option<String> {
    let given = invocation.text(flag).filter(|text| !text.is_empty()).map(str::to_owned);
    given.or_else(|| env.text(variable))
}

fn path_setting(invocation: &Invocation, flag: &str, env: &Surroundings, variable: &str) -> Option<PathBuf> {
    let given = invocation.text(flag).filter(|text| !text.is_empty()).map(PathBuf::from);
    given.or_else(|| env.path(variable))
}

fn is_yes(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// The token that flags or environment give.
fn given_credential(invocation: &Invocation, env: &Surroundings) -> Result<Option<Credential>, Failure> {
    let sources = [
        (CredentialKind::ApiToken, "api-token", "STS_CLI_API_TOKEN", None),
        (
            CredentialKind::ServiceToken,
            "service-token",
            "STS_CLI_SERVICE_TOKEN",
            Some(("service-token-file", "STS_CLI_SERVICE_TOKEN_FILE")),
        ),
        (
            CredentialKind::Kubernetes,
            "k8s-sa-token",
            "STS_CLI_K8S_SA_TOKEN",
            Some(("k8s-sa-token-path", "STS_CLI_K8S_SA_TOKEN_PATH")),
        ),
    ];
    let mut found = Vec::new();
    for (kind, flag, variable, file) in sources {
        let text = |name: &str| invocation.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let flag_file = file.and_then(|(flag, _)| text(flag));
        let flag_text = text(flag);
        let (text, path) = if flag_text.is_some() || flag_file.is_some() {
            (flag_text, flag_file.map(PathBuf::from))
        } else {
            (env.text(variable), file.and_then(|(_, variable)| env.path(variable)))
        };
        match (text, path) {
            (Some(_), Some(_)) => {
                return Err(Failure::Settings(format!(
                    "can only specify one of {flag} and {flag} from a file"
                )));
            }
            (Some(text), None) => found.push(Credential::new(kind, &text)),
            (None, Some(path)) => found.push(Credential::new(kind, &token_of_file(&path)?)),
            (None, None) => {}
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(Failure::Settings(ONE_TOKEN.to_owned())),
    }
}

const ONE_TOKEN: &str = "can only specify one of {api-token | service-token | k8s-sa-token}";

/// The token of a context; the error is what is wrong with it.
fn stored_credential(context: &Context) -> Result<Option<Credential>, String> {
    match (context.api_token.as_str(), context.service_token.as_str()) {
        ("", "") => Ok(None),
        (token, "") => Ok(Some(Credential::new(CredentialKind::ApiToken, token))),
        ("", token) => Ok(Some(Credential::new(CredentialKind::ServiceToken, token))),
        _ => Err("Can only specify one of {api-token | service-token}".to_owned()),
    }
}

/// The token that a pod finds at hand, if this is one.
fn kubernetes_credential(path: &Path) -> Option<Credential> {
    token_of_file(path).ok().map(|token| Credential::new(CredentialKind::Kubernetes, &token))
}

/// How long a request may take.
fn timeout(invocation: &Invocation, env: &Surroundings) -> Result<Duration, Failure> {
    let Some(text) = setting(invocation, "timeout", env, "STS_CLI_TIMEOUT") else {
        return Ok(TIMEOUT_DEFAULT);
    };
    let limits = Duration::from_millis(1)..=TIMEOUT_MAX;
    humantime::parse_duration(&text).ok().filter(|time| limits.contains(time)).ok_or_else(|| {
        Failure::Settings(format!("the timeout `{text}` is not a time such as 30s or 2m, up to 1h"))
    })
}

fn assemble(
    context: &Context,
    credential: Result<Option<Credential>, String>,
    trust: TrustSettings<'_>,
    timeout: Duration,
    env: &Surroundings,
    problems_failure: impl Fn(Vec<String>) -> Failure,
) -> Result<Connection, Failure> {
    let mut problems = Vec::new();
    let url = &context.url;
    if url.is_empty() {
        problems.push("Missing field 'url'".to_owned());
    } else if !url.starts_with("http://") && !url.starts_with("https://") {
        problems.push(format!("URL {url} must start with \"https://\" or \"http://\""));
    } else if url.contains(['?', '#']) {
        problems.push(format!("URL {url} must have no query and no fragment"));
    }
    let base = api_base(url, &context.api_path);
    if problems.is_empty()
        && base.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::len)).is_none()
    {
        problems.push(format!("URL {base} names no server"));
    }
    let credential = credential.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    match credential {
        Some(credential) if problems.is_empty() => {
            if http::HeaderValue::from_str(credential.expose()).is_err() {
                let problem = "the token holds characters that cannot be sent, such as a line end";
                return Err(Failure::Settings(problem.to_owned()));
            }
            let trust = trust_of(trust, url.starts_with("https://"), env)?;
            Ok(Connection { url: url.clone(), base, credential, trust, timeout })
        }
        None if !problems.iter().any(|problem| problem.starts_with("Can only")) => {
            problems.push("Missing field '{api-token | service-token | k8s-sa-token}'".to_owned());
            Err(problems_failure(problems))
        }
        _ => Err(problems_failure(problems)),
    }
}

fn trust_of(settings: TrustSettings<'_>, is_https: bool, env: &Surroundings) -> Result<Trust, Failure> {
    if settings.skip {
        return Ok(Trust::Anyone);
    }
    if !is_https {
        return Ok(Trust::Public);
    }
    let path = settings.path.or_else(|| env.path("SSL_CERT_FILE").filter(|_| settings.data.is_none()));
    match (path, settings.data) {
        (Some(path), _) => Ok(Trust::Authorities(certificates_of_file(&path)?)),
        (None, Some(data)) => super::base64::decode(data).map(Trust::Authorities).ok_or_else(|| {
            Failure::Certificates("the certificate authorities given are not base64".to_owned())
        }),
        (None, None) => Ok(Trust::Public),
    }
}

fn not_valid(name: &str, problems: &[String]) -> Failure {
    Failure::Settings(format!("failed to validate the '{name}' context:\n* {}", problems.join("\n* ")))
}

/// What is said when there is no configuration file.
pub(crate) fn not_loaded(problems: &[String]) -> Failure {
    let mut lines = vec!["could not load StackState CLI config".to_owned()];
    lines.extend(problems.iter().map(|problem| format!("* {problem}")));
    lines.push(
        "There is no configuration file yet. `sts context save --help` tells how to make one.".to_owned(),
    );
    Failure::Settings(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_is_url_and_path_with_one_slash_between() {
        for (url, path, base) in [
            ("http://h", "/api", "http://h/api"),
            ("http://h/x/", "zz", "http://h/x/zz"),
            ("http://h///", "//zz//", "http://h/zz"),
            ("http://h", "", "http://h/api"),
            ("http://h:8080/a/b", "/c/d/", "http://h:8080/a/b/c/d"),
        ] {
            assert_eq!(api_base(url, path), base);
        }
    }

    #[test]
    fn a_pods_token_is_found_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(kubernetes_credential(&path).is_none());
        std::fs::write(&path, "eyJ.x.y\n").unwrap();
        let found = kubernetes_credential(&path).unwrap();
        assert_eq!((found.kind, found.expose()), (CredentialKind::Kubernetes, "eyJ.x.y"));
    }

    #[test]
    fn certificates_are_looked_for_with_https_alone() {
        let env = Surroundings::of_vars(&[("SSL_CERT_FILE", "/nonexistent")]);
        let trust = |skip, data| TrustSettings { skip, path: None, data };
        assert_eq!(trust_of(trust(false, None), false, &env).unwrap(), Trust::Public);
        assert_eq!(trust_of(trust(true, None), true, &env).unwrap(), Trust::Anyone);
        assert_eq!(trust_of(trust(false, None), true, &env).unwrap_err().exit_code(), 5);
        let given = trust_of(trust(false, Some("YWJj")), true, &env).unwrap();
        assert_eq!(given, Trust::Authorities(b"abc".to_vec()));
        assert_eq!(trust_of(trust(false, Some("?")), true, &env).unwrap_err().exit_code(), 11);
    }
}
