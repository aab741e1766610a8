//! What `rolegate.decision_log` says: which decisions are written down, where, and with what.

use super::keys::find;
use super::node::Content;
use super::reader::{Parse, Reader};
use super::{DecisionLog, KEYS, Key, Kind, SettingValue, VariableError, value};

const BLOCK: &str = "rolegate.decision_log";
const FILE: &str = "rolegate.decision_log.file";
const FILE_HINT: &str = "name the file, such as `data/decisions.jsonl`";

impl Reader<'_> {
    /// The decision log: `Some(None)` when nobody asks for one.
    pub(super) fn decision_log(&mut self) -> Option<Option<DecisionLog>> {
        let key = find(FILE)?;
        if !self.is_said(key) {
            let says_more = KEYS.iter().any(|key| key.parent() == BLOCK && self.is_said(key));
            return if says_more { self.missing(FILE, None, FILE_HINT) } else { Some(None) };
        }
        let file = self.setting(FILE, value::path);
        let decisions = self.setting("rolegate.decision_log.decisions", value::choice);
        let max_bytes = self.setting("rolegate.decision_log.max_bytes", value::bytes);
        let headers = self.names("rolegate.decision_log.headers", value::logged_header);
        let query = self.names("rolegate.decision_log.query", value::parameter);
        Some(Some(DecisionLog {
            file: file?,
            allowed: decisions?.value == "all",
            max_bytes: max_bytes?.value,
            headers: headers?,
            query: query?,
        }))
    }

    /// Whether a variable or a file says anything about the key, right or wrong.
    fn is_said(&self, key: &Key) -> bool {
        let variable = key.variable().map(|name| self.input.variables.get(&name));
        let node = self.root.at(key.path);
        variable.is_some_and(|set| !matches!(set, Err(VariableError::Missing)))
            || node.is_some_and(|node| !matches!(node.content, Content::Null))
    }

    /// A list of a few names, from the variable, where commas separate them, or from the files.
    fn names<T>(&mut self, path: &'static str, parse: Parse<T>) -> Option<Vec<T>> {
        let key = find(path)?;
        let Some(set) = self.variable(key) else {
            let node = self.root.at(path).cloned();
            return match node.as_ref().map(|node| &node.content) {
                None | Some(Content::Null) => Some(Vec::new()),
                Some(_) => {
                    let listed = self.list(node.as_ref(), path, path, parse)?;
                    Some(listed.into_iter().map(|item| item.value).collect())
                }
            };
        };
        let set = set?;
        let names: Vec<&str> = set.value.split(',').map(str::trim).collect();
        if let Kind::FewNames(most) = key.kind
            && names.len() > most
        {
            self.bad(path, &set.origin, format!("this must be {}", key.kind.describe()));
            return None;
        }
        let parsed: Result<Vec<T>, String> = names.iter().map(|name| parse(key, name)).collect();
        let shown = names.iter().map(|name| (*name).to_owned()).collect();
        self.note(path, SettingValue::List(shown), &set.origin);
        parsed.map_err(|reason| self.bad(path, &set.origin, reason)).ok()
    }
}
