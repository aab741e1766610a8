//! The page: one file, without anything from elsewhere. Everything that policies name is text in it, and never
//! markup.

use super::{kind_name, methods, route, subject_name};
use crate::policy::matrix::{Cell, CellKind, Matrix, MatrixRow};
use crate::policy::{PolicySet, Source};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The longest line of a policy that the page repeats, in characters.
const LINE_MAX: usize = 200;

/// A line of the tree: a part of the way that several rows share, or the end of one.
struct Branch<'m> {
    depth: usize,
    label: String,
    rows: Vec<&'m MatrixRow>,
}

/// The whole page.
pub(super) fn page(sources: &[Source], policies: &PolicySet, matrix: &Matrix) -> String {
    let mut html = String::new();
    let title = format!("Who may call what: policy {}", policies.version());
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    head(&mut html, policies, matrix);
    table(&mut html, matrix);
    let rules = rules_json(sources, policies, matrix);
    let _ = write!(
        html,
        "<aside id=\"told\" hidden></aside>\n<script type=\"application/json\" id=\"rules\">{}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        // The only way out of a script is a tag.
        rules.to_string().replace('<', "\\u003c")
    );
    html
}

fn head(html: &mut String, policies: &PolicySet, matrix: &Matrix) {
    let _ = write!(
        html,
        "<header>\n<h1>Who may call what</h1>\n<p>{} routes, {} roles, {} rules, policy <code>{}</code></p>\n\
         <div class=\"tools\"><input id=\"filter\" type=\"search\" placeholder=\"Filter: route, method, file\" \
         aria-label=\"Filter the routes\">\n",
        matrix.rows.len(),
        matrix.subjects.len().saturating_sub(2),
        policies.rules().len(),
        policies.version()
    );
    for (kind, what) in [
        (CellKind::Allowed, "allowed"),
        (CellKind::Conditional, "conditions decide"),
        (CellKind::Denied, "denied by a rule"),
        (CellKind::Open, "open to everyone"),
        (CellKind::Nothing, "nothing allows it"),
    ] {
        let (name, mark) = (kind_name(kind), mark(kind));
        let _ = writeln!(
            html,
            "<button type=\"button\" class=\"{name}\" data-kind=\"{name}\" aria-pressed=\"false\" \
             title=\"Only routes with such a cell\"><b>{mark}</b> {what}</button>"
        );
    }
    html.push_str("<span id=\"count\" role=\"status\"></span></div>\n</header>\n");
}

fn table(html: &mut String, matrix: &Matrix) {
    html.push_str("<div class=\"sheet\"><table>\n<thead><tr><th scope=\"col\">Route</th>");
    for subject in &matrix.subjects {
        let _ = write!(html, "<th scope=\"col\"><span>{}</span></th>", escaped(subject_name(subject)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for branch in branches(&matrix.rows) {
        let Branch { depth, label, rows } = branch;
        if rows.is_empty() {
            let _ = writeln!(
                html,
                "<tr class=\"way\" data-depth=\"{depth}\"><th scope=\"row\" colspan=\"{}\" style=\"--depth:{depth}\">{}</th></tr>",
                matrix.subjects.len() + 1,
                escaped(&label)
            );
        }
        for row in rows {
            let _ = write!(
                html,
                "<tr data-depth=\"{depth}\" data-route=\"{}\"><th scope=\"row\" style=\"--depth:{depth}\">{} <small>{}</small></th>",
                escaped(&route(row)),
                escaped(&label),
                methods(row.methods)
            );
            row.cells.iter().for_each(|cell| write_cell(html, cell));
            html.push_str("</tr>\n");
        }
    }
    html.push_str("</tbody>\n</table></div>\n");
}

fn write_cell(html: &mut String, cell: &Cell) {
    let rules: Vec<String> = cell.rules.iter().map(|rule| rule.get().to_string()).collect();
    let _ = write!(
        html,
        "<td class=\"{}\" data-rules=\"{}\" tabindex=\"-1\">{}</td>",
        kind_name(cell.kind),
        rules.join(" "),
        mark(cell.kind)
    );
}

/// A sign beside the colour, for those who do not see it.
const fn mark(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Nothing => "\u{b7}",
        CellKind::Denied => "\u{2715}",
        CellKind::Conditional => "?",
        CellKind::Allowed => "\u{2713}",
        CellKind::Open => "\u{25cb}",
    }
}

/// The rows as a tree. What several have in common at their start is a line above them: the row of its own that
/// ends there, or else one that only names the way.
fn branches(rows: &[MatrixRow]) -> Vec<Branch<'_>> {
    let mut ends: Vec<End<'_>> = Vec::new();
    for row in rows {
        let way = way(row);
        match ends.last_mut() {
            Some(end) if end.way == way => end.rows.push(row),
            _ => ends.push(End { way, rows: vec![row] }),
        }
    }
    let mut branches = Vec::new();
    grow(&ends, 0, 0, &mut branches);
    branches
}

/// All rows of one pattern, and the segments of their way.
struct End<'m> {
    way: Vec<String>,
    rows: Vec<&'m MatrixRow>,
}

/// Adds what has the same first `open` segments. The recursion is as deep as patterns have segments.
fn grow<'m>(ends: &[End<'m>], open: usize, depth: usize, branches: &mut Vec<Branch<'m>>) {
    for group in ends.chunk_by(|one, other| one.way.get(open) == other.way.get(open)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        // They come ordered, so that what the first and the last have in common, all have.
        let shared = first.way.iter().zip(&last.way).take_while(|(one, other)| one == other).count();
        let label: String = first.way.iter().take(shared).skip(open).map(String::as_str).collect();
        let ends_here = first.way.len() == shared;
        let rows = if ends_here { first.rows.clone() } else { Vec::new() };
        branches.push(Branch { depth, label, rows });
        let below = if ends_here { group.get(1..) } else { Some(group) };
        if let Some(below) = below.filter(|below| !below.is_empty()) {
            grow(below, shared, depth + 1, branches);
        }
    }
}

/// The segments of a pattern, each with its slash.
fn way(row: &MatrixRow) -> Vec<String> {
    row.pattern.to_string().split('/').skip(1).map(|segment| format!("/{segment}")).collect()
}

/// What the page tells of each rule that a cell names.
fn rules_json(sources: &[Source], policies: &PolicySet, matrix: &Matrix) -> Value {
    let lines: HashMap<&str, Vec<&str>> =
        sources.iter().map(|source| (&*source.name, source.text.lines().collect())).collect();
    let mut rules = serde_json::Map::new();
    for id in matrix.rows.iter().flat_map(|row| &row.cells).flat_map(|cell| &cell.rules) {
        let Some(rule) = policies.rule(*id) else { continue };
        let line = lines.get(&*rule.location.file).and_then(|lines| {
            lines.get((rule.location.line as usize).checked_sub(1)?).map(|line| line.trim())
        });
        let line: String = line.unwrap_or_default().chars().take(LINE_MAX).collect();
        let told = json!({
            "at": rule.location.to_string(),
            "line": line,
            "permission": rule.permission.as_deref(),
            "conditional": rule.is_conditional(),
        });
        rules.insert(id.get().to_string(), told);
    }
    Value::from(rules)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_policies_name_is_never_markup() {
        assert_eq!(escaped("<b a=\"x\" c='y'>&"), "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;");
        assert_eq!(escaped("/api/{id}"), "/api/{id}");
    }
}
