//! What the `rolegate` block says: where to listen, where to keep what, and the limits.

use super::keys::{LIST_MAX_ITEMS, find};
use super::node::Content;
use super::place::{Located, Origin};
use super::reader::Reader;
use super::{AuditSettings, FailedAuthentications, Limits, Log, PublicUrl, SettingValue, value};
use crate::policy;
use std::path::PathBuf;
use std::time::Duration;

/// The audit log's file, in the data folder, when no other one is said.
const AUDIT_FILE: &str = "audit.jsonl";
const PUBLIC_URL: &str = "rolegate.public_url";
const POLICIES: &str = "rolegate.policies";
const SHADOW_POLICIES: &str = "rolegate.shadow_policies";
const POLICIES_HINT: &str = "list the policy files, such as `[policies/stackstate.rhai]`";

impl Reader<'_> {
    /// The address under which clients know the server: `Some(None)` when it is not said.
    pub(super) fn public_url(&mut self) -> Option<Option<Located<PublicUrl>>> {
        if !self.is_said(find(PUBLIC_URL)?) {
            return Some(None);
        }
        self.setting(PUBLIC_URL, value::public_url).map(Some)
    }

    /// The audit log's file: its own key, or a name in the data folder.
    pub(super) fn audit_file(&mut self, data_dir: Option<&Located<PathBuf>>) -> Option<Located<PathBuf>> {
        let key = find("rolegate.audit_file")?;
        let said = self.said(key)?;
        if said.origin != Origin::Default {
            return self.parse(key, key.path, said, value::path);
        }
        let file = data_dir?.value.join(AUDIT_FILE);
        self.note(key.path, SettingValue::Text(file.display().to_string()), &Origin::Default);
        Some(Located { value: file, origin: Origin::Default })
    }

    /// How the audit log is kept.
    pub(super) fn audit(&mut self) -> Option<AuditSettings> {
        let mode = self.setting("rolegate.audit.mode", value::choice);
        let max_bytes = self.setting("rolegate.audit.max_bytes", value::bytes);
        Some(AuditSettings { mode: mode?, max_bytes: max_bytes?.value })
    }

    /// The policies: at least one, since a server without any would refuse everything.
    pub(super) fn policies(&mut self) -> Option<Vec<Located<PathBuf>>> {
        self.paths(POLICIES, Some(POLICIES_HINT))
    }

    /// Policies that only decide beside others. Most servers have none.
    pub(super) fn shadow_policies(&mut self) -> Option<Vec<Located<PathBuf>>> {
        self.paths(SHADOW_POLICIES, None)
    }

    /// A list of paths. With a hint, at least one is needed.
    fn paths(&mut self, path: &'static str, hint: Option<&'static str>) -> Option<Vec<Located<PathBuf>>> {
        let key = find(path)?;
        if let Some(set) = self.variable(key) {
            let set = set?;
            let paths: Vec<PathBuf> =
                std::env::split_paths(&set.value).filter(|path| !path.as_os_str().is_empty()).collect();
            if paths.is_empty() || paths.len() > LIST_MAX_ITEMS {
                self.bad(key.path, &set.origin, format!("1 to {LIST_MAX_ITEMS} paths are needed"));
                return None;
            }
            let shown = paths.iter().map(|path| path.display().to_string()).collect();
            self.note(key.path, SettingValue::List(shown), &set.origin);
            return Some(
                paths.into_iter().map(|value| Located { value, origin: set.origin.clone() }).collect(),
            );
        }
        let node = self.root.at(path).cloned();
        match node.as_ref().map(|node| &node.content) {
            Some(Content::List(items)) if !items.is_empty() => {
                self.list(node.as_ref(), path, path, value::path)
            }
            Some(Content::List(_)) | None => match hint {
                Some(hint) => self.missing(path, node.map(|node| node.place.into()), hint),
                None => Some(Vec::new()),
            },
            // Of another shape, which is already said.
            Some(_) => None,
        }
    }

    pub(super) fn log(&mut self) -> Option<Log> {
        let format = self.setting("rolegate.log.format", value::choice);
        let level = self.setting("rolegate.log.level", value::choice);
        Some(Log { format: format?, level: level? })
    }

    pub(super) fn policy_limits(&mut self) -> Option<policy::Limits> {
        let operations = self.setting("rolegate.policy_limits.operations", value::count);
        let time = self.setting("rolegate.policy_limits.time", value::duration);
        let functions = self.setting("rolegate.policy_limits.functions", value::count);
        let tokens = self.setting("rolegate.policy_limits.tokens", value::count);
        let list_items = self.setting("rolegate.policy_limits.list_items", value::count);
        let map_entries = self.setting("rolegate.policy_limits.map_entries", value::count);
        let string_bytes = self.setting("rolegate.policy_limits.string_bytes", value::bytes);
        Some(policy::Limits {
            operations: u64::try_from(operations?.value).unwrap_or(u64::MAX),
            time: time?.value,
            functions: functions?.value,
            tokens: tokens?.value,
            list_items: list_items?.value,
            map_entries: map_entries?.value,
            string_bytes: string_bytes?.value,
            ..policy::Limits::LOAD
        })
    }

    pub(super) fn limits(&mut self) -> Option<Limits> {
        let connections = self.setting("rolegate.limits.connections", value::count);
        let streams = self.setting("rolegate.limits.streams", value::count);
        let header_fields = self.setting("rolegate.limits.header_fields", value::count);
        let header_bytes = self.setting("rolegate.limits.header_bytes", value::bytes);
        let body_bytes = self.setting("rolegate.limits.body_bytes", value::bytes);
        let mut time =
            |path| -> Option<Duration> { self.setting(path, value::duration).map(|said| said.value) };
        let handshake_timeout = time("rolegate.limits.handshake_timeout");
        let header_read_timeout = time("rolegate.limits.header_read_timeout");
        let body_read_timeout = time("rolegate.limits.body_read_timeout");
        let request_timeout = time("rolegate.limits.request_timeout");
        let write_timeout = time("rolegate.limits.write_timeout");
        let drain_timeout = time("rolegate.limits.drain_timeout");
        let linger_timeout = time("rolegate.limits.linger_timeout");
        let failed_authentications = self.failed_authentications();
        Some(Limits {
            connections: connections?.value,
            streams: streams?.value,
            header_fields: header_fields?.value,
            header_bytes: header_bytes?.value,
            body_bytes: body_bytes?.value,
            handshake_timeout: handshake_timeout?,
            header_read_timeout: header_read_timeout?,
            body_read_timeout: body_read_timeout?,
            request_timeout: request_timeout?,
            write_timeout: write_timeout?,
            drain_timeout: drain_timeout?,
            linger_timeout: linger_timeout?,
            failed_authentications: failed_authentications?,
        })
    }

    /// `Some(None)` when they are not limited. What is wrong with the other keys is told all the same.
    fn failed_authentications(&mut self) -> Option<Option<FailedAuthentications>> {
        let is_limited = self.setting("rolegate.limits.failed_authentications.limited", value::switch);
        let mut count = |path| -> Option<u32> {
            self.setting(path, value::count).and_then(|said| u32::try_from(said.value).ok())
        };
        let burst = count("rolegate.limits.failed_authentications.burst");
        let per_minute = count("rolegate.limits.failed_authentications.per_minute");
        let said = FailedAuthentications { burst: burst?, per_minute: per_minute? };
        Some(is_limited?.value.then_some(said))
    }
}
