//! What the chart's values say: the bootstrap token, other names for roles, and roles of one's own.

use super::error::Problem;
use super::keys::CUSTOM_ROLES_MAX;
use super::node::{Content, Node};
use super::place::{Located, Origin};
use super::reader::Reader;
use super::{Alias, Bootstrap, CustomRole, PUBLISHED_TOKEN, value};
use crate::token::{RoleName, TokenDigest};
use std::net::SocketAddr;

const AUTHENTICATION: &str = "stackstate.authentication";
const TOKEN_FILE: &str = "stackstate.authentication.servicetoken.bootstrap.token_file";
const ROLES: &str = "stackstate.authentication.servicetoken.bootstrap.roles";
const TTL: &str = "stackstate.authentication.servicetoken.bootstrap.ttl";
pub(super) const CUSTOM: &str = "stackstate.authentication.roles.custom";
const PERMISSIONS: &str = "stackstate.authentication.roles.custom.<name>.systemPermissions";
const ROLES_HINT: &str = "list the roles that the token holds, such as `[stackstate-power-user]`";
/// The keys of the chart, each with the predefined role that it gives other names to.
const PREDEFINED: [(&str, &str); 4] = [
    ("stackstate.authentication.roles.guest", "stackstate-guest"),
    ("stackstate.authentication.roles.powerUser", "stackstate-power-user"),
    ("stackstate.authentication.roles.admin", "stackstate-admin"),
    ("stackstate.authentication.roles.platformAdmin", "stackstate-platform-admin"),
];

impl Reader<'_> {
    /// The bootstrap token; `Some(None)` when none is configured, `None` when it is wrong.
    pub(super) fn bootstrap(&mut self, listen: Option<&Located<SocketAddr>>) -> Option<Option<Bootstrap>> {
        let Some(authentication) = self.root.at(AUTHENTICATION).cloned() else { return Some(None) };
        let spelled =
            |name: &str| authentication.get(name).map(|entry| (format!("{AUTHENTICATION}.{name}"), entry));
        let (path, entry) = match (spelled("servicetoken"), spelled("serviceToken")) {
            (Some((other, one)), Some((key, entry))) => {
                let at = one.key_place.clone();
                self.error(entry.key_place.clone().into(), Problem::Both { key, other, at });
                return None;
            }
            (Some(found), None) | (None, Some(found)) => found,
            (None, None) => return Some(None),
        };
        let Some(block) = entry.node.get("bootstrap").map(|entry| &entry.node) else { return Some(None) };
        if !matches!(block.content, Content::Map(_)) {
            return None;
        }
        let path = format!("{path}.bootstrap");
        let secret = self.secret(block, &path, TOKEN_FILE);
        let roles = self.filled_list(block, ROLES, &format!("{path}.roles"), ROLES_HINT, value::role);
        let ttl = self.field(block, TTL, &format!("{path}.ttl"), value::duration);
        let secret = secret?;
        let published = secret.value.0.expose() == PUBLISHED_TOKEN;
        if let Some(listen) = listen.filter(|listen| published && !listen.value.ip().is_loopback()) {
            let (key, listen) = (format!("{path}.token"), listen.value.to_string());
            self.error(secret.origin.clone(), Problem::PublishedToken { key, listen });
            return None;
        }
        let kind = secret.value.1;
        let digest: Located<TokenDigest> = secret.map(|(secret, _)| secret.digest());
        Some(Some(Bootstrap { digest, kind, roles: roles?, ttl }))
    }

    /// Other names for the predefined roles.
    pub(super) fn aliases(&mut self) -> Vec<Alias> {
        let mut aliases = Vec::new();
        for (key, of) in PREDEFINED {
            let node = self.root.at(key).cloned();
            let names = self.list(node.as_ref(), key, key, value::role).unwrap_or_default();
            let of = RoleName::parse(of);
            aliases.extend(names.into_iter().filter_map(|name| Some(Alias { of: of.clone().ok()?, name })));
        }
        aliases
    }

    /// Roles of one's own.
    pub(super) fn custom_roles(&mut self) -> Vec<CustomRole> {
        let Some(node) = self.root.at(CUSTOM).cloned() else { return Vec::new() };
        let Content::Map(entries) = &node.content else { return Vec::new() };
        if entries.len() > CUSTOM_ROLES_MAX {
            let origin = node.place.clone().into();
            self.bad(CUSTOM, &origin, format!("at most {CUSTOM_ROLES_MAX} roles can be added"));
            return Vec::new();
        }
        let roles = entries.iter().filter_map(|(name, entry)| {
            let origin = Origin::from(entry.key_place.clone());
            self.custom_role(name, origin, &entry.node)
        });
        roles.collect()
    }

    fn custom_role(&mut self, name: &str, origin: Origin, node: &Node) -> Option<CustomRole> {
        let name = match RoleName::parse(name) {
            Ok(value) => Located { value, origin },
            Err(wrong) => {
                self.bad(CUSTOM, &origin, format!("`{}`: {wrong}", super::error::shown(name)));
                return None;
            }
        };
        let path = format!("{CUSTOM}.{}.systemPermissions", name.value);
        let list = node.get("systemPermissions").map(|entry| &entry.node);
        let permissions = self.list(list, PERMISSIONS, &path, value::permission).unwrap_or_default();
        Some(CustomRole { name, permissions })
    }
}
