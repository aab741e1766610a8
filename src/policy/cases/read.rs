//! Reads a file of cases: every key and value is checked, and every problem told with its place.

mod fields;
mod principal;
mod scene;

use super::{Answer, CASES_MAX, CASES_MAX_BYTES, Case, CaseFile, CasePrincipal, Expected, ExpectedRule};
use crate::path::TARGET_MAX_BYTES;
use crate::policy::error::{PolicyErrors, nearest};
use crate::yaml::{self, Content, Limits, Node, Place};
use fields::{Fields, Reader};
use std::collections::HashMap;
use std::sync::Arc;

const LIMITS: Limits =
    Limits { bytes: CASES_MAX_BYTES, depth: 8, nodes: 2 * CASES_MAX, key_bytes: TARGET_MAX_BYTES + 64 };
/// The most files that one file of cases is about.
const POLICIES_MAX: usize = 100;
const NAME_MAX_BYTES: usize = 256;

type Principals = HashMap<Arc<str>, Arc<CasePrincipal>>;

/// Reads a file of cases.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<CaseFile, PolicyErrors> {
    let mut reader = Reader::new(file);
    let text = match yaml::text(bytes, LIMITS) {
        Ok(text) => text,
        Err(error) => {
            reader.problem(error.place, error.problem.to_string());
            return reader.end(CaseFile::default(), "");
        }
    };
    let read = match yaml::read(text, LIMITS) {
        Ok(root) => reader.case_file(&root),
        Err(errors) => {
            errors.into_iter().for_each(|error| reader.problem(error.place, error.problem.to_string()));
            None
        }
    };
    let file = read.unwrap_or_default();
    if file.cases.is_empty() && reader.is_fine() {
        let message = "the file has no cases: write at least one, under `cases` or `matrix`";
        reader.problem(Place::default(), message);
    }
    reader.end(file, text)
}

impl Reader {
    fn case_file(&mut self, root: &Node) -> Option<CaseFile> {
        let fields = self.fields(root, "a file of cases", &["policies", "principals", "matrix", "cases"])?;
        let policies = self.policies(fields.get("policies"))?;
        let (principals, by_name) = self.principals(fields.get("principals"));
        let mut cases = Vec::new();
        if let Some(matrices) = fields.get("matrix") {
            for matrix in self.list(matrices, "matrix")? {
                self.matrix(matrix, &by_name, &mut cases);
            }
        }
        if let Some(list) = fields.get("cases") {
            self.cases(list, &by_name, &mut cases);
        }
        cases.sort_by(|one, other| one.location.cmp(&other.location));
        Some(CaseFile { policies, principals, cases })
    }

    /// The files that the cases are about: those listed, or the one that the name of the file tells.
    fn policies(&mut self, node: Option<&Node>) -> Option<Vec<Arc<str>>> {
        let Some(node) = node else {
            let name = self.file_name().strip_suffix("_test.yaml").filter(|name| !name.is_empty());
            let Some(name) = name else {
                let message = "`policies` is missing, and the file is not named `NAME_test.yaml`: \
                               list the policies, such as `policies: [stackstate.rhai]`";
                self.problem(Place::default(), message);
                return None;
            };
            return Some(vec![format!("{name}.rhai").into()]);
        };
        let mut policies: Vec<Arc<str>> = Vec::new();
        for item in self.list(node, "policies")? {
            let name = self.text(item, "policies")?;
            if !is_beside(name) {
                let message = format!(
                    "`{}` is no policy beside this file: write a relative name, such as `stackstate.rhai`",
                    yaml::shown(name)
                );
                self.problem(item.place, message);
            }
            policies.push(name.into());
        }
        if policies.is_empty() || policies.len() > POLICIES_MAX {
            self.problem(node.place, format!("`policies` lists 1 to {POLICIES_MAX} files"));
        }
        Some(policies)
    }

    fn cases(&mut self, node: &Node, principals: &Principals, cases: &mut Vec<Case>) {
        let mut names: HashMap<Arc<str>, Place> = HashMap::new();
        for node in self.list(node, "cases").unwrap_or_default() {
            let Some(case) = self.case(node, principals) else { continue };
            if let Some(name) = &case.name
                && let Some(first) = names.insert(Arc::clone(name), node.place)
            {
                let message = format!("a case at line {} is named the same", first.line);
                self.problem(node.place, message);
            }
            if !self.push(cases, case, node.place) {
                return;
            }
        }
    }

    fn case(&mut self, node: &Node, principals: &Principals) -> Option<Case> {
        const KEYS: [&str; 10] = [
            "name",
            "principal",
            "request",
            "headers",
            "client_ip",
            "time",
            "expect",
            "rule",
            "permission",
            "failure",
        ];
        let fields = self.fields(node, "a case", &KEYS)?;
        let name = fields.get("name").and_then(|node| self.name(node, "name"));
        let principal = self.required(&fields, "principal");
        let principal = principal.and_then(|node| self.principal_named(node, principals));
        let scene = self.scene(&fields);
        let request = self.required(&fields, "request");
        let request = request.and_then(|node| {
            let text = self.text(node, "request")?;
            self.request(text, node.place, scene.as_ref()?)
        });
        let expected = self.expected(&fields);
        Some(Case {
            name,
            location: self.location(node.place),
            principal: principal?,
            request: request?,
            time: scene?.time,
            expected: expected?,
        })
    }

    fn expected(&mut self, fields: &Fields<'_>) -> Option<Expected> {
        let node = self.required(fields, "expect")?;
        let answer = self.answer(node)?;
        let rule = match fields.get("rule") {
            Some(node) => Some(self.expected_rule(node)?),
            None => None,
        };
        let permission = fields.get("permission").and_then(|node| self.name(node, "permission"));
        let failure = fields.get("failure").and_then(|node| self.name(node, "failure"));
        let pointless = match answer {
            Answer::Allow if rule == Some(ExpectedRule::NoRule) => Some("rule"),
            Answer::Deny if permission.is_some() => Some("permission"),
            Answer::Malformed => {
                ["rule", "permission", "failure"].into_iter().find(|key| fields.get(key).is_some())
            }
            Answer::Allow | Answer::Deny => None,
        };
        if let Some(key) = pointless
            && let Some(node) = fields.get(key)
        {
            self.problem(node.place, format!("`{key}` does not go with `expect: {answer}`; take one away"));
            return None;
        }
        Some(Expected { answer, rule, permission, failure })
    }

    fn expected_rule(&mut self, node: &Node) -> Option<ExpectedRule> {
        let text = self.text(node, "rule")?;
        if text == "none" {
            return Some(ExpectedRule::NoRule);
        }
        let place = text.rsplit_once(':').filter(|(file, _)| !file.is_empty());
        let place = place.and_then(|(file, line)| Some((file, line.parse::<u32>().ok()?)));
        let Some((file, line)) = place else {
            let message = "`rule` is written `FILE:LINE`, such as `stackstate.rhai:12`, or `none`";
            self.problem(node.place, message);
            return None;
        };
        Some(ExpectedRule::At { file: file.into(), line })
    }

    fn matrix(&mut self, node: &Node, principals: &Principals, cases: &mut Vec<Case>) {
        let keys = ["principals", "rows", "headers", "client_ip", "time"];
        let Some(fields) = self.fields(node, "a matrix", &keys) else { return };
        let (Some(columns), Some(rows)) =
            (self.required(&fields, "principals"), self.required(&fields, "rows"))
        else {
            return;
        };
        let scene = self.scene(&fields);
        let Some(columns) = self.list(columns, "principals") else { return };
        // An unknown principal keeps its column, so that the rows are counted right.
        let columns: Vec<_> = columns.iter().map(|node| self.principal_named(node, principals)).collect();
        let Content::Map(rows) = &rows.content else {
            let message =
                "`rows` must be a map from a request to its answers, such as `GET /api: [allow, deny]`";
            self.problem(rows.place, message);
            return;
        };
        let Some(scene) = scene else { return };
        for (key, answers) in rows {
            let Some(request) = self.request(&key.text, key.place, &scene) else { continue };
            let Some(answers) = self.row(answers, columns.len()) else { continue };
            for (principal, (place, answer)) in columns.iter().zip(answers) {
                let Some(principal) = principal else { continue };
                let case = Case {
                    name: None,
                    location: self.location(place),
                    principal: Arc::clone(principal),
                    request: request.clone(),
                    time: scene.time,
                    expected: Expected { answer, rule: None, permission: None, failure: None },
                };
                if !self.push(cases, case, place) {
                    return;
                }
            }
        }
    }

    /// The answers of a row: one for each principal, or a single word that goes for all of them.
    fn row(&mut self, node: &Node, columns: usize) -> Option<Vec<(Place, Answer)>> {
        let Content::List(cells) = &node.content else {
            let answer = self.answer(node)?;
            return Some(vec![(node.place, answer); columns]);
        };
        if cells.len() != columns {
            let message = format!("the row has {} answers for {columns} principals", cells.len());
            self.problem(node.place, message);
            return None;
        }
        cells.iter().map(|cell| Some((cell.place, self.answer(cell)?))).collect()
    }

    fn answer(&mut self, node: &Node) -> Option<Answer> {
        let answers = [Answer::Allow, Answer::Deny, Answer::Malformed];
        let text = self.text(node, "expect")?;
        let answer = answers.into_iter().find(|answer| answer.as_str() == text);
        if answer.is_none() {
            let message =
                format!("`{}` is no answer: write `allow`, `deny` or `malformed`", yaml::shown(text));
            self.problem(node.place, message);
        }
        answer
    }

    fn principal_named(&mut self, node: &Node, principals: &Principals) -> Option<Arc<CasePrincipal>> {
        let name = self.text(node, "principal")?;
        if let Some(principal) = principals.get(name) {
            return Some(Arc::clone(principal));
        }
        let message = format!("no principal is named `{}`", yaml::shown(name));
        let help = match nearest(name, principals.keys().map(|name| &**name)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("declare it: `principals: {{ {}: [some-role] }}`", yaml::shown(name)),
        };
        self.problem_with_help(node.place, message, help);
        None
    }

    fn name(&mut self, node: &Node, key: &str) -> Option<Arc<str>> {
        let text = self.text(node, key)?;
        if text.is_empty() || text.len() > NAME_MAX_BYTES {
            self.problem(node.place, format!("`{key}` has 1 to {NAME_MAX_BYTES} bytes"));
            return None;
        }
        Some(text.into())
    }

    /// Adds a case; `false` past the limit, which ends the reading.
    fn push(&mut self, cases: &mut Vec<Case>, case: Case, place: Place) -> bool {
        if cases.len() >= CASES_MAX {
            self.problem(place, format!("a file has at most {CASES_MAX} cases"));
            return false;
        }
        cases.push(case);
        true
    }
}

/// Whether the name is that of a file beside this one or below it.
fn is_beside(name: &str) -> bool {
    let has_plain_parts = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    has_plain_parts && !name.contains('\\') && name.ends_with(".rhai")
}
