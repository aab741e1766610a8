//! The commands of `sts`.

mod service_token;

use super::spec::{Action, Command, Flag, Kind, Need};
use clap_complete::Shell;

const URL: Flag =
    Flag::new("url", Kind::Text, "URL of the server, such as https://observability.example.com");
const API_TOKEN: Flag = Flag::new("api-token", Kind::Text, "personal API token to authenticate with");
const SERVICE_TOKEN: Flag = Flag::new(
    "service-token",
    Kind::Text,
    "service token to authenticate with (others can see arguments: prefer --service-token-file)",
);
const SERVICE_TOKEN_FILE: Flag =
    Flag::new("service-token-file", Kind::File, "file that holds the service token; - is standard input");
const SKIP_SSL: Flag = Flag::new("skip-ssl", Kind::Switch, "do not verify the server's certificate");
const CA_CERT_PATH: Flag =
    Flag::new("ca-cert-path", Kind::File, "PEM file with the certificate authorities to trust");
const CA_CERT_BASE64_DATA: Flag =
    Flag::new("ca-cert-base64-data", Kind::Text, "PEM certificate authorities to trust, in base64");
const NAME: Flag = Flag::new("name", Kind::Text, "name of the context").letter('n');
/// Prints the oldest server version, as the original does; nobody needs to see it in the help.
const VERSION: Flag = Flag::new("version", Kind::Switch, "oldest server version").secret();

/// The flags that every command understands, before or after its name.
pub(crate) static GLOBAL: &[Flag] = &[
    API_TOKEN,
    CA_CERT_BASE64_DATA,
    CA_CERT_PATH,
    Flag::new("config", Kind::File, "configuration file (instead of the one in your home folder)"),
    Flag::new("context", Kind::Text, "context of the configuration file to use").letter('c'),
    Flag::new("k8s-sa-token", Kind::Text, "Kubernetes service account token to authenticate with"),
    Flag::new("k8s-sa-token-path", Kind::File, "file that holds the Kubernetes service account token"),
    Flag::new("no-color", Kind::Switch, "print without colors and symbols"),
    Flag::new("output", Kind::Choice(&["json", "text"]), "output format: json or text")
        .letter('o')
        .or("text"),
    SERVICE_TOKEN,
    SERVICE_TOKEN_FILE,
    SKIP_SSL,
    Flag::new("timeout", Kind::Text, "time limit of one request, such as 30s or 2m").or("60s"),
    URL,
    Flag::new("verbose", Kind::Count, "log requests on standard error, without tokens").letter('v'),
];

const LEAF: Command = Command {
    name: "",
    short: "",
    long: "",
    operands: None,
    examples: &[],
    flags: &[],
    children: &[],
    action: Action::Group,
    is_further: false,
};

/// The program.
pub(crate) static ROOT: Command = Command {
    name: "sts",
    long: "Manage service tokens and connections of an observability server.",
    children: &[
        COMPLETION,
        CONTEXT,
        Command {
            name: "help",
            short: "Help about any command",
            long: "Show the help of any command.",
            operands: Some("[command]"),
            action: Action::Help,
            ..LEAF
        },
        service_token::NOUN,
        Command {
            name: "user-session",
            short: "Ask about your own session",
            long: "Ask about your own session.",
            children: &[Command {
                name: "roles",
                short: "List the roles that you have",
                long: "List the roles that the token in use has on the server.",
                examples: &[("which roles does my token have?", "sts user-session roles")],
                flags: &[VERSION],
                action: Action::SessionRoles,
                ..LEAF
            }],
            ..LEAF
        },
        Command {
            name: "version",
            short: "Show the version of this program",
            long: "Show the version of this program. The server is not asked.",
            action: Action::Version,
            ..LEAF
        },
    ],
    ..LEAF
};

const CONTEXT: Command = Command {
    name: "context",
    short: "Manage the connections of the configuration file",
    long: "Manage the connections of the configuration file. A context is a URL and a token under a name.",
    children: &[
        Command {
            name: "delete",
            short: "Delete a context",
            long: "Delete a context from the configuration file. The current one cannot be deleted.",
            flags: &[NAME.needed(Need::Required)],
            action: Action::ContextDelete,
            ..LEAF
        },
        Command {
            name: "list",
            short: "List the contexts",
            long: "List the contexts of the configuration file. With -o json the tokens are shown too.",
            action: Action::ContextList,
            ..LEAF
        },
        SAVE,
        Command {
            name: "set",
            short: "Choose the current context",
            long: "Choose the context that is used when none is named.",
            flags: &[NAME.needed(Need::Required)],
            action: Action::ContextSet,
            ..LEAF
        },
        Command {
            name: "show",
            short: "Show the current context",
            long: "Show the current context. With -o json its token is shown too.",
            action: Action::ContextShow,
            ..LEAF
        },
        Command {
            name: "validate",
            short: "Try a context",
            long: "Try a context: connect to its server with its token.",
            flags: &[NAME],
            action: Action::ContextValidate,
            ..LEAF
        },
    ],
    ..LEAF
};

const SAVE: Command = Command {
    name: "save",
    short: "Save a context and make it the current one",
    long: "Save a context in the configuration file and make it the current one. The connection is tried first.",
    examples: &[
        (
            "the token from a file",
            "sts context save --name ci --url https://observability.example.com --service-token-file token.txt",
        ),
        (
            "the token from another program",
            "pass show ci | sts context save --name ci --url https://observability.example.com --service-token-file -",
        ),
    ],
    flags: &[
        Flag::new("api-path", Kind::Text, "path of the API below the URL").or("/api"),
        API_TOKEN.needed(Need::OneOf),
        CA_CERT_BASE64_DATA,
        CA_CERT_PATH,
        NAME.or("default"),
        SERVICE_TOKEN.needed(Need::OneOf),
        SERVICE_TOKEN_FILE.needed(Need::OneOf),
        SKIP_SSL,
        Flag::new("skip-validate", Kind::Switch, "save without trying the connection"),
        URL.needed(Need::Required),
    ],
    action: Action::ContextSave,
    ..LEAF
};

const NO_DESCRIPTIONS: &[Flag] =
    &[Flag::new("no-descriptions", Kind::Switch, "leave the descriptions out of the completions")];

const COMPLETION: Command = Command {
    name: "completion",
    short: "Write a completion script for a shell",
    long: "Write a completion script for a shell.",
    children: &[
        Command {
            name: "bash",
            short: "Write the completion script for bash",
            long: "Write the completion script for bash.",
            examples: &[("in this shell", "source <(sts completion bash)")],
            flags: NO_DESCRIPTIONS,
            action: Action::Completion(Shell::Bash),
            ..LEAF
        },
        Command {
            name: "fish",
            short: "Write the completion script for fish",
            long: "Write the completion script for fish.",
            examples: &[("in this shell", "sts completion fish | source")],
            flags: NO_DESCRIPTIONS,
            action: Action::Completion(Shell::Fish),
            ..LEAF
        },
        Command {
            name: "powershell",
            short: "Write the completion script for PowerShell",
            long: "Write the completion script for PowerShell.",
            examples: &[("in this shell", "sts completion powershell | Out-String | Invoke-Expression")],
            flags: NO_DESCRIPTIONS,
            action: Action::Completion(Shell::PowerShell),
            ..LEAF
        },
        Command {
            name: "zsh",
            short: "Write the completion script for zsh",
            long: "Write the completion script for zsh.",
            examples: &[("in this shell", "source <(sts completion zsh)")],
            flags: NO_DESCRIPTIONS,
            action: Action::Completion(Shell::Zsh),
            ..LEAF
        },
    ],
    ..LEAF
};
