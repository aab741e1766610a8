//! Whatever stands in a script: it loads or is refused, and what loads decides, without a panic.

use crate::conditions::decide_for_nobody;
use crate::policies::load;
use proptest::prelude::*;

/// Words of scripts, chosen so that some of what comes out is nearly a policy.
const WORDS: [&str; 64] = [
    "role",
    "(\"r\")",
    ".allow",
    "(\"GET /items/{id}\")",
    ".except",
    ".when",
    ".unless",
    "(|request|",
    "request",
    ".param",
    "(\"id\")",
    ".path",
    ".header",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ";",
    "open",
    "deny",
    "permission",
    "(\"p\", [])",
    ".grants",
    "(\"p\")",
    "authenticated",
    "let x =",
    "const y =",
    "x",
    "y",
    "1",
    "-1",
    "1.5",
    "true",
    "()",
    "\"text\"",
    "`${",
    "}`",
    "if",
    "else",
    "for i in",
    "while",
    "loop",
    "fn f(a)",
    "return",
    "throw",
    "try",
    "catch",
    "switch",
    "#{",
    ":",
    "|a|",
    "+",
    "==",
    "&&",
    "||",
    "??",
    "?.",
    "..",
    "=>",
    "/*",
    "//\n",
];

proptest! {
    #[test]
    fn heap_of_words_is_loaded_or_refused(words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..40)) {
        let text = words.join(" ");
        check(&text)?;
        check(&format!("open(\"GET /items/{{id}}\").when(|request| {{ {text} }});"))?;
    }

    #[test]
    fn any_text_is_loaded_or_refused(text in "\\PC{0,80}") {
        check(&text)?;
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    match load(text) {
        Ok(set) => {
            let decision = decide_for_nobody(&set).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let panicked = decision.failures().any(|(_, reason)| reason.contains("panicked"));
            prop_assert!(!panicked, "{text}: {decision:?}");
        }
        Err(errors) => {
            let message = errors.to_string();
            prop_assert!(!message.contains("ended in a panic"), "{text}: {message}");
        }
    }
    Ok(())
}
