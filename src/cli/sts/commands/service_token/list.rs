//! `service-token list`: all tokens by one question, or some of them page by page.

use super::shown::Token;
use super::{PATH, Run, midnight};
use crate::cli::client::Answer;
use crate::cli::sts::client::Client;
use crate::cli::sts::failure::Failure;
use crate::cli::sts::table::Table;
use crate::cli::sts::value::Moment;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The tokens that are asked for at once. Servers give no more.
const PAGE_TOKENS: i64 = 1_000;
/// How a server says where the next page starts.
const NEXT_CURSOR: &str = "x-rolegate-next-cursor";
/// How a server says which parts of the query it went by. One that knows none of them would list every token.
const APPLIED: &str = "x-rolegate-query";
/// How a server that has too many tokens for one answer says how many it gives at once.
const PAGE_MAX: &str = "x-rolegate-page-max";
/// The flags that choose, order or bound what is listed.
const CHOICES: [&str; 6] = ["expires-before", "limit", "name", "role", "sort", "unused-since"];
const SORT_DEFAULT: &str = "name";

impl Run<'_, '_> {
    pub(in crate::cli::sts::commands) fn list_tokens(&mut self) -> Result<(), Failure> {
        let is_chosen = CHOICES.iter().any(|flag| self.invocation.has(flag));
        let tokens = if is_chosen { self.chosen_tokens()? } else { self.all_tokens()? };
        if self.printer.style.json {
            let tokens: Vec<Value> =
                tokens.iter().map(if is_chosen { Token::to_json } else { Token::to_plain_json }).collect();
            self.printer.json(&json!({ "service-tokens": tokens }));
        } else {
            let eyes = self.eyes();
            let rows = tokens.iter().map(|token| token.to_row(&eyes, is_chosen)).collect();
            let mut headers = vec!["id", "name", "expiration", "roles"];
            if is_chosen {
                headers.extend(["last used", "state"]);
            }
            self.printer.table(&Table { headers, rows }, "No service tokens found.");
        }
        Ok(())
    }

    /// Every token, as every server lists them.
    fn all_tokens(&mut self) -> Result<Vec<Token>, Failure> {
        let client = self.connected()?;
        let answer = client.ask(&Method::GET, PATH, None, self.printer)?;
        let mut tokens: Vec<Token> =
            if answer.status == StatusCode::BAD_REQUEST && answer.header(PAGE_MAX).is_some() {
                self.pages(&client, &[("sort", SORT_DEFAULT.to_owned())], None)?
            } else {
                answer.success()?.result()?
            };
        tokens.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(tokens)
    }

    /// Those that the flags choose, in the order that they choose.
    fn chosen_tokens(&mut self) -> Result<Vec<Token>, Failure> {
        let args = self.invocation;
        let limit = args.int("limit");
        if limit.is_some_and(|limit| limit < 1) {
            return Err(Failure::Arguments("the limit must be 1 or more".to_owned()));
        }
        let mut query = vec![("sort", args.text("sort").unwrap_or(SORT_DEFAULT).to_owned())];
        for key in ["name", "role"] {
            query.extend(args.text(key).map(|text| (key, text.to_owned())));
        }
        let now = self.env.now.as_millisecond();
        let moment = |flag: &str, sign: i64| match args.moment(flag) {
            None => Ok(None),
            Some(Moment::Date(date)) => midnight(date).map(Some),
            Some(Moment::Distance(distance)) => {
                let millis = i64::try_from(distance.as_millis()).unwrap_or(i64::MAX);
                Ok(Some(now.saturating_add(millis.saturating_mul(sign))))
            }
        };
        query.extend(moment("expires-before", 1)?.map(|millis| ("expiresBefore", millis.to_string())));
        query.extend(moment("unused-since", -1)?.map(|millis| ("unusedSince", millis.to_string())));
        let client = self.connected()?;
        self.pages(&client, &query, limit)
    }

    /// What a query gives, page after page, until there are `limit` tokens or no more.
    fn pages(
        &mut self,
        client: &Client,
        query: &[(&str, String)],
        limit: Option<i64>,
    ) -> Result<Vec<Token>, Failure> {
        let (mut tokens, mut cursors): (Vec<Token>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
        let mut cursor: Option<String> = None;
        loop {
            let have = i64::try_from(tokens.len()).unwrap_or(i64::MAX);
            let wanted = limit.map_or(PAGE_TOKENS, |limit| limit.saturating_sub(have).min(PAGE_TOKENS));
            let mut page_query = query.to_vec();
            page_query.push(("limit", wanted.to_string()));
            page_query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let path = format!("{PATH}?{}", encoded(&page_query));
            let answer = client.call(&Method::GET, &path, None, self.printer)?;
            let unknown: Vec<&str> = unknown_keys(&answer, &page_query).collect();
            if !unknown.is_empty() {
                let text = format!(
                    "this server does not know how to choose tokens (it passed over `{}`), which is for servers of \
                     rolegate: list all of them, without flags",
                    unknown.join("`, `")
                );
                return Err(Failure::Response { text, body: None });
            }
            tokens.append(&mut answer.result()?);
            let is_enough =
                limit.is_some_and(|limit| i64::try_from(tokens.len()).is_ok_and(|it| it >= limit));
            match answer.header(NEXT_CURSOR) {
                Some(next) if !is_enough => {
                    // A server that leads in circles would be asked for ever.
                    if !cursors.insert(next.to_owned()) {
                        let text = "the server's pages lead in a circle".to_owned();
                        return Err(Failure::Response { text, body: None });
                    }
                    cursor = Some(next.to_owned());
                }
                Some(_) | None => return Ok(tokens),
            }
        }
    }
}

/// The keys of a query that a server does not say that it went by.
fn unknown_keys<'a>(answer: &Answer, query: &'a [(&str, String)]) -> impl Iterator<Item = &'a str> {
    let applied = answer.header(APPLIED).unwrap_or_default().to_owned();
    query.iter().map(|(key, _)| *key).filter(move |key| !applied.split(", ").any(|known| known == *key))
}

/// A query, with everything in percent triplets that is more than letters and digits.
fn encoded(query: &[(&str, String)]) -> String {
    let encode = |text: &str| -> String {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let byte =
            |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(byte).collect()
    };
    let pairs: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_any_text() {
        let query = [("name", "a b&c=ü*".to_owned()), ("sort", "-created".to_owned())];
        assert_eq!(encoded(&query), "name=a%20b%26c%3D%C3%BC%2A&sort=-created");
    }
}
