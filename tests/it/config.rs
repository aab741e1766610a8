//! The configuration: what is read from files, variables and arguments, and what is refused, at which place.

use rolegate::config::{
    Config, ConfigErrors, Contents, DEPTH_MAX, FILE_MAX_BYTES, FILES_MAX, Flag, Input, KEY_MAX_BYTES, KEYS,
    Kind, NETWORKS_MAX, NODES_MAX, Origin, PUBLISHED_TOKEN, Problem, SettingValue, Variables, load,
};
use rolegate::token::Secret;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

const STRONG: &str = "4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u";
const LOGGED: &str =
    "rolegate:\n  policies: [policies/stackstate.rhai]\n  decision_log:\n    file: decisions.jsonl\n";
const FORWARDED: &str =
    "rolegate:\n  policies: [policies/stackstate.rhai]\n  forward_auth:\n    peers: [10.0.0.1, \"::1\"]\n";
const SECURE: &str = "rolegate:\n  policies: [policies/stackstate.rhai]\n  \
    tls: {certificate: a, key: b, client_ca: c, client_certificates: optional}\n";
const MINIMAL: &str = "rolegate:\n  policies: [policies/stackstate.rhai]\n";

/// A configuration of files that are not on any disk.
#[derive(Default)]
struct World {
    named: Vec<PathBuf>,
    files: HashMap<PathBuf, (Vec<u8>, bool)>,
    variables: Vec<(String, String)>,
    flags: Vec<Flag>,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        files.iter().fold(Self::default(), |world, (name, text)| {
            let mut world = world.file(name, text.as_bytes());
            world.named.push(PathBuf::from(name));
            world
        })
    }

    fn one(text: &str) -> Self {
        Self::new(&[("a.yaml", text)])
    }

    /// A file that is there without being a configuration file.
    fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.insert(PathBuf::from(name), (bytes.to_vec(), false));
        self
    }

    fn readable_by_others(mut self, name: &str) -> Self {
        self.files.entry(PathBuf::from(name)).and_modify(|file| file.1 = true);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, key: &'static str, name: &'static str, value: &str) -> Self {
        self.flags.push(Flag { key, name, value: value.to_owned() });
        self
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        let read = |path: &Path, limit: usize| match self.files.get(path) {
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
            Some((bytes, readable_by_others)) => {
                let most = bytes.len().min(limit + 1);
                let bytes = Zeroizing::new(bytes.iter().take(most).copied().collect());
                Ok(Contents { bytes, readable_by_others: *readable_by_others })
            }
        };
        let variables: Variables = self.variables.clone().into_iter().collect();
        load(&Input { files: &self.named, variables: &variables, flags: &self.flags, read: &read })
    }

    #[expect(clippy::expect_used, reason = "the configuration of a test is valid")]
    fn good(&self) -> Config {
        self.load().map_err(|errors| errors.to_string()).expect("a valid configuration")
    }

    #[expect(clippy::expect_used, reason = "the configuration of a test is invalid")]
    fn errors(&self) -> String {
        self.load().expect_err("an invalid configuration").to_string()
    }

    fn warnings(&self) -> Vec<String> {
        self.good().warnings.iter().map(ToString::to_string).collect()
    }
}

fn bootstrap(lines: &str) -> String {
    let block: String = lines.lines().map(|line| format!("        {line}\n")).collect();
    format!("{MINIMAL}stackstate:\n  authentication:\n    servicetoken:\n      bootstrap:\n{block}")
}

fn bootstrap_of(lines: &str) -> World {
    World::one(&bootstrap(lines))
}

mod files {
    use super::*;

    #[test]
    fn the_missions_block_is_read_to_the_letter() {
        let text = format!(
            "stackstate:\n  authentication:\n    servicetoken:\n      bootstrap:\n        token: {STRONG}\n        \
             roles:\n          - stackstate-power-user\n        ttl: 24h\n"
        );
        let config = World::new(&[("rolegate.yaml", MINIMAL), ("authentication.yaml", &text)]).good();
        let bootstrap = config.bootstrap.unwrap();
        assert_eq!(bootstrap.digest.value, Secret::parse(STRONG).unwrap().0.digest());
        assert_eq!(bootstrap.digest.origin.to_string(), "authentication.yaml:5:16");
        assert_eq!(bootstrap.roles[0].value.as_str(), "stackstate-power-user");
        assert_eq!(bootstrap.roles[0].origin.to_string(), "authentication.yaml:7:13");
        assert_eq!(bootstrap.ttl.unwrap().value, Duration::from_secs(86_400));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn later_files_merge_maps_replace_lists_and_take_away_with_null() {
        let first = "rolegate:\n  listen: 127.0.0.1:1\n  data_dir: first\n  policies: [a.rhai, b.rhai]\n  log: {format: json, level: debug}\n";
        let second = "rolegate:\n  data_dir: second\n  policies: [c.rhai]\n  log: {level: ~}\n  listen:\n";
        let config = World::new(&[("1.yaml", first), ("2.yaml", second)]).good();
        assert_eq!(config.data_dir.value, Path::new("second"));
        assert_eq!(config.data_dir.origin.to_string(), "2.yaml:2:13");
        assert_eq!(config.policies.len(), 1);
        assert_eq!(config.log.format.value, "json");
        assert_eq!((config.log.level.value, &config.log.level.origin), ("info", &Origin::Default));
        assert_eq!(config.listen.value.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn null_takes_a_whole_block_away_and_is_never_text() {
        let second = "stackstate: {authentication: {servicetoken: {bootstrap: null}}}";
        let first = bootstrap(&format!("token: {STRONG}\nroles: [a]"));
        assert!(World::new(&[("1.yaml", &first)]).good().bootstrap.is_some());
        assert!(World::new(&[("1.yaml", &first), ("2.yaml", second)]).good().bootstrap.is_none());
        let errors = bootstrap_of("token: null\nroles: [a]").errors();
        assert_eq!(
            errors,
            "a.yaml:7:9: `stackstate.authentication.servicetoken.bootstrap.token` is missing: \
             write `token: ${VARIABLE}` or `token_file: FILE`, or take the whole block out"
        );
        let errors = bootstrap_of(&format!("token: {STRONG}\nroles: [null, ~]")).errors();
        assert_eq!(errors.matches("an item must be text, and this is nothing").count(), 2, "{errors}");
    }

    #[test]
    fn files_without_keys_are_never_a_default_server() {
        for text in
            ["", "\n\n", "# nothing\n", "---\n", "--- # nothing\n...\n", "null\n", "~", "{}\n", "--- {}"]
        {
            let errors = World::one(text).errors();
            assert!(errors.contains("the file is empty"), "{text:?}: {errors}");
        }
        assert!(World::one("rolegate: {}\n").errors().contains("`rolegate.policies` is missing"));
        assert!(World::default().errors().contains("no configuration file is named"));
        assert!(
            World::one("- a\n")
                .errors()
                .contains("a configuration is a map, such as `rolegate: {…}`, and this is a list")
        );
        assert!(World::one("text\n").errors().contains("and this is text"));
        // What it lacks besides is no news.
        assert_eq!(World::one("- a\n").errors().lines().count(), 1);
        assert_eq!(World::one("\n").errors().lines().count(), 1);
    }

    #[test]
    fn files_that_are_missing_are_each_reported() {
        let mut world = World::one(MINIMAL);
        world.named.extend([PathBuf::from("b.yaml"), PathBuf::from("c.yaml")]);
        insta::assert_snapshot!(world.errors(), @r"
        b.yaml: cannot be read: entity not found; name the files with `--config`
        c.yaml: cannot be read: entity not found; name the files with `--config`
        ");
    }

    #[test]
    fn as_many_files_as_may_be_are_read_and_one_more_is_not() {
        let mut world = World::one(MINIMAL);
        world.named = vec![PathBuf::from("a.yaml"); FILES_MAX];
        world.good();
        world.named.push(PathBuf::from("a.yaml"));
        assert!(world.errors().contains("at most 32 files"));
    }
}

mod untrusted_text {
    use super::*;

    fn problem(text: &str) -> (String, Problem) {
        problem_in(text.as_bytes())
    }

    #[expect(clippy::unwrap_used, reason = "the text is invalid")]
    fn problem_in(bytes: &[u8]) -> (String, Problem) {
        let mut world = World::one("");
        world = world.file("a.yaml", bytes);
        let errors = world.load().unwrap_err();
        let first = errors.iter().next().unwrap();
        let place = first.at.as_ref().map(ToString::to_string).unwrap_or_default();
        let shown = first.problem.to_string();
        assert!(shown.len() < 400, "{shown}");
        (
            place,
            match &first.problem {
                Problem::Syntax(_) => Problem::Syntax(String::new()),
                Problem::DuplicateKey { key, first } => {
                    Problem::DuplicateKey { key: key.clone(), first: first.clone() }
                }
                Problem::TooLarge(most) => Problem::TooLarge(*most),
                Problem::TooDeep(most) => Problem::TooDeep(*most),
                Problem::TooManyNodes(most) => Problem::TooManyNodes(*most),
                Problem::Character(letter) => Problem::Character(*letter),
                Problem::NotUtf8 => Problem::NotUtf8,
                Problem::ByteOrderMark => Problem::ByteOrderMark,
                Problem::SeveralDocuments => Problem::SeveralDocuments,
                Problem::Anchor => Problem::Anchor,
                Problem::Alias => Problem::Alias,
                Problem::Tag => Problem::Tag,
                Problem::KeyNotText => Problem::KeyNotText,
                Problem::Ambiguous => Problem::Ambiguous,
                other => Problem::Syntax(other.to_string()),
            },
        )
    }

    #[test]
    fn a_file_of_the_largest_size_is_read_and_one_byte_more_is_not() {
        let mut text = MINIMAL.to_owned();
        text.push_str(&format!("#{}", "x".repeat(FILE_MAX_BYTES - MINIMAL.len() - 1)));
        World::one(&text).good();
        text.push('x');
        assert_eq!(problem(&text), ("a.yaml".into(), Problem::TooLarge(FILE_MAX_BYTES)));
    }

    #[test]
    fn bytes_that_are_no_plain_text_are_refused_at_their_place() {
        assert_eq!(problem_in(b"a: b\nc: \xff"), ("a.yaml:2:4".into(), Problem::NotUtf8));
        assert_eq!(problem_in(b"\xff\xfea\0"), ("a.yaml:1:1".into(), Problem::NotUtf8));
        assert_eq!(problem("\u{feff}a: b"), ("a.yaml".into(), Problem::ByteOrderMark));
        for letter in ['\0', '\u{1b}', '\r', '\u{85}', '\u{2028}', '\u{202e}', '\u{feff}', '\u{7f}'] {
            assert_eq!(
                problem(&format!("ä: 1\nb: x{letter}y")),
                ("a.yaml:2:5".into(), Problem::Character(letter))
            );
        }
        World::one(&MINIMAL.replace('\n', "\r\n")).good();
        World::one(&format!("# ünïcödé \u{1f511}\n{MINIMAL}")).good();
    }

    #[test]
    fn anchors_aliases_tags_and_second_documents_are_refused_at_their_place() {
        assert_eq!(problem("a: &x b"), ("a.yaml:1:4".into(), Problem::Anchor));
        assert_eq!(problem("a: &x [b]"), ("a.yaml:1:4".into(), Problem::Anchor));
        assert_eq!(problem("a: !!str b"), ("a.yaml:1:4".into(), Problem::Tag));
        assert_eq!(problem("a: !own {b: c}"), ("a.yaml:1:4".into(), Problem::Tag));
        assert_eq!(problem("a: b\n---\nc: d"), ("a.yaml:2:1".into(), Problem::SeveralDocuments));
        assert_eq!(problem("a: b\n...\n---\nc: d").1, Problem::SeveralDocuments);
        let errors = World::one("a: &x b\nc: *x\nd:\n  <<: *x\n").errors();
        assert_eq!(errors.matches("aliases are not accepted").count(), 2, "{errors}");
        World::one(&format!("%YAML 1.2\n---\n{MINIMAL}...\n")).good();
    }

    #[test]
    fn keys_are_text_and_stand_once() {
        insta::assert_snapshot!(World::one("a: 1\nb:\n  c: 1\n  \"c\": 2\na: 3\n").errors(), @r"
        a.yaml:4:3: the key `c` stands here a second time; the first is at a.yaml:3:3
        a.yaml:5:1: the key `a` stands here a second time; the first is at a.yaml:1:1
        ");
        for text in ["[a, b]: c", "? {a: b}\n: c", "1: a", "true: a", "null: a", "~: a", "1.5: a"] {
            assert_eq!(problem(text).1, Problem::KeyNotText, "{text}");
        }
        let long = "k".repeat(KEY_MAX_BYTES);
        assert!(World::one(&format!("{long}: 1")).errors().contains("unknown key"));
        assert!(World::one(&format!("{long}k: 1")).errors().contains("a key has at most 256 bytes"));
    }

    #[test]
    fn numbers_of_more_than_64_bits_are_refused_and_not_repeated() {
        let with = |token: &str| {
            World::one(&format!(
                "{MINIMAL}stackstate: {{authentication: {{servicetoken: {{bootstrap: {{token: {token}, roles: [a]}}}}}}}}\n"
            ))
        };
        let digits = "31415926535897932384626433832795";
        for number in [digits, "-31415926535897932384626433832795", "0x3141592653589793238462643"] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(with(number).errors(), @"a.yaml:3:65: a number this large is not accepted; if it is text, put it in quotes");
            }
        }
        assert!(World::one(&format!("{digits}: a")).errors().contains("a number this large"));
        assert!(with("18446744073709551615").errors().contains("this is a number; put it in quotes"));
        with(&format!("\"{digits}\"")).good();
    }

    #[test]
    fn as_deep_as_may_be_is_read_and_one_level_more_is_not() {
        let nested = |levels: usize| {
            format!(
                "{MINIMAL}stackstate: {{authentication: {{ldap: {}{}}}}}\n",
                "[".repeat(levels),
                "]".repeat(levels)
            )
        };
        // Three maps stand around the lists.
        World::one(&nested(DEPTH_MAX - 3)).good();
        assert_eq!(problem(&nested(DEPTH_MAX - 2)).1, Problem::TooDeep(DEPTH_MAX));
    }

    #[test]
    fn as_many_nodes_as_may_be_are_read_and_one_more_is_not() {
        let nodes = |count: usize| {
            // Twelve are not items: the maps, their keys, the list of policies and the list itself.
            let items = vec!["a"; count - 12].join(",");
            format!("{MINIMAL}stackstate: {{authentication: {{ldap: [{items}]}}}}\n")
        };
        World::one(&nodes(NODES_MAX)).good();
        assert_eq!(problem(&nodes(NODES_MAX + 1)).1, Problem::TooManyNodes(NODES_MAX));
    }

    /// What each of these costs is bounded by the limits: they end at the first of them, long before their end.
    #[test]
    fn files_made_to_be_costly_end_at_a_limit() {
        let fill = |unit: &str| unit.repeat(FILE_MAX_BYTES / unit.len());
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for level in 1..5000 {
            bomb.push_str(&format!("a{level}: &a{level} [*a{0},*a{0},*a{0},*a{0}]\n", level - 1));
        }
        assert_eq!(problem(&bomb).1, Problem::Anchor);
        for deep in ["[", "{", "[{a: ", "- ", "? ", "{a: ", "[["] {
            let found = problem(&fill(deep)).1;
            assert!(matches!(found, Problem::TooDeep(_) | Problem::Syntax(_)), "{deep}: {found:?}");
        }
        for wide in
            ["- a\n", "a,", "&a ", "*a ", "!a ", "[],", "\"", "'", "a: ", "%a\n", "---\n", "|\n", ">", "\t"]
        {
            for text in [fill(wide), format!("a: [{}", fill(wide).split_at(FILE_MAX_BYTES / 2).0)] {
                assert!(World::one(&text).load().is_err(), "{wide:?}");
            }
        }
        for mark in ["!a ", "&a ", "*a ", "\n! ", "!"] {
            // Within brackets the parser would hold all of them at once.
            let found = problem(&format!("a: [{}", fill(mark).split_at(FILE_MAX_BYTES / 2).0)).1;
            let is_bounded = mark == "!" || found == Problem::TooManyNodes(NODES_MAX);
            assert!(is_bounded, "{mark:?}: {found:?}");
        }
        let staircase: String = (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert_eq!(problem(&staircase).1, Problem::TooDeep(DEPTH_MAX));
        let many: String = (0..40_000).map(|number| format!("key{number}: 1\n")).collect();
        assert_eq!(problem(&many).1, Problem::TooManyNodes(NODES_MAX));
        let unknown: String = (0..20_000).map(|number| format!("key{number}: 1\n")).collect();
        assert_eq!(World::one(&unknown).load().unwrap_err().iter().count(), 51);
        let wrong = fill("a: &b c\n");
        assert!(World::one(&wrong).load().unwrap_err().iter().count() <= 51);
    }

    #[test]
    fn what_is_no_yaml_is_refused_at_its_place() {
        for text in ["a: b: c", "a: [b", "a: \"b", "a: b\n c: d", "\ta: b", "a: @b", "a: `b", "a\nb: c", "}"]
        {
            let (place, found) = problem(text);
            assert_eq!(found, Problem::Syntax(String::new()), "{text:?}");
            assert!(place.starts_with("a.yaml:"), "{text:?}: {place}");
        }
    }
}

mod values {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_read_in_every_spelling_that_yaml_has_for_it() {
        for spelled in [
            "here",
            "'here'",
            "\"here\"",
            "\"he\\x72e\"",
            "|-\n    here",
            ">-\n    here",
            "\n    here",
            "here # not here",
            "  here  ",
        ] {
            let text = format!("{MINIMAL}  data_dir: {spelled}\n");
            assert_eq!(World::one(&text).good().data_dir.value, Path::new("here"), "{spelled:?}");
        }
        for spelled in [
            "two words",
            "\"two\\\n    \\ words\"",
            "two\n    words",
            "'two\n    words'",
            ">-\n    two\n    words",
        ] {
            let text = format!("{MINIMAL}  data_dir: {spelled}\n");
            assert_eq!(World::one(&text).good().data_dir.value, Path::new("two words"), "{spelled:?}");
        }
    }

    proptest! {
        /// Whatever stands in a file, it is read or refused, and what is refused has its place in the file.
        #[test]
        fn no_text_is_taken_for_a_server_and_none_ends_the_program(
            text in "([a-c:\\-\\[\\]{} \n\"'#&*!|>?%@,0~\\\\\u{e9}]|rolegate: |token: ){0,60}"
        ) {
            let errors = World::one(&text).load().unwrap_err();
            for error in &errors {
                let at = error.at.as_ref().map(ToString::to_string).unwrap_or_default();
                let is_missing = matches!(error.problem, Problem::Missing { .. });
                prop_assert!(at.starts_with("a.yaml") || is_missing, "{error}");
            }
        }
    }
}

mod keys {
    use super::*;

    #[test]
    fn all_unknown_keys_of_all_files_are_reported_with_the_nearest_known_one() {
        let first =
            "rolegate:\n  polices: [a]\n  log: {levle: info}\n  dataDir: x\nlisten: 1\nelasticsearch: {}\n";
        let second = "stackstate:\n  authentification: {}\n  authentication:\n    servicetokens: {}\n    roles: {poweruser: [a]}\n    servicetoken: {bootstrap: {tokn: x}}\n";
        insta::assert_snapshot!(World::new(&[("1.yaml", first), ("2.yaml", second)]).errors());
    }

    #[test]
    fn keys_of_the_chart_without_effect_are_said() {
        let text = format!(
            "{MINIMAL}stackstate:\n  authentication:\n    adminPassword: x\n    ldap: {{host: h}}\n    oidc: null\n    roles:\n      custom:\n        dev: {{systemPermissions: [read-settings], topologyScope: x, viewPermissions: [a]}}\n"
        );
        insta::assert_snapshot!(World::one(&text).warnings().join("\n"), @r"
        a.yaml:5:5: `stackstate.authentication.adminPassword` has no effect here
        a.yaml:6:5: `stackstate.authentication.ldap` has no effect here
        a.yaml:10:51: `stackstate.authentication.roles.custom.dev.topologyScope` has no effect here
        a.yaml:10:69: `stackstate.authentication.roles.custom.dev.viewPermissions` has no effect here
        ");
    }

    #[test]
    fn values_of_another_shape_are_refused() {
        let text = "rolegate:\n  listen: [a]\n  data_dir: 12\n  policies: a.rhai\n  log: text\n  limits: {connections: true}\n  tokens: {}\nstackstate: {authentication: {roles: {guest: x, custom: [a]}}}\n";
        insta::assert_snapshot!(World::one(text).errors());
    }

    #[test]
    fn wrong_values_are_all_reported_with_what_to_write() {
        let text = "rolegate:\n  listen: localhost:80\n  data_dir: \"\"\n  policies: []\n  log: {format: xml, level: INFO}\n  limits:\n    connections: 0\n    header_bytes: 16 kB\n    header_read_timeout: 5\n    drain_timeout: 2h\n";
        insta::assert_snapshot!(World::one(text).errors());
    }

    #[test]
    fn limits_are_read() {
        let text = format!(
            "{MINIMAL}  limits: {{connections: 7, header_bytes: 4 KiB, body_bytes: 2048, drain_timeout: 1m}}\n"
        );
        let limits = World::one(&text).good().limits;
        assert_eq!((limits.connections, limits.header_bytes, limits.body_bytes), (7, 4096, 2048));
        assert_eq!(limits.drain_timeout, Duration::from_secs(60));
        assert_eq!(limits.header_read_timeout, Duration::from_secs(5));
    }

    #[test]
    fn limits_of_policies_are_those_of_loading_unless_said() {
        let limits = World::one(MINIMAL).good().policy_limits;
        assert_eq!(limits, rolegate::policy::Limits::LOAD);
        let text = format!(
            "{MINIMAL}  policy_limits: {{operations: 1000000000, time: 10m, functions: 1, list_items: 7, string_bytes: 64 MiB}}\n"
        );
        let limits = World::one(&text).good().policy_limits;
        assert_eq!((limits.operations, limits.time), (1_000_000_000, Duration::from_secs(600)));
        assert_eq!((limits.functions, limits.list_items, limits.string_bytes), (1, 7, 64 << 20));
        assert_eq!(limits.tokens, rolegate::policy::Limits::LOAD.tokens);
    }

    #[test]
    fn failed_authentications_are_limited_unless_that_is_turned_off() {
        let limits = |said: &str| {
            World::one(&format!("{MINIMAL}  limits: {{failed_authentications: {{{said}}}}}\n")).good().limits
        };
        let said = |said: &str| limits(said).failed_authentications.map(|it| (it.burst, it.per_minute));
        assert_eq!(said(""), Some((30, 10)));
        assert_eq!(said("burst: 1, per_minute: 1"), Some((1, 1)));
        assert_eq!(said("burst: 100000, per_minute: 60000"), Some((100_000, 60_000)));
        assert_eq!(said("limited: true, burst: 7"), Some((7, 10)));
        assert_eq!(said("limited: false, burst: 7"), None);
        for (key, value) in [
            ("burst", "0"),
            ("burst", "100001"),
            ("per_minute", "0"),
            ("per_minute", "60001"),
            ("per_minute", "-1"),
            ("limited", "off"),
        ] {
            let text = format!("{MINIMAL}  limits: {{failed_authentications: {{{key}: {value}}}}}\n");
            let errors = World::one(&text).errors();
            assert!(errors.contains(key) && errors.contains(value), "{errors}");
        }
        // What is turned off is looked at all the same.
        let text = format!("{MINIMAL}  limits: {{failed_authentications: {{limited: false, burst: 0}}}}\n");
        assert!(World::one(&text).errors().contains("burst"));
    }

    #[test]
    fn limits_of_policies_have_bounds() {
        for (key, value) in [
            ("operations", "1000000001"),
            ("time", "601s"),
            ("functions", "1000001"),
            ("tokens", "50000001"),
            ("list_items", "1000001"),
            ("map_entries", "100001"),
            ("string_bytes", "65 MiB"),
            ("functions", "0"),
        ] {
            let errors = World::one(&format!("{MINIMAL}  policy_limits: {{{key}: {value}}}\n")).errors();
            assert!(errors.contains(key) && errors.contains(value), "{errors}");
        }
    }

    #[test]
    fn input_in_messages_is_escaped_and_cut() {
        let errors = World::one(&format!("\"a\\x1b[31m{}\": 1\n", "x".repeat(200))).errors();
        assert!(errors.contains("`a\\u{1b}[31m") && errors.contains('…') && errors.len() < 200, "{errors}");
    }
}

mod secrets {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_not_at_once() {
        let other =
            bootstrap(&format!("token: {STRONG}\nroles: [a]")).replace("servicetoken", "serviceToken");
        assert!(World::one(&other).good().bootstrap.is_some());
        let first = bootstrap(&format!("token: {STRONG}\nroles: [a]"));
        insta::assert_snapshot!(World::new(&[("1.yaml", &first), ("2.yaml", &other)]).errors(), @"2.yaml:5:5: `stackstate.authentication.serviceToken` and `stackstate.authentication.servicetoken` are both given (1.yaml:5:5); keep one of them");
        let removed = "stackstate: {authentication: {servicetoken: null}}";
        let world = World::new(&[("1.yaml", &first), ("2.yaml", &other), ("3.yaml", removed)]);
        assert!(world.good().bootstrap.is_some());
    }

    #[test]
    fn token_comes_from_a_variable() {
        let world = bootstrap_of("token: ${CI_TOKEN}\nroles: [a]");
        let config = bootstrap_of("token: ${CI_TOKEN}\nroles: [a]").variable("CI_TOKEN", STRONG).good();
        let found = config.bootstrap.unwrap();
        assert_eq!(found.digest.value, Secret::parse(STRONG).unwrap().0.digest());
        assert_eq!(found.digest.origin.to_string(), "environment variable CI_TOKEN");
        assert!(world.errors().contains("a.yaml:7:16: ") && world.errors().contains("`CI_TOKEN` is not set"));
        assert!(world.variable("CI_TOKEN", "").errors().contains("`CI_TOKEN` is empty"));
        for text in ["x${A}", "${A}${B}", "\"${A} \"", "${}", "\"${A B}\"", "${1A}", "${A"] {
            let errors = bootstrap_of(&format!("token: {text}\nroles: [a]")).variable("A", STRONG).errors();
            assert!(errors.contains("a variable is written `${NAME}`"), "{text}: {errors}");
        }
    }

    #[test]
    fn token_comes_from_a_file() {
        let world = || bootstrap_of("token_file: /run/token\nroles: [a]");
        for end in ["", "\n", "\r\n"] {
            let found =
                world().file("/run/token", format!("{STRONG}{end}").as_bytes()).good().bootstrap.unwrap();
            assert_eq!(found.digest.value, Secret::parse(STRONG).unwrap().0.digest());
        }
        assert!(
            world().errors().contains("a.yaml:7:21: ")
                && world().errors().contains("`/run/token` cannot be read")
        );
        let long = format!("{}\n", "x".repeat(4096));
        assert!(world().file("/run/token", long.as_bytes()).errors().contains("is larger than 4096 bytes"));
        assert!(world().file("/run/token", &[0xff; 30]).errors().contains("is not UTF-8 text"));
        for text in [format!("{STRONG}\n\n"), format!(" {STRONG}"), format!("{STRONG}\nother")] {
            assert!(
                world().file("/run/token", text.as_bytes()).errors().contains("visible ASCII characters")
            );
        }
        let both = bootstrap_of(&format!("token: {STRONG}\ntoken_file: /run/token\nroles: [a]"));
        assert!(both.errors().contains("are both given (a.yaml:7:9)"), "{}", both.errors());
    }

    #[test]
    fn secrets_that_others_can_read_or_guess_are_warned_about() {
        let literal = bootstrap_of(&format!("token: {STRONG}\nroles: [a]"));
        assert!(literal.warnings().is_empty());
        insta::assert_snapshot!(literal.readable_by_others("a.yaml").warnings().join("\n"), @"a.yaml: the file holds a secret and can be read by others; run `chmod 600` on it");
        let filed = bootstrap_of("token_file: t\nroles: [a]").file("t", STRONG.as_bytes());
        assert!(filed.warnings().is_empty());
        insta::assert_snapshot!(filed.readable_by_others("t").readable_by_others("a.yaml").warnings().join("\n"), @"t: the file holds a secret and can be read by others; run `chmod 600` on it");
        let weak = bootstrap_of("token: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nroles: [a]");
        insta::assert_snapshot!(weak.warnings().join("\n"), @"a.yaml:7:16: `stackstate.authentication.servicetoken.bootstrap.token` may be guessed: about 14 bits, and 128 are needed; choose a longer one at random");
    }

    #[test]
    fn published_token_stays_on_this_machine() {
        let text = bootstrap(&format!("token: {PUBLISHED_TOKEN}\nroles: [a]"));
        insta::assert_snapshot!(World::one(&text).warnings().join("\n"), @"a.yaml:7:16: `stackstate.authentication.servicetoken.bootstrap.token` is the token published with rolegate; choose your own before others can reach the server");
        let open = World::one(&text).flag("rolegate.listen", "--listen", "0.0.0.0:80");
        insta::assert_snapshot!(open.errors(), @"a.yaml:7:16: `stackstate.authentication.servicetoken.bootstrap.token` is the token published with rolegate, and `0.0.0.0:80` is reached from other machines; choose a token of your own");
        let own = bootstrap_of(&format!("token: {STRONG}\nroles: [a]"));
        own.flag("rolegate.listen", "--listen", "0.0.0.0:80").good();
    }

    #[test]
    fn secrets_are_in_no_message_and_no_debug_output() {
        let secret = "hunter2-hunter2-hunter2";
        for lines in [
            format!("token: {secret}\nroles: [a]\nttl: 24h"),
            format!("token: {secret}\nttl: 24"),
            format!("token: {secret},\nroles: [a]"),
            format!("token: [{secret}]\nroles: [a]"),
            format!("token: {{{secret}: 1}}\nroles: [a]\nttl: 1x"),
            "token: hunter2\nroles: [{}]".to_owned(),
            format!("token: \"{secret}\nroles: [a]"),
            format!("token: ${{{secret}}}\nroles: [a]"),
        ] {
            let shown = match bootstrap_of(&lines).load() {
                Ok(config) => format!("{config:?}"),
                Err(errors) => format!("{errors:?} {errors}"),
            };
            assert!(!shown.contains("hunter2"), "{lines}: {shown}");
        }
    }

    #[test]
    fn tokens_that_are_none_are_refused() {
        for (token, reason) in [
            ("\"\"", "and this has none; take the whole block out when there is to be no token"),
            ("short", "at least 20 characters; `openssl rand -hex 24` makes one"),
            ("<token>", "at least 20 characters"),
            ("aaaaaaaaaaaaaaaaaaa", "at least 20 characters"),
            ("svctok-abcdefg-abcdefg-abcdefg-abcdefg", "checksum is wrong"),
            ("\"with space and more than 20\"", "visible ASCII"),
            ("12345678901234567890", "must be text, or `${VARIABLE}`, and this is a number"),
        ] {
            let errors = bootstrap_of(&format!("token: {token}\nroles: [a]")).errors();
            assert!(errors.contains(reason), "{token}: {errors}");
        }
        bootstrap_of("token: aaaaaaaaaaaaaaaaaaab\nroles: [a]").good();
    }

    #[test]
    fn roles_are_needed_and_named_once() {
        for (roles, reason) in [
            ("", "bootstrap.roles` is missing"),
            ("roles: []", "bootstrap.roles` is missing"),
            ("roles: [a, b, a]", "the same item is already given at a.yaml:8:17"),
            ("roles: [a b]", "a role's name consists of"),
            ("roles: a", "must be a list of at most 64 roles, and this is text"),
        ] {
            let errors = bootstrap_of(&format!("token: {STRONG}\n{roles}")).errors();
            assert!(errors.contains(reason), "{roles}: {errors}");
        }
        let many = |count: usize| (0..count).map(|number| format!("r{number}")).collect::<Vec<_>>().join(",");
        let with = |count| bootstrap_of(&format!("token: {STRONG}\nroles: [{}]", many(count)));
        assert_eq!(with(64).good().bootstrap.unwrap().roles.len(), 64);
        assert!(
            with(65).errors().contains("must be a list of at most 64 roles, and has 65"),
            "{}",
            with(65).errors()
        );
    }

    #[test]
    fn ttl_is_optional_and_checked() {
        let with = |ttl: &str| bootstrap_of(&format!("token: {STRONG}\nroles: [a]\n{ttl}"));
        assert!(with("").good().bootstrap.unwrap().ttl.is_none());
        assert!(with("ttl: null").good().bootstrap.unwrap().ttl.is_none());
        assert_eq!(
            with("ttl: 1h 30m").good().bootstrap.unwrap().ttl.unwrap().value,
            Duration::from_secs(5400)
        );
        for ttl in ["24", "0s", "-1h", "3651d", "1M", "1 month", "\" 24h\"", "\"\"", "[24h]", "true", "1.5"] {
            let errors = with(&format!("ttl: {ttl}")).errors();
            assert!(errors.starts_with("a.yaml:9:14: "), "{ttl}: {errors}");
        }
        insta::assert_snapshot!(with("ttl: 24").errors(), @"a.yaml:9:14: `stackstate.authentication.servicetoken.bootstrap.ttl`: `24`: the number has no unit; write `24h`, `7d` or `1h 30m`");
    }
}

mod roles_and_tokens {
    use super::*;

    #[test]
    fn role_bindings_keep_their_places() {
        let text = format!(
            "{MINIMAL}stackstate:\n  authentication:\n    roles:\n      guest: [visitors]\n      powerUser: [ops, dev]\n      admin: []\n      custom:\n        grafana:\n          systemPermissions: [read-settings]\n        empty: {{}}\n"
        );
        let config = World::one(&text).good();
        let aliases: Vec<_> = config
            .aliases
            .iter()
            .map(|alias| format!("{} {} {}", alias.of, alias.name.value, alias.name.origin))
            .collect();
        assert_eq!(
            aliases,
            [
                "stackstate-guest visitors a.yaml:6:15",
                "stackstate-power-user ops a.yaml:7:19",
                "stackstate-power-user dev a.yaml:7:24"
            ]
        );
        let custom: Vec<_> = config
            .custom_roles
            .iter()
            .map(|role| (role.name.value.as_str(), role.permissions.len()))
            .collect();
        assert_eq!(custom, [("empty", 0), ("grafana", 1)]);
        assert_eq!(config.custom_roles[1].permissions[0].origin.to_string(), "a.yaml:11:31");
    }

    #[test]
    fn declared_tokens_are_read_and_every_fault_is_reported() {
        let digest = "0a".repeat(32);
        let text = format!(
            "{MINIMAL}  tokens:\n    - {{name: ci, digest: \"sha256:{digest}\", roles: [a], expires: 2030-01-31T00:00:00Z}}\n"
        );
        let config = World::one(&text).good();
        assert_eq!((config.tokens[0].name.value.as_str(), config.tokens[0].roles.len()), ("ci", 1));
        assert_eq!(config.tokens[0].expires.as_ref().unwrap().value.to_string(), "2030-01-31T00:00:00.000Z");
        let text = format!(
            "{MINIMAL}  tokens:\n    - {{name: a, digest: \"sha256:{digest}\", roles: [a]}}\n    - {{name: b, digest: \"sha256:{digest}\", roles: [a]}}\n    - {{name: c, digest: \"{digest}\", roles: [], expires: tomorrow}}\n    - {{nmae: d}}\n    - text\n"
        );
        insta::assert_snapshot!(World::one(&text).errors());
    }

    #[test]
    fn bootstrap_token_is_not_declared_as_well() {
        let (_, _) = Secret::parse(STRONG).unwrap();
        let hex: String =
            Secret::parse(STRONG).unwrap().0.digest().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let text = bootstrap(&format!("token: {STRONG}\nroles: [a]")).replace(
            "stackstate:\n",
            &format!("  tokens: [{{name: a, digest: \"sha256:{hex}\", roles: [a]}}]\nstackstate:\n"),
        );
        assert!(World::one(&text).errors().contains("the same token is already given at a.yaml:8:16"));
    }
}

mod overrides {
    use super::*;

    #[test]
    fn arguments_beat_variables_and_variables_beat_files() {
        let text = format!("{MINIMAL}  listen: 127.0.0.1:1\n");
        let world = World::one(&text);
        assert_eq!(world.good().listen.value.port(), 1);
        let world = world.variable("ROLEGATE_LISTEN", "127.0.0.1:2");
        assert_eq!(world.good().listen.origin.to_string(), "environment variable ROLEGATE_LISTEN");
        assert_eq!(world.good().listen.value.port(), 2);
        let world = world.flag("rolegate.listen", "--listen", "127.0.0.1:3");
        assert_eq!(world.good().listen.value.port(), 3);
        assert_eq!(world.good().listen.origin.to_string(), "argument --listen");
        let wrong = world.flag("rolegate.data_dir", "--data-dir", "").errors();
        assert_eq!(wrong, "argument --data-dir: `rolegate.data_dir`: a path is missing");
    }

    #[test]
    fn variables_reach_every_single_value_and_the_policies() {
        let config = World::one(MINIMAL)
            .variable("ROLEGATE_POLICIES", "a.rhai:b")
            .variable("ROLEGATE_LOG_LEVEL", "debug")
            .variable("ROLEGATE_LIMITS_HEADER_READ_TIMEOUT", "1s")
            .variable("ROLEGATE_AUDIT_FILE", "/var/log/audit.jsonl")
            .good();
        let paths: Vec<_> = config.policies.iter().map(|path| path.value.display().to_string()).collect();
        assert_eq!(paths, ["a.rhai", "b"]);
        assert_eq!(config.log.level.value, "debug");
        assert_eq!(config.limits.header_read_timeout, Duration::from_secs(1));
        assert_eq!(config.audit_file.value, Path::new("/var/log/audit.jsonl"));
        assert_eq!(World::one(MINIMAL).good().audit_file.value, Path::new("data/audit.jsonl"));
    }

    #[test]
    fn every_key_with_a_variable_is_overridden_by_it_and_refuses_what_a_file_may_not_say() {
        let mut count = 0;
        for key in KEYS {
            let Some(variable) = key.variable() else { continue };
            // What is said of a log that is in no file is an error, and of an endpoint that nobody may ask.
            let world = match key.parent() {
                "rolegate.decision_log" => LOGGED,
                "rolegate.forward_auth" => FORWARDED,
                "rolegate.tls" => SECURE,
                _ => MINIMAL,
            }
            .to_owned();
            let value = match &key.kind {
                Kind::Address => "127.0.0.2:1".to_owned(),
                Kind::Url => {
                    let wrong = World::one(MINIMAL).variable(&variable, "http://rolegate.example.com").load();
                    assert!(wrong.is_err(), "{variable}");
                    "https://rolegate.example.com".to_owned()
                }
                Kind::Path | Kind::Paths => "elsewhere".to_owned(),
                Kind::Choice(words) => words.last().unwrap().to_string(),
                Kind::Switch => {
                    for wrong in ["1", "on", "True"] {
                        assert!(
                            World::one(MINIMAL).variable(&variable, wrong).load().is_err(),
                            "{variable}={wrong}"
                        );
                    }
                    "false".to_owned()
                }
                Kind::Duration(least, most) => {
                    let past = format!("{}ms", most.as_millis() + 1);
                    assert!(
                        World::one(MINIMAL).variable(&variable, &past).load().is_err(),
                        "{variable}={past}"
                    );
                    format!("{}ms", least.as_millis())
                }
                Kind::Count(least, most) | Kind::Size(least, most) => {
                    let past = (most + 1).to_string();
                    assert!(
                        World::one(MINIMAL).variable(&variable, &past).load().is_err(),
                        "{variable}={past}"
                    );
                    least.to_string()
                }
                Kind::FewNames(most) => {
                    let names = vec!["x"; most + 1].join(",");
                    assert!(World::one(&world).variable(&variable, &names).load().is_err(), "{variable}");
                    "x, y".to_owned()
                }
                Kind::Networks => {
                    let networks = vec!["::1"; NETWORKS_MAX + 1].join(",");
                    for wrong in ["10.0.0.1/8", "localhost", &networks] {
                        assert!(World::one(&world).variable(&variable, wrong).load().is_err(), "{wrong:.20}");
                    }
                    "10.0.0.0/8, ::1".to_owned()
                }
                Kind::Text => "/elsewhere".to_owned(),
                other => panic!("{}: {other:?}", key.path),
            };
            let config = World::one(&world).variable(&variable, &value).good();
            let setting = config.settings.iter().find(|setting| setting.path == key.path).unwrap();
            assert_eq!(setting.origin, Origin::Variable(variable.as_str().into()), "{}", key.path);
            count += 1;
        }
        assert_eq!(count, 49);
    }

    #[test]
    fn mistyped_and_empty_variables_are_refused_and_those_of_others_are_not() {
        let world = World::one(MINIMAL)
            .variable("ROLEGATE_LISTN", "127.0.0.1:2")
            .variable("ROLEGATE_DATADIR", "x")
            .variable("ROLEGATE_NONSENSE", "x")
            .variable("ROLEGATE_PORT", "9000")
            .variable("ROLEGATE_LOG_LEVEL", "")
            .variable("ROLEGATE_LOG_FORMAT", "xml");
        insta::assert_snapshot!(world.errors());
        let text = bootstrap("token: ${ROLEGATE_BOOTSTRAP_TOKEN}\nroles: [a]");
        World::one(&text)
            .variable("ROLEGATE_BOOTSTRAP_TOKEN", STRONG)
            .variable("ROLEGATE_CONFIG", "a.yaml")
            .variable("ROLEGATE_SERVICE_HOST", "10.0.0.1")
            .variable("ROLEGATE_PORT", "tcp://10.0.0.1:8080")
            .variable("ROLEGATE_PORT_8080_TCP_ADDR", "10.0.0.1")
            .variable("ROLEGATES", "x")
            .good();
    }

    #[test]
    fn every_value_tells_where_it_came_from() {
        let world = bootstrap_of(&format!("token: {STRONG}\nroles: [a, b]\nttl: 24h"))
            .variable("ROLEGATE_LOG_LEVEL", "warn")
            .flag("rolegate.data_dir", "--data-dir", "d");
        let config = world.good();
        let shown: Vec<String> = config
            .settings
            .iter()
            .map(|setting| {
                let value = match &setting.value {
                    SettingValue::Text(text) | SettingValue::Number(text) => text.clone(),
                    SettingValue::Switch(on) => on.to_string(),
                    SettingValue::List(items) => items.join(","),
                    SettingValue::Hidden => "***".to_owned(),
                };
                format!("{} = {value} ({})", setting.path, setting.origin)
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}

mod forward_auth {
    use super::*;

    fn with(key: &str, value: &str) -> World {
        World::one(&format!("{FORWARDED}    {key}: {value}\n"))
    }

    #[test]
    fn it_is_off_until_its_peers_are_listed_and_needs_some() {
        assert!(World::one(MINIMAL).good().forward_auth.is_none());
        let said = World::one(FORWARDED).good().forward_auth.unwrap();
        assert_eq!((said.path.as_str(), said.malformed_status), ("/forward-auth", 403));
        assert!(
            said.peers.contains("::1".parse().unwrap()) && !said.peers.contains("10.0.0.2".parse().unwrap())
        );
        for text in ["path: /auth", "malformed_status: 400", "peers: []"] {
            let errors = World::one(&format!("{MINIMAL}  forward_auth: {{{text}}}\n")).errors();
            assert!(
                errors.contains("`rolegate.forward_auth.peers` is missing: list the proxies"),
                "{errors}"
            );
        }
        let off = World::one(&format!("{MINIMAL}  forward_auth:\n")).good();
        assert!(off.forward_auth.is_none());
    }

    #[test]
    fn peers_are_somebody_and_not_anybody() {
        for (peers, hint) in [
            ("[0.0.0.0/0]", "`0.0.0.0/0` is too wide: every address of it is believed"),
            ("[\"::/0\"]", "`::/0` is too wide"),
            ("[10.0.0.0/7]", "`10.0.0.0/7` is too wide"),
            ("[10.0.0.1/8]", "write `10.0.0.0/8`"),
            ("[proxy.example]", "not a network"),
            ("10.0.0.1", "must be a list"),
        ] {
            let errors = World::one(&format!("{MINIMAL}  forward_auth: {{peers: {peers}}}\n")).errors();
            assert!(errors.contains(hint), "{peers}: {errors}");
        }
        let widest = World::one(&format!("{MINIMAL}  forward_auth: {{peers: [10.0.0.0/8, \"fd00::/8\"]}}\n"));
        assert!(widest.good().forward_auth.is_some());
        let many = |count: usize| {
            let peers: Vec<String> = (0..count).map(|at| format!("10.0.{}.{}", at / 256, at % 256)).collect();
            World::one(&format!("{MINIMAL}  forward_auth: {{peers: [{}]}}\n", peers.join(", ")))
        };
        many(NETWORKS_MAX).good();
        assert!(many(NETWORKS_MAX + 1).errors().contains("at most 256 networks"));
    }

    #[test]
    fn path_has_one_spelling_and_hides_no_route_of_rolegate() {
        let longest = format!("/{}", "x".repeat(255));
        for path in ["/auth", "/api/auth", "/api/rolegate/auth", &longest] {
            assert_eq!(with("path", path).good().forward_auth.unwrap().path, path);
        }
        for (path, hint) in [
            ("auth", "does not start with a slash"),
            ("/", "needs a name"),
            ("/auth/", "no slash at its end"),
            ("/%61uth", "write it as `/auth`"),
            ("/a/../b", "dots alone"),
            ("/api", "`/api/rolegate/` is in use"),
            ("/health", "`/health` is in use"),
            (&format!("{longest}x"), "at most 256 bytes"),
        ] {
            let errors = with("path", path).errors();
            assert!(errors.contains(hint), "{path}: {errors}");
        }
    }

    #[test]
    fn status_of_malformed_requests_is_a_refusal_that_clients_leave_alone() {
        for status in [400, 403, 404, 499] {
            let said = with("malformed_status", &status.to_string()).good().forward_auth.unwrap();
            assert_eq!(said.malformed_status, status);
        }
        for (status, hint) in
            [("200", "between 400 and 499"), ("500", "between 400 and 499"), ("401", "clients act upon")]
        {
            assert!(with("malformed_status", status).errors().contains(hint), "{status}");
        }
    }
}

mod decision_log {
    use super::{LOGGED, MINIMAL, World};

    #[test]
    fn rules_are_sampled_by_name_and_every_fault_is_told() {
        let one = |item: &str| World::one(&format!("{LOGGED}    sampling:\n{item}"));
        let good =
            one("      - {rule: read-metrics, one_in: 100}\n      - {rule: '*', one_in: 2, denials: true}\n");
        let sampling = good.good().decision_log.unwrap().sampling;
        let told: Vec<_> =
            sampling.iter().map(|rule| (rule.rule.as_str(), rule.one_in, rule.denials)).collect();
        assert_eq!(told, [("read-metrics", 100, false), ("*", 2, true)]);
        for (item, problem) in [
            ("      - {one_in: 2}\n", "`rolegate.decision_log.sampling[0].rule` is missing"),
            ("      - {rule: x}\n", "`rolegate.decision_log.sampling[0].one_in` is missing"),
            ("      - {rule: x, one_in: 0}\n", "`0` is not between 1 and 1000000"),
            ("      - {rule: x, one_in: 1000001}\n", "`1000001` is not between 1 and 1000000"),
            ("      - {rule: '', one_in: 2}\n", "a rule is named by 1 to 2048 bytes"),
            ("      - {rule: x, one_in: 2, denials: maybe}\n", "`maybe` is neither `true` nor `false`"),
            ("      - {rule: x, one_in: 2}\n      - {rule: x, one_in: 3}\n", "the same rule"),
            ("      - {rule: x, rate: 2}\n", "rate"),
        ] {
            let errors = one(item).errors();
            assert!(errors.contains(problem), "{item}: {errors}");
        }
        let most = "      - {rule: R, one_in: 2}\n";
        let many =
            |count: usize| (0..count).map(|at| most.replace('R', &format!("r{at}"))).collect::<String>();
        assert_eq!(one(&many(1000)).good().decision_log.unwrap().sampling.len(), 1000);
        assert!(one(&many(1001)).errors().contains("at most 1000 rules can be sampled"));
    }

    #[test]
    fn decision_log_is_off_until_its_file_is_named() {
        assert!(World::one(MINIMAL).good().decision_log.is_none());
        let log = World::one(LOGGED).good().decision_log.unwrap();
        assert_eq!((log.allowed, log.max_bytes), (false, 100 * 1024 * 1024));
        assert!(log.headers.is_empty() && log.query.is_empty());
        let text = format!(
            "{LOGGED}    decisions: all\n    max_bytes: 1 MiB\n    headers: [X-Env]\n    query: [dry]\n"
        );
        let log = World::one(&text).good().decision_log.unwrap();
        assert_eq!((log.allowed, log.max_bytes), (true, 1024 * 1024));
        assert_eq!((log.headers[0].as_str(), log.query[0].as_str()), ("x-env", "dry"));
        let log = World::one(MINIMAL)
            .variable("ROLEGATE_DECISION_LOG_FILE", "d.jsonl")
            .variable("ROLEGATE_DECISION_LOG_HEADERS", "x-env, x-team")
            .good()
            .decision_log
            .unwrap();
        assert_eq!(log.headers, ["x-env", "x-team"]);
    }

    #[test]
    fn credentials_and_what_belongs_to_no_file_are_refused() {
        for (more, part) in [
            ("    headers: [Authorization]\n", "carries credentials"),
            ("    headers: [x-env, x-api-key]\n", "carries credentials"),
            ("    headers: [x env]\n", "is no name of a header field"),
            ("    query: ['']\n", "1 to 256 bytes"),
            ("    decisions: some\n", "one of `denials`, `all`"),
            ("    max_bytes: 1\n", "is not between 64 KiB"),
        ] {
            let errors = World::one(&format!("{LOGGED}{more}")).errors();
            assert!(errors.contains(part), "{more}: {errors}");
        }
        let cookie = World::one(LOGGED).variable("ROLEGATE_DECISION_LOG_HEADERS", "x-env,cookie").errors();
        assert!(cookie.contains("`cookie` carries credentials"), "{cookie}");
        let missing = World::one(&format!("{MINIMAL}  decision_log:\n    decisions: all\n")).errors();
        assert!(missing.contains("`rolegate.decision_log.file` is missing"), "{missing}");
    }
}

mod transport {
    use super::*;

    fn with(lines: &str) -> World {
        let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
        World::one(&format!("{MINIMAL}{lines}"))
    }

    #[test]
    fn without_a_word_there_is_no_tls_and_nobody_is_believed() {
        let config = World::one(MINIMAL).good();
        assert!(config.tls.is_none() && config.proxy_protocol.is_empty());
        assert_eq!(config.http2.value, "tls");
    }

    #[test]
    fn files_of_tls_are_read_and_authorities_require_certificates() {
        let files = with("tls: {certificate: c.pem, key: k.pem}").good().tls.unwrap();
        assert_eq!((files.certificate.value, files.key.value), ("c.pem".into(), "k.pem".into()));
        assert!(files.clients.is_none());
        for (said, wanted) in [
            ("", Some("required")),
            (", client_certificates: required", Some("required")),
            (", client_certificates: optional", Some("optional")),
        ] {
            let text = format!("tls: {{certificate: c.pem, key: k.pem, client_ca: a.pem{said}}}");
            let clients = with(&text).good().tls.unwrap().clients;
            assert_eq!(clients.map(|(wanted, _)| wanted), wanted, "{said}");
        }
        let none = with("tls: {certificate: c.pem, key: k.pem, client_certificates: none}");
        assert!(none.good().tls.unwrap().clients.is_none());
    }

    #[test]
    fn half_of_a_configuration_of_tls_is_an_error() {
        for (said, hint) in [
            ("{}", "`rolegate.tls.certificate` is missing"),
            ("{certificate: c.pem}", "`rolegate.tls.key` is missing"),
            ("{key: k.pem}", "`rolegate.tls.certificate` is missing"),
            ("{certificate: '', key: k.pem}", "a path is missing"),
            (
                "{certificate: c.pem, key: k.pem, client_certificates: required}",
                "`rolegate.tls.client_ca` is missing",
            ),
            ("{certificate: c.pem, key: k.pem, client_ca: a.pem, client_certificates: none}", "take it out"),
            ("{certificate: c.pem, key: k.pem, client_certificates: maybe}", "must be one of"),
            ("{certificate: c.pem, key: k.pem, chain: a.pem}", "unknown key"),
        ] {
            let errors = with(&format!("tls: {said}")).errors();
            assert!(errors.contains(hint), "{said}: {errors}");
        }
        assert!(
            World::one(MINIMAL)
                .variable("ROLEGATE_TLS_KEY", "k.pem")
                .errors()
                .contains("certificate` is missing")
        );
    }

    #[test]
    fn key_that_others_can_read_is_warned_about() {
        let text = format!("{MINIMAL}  tls: {{certificate: c.pem, key: k.pem}}\n");
        let world = || World::one(&text).file("k.pem", b"key").file("c.pem", b"certificate");
        assert!(world().readable_by_others("c.pem").warnings().is_empty());
        let warnings = world().readable_by_others("k.pem").warnings();
        assert_eq!(
            warnings,
            ["k.pem: the file holds a secret and can be read by others; run `chmod 600` on it"]
        );
    }

    #[test]
    fn load_balancers_are_listed_by_network() {
        let config = with("proxy_protocol: {peers: [10.0.0.0/8, 'fd00::/8', 192.0.2.1]}").good();
        for (address, is_listed) in
            [("10.1.2.3", true), ("fd00::1", true), ("192.0.2.1", true), ("192.0.2.2", false), ("::1", false)]
        {
            assert_eq!(config.proxy_protocol.contains(address.parse().unwrap()), is_listed, "{address}");
        }
        for (said, hint) in [
            ("{}", "`rolegate.proxy_protocol.peers` is missing"),
            ("{peers: []}", "`rolegate.proxy_protocol.peers` is missing"),
            ("{peers: 10.0.0.0/8}", "must be a list of at most 256 networks"),
            ("{peers: [10.0.0.1/8]}", "write `10.0.0.0/8`"),
            ("{peers: [balancer]}", "not a network"),
            ("{peers: [0.0.0.0/0]}", "too wide"),
            ("{peers: [10.0.0.0/8, 10.0.0.0/8]}", "already given"),
        ] {
            let errors = with(&format!("proxy_protocol: {said}")).errors();
            assert!(errors.contains(hint), "{said}: {errors}");
        }
        let full: Vec<String> =
            (0..=NETWORKS_MAX).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect();
        assert!(with(&format!("proxy_protocol: {{peers: [{}]}}", full[1..].join(", "))).load().is_ok());
        let errors = with(&format!("proxy_protocol: {{peers: [{}]}}", full.join(", "))).errors();
        assert!(errors.contains("at most 256 networks"), "{errors}");
    }
}

mod documentation {
    use rolegate::config::{KEYS, Key, Kind, Variables, load, read};
    use std::fmt::Write as _;
    use std::path::PathBuf;

    /// The table of keys as it stands in the documentation.
    fn table() -> String {
        let mut table = "| Key | Takes | Default | Variable | |\n|---|---|---|---|---|\n".to_owned();
        for key in KEYS.iter().filter(|key| key.kind != Kind::NoEffect) {
            let _ = writeln!(table, "{}", row(key));
        }
        table
    }

    fn row(key: &Key) -> String {
        let default = key.default.unwrap_or_default();
        let variable = key.variable().map(|name| format!("`{name}`")).unwrap_or_default();
        format!("| `{}` | {} | {default} | {variable} | {} |", key.path, key.kind.describe(), key.doc)
    }

    #[test]
    fn every_key_is_documented_and_every_documented_key_exists() {
        let page = include_str!("../../docs/configuration.md");
        let table = table();
        assert!(page.contains(&table), "docs/configuration.md must hold this table:\n{table}");
        for key in KEYS.iter().filter(|key| key.kind == Kind::NoEffect) {
            assert!(page.contains(&format!("`{}`", key.name())), "{}", key.path);
        }
        let is_key = |line: &&str| {
            let starts = ["| `rolegate`", "| `rolegate.", "| `stackstate`", "| `stackstate."];
            starts.iter().any(|start| line.starts_with(start))
        };
        let rows = page.lines().filter(is_key);
        assert_eq!(rows.count(), table.lines().count() - 2);
    }

    /// The blocks of the page that are whole files, and the files that are shipped.
    #[test]
    fn every_shipped_and_documented_file_loads() {
        let files = [PathBuf::from("config/rolegate.yaml"), PathBuf::from("config/authentication.yaml")];
        let variables = Variables::default();
        let input = rolegate::config::Input { files: &files, variables: &variables, flags: &[], read: &read };
        let config = load(&input).map_err(|errors| errors.to_string());
        let config = config.unwrap();
        assert!(config.bootstrap.is_some());
        assert!(
            config.warnings.iter().any(|warning| warning.to_string().contains("published with rolegate"))
        );

        let page = include_str!("../../docs/configuration.md");
        let blocks: Vec<&str> =
            page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(blocks.len() >= 4, "{}", blocks.len());
        for block in blocks {
            let read = |path: &std::path::Path, limit| match path.to_str() {
                Some("block") => {
                    let bytes = zeroize::Zeroizing::new(block.as_bytes().to_vec());
                    Ok(rolegate::config::Contents { bytes, readable_by_others: false })
                }
                Some("/run/secrets/token") => {
                    let bytes = zeroize::Zeroizing::new(super::STRONG.as_bytes().to_vec());
                    Ok(rolegate::config::Contents { bytes, readable_by_others: false })
                }
                _ => read(path, limit),
            };
            let variables: Variables = [("CI_TOKEN", super::STRONG)].into_iter().collect();
            let files = [PathBuf::from("config/rolegate.yaml"), PathBuf::from("block")];
            let input =
                rolegate::config::Input { files: &files, variables: &variables, flags: &[], read: &read };
            let loaded = load(&input).map_err(|errors| format!("{errors}\n{block}"));
            loaded.unwrap();
        }
    }
}

mod door {
    use rolegate::config::read;
    use std::io::ErrorKind;

    #[test]
    fn files_are_read_up_to_the_limit_and_one_byte_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap().bytes.len(), 5);
        assert_eq!(read(&file, 4).unwrap().bytes.len(), 5);
        assert_eq!(read(&file, 3).unwrap().bytes.len(), 4);
        assert_eq!(read(folder.path(), 5).err().unwrap().kind(), ErrorKind::IsADirectory);
        assert_eq!(read(&folder.path().join("none"), 5).err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(read("/dev/zero".as_ref(), 1000).unwrap().bytes.len(), 1001);
    }

    #[cfg(unix)]
    #[test]
    fn files_that_group_or_others_can_read_are_told_from_private_ones() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "x").unwrap();
        for (mode, others) in [(0o600, false), (0o640, true), (0o604, true), (0o711, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&file, 5).unwrap().readable_by_others, others, "{mode:o}");
        }
    }
}
