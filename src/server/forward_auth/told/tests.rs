//! Facts that are told once, twice, in contradiction, by half, and not at all.

use super::*;
use proptest::prelude::*;

fn fields(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers
            .append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// What is told by header fields alone, by a proxy that asks with `GET`.
fn told(more: &[(&str, &str)]) -> Result<Told, Untold> {
    Told::take(Asked { method: &Method::GET, appended: None, authority: None }, &mut fields(more))
}

/// What is told by a proxy that appends the target.
fn appended(method: &str, target: &str, more: &[(&str, &str)]) -> Result<Told, Untold> {
    let method = method.parse().unwrap();
    Told::take(Asked { method: &method, appended: Some(target), authority: None }, &mut fields(more))
}

fn shown(told: &Told) -> String {
    format!("{} {}", told.method, told.target)
}

const METHOD: (&str, &str) = ("x-forwarded-method", "POST");
const TARGET: (&str, &str) = ("x-forwarded-uri", "/a?b=1");

#[test]
fn each_proxy_is_understood() {
    for (name, fields, expected) in [
        ("Caddy and Traefik", &[METHOD, TARGET][..], "POST /a?b=1"),
        ("nginx", &[("x-original-method", "PUT"), ("x-original-uri", "/a%20b")], "PUT /a%20b"),
        (
            "nginx on Kubernetes",
            &[("x-original-method", "GET"), ("x-original-url", "https://h/a")],
            "GET https://h/a",
        ),
        (
            "mixed, in agreement",
            &[METHOD, ("x-original-method", "POST"), TARGET, ("x-original-uri", "/a?b=1")],
            "POST /a?b=1",
        ),
        (
            "a server-wide request",
            &[("x-forwarded-method", "OPTIONS"), ("x-forwarded-uri", "*")],
            "OPTIONS *",
        ),
    ] {
        assert_eq!(shown(&told(fields).unwrap()), expected, "{name}");
    }
    assert_eq!(shown(&appended("DELETE", "/a?b=1", &[]).unwrap()), "DELETE /a?b=1");
    assert_eq!(shown(&appended("OPTIONS", "*", &[]).unwrap()), "OPTIONS *");
    assert_eq!(shown(&appended("POST", "/a?b=1", &[METHOD, TARGET]).unwrap()), "POST /a?b=1");
}

#[test]
fn method_and_target_are_never_assumed() {
    assert_eq!(told(&[TARGET]), Err(Untold::NoMethod));
    assert_eq!(told(&[METHOD]), Err(Untold::NoTarget));
    assert_eq!(told(&[]), Err(Untold::NoMethod));
    // These belong to Envoy, which appends the target.
    assert_eq!(told(&[TARGET, ("x-http-method-override", "GET")]), Err(Untold::NoMethod));
}

#[test]
fn what_is_told_twice_is_refused_even_in_agreement() {
    for name in [FORWARDED_METHOD, ORIGINAL_METHOD, FORWARDED_URI, ORIGINAL_URI, ORIGINAL_URL] {
        let value = if name.as_str().ends_with("method") { METHOD.1 } else { TARGET.1 };
        let twice = [METHOD, TARGET, (name.as_str(), value), (name.as_str(), value)];
        assert_eq!(told(&twice), Err(Untold::Repeated(name)));
    }
    for (name, value) in
        [(HOST, "h"), (FORWARDED_HOST, "h"), (FORWARDED_PROTO, "https"), (FORWARDED_FOR, "192.0.2.1")]
    {
        let once = [METHOD, TARGET, (name.as_str(), value)];
        assert!(told(&once).is_ok(), "{name}");
        let twice = [METHOD, TARGET, (name.as_str(), value), (name.as_str(), value)];
        assert_eq!(told(&twice), Err(Untold::Repeated(name)));
    }
}

#[test]
fn sources_that_differ_are_refused() {
    let contradicted = |fact, name| Err(Untold::Contradicted { fact, name });
    assert_eq!(
        told(&[METHOD, TARGET, ("x-original-method", "GET")]),
        contradicted("method", ORIGINAL_METHOD)
    );
    assert_eq!(
        told(&[METHOD, TARGET, ("x-original-method", "post")]),
        contradicted("method", ORIGINAL_METHOD)
    );
    for (name, other) in [(ORIGINAL_URI, "/a"), (ORIGINAL_URI, "/a?b=%31"), (ORIGINAL_URL, "http://h/a?b=1")]
    {
        assert_eq!(told(&[METHOD, TARGET, (name.as_str(), other)]), contradicted("target", name));
    }
    assert_eq!(appended("GET", "/a?b=1", &[METHOD]), contradicted("method", FORWARDED_METHOD));
    assert_eq!(appended("GET", "/admin", &[TARGET]), contradicted("target", FORWARDED_URI));
    let host = |told| appended("GET", "/a", &[("host", "h"), ("x-forwarded-host", told)]);
    assert_eq!(host("evil.example"), contradicted("host", FORWARDED_HOST));
    assert!(host("H").is_ok());
}

#[test]
fn target_that_may_be_two_is_refused() {
    for target in ["/a,/b", "/a, /b", "/a?,/b", "/a?x=1,http://h/b", "/a,HTTPS://h/b"] {
        let joined = told(&[METHOD, ("x-forwarded-uri", target)]);
        assert_eq!(joined, Err(Untold::Joined), "{target}");
    }
    for target in ["/a,b", "/a,", "/,a/b", "/a?x=1,2", "/a%2C/b", "/a,http"] {
        assert_eq!(shown(&told(&[METHOD, ("x-forwarded-uri", target)]).unwrap()), format!("POST {target}"));
    }
    // Nothing joins request lines.
    assert_eq!(shown(&appended("GET", "/a,/b", &[]).unwrap()), "GET /a,/b");
}

#[test]
fn target_is_visible_ascii_without_a_fragment() {
    for target in ["/a#b", "/a b", "/a\tb", "/é", "", "a/b", "/a\u{80}"] {
        assert_eq!(told(&[METHOD, ("x-forwarded-uri", target)]), Err(Untold::Target), "{target:?}");
    }
    for target in ["x", "http://h/a", "?a"] {
        assert_eq!(appended("GET", target, &[]), Err(Untold::Target), "{target:?}");
    }
    assert_eq!(told(&[TARGET, ("x-forwarded-method", "GET,GET")]), Err(Untold::Method));
    assert_eq!(told(&[TARGET, ("x-forwarded-method", "")]), Err(Untold::Method));
}

#[test]
fn client_is_the_last_address() {
    let client = |value: &str| told(&[METHOD, TARGET, ("x-forwarded-for", value)]).map(|told| told.client_ip);
    for (value, address) in [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", "192.0.2.1"),
        ("unknown,, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1,2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ] {
        assert_eq!(client(value), Ok(Some(address.parse().unwrap())), "{value}");
    }
    for value in
        ["", "unknown", "192.0.2.1,", "192.0.2.1:80", "[2001:db8::1]", "192.0.2.1 192.0.2.2", "fe80::1%eth0"]
    {
        assert_eq!(client(value), Err(Untold::Client), "{value}");
    }
    assert_eq!(told(&[METHOD, TARGET]).unwrap().client_ip, None);
}

#[test]
fn scheme_is_one_of_the_web() {
    let scheme = |value: &str| told(&[METHOD, TARGET, ("x-forwarded-proto", value)]).err();
    for value in ["http", "https", "HTTPS", "ws", "wss"] {
        assert_eq!(scheme(value), None, "{value}");
    }
    for value in ["", "ftp", "http,https", "https, http"] {
        assert_eq!(scheme(value), Some(Untold::Scheme), "{value}");
    }
}

#[test]
fn host_is_the_one_that_is_told() {
    let host = |more: &[(&str, &str)], authority: Option<&str>| {
        let authority = authority.map(|authority| authority.parse().unwrap());
        let mut headers = fields(&[&[METHOD], more].concat());
        Told::take(
            Asked { method: &Method::GET, appended: None, authority: authority.as_ref() },
            &mut headers,
        )
        .unwrap();
        headers.get(HOST).map(|host| host.to_str().unwrap().to_owned())
    };
    let own = ("host", "rolegate");
    assert_eq!(host(&[TARGET, own], None).unwrap(), "rolegate");
    assert_eq!(host(&[TARGET, own, ("x-forwarded-host", "h")], None).unwrap(), "h");
    assert_eq!(host(&[("x-original-url", "http://h:81/a"), own], None).unwrap(), "h:81");
    assert_eq!(host(&[TARGET], Some("authority")).unwrap(), "authority");
    assert_eq!(host(&[TARGET], None), None);
}

#[test]
fn facts_about_method_and_target_do_not_stay_in_the_header_fields() {
    let mut headers = fields(&[METHOD, TARGET, ("x-original-uri", TARGET.1), ("x-kept", "1")]);
    Told::take(Asked { method: &Method::GET, appended: None, authority: None }, &mut headers).unwrap();
    assert_eq!(headers, fields(&[("x-kept", "1")]));
}

/// A proxy asks for each request that it has: what is taken from the heap is known.
#[test]
fn facts_take_one_text_from_the_heap() {
    let more = [
        METHOD,
        TARGET,
        ("x-forwarded-host", "h"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "::1"),
    ];
    let mut headers = fields(&more);
    let counted = allocation_counter::measure(|| {
        let asked = Asked { method: &Method::GET, appended: None, authority: None };
        Told::take(asked, &mut headers).unwrap();
    });
    assert!(counted.count_total <= 3, "{counted:?}");
}

/// A header field that may tell something.
fn any_field() -> impl Strategy<Value = (&'static str, &'static str)> {
    let names = prop::sample::select(vec![
        "x-forwarded-method",
        "x-original-method",
        "x-forwarded-uri",
        "x-original-uri",
        "x-original-url",
        "x-http-method-override",
        "x-rewrite-url",
        "x-method-override",
        "forwarded",
        "x-envoy-original-path",
    ]);
    let values = prop::sample::select(vec![
        "GET",
        "POST",
        "/a",
        "/b?c",
        "/a,/b",
        "http://h/a",
        "*",
        "",
        "/a#b",
        "GET,POST",
        "/%2e%2e/a",
        "for=x;proto=y",
    ]);
    (names, values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is sent, what is decided on is exactly what one source said, and no other source of its kind said
    /// anything else.
    #[test]
    fn what_is_decided_is_what_every_source_said(
        sent in prop::collection::vec(any_field(), 0..6),
        line in prop::sample::select(vec!["GET", "POST", "DELETE"]),
        rest in prop::sample::select(vec![None, Some("/a"), Some("/b?c"), Some("*"), Some("x")]),
    ) {
        let method: Method = line.parse().unwrap();
        let asked = Asked { method: &method, appended: rest, authority: None };
        let Ok(told) = Told::take(asked, &mut fields(&sent)) else { return Ok(()) };
        let said = |names: &[&str]| -> Vec<&str> {
            sent.iter().filter(|(name, _)| names.contains(name)).map(|(_, value)| *value).collect()
        };
        let mut methods = said(&["x-forwarded-method", "x-original-method"]);
        let mut targets = said(&["x-forwarded-uri", "x-original-uri", "x-original-url"]);
        methods.extend(rest.map(|_| line));
        targets.extend(rest);
        prop_assert!(!methods.is_empty() && !targets.is_empty());
        for said in methods {
            prop_assert_eq!(told.method.as_str(), said);
        }
        for said in targets {
            prop_assert_eq!(told.target.to_string(), said);
        }
    }
}
