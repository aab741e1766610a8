use super::*;
use crate::policy::warn::Specification;

fn routes(text: &str, prefix: Option<&str>) -> Vec<String> {
    let read = read("api.yaml", text.as_bytes(), prefix).unwrap();
    let shown = |route: &SpecifiedRoute| {
        format!("{} {} as {} at {}", route.method, route.path, route.pattern, route.location)
    };
    read.routes.iter().map(shown).collect()
}

fn errors(text: &str) -> Vec<String> {
    let read = read("api.yaml", text.as_bytes(), None);
    read.err()
        .unwrap()
        .problems()
        .iter()
        .map(|problem| format!("{}: {}", problem.location, problem.message))
        .collect()
}

fn with_paths(paths: &str) -> String {
    format!("openapi: 3.0.3\npaths:\n{paths}")
}

#[test]
fn routes_have_their_places_and_parameters_are_segments() {
    let text = "openapi: 3.1.0\ninfo: {title: t, version: '1'}\nservers:\n  - url: https://example.org/api/\npaths:\n  \
                /a/{pet-id}:\n    summary: s\n    get: {}\n    x-more: 1\n    post: {responses: {}}\n  x-other: {}\n  /:\n    delete: {}\n";
    assert_eq!(
        routes(text, None),
        [
            "GET /api/a/{pet-id} as /api/a/* at api.yaml:8:5",
            "POST /api/a/{pet-id} as /api/a/* at api.yaml:10:5",
            "DELETE /api/ as /api/ at api.yaml:13:5"
        ]
    );
    assert_eq!(routes(text, Some("/v2/"))[0], "GET /v2/a/{pet-id} as /v2/a/* at api.yaml:8:5");
    assert_eq!(routes(text, Some(""))[2], "DELETE / as / at api.yaml:13:5");
}

#[test]
fn json_is_read_with_its_places() {
    let text = "{\n\t\"openapi\": \"3.0.0\",\n\t\"paths\": {\n\t\t\"\\/a\": { \"get\": {} }\n\t}\n}\n";
    assert_eq!(routes(text, None), ["GET /a as /a at api.yaml:4:12"]);
}

#[test]
fn json_escapes_letters_in_two_halves() {
    let text = r#"{"openapi": "3.1.0", "x-n": "\\ud83d\ud83d\ude00",
        "paths": {"/\ud83d\ude00\u00e9": {"get": {"summary": "\uD83D\uDE00 \\\" \\"}}}}"#;
    assert_eq!(routes(text, None), ["GET /😀é as /%F0%9F%98%80%C3%A9 at api.yaml:2:41"]);
    // Half of a letter is none.
    for half in ["\\ud83d", "\\ude00\\ud83d", "\\ud83dx", "\\ud83d\\u0041", "\\ud83d\\n"] {
        let text = format!("{{\"openapi\": \"3.0.0\", \"paths\": {{\"/{half}\": {{\"get\": {{}}}}}}}}");
        assert!(read("api.json", text.as_bytes(), None).is_err(), "{half}");
    }
}

#[test]
fn servers_give_the_prefix_the_nearest_ones_first() {
    let with = |servers: &str| {
        let text = format!("openapi: 3.0.0\nservers:\n{servers}paths:\n  /a:\n    get: {{}}\n");
        read("api.yaml", text.as_bytes(), None).map(|read| read.prefixes)
    };
    for (servers, expected) in [
        ("  - url: /\n", &[""][..]),
        ("  - url: /v1\n", &["/v1"]),
        ("  - url: https://a.example\n  - url: http://b.example/\n", &[""]),
        ("  - url: https://a.example/v1\n  - url: //b.example/v2\n", &["/v1", "/v2"]),
        (
            "  - url: https://{host}:{port}/{base}\n    variables: {host: {default: h}, port: {default: '8'}, base: {default: v3}}\n",
            &["/v3"],
        ),
    ] {
        assert_eq!(with(servers).unwrap(), expected, "{servers}");
    }
    for servers in
        ["  - url: v1\n", "  - url: /a?b\n", "  - url: /{x}\n", "  - {}\n", "  - a\n", "  {a: b}\n"]
    {
        assert!(with(servers).is_err(), "{servers}");
    }
    let text =
        with_paths("  /a:\n    servers: [{url: /one}]\n    get: {}\n    put: {servers: [{url: /two}]}\n");
    assert_eq!(
        routes(&text, None),
        ["GET /one/a as /one/a at api.yaml:5:5", "PUT /two/a as /two/a at api.yaml:6:5"]
    );
    assert_eq!(routes(&text, Some("/x"))[1], "PUT /x/a as /x/a at api.yaml:6:5");
}

#[test]
fn what_no_pattern_can_say_is_noted() {
    let text = with_paths(
        "  /a/{x}.json:\n    get: {}\n    put: {}\n    trace: {}\n  /{x}:{y}/b: {get: {}}\n  /a*b/{c}: {get: {}}\n",
    );
    let Specification { routes, notes, .. } = read("api.yaml", text.as_bytes(), None).unwrap();
    let patterns: Vec<String> = routes.iter().map(|route| route.pattern.to_string()).collect();
    assert_eq!(patterns[..3], ["/a/*", "/a/*", "/*/b"]);
    assert!(!patterns[3].starts_with("/*") && routes.len() == 4, "{patterns:?}");
    let notes: Vec<String> = notes.iter().map(|(place, note)| format!("{place}: {note}")).collect();
    assert_eq!(
        notes,
        [
            "api.yaml:3:3: in `/a/{x}.json`, `{x}.json` is taken for a whole segment",
            "api.yaml:6:5: `trace` is left out: no rule can name it, so that nobody reaches it",
            "api.yaml:7:3: in `/{x}:{y}/b`, `{x}:{y}` is taken for a whole segment",
        ]
    );
}

#[test]
fn what_cannot_be_told_is_refused_with_its_place() {
    for (text, expected) in [
        (
            "a: 1\n".to_owned(),
            "api.yaml:1:1: this is no OpenAPI document: it has no `openapi: 3.0.0` or `openapi: 3.1.0`",
        ),
        (
            "swagger: '2.0'\n".to_owned(),
            "api.yaml:1:1: the document is of Swagger 2; convert it to OpenAPI 3.0 or 3.1",
        ),
        (
            "openapi: 4.0.0\n".to_owned(),
            "api.yaml:1:10: the document is of OpenAPI `4.0.0`; 3.0 and 3.1 are read",
        ),
        (
            "openapi: 3.1.0\n".to_owned(),
            "api.yaml:1:1: the document has no `paths`, so that there is nothing to compare",
        ),
        (
            "openapi: 3.1.0\npaths: {}\n".to_owned(),
            "api.yaml:1:1: the document has no route, so that there is nothing to compare",
        ),
        (
            with_paths("  /a:\n    $ref: other.yaml\n"),
            "api.yaml:4:5: the path `/a` is a reference, and references are not followed",
        ),
        (with_paths("  /a: {gett: {}}\n"), "api.yaml:3:8: a path has no key `gett`"),
        (
            with_paths("  a: {get: {}}\n"),
            "api.yaml:3:3: no request can have the path `a`: it does not start with `/`",
        ),
        (with_paths("  /a: [get]\n"), "api.yaml:3:7: a path must be a map, and this is a list"),
        (with_paths("  /a: {get: 1}\n"), "api.yaml:3:13: `get` must be a map, and this is text"),
        (
            with_paths("  /a: &x {get: {}}\n"),
            "api.yaml:3:7: anchors are not accepted; write the value where it is needed",
        ),
    ] {
        assert_eq!(errors(&text), [expected], "{text}");
    }
    let twice = errors(&with_paths("  /a//b: {get: {}, put: {}}\n"));
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert!(twice[0].contains("no request can have the path `/a//b`"), "{twice:?}");
}

#[test]
fn limits_hold_at_the_limit_and_past_it() {
    let paths = |count: usize| -> String {
        let paths: String = (0..count).map(|number| format!("  /{number}: {{get: {{}}}}\n")).collect();
        with_paths(&paths)
    };
    assert_eq!(routes(&paths(OPENAPI_ROUTES_MAX), None).len(), OPENAPI_ROUTES_MAX);
    assert_eq!(errors(&paths(OPENAPI_ROUTES_MAX + 1)).len(), 1);

    let mut text = with_paths("  /a: {get: {}}\n#");
    text.push_str(&"x".repeat(OPENAPI_MAX_BYTES - text.len()));
    assert_eq!(routes(&text, None).len(), 1);
    text.push('x');
    assert!(errors(&text)[0].contains("larger than"));

    let nested = |depth: usize| {
        with_paths(&format!("  /a: {{get: {{}}, x-deep: {}{}}}\n", "[".repeat(depth), "]".repeat(depth)))
    };
    assert_eq!(routes(&nested(OPENAPI_DEPTH_MAX - 3), None).len(), 1);
    assert!(errors(&nested(OPENAPI_DEPTH_MAX - 2))[0].contains("nested more than"));
    let wide = |count: usize| with_paths(&format!("  /a: {{get: {{}}, x-wide: [{}]}}\n", "1,".repeat(count)));
    assert_eq!(routes(&wide(OPENAPI_NODES_MAX - 20), None).len(), 1);
    assert!(errors(&wide(OPENAPI_NODES_MAX))[0].contains("keys and values"));
}
