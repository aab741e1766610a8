//! The rules and requests that every engine gets.

/// The sizes at which all are measured.
pub const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Roles; each rule is about one of them.
pub const ROLES: usize = 100;
/// Requests that are made in turn.
pub const REQUESTS: usize = 1_024;

/// One rule: a role may call one route.
pub struct Rule {
    pub role: String,
    pub pattern: String,
}

/// One request, with all that an engine may want to know of it, and the answer that it must get.
#[derive(Clone)]
pub struct Request {
    /// The one role of whoever makes it.
    pub role: String,
    pub path: String,
    /// The pattern of the route, as a router in front of an engine would tell it.
    pub route: String,
    pub expected: bool,
}

/// The method of all rules and requests.
pub const METHOD: &str = "GET";

pub fn rules(size: usize) -> Vec<Rule> {
    (0..size).map(|number| Rule { role: role(number), pattern: pattern(number) }).collect()
}

/// Uniformly random requests, the same in every run; every fourth is of a role that may not make it.
pub fn requests(size: usize) -> Vec<Request> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).unwrap_or_default() % end
    };
    let requests = (0..REQUESTS).map(|number| {
        let rule = below(size);
        let expected = number % 4 != 3;
        let path = pattern(rule).replace("{id}", &below(1_000_000).to_string());
        Request { role: role(if expected { rule } else { rule + 1 }), path, route: pattern(rule), expected }
    });
    requests.collect()
}

pub fn role(number: usize) -> String {
    format!("role-{}", number % ROLES)
}

fn pattern(rule: usize) -> String {
    format!("/api/service-{}/resource-{rule}/{{id}}", rule % 317)
}
