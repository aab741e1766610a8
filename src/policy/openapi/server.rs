//! Servers: the paths that start every route.

use super::{Reader, get};
use crate::yaml::{self, Content, Key, Node};

/// The most servers of one list.
const SERVERS_MAX: usize = 100;
const HELP: &str = "give the path that starts every route with `--openapi-prefix`";

impl Reader {
    /// The paths of the servers in this list, each once; `None` when there are none.
    pub(super) fn prefixes(&mut self, entries: &[(Key, Node)]) -> Option<Vec<String>> {
        let servers = get(entries, "servers")?;
        let Content::List(items) = &servers.content else {
            let message = format!("`servers` must be a list, and this is {}", servers.content.what());
            self.problem(servers.place, message);
            return None;
        };
        if items.len() > SERVERS_MAX {
            self.problem(servers.place, format!("more than {SERVERS_MAX} servers"));
            return None;
        }
        let mut prefixes: Vec<String> = Vec::new();
        for item in items {
            match prefix(item) {
                Ok(prefix) if !prefixes.contains(&prefix) => prefixes.push(prefix),
                Ok(_) => {}
                Err(reason) => self.problem_with_help(item.place, reason, HELP),
            }
        }
        (!prefixes.is_empty()).then_some(prefixes)
    }
}

/// The path of a server, without a slash at its end.
fn prefix(server: &Node) -> Result<String, String> {
    let Content::Map(entries) = &server.content else {
        return Err(format!("a server must be a map, and this is {}", server.content.what()));
    };
    let Some(Content::Scalar { text: url, .. }) = get(entries, "url").map(|node| &node.content) else {
        return Err("a server needs a text as its `url`".to_owned());
    };
    let url = with_variables(url, entries)?;
    let path = match url.split_once("//") {
        Some((scheme, rest)) if scheme.is_empty() || scheme.ends_with(':') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
        }
        _ if url.is_empty() || url.starts_with('/') => &url,
        _ => return Err(format!("the url `{}` depends on where the document is", yaml::shown(&url))),
    };
    if path.contains(['?', '#']) {
        return Err(format!("the url `{}` has a query or fragment", yaml::shown(&url)));
    }
    Ok(path.trim_end_matches('/').to_owned())
}

/// The url with the default of each variable in its place.
fn with_variables(url: &str, server: &[(Key, Node)]) -> Result<String, String> {
    let mut whole = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        let default = get(server, "variables").and_then(|variables| value(variables, name));
        let Some(Content::Scalar { text, .. }) =
            default.and_then(|variable| value(variable, "default")).map(|node| &node.content)
        else {
            return Err(format!("the variable `{}` of the url has no default", yaml::shown(name)));
        };
        whole.push_str(before);
        whole.push_str(text);
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole)
}

fn value<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.content {
        Content::Map(entries) => get(entries, key),
        Content::Scalar { .. } | Content::List(_) => None,
    }
}
