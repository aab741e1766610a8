//! `context save`, `list`, `show`, `set`, `validate` and `delete`, and the file that they keep.

use super::world::{Outcome, Reply, SERVER_INFO, Server, Sts};

const TWO: &str = "\
contexts:
    - name: one
      context:
        url: http://one.example
        service-token: svctok-one
        api-path: /api
    - name: two
      context:
        url: http://two.example
        api-token: user-two
        api-path: /zz
        skip-ssl: true
        ca-cert-base64-data: QUJD
current-context: one
";

fn save(server: &Server, words: &str) -> Sts {
    let url = server.url();
    Sts::of("context save --service-token svctok-saved --url").arg(url).near(server).args(words)
}

#[test]
fn save_verifies_the_connection_and_makes_the_context_current() {
    let server = Server::start();
    let saved = save(&server, "").run();
    insta::assert_snapshot!(saved.shown(), @r#"
    exit 0
    --- stdout
    ✅ Connection verified to http://127.0.0.1:[port] (StackState version: 5.0.3-abc1234)
    ✅ Saved context: 'default'
    "#);
    assert_eq!(server.lines(), ["GET /api/server/info"]);
    insta::assert_snapshot!(saved.config().replace(&server.url(), "[url]"), @r#"
    contexts:
        - name: default
          context:
            url: [url]
            service-token: svctok-saved
            api-path: /api
            skip-ssl: false
    current-context: default
    "#);
    let shown = Sts::of("context show").after(saved).run();
    assert_eq!(shown.shown(), "exit 0\n--- stdout\ndefault\n");
}

#[test]
fn save_tells_of_a_platform() {
    let info = SERVER_INFO.replace("{\"version\"", "{\"platformVersion\":\"1.2.3\",\"version\"");
    let server = Server::start().with("GET /api/server/info", Reply::json(&info));
    let saved = save(&server, "").run();
    assert!(saved.stdout.contains("(Platform version: 1.2.3)\n"), "{}", saved.stdout);
}

#[test]
fn save_in_json_shows_what_is_saved() {
    let server = Server::start();
    let saved = save(&server, "-n prod --api-path zz --skip-validate --skip-ssl -o json").run();
    insta::assert_snapshot!(saved.shown(), @r#"
    exit 0
    --- stdout
    {
      "context": {
        "api-path": "zz",
        "service-token": "svctok-saved",
        "skip-ssl": true,
        "url": "http://127.0.0.1:[port]"
      },
      "current-context": "prod"
    }
    "#);
    assert!(server.lines().is_empty());
}

#[test]
fn save_that_cannot_connect_saves_nothing() {
    let server = Server::silent();
    let saved = save(&server, "").run();
    insta::assert_snapshot!(saved.shown(), @r#"
    exit 4
    --- stderr
    ❌ Could not connect to http://127.0.0.1:[port]/api (404 Not Found)
    "#);
    assert!(!saved.config_path().exists());
    let kept = save(&server, "-n one").config(TWO).run();
    assert_eq!((kept.code, kept.config().as_str()), (4, TWO));
}

#[test]
fn save_replaces_a_context_of_the_same_name_in_its_place() {
    let server = Server::start();
    let saved = save(&server, "-n two").config(TWO).run();
    assert_eq!(saved.code, 0);
    insta::assert_snapshot!(saved.config().replace(&server.url(), "[url]"), @r#"
    contexts:
        - name: one
          context:
            url: http://one.example
            service-token: svctok-one
            api-path: /api
        - name: two
          context:
            url: [url]
            service-token: svctok-saved
            api-path: /api
            skip-ssl: false
    current-context: two
    "#);
}

#[test]
fn save_needs_a_url_and_one_token() {
    for (words, message) in [
        ("--api-token x", "❌ Required flag(s) \"url\" not set\n"),
        (
            "--url http://h",
            "❌ One of the flags {api-token | service-token | service-token-file} is required\n",
        ),
        (
            "--url http://h --api-token x --service-token y",
            "❌ Only one of the flags {api-token | service-token | service-token-file} can be given\n",
        ),
    ] {
        // The environment does not stand in for what is to be saved.
        let run = Sts::of(&format!("context save {words}"));
        let outcome = run.env("STS_CLI_URL", "http://h").env("STS_CLI_SERVICE_TOKEN", "x").run();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (3, message));
        assert!(outcome.stdout.starts_with("Usage:\n  sts context save"));
    }
    let bad = Sts::of("context save --url ftp://h --api-token x").run();
    insta::assert_snapshot!(bad.shown(), @r#"
    exit 1
    --- stderr
    ❌ Failed to validate the 'default' context:
    * URL ftp://h must start with "https://" or "http://"
    "#);
}

#[test]
fn list_shows_names_and_urls_and_in_json_everything() {
    insta::assert_snapshot!(Sts::of("context list").config(TWO).run().shown(), @r#"
    exit 0
    --- stdout
    NAME | URL               
    one  | http://one.example
    two  | http://two.example
    "#);
    insta::assert_snapshot!(Sts::of("context list -o json").config(TWO).run().shown());
    let none = Sts::of("context list").config("contexts: []\n").run();
    assert_eq!(none.shown(), "exit 0\n--- stdout\nNo contexts found.\n");
}

#[test]
fn show_in_json_shows_everything() {
    insta::assert_snapshot!(Sts::of("context show -o json").config(TWO).run().shown(), @r#"
    exit 0
    --- stdout
    {
      "current-context": {
        "api-path": "/api",
        "service-token": "svctok-one",
        "skip-ssl": false,
        "url": "http://one.example"
      },
      "name": "one"
    }
    "#);
}

#[test]
fn set_makes_a_context_current() {
    let set = Sts::of("context set -n two").config(TWO).run();
    assert_eq!(set.shown(), "exit 0\n--- stdout\nCurrent context set to two\n");
    assert!(set.config().ends_with("current-context: two\n"));
    let json = Sts::of("context set --name one -o json").after(set).run();
    assert_eq!(json.shown(), "exit 0\n--- stdout\n{\n  \"current-context\": \"one\"\n}\n");
}

#[test]
fn validate_connects_with_the_context_alone() {
    let server = Server::start();
    let config =
        TWO.replace("http://one.example", &server.url()).replace("http://two.example", &server.url());
    let run = |words: &str| -> Outcome {
        let run = Sts::of(&format!("context validate {words}")).config(&config).near(&server);
        run.env("STS_CLI_API_PATH", "/elsewhere").run()
    };
    insta::assert_snapshot!(run("").shown(), @r#"
    exit 0
    --- stdout
    ✅ Connection verified to http://127.0.0.1:[port] (StackState version: 5.0.3-abc1234)
    ✅ Context one is valid.
    "#);
    insta::assert_snapshot!(run("-o json").shown());
    assert!(run("").stdout.ends_with("is valid.\n\n"), "the message itself ends in a line end");
    // The flag that chooses a context for other commands has no say in this one.
    assert!(run("--context two").stdout.contains("Context one is valid."));
    assert_eq!(run("-n two").code, 4);
    assert_eq!(server.lines().pop(), Some("GET /zz/server/info".to_owned()));
    assert_eq!(
        server.seen().pop().map(|seen| seen.headers["x-api-token"].clone()),
        Some("user-two".to_owned())
    );
}

#[test]
fn delete_removes_any_but_the_current_context() {
    let deleted = Sts::of("context delete -n two").config(TWO).run();
    assert_eq!(deleted.shown(), "exit 0\n--- stdout\n✅ Deleted context 'two'\n\n");
    assert_eq!(
        deleted.config(),
        TWO.split("    - name: two").next().unwrap().to_owned() + "current-context: one\n"
    );
    let json = Sts::of("context delete -n two -o json").config(TWO).run();
    assert_eq!(json.shown(), "exit 0\n--- stdout\n{\n  \"deleted context\": \"two\"\n}\n");

    let current = Sts::of("context delete -n one").config(TWO).run();
    assert_eq!((current.code, current.stderr.as_str()), (3, "❌ Cannot delete the current context (one)\n"));
    assert_eq!(current.config(), TWO);
}

#[test]
fn unknown_context_has_an_exit_code_of_its_own() {
    for words in
        ["context set -n x", "context validate -n x", "context delete -n x", "service-token list -c x"]
    {
        let outcome = Sts::of(words).config(TWO).run();
        assert_eq!(outcome.shown(), "exit 8\n--- stderr\n❌ Context with name 'x' not found\n", "{words}");
    }
}

#[test]
fn commands_on_contexts_need_the_file() {
    for words in ["list", "show", "set -n x", "validate", "delete -n x"] {
        let outcome = Sts::of(&format!("context {words}")).run();
        assert_eq!(outcome.code, 1, "{words}");
        assert!(outcome.stderr.contains("sts context save --help"), "{}", outcome.stderr);
    }
}

#[test]
fn file_of_the_old_format_is_a_context_named_default() {
    let flat = "url: http://old.example\nservice-token: svctok-old\n";
    let listed = Sts::of("context list").config(flat).run();
    assert_eq!(listed.stdout, "NAME    | URL               \ndefault | http://old.example\n");
    let added =
        Sts::of("context save -n new --url http://h --api-token x --skip-validate").config(flat).run();
    insta::assert_snapshot!(added.config(), @r#"
    contexts:
        - name: default
          context:
            url: http://old.example
            service-token: svctok-old
        - name: new
          context:
            url: http://h
            api-token: x
            api-path: /api
            skip-ssl: false
    current-context: new
    "#);
}

#[test]
fn what_the_file_holds_beyond_is_kept() {
    let file = TWO.replace("api-path: /api", "api-path: /api\n        admin-api-path: /adm")
        + "telemetry:\n    - on: [1, 2]\n";
    let set = Sts::of("context set -n two").config(&file).run();
    insta::assert_snapshot!(set.config(), @r#"
    contexts:
        - name: one
          context:
            url: http://one.example
            service-token: svctok-one
            api-path: /api
            admin-api-path: /adm
        - name: two
          context:
            url: http://two.example
            api-token: user-two
            api-path: /zz
            skip-ssl: true
            ca-cert-base64-data: QUJD
    telemetry:
        - "on":
            - 1
            - 2
    current-context: two
    "#);
    let saved = Sts::of("context save -n one --url http://h --api-token x --skip-validate").after(set).run();
    assert!(saved.config().contains("admin-api-path: /adm"));
    assert!(!saved.config().contains("svctok-one"));
}

#[test]
fn file_that_is_broken_is_told_and_left_alone() {
    let deep = format!("a: {}", "[".repeat(100));
    // The list and the mapping around the items count too, and the key.
    let many = |count: usize| format!("contexts: [{}]\n", "0,".repeat(count - 3));
    let too_many = many(100_001);
    let large = format!("# {}\n", "x".repeat(1024 * 1024));
    for (file, reason) in [
        ("contexts: 5\n", "`contexts` is not a list"),
        ("- a\n", "it holds no settings"),
        ("a: [1\n", "it is not YAML: line"),
        ("a: 1\na: 2\n", "it is not YAML"),
        ("? {a: b}\n: 1\n", "a key in it is a list or a mapping"),
        ("a: &x 1\nb: *x\n", "line 2: aliases are not read"),
        (&deep, "nested more than 32 deep"),
        (&large, "larger than 1 MiB"),
        (&too_many, "more than 100000 values"),
    ] {
        for words in ["context list", "context save --url http://h --api-token x --skip-validate"] {
            let outcome = Sts::of(words).config(file).run();
            assert_eq!(outcome.code, 1, "{words}");
            let place =
                "❌ Could not read the configuration file `[home]/.config/stackstate-cli/config.yaml`: ";
            assert!(
                outcome.stderr.starts_with(place) && outcome.stderr.contains(reason),
                "{}",
                outcome.stderr
            );
            assert_eq!(outcome.config(), file);
        }
    }
    let fits = format!("contexts: []\n# {}\n", "x".repeat(1024 * 1024 - 16));
    assert_eq!(fits.len(), 1024 * 1024);
    assert_eq!(Sts::of("context list").config(&many(100_000)).run().code, 0);
    assert_eq!(Sts::of("context list").config(&fits).run().code, 0);
}
