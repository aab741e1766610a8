//! What the configuration asks of the policies and of the token store, in their own words.

use super::{Config, Located, Origin};
use crate::bootstrap::{BootstrapBlock, DeclaredToken, Provision};
use crate::policy::{Alias, CustomRole, Location, RoleBindings};
use crate::token::RoleName;
use std::sync::Arc;

impl Config {
    /// The tokens that the configuration asks for.
    pub fn provision(&self) -> Provision {
        let bootstrap = self.bootstrap.as_ref().map(|block| BootstrapBlock {
            digest: block.digest.value,
            kind: block.kind,
            roles: values(&block.roles),
            ttl: block.ttl.as_ref().map(|ttl| ttl.value),
        });
        let declared = self.tokens.iter().map(|token| DeclaredToken {
            digest: token.digest.value,
            name: token.name.value.clone(),
            roles: values(&token.roles),
            expires: token.expires.as_ref().map(|expires| expires.value),
        });
        Provision { bootstrap, declared: declared.collect() }
    }

    /// The roles that the configuration adds to those of the policies.
    pub fn bindings(&self) -> RoleBindings {
        let aliases = self.aliases.iter().map(|alias| Alias {
            name: alias.name.value.clone(),
            role: alias.of.clone(),
            location: location(&alias.name.origin),
        });
        let custom = self.custom_roles.iter().map(|role| CustomRole {
            name: role.name.value.clone(),
            permissions: role.permissions.iter().map(grant).collect(),
            location: location(&role.name.origin),
        });
        RoleBindings { aliases: aliases.collect(), custom: custom.collect() }
    }

    /// Every role that a configured token holds, each with its place.
    pub fn roles_of_tokens(&self) -> impl Iterator<Item = (&RoleName, Location)> {
        let bootstrap = self.bootstrap.iter().flat_map(|block| &block.roles);
        let declared = self.tokens.iter().flat_map(|token| &token.roles);
        bootstrap.chain(declared).map(|role| (&role.value, location(&role.origin)))
    }
}

fn values(roles: &[Located<RoleName>]) -> Vec<RoleName> {
    roles.iter().map(|role| role.value.clone()).collect()
}

fn grant(permission: &Located<String>) -> (Arc<str>, Location) {
    (Arc::from(permission.value.as_str()), location(&permission.origin))
}

fn location(origin: &Origin) -> Location {
    match origin {
        Origin::File(place) => {
            Location::new(&Arc::from(&*place.file.to_string_lossy()), place.line, place.column)
        }
        elsewhere => Location::new(&Arc::from(elsewhere.to_string()), 0, 0),
    }
}
