//! Every row of `tests/corpora/paths.tsv`, sent to a proxy over a raw socket. Its header says what the columns mean.

use super::api::{ROW, Reached};
use super::client::{Answer, exchange};
use super::gate::Gate;
use super::readings::{is_permitted, is_permitted_however_read};
use super::{Who, World, identity};
use crate::server::corpus::{expand, rows, unescape};
use std::fmt::Write as _;

const CORPUS: &str = include_str!("../../corpora/paths.tsv");
const PAGE: &str = include_str!("../../../docs/proxies.md");
/// What the counts below were taken with. Other versions refuse other requests by themselves, so that their counts are
/// printed, and everything else is asserted.
const COUNTED: [&str; 5] =
    ["nginx 1.22.1", "caddy 2.6.2", "haproxy 2.6.12", "envoy 1.40.0", "traefik 3.7.15"];

struct Row {
    id: &'static str,
    method: String,
    target: Vec<u8>,
    items: Vec<String>,
    expected: String,
}

/// What became of the rows.
#[derive(Default)]
struct Counts {
    passed: usize,
    denied: usize,
    refused: usize,
    /// Rows that a server refuses that they are sent to, and of which the proxy made a request that is permitted.
    mended: Vec<String>,
    /// Rows that reach the program with another target than they were sent with.
    respelled: Vec<String>,
    /// Rows that are permitted, and that the proxy refuses.
    strict: Vec<String>,
    wrong: Vec<String>,
}

/// Sends every row, and looks at what became of it.
pub(super) fn check(name: &str) {
    let world = World::start(name);
    let rows: Vec<Row> = rows(CORPUS, 6).iter().map(|cells| Row::parse(cells)).collect();
    let sent: Vec<(Row, Vec<Answer>)> = rows
        .into_iter()
        .map(|row| {
            let methods = if row.directive("pipeline").is_some() { 2 } else { 1 };
            let answers =
                exchange(world.proxy.address, &row.request(&world.gate), &vec![&*row.method; methods]);
            (row, answers)
        })
        .collect();
    let users: Vec<_> = [Who::Nobody, Who::User, Who::Admin]
        .map(|who| (who, identity::told_by_rolegate(&world.gate, who)))
        .into();
    let World { proxy, gate, api } = world;
    let version = proxy.version.clone();
    proxy.end();
    let all = api.end();

    let mut counts = Counts::default();
    for (row, answers) in &sent {
        let reached: Vec<&Reached> = all.iter().filter(|reached| reached.row() == Some(row.id)).collect();
        counts.count(row, answers, &reached);
        for reached in reached {
            if reached.target != row.target && row.directive("pipeline").is_none() {
                counts.respelled.push(format!("{} -> {}", row.line(), reached.line()));
            }
            let who = row.who();
            let told = &users.iter().find(|(other, _)| *other == who).unwrap().1;
            if !is_permitted_however_read(who, &reached.method, &reached.target) {
                counts.wrong.push(format!("{}: {who:?} reached {}", row.id, reached.line()));
            }
            if let Err(complaint) = identity::judge(reached, told, &gate) {
                counts.wrong.push(format!("{}: {complaint}", row.id));
            }
        }
    }
    for stray in all.iter().filter(|reached| reached.row().is_none() && reached.target != b"/health") {
        counts.wrong.push(format!("a request that nobody sent reached the program: {stray:?}"));
    }
    println!("corpus proxies: {version}: {}", counts.line());
    assert!(counts.wrong.is_empty(), "{}", counts.wrong.join("\n"));
    assert!(counts.passed > 40 && counts.denied > 100, "{}", counts.line());
    if COUNTED.contains(&version.as_str()) {
        let told = counts.row(&version);
        assert!(PAGE.contains(&told), "docs/proxies.md does not have the row `{told}`");
        insta::assert_snapshot!(name, counts.table(&version));
    }
}

impl Row {
    fn parse(cells: &[&'static str]) -> Self {
        let [id, method, target, items, expected, _] = *cells else { panic!("{cells:?}") };
        let items = expand(items);
        let items: Vec<String> =
            items.split(" || ").filter(|item| !item.is_empty()).map(str::to_owned).collect();
        let mut row = Self {
            id,
            method: expand(method),
            target: unescape(&expand(target)),
            items,
            expected: expected.to_owned(),
        };
        // These are about what a proxy tells rolegate; here one tells that does it right.
        if row.directive("drop").is_some() || row.directive("peer").is_some() {
            row.expected = format!("same-as:{target}");
        }
        row
    }

    fn directive(&self, name: &str) -> Option<&str> {
        self.items.iter().find_map(|item| {
            let rest = item.strip_prefix('@')?.strip_prefix(name)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
        })
    }

    /// The bytes of the request, with the row's id among its header fields.
    fn request(&self, gate: &Gate) -> Vec<u8> {
        let mut bytes = self.directive("leading").map(unescape).unwrap_or_default();
        match self.directive("rawline") {
            Some(line) => bytes.extend(unescape(line)),
            None => {
                let version = self.directive("http").unwrap_or("1.1");
                bytes.extend(unescape(&self.method));
                bytes.push(b' ');
                bytes.extend(&self.target);
                bytes.extend(format!(" HTTP/{version}").bytes());
            }
        }
        let marked = format!("{ROW}: {}\r\n", self.id);
        bytes.extend(format!("\r\n{marked}").bytes());
        if self.directive("nohost").is_none() {
            let host = unescape(self.directive("host").unwrap_or("localhost"));
            bytes.extend([b"Host: ".as_slice(), &host, b"\r\n"].concat());
        }
        if let Some(token) = gate.named(self.directive("token")) {
            bytes.extend(format!("Authorization: ApiKey {token}\r\n").bytes());
        }
        for item in self.items.iter().filter(|item| !item.starts_with('@')) {
            bytes.extend(unescape(&gate.with_tokens(item)));
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        for more in ["body", "pipeline"] {
            let text = self.directive(more).map(|text| unescape(&gate.with_tokens(text))).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            bytes.extend(text.replace("\r\nHost:", &format!("\r\n{marked}Host:")).bytes());
        }
        bytes
    }

    /// Who sent what reached the program. Of a row that names several credentials, nobody did.
    fn who(&self) -> Who {
        let own = self.items.iter().filter(|item| !item.starts_with('@')).filter(|item| {
            let item = item.to_lowercase();
            item.starts_with("x-api-key:") || item.starts_with("authorization:")
        });
        let own: Vec<_> = own.collect();
        match (self.directive("token"), own.as_slice()) {
            (None, []) => Who::User,
            (Some("none"), [one]) if one.ends_with(": USER") => Who::User,
            _ => Who::Nobody,
        }
    }

    /// The same in one line, for the table.
    fn line(&self) -> String {
        let target: String = self.target.escape_ascii().to_string().chars().take(40).collect();
        let mut line = format!("{} {:.10} {target}", self.id, self.method);
        for item in &self.items {
            write!(line, " | {item:.60}").unwrap();
        }
        line
    }
}

impl Counts {
    fn count(&mut self, row: &Row, answers: &[Answer], reached: &[&Reached]) {
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let mut wrong = |what: &str| {
            let lines: Vec<_> = reached.iter().map(|reached| reached.line()).collect();
            self.wrong.push(format!("{}: {what}: answers {statuses:?}, reached {lines:?}", row.line()));
        };
        let is_answered = statuses.iter().any(|status| (200..300).contains(status));
        // Programs in Go answer for the server as a whole.
        if is_answered && reached.is_empty() && row.target != b"*" {
            wrong("the proxy answers by itself");
        }
        // Of two requests on a connection the second one is permitted.
        if row.directive("pipeline").is_some() {
            if statuses != [403, 200] || reached.len() != 1 {
                wrong("not the first denied, and the second permitted");
            }
            self.passed += 1;
            return;
        }
        if reached.len() > 1 {
            wrong("one request reached the program more than once");
        }
        let is_denied = answers.iter().any(Answer::is_denial);
        let asked = row.expected.strip_prefix("same-as:").map(|path| {
            let path = expand(path);
            is_permitted(row.who(), &row.method, path.split('?').next().unwrap())
        });
        match asked {
            Some(true) if reached.is_empty() => self.strict.push(format!("{} -> {statuses:?}", row.line())),
            Some(true) if statuses != [200] => wrong("permitted, and not answered so"),
            Some(true) => {}
            Some(false) if !reached.is_empty() => wrong("not permitted"),
            None if row.expected == "deny" && !reached.is_empty() => wrong("not denied"),
            None if row.expected == "400" => {
                self.mended
                    .extend(reached.iter().map(|reached| format!("{} -> {}", row.line(), reached.line())));
            }
            Some(false) | None => {}
        }
        match (reached.is_empty(), is_denied) {
            (false, _) => self.passed += 1,
            (true, true) => self.denied += 1,
            (true, false) => self.refused += 1,
        }
    }

    fn line(&self) -> String {
        let Self { passed, denied, refused, .. } = self;
        let rows = passed + denied + refused;
        format!(
            "{rows} rows, {passed} passed, {denied} denied by rolegate, {refused} refused by the proxy itself"
        )
    }

    /// The same as the documentation has it.
    fn row(&self, version: &str) -> String {
        let Self { passed, denied, refused, .. } = self;
        format!("| {version} | {passed} | {denied} | {refused} |")
    }

    fn table(&self, version: &str) -> String {
        let mut table = format!("{version}: {}\n", self.line());
        for (title, rows) in [
            ("permitted without a proxy, and refused through this one", &self.strict),
            ("refused without a proxy, and made a permitted request by this one", &self.mended),
            ("sent on in another spelling", &self.respelled),
        ] {
            writeln!(table, "\n{title}: {}", rows.len()).unwrap();
            for row in rows {
                writeln!(table, "  {row}").unwrap();
            }
        }
        table
    }
}
