//! The list of tokens: all of them, or a page of those that a query chooses.

use super::super::{Api, Sent, answer};
use super::{cursor, shown::Entry};
use crate::engine::Permit;
use crate::front::reply::{self, Failure, Reply};
use crate::request::query_parameters;
use crate::store::page::{Filter, Listed, NameFilter, Order, OrderBy, PAGE_MAX, PAGE_SCAN_MAX, PageQuery};
use crate::time::Timestamp;
use crate::token::RoleName;
use http::{HeaderName, HeaderValue, StatusCode};

/// The most tokens of a list that is asked for without a `limit`.
pub(super) const LIST_MAX: usize = 10_000;
/// The most pages that are looked through for such a list: filters may leave little of each.
const LIST_PAGES_MAX: usize = 100;

/// How much of a text an error repeats.
const TEXT_SHOWN_CHARS: usize = 64;

/// Where the next page starts.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-rolegate-next-cursor");
/// Which parts of the query the answer goes by: servers that know none of them pass over them in silence.
const APPLIED: HeaderName = HeaderName::from_static("x-rolegate-query");
/// How many tokens there are on a page, beside a refusal to list all of them at once.
const PAGE_MAX_HEADER: HeaderName = HeaderName::from_static("x-rolegate-page-max");

/// The parameters that a query may have.
const KNOWN: [&str; 7] = ["limit", "cursor", "sort", "name", "role", "expiresBefore", "unusedSince"];

/// What a query asks for.
#[derive(Debug, Default)]
struct Asked {
    values: [Option<String>; KNOWN.len()],
    order: Order,
    filter: Filter,
    limit: Option<usize>,
}

/// Why there is no list.
enum Refusal {
    /// There is a failure to tell.
    Failure(Failure),
    /// There are too many tokens for one answer.
    TooMany(String),
}

/// `GET /api/security/tokens`.
pub(super) fn list(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    let asked = Asked::read(&sent.query)?;
    let order = asked.order;
    let after = match asked.value("cursor") {
        Some(text) => {
            let position = cursor::read(text, order, &asked.filter);
            Some(position.map_err(|error| Failure::bad_request(format!("`cursor`: {error}")))?)
        }
        None => None,
    };
    let limit = asked.limit.unwrap_or(PAGE_MAX);
    let query = PageQuery { order, filter: asked.filter.clone(), after, limit };
    let (tokens, next) = if asked.limit.is_some() {
        let page = api.engine.page(permit, &query).map_err(|error| super::unread(&error))?;
        (page.tokens, page.next)
    } else {
        match all(api, permit, query) {
            Ok(tokens) => (tokens, None),
            Err(Refusal::Failure(failure)) => return Err(failure),
            Err(Refusal::TooMany(message)) => return Ok(too_many(permit, message)),
        }
    };
    let now = api.now();
    let entries: Vec<Entry<'_>> = tokens.iter().map(|token| Entry::of(token, now)).collect();
    let mut reply = reply::json(StatusCode::OK, &entries);
    let applied = asked.applied();
    let next = next.map(|position| cursor::write(order, &asked.filter, &position));
    for (name, text) in [(APPLIED, Some(applied).filter(|text| !text.is_empty())), (NEXT_CURSOR, next)] {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            reply.headers_mut().insert(name, value);
        }
    }
    Ok(reply)
}

/// Every token that the query is for, page by page.
fn all(api: &Api, permit: &Permit, mut query: PageQuery) -> Result<Vec<Listed>, Refusal> {
    let too_many = || {
        Refusal::TooMany(format!(
            "there are more than {LIST_MAX} service tokens: ask for pages with `limit`, of {PAGE_MAX} at most, or for \
             fewer tokens with `name`, `role`, `expiresBefore` or `unusedSince`"
        ))
    };
    if query.filter == Filter::default() && api.engine.token_count() > LIST_MAX {
        return Err(too_many());
    }
    let mut tokens = Vec::new();
    for _ in 0..LIST_PAGES_MAX {
        let page = api.engine.page(permit, &query);
        let page = page.map_err(|error| Refusal::Failure(super::unread(&error)))?;
        tokens.extend(page.tokens);
        if tokens.len() > LIST_MAX {
            return Err(too_many());
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(tokens),
        }
    }
    let looked_at = LIST_PAGES_MAX * PAGE_SCAN_MAX;
    Err(Refusal::TooMany(format!(
        "more than {looked_at} service tokens would have to be looked at: ask for pages with `limit`, of {PAGE_MAX} at \
         most"
    )))
}

/// The refusal to list all tokens at once, by which clients know that there are pages.
fn too_many(permit: &Permit, message: String) -> Reply {
    let mut reply = answer(permit, Err(Failure::bad_request(message)));
    reply.headers_mut().insert(PAGE_MAX_HEADER, HeaderValue::from(PAGE_MAX));
    reply
}

impl Asked {
    fn read(query: &str) -> Result<Self, Failure> {
        let mut asked = Self::default();
        for parameter in query_parameters(query) {
            let (key, value) = parameter.map_err(|error| Failure::bad_request(error.to_string()))?;
            let slot = KNOWN.iter().position(|known| *known == key).and_then(|at| asked.values.get_mut(at));
            let Some(slot) = slot else {
                let (key, known) = (shown(&key), KNOWN.join("`, `"));
                let message = format!("the query parameter `{key}` is unknown; this route knows `{known}`");
                return Err(Failure::bad_request(message));
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(Failure::bad_request(format!(
                    "the query parameter `{key}` is given more than once"
                )));
            }
        }
        asked.limit = asked.value("limit").map(read_limit).transpose()?;
        asked.order = asked.value("sort").map(read_order).transpose()?.unwrap_or_default();
        if asked.value("cursor").is_some() && asked.limit.is_none() {
            return Err(Failure::bad_request("`cursor` goes with the `limit` of the page: it is missing"));
        }
        asked.filter = Filter {
            name: asked.value("name").map(read_name),
            role: asked.value("role").map(read_role).transpose()?,
            expires_before: asked.time("expiresBefore")?,
            unused_since: asked.time("unusedSince")?,
        };
        Ok(asked)
    }

    fn value(&self, name: &str) -> Option<&str> {
        let at = KNOWN.iter().position(|known| *known == name)?;
        self.values.get(at)?.as_deref()
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let millis = text.parse().map_err(|_| {
            let text = shown(text);
            Failure::bad_request(format!("`{name}` is `{text}`, but it takes milliseconds since 1970"))
        })?;
        Ok(Some(Timestamp::from_millis(millis)))
    }

    /// The parameters that were given.
    fn applied(&self) -> String {
        let given = KNOWN.iter().zip(&self.values).filter(|(_, value)| value.is_some());
        given.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// What an error repeats of a text.
pub(in super::super) fn shown(text: &str) -> String {
    text.chars().take(TEXT_SHOWN_CHARS).collect()
}

fn read_limit(text: &str) -> Result<usize, Failure> {
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    limit.ok_or_else(|| {
        let text = shown(text);
        Failure::bad_request(format!("`limit` is `{text}`, but a page has from 1 to {PAGE_MAX} tokens"))
    })
}

fn read_order(text: &str) -> Result<Order, Failure> {
    let (by, is_descending) = text.strip_prefix('-').map_or((text, false), |by| (by, true));
    let by = match by {
        "created" => OrderBy::Created,
        "name" => OrderBy::Name,
        "expires" => OrderBy::Expires,
        _ => {
            let text = shown(text);
            let message = format!(
                "`sort` is `{text}`, but it takes `created`, `name` or `expires`, with a `-` before it for the other \
                 way round"
            );
            return Err(Failure::bad_request(message));
        }
    };
    Ok(Order { by, is_descending })
}

fn read_name(text: &str) -> NameFilter {
    match text.strip_suffix('*') {
        Some(start) => NameFilter::Prefix(start.to_owned()),
        None => NameFilter::Exact(text.to_owned()),
    }
}

fn read_role(text: &str) -> Result<RoleName, Failure> {
    RoleName::parse(text).map_err(|error| Failure::bad_request(format!("`role`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str) -> String {
        Asked::read(query).err().unwrap().message
    }

    #[test]
    fn query_says_which_tokens_in_which_order() {
        let asked =
            Asked::read("limit=7&sort=-expires&name=ci-*&role=a&expiresBefore=5&unusedSince=-6&").unwrap();
        assert_eq!(asked.order, Order { by: OrderBy::Expires, is_descending: true });
        let filter = Filter {
            name: Some(NameFilter::Prefix("ci-".into())),
            role: Some(RoleName::parse("a").unwrap()),
            expires_before: Some(Timestamp::from_millis(5)),
            unused_since: Some(Timestamp::from_millis(-6)),
        };
        assert_eq!((asked.limit, &asked.filter), (Some(7), &filter));
        assert_eq!(asked.applied(), "limit, sort, name, role, expiresBefore, unusedSince");
        let none = Asked::read("").unwrap();
        assert_eq!((none.limit, none.filter, none.order), (None, Filter::default(), Order::default()));
        let exact = Asked::read("name=a+b%2a*c").unwrap().filter.name;
        assert_eq!(exact, Some(NameFilter::Exact("a b**c".into())));
    }

    #[test]
    fn limits_of_a_page_are_those_of_the_store() {
        for (limit, is_read) in [("1", true), ("1000", true), ("0", false), ("1001", false), ("-1", false)] {
            assert_eq!(Asked::read(&format!("limit={limit}")).is_ok(), is_read, "{limit}");
        }
    }

    #[test]
    fn queries_that_cannot_be_read_are_told() {
        let told = [
            "limit=many",
            "limit=1001",
            "limit=1&limit=1",
            "limit=1&Sort=name",
            "sort=age",
            "sort=--name",
            "sort=",
            "role=a%20b",
            "role=",
            "expiresBefore=30d",
            "unusedSince=",
            "name=%ff",
            "cursor=AQ",
            "x",
        ];
        let told: Vec<String> = told.iter().map(|query| format!("{query}: {}", refusal(query))).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        limit=many: `limit` is `many`, but a page has from 1 to 1000 tokens
        limit=1001: `limit` is `1001`, but a page has from 1 to 1000 tokens
        limit=1&limit=1: the query parameter `limit` is given more than once
        limit=1&Sort=name: the query parameter `Sort` is unknown; this route knows `limit`, `cursor`, `sort`, `name`, `role`, `expiresBefore`, `unusedSince`
        sort=age: `sort` is `age`, but it takes `created`, `name` or `expires`, with a `-` before it for the other way round
        sort=--name: `sort` is `--name`, but it takes `created`, `name` or `expires`, with a `-` before it for the other way round
        sort=: `sort` is ``, but it takes `created`, `name` or `expires`, with a `-` before it for the other way round
        role=a%20b: `role`: a role's name consists of letters, digits and `-_.:/@+`
        role=: `role`: a role needs a name
        expiresBefore=30d: `expiresBefore` is `30d`, but it takes milliseconds since 1970
        unusedSince=: `unusedSince` is ``, but it takes milliseconds since 1970
        name=%ff: the query parameter is not encoded text
        cursor=AQ: `cursor` goes with the `limit` of the page: it is missing
        x: the query parameter `x` is unknown; this route knows `limit`, `cursor`, `sort`, `name`, `role`, `expiresBefore`, `unusedSince`
        ");
    }
}
