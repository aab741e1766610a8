//! `rolegate` as its operator meets it: the program itself, run with arguments, environment and files.

mod audit;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(unix)]
mod deployment;
#[cfg(target_os = "linux")]
mod faults;
mod observability;
mod policy_diff;
mod policy_test;
mod reload;
#[cfg(unix)]
mod shadow;
mod store;
mod tls;
mod token_backup;
mod token_scan;
mod token_usage;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// One run of the program, in a folder of its own and with an environment that is empty but for what a test says.
struct Run {
    folder: tempfile::TempDir,
    command: Command,
}

/// What came of it.
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

#[expect(clippy::unwrap_used, reason = "a test that cannot run its program fails")]
impl Run {
    fn new(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
        command.args(arguments).current_dir(folder.path()).env_clear().stdin(Stdio::null());
        Self { folder, command }
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        make_private(&path);
        self
    }

    fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    fn told(self) -> Told {
        self.told_with_folder().0
    }

    /// What came of it, and the folder as it was left.
    fn told_with_folder(mut self) -> (Told, tempfile::TempDir) {
        let Output { status, stdout, stderr } = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (Told { code: status.code(), out: text(stdout), err: text(stderr) }, self.folder)
    }

    /// Everything that came of it, as one text.
    fn whole(self) -> String {
        let told = self.told();
        let code = told.code.unwrap();
        format!("exit code {code}\n-- stdout\n{}-- stderr\n{}", told.out, told.err)
    }
}

#[cfg(unix)]
#[expect(clippy::unwrap_used, reason = "a test that cannot write its files fails")]
fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

const SERVER: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n";
const AUTHENTICATION: &str = "stackstate:\n  authentication:\n    servicetoken:\n      bootstrap:\n        token: \
                              4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u\n        roles: [reader]\n        ttl: 24h\n";

mod explain;

mod help {
    use super::Run;

    fn help(arguments: &[&str]) -> String {
        let told = Run::new(arguments).told();
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
        told.out
    }

    #[test]
    fn help_of_the_program() {
        insta::assert_snapshot!(help(&["--help"]));
    }

    #[test]
    fn help_of_config() {
        insta::assert_snapshot!(help(&["config", "--help"]));
    }

    #[test]
    fn help_of_config_check() {
        insta::assert_snapshot!(help(&["config", "check", "--help"]));
    }

    #[test]
    fn help_of_config_show() {
        insta::assert_snapshot!(help(&["config", "show", "--help"]));
    }

    #[test]
    fn help_of_completions() {
        insta::assert_snapshot!(help(&["completions", "--help"]));
    }

    #[test]
    fn version_is_the_one_of_the_package() {
        assert_eq!(help(&["--version"]), format!("rolegate {}\n", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn completions_name_every_command() {
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let script = help(&["completions", shell]);
            for word in ["config", "completions", "check", "show"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        insta::assert_snapshot!(Run::new(&["config", "shwo"]).whole());
        for arguments in
            [&[][..], &["serv"], &["config"], &["config", "show", "-o", "xml"], &["completions", "csh"]]
        {
            let told = Run::new(arguments).told();
            assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{arguments:?}");
            assert!(!told.err.is_empty());
        }
    }
}

mod configuration {
    use super::{AUTHENTICATION, POLICY, Run, SERVER};

    fn shipped(arguments: &[&str]) -> Run {
        Run::new(arguments)
            .file("config/rolegate.yaml", SERVER)
            .file("config/authentication.yaml", AUTHENTICATION)
            .file("policy.rhai", POLICY)
    }

    #[test]
    fn show_tells_every_value_and_its_origin_and_no_secret() {
        let run =
            shipped(&["config", "show", "--data-dir", "elsewhere"]).variable("ROLEGATE_LOG_FORMAT", "json");
        insta::assert_snapshot!(run.whole());
    }

    #[test]
    fn show_tells_it_to_programs_as_well() {
        let run = shipped(&["config", "show", "-o", "json"]).told();
        let items: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        let find =
            |key: &str| items.as_array().unwrap().iter().find(|item| item["key"] == key).unwrap().clone();
        assert_eq!(find("rolegate.limits.connections")["value"], 960);
        assert_eq!(find("rolegate.listen")["from"], "config/rolegate.yaml:2:11");
        let token = find("stackstate.authentication.servicetoken.bootstrap.token");
        assert_eq!((&token["hidden"], &token["value"]), (&true.into(), &serde_json::Value::Null));
        assert!(!run.out.contains("4f1c9a70"));
    }

    #[test]
    fn shown_lists_and_names_are_yaml_that_reads_back() {
        let text = "rolegate:\n  tokens:\n    - name: 'a: b'\n      digest: sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\n      roles: [x, 'on']\n    - name: c\n      digest: sha256:0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b\n      roles: [y]\nstackstate:\n  authentication:\n    roles:\n      custom:\n        a.b: {systemPermissions: [read-settings]}\n";
        let run = |file: &str| {
            Run::new(&["config", "show", "--config", "a.yaml", "--config", "b.yaml"])
                .file("a.yaml", SERVER)
                .file("b.yaml", file)
                .told()
        };
        let first = run(text);
        insta::assert_snapshot!(first.out);
        let values = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split("  #").next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(values(&run(&first.out).out), values(&first.out));
    }

    #[test]
    fn check_names_the_files_that_are_in_order() {
        insta::assert_snapshot!(shipped(&["config", "check"]).whole());
    }

    #[test]
    fn check_reports_every_problem_and_fails() {
        let run = Run::new(&["config", "check", "-c", "a.yaml"])
            .file("a.yaml", "rolegate:\n  polices: [a]\n  listen: localhost:80\n");
        insta::assert_snapshot!(run.whole());
        let run = Run::new(&["config", "check", "-c", "a.yaml", "-o", "json"])
            .file("a.yaml", "rolegate:\n  polices: [a]\n");
        insta::assert_snapshot!(run.whole());
    }

    #[test]
    fn check_holds_roles_against_the_policies() {
        let other = "role(\"readers\").allow(\"GET /x\");\n";
        insta::assert_snapshot!(shipped(&["config", "check"]).file("policy.rhai", other).whole());
        let json = shipped(&["config", "check", "-o", "json"]).file("policy.rhai", other).told();
        let told: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!((json.code, &told["errors"][0]["line"]), (Some(1), &6.into()));
    }

    #[test]
    fn check_says_what_is_wrong_with_files_that_cannot_be_read() {
        insta::assert_snapshot!(Run::new(&["config", "check"]).whole());
        insta::assert_snapshot!(Run::new(&["config", "check", "-c", "."]).whole());
    }

    #[test]
    fn json_is_printed_also_when_there_is_nothing_to_show() {
        let run = Run::new(&["config", "show", "-c", "none.yaml", "-o", "json"]);
        insta::assert_snapshot!(run.whole(), @r#"
        exit code 1
        -- stdout
        {
          "errors": [
            {
              "file": "none.yaml",
              "message": "cannot be read: No such file or directory (os error 2); name the files with `--config`"
            }
          ],
          "valid": false,
          "warnings": []
        }
        -- stderr
        "#);
    }

    #[test]
    fn answer_that_cannot_be_written_is_a_failure() {
        for arguments in
            [&["config", "show"] as &[_], &["config", "check"], &["completions", "bash"], &["--help"]]
        {
            let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
            let mut run = shipped(arguments);
            run.command.stdout(full);
            assert_eq!(run.told().code, Some(1), "{arguments:?}");
            assert_eq!(shipped(arguments).told().code, Some(0), "{arguments:?}");
        }
        let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
        let mut run = shipped(&["config", "check"]);
        run.command.stdout(full);
        assert!(run.told().err.starts_with("error: cannot write to standard output: "));
    }

    #[test]
    fn pipe_that_was_closed_is_no_failure() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut run = shipped(&["config", "show"]);
        run.command.stdout(writer);
        let told = run.told();
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    }

    #[test]
    fn files_are_named_by_a_variable_when_no_argument_names_them() {
        let run = |arguments| {
            Run::new(arguments).file("a.yaml", SERVER).file("b.yaml", "rolegate: {data_dir: b}\n")
        };
        let told = run(&["config", "show"]).variable("ROLEGATE_CONFIG", "a.yaml:b.yaml").told();
        assert!(told.out.contains("data_dir: b  # b.yaml:1:22"), "{}", told.out);
        let told =
            run(&["config", "show", "-c", "a.yaml"]).variable("ROLEGATE_CONFIG", "a.yaml:b.yaml").told();
        assert!(told.out.contains("data_dir: data  # default"), "{}", told.out);
    }
}

const POLICY: &str = "role(\"reader\").allow(\"GET /api/server/**\");\nopen(\"GET /health\");\n";

mod policies {
    use super::{AUTHENTICATION, POLICY, Run, SERVER};

    const CASES: &str = "principals: {nobody: none}\ncases:\n  - name: health needs no token\n    principal: nobody\n    request: GET /health\n    expect: allow\n";

    #[test]
    fn help_of_policy() {
        insta::assert_snapshot!(Run::new(&["policy", "--help"]).whole());
    }

    #[test]
    fn help_of_policy_check() {
        insta::assert_snapshot!(Run::new(&["policy", "check", "--help"]).whole());
    }

    #[test]
    fn help_of_policy_test() {
        insta::assert_snapshot!(Run::new(&["policy", "test", "--help"]).whole());
    }

    fn configured(arguments: &[&str], policy: &str) -> Run {
        Run::new(arguments)
            .file("config/rolegate.yaml", SERVER)
            .file("config/authentication.yaml", AUTHENTICATION)
            .file("policy.rhai", policy)
    }

    #[test]
    fn check_counts_what_the_policies_declare() {
        insta::assert_snapshot!(configured(&["policy", "check"], POLICY).whole());
        insta::assert_snapshot!(configured(&["policy", "check", "-o", "json"], POLICY).whole());
    }

    #[test]
    fn check_shows_what_is_wrong_with_its_line() {
        let broken = "role(\"reader\").allow(\"GTE /x\");\n";
        insta::assert_snapshot!(configured(&["policy", "check", "policy.rhai"], broken).whole());
        insta::assert_snapshot!(configured(&["policy", "check", "-o", "json"], broken).whole());
    }

    /// A rule twice, and a role that no token of the configuration holds.
    const ODD: &str =
        "role(\"reader\").allow(\"GET /x\");\nopen(\"GET /x\");\nrole(\"writer\").allow(\"PUT /x\");\n";

    #[test]
    fn check_warns_and_succeeds_unless_warnings_are_denied() {
        let run = |arguments: &[&str]| configured(&[&["policy", "check"], arguments].concat(), ODD);
        insta::assert_snapshot!(run(&[]).whole());
        insta::assert_snapshot!(run(&["--deny", "covered-rule", "-o", "json"]).whole());
        for (arguments, code) in [
            (&["--deny", "covered-rule"][..], 1),
            (&["--deny", "all"], 1),
            (&["--deny-warnings"], 1),
            (&["--deny", "idle-except"], 0),
            (&["--deny-warnings", "--allow", "covered-rule"], 1),
            (&["--deny-warnings", "--allow", "covered-rule,unheld-role"], 0),
            (&["--deny", "all", "--allow", "all"], 0),
            // Without the configuration nobody knows who holds a role.
            (&["policy.rhai", "--deny", "unheld-role"], 0),
        ] {
            assert_eq!(run(arguments).told().code, Some(code), "{arguments:?}");
        }
        insta::assert_snapshot!(run(&["--deny", "covered"]).whole());
    }

    const API: &str = "openapi: 3.0.3\nservers:\n  - url: https://example.org/api\npaths:\n  /x:\n    get: {}\n    put: {}\n  \
                       /x/{id}:\n    get: {}\n  /x/self:\n    get: {}\n  /y/{name}.json:\n    get: {}\n  /z:\n    get: {}\n";
    const API_POLICY: &str = "role(\"reader\").allow([\"GET /api/x\", \"GET /api/x/self\"]);\nopen(\"GET /api/y/*\").when(|r| r.time > 5);\n\
                              open(\"GET /api/x/self\");\nopen(\"GET /health\");\nopen(\"GET /api/z\");\ndeny(\"GET /api/z\");\n\
                              permission(\"old\", [\"GET /api/old\", \"PUT /api/old\"]);\nrole(\"reader\").grants(\"old\");\n";

    fn compared(arguments: &[&str], policy: &str) -> Run {
        let command = ["policy", "check", "policy.rhai", "--openapi", "api.yaml"];
        configured(&[&command, arguments].concat(), policy).file("api.yaml", API)
    }

    #[test]
    fn check_compares_with_the_routes_of_an_openapi_document() {
        insta::assert_snapshot!(compared(&["--allow", "covered-rule"], API_POLICY).whole());
        insta::assert_snapshot!(compared(&["-o", "json", "--deny", "open-route"], API_POLICY).whole());
        for (arguments, code) in [
            (&["--deny", "unreached-route"][..], 1),
            (&["--deny", "open-route"], 1),
            (&["--deny", "unmatched-rule"], 1),
            (&["--deny", "all", "--allow", "covered-rule,unreached-route,open-route,unmatched-rule"], 0),
            // Below another prefix nothing is open.
            (&["--deny", "open-route", "--openapi-prefix", "/v2"], 0),
        ] {
            assert_eq!(compared(arguments, API_POLICY).told().code, Some(code), "{arguments:?}");
        }
    }

    #[test]
    fn document_that_the_policy_fits_has_nothing_to_tell() {
        let policy = "// rolegate: allow(open-route)\nopen(\"GET /api/x\");\nrole(\"a\").allow([\"PUT /api/x\", \"GET /api/x/*\", \
                      \"GET /api/y/*\"]);\nauthenticated(\"GET /api/z\");\n// rolegate: allow(unmatched-rule)\n\
                      authenticated(\"GET /health\");\n";
        insta::assert_snapshot!(compared(&["--deny-warnings"], policy).whole());
    }

    #[test]
    fn document_that_cannot_be_read_is_an_error_with_its_place() {
        let run = |text: &str| {
            configured(&["policy", "check", "--openapi", "api.yaml"], POLICY).file("api.yaml", text)
        };
        insta::assert_snapshot!(run("openapi: 3.0.3\npaths:\n  /a:\n    $ref: b.yaml\n").whole());
        insta::assert_snapshot!(run("openapi: 3.0.3\npaths: &x\n  /a: {get: {}}\n").whole());
        let missing = configured(&["policy", "check", "--openapi", "none.yaml", "-o", "json"], POLICY);
        insta::assert_snapshot!(missing.whole());
        let wrong = configured(&["policy", "check", "--openapi-prefix", "/api"], POLICY).told();
        assert_eq!(wrong.code, Some(2));
        let wrong =
            configured(&["policy", "check", "--openapi", "a", "--openapi-prefix", "api"], POLICY).told();
        assert_eq!(wrong.code, Some(2));
    }

    #[test]
    fn shipped_policy_and_configuration_have_no_warnings() {
        let root = env!("CARGO_MANIFEST_DIR");
        let files = ["rolegate.yaml", "authentication.yaml"].map(|name| format!("{root}/config/{name}"));
        let mut run = Run::new(&["policy", "check", "-c", &files[0], "-c", &files[1], "--deny-warnings"]);
        run.command.current_dir(root);
        let told = run.told();
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    }

    #[test]
    fn check_holds_the_roles_of_the_configuration_against_the_policies() {
        let other = "role(\"readers\").allow(\"GET /x\");\n";
        insta::assert_snapshot!(configured(&["policy", "check"], other).whole());
        // On its own the policy is in order.
        assert_eq!(configured(&["policy", "check", "policy.rhai"], other).told().code, Some(0));
    }

    #[test]
    fn limits_of_loading_are_those_of_the_configuration() {
        let list = "let l = [\"GET /health\"]; for n in 0..2 { l.push(`GET /${n}`); } open(l);\n";
        let policy = format!("role(\"reader\");\n{list}");
        for command in ["check", "test"] {
            for (items, code) in [("3", 0), ("2", 1)] {
                let run = configured(&["policy", command], &policy).file("policy_test.yaml", CASES);
                let told = run.variable("ROLEGATE_POLICY_LIMITS_LIST_ITEMS", items).told();
                assert_eq!(told.code, Some(code), "{command} with {items}: {}{}", told.out, told.err);
            }
        }
    }

    #[test]
    fn check_says_which_files_cannot_be_read() {
        insta::assert_snapshot!(Run::new(&["policy", "check", "none.rhai"]).whole());
        insta::assert_snapshot!(Run::new(&["policy", "check", "."]).whole());
        let run = Run::new(&["policy", "check"]).file("config/rolegate.yaml", SERVER);
        insta::assert_snapshot!(run.file("config/authentication.yaml", AUTHENTICATION).whole());
    }

    #[test]
    fn check_refuses_cases_and_says_what_runs_them() {
        let run = Run::new(&["policy", "check", "x_test.yaml"]).file("x_test.yaml", CASES);
        insta::assert_snapshot!(run.whole(), @r"
        exit code 1
        -- stdout
        -- stderr
        error: `x_test.yaml` holds cases and no policy: `rolegate policy test` runs them
        ");
    }

    #[test]
    fn json_is_printed_also_when_there_are_no_cases() {
        insta::assert_snapshot!(configured(&["policy", "test", "-o", "json"], POLICY).whole(), @r#"
        exit code 1
        -- stdout
        {
          "errors": [
            {
              "message": "no cases were found; those of `NAME.rhai` belong into `NAME_test.yaml` beside it"
            }
          ],
          "failed": 0,
          "files": [],
          "passed": 0,
          "success": false
        }
        -- stderr
        "#);
    }

    #[test]
    fn folders_give_their_policies_by_name() {
        let run = Run::new(&["policy", "check", "p", "p/a.rhai"]).file("p/b.rhai", "open(\"GET /b\");");
        let told = run.file("p/a.rhai", "open(\"GET /a\");").file("p/readme.md", "x").told();
        assert!(
            told.out.starts_with("p/a.rhai: in order\np/b.rhai: in order\n0 permissions, 0 roles, 2 rules"),
            "{}",
            told.out
        );
    }

    #[test]
    fn cases_beside_the_policies_are_run() {
        insta::assert_snapshot!(
            configured(&["policy", "test"], POLICY).file("policy_test.yaml", CASES).whole()
        );
        let json = configured(&["policy", "test", "-o", "json"], POLICY).file("policy_test.yaml", CASES);
        insta::assert_snapshot!(json.whole());
        let folder = Run::new(&["policy", "test", "p"]).file("p/x.rhai", POLICY).file("p/x_test.yaml", CASES);
        assert_eq!(folder.told().code, Some(0));
        let file = Run::new(&["policy", "test", "p/x_test.yaml"]).file("p/x.rhai", POLICY);
        assert_eq!(file.file("p/x_test.yaml", CASES).told().code, Some(0));
    }

    #[test]
    fn a_failing_case_or_none_at_all_fails() {
        let denied = CASES.replace("allow", "deny");
        let run = |arguments: &[&str]| configured(arguments, POLICY).file("policy_test.yaml", &denied);
        insta::assert_snapshot!(run(&["policy", "test"]).whole());
        insta::assert_snapshot!(run(&["policy", "test", "-o", "json"]).whole());
        insta::assert_snapshot!(configured(&["policy", "test"], POLICY).whole());
    }

    #[test]
    fn cases_and_policies_that_do_not_load_are_reported() {
        let run = configured(&["policy", "test"], "role(\"").file("policy_test.yaml", CASES);
        insta::assert_snapshot!(run.whole());
        let run = configured(&["policy", "test", "-o", "json"], POLICY).file("policy_test.yaml", "cases: []");
        insta::assert_snapshot!(run.whole());
    }

    #[test]
    fn shipped_policies_answer_as_their_cases_expect() {
        let root = env!("CARGO_MANIFEST_DIR");
        let told = Run::new(&["policy", "test", &format!("{root}/policies"), "--min-coverage", "100"]).told();
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{}", told.out);
    }
}

#[cfg(unix)]
mod serving {
    use super::{AUTHENTICATION, POLICY, Run, SERVER};
    use std::io::{BufRead, BufReader, PipeReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, ChildStdout, Command, Stdio};

    pub(super) const TOKEN: &str = "4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u";
    const NEW_TOKEN: &str = r#"{"name": "new", "roles": ["reader"]}"#;

    /// A server that has told its address. It is killed when the test is over.
    pub(super) struct Running {
        child: Child,
        /// The number of its process, which is not the child itself when that is strace.
        process: u32,
        out: BufReader<ChildStdout>,
        err: BufReader<PipeReader>,
        pub(super) address: String,
        /// What it told up to its address.
        pub(super) told: String,
        pub(super) folder: tempfile::TempDir,
    }

    #[expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot run its server fails")]
    impl Running {
        pub(super) fn start(run: Run) -> Self {
            let (err, written) = std::io::pipe().unwrap();
            Self::start_logging(run, written.into(), err, |_, _| {})
        }

        /// A server that is sent this signal as soon as it has logged this, and before it has told its address.
        pub(super) fn start_signalled(run: Run, logged: &str, name: &str) -> Self {
            let (err, written) = std::io::pipe().unwrap();
            Self::start_logging(run, written.into(), err, |child, err| {
                wait_for(err, logged);
                signal(child.id(), name);
            })
        }

        /// A server that strace runs.
        #[cfg(target_os = "linux")]
        pub(super) fn start_under_strace(run: Run) -> Self {
            let mut running = Self::start(run);
            let strace = running.child.id();
            let children = std::fs::read(format!("/proc/{strace}/task/{strace}/children")).unwrap();
            running.process = String::from_utf8(children).unwrap().trim().parse().unwrap();
            running
        }

        /// A server whose standard error is `written`, which is read from `err`.
        fn start_logging(
            run: Run,
            written: Stdio,
            err: PipeReader,
            meanwhile: impl FnOnce(&Child, &mut BufReader<PipeReader>),
        ) -> Self {
            let Run { folder, mut command } = run;
            let started = command.stdout(Stdio::piped()).stderr(written).spawn();
            let mut child = started.unwrap_or_else(|error| {
                let program = command.get_program().display();
                panic!("cannot run {program}: {error}; `./check` installs what tests need")
            });
            // It holds the end of the pipe that the server writes to.
            drop(command);
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut err = BufReader::new(err);
            meanwhile(&child, &mut err);
            let mut told = String::new();
            while !told.contains("listening") {
                assert!(out.read_line(&mut told).unwrap() > 0, "the server did not start: {told}");
            }
            let address = told.rsplit("://").next().unwrap().trim_end().to_owned();
            Self { process: child.id(), child, out, err, address, told, folder }
        }

        /// The status line and the body of an answer.
        pub(super) fn get(&self, path: &str, token: Option<&str>) -> String {
            self.ask("GET", path, token, "")
        }

        /// The same with a method and a body.
        pub(super) fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> String {
            let header = token.map(|token| format!("Authorization: ApiKey {token}\r\n")).unwrap_or_default();
            let mut stream = TcpStream::connect(&self.address).unwrap();
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        }

        pub(super) fn signal(&self, name: &str) {
            signal(self.process, name);
        }

        pub(super) fn wait_for_log(&mut self, text: &str) {
            wait_for(&mut self.err, text);
        }

        /// The exit code and what was told after the address.
        pub(super) fn end(&mut self) -> (Option<i32>, String, String) {
            let (mut out, mut err) = (String::new(), String::new());
            self.out.read_to_string(&mut out).unwrap();
            self.err.read_to_string(&mut err).unwrap();
            (self.child.wait().unwrap().code(), out, err)
        }

        /// The same folder, for another run.
        pub(super) fn again(mut self, arguments: &[&str]) -> Run {
            let mut run = Run::new(arguments);
            run.folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
            run.command.current_dir(run.folder.path());
            run
        }
    }

    #[expect(clippy::unwrap_used, reason = "a test that cannot send a signal fails")]
    fn signal(process: u32, name: &str) {
        let script = format!("kill -{name} {process}");
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    #[expect(clippy::unwrap_used, reason = "a test that cannot read the log fails")]
    fn wait_for(err: &mut BufReader<PipeReader>, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(err.read_line(&mut line).unwrap() > 0, "the log never said: {text}");
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            if self.process == self.child.id() {
                let _ = self.child.kill();
            } else if matches!(self.child.try_wait(), Ok(None)) {
                // strace ends after what it runs, and would leave it alone when it were killed itself.
                let script = format!("kill -KILL {}", self.process);
                let _ = Command::new("sh").args(["-c", &script]).status();
            }
            let _ = self.child.wait();
        }
    }

    pub(super) fn configured(arguments: &[&str]) -> Run {
        Run::new(arguments)
            .file("config/rolegate.yaml", SERVER)
            .file("config/authentication.yaml", AUTHENTICATION)
            .file("policy.rhai", POLICY)
    }

    /// What was told, without what differs from run to run.
    pub(super) fn settled(text: &str) -> String {
        let number = |word: &str| word.len() == 15 && word.bytes().all(|byte| byte.is_ascii_digit());
        let settle = |word: &str| match word {
            word if number(word) => "ID".to_owned(),
            word if word.ends_with('Z') && word.contains("-") && word.contains(':') => "TIME".to_owned(),
            word if word.starts_with("http://127.0.0.1:") => "http://127.0.0.1:PORT".to_owned(),
            env!("CARGO_PKG_VERSION") => "VERSION".to_owned(),
            word => word.to_owned(),
        };
        let lines = text.lines().map(|line| line.split(' ').map(settle).collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn help_of_serve() {
        insta::assert_snapshot!(Run::new(&["serve", "--help"]).whole());
    }

    #[test]
    fn server_tells_what_it_runs_with_answers_and_stops_on_each_signal() {
        for signal in ["TERM", "INT"] {
            let mut running = Running::start(configured(&["serve"]));
            if signal == "TERM" {
                insta::assert_snapshot!(settled(&running.told));
            }
            assert!(running.get("/health", None).starts_with("HTTP/1.1 200 "));
            assert!(running.get("/api/server/info", Some(TOKEN)).starts_with("HTTP/1.1 200 "));
            assert!(running.get("/api/server/info", None).starts_with("HTTP/1.1 401 "));
            assert!(running.get("/api/security/tokens", Some(TOKEN)).starts_with("HTTP/1.1 403 "));
            running.signal(signal);
            let (code, out, err) = running.end();
            assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
            assert!(!err.contains(TOKEN));
        }
    }

    #[test]
    fn signal_while_the_store_is_loaded_ends_the_program_at_once() {
        for name in ["TERM", "INT"] {
            let mut run = configured(&["serve"]);
            let clock = run.folder.path().join("data/clock");
            std::fs::create_dir(run.folder.path().join("data")).unwrap();
            assert!(Command::new("mkfifo").arg(&clock).status().unwrap().success());
            let child = run.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // It can be opened once the server reads there, and the server then waits for what never comes.
            let held = std::fs::File::create(&clock).unwrap();
            signal(child.id(), name);
            let ended = child.wait_with_output().unwrap();
            let err = String::from_utf8(ended.stderr).unwrap();
            assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(0), &b""[..]), "{err}");
            assert!(err.contains("told to stop before anything was served"), "{err}");
            drop(held);
            // What it had begun is in nobody's way.
            std::fs::remove_file(&clock).unwrap();
            run.command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
            run.command.arg("serve").current_dir(run.folder.path()).env_clear();
            assert!(Running::start(run).get("/api/server/info", Some(TOKEN)).starts_with("HTTP/1.1 200 "));
        }
    }

    #[test]
    fn token_is_created_once_and_kept_over_a_restart() {
        let mut first = Running::start(configured(&["serve"]));
        first.signal("TERM");
        assert_eq!(first.end().0, Some(0));
        let told = first.told.clone();
        let second = Running::start(first.again(&["serve"]));
        insta::assert_snapshot!(settled(&second.told));
        let id = |text: &str| text.split(' ').find(|word| word.len() == 15).map(str::to_owned);
        assert_eq!(id(&told), id(&second.told));
        assert!(second.get("/api/server/info", Some(TOKEN)).starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn roles_of_tokens_that_no_policy_defines_any_more_are_told() {
        let mut first = Running::start(configured(&["serve"]));
        assert!(!first.told.contains("permits nothing"));
        first.signal("TERM");
        assert_eq!(first.end().0, Some(0));
        let without_block = first.again(&["serve", "-c", "config/rolegate.yaml"]);
        let second = Running::start(without_block.file("policy.rhai", "open(\"GET /health\");"));
        let line = "tokens     role reader of 1 token is defined by no policy and permits nothing\n";
        assert!(second.told.contains(line), "{}", second.told);
    }

    #[test]
    fn limits_of_the_configuration_hold() {
        let text = format!("{SERVER}  limits: {{header_fields: 8}}\n");
        let running = Running::start(configured(&["serve"]).file("config/rolegate.yaml", &text));
        let answer = |fields: usize| {
            let mut stream = TcpStream::connect(&running.address).unwrap();
            let more = "X: y\r\n".repeat(fields - 2);
            let request = format!("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        assert!(answer(8).starts_with("HTTP/1.1 200 "));
        assert!(answer(9).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn proxies_are_told_at_the_start_and_those_that_are_listed_may_ask() {
        let asked = |peers: &str| {
            let forward_auth = format!("  forward_auth: {{path: /ask, peers: [{peers}]}}\n");
            let text = format!("rolegate:\n  listen: 127.0.0.1:0\n  policies: [policies]\n{forward_auth}");
            let policy = "role(\"reader\").allow(\"GET /mine\");\n";
            let run = configured(&["serve"]).file("config/rolegate.yaml", &text);
            let running = Running::start(run.file("policies/p.rhai", policy));
            let answer = running.get("/ask/mine", Some(TOKEN));
            (running.told.clone(), answer.lines().next().unwrap_or_default().to_owned())
        };
        let (told, answer) = asked("127.0.0.1");
        assert!(told.contains("proxies    /ask for 127.0.0.1/32\n"), "{told}");
        assert_eq!(answer, "HTTP/1.1 200 OK");
        let (told, answer) = asked("10.0.0.0/8, 10.0.0.1, 10.0.0.2, 10.0.0.3");
        assert!(told.contains("proxies    /ask for 10.0.0.0/8, 10.0.0.1/32, 10.0.0.2/32, …\n"), "{told}");
        assert_eq!(answer, "HTTP/1.1 403 Forbidden");
    }

    /// A server, and a request that it has taken up and whose body it waits for.
    #[expect(clippy::unwrap_used, reason = "a test that does not reach its server fails")]
    fn with_request_in_progress() -> (Running, TcpStream) {
        let policy = "role(\"reader\").allow(\"POST /api/security/tokens\");";
        let limits = format!("{SERVER}  limits: {{body_read_timeout: 1m, drain_timeout: 1m}}\n");
        let run = configured(&["serve"]).file("policy.rhai", policy);
        let running = Running::start(run.file("config/rolegate.yaml", &limits));
        let head = format!(
            "POST /api/security/tokens HTTP/1.1\r\nHost: x\r\nX-API-Key: {TOKEN}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            NEW_TOKEN.len()
        );
        let mut held = TcpStream::connect(&running.address).unwrap();
        held.write_all(head.as_bytes()).unwrap();
        let mut go_on = [0; 25];
        held.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        (running, held)
    }

    #[test]
    fn running_request_is_answered_after_the_first_signal() {
        let (mut running, mut held) = with_request_in_progress();
        running.signal("TERM");
        running.wait_for_log("shutting down");
        // While that request goes on, there are no new ones.
        while TcpStream::connect(&running.address).is_ok() {
            std::thread::yield_now();
        }
        held.write_all(NEW_TOKEN.as_bytes()).unwrap();
        let mut answer = String::new();
        held.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("svctok-"), "{answer}");
        assert_eq!(running.end().0, Some(0));
    }

    #[test]
    fn second_signal_drops_running_requests() {
        let (mut running, _held) = with_request_in_progress();
        running.signal("TERM");
        running.wait_for_log("shutting down");
        running.signal("INT");
        assert_eq!(running.end().0, Some(3));
    }

    #[test]
    fn server_goes_on_when_its_log_cannot_be_written() {
        let (closed, nobody_reads) = std::io::pipe().unwrap();
        drop(closed);
        let full = std::fs::File::options().write(true).open("/dev/full").ok();
        for written in [Some(Stdio::from(nobody_reads)), full.map(Stdio::from)].into_iter().flatten() {
            let (err, _) = std::io::pipe().unwrap();
            let run = configured(&["serve"]).variable("ROLEGATE_LOG_LEVEL", "trace");
            let mut running = Running::start_logging(run, written, err, |_, _| {});
            for _ in 0..3 {
                assert!(running.get("/nowhere", None).starts_with("HTTP/1.1 401 "));
            }
            running.signal("TERM");
            assert_eq!(running.end().0, Some(0));
        }
    }

    #[test]
    fn server_answers_and_ends_while_nobody_reads_its_log() {
        let (unread, written) = std::io::pipe().unwrap();
        let (err, _) = std::io::pipe().unwrap();
        let run = configured(&["serve"]).variable("ROLEGATE_LOG_LEVEL", "trace");
        let mut running = Running::start_logging(run, written.into(), err, |_, _| {});
        // More lines than a pipe of 64 KiB holds.
        for _ in 0..1_000 {
            assert!(running.get("/nowhere", None).starts_with("HTTP/1.1 401 "));
        }
        running.signal("TERM");
        assert_eq!(running.end().0, Some(0));
        drop(unread);
    }

    #[test]
    fn json_log_is_one_object_a_line() {
        // A warning is a line like any other.
        let weak = AUTHENTICATION.replace(TOKEN, "aaaaaaaaaaaaaaaaaaaaaaaa");
        let run = configured(&["serve"]).file("config/authentication.yaml", &weak);
        let mut running = Running::start(run.variable("ROLEGATE_LOG_FORMAT", "json"));
        running.signal("TERM");
        let (code, _, err) = running.end();
        assert_eq!(code, Some(0));
        assert!(err.contains("shutting down") && err.contains("may be guessed"), "{err}");
        for line in err.lines() {
            let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(parsed["timestamp"].is_string() && parsed["level"].is_string(), "{line}");
        }
    }

    #[test]
    fn port_in_use_is_one_error_and_nothing_is_created() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let run = configured(&["serve", "--listen", &address]);
        let folder = run.folder.path().join("data");
        let mut run = run;
        let output = run.command.output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap().replace(&address, "ADDRESS");
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
        insta::assert_snapshot!(err);
        assert!(!folder.exists());
    }

    #[test]
    fn address_of_another_machine_is_refused() {
        insta::assert_snapshot!(configured(&["serve", "--listen", "192.0.2.1:1"]).whole());
    }

    #[test]
    fn store_in_use_is_one_error_and_the_first_server_goes_on() {
        let mut first = Running::start(configured(&["serve"]));
        let mut second = configured(&["serve"]);
        second.command.current_dir(first.folder.path());
        let output = second.command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
        insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap());
        assert!(first.get("/health", None).starts_with("HTTP/1.1 200 "));
        first.signal("TERM");
        assert_eq!(first.end().0, Some(0));
    }

    #[test]
    fn folders_and_files_that_are_something_else_are_refused_and_left_alone() {
        insta::assert_snapshot!(configured(&["serve"]).file("data", "a file").whole());
        let run = configured(&["serve"]).file("data/tokens.redb", "no store");
        let file = run.folder.path().join("data/tokens.redb");
        let mut run = run;
        let output = run.command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap());
        assert_eq!(std::fs::read(file).unwrap(), b"no store");
        insta::assert_snapshot!(configured(&["serve"]).file("data/audit.jsonl", "no log\n").whole());
    }

    #[test]
    fn wrong_configuration_and_policies_are_reported_before_anything_is_created() {
        for (name, text) in [
            ("config/rolegate.yaml", "rolegate:\n  lisen: 1\n"),
            ("config/authentication.yaml", ""),
            ("policy.rhai", "role(\"reader\").allwo(\"GET /x\");\n"),
            ("policy.rhai", "role(\"raeder\").allow(\"GET /x\");\n"),
        ] {
            let mut run = configured(&["serve"]).file(name, text);
            let output = run.command.output().unwrap();
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{name}");
            assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: "), "{name}");
            assert!(!run.folder.path().join("data").exists(), "{name}");
        }
    }
}
