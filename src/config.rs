//! The configuration: YAML files laid over each other, environment variables and arguments on top, and
//! a resolved [`Config`] or every problem with its place.

mod check;
mod decision_log;
mod declared;
mod duration;
mod error;
mod files;
mod forward_auth;
mod keys;
mod node;
mod place;
mod provide;
mod reader;
mod rolegate;
mod scan;
mod secret;
mod stackstate;
mod transport;
mod value;

pub use duration::{
    DURATION_MAX, DURATION_MAX_BYTES, DURATION_MAX_DIGITS, DurationError, describe, parse_duration,
};
pub use error::{ConfigError, ConfigErrors, Notice, PROBLEMS_MAX, Problem, Warning};
pub use files::{Contents, VariableError, Variables, read};
pub use forward_auth::FORWARD_AUTH_PATH_MAX_BYTES;
pub use keys::{
    CUSTOM_ROLES_MAX, DECLARED_TOKENS_MAX, FILES_VARIABLE, KEYS, Key, Kind, LIST_MAX_ITEMS, LOGGED_NAMES_MAX,
    SAMPLED_RULES_MAX, VARIABLE_PREFIX, size,
};
pub use place::{Located, Origin, Place};
pub use scan::{DEPTH_MAX, FILE_MAX_BYTES, KEY_MAX_BYTES, NODES_MAX};
pub use secret::{PUBLISHED_TOKEN, SECRET_FILE_MAX_BYTES, SECRET_MIN_BITS};
pub use transport::TLS_FILE_MAX_BYTES;
pub use value::{PARAMETER_MAX_BYTES, PATH_MAX_BYTES, PERMISSION_MAX_BYTES, RULE_MAX_BYTES};

pub use crate::network::{NETWORKS_MAX, Network, NetworkError, Networks, TooManyNetworks};
pub use crate::public_url::{PublicUrl, PublicUrlError};

use crate::policy;
use crate::time::Timestamp;
use crate::token::{RoleName, SecretKind, TokenDigest};
use http::HeaderName;
use node::Node;
use reader::Reader;
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The most files of one configuration.
pub const FILES_MAX: usize = 32;

/// The configuration, resolved. It holds digests of tokens and no secret.
#[derive(Debug)]
pub struct Config {
    /// Where the server listens.
    pub listen: Located<SocketAddr>,
    /// The files of TLS; `None` when none is spoken.
    pub tls: Option<TlsFiles>,
    /// Where HTTP/2 is served: `off`, `tls` or `always`.
    pub http2: Located<&'static str>,
    /// Who begins each connection with a header of the PROXY protocol.
    pub proxy_protocol: Networks,
    /// The address under which clients know the server; `None` when it is not said.
    pub public_url: Option<Located<PublicUrl>>,
    /// The folder of the token store.
    pub data_dir: Located<PathBuf>,
    /// The file of the audit log.
    pub audit_file: Located<PathBuf>,
    /// How the audit log is kept.
    pub audit: AuditSettings,
    /// The policy files, and folders of them.
    pub policies: Vec<Located<PathBuf>>,
    /// Policies that decide beside those, and never instead.
    pub shadow_policies: Vec<Located<PathBuf>>,
    /// Whether policies are loaded anew when their files change.
    pub watch_policies: Located<bool>,
    /// What the policies may use while they are loaded.
    pub policy_limits: policy::Limits,
    /// Whether a reload that opens a route is refused: `off` or `refuse-gains`.
    pub reload_guard: Located<&'static str>,
    /// Whether answers name the version of the policies.
    pub policy_version_header: Located<bool>,
    /// The log.
    pub log: Log,
    /// The log of decisions; `None` when there is none.
    pub decision_log: Option<DecisionLog>,
    /// Where proxies ask; `None` when they cannot.
    pub forward_auth: Option<ForwardAuth>,
    /// What the server allows a client.
    pub limits: Limits,
    /// Other names for predefined roles.
    pub aliases: Vec<Alias>,
    /// Roles of the operator's own.
    pub custom_roles: Vec<CustomRole>,
    /// The bootstrap token.
    pub bootstrap: Option<Bootstrap>,
    /// Tokens declared by their digest.
    pub tokens: Vec<DeclaredToken>,
    /// What is accepted, and should not go unsaid.
    pub warnings: Vec<Warning>,
    /// Every value with where it came from, for people to read.
    pub settings: Vec<Setting>,
}

/// How the audit log is kept.
#[derive(Debug)]
pub struct AuditSettings {
    /// What becomes of a change whose entry cannot be written: `strict` or `best-effort`.
    pub mode: Located<&'static str>,
    /// The most bytes of a file.
    pub max_bytes: usize,
}

/// The files of TLS, all in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub certificate: Located<PathBuf>,
    /// The private key.
    pub key: Located<PathBuf>,
    /// Whether clients bring a certificate, `optional` or `required`, and the authorities that vouch for them.
    pub clients: Option<(&'static str, Located<PathBuf>)>,
}

/// How the log is written.
#[derive(Debug)]
pub struct Log {
    /// `text` or `json`.
    pub format: Located<&'static str>,
    /// The least important level: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Located<&'static str>,
}

/// The log of decisions.
#[derive(Debug)]
pub struct DecisionLog {
    /// The file.
    pub file: Located<PathBuf>,
    /// Whether decisions that allow are written as well.
    pub allowed: bool,
    /// The most bytes of the file.
    pub max_bytes: usize,
    /// The header fields whose values are written.
    pub headers: Vec<HeaderName>,
    /// The query parameters whose values are written.
    pub query: Vec<String>,
    /// The rules of whose decisions only some are written.
    pub sampling: Vec<SampledRule>,
}

/// A rule of whose decisions only some are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledRule {
    /// A permission, or a route as a policy writes it, or `*` for all others.
    pub rule: String,
    /// Of so many decisions one is written.
    pub one_in: usize,
    /// Whether denials are sampled as well.
    pub denials: bool,
}

/// Where proxies ask whether they may hand a request on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// The path of the endpoint.
    pub path: String,
    /// The proxies that are believed.
    pub peers: Networks,
    /// How malformed requests are answered.
    pub malformed_status: u16,
}

/// What the server allows a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Requests that a connection may have open at once, by HTTP/2.
    pub streams: usize,
    /// Header fields of one request.
    pub header_fields: usize,
    /// Bytes of all header fields of one request.
    pub header_bytes: usize,
    /// Bytes of one request body.
    pub body_bytes: usize,
    /// How long TLS and the PROXY protocol may take.
    pub handshake_timeout: Duration,
    /// How long header fields may take, and an idle connection stay.
    pub header_read_timeout: Duration,
    /// How long a client may take between two parts of a body.
    pub body_read_timeout: Duration,
    /// How long an answer may take to start.
    pub request_timeout: Duration,
    /// How long a client may take without accepting a byte of the answer.
    pub write_timeout: Duration,
    /// How long running requests may take to end at a shutdown.
    pub drain_timeout: Duration,
    /// How long a closed connection is read on.
    pub linger_timeout: Duration,
    /// How often an address may bring a token that is not live; `None` is as often as it likes.
    pub failed_authentications: Option<FailedAuthentications>,
}

/// How often an address may bring a token that is not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAuthentications {
    /// So often at once.
    pub burst: u32,
    /// So often a minute in the long run.
    pub per_minute: u32,
}

/// Another name for a predefined role.
#[derive(Debug, PartialEq)]
pub struct Alias {
    /// The predefined role.
    pub of: RoleName,
    /// Its other name.
    pub name: Located<RoleName>,
}

/// A role of the operator's own.
#[derive(Debug, PartialEq)]
pub struct CustomRole {
    /// Its name.
    pub name: Located<RoleName>,
    /// The permissions it grants.
    pub permissions: Vec<Located<String>>,
}

/// The bootstrap token.
#[derive(Debug)]
pub struct Bootstrap {
    /// What is kept of its secret.
    pub digest: Located<TokenDigest>,
    /// How the secret came to be.
    pub kind: SecretKind,
    /// The roles it holds.
    pub roles: Vec<Located<RoleName>>,
    /// How long it lives from its creation; `None` is for ever.
    pub ttl: Option<Located<Duration>>,
}

/// A token declared by its digest.
#[derive(Debug)]
pub struct DeclaredToken {
    /// Its name.
    pub name: Located<String>,
    /// What is kept of its secret.
    pub digest: Located<TokenDigest>,
    /// The roles it holds.
    pub roles: Vec<Located<RoleName>>,
    /// When it expires; `None` is never.
    pub expires: Option<Located<Timestamp>>,
}

/// A value of the configuration as people read it.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key with all above it.
    pub path: String,
    /// The value.
    pub value: SettingValue,
    /// Where it came from.
    pub origin: Origin,
}

/// A value as people read it.
#[derive(Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A single value.
    Text(String),
    /// A number.
    Number(String),
    /// `true` or `false`.
    Switch(bool),
    /// A list.
    List(Vec<String>),
    /// A secret, which is not shown.
    Hidden,
}

/// An argument of the command line that overrides a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The path of the key.
    pub key: &'static str,
    /// The argument, as it is written.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// What a configuration is made of. Nothing else is looked at.
#[expect(missing_debug_implementations, reason = "the environment may hold secrets")]
pub struct Input<'a> {
    /// The files, each laid over those before it.
    pub files: &'a [PathBuf],
    /// The environment variables.
    pub variables: &'a Variables,
    /// The arguments of the command line.
    pub flags: &'a [Flag],
    /// How a file is read, up to so many bytes and one more; see [`read`].
    pub read: &'a dyn Fn(&Path, usize) -> std::io::Result<Contents>,
}

impl Setting {
    /// The keys of the path, one by one. The name of a custom role is one key, dots and all.
    pub fn keys(&self) -> Vec<&str> {
        let custom = self.path.strip_prefix(stackstate::CUSTOM).and_then(|rest| rest.strip_prefix('.'));
        match custom.and_then(|rest| rest.rsplit_once('.')) {
            Some((name, key)) => stackstate::CUSTOM.split('.').chain([name, key]).collect(),
            None => self.path.split('.').collect(),
        }
    }
}

/// Reads the configuration.
///
/// # Errors
/// With every problem that was found, not only the first.
pub fn load(input: &Input<'_>) -> Result<Config, ConfigErrors> {
    let mut reader = read_files(input)?;
    match resolve(&mut reader) {
        Some(config) if reader.errors.is_empty() => {
            let (warnings, mut settings) = (reader.warnings, reader.settings);
            // The tokens of the first block are read after the second one, which has one more.
            settings.sort_by_key(|setting| !setting.path.starts_with("rolegate."));
            Ok(Config { warnings, settings, ..config })
        }
        _ => Err(ConfigErrors::new(reader.errors, input.files)),
    }
}

/// Reads, checks and merges the files. A file that cannot be read, or holds no keys, ends the reading after
/// all were tried: what is missing in it would only be reported as missing.
fn read_files<'a>(input: &'a Input<'a>) -> Result<Reader<'a>, ConfigErrors> {
    let refuse = |problem| Err(ConfigErrors::new(vec![ConfigError { at: None, problem }], &[]));
    if input.files.is_empty() {
        return refuse(Problem::NoFiles);
    }
    if input.files.len() > FILES_MAX {
        return refuse(Problem::TooManyFiles(FILES_MAX));
    }
    let (mut exposed, mut errors, mut warnings) = (HashSet::new(), Vec::new(), Vec::new());
    let mut root: Option<Node> = None;
    let mut unreadable = false;
    for name in input.files {
        let file: Arc<Path> = Arc::from(name.as_path());
        match read_file(input, &file) {
            Err(problems) => {
                unreadable = true;
                errors.extend(problems);
            }
            Ok((node, readable_by_others)) => {
                let findings = check::check(&node);
                unreadable |=
                    findings.errors.iter().any(|e| matches!(e.problem, Problem::Empty | Problem::NotAMap(_)));
                errors.extend(findings.errors);
                warnings.extend(findings.warnings);
                if readable_by_others {
                    exposed.insert(Arc::clone(&file));
                }
                root.get_or_insert_with(|| Node::empty_map(&file)).overlay(node);
            }
        }
    }
    match root {
        Some(root) if !unreadable => {
            let (referred, settings) = (BTreeSet::new(), Vec::new());
            Ok(Reader { input, root, exposed, referred, errors, warnings, settings })
        }
        _ => Err(ConfigErrors::new(errors, input.files)),
    }
}

fn read_file(input: &Input<'_>, file: &Arc<Path>) -> Result<(Node, bool), Vec<ConfigError>> {
    let contents = (input.read)(file, FILE_MAX_BYTES).map_err(|wrong| {
        let folder = wrong.kind() == std::io::ErrorKind::IsADirectory;
        let problem = if folder { Problem::Folder } else { Problem::Unreadable(wrong.to_string()) };
        vec![ConfigError { at: Some(Place::whole(file).into()), problem }]
    })?;
    let text = scan::text(file, &contents.bytes).map_err(|wrong| vec![wrong])?;
    let told = scan::read(file, text)?;
    let built = node::build(file, text).map_err(|wrong| vec![wrong])?;
    let node = node::join(file, told, built).map_err(|wrong| vec![wrong])?;
    Ok((node, contents.readable_by_others))
}

fn resolve(reader: &mut Reader<'_>) -> Option<Config> {
    let listen = reader.setting("rolegate.listen", value::address);
    let tls = reader.tls();
    let http2 = reader.setting("rolegate.http2", value::choice);
    let proxy_protocol = reader.proxy_protocol();
    let public_url = reader.public_url();
    let data_dir = reader.setting("rolegate.data_dir", value::path);
    let audit_file = reader.audit_file(data_dir.as_ref());
    let audit = reader.audit();
    let policies = reader.policies();
    let shadow_policies = reader.shadow_policies();
    let watch_policies = reader.setting("rolegate.watch_policies", value::switch);
    let policy_limits = reader.policy_limits();
    let reload_guard = reader.setting("rolegate.reload_guard", value::choice);
    let policy_version_header = reader.setting("rolegate.policy_version_header", value::switch);
    let log = reader.log();
    let decision_log = reader.decision_log();
    let forward_auth = reader.forward_auth();
    let limits = reader.limits();
    let aliases = reader.aliases();
    let custom_roles = reader.custom_roles();
    let bootstrap = reader.bootstrap(listen.as_ref());
    let tokens = reader.declared(bootstrap.as_ref().and_then(Option::as_ref));
    reader.refuse_unknown_variables();
    Some(Config {
        listen: listen?,
        tls: tls?,
        http2: http2?,
        proxy_protocol: proxy_protocol?,
        public_url: public_url?,
        data_dir: data_dir?,
        audit_file: audit_file?,
        audit: audit?,
        policies: policies?,
        shadow_policies: shadow_policies?,
        watch_policies: watch_policies?,
        policy_limits: policy_limits?,
        reload_guard: reload_guard?,
        policy_version_header: policy_version_header?,
        log: log?,
        decision_log: decision_log?,
        forward_auth: forward_auth?,
        limits: limits?,
        aliases,
        custom_roles,
        bootstrap: bootstrap?,
        tokens,
        warnings: Vec::new(),
        settings: Vec::new(),
    })
}
