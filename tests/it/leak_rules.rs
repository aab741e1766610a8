//! The rules by which other scanners find tokens: they find those that are made, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::bytes::Regex;
use rolegate::Secret;
use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

type Outcome = Result<(), Box<dyn Error>>;

/// How often a new token is tried.
const TOKENS: usize = 2_000;
const NEARLY: [&str; 7] = [
    "svctok-aaaaa-bbbb-ccccc-ddddd",
    "svctok-0123456-789abcd-efghijk",
    "svctok-0123456-789abcd-efghijk-lmnopq",
    "svctok-0123456-789abcd-efghijk-lmnopqrs",
    "svctok-0123456-789abcd-efghijk_lmnopqr",
    "SVCTOK-0123456-789ABCD-EFGHIJK-LMNOPQR",
    "svctok-012345.-789abcd-efghijk-lmnopqr",
];

fn file(name: &str) -> Result<String, Box<dyn Error>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "examples", "leaks", name].iter().collect();
    let bytes = std::fs::read(Path::new(&path))?;
    Ok(String::from_utf8(bytes)?)
}

/// A value of the TOML that the rules are, in which each stands on a line of its own.
fn values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
    lines.map(|value| value.trim().trim_matches('\'').to_owned()).collect()
}

/// Bits a letter, as gitleaks counts them.
fn entropy(text: &str) -> f64 {
    let mut counts: HashMap<char, f64> = HashMap::new();
    text.chars().for_each(|letter| *counts.entry(letter).or_default() += 1.0);
    let all: f64 = counts.values().sum();
    counts.values().map(|count| -(count / all) * (count / all).log2()).sum()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

#[test]
fn gitleaks_finds_every_token_and_nothing_that_nearly_is_one() -> Outcome {
    let text = file("gitleaks.toml")?;
    let [plain, coded] = values(&text, "regex").try_into().map_err(|_| "two rules")?;
    let (plain, coded) = (Regex::new(&plain)?, Regex::new(&coded)?);
    let thresholds = values(&text, "entropy");
    assert_eq!(thresholds, ["3.0", "3.0"]);
    let keywords = values(&text, "keywords");
    for _ in 0..TOKENS {
        let secret = Secret::generate()?.expose().to_owned();
        for (before, after) in
            [("", ""), ("TOKEN=", "\n"), ("\"x\\n", "\","), ("https://ci:", "@h/"), ("_", "_")]
        {
            let line = format!("{before}{secret}{after}");
            let found = plain.captures(line.as_bytes()).and_then(|found| found.get(1)).ok_or("not found")?;
            assert_eq!(found.as_bytes(), secret.as_bytes());
        }
        assert!(entropy(&secret) > 3.0 && keywords[0].contains("svctok-"));
        for before in ["", "a", "ab", "abc", "ci:"] {
            let line = base64(format!("{before}{secret} and more").as_bytes());
            let found = coded.captures(line.as_bytes()).and_then(|found| found.get(1)).ok_or("not found")?;
            let found = std::str::from_utf8(found.as_bytes())?;
            assert!(entropy(found) > 3.0, "{found}");
            // gitleaks looks at a rule only where one of its keywords stands.
            assert!(
                keywords[1]
                    .trim_matches(['[', ']'])
                    .split(", ")
                    .any(|word| found.contains(word.trim_matches('"')))
            );
            let alone = base64(format!("{before}{secret}").as_bytes());
            assert!(coded.is_match(alone.as_bytes()), "{alone}");
        }
    }
    for text in NEARLY {
        assert!(!plain.is_match(text.as_bytes()), "{text}");
    }
    assert!(entropy("svctok-xxxxxxx-xxxxxxx-xxxxxxx-xxxxxxx") < 3.0);
    assert!(!coded.is_match(base64(b"svctok- and something short").as_bytes()));
    Ok(())
}

#[test]
fn github_finds_every_token_and_nothing_that_nearly_is_one() -> Outcome {
    let pattern: serde_json::Value = serde_json::from_str(&file("github-custom-pattern.json")?)?;
    let field = |name: &str| pattern[name].as_str().ok_or_else(|| format!("no {name}"));
    let (before, secret) = (field("before_secret")?, field("secret_format")?);
    let whole = format!("(?:{before})({secret})(?:{})", field("after_secret")?);
    let whole = Regex::new(&whole)?;
    for _ in 0..TOKENS {
        let secret = Secret::generate()?.expose().to_owned();
        for (before, after) in
            [("", ""), ("TOKEN=", "\n"), ("\"x\\n", "\","), ("https://ci:", "@h/"), ("_", "_")]
        {
            let line = format!("{before}{secret}{after}");
            let found = whole.captures(line.as_bytes()).and_then(|found| found.get(1)).ok_or("not found")?;
            assert_eq!(found.as_bytes(), secret.as_bytes(), "{line}");
        }
    }
    for text in NEARLY {
        assert!(!whole.is_match(text.as_bytes()), "{text}");
    }
    // What the pattern is tried with in the form is no token: this repository is searched for tokens, too.
    let test = field("test_string")?;
    assert!(whole.is_match(test.as_bytes()));
    let word = test.rsplit(' ').next().unwrap_or_default();
    assert_eq!(Secret::parse(word).err(), Some(rolegate::token::SecretError::WrongChecksum));
    Ok(())
}

#[test]
fn rules_of_the_documentation_are_those_of_the_files() -> Outcome {
    let docs: PathBuf = [env!("CARGO_MANIFEST_DIR"), "docs", "tokens.md"].iter().collect();
    let docs = String::from_utf8(std::fs::read(docs)?)?;
    for regex in values(&file("gitleaks.toml")?, "regex") {
        assert!(docs.contains(&regex), "{regex}");
    }
    let pattern: serde_json::Value = serde_json::from_str(&file("github-custom-pattern.json")?)?;
    for (name, value) in pattern.as_object().ok_or("no object")? {
        assert!(docs.contains(value.as_str().unwrap_or_default()), "{name}");
    }
    Ok(())
}
