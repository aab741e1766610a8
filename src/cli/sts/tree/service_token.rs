//! `service-token` and the commands below it.

use super::{LEAF, VERSION};
use crate::cli::sts::spec::{Action, Command, Flag, Kind, Need};

const ID: Flag = Flag::new("id", Kind::Int, "id of the service token").letter('i');
const ID_OPERANDS: Option<&str> = Some("{ ID | --id ID }");
const NAME: Flag = Flag::new("name", Kind::Text, "name of the service token").letter('n');
const ROLES: Flag = Flag::new("roles", Kind::List, "roles of the service token");
const DESCRIPTION: Flag = Flag::new("description", Kind::Text, "what the service token is for");
const EXPIRATION: Flag =
    Flag::new("expiration", Kind::Date, "date on which the token expires (yyyy-MM-dd, UTC)");
const UNIQUE: Flag = Flag::new("unique", Kind::Switch, "refuse a name that another service token has");

/// A command that the original lacks.
const FURTHER: Command = Command { operands: ID_OPERANDS, is_further: true, ..LEAF };

/// The noun.
pub(super) const NOUN: Command = Command {
    name: "service-token",
    short: "Manage service tokens (sts help service-token lists every command)",
    long: "Manage service tokens.",
    children: &[CREATE, DELETE, DESCRIBE, DISABLE, ENABLE, LIST, ROTATE, UPDATE],
    ..LEAF
};

const CREATE: Command = Command {
    name: "create",
    short: "Create a service token",
    long: "Create a service token. The token is shown once, and cannot be seen again.\n\
           --description and --unique are for servers of rolegate.",
    examples: &[
        ("a token for a CI server", "sts service-token create --name ci --roles stackstate-power-user"),
        (
            "a token that ends with the year",
            "sts service-token create --name exporter --roles reader --expiration 2030-12-31",
        ),
    ],
    flags: &[
        Flag::new("dedicatedSubject", Kind::Text, "subject that is made for this token and removed with it"),
        DESCRIPTION,
        EXPIRATION,
        NAME.needed(Need::Required),
        ROLES.needed(Need::Required),
        UNIQUE,
        VERSION,
    ],
    action: Action::TokenCreate,
    ..LEAF
};

const DELETE: Command = Command {
    name: "delete",
    short: "Delete a service token",
    long: "Delete a service token. It is refused from then on.",
    operands: ID_OPERANDS,
    examples: &[
        ("by the id that the list shows", "sts service-token delete 107484341630693"),
        ("the same", "sts service-token delete --id 107484341630693"),
    ],
    flags: &[ID, VERSION],
    action: Action::TokenDelete,
    ..LEAF
};

const DESCRIBE: Command = Command {
    name: "describe",
    short: "Show all that is known of a service token",
    long: "Show all that is known of a service token. The token itself is not shown.",
    examples: &[("by the id that the list shows", "sts service-token describe 107484341630693")],
    flags: &[ID, VERSION],
    action: Action::TokenDescribe,
    ..FURTHER
};

const DISABLE: Command = Command {
    name: "disable",
    short: "Switch a service token off",
    long: "Switch a service token off. It is refused from then on, until it is enabled again.",
    examples: &[("by the id that the list shows", "sts service-token disable 107484341630693")],
    flags: &[ID, VERSION],
    action: Action::TokenDisable,
    ..FURTHER
};

const ENABLE: Command = Command {
    name: "enable",
    short: "Switch a disabled service token on again",
    long: "Switch a disabled service token on again. It expires when it would have.",
    examples: &[("by the id that the list shows", "sts service-token enable 107484341630693")],
    flags: &[ID, VERSION],
    action: Action::TokenEnable,
    ..FURTHER
};

const LIST: Command = Command {
    name: "list",
    short: "List service tokens",
    long: "List service tokens. The tokens themselves are not shown.\n\
           The flags below are for servers of rolegate. With any of them the table also tells when each token was \
           last\nused, and whether it is live.",
    examples: &[
        ("for scripts", "sts service-token list -o json"),
        ("which ones end within a month?", "sts service-token list --expires-before 30d --sort expires"),
        (
            "which ones of the CI servers does nobody need?",
            "sts service-token list --name 'ci-*' --unused-since 90d",
        ),
    ],
    flags: &[
        Flag::new(
            "expires-before",
            Kind::Moment,
            "only those that expire before this date (UTC), or within this time: 2030-12-31, 30d",
        ),
        Flag::new("limit", Kind::Int, "show no more than so many"),
        Flag::new("name", Kind::Text, "only those of this name; ci-* is every name that starts with ci-")
            .letter('n'),
        Flag::new("role", Kind::Text, "only those with this role"),
        Flag::new(
            "sort",
            Kind::Choice(SORTS),
            "order: created, expires or name; with - before it from the last on",
        ),
        Flag::new(
            "unused-since",
            Kind::Moment,
            "only those not used since this date (UTC), or for this time: 2030-12-31, 90d",
        ),
        VERSION,
    ],
    action: Action::TokenList,
    ..LEAF
};

const SORTS: &[&str] = &["created", "-created", "expires", "-expires", "name", "-name"];

const ROTATE: Command = Command {
    name: "rotate",
    short: "Give a service token a new secret",
    long: "Give a service token a new secret. Its id, name, roles and expiry stay. The new token is shown once, and\n\
           cannot be seen again. The former one is refused at once, or after a time of grace.",
    examples: &[
        ("the former secret is refused at once", "sts service-token rotate 107484341630693"),
        (
            "it lives on until clients have the new one",
            "sts service-token rotate 107484341630693 --grace 10m",
        ),
    ],
    flags: &[
        Flag::new("grace", Kind::Duration, "how long the former secret lives on, such as 10m, up to 30d"),
        ID,
        VERSION,
    ],
    action: Action::TokenRotate,
    ..FURTHER
};

const UPDATE: Command = Command {
    name: "update",
    short: "Change the name, description, roles or expiry of a service token",
    long: "Change the name, description, roles or expiry of a service token. What no flag names stays as it is.",
    examples: &[
        (
            "another role in the place of all that it has",
            "sts service-token update 107484341630693 --roles reader",
        ),
        ("it never expires", "sts service-token update 107484341630693 --no-expiration"),
    ],
    flags: &[
        DESCRIPTION,
        EXPIRATION,
        ID,
        NAME,
        Flag::new("no-description", Kind::Switch, "take the description away"),
        Flag::new("no-expiration", Kind::Switch, "let the token live until it is deleted"),
        ROLES,
        UNIQUE,
        VERSION,
    ],
    action: Action::TokenUpdate,
    ..FURTHER
};
