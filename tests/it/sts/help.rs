//! Help, completions and the version: what is printed without a server.

use super::world::Sts;

/// The help of a command, which must be the same however it is asked for.
fn help(words: &str) -> String {
    let asked = Sts::of(&format!("{words} --help")).run();
    assert_eq!((asked.code, asked.stderr.as_str()), (0, ""), "{words}");
    for other in
        [format!("{words} -h"), format!("-h {words}"), format!("help {words}"), format!("{words} -vh")]
    {
        assert_eq!(Sts::of(&other).run().stdout, asked.stdout, "{other}");
    }
    asked.stdout
}

#[test]
fn help_of_the_program() {
    assert_eq!(Sts::of("").run().stdout, help(""));
    insta::assert_snapshot!(help(""));
}

#[test]
fn help_of_the_nouns() {
    let nouns = ["completion", "context", "service-token", "user-session"];
    let texts: Vec<String> = nouns.iter().map(|noun| help(noun)).collect();
    for (noun, text) in nouns.iter().zip(&texts) {
        let bare = Sts::of(noun).arg("-o").arg("json").run();
        assert_eq!((bare.code, &bare.stdout), (0, text), "a noun alone is a question for its help");
    }
    insta::assert_snapshot!(texts.join("\n=====\n\n"));
}

#[test]
fn help_of_the_commands() {
    for name in [
        "service-token_create",
        "service-token_delete",
        "service-token_list",
        "context_delete",
        "context_list",
        "context_save",
        "context_set",
        "context_show",
        "context_validate",
        "user-session_roles",
        "version",
        "help",
        "completion_bash",
        "completion_fish",
        "completion_powershell",
        "completion_zsh",
    ] {
        insta::assert_snapshot!(name, help(&name.replace('_', " ")));
    }
}

#[test]
fn help_of_nothing_is_refused() {
    let outcome = Sts::of("help service-token nope").run();
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (3, "❌ Unknown help topic \"service-token nope\"\n")
    );
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "fish", "powershell", "zsh"] {
        let outcome = Sts::of(&format!("completion {shell}")).run();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{shell}");
        for word in
            ["service-token", "context", "validate", "delete", "user-session", "roles", "service-token-file"]
        {
            assert!(outcome.stdout.contains(word), "{shell}: {word}");
        }
        assert!(!outcome.stdout.contains("\u{1b}["), "{shell}");
        let bare = Sts::of(&format!("completion {shell} --no-descriptions")).run();
        assert!(
            bare.stdout.len() <= outcome.stdout.len() && bare.stdout.contains("service-token"),
            "{shell}"
        );
        assert!(!bare.stdout.contains("List service tokens"), "{shell}");
    }
}

#[test]
fn completion_script_of_bash_is_read_by_bash() {
    let script = Sts::of("completion bash").run().stdout;
    let checked = std::process::Command::new("bash").args(["-n", "-c", &script]).status();
    assert!(checked.unwrap().success());
}

#[test]
fn version_is_a_table_or_json() {
    let redacted = |text: String| text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
    insta::assert_snapshot!(redacted(Sts::of("version").run().shown()));
    insta::assert_snapshot!(redacted(Sts::of("version -o json").run().shown()));
}

#[test]
fn hidden_version_flag_tells_the_oldest_server() {
    let outcome = Sts::of("service-token list --version").run();
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", "5.0.0"));
}
