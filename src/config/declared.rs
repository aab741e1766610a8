//! Tokens that the configuration declares by their digest.

use super::error::Problem;
use super::keys::DECLARED_TOKENS_MAX;
use super::node::{Content, Node};
use super::place::Origin;
use super::reader::Reader;
use super::{Bootstrap, DeclaredToken, value};
use crate::token::TokenDigest;
use std::collections::HashMap;

const TOKENS: &str = "rolegate.tokens";
const NAME: &str = "rolegate.tokens[].name";
const DIGEST: &str = "rolegate.tokens[].digest";
const ROLES: &str = "rolegate.tokens[].roles";
const EXPIRES: &str = "rolegate.tokens[].expires";
const NAME_HINT: &str = "write the name under which the list is to show the token";
const DIGEST_HINT: &str = "write the token's SHA-256, as `sha256:` and 64 hexadecimal digits";
const ROLES_HINT: &str = "list the roles that the token holds, such as `[stackstate-power-user]`";

impl Reader<'_> {
    /// The declared tokens. Two of them, or one of them and the bootstrap token, may not be the same.
    pub(super) fn declared(&mut self, bootstrap: Option<&Bootstrap>) -> Vec<DeclaredToken> {
        let Some(node) = self.root.at(TOKENS).cloned() else { return Vec::new() };
        let Content::List(items) = &node.content else { return Vec::new() };
        if items.len() > DECLARED_TOKENS_MAX {
            let reason = format!(
                "at most {DECLARED_TOKENS_MAX} tokens can be declared; create others through the API"
            );
            self.bad(TOKENS, &node.place.clone().into(), reason);
            return Vec::new();
        }
        let mut seen: HashMap<TokenDigest, Origin> = HashMap::new();
        if let Some(bootstrap) = bootstrap {
            seen.insert(bootstrap.digest.value, bootstrap.digest.origin.clone());
        }
        let mut tokens = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let path = format!("{TOKENS}[{at}]");
            let Some(token) = self.declared_token(item, &path) else { continue };
            if let Some(first) = seen.get(&token.digest.value).cloned() {
                let problem = Problem::Twice { key: format!("{path}.digest"), what: "token", first };
                self.error(token.digest.origin.clone(), problem);
            }
            seen.insert(token.digest.value, token.digest.origin.clone());
            tokens.push(token);
        }
        tokens
    }

    fn declared_token(&mut self, item: &Node, path: &str) -> Option<DeclaredToken> {
        if !matches!(item.content, Content::Map(_)) {
            return None;
        }
        let place = Origin::from(item.place.clone());
        for (name, hint) in [("name", NAME_HINT), ("digest", DIGEST_HINT)] {
            if item.get(name).is_none_or(|entry| matches!(entry.node.content, Content::Null)) {
                self.missing::<()>(&format!("{path}.{name}"), Some(place.clone()), hint);
            }
        }
        let name = self.field(item, NAME, &format!("{path}.name"), value::name);
        let digest = self.field(item, DIGEST, &format!("{path}.digest"), value::digest);
        let roles = self.filled_list(item, ROLES, &format!("{path}.roles"), ROLES_HINT, value::role);
        let expires = self.field(item, EXPIRES, &format!("{path}.expires"), value::moment);
        Some(DeclaredToken { name: name?, digest: digest?, roles: roles?, expires })
    }
}
