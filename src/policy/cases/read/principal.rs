//! The principals of a file of cases.

use super::Principals;
use super::fields::Reader;
use super::scene::time;
use crate::policy::cases::{CasePrincipal, DEFAULT_TIME};
use crate::token::{NAME_MAX_BYTES, Principal, ROLES_PER_TOKEN_MAX, RoleName, TokenId, TokenName};
use crate::yaml::{self, Content, Key, Node};
use std::collections::HashMap;
use std::sync::Arc;

/// The most principals of a file.
const PRINCIPALS_MAX: usize = 1000;

impl Reader {
    /// All principals, in order and by name.
    pub(super) fn principals(&mut self, node: Option<&Node>) -> (Vec<Arc<CasePrincipal>>, Principals) {
        let (mut principals, mut by_name) = (Vec::new(), HashMap::new());
        let Some(node) = node else { return (principals, by_name) };
        let Content::Map(entries) = &node.content else {
            let message = format!("`principals` must be a map, and this is {}", node.content.what());
            let help = "write each as `name: [role, …]`, or `name: none` for a request without a token";
            self.problem_with_help(node.place, message, help.to_owned());
            return (principals, by_name);
        };
        if entries.len() > PRINCIPALS_MAX {
            self.problem(node.place, format!("a file has at most {PRINCIPALS_MAX} principals"));
            return (principals, by_name);
        }
        for (number, (key, node)) in (0..).zip(entries) {
            if let Some(principal) = self.principal(key, node, number) {
                let principal = Arc::new(principal);
                by_name.insert(Arc::clone(&principal.name), Arc::clone(&principal));
                principals.push(principal);
            }
        }
        (principals, by_name)
    }

    /// `name: none`, `name: [roles]`, or `name: { roles, … }`.
    fn principal(&mut self, key: &Key, node: &Node, number: u64) -> Option<CasePrincipal> {
        let name: Arc<str> = key.text.as_str().into();
        if name.is_empty() || name.len() > NAME_MAX_BYTES {
            self.problem(key.place, format!("the name of a principal has 1 to {NAME_MAX_BYTES} bytes"));
            return None;
        }
        let location = self.location(key.place);
        let is_nobody = matches!(&node.content, Content::Scalar { text, .. } if text == "none");
        if is_nobody {
            return Some(CasePrincipal { name, principal: None, unknown_roles: Vec::new(), location });
        }
        let mut principal = Principal {
            id: TokenId::new(TokenId::MIN.saturating_add(number))?.into(),
            name: TokenName::from(&*name),
            roles: Arc::from([]),
            created: DEFAULT_TIME,
        };
        let (mut roles, mut unknown_roles) = (Vec::new(), Vec::new());
        if matches!(node.content, Content::List(_)) {
            roles = self.roles(node, "roles")?;
        } else {
            let keys = ["roles", "unknown_roles", "name", "id", "created"];
            let fields = self.fields(node, "a principal", &keys)?;
            if let Some(node) = fields.get("roles") {
                roles = self.roles(node, "roles")?;
            }
            if let Some(node) = fields.get("unknown_roles") {
                unknown_roles = self.roles(node, "unknown_roles")?;
            }
            if let Some(node) = fields.get("name") {
                principal.name = self.text(node, "name")?.into();
            }
            if let Some(node) = fields.get("id") {
                principal.id = self.token_id(node)?.into();
            }
            if let Some(node) = fields.get("created") {
                principal.created = time(self, node, "created")?;
            }
        }
        roles.extend(unknown_roles.iter().cloned());
        if roles.len() > ROLES_PER_TOKEN_MAX {
            self.problem(node.place, format!("a token holds at most {ROLES_PER_TOKEN_MAX} roles"));
        }
        principal.roles = roles.into();
        Some(CasePrincipal { name, principal: Some(principal), unknown_roles, location })
    }

    fn roles(&mut self, node: &Node, key: &str) -> Option<Vec<RoleName>> {
        let mut roles = Vec::new();
        for item in self.list(node, key)? {
            let text = self.text(item, key)?;
            match RoleName::parse(text) {
                Ok(role) => roles.push(role),
                Err(wrong) => {
                    self.problem(item.place, format!("`{}` is no role: {wrong}", yaml::shown(text)));
                }
            }
        }
        Some(roles)
    }

    fn token_id(&mut self, node: &Node) -> Option<TokenId> {
        let text = self.text(node, "id")?;
        let id = text.parse().ok().and_then(TokenId::new);
        if id.is_none() {
            self.problem(node.place, format!("`{}` is no token id: it has 15 digits", yaml::shown(text)));
        }
        id
    }
}
