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
    let nouns = ["completion", "context", "user-session"];
    let mut texts: Vec<String> = nouns.iter().map(|noun| help(noun)).collect();
    for (noun, text) in nouns.iter().zip(&texts) {
        let bare = Sts::of(noun).arg("-o").arg("json").run();
        assert_eq!((bare.code, &bare.stdout), (0, text), "a noun alone is a question for its help");
    }
    texts.insert(2, Sts::of("help service-token").run().stdout);
    insta::assert_snapshot!(texts.join("\n=====\n\n"));
}

#[test]
fn further_commands_of_service_tokens_are_told_beside_the_page_of_the_original() {
    let to_the_letter = Sts::of("service-token --help").run().stdout;
    let whole = Sts::of("help service-token").run().stdout;
    assert_eq!(Sts::of("service-token").run().stdout, whole);
    for name in ["describe", "disable", "enable", "rotate", "update"] {
        assert!(whole.contains(&format!("  {name} ")) && !to_the_letter.contains(name), "{name}");
    }
    let wrong = Sts::of("service-token revolve").run();
    assert!(whole.ends_with(&wrong.stdout), "{}", wrong.shown());
}

#[test]
fn help_of_the_commands() {
    for name in [
        "service-token_create",
        "service-token_delete",
        "service-token_list",
        "service-token_describe",
        "service-token_disable",
        "service-token_enable",
        "service-token_rotate",
        "service-token_update",
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
        for word in [
            "service-token",
            "context",
            "validate",
            "delete",
            "user-session",
            "roles",
            "service-token-file",
            "rotate",
            "unused-since",
        ] {
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
