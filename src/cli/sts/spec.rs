//! What a command line may say, as data. Parser, help and completions all read the same table, so that
//! they cannot disagree. It is not clap's: the original's order of errors (a flag that does not parse
//! before a required one that is missing, an unknown command with its usage on standard output), its
//! flags before the noun and its help layout are what scripts and people know, and clap has its own.

use clap_complete::Shell;

/// A command: a noun with commands below it, or one that does something.
#[derive(Debug)]
pub(crate) struct Command {
    /// The word that calls it.
    pub(crate) name: &'static str,
    /// One line for the list of the command above.
    pub(crate) short: &'static str,
    /// What its own help starts with.
    pub(crate) long: &'static str,
    /// What stands between the command and `[flags]`, where the required flags are not the whole story.
    pub(crate) operands: Option<&'static str>,
    /// Examples: a comment and a command line each.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// The flags of this command alone.
    pub(crate) flags: &'static [Flag],
    /// The commands below.
    pub(crate) children: &'static [Command],
    /// What it does.
    pub(crate) action: Action,
    /// Whether the original lacks it. The help of its noun is the original's to the letter, and leaves it out.
    pub(crate) is_further: bool,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing itself: there are commands below it.
    Group,
    /// Prints the help of another command.
    Help,
    /// Prints a completion script.
    Completion(Shell),
    /// `service-token create`
    TokenCreate,
    /// `service-token list`
    TokenList,
    /// `service-token delete`
    TokenDelete,
    /// `service-token describe`
    TokenDescribe,
    /// `service-token disable`
    TokenDisable,
    /// `service-token enable`
    TokenEnable,
    /// `service-token rotate`
    TokenRotate,
    /// `service-token update`
    TokenUpdate,
    /// `context save`
    ContextSave,
    /// `context list`
    ContextList,
    /// `context show`
    ContextShow,
    /// `context set`
    ContextSet,
    /// `context validate`
    ContextValidate,
    /// `context delete`
    ContextDelete,
    /// `user-session roles`
    SessionRoles,
    /// `version`
    Version,
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// The word after `--`.
    pub(crate) name: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// What its value is.
    pub(crate) kind: Kind,
    /// What it is for.
    pub(crate) help: &'static str,
    /// What it is when it is not given, as text.
    pub(crate) default: &'static str,
    /// How much it must be given.
    pub(crate) need: Need,
    /// Left out of the help.
    pub(crate) hidden: bool,
}

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// The path of a file.
    File,
    /// Texts, separated by commas or given by repeating the flag.
    List,
    /// On or off.
    Switch,
    /// How often it is given.
    Count,
    /// An integer of 64 bits.
    Int,
    /// A calendar date.
    Date,
    /// A length of time.
    Duration,
    /// A calendar date, or how far away a moment is.
    Moment,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// How much a flag must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Not at all.
    Optional,
    /// Always.
    Required,
    /// Exactly one of those of the command that have this mark.
    OneOf,
}

impl Action {
    /// Whether it needs a server, of a version that will do.
    pub(crate) const fn asks_server(self) -> bool {
        matches!(
            self,
            Self::TokenCreate
                | Self::TokenList
                | Self::TokenDelete
                | Self::TokenDescribe
                | Self::TokenDisable
                | Self::TokenEnable
                | Self::TokenRotate
                | Self::TokenUpdate
                | Self::SessionRoles
        )
    }
}

impl Flag {
    /// An optional flag without a letter and a default.
    pub(crate) const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, short: None, kind, help, default: "", need: Need::Optional, hidden: false }
    }

    /// The same with a letter.
    pub(crate) const fn letter(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    /// The same with a default.
    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// The same with another need.
    pub(crate) const fn needed(self, need: Need) -> Self {
        Self { need, ..self }
    }

    /// The same, left out of the help.
    pub(crate) const fn secret(self) -> Self {
        Self { hidden: true, ..self }
    }

    /// The word for the value in the help; none for a switch.
    pub(crate) const fn type_word(&self) -> &'static str {
        match self.kind {
            Kind::Text | Kind::File => "string",
            Kind::List => "strings",
            Kind::Switch => "",
            Kind::Count => "count",
            Kind::Int => "int",
            Kind::Date | Kind::Moment => "time",
            Kind::Duration => "duration",
            Kind::Choice(_) => "enum",
        }
    }

    /// Whether it takes the next argument as its value.
    pub(crate) const fn takes_value(&self) -> bool {
        !matches!(self.kind, Kind::Switch | Kind::Count)
    }
}

impl Command {
    /// The command below with this name.
    pub(crate) fn child(&self, name: &str) -> Option<&'static Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All flags that this command understands: its own, `--help`, and of `global` those that it does not
    /// redefine.
    pub(crate) fn all_flags(&self, global: &'static [Flag]) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().chain(std::iter::once(&HELP)).chain(self.inherited(global))
    }

    /// Of `global`, the flags that this command does not redefine.
    pub(crate) fn inherited(&self, global: &'static [Flag]) -> impl Iterator<Item = &'static Flag> {
        let own = self.flags;
        global.iter().filter(move |flag| own.iter().all(|own| own.name != flag.name))
    }
}

/// The flag that every command has.
pub(crate) static HELP: Flag = Flag::new("help", Kind::Switch, "").letter('h');
