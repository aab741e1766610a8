//! Where URL, path and token come from: flags before environment before file.

use super::world::{Reply, Server, Sts, TOKEN};

fn listing() -> Server {
    Server::start().with("GET /api/security/tokens", Reply::json("[]"))
}

fn config(url: &str, token: &str) -> String {
    format!("contexts:\n- name: c\n  context:\n    url: {url}\n    {token}\ncurrent-context: c\n")
}

/// The token header of the last request.
fn token_sent(server: &Server) -> (String, String) {
    let mut headers = server.seen().pop().map(|seen| seen.headers).unwrap_or_default();
    headers.retain(|name, _| name.starts_with("x-api-"));
    assert_eq!(headers.len(), 1, "one token is sent: {headers:?}");
    headers.pop_first().unwrap_or_default()
}

#[test]
fn url_comes_from_flag_before_environment_before_file() {
    let server = listing();
    let (url, elsewhere) = (server.url(), "http://127.0.0.1:9");
    let list = || Sts::of("service-token list").env("STS_CLI_SERVICE_TOKEN", TOKEN);
    let by_file = list().config(&config(&url, "api-token: x"));
    assert_eq!(by_file.run().code, 0);
    let by_env = list().config(&config(elsewhere, "api-token: x")).env("STS_CLI_URL", &url);
    assert_eq!(by_env.run().code, 0);
    let by_flag = list().env("STS_CLI_URL", elsewhere).arg("--url").arg(&url);
    assert_eq!(by_flag.run().code, 0);
    let empty_is_unset = list().config(&config(&url, "api-token: x")).env("STS_CLI_URL", "");
    assert_eq!(empty_is_unset.run().code, 0);
}

#[test]
fn each_kind_of_token_has_its_header() {
    for (flag, variable, header) in [
        ("--service-token", "STS_CLI_SERVICE_TOKEN", "x-api-key"),
        ("--api-token", "STS_CLI_API_TOKEN", "x-api-token"),
        ("--k8s-sa-token", "STS_CLI_K8S_SA_TOKEN", "x-api-servicebearer"),
    ] {
        let server = listing();
        let list = || Sts::of("service-token list").env("STS_CLI_URL", server.url());
        assert_eq!(list().arg(flag).arg("by-flag").env(variable, "by-env").run().code, 0);
        assert_eq!(token_sent(&server), (header.to_owned(), "by-flag".to_owned()));
        assert_eq!(list().env(variable, "by-env").run().code, 0);
        assert_eq!(token_sent(&server), (header.to_owned(), "by-env".to_owned()));
    }
}

#[test]
fn token_of_the_environment_takes_the_place_of_any_in_the_file() {
    let server = listing();
    let list = || Sts::of("service-token list").config(&config(&server.url(), "api-token: in-file"));
    assert_eq!(list().run().code, 0);
    assert_eq!(token_sent(&server), ("x-api-token".to_owned(), "in-file".to_owned()));
    assert_eq!(list().env("STS_CLI_SERVICE_TOKEN", "in-env").run().code, 0);
    assert_eq!(token_sent(&server), ("x-api-key".to_owned(), "in-env".to_owned()));
}

#[test]
fn token_comes_from_a_file_or_standard_input() {
    let server = listing();
    let list = || Sts::of("service-token list").env("STS_CLI_URL", server.url());
    let run = list();
    let path = run.home().join("token");
    std::fs::write(&path, "svctok-in-file\n").unwrap();
    assert_eq!(run.arg("--service-token-file").arg(&path).env("STS_CLI_SERVICE_TOKEN", "x").run().code, 0);
    assert_eq!(token_sent(&server).1, "svctok-in-file");

    assert_eq!(list().arg("--service-token-file=-").input("svctok-piped\r\n").run().code, 0);
    assert_eq!(token_sent(&server).1, "svctok-piped");

    let run = list();
    let path = run.home().join("token");
    std::fs::write(&path, "svctok-by-env").unwrap();
    assert_eq!(run.env("STS_CLI_SERVICE_TOKEN_FILE", &path).run().code, 0);
    assert_eq!(token_sent(&server).1, "svctok-by-env");

    let save = || Sts::of("context save --skip-validate --url http://h");
    let saved = save().arg("--service-token-file").arg("-").input("svctok-saved\n").run();
    assert!(saved.config().contains("service-token: svctok-saved\n"), "{}", saved.config());
    let run = save();
    let path = run.home().join("token");
    std::fs::write(&path, "svctok-by-env").unwrap();
    let saved = run.env("STS_CLI_SERVICE_TOKEN_FILE", &path).run();
    assert!(saved.config().contains("service-token: svctok-by-env\n"), "{}", saved.config());
}

#[test]
fn token_file_that_holds_none_is_told() {
    let list = || Sts::of("service-token list").env("STS_CLI_URL", "http://127.0.0.1:9");
    let missing = list().arg("--service-token-file").arg("/nonexistent/token").run();
    insta::assert_snapshot!(missing.shown(), @r#"
    exit 5
    --- stderr
    ❌ Cannot read `/nonexistent/token`: No such file or directory (os error 2)
    "#);
    let empty = list().arg("--service-token-file").arg("-").run();
    insta::assert_snapshot!(empty.shown(), @r#"
    exit 5
    --- stderr
    ❌ Cannot read `-`: it holds no token
    "#);
}

#[test]
fn two_tokens_are_one_too_many() {
    let list = || Sts::of("service-token list").env("STS_CLI_URL", "http://127.0.0.1:9");
    for run in [
        list().arg("--api-token=a").arg("--service-token=b"),
        list().env("STS_CLI_API_TOKEN", "a").arg("--service-token=b"),
        list().arg("--service-token=a").arg("--service-token-file=b"),
        list().env("STS_CLI_SERVICE_TOKEN", "a").env("STS_CLI_SERVICE_TOKEN_FILE", "b"),
        list().config(&config("http://h", "api-token: a\n    service-token: b")),
    ] {
        let outcome = run.run();
        assert_eq!(outcome.code, 1, "{}", outcome.shown());
        assert!(outcome.stderr.contains("an only specify one of"), "{}", outcome.stderr);
    }
}

#[test]
fn settings_that_are_incomplete_are_told() {
    let with_file = |file: &str| Sts::of("service-token list").config(file).run().shown();
    insta::assert_snapshot!(Sts::of("service-token list").run().shown(), @r#"
    exit 1
    --- stderr
    ❌ Could not load StackState CLI config
    * Missing field 'url'
    * Missing field '{api-token | service-token | k8s-sa-token}'
    There is no configuration file yet. `sts context save --help` tells how to make one.
    "#);
    insta::assert_snapshot!(Sts::of("service-token list -o json").run().shown(), @r#"
    exit 1
    --- stderr
    {
      "error": true,
      "error-message": "could not load StackState CLI config\n* Missing field 'url'\n* Missing field '{api-token | service-token | k8s-sa-token}'\nThere is no configuration file yet. `sts context save --help` tells how to make one."
    }
    "#);
    insta::assert_snapshot!(with_file(&config("", "")), @r#"
    exit 1
    --- stderr
    ❌ Failed to validate the 'c' context:
    * Missing field 'url'
    * Missing field '{api-token | service-token | k8s-sa-token}'
    "#);
    insta::assert_snapshot!(with_file(&config("ftp://h", "api-token: x")), @r#"
    exit 1
    --- stderr
    ❌ Failed to validate the 'c' context:
    * URL ftp://h must start with "https://" or "http://"
    "#);
    insta::assert_snapshot!(with_file(&config("http://", "api-token: x")), @r#"
    exit 1
    --- stderr
    ❌ Failed to validate the 'c' context:
    * URL http:/api names no server
    "#);
    insta::assert_snapshot!(with_file("current-context: gone\n"), @r#"
    exit 1
    --- stderr
    ❌ Failed to validate the 'default' context:
    * Missing field 'url'
    * Missing field '{api-token | service-token | k8s-sa-token}'
    "#);
}

#[test]
fn context_is_chosen_by_flag_before_environment_before_file() {
    let server = listing();
    let entry =
        |name: &str| format!("- name: {name}\n  context: {{url: '{}', api-token: {name}}}\n", server.url());
    let file = format!("contexts:\n{}{}{}current-context: a\n", entry("a"), entry("b"), entry("c"));
    let list = || Sts::of("service-token list").config(&file);
    for (run, name) in [
        (list(), "a"),
        (list().env("STS_CLI_CONTEXT", "b"), "b"),
        (list().env("STS_CLI_CONTEXT", "b").arg("-cc"), "c"),
    ] {
        assert_eq!(run.run().code, 0);
        assert_eq!(token_sent(&server).1, name);
    }
}

#[test]
fn file_is_found_where_it_is_told_to_be() {
    let server = listing();
    let file = config(&server.url(), "api-token: x");
    let run = Sts::of("service-token list");
    let folder = run.home().join("xdg/stackstate-cli");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.yaml"), &file).unwrap();
    let xdg = run.home().join("xdg");
    assert_eq!(run.env("XDG_CONFIG_HOME", xdg).run().code, 0);

    let run = Sts::of("service-token list");
    let path = run.home().join("my.yaml");
    std::fs::write(&path, &file).unwrap();
    assert_eq!(run.arg("--config").arg(path).run().code, 0);
}

#[test]
fn flags_name_everything_beside_a_file_without_a_current_context() {
    let server = listing();
    let run = Sts::of("service-token list").config("contexts: []\n").server(&server);
    assert_eq!(run.run().code, 0);
}

#[test]
fn base_is_composed_of_url_and_path() {
    for (url_end, api_path, base) in [
        ("", "", "/api"),
        ("/", "", "/api"),
        ("/x/", "zz", "/x/zz"),
        ("/x", "//zz//", "/x/zz"),
        ("///", "/a/b/", "/a/b"),
    ] {
        let server = Server::silent();
        let run = Sts::of("service-token list --service-token x --url").arg(server.url() + url_end);
        assert_eq!(run.env("STS_CLI_API_PATH", api_path).run().code, 4);
        assert_eq!(server.lines(), [format!("GET {base}/server/info")]);
    }
}

#[test]
fn proxy_of_the_environment_is_used_but_not_for_this_machine() {
    let proxy = Server::silent();
    let list = || Sts::of("service-token list").env("HTTP_PROXY", proxy.url());
    let outcome = list().arg("--url=http://h.example").arg("--service-token").arg(TOKEN).run();
    assert_eq!(outcome.code, 4);
    assert_eq!(proxy.lines(), ["CONNECT h.example:80"]);
    assert!(!proxy.seen()[0].headers.values().any(|value| value.contains(TOKEN)));

    let server = listing();
    assert_eq!(list().server(&server).run().code, 0);
    assert_eq!(proxy.lines().len(), 1);
}

#[test]
fn timeout_is_read_and_limited() {
    for (text, fits) in
        [("1h", true), ("30s", true), ("3601s", false), ("0s", false), ("5", false), ("x", false)]
    {
        let server = listing();
        let flag = Sts::of("service-token list --timeout").arg(text).server(&server).run();
        let variable = Sts::of("service-token list").env("STS_CLI_TIMEOUT", text).server(&server).run();
        let expected = if fits { 0 } else { 1 };
        assert_eq!((flag.code, variable.code), (expected, expected), "{text}");
    }
}
