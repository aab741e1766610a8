//! What `rolegate.decision_log` says: which decisions are written down, where, and with what.

use super::error::Problem;
use super::keys::{SAMPLED_RULES_MAX, find};
use super::node::{Content, Node};
use super::place::{Located, Origin};
use super::reader::Reader;
use super::{DecisionLog, KEYS, SampledRule, value};
use std::collections::HashMap;

const BLOCK: &str = "rolegate.decision_log";
const FILE: &str = "rolegate.decision_log.file";
const SAMPLING: &str = "rolegate.decision_log.sampling";
const RULE: &str = "rolegate.decision_log.sampling[].rule";
const ONE_IN: &str = "rolegate.decision_log.sampling[].one_in";
const DENIALS: &str = "rolegate.decision_log.sampling[].denials";
const RULE_HINT: &str = "write a permission, or a route as the policy writes it, or `*`";
const ONE_IN_HINT: &str = "write of how many decisions one is to be written, such as `100`";
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
        let sampling = self.sampling();
        Some(Some(DecisionLog {
            file: file?,
            allowed: decisions?.value == "all",
            max_bytes: max_bytes?.value,
            headers: headers?,
            query: query?,
            sampling: sampling?,
        }))
    }

    /// The rules of whose decisions only some are written. None stands there twice.
    fn sampling(&mut self) -> Option<Vec<SampledRule>> {
        let Some(node) = self.root.at(SAMPLING).cloned() else { return Some(Vec::new()) };
        let Content::List(items) = &node.content else { return Some(Vec::new()) };
        if items.len() > SAMPLED_RULES_MAX {
            let reason = format!("at most {SAMPLED_RULES_MAX} rules can be sampled");
            self.bad(SAMPLING, &node.place.clone().into(), reason);
            return None;
        }
        let mut seen: HashMap<String, Origin> = HashMap::new();
        let mut rules = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let path = format!("{SAMPLING}[{at}]");
            let Some((rule, sampled)) = self.sampled(item, &path) else { continue };
            if let Some(first) = seen.get(&rule.value).cloned() {
                let problem = Problem::Twice { key: format!("{path}.rule"), what: "rule", first };
                self.error(rule.origin.clone(), problem);
            }
            seen.insert(rule.value, rule.origin);
            rules.push(sampled);
        }
        (rules.len() == items.len()).then_some(rules)
    }

    fn sampled(&mut self, item: &Node, path: &str) -> Option<(Located<String>, SampledRule)> {
        if !matches!(item.content, Content::Map(_)) {
            return None;
        }
        for (name, hint) in [("rule", RULE_HINT), ("one_in", ONE_IN_HINT)] {
            if item.get(name).is_none_or(|entry| matches!(entry.node.content, Content::Null)) {
                self.missing::<()>(&format!("{path}.{name}"), Some(item.place.clone().into()), hint);
            }
        }
        let rule = self.field(item, RULE, &format!("{path}.rule"), value::rule);
        let one_in = self.field(item, ONE_IN, &format!("{path}.one_in"), value::count);
        let denials = self.field(item, DENIALS, &format!("{path}.denials"), value::switch);
        let (rule, one_in) = (rule?, one_in?.value);
        let denials = denials.is_some_and(|denials| denials.value);
        Some((rule.clone(), SampledRule { rule: rule.value, one_in, denials }))
    }
}
