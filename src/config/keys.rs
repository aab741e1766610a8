//! Every key of the configuration, in one table: what is read, documented, suggested and overridden comes from it.

mod kind;
mod names;

pub use kind::{Kind, size};
pub(super) use names::{is_of_kubernetes, suggest, suggest_variable};

use super::duration::DURATION_MAX;
use std::time::Duration;

/// What the names of overriding environment variables start with.
pub const VARIABLE_PREFIX: &str = "ROLEGATE_";
/// The environment variable that names the configuration files, separated as `PATH` is.
pub const FILES_VARIABLE: &str = "ROLEGATE_CONFIG";
/// The most tokens that a configuration declares.
pub const DECLARED_TOKENS_MAX: usize = 1000;
/// The most custom roles of a configuration.
pub const CUSTOM_ROLES_MAX: usize = 256;
/// The most rules that the decision log samples.
pub const SAMPLED_RULES_MAX: usize = DECLARED_TOKENS_MAX;
/// The most names in a list of the configuration.
pub const LIST_MAX_ITEMS: usize = 256;

/// The most header fields, and the most query parameters, whose values the decision log holds.
pub const LOGGED_NAMES_MAX: usize = 16;

/// One key.
#[derive(Debug, PartialEq)]
pub struct Key {
    /// The key with all above it; `[]` stands for each item of a list, `<name>` for a name of one's own.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says it, in words or as it would be written.
    pub default: Option<&'static str>,
    /// What it is about, in one sentence.
    pub doc: &'static str,
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1024 * 1024;

const fn key(path: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    Key { path, kind, default, doc }
}

/// Every key, parents before their children.
pub const KEYS: &[Key] = &[
    key("rolegate", Kind::Block, None, "What rolegate itself runs with."),
    key(
        "rolegate.listen",
        Kind::Address,
        Some("127.0.0.1:8080"),
        "Where the server listens; port 0 takes a free one.",
    ),
    key("rolegate.tls", Kind::Block, None, "TLS; without it, the server speaks HTTP alone."),
    key(
        "rolegate.tls.certificate",
        Kind::Path,
        None,
        "The file with the certificate and its chain, in PEM. Required.",
    ),
    key("rolegate.tls.key", Kind::Path, None, "The file with the private key, in PEM. Required."),
    key(
        "rolegate.tls.client_ca",
        Kind::Path,
        None,
        "The file with the authorities that vouch for clients, in PEM.",
    ),
    key(
        "rolegate.tls.client_certificates",
        Kind::Choice(&["none", "optional", "required"]),
        Some("required with client_ca"),
        "Whether clients bring a certificate; one that they bring must be good.",
    ),
    key(
        "rolegate.http2",
        Kind::Choice(&["off", "tls", "always"]),
        Some("tls"),
        "Where HTTP/2 is served beside HTTP/1.1: nowhere, over TLS, or also to clients that begin with it without TLS.",
    ),
    key("rolegate.proxy_protocol", Kind::Block, None, "Load balancers that hand on connections."),
    key(
        "rolegate.proxy_protocol.peers",
        Kind::Networks,
        Some("none"),
        "Who begins each connection with a PROXY protocol header, version 2, that tells its client.",
    ),
    key(
        "rolegate.public_url",
        Kind::Url,
        Some("not told"),
        "The address under which clients know the server, told at `/.well-known/authzen-configuration`.",
    ),
    key("rolegate.data_dir", Kind::Path, Some("data"), "The folder of the token store; it is created."),
    key(
        "rolegate.audit_file",
        Kind::Path,
        Some("audit.jsonl in data_dir"),
        "The file to which the audit log is appended.",
    ),
    key("rolegate.audit", Kind::Block, None, "How the audit log is kept."),
    key(
        "rolegate.audit.mode",
        Kind::Choice(&["strict", "best-effort"]),
        Some("strict"),
        "What becomes of a change whose entry cannot be written: `strict` refuses it, `best-effort` makes it and counts the loss.",
    ),
    key(
        "rolegate.audit.max_bytes",
        Kind::Size(64 * 1024, 64 * 1024 * MIB),
        Some("100 MiB"),
        "Bytes of the audit log; a full one is renamed to the same name with the number of its last entry, and kept.",
    ),
    key("rolegate.policies", Kind::Paths, None, "The policy files, and folders of them. Required."),
    key(
        "rolegate.shadow_policies",
        Kind::Paths,
        None,
        "Candidate policies, and folders of them: they decide beside the others, and never instead.",
    ),
    key(
        "rolegate.watch_policies",
        Kind::Switch,
        Some("true"),
        "Whether policies are loaded anew when their files change.",
    ),
    key(
        "rolegate.reload_guard",
        Kind::Choice(&["off", "refuse-gains"]),
        Some("off"),
        "Whether a reload that opens a route is refused unless the policies say so in a line.",
    ),
    key(
        "rolegate.policy_version_header",
        Kind::Switch,
        Some("true"),
        "Whether answers name the version of the policies that decided.",
    ),
    key("rolegate.policy_limits", Kind::Block, None, "What the policy files may use while they are loaded."),
    key(
        "rolegate.policy_limits.operations",
        Kind::Count(1_000, 1_000_000_000),
        Some("10000000"),
        "Steps of evaluation of one file.",
    ),
    key(
        "rolegate.policy_limits.time",
        Kind::Duration(Duration::from_millis(100), Duration::from_secs(600)),
        Some("10s"),
        "How long all files together may take.",
    ),
    key(
        "rolegate.policy_limits.functions",
        Kind::Count(1, 1_000_000),
        Some("20000"),
        "Functions of one file, the closures of its conditions among them.",
    ),
    key(
        "rolegate.policy_limits.tokens",
        Kind::Count(1_000, 50_000_000),
        Some("2000000"),
        "Words and signs of one file.",
    ),
    key(
        "rolegate.policy_limits.list_items",
        Kind::Count(1, 1_000_000),
        Some("10000"),
        "Items of a list, those of lists within it included.",
    ),
    key(
        "rolegate.policy_limits.map_entries",
        Kind::Count(1, 100_000),
        Some("1000"),
        "Entries of a map, those of maps within it included.",
    ),
    key(
        "rolegate.policy_limits.string_bytes",
        Kind::Size(256, 64 * MIB),
        Some("8 KiB"),
        "Bytes of a text, or of all texts in a list or map together.",
    ),
    key("rolegate.log", Kind::Block, None, "The log on standard error."),
    key("rolegate.log.format", Kind::Choice(&["text", "json"]), Some("text"), "How a line is written."),
    key(
        "rolegate.log.level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        Some("info"),
        "The least important lines that are written.",
    ),
    key("rolegate.decision_log", Kind::Block, None, "The log of decisions, one JSON object a line."),
    key(
        "rolegate.decision_log.file",
        Kind::Path,
        Some("no decision log"),
        "The file to which decisions are appended.",
    ),
    key(
        "rolegate.decision_log.decisions",
        Kind::Choice(&["denials", "all"]),
        Some("denials"),
        "Which decisions are written.",
    ),
    key(
        "rolegate.decision_log.max_bytes",
        Kind::Size(64 * 1024, 64 * 1024 * MIB),
        Some("100 MiB"),
        "Bytes of the file; a full one is renamed to the same name with `.1`, in the place of an earlier one.",
    ),
    key(
        "rolegate.decision_log.headers",
        Kind::FewNames(LOGGED_NAMES_MAX),
        Some("none"),
        "Header fields whose values are written.",
    ),
    key(
        "rolegate.decision_log.query",
        Kind::FewNames(LOGGED_NAMES_MAX),
        Some("none"),
        "Query parameters whose values are written.",
    ),
    key(
        "rolegate.decision_log.sampling",
        Kind::Blocks,
        Some("none"),
        "Rules of whose decisions only some are written.",
    ),
    key(
        "rolegate.decision_log.sampling[].rule",
        Kind::Text,
        None,
        "The permission of the rule, or its route as the policy writes it, or `*` for all others. Required.",
    ),
    key(
        "rolegate.decision_log.sampling[].one_in",
        Kind::Count(1, 1_000_000),
        None,
        "Of so many decisions one is written. Required.",
    ),
    key(
        "rolegate.decision_log.sampling[].denials",
        Kind::Switch,
        Some("false"),
        "Whether denials by the rule are sampled as well, and not all written.",
    ),
    key("rolegate.forward_auth", Kind::Block, None, "Where proxies ask whether they may hand a request on."),
    key(
        "rolegate.forward_auth.path",
        Kind::Text,
        Some("/forward-auth"),
        "The path at which they ask; all that begins with it belongs to it.",
    ),
    key(
        "rolegate.forward_auth.peers",
        Kind::Networks,
        None,
        "The proxies that are believed. Without any nobody can ask.",
    ),
    key(
        "rolegate.forward_auth.malformed_status",
        Kind::Count(400, 499),
        Some("403"),
        "How malformed requests are answered; nginx makes a 500 of anything but 401 and 403.",
    ),
    key("rolegate.limits", Kind::Block, None, "What the server allows a client."),
    key(
        "rolegate.limits.connections",
        Kind::Count(1, 100_000),
        Some("960"),
        "Open connections; more of them wait.",
    ),
    key(
        "rolegate.limits.streams",
        Kind::Count(1, 10_000),
        Some("100"),
        "Requests that a connection may have open at once, by HTTP/2.",
    ),
    key(
        "rolegate.limits.header_fields",
        Kind::Count(8, 256),
        Some("64"),
        "Header fields of a request; more are answered with 431.",
    ),
    key(
        "rolegate.limits.header_bytes",
        Kind::Size(1024, MIB),
        Some("16 KiB"),
        "Bytes of a request's header fields; more are answered with 431.",
    ),
    key(
        "rolegate.limits.body_bytes",
        Kind::Size(1024, 1024 * MIB),
        Some("1 MiB"),
        "Bytes of a request's body; more are answered with 413.",
    ),
    key(
        "rolegate.limits.handshake_timeout",
        Kind::Duration(Duration::from_millis(100), HOUR),
        Some("5s"),
        "How long TLS and the PROXY protocol may take before the first request.",
    ),
    key(
        "rolegate.limits.header_read_timeout",
        Kind::Duration(Duration::from_millis(100), HOUR),
        Some("5s"),
        "How long a request's header fields may take, and an idle connection stay.",
    ),
    key(
        "rolegate.limits.body_read_timeout",
        Kind::Duration(Duration::from_millis(100), HOUR),
        Some("10s"),
        "How long a client may take between two parts of a body.",
    ),
    key(
        "rolegate.limits.request_timeout",
        Kind::Duration(Duration::from_millis(100), HOUR),
        Some("30s"),
        "How long an answer may take to start.",
    ),
    key(
        "rolegate.limits.write_timeout",
        Kind::Duration(Duration::from_millis(100), HOUR),
        Some("10s"),
        "How long a client may take without accepting a byte of the answer.",
    ),
    key(
        "rolegate.limits.drain_timeout",
        Kind::Duration(MS, HOUR),
        Some("10s"),
        "How long running requests may take to end at a shutdown.",
    ),
    key(
        "rolegate.limits.linger_timeout",
        Kind::Duration(MS, HOUR),
        Some("1s"),
        "How long a closed connection is read on.",
    ),
    key(
        "rolegate.limits.failed_authentications",
        Kind::Block,
        None,
        "How often an address may bring a token that is not live.",
    ),
    key(
        "rolegate.limits.failed_authentications.limited",
        Kind::Switch,
        Some("true"),
        "Whether that is limited; `false` turns it off.",
    ),
    key(
        "rolegate.limits.failed_authentications.burst",
        Kind::Count(1, 100_000),
        Some("30"),
        "So often at once; more are answered with 429.",
    ),
    key(
        "rolegate.limits.failed_authentications.per_minute",
        Kind::Count(1, 60_000),
        Some("10"),
        "So often a minute in the long run.",
    ),
    key("rolegate.tokens", Kind::Blocks, Some("none"), "Tokens declared by their digest."),
    key("rolegate.tokens[].name", Kind::Text, None, "The name under which the list shows it. Required."),
    key("rolegate.tokens[].digest", Kind::Digest, None, "The SHA-256 of the token. Required."),
    key("rolegate.tokens[].roles", Kind::Roles, None, "The roles it holds. Required."),
    key("rolegate.tokens[].expires", Kind::Moment, Some("never"), "When it expires."),
    key("stackstate", Kind::Block, None, "The chart's values, as far as they concern service tokens."),
    key("stackstate.authentication", Kind::Block, None, "The chart's authentication."),
    key("stackstate.authentication.servicetoken", Kind::Block, None, "Also spelled `serviceToken`."),
    key(
        "stackstate.authentication.servicetoken.bootstrap",
        Kind::Block,
        None,
        "The token that exists from the first start on.",
    ),
    key(
        "stackstate.authentication.servicetoken.bootstrap.token",
        Kind::Secret,
        None,
        "The token. This or `token_file` is required.",
    ),
    key(
        "stackstate.authentication.servicetoken.bootstrap.token_file",
        Kind::Path,
        None,
        "A file that holds the token.",
    ),
    key(
        "stackstate.authentication.servicetoken.bootstrap.roles",
        Kind::Roles,
        None,
        "The roles it holds. Required.",
    ),
    key(
        "stackstate.authentication.servicetoken.bootstrap.ttl",
        Kind::Duration(SECOND, DURATION_MAX),
        Some("never expires"),
        "How long it lives, counted from its creation.",
    ),
    key(
        "stackstate.authentication.servicetoken.bootstrap.dedicatedSubject",
        Kind::NoEffect,
        None,
        "Of the chart.",
    ),
    key(
        "stackstate.authentication.roles",
        Kind::Block,
        None,
        "Which roles there are besides those of the policies.",
    ),
    key(
        "stackstate.authentication.roles.guest",
        Kind::Names,
        Some("none"),
        "Other names for `stackstate-guest`.",
    ),
    key(
        "stackstate.authentication.roles.powerUser",
        Kind::Names,
        Some("none"),
        "Other names for `stackstate-power-user`.",
    ),
    key(
        "stackstate.authentication.roles.admin",
        Kind::Names,
        Some("none"),
        "Other names for `stackstate-admin`.",
    ),
    key(
        "stackstate.authentication.roles.platformAdmin",
        Kind::Names,
        Some("none"),
        "Other names for `stackstate-platform-admin`.",
    ),
    key("stackstate.authentication.roles.k8sTroubleshooter", Kind::NoEffect, None, "Of later charts."),
    key("stackstate.authentication.roles.custom", Kind::Named, Some("none"), "Roles of one's own, by name."),
    key("stackstate.authentication.roles.custom.<name>", Kind::Block, None, "One such role."),
    key(
        "stackstate.authentication.roles.custom.<name>.systemPermissions",
        Kind::Names,
        Some("none"),
        "The permissions it grants.",
    ),
    key(
        "stackstate.authentication.roles.custom.<name>.viewPermissions",
        Kind::NoEffect,
        None,
        "Of the chart.",
    ),
    key(
        "stackstate.authentication.roles.custom.<name>.resourcePermissions",
        Kind::NoEffect,
        None,
        "Of the chart.",
    ),
    key("stackstate.authentication.roles.custom.<name>.topologyScope", Kind::NoEffect, None, "Of the chart."),
    key("stackstate.authentication.roles.custom.<name>.scope", Kind::NoEffect, None, "Of earlier charts."),
    key(
        "stackstate.authentication.adminPassword",
        Kind::NoEffect,
        None,
        "Of the chart: there are no user accounts here.",
    ),
    key("stackstate.authentication.sessionLifetime", Kind::NoEffect, None, "Of the chart."),
    key("stackstate.authentication.file", Kind::NoEffect, None, "Of the chart."),
    key("stackstate.authentication.ldap", Kind::NoEffect, None, "Of the chart."),
    key("stackstate.authentication.oidc", Kind::NoEffect, None, "Of the chart."),
    key("stackstate.authentication.keycloak", Kind::NoEffect, None, "Of the chart."),
    key("stackstate.authentication.rancher", Kind::NoEffect, None, "Of later charts."),
    key("stackstate.authentication.fromExternalSecret", Kind::NoEffect, None, "Of later charts."),
];

/// Finds a key by its path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

impl Key {
    /// The last part of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The path of the block in which this key stands.
    pub fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// The environment variable that overrides this key, if one does.
    pub fn variable(&self) -> Option<String> {
        let own = self.path.strip_prefix("rolegate.").filter(|own| !own.contains('['))?;
        let plain = !matches!(self.kind, Kind::Block | Kind::Blocks | Kind::Named | Kind::NoEffect);
        plain.then(|| format!("{VARIABLE_PREFIX}{}", own.replace('.', "_").to_uppercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_stands_below_its_parent_and_once() {
        let mut seen = HashSet::from([""]);
        for key in KEYS {
            let parent = key.parent();
            assert!(seen.contains(parent.strip_suffix("[]").unwrap_or(parent)), "{}", key.path);
            assert!(seen.insert(key.path), "{}", key.path);
            assert!(key.doc.ends_with('.'), "{}", key.path);
        }
    }

    #[test]
    fn every_variable_names_one_key_and_none_is_set_by_kubernetes() {
        let variables: Vec<String> = KEYS.iter().filter_map(Key::variable).collect();
        let distinct: HashSet<&String> = variables.iter().collect();
        assert_eq!(distinct.len(), variables.len());
        assert!(variables.len() > 10 && variables.contains(&"ROLEGATE_LOG_LEVEL".to_owned()));
        for variable in variables.iter().map(String::as_str).chain([FILES_VARIABLE]) {
            assert!(!is_of_kubernetes(variable, "tcp://10.0.0.1:1"), "{variable}");
        }
        for (variable, value) in [
            ("PORT", "tcp://10.0.0.1:8080"),
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "8080"),
            ("SERVICE_PORT_HTTP", "8080"),
            ("PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("WEB_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ] {
            assert!(is_of_kubernetes(&format!("ROLEGATE_{variable}"), value), "{variable}");
        }
        assert!(!is_of_kubernetes("ROLEGATE_PORT", "8080"));
    }

    #[test]
    fn sizes_are_written_in_their_largest_unit() {
        assert_eq!(
            (size(16384), size(1024 * MIB), size(1000)),
            ("16 KiB".into(), "1024 MiB".into(), "1000".into())
        );
    }
}
