//! `rolegate` as its operator meets it: the program itself, run with arguments, environment and files.

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

    fn told(mut self) -> Told {
        let Output { status, stdout, stderr } = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Told { code: status.code(), out: text(stdout), err: text(stderr) }
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
    use super::{AUTHENTICATION, Run, SERVER};

    fn shipped(arguments: &[&str]) -> Run {
        Run::new(arguments)
            .file("config/rolegate.yaml", SERVER)
            .file("config/authentication.yaml", AUTHENTICATION)
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
    fn check_says_what_is_wrong_with_files_that_cannot_be_read() {
        insta::assert_snapshot!(Run::new(&["config", "check"]).whole());
        insta::assert_snapshot!(Run::new(&["config", "check", "-c", "."]).whole());
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
