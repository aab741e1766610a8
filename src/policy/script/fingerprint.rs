//! What makes a condition what it is: its words, those of the functions that it can call, and what it captures.
//! White space and comments count for nothing, nor does the place where it stands.

use super::condition::Functions;
use super::source::{SourceText, Word};
use crate::policy::declaration::{AskedRoles, Fingerprint};
use rhai::{AST, ASTNode, Dynamic, Expr, FnPtr, Position, Token};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What rhai names closures by.
const ANONYMOUS: &str = "anon$";
/// By these, a function is called whose name stands nowhere.
const CALLERS: [&str; 3] = ["Fn", "call", "curry"];

/// What the fingerprints of a script's conditions have in common.
#[derive(Default)]
pub(super) struct Prints {
    /// The words of the functions that have a name.
    functions: Vec<Token>,
    /// Where closures start that are not written where they are given to a rule.
    closures: HashMap<String, Position>,
    /// The variables that closures of the script capture: they are read in another way.
    captured: BTreeSet<String>,
}

struct Print<'a> {
    prints: &'a Prints,
    source: &'a SourceText,
    functions: &'a Functions,
    digest: Digest,
    asks_params: bool,
    asked: AskedRoles,
    asks_token: bool,
    asks_more: bool,
    has_functions: bool,
}

#[derive(Default)]
struct Digest(Sha256);

impl Prints {
    pub(super) fn new(source: &SourceText, tree: &AST, captured: &BTreeSet<String>) -> Self {
        let is_indirect = |(at, method): (usize, &Word)| {
            matches!(method.name(), Some("when" | "unless"))
                && given_closure(source.words.get(at..).unwrap_or_default()).is_none()
        };
        // Only a closure that is kept in between has to be looked for.
        let keeps_closures = !captured.is_empty() || source.words.iter().enumerate().any(is_indirect);
        Self {
            functions: named_functions(&source.words),
            closures: if keeps_closures { closures(tree) } else { HashMap::new() },
            captured: captured.clone(),
        }
    }

    /// The fingerprint of a condition: the function `name` with what it captures, given to a rule by the call
    /// that these words start with.
    pub(super) fn of(
        &self,
        source: &SourceText,
        functions: &Functions,
        call: &[Word],
        name: &str,
        captured: &[Dynamic],
    ) -> Fingerprint {
        let mut print = Print {
            prints: self,
            source,
            functions,
            digest: Digest::default(),
            asks_params: false,
            asked: AskedRoles::Nothing,
            asks_token: false,
            asks_more: false,
            has_functions: false,
        };
        match given_closure(call).filter(|_| name.starts_with(ANONYMOUS)) {
            Some(closure) => print.add_closure(closure, own_parameter(closure)),
            None => print.add_function(name),
        }
        print.add_values(captured);
        print.finish()
    }
}

impl Print<'_> {
    fn add_function(&mut self, name: &str) {
        match self.prints.closures.get(name) {
            Some(start) => self.add_closure(self.source.words_from(*start), None),
            None => {
                // Its words are among those of all functions; or it is a closure that was not found, whose
                // name is a hash of it.
                name.hash(&mut self.digest);
                self.note_name(name);
                if name.starts_with(ANONYMOUS) {
                    self.note_anything();
                }
                self.add_functions();
            }
        }
    }

    /// Notes what can be asked for by a function of this name, with arguments that are not known.
    fn note_name(&mut self, name: &str) {
        self.asks_more = true;
        self.asks_params |= name == "param";
        self.asks_token |= name == "token";
        if name == "has_role" {
            self.asked = AskedRoles::Anything;
        }
        if CALLERS.contains(&name) {
            self.note_anything();
        }
    }

    fn note_anything(&mut self) {
        (self.asks_params, self.asks_token, self.asks_more) = (true, true, true);
        self.asked = AskedRoles::Anything;
    }

    fn add_closure(&mut self, words: &[Word], parameter: Option<&str>) {
        self.add_words(closure(words).iter().map(|word| &word.token), parameter);
    }

    fn add_functions(&mut self) {
        if !std::mem::replace(&mut self.has_functions, true) {
            let prints = self.prints;
            self.add_words(prints.functions.iter(), None);
        }
    }

    fn add_words<'w>(
        &mut self,
        words: impl ExactSizeIterator<Item = &'w Token> + Clone,
        parameter: Option<&str>,
    ) {
        words.len().hash(&mut self.digest);
        let mut calls_functions = false;
        let mut rest = words.clone();
        let mut before = None;
        while let Some(token) = rest.next() {
            token.hash(&mut self.digest);
            let is_member = matches!(before.replace(token), Some(Token::Period | Token::Elvis));
            let (Token::Identifier(name) | Token::Reserved(name)) = token else { continue };
            let name = name.as_str();
            // A variable of such a name is read as a copy; a request is the same when it is copied.
            let is_copied = self.prints.captured.contains(name) && parameter != Some(name);
            is_copied.hash(&mut self.digest);
            calls_functions |= self.functions.has(name) || CALLERS.contains(&name);
            let mut after = rest.clone();
            match (name, after.next(), after.next(), after.next()) {
                (
                    "has_role",
                    Some(Token::LeftParen),
                    Some(Token::StringConstant(role)),
                    Some(Token::RightParen),
                ) => self.asked.add(role.as_str()),
                // The request itself tells nothing.
                _ if parameter == Some(name) && !is_member => {}
                _ => self.note_name(name),
            }
        }
        if calls_functions {
            self.add_functions();
        }
    }

    fn add_values(&mut self, values: &[Dynamic]) {
        values.len().hash(&mut self.digest);
        self.asks_more |= !values.is_empty();
        for value in values {
            self.add_value(value);
        }
    }

    /// Values that conditions may capture are these and no others, and their depth is limited.
    fn add_value(&mut self, value: &Dynamic) {
        value.type_name().hash(&mut self.digest);
        if let Some(function) = value.read_lock::<FnPtr>() {
            self.add_function(function.fn_name());
            self.add_values(function.curry());
        } else if let Ok(list) = value.as_array_ref() {
            self.add_values(&list);
        } else if let Ok(map) = value.as_map_ref() {
            map.len().hash(&mut self.digest);
            for (key, item) in map.iter() {
                key.as_str().hash(&mut self.digest);
                self.add_value(item);
            }
        } else if let Ok(number) = value.as_float() {
            number.to_bits().hash(&mut self.digest);
        } else {
            value.to_string().hash(&mut self.digest);
        }
    }

    fn finish(self) -> Fingerprint {
        let digest = self.digest.0.finalize().into();
        let Self { asks_params, asked, asks_token, asks_more, .. } = self;
        Fingerprint { digest, asks_params, asked, asks_token, asks_more }
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks: the whole digest is taken.
    fn finish(&self) -> u64 {
        0
    }
}

/// The words of all functions that have a name, one after the other.
fn named_functions(words: &[Word]) -> Vec<Token> {
    let starts = words.iter().enumerate().filter(|(_, word)| word.token == Token::Fn);
    let bodies = starts.flat_map(|(at, _)| {
        let mut depth = 0_usize;
        let mut has_ended = false;
        words.get(at..).unwrap_or_default().iter().take_while(move |word| {
            if has_ended {
                return false;
            }
            if word.is_opening() {
                depth += 1;
            } else if word.is_closing() {
                depth = depth.saturating_sub(1);
                has_ended = depth == 0 && word.token == Token::RightBrace;
            }
            true
        })
    });
    bodies.map(|word| word.token.clone()).collect()
}

/// Where the closures of a script start, by the names that rhai gives to them.
fn closures(tree: &AST) -> HashMap<String, Position> {
    let mut starts = HashMap::new();
    tree.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Expr(Expr::DynamicConstant(value, position))) = path.last()
            && let Some(function) = value.read_lock::<FnPtr>()
        {
            starts.insert(function.fn_name().to_owned(), *position);
        }
        true
    });
    starts
}

/// The words from a closure on that is itself what is given to the call that these words start with. What is called on
/// a closure that ends in a block can give another one: `|f| { f }.call(other)`.
fn given_closure(call: &[Word]) -> Option<&[Word]> {
    let [_, open, words @ ..] = call else { return None };
    let first = words.first().filter(|_| open.token == Token::LeftParen)?;
    let closure = closure(words);
    let ends_call = words.get(closure.len()).is_some_and(|word| word.token == Token::RightParen);
    (first.token == Token::Pipe && ends_call && !is_statement(closure)).then_some(words)
}

/// Whether the body of a closure is a statement that ends in a block of its own.
fn is_statement(closure: &[Word]) -> bool {
    let body = closure.iter().skip(1).skip_while(|word| word.token != Token::Pipe).nth(1);
    body.is_some_and(|word| {
        matches!(
            word.token,
            Token::If | Token::Switch | Token::While | Token::Loop | Token::For | Token::Do | Token::Try
        )
    })
}

/// The last parameter of the closure that starts with the first of these words, when nothing else in it can have
/// that name.
fn own_parameter(words: &[Word]) -> Option<&str> {
    let closure = closure(words);
    let can_name = |word: &&Word| {
        matches!(word.token, Token::Pipe | Token::Let | Token::Const | Token::For | Token::Catch)
    };
    let (bar, _) = closure.iter().enumerate().skip(1).find(|(_, word)| word.token == Token::Pipe)?;
    let parameter = closure.get(bar.checked_sub(1)?)?.name()?;
    (closure.iter().filter(can_name).count() == 2).then_some(parameter)
}

/// The words of the closure that starts with the first of these.
fn closure(words: &[Word]) -> &[Word] {
    let is_bar = |word: &Word| word.token == Token::Pipe;
    let body = words.iter().skip(1).position(is_bar).map_or(words.len(), |bar| bar + 2);
    let is_block = words.get(body).is_some_and(|word| word.token == Token::LeftBrace);
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate().skip(body) {
        let is_end = matches!(word.token, Token::Comma | Token::SemiColon) && depth == 0;
        if word.is_opening() {
            depth += 1;
        } else if word.is_closing() {
            let Some(outer) = depth.checked_sub(1) else { return words.get(..at).unwrap_or_default() };
            depth = outer;
            if is_block && depth == 0 {
                return words.get(..=at).unwrap_or_default();
            }
        }
        if is_end {
            return words.get(..at).unwrap_or_default();
        }
    }
    words
}

impl AskedRoles {
    fn add(&mut self, role: &str) {
        match self {
            Self::Nothing => *self = Self::Roles([Arc::from(role)].into()),
            Self::Roles(roles) => {
                roles.insert(Arc::from(role));
            }
            Self::Anything => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};

    /// The fingerprints of all conditions of a script.
    fn prints(text: &str) -> Vec<Fingerprint> {
        let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
        let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default());
        let policies = policies.unwrap_or_else(|errors| panic!("{errors}"));
        let conditions = policies.rules().iter().filter_map(|rule| rule.condition.as_ref());
        conditions.map(|condition| condition.fingerprint().clone()).collect()
    }

    fn only(text: &str) -> Fingerprint {
        let mut prints = prints(text);
        assert_eq!(prints.len(), 1, "{text}");
        prints.remove(0)
    }

    fn condition(closure: &str) -> Fingerprint {
        only(&format!("role(\"a\").allow(\"GET /{{x}}\").when({closure});"))
    }

    fn assert_same(one: &str, other: &str) {
        assert_eq!(only(one), only(other), "{one}\nand {other}");
    }

    fn assert_differ(one: &str, other: &str) {
        assert_ne!(only(one).digest, only(other).digest, "{one}\nand {other}");
    }

    #[test]
    fn place_white_space_and_comments_count_for_nothing() {
        let one = "open(\"GET /x\").when(|request| request.method == \"GET\");";
        let other =
            "// first\n\n open(\"GET /y\").when(\n  |request|\n /* why */ request.method  ==\"GET\" );";
        assert_same(one, other);
        assert_differ(one, "open(\"GET /x\").when(|request| request.method == \"PUT\");");
        assert_differ(one, "open(\"GET /x\").when(|request| request.method != \"GET\");");
        assert_differ(one, "open(\"GET /x\").when(|request| request.method == \"G\" + \"ET\");");
    }

    #[test]
    fn functions_count_as_far_as_they_can_be_called() {
        let with = |body: &str, call: &str| {
            format!("fn f(r) {{ g(r) }} fn g(r) {{ {body} }} open(\"GET /x\").when(|request| {call});")
        };
        assert_same(&with("true", "f(request)"), &with(" true ", "f( request )"));
        assert_differ(&with("true", "f(request)"), &with("false", "f(request)"));
        assert_same(&with("true", "request.path == \"/x\""), &with("false", "request.path == \"/x\""));
        // A function that is called by a name put together counts too.
        let call = "Fn(\"\" + \"f\").call(request)";
        assert_differ(&with("true", call), &with("false", call));
        let pointer = |body: &str| format!("fn f(r) {{ {body} }} open(\"GET /x\").when(Fn(\"f\"));");
        assert_differ(&pointer("true"), &pointer("false"));
    }

    #[test]
    fn captured_values_count() {
        let with =
            |value: &str| format!("let v = {value}; open(\"GET /x\").when(|request| request.path == v);");
        assert_same(&with("\"a\""), &with("\"\" + \"a\""));
        for other in ["\"b\"", "'a'", "1", "1.0", "true", "[\"a\"]", "#{a: 1}", "|x| x"] {
            assert_differ(&with("\"a\""), &with(other));
        }
        assert_differ(&with("1"), &with("\"1\""));
        assert_differ(&with("[\"a\", \"b\"]"), &with("[[\"a\"], \"b\"]"));
        let curried =
            |value: &str| format!("open(\"GET /x\").when((|v, request| request.path == v).curry({value}));");
        assert_differ(&curried("1"), &curried("2"));
    }

    #[test]
    fn closures_that_are_kept_first_count_by_their_own_words() {
        let kept =
            |body: &str, after: &str| format!("let c = |request| {body}; {after} open(\"GET /x\").when(c);");
        let one = kept("request.method == \"GET\"", "");
        assert_same(&one, &kept("request.method == \"GET\"", "open(\"GET /y\");\n"));
        assert_same(&one, "open(\"GET /x\").when(|request| request.method == \"GET\");");
        assert_differ(&one, &kept("request.method == \"PUT\"", ""));
        let block = |end: &str| kept(&format!("{{ let m = request.method; m == \"{end}\" }}"), "");
        assert_differ(&block("GET"), &block("PUT"));
        let inner = |value: &str| {
            let check = format!("let check = |m| m == \"{value}\";");
            format!("{check} open(\"GET /x\").when(|request| check.call(request.method));")
        };
        assert_same(&inner("GET"), &format!("// moved\n {}", inner("GET")));
        assert_differ(&inner("GET"), &inner("PUT"));
        let two = prints(
            "let c = |request| true; let d = |request| false; open(\"GET /x\").when(c);
            open(\"GET /y\").when(d);",
        );
        assert_ne!(two[0].digest, two[1].digest);
    }

    #[test]
    fn closure_that_another_one_is_called_on_counts_by_its_own_words() {
        for wrapped in
            ["|f| { f }.call(c)", "|f| if true { f } else { f }.call(c)", "|f| { f } . call(|r| c.call(r))"]
        {
            let with = |value: &str, before: &str| {
                let kept = format!("let c = |request| request.method == \"{value}\";");
                format!("{before}{kept} open(\"GET /x\").when({wrapped});")
            };
            assert_differ(&with("GET", ""), &with("PUT", ""));
            assert_same(&with("GET", ""), &with("GET", "// moved\n"));
        }
        let inner =
            |value: &str| format!("open(\"GET /x\").when(|f| {{ f }}.call(|r| r.method == \"{value}\"));");
        assert_differ(&inner("GET"), &inner("PUT"));
        let choice =
            |value: &str| condition(&format!("|r| if r.method == \"{value}\" {{ true }} else {{ false }}"));
        assert_eq!(choice("GET"), choice("GET"));
        assert_ne!(choice("GET").digest, choice("PUT").digest);
    }

    #[test]
    fn functions_that_are_kept_first_ask_for_what_they_are_named_after() {
        let kept = |name: &str, before: &str| {
            only(&format!(
                "let kept = {before}Fn(\"{name}\"); open(\"GET /{{x}}\").when(|r| [\"x\"].reduce(kept, r) == \"x\");"
            ))
        };
        assert!(kept("param", "").asks_params);
        assert_eq!(kept("param", "").asked, AskedRoles::Nothing);
        assert_eq!(kept("has_role", "").asked, AskedRoles::Anything);
        assert!(!kept("query", "").asks_params);
        let within = only(
            "let kept = #{f: Fn(\"param\")}; open(\"GET /{x}\").when(|r| [\"x\"].reduce(kept.f, r) == \"x\");",
        );
        assert!(within.asks_params);
    }

    #[test]
    fn texts_with_values_in_them_count_to_their_end() {
        let with = |end: &str| condition(&format!("|request| `${{request.path}}-{end}` == \"b\""));
        assert_ne!(with("a").digest, with("b").digest);
    }

    #[test]
    fn what_a_condition_asks_for_is_known_or_anything() {
        let roles = |roles: &[&str]| AskedRoles::Roles(roles.iter().map(|role| Arc::from(*role)).collect());
        let asked = |closure: &str| condition(closure).asked;
        assert_eq!(asked("|request| true"), AskedRoles::Nothing);
        assert_eq!(asked("|request| request.has_role(\"a\") || !request.has_role(\"a\")"), roles(&["a"]));
        assert_eq!(asked("|request| request.has_role(\"a\" + \"\")"), AskedRoles::Anything);
        assert_eq!(asked("|request| Fn(\"has_\" + \"role\").call(request, \"a\")"), AskedRoles::Anything);
        let by_function =
            "fn f(r) { r.has_role(\"a\") } open(\"GET /x\").when(|request| f(request)); role(\"a\");";
        assert_eq!(only(by_function).asked, roles(&["a"]));
        assert!(condition("|request| request.param(\"x\") == \"a\"").asks_params);
        assert!(!condition("|request| request.path == \"/a\"").asks_params);
    }

    #[test]
    fn condition_that_can_ask_for_the_token_or_for_more_than_roles_is_known_as_such() {
        let asks = |closure: &str| {
            let print = condition(closure);
            (print.asks_token, print.asks_more)
        };
        for closure in
            ["|r| true", "|r| r.has_role(\"a\") && !r.has_role(\"a\")", "|token| token.has_role(\"a\")"]
        {
            assert_eq!(asks(closure), (false, false), "{closure}");
        }
        for closure in [
            "|r| r.method == \"GET\"",
            "|method| method.method == \"GET\"",
            "|r| r.has_role(r.path)",
            "|r| { let x = 1; x == 1 }",
            "|time| time?.time == 1",
        ] {
            assert_eq!(asks(closure), (false, true), "{closure}");
        }
        for closure in [
            "|r| r.token == ()",
            "|token| token.token == ()",
            "|r| `${r.token.name}` == \"\"",
            "|r| Fn(\"f\").call(r)",
        ] {
            assert_eq!(asks(closure), (true, true), "{closure}");
        }
        let captures = only("let c = true; open(\"GET /x\").when(|r| c);");
        assert_eq!((captures.asks_token, captures.asks_more), (false, true));
    }

    #[test]
    fn closure_elsewhere_in_the_script_changes_no_other_condition() {
        let one = "open(\"GET /x\").when(|request| request.method == \"GET\");";
        let nested = "open(\"GET /y\").when(|request| [\"GET\"].some(|m| m == request.method));";
        assert_eq!(prints(one)[0], prints(&format!("{one}\n{nested}"))[0]);
    }
}
