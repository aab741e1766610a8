//! Who a request comes from, as the program behind a proxy is told: by rolegate alone, whatever a client says.

use super::api::{ROW, Reached};
use super::client::exchange;
use super::gate::Gate;
use super::{Who, World};

/// The fields that rolegate tells.
const FIELDS: [&str; 4] =
    ["x-rolegate-token-id", "x-rolegate-name", "x-rolegate-roles", "x-rolegate-decision"];
/// What else it tells; some proxies pass it on.
const POLICY: &str = "x-rolegate-policy";
/// It takes the client's own fields away when it has asked, and cannot before.
const HANDS_ON: &str = "traefik";
/// What else tells rolegate who a request comes from, or a proxy what it asks about.
const SPENT: [&str; 4] = ["authorization", "x-api-key", "x-forwarded-method", "x-forwarded-uri"];
const FORGED: &str = "forged";

/// The values of the fields, the last of which is another one for each request.
pub(super) type Told = [String; 4];

/// What rolegate tells a proxy about somebody.
pub(super) fn told_by_rolegate(gate: &Gate, who: Who) -> Told {
    let credential = gate.token(who).map(|token| format!("Authorization: ApiKey {token}\r\n"));
    let question = format!(
        "GET /forward-auth HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: {}\r\n{}\r\n",
        if who == Who::Nobody { "/health" } else { "/api/users" },
        credential.unwrap_or_default()
    );
    let answers = exchange(gate.address, question.as_bytes(), &["GET"]);
    assert_eq!(answers[0].status, 200, "{answers:?}");
    FIELDS.map(|name| answers[0].field(name).unwrap().to_owned())
}

/// Looks whether the program is told that, once, and nothing else that could be taken for it.
pub(super) fn judge(reached: &Reached, told: &Told, gate: &Gate) -> Result<(), String> {
    let complaint = |what: String| Err(format!("{what}: {} {:?}", reached.line(), reached.fields));
    for (name, told) in FIELDS.into_iter().zip(told) {
        // nginx leaves a field out instead of sending it empty.
        let values: Vec<&str> = reached.values(name).collect();
        let is_told = match values.as_slice() {
            [] => told.is_empty(),
            [value] if name == "x-rolegate-decision" => !value.is_empty() && *value != FORGED,
            [value] => value == told,
            _ => false,
        };
        if !is_told {
            return complaint(format!("`{name}` is {values:?} and not `{told}`"));
        }
    }
    for (name, value) in &reached.fields {
        let plain = name.to_lowercase().replace(['_', '.'], "-");
        let is_ours = name.to_lowercase() == plain && (FIELDS.contains(&&*plain) || plain == POLICY);
        if plain.starts_with("x-rolegate") && !is_ours || value == FORGED {
            return complaint(format!("the client's `{name}` reached the program"));
        }
        if SPENT.contains(&plain.as_str())
            || [Who::User, Who::Admin].iter().any(|who| value.contains(gate.token(*who).unwrap()))
        {
            return complaint(format!("`{name}` reached the program"));
        }
    }
    Ok(())
}

/// Has a client forge the fields in every spelling, and take away those of rolegate.
pub(super) fn check(name: &str) {
    let world = World::start(name);
    let all = [FIELDS.as_slice(), &[POLICY]].concat();
    let forge = |names: &[&str]| names.iter().map(|name| format!("{name}: {FORGED}\r\n")).collect::<String>();
    let twice = forge(&all).repeat(2);
    let hidden = format!("Connection: close, {}\r\n", FIELDS.join(", "));
    // Some refuse this; of a proxy that hands names with a dot on, rolegate refuses the request.
    let mut kinds = vec![(String::new(), true), (forge(&all), true), (twice, true), (hidden, false)];
    for field in &all {
        let spellings = spellings(field);
        kinds.push((forge(&spellings.iter().map(String::as_str).collect::<Vec<_>>()), name != HANDS_ON));
    }
    let mut sent = Vec::new();
    for (who, target) in [(Who::User, "/api/users"), (Who::Admin, "/admin"), (Who::Nobody, "/public/a.css")] {
        let credential = world.gate.token(who).map(|token| format!("X-API-Key: {token}\r\n"));
        for (fields, must_pass) in &kinds {
            let row = format!("S{}", sent.len());
            let request = format!(
                "GET {target} HTTP/1.1\r\n{ROW}: {row}\r\nHost: localhost\r\n{}{fields}\r\n",
                credential.as_deref().unwrap_or_default()
            );
            let answers = exchange(world.proxy.address, request.as_bytes(), &["GET"]);
            let status = answers[0].status;
            assert!(
                status == 200 || !must_pass && matches!(status, 400 | 403),
                "{row} {who:?} {fields}: {answers:?}"
            );
            sent.push((row, who, status));
        }
    }
    let told = |who| told_by_rolegate(&world.gate, who);
    let told = [Who::Nobody, Who::User, Who::Admin].map(|who| (who, told(who)));
    assert_eq!(told[0].1[..3], ["", "", ""]);
    assert_eq!(told[1].1[1..3], ["token%20of%20user", "user"]);
    let World { proxy, gate, api } = world;
    proxy.end();
    let all = api.end();
    for (row, who, status) in sent {
        let reached: Vec<&Reached> = all.iter().filter(|reached| reached.row() == Some(&row)).collect();
        assert_eq!(reached.len(), usize::from(status == 200), "{row}");
        for reached in reached {
            let told = &told.iter().find(|(other, _)| *other == who).unwrap().1;
            assert_eq!(judge(reached, told, &gate), Ok(()), "{row} {who:?}");
        }
    }
}

/// Has a client tell another address and another host than its own, as proxies do.
pub(super) fn check_client(name: &str) {
    let world = World::start(name);
    let token = world.gate.token(Who::User).unwrap();
    let told = "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Host: evil.example\r\nX-Real-IP: 10.1.2.3\r\n\
                Forwarded: for=10.1.2.3;host=evil.example\r\n";
    for fields in ["", told, &told.repeat(2)] {
        for (target, status) in
            [("/client/own", 200), ("/client/told", 403), ("/host/own", 200), ("/host/told", 403)]
        {
            let request =
                format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {token}\r\n{fields}\r\n");
            let answers = exchange(world.proxy.address, request.as_bytes(), &["GET"]);
            assert_eq!(answers[0].status, status, "{target} {fields}: {answers:?}");
        }
    }
}

/// A name with any of `-`, `_` and `.` in the place of each `-`, and in capitals.
fn spellings(name: &str) -> Vec<String> {
    let mut spellings = vec![String::new()];
    for part in name.split('-') {
        spellings = spellings
            .iter()
            .flat_map(|before| match before.as_str() {
                "" => vec![part.to_owned()],
                _ => ["-", "_", "."].map(|between| format!("{before}{between}{part}")).to_vec(),
            })
            .collect();
    }
    spellings.push(name.to_uppercase());
    spellings
}

#[test]
fn spellings_are_all() {
    let spellings = spellings("a-b-c");
    assert_eq!(spellings.len(), 10);
    for spelling in ["a-b-c", "a_b_c", "a.b.c", "a-b_c", "a.b-c", "A-B-C"] {
        assert!(spellings.contains(&spelling.to_owned()), "{spelling}");
    }
}
