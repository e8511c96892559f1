//! The catalogue of commands: the one list behind parsing, help and completion.

/// The commands, so that the parser can't miss one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Help,
    Config,
    Models,
    Model,
    Reset,
    Title,
    Sessions,
    Show,
    Load,
    Rename,
    Merge,
    Archive,
    Search,
    Export,
    Persona,
    Iam,
    Instrument,
    Exit,
}

/// One command, as it is shown to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandInfo {
    /// Which one it is.
    pub(super) kind: Kind,
    /// Its name with the slash, in small letters.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// What it takes: capitals stand for a value, brackets for what can be left out.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

impl CommandInfo {
    /// The name and the arguments: `/rename CHAT TITLE`.
    pub fn usage(&self) -> String {
        if self.arguments.is_empty() {
            self.name.to_owned()
        } else {
            format!("{} {}", self.name, self.arguments)
        }
    }

    /// Whether `name`, in small letters, is one of its names.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// Every command, in the order in which help lists them.
pub const COMMANDS: &[CommandInfo] = &[
    CommandInfo {
        kind: Kind::Help,
        name: "/help",
        aliases: &[],
        arguments: "[COMMAND]",
        help: "What can be typed here, or how one command is used",
    },
    CommandInfo {
        kind: Kind::Config,
        name: "/config",
        aliases: &[],
        arguments: "",
        help: "The settings in force",
    },
    CommandInfo {
        kind: Kind::Models,
        name: "/models",
        aliases: &["/list-models"],
        arguments: "",
        help: "The model aliases, and which of them can answer",
    },
    CommandInfo {
        kind: Kind::Model,
        name: "/model",
        aliases: &[],
        arguments: "[NAME]",
        help: "Which model answers, or another one from now on",
    },
    CommandInfo {
        kind: Kind::Reset,
        name: "/reset",
        aliases: &[],
        arguments: "",
        help: "Begin anew; the system prompt stays",
    },
    CommandInfo {
        kind: Kind::Title,
        name: "/title",
        aliases: &[],
        arguments: "[TITLE]",
        help: "This chat's title, or a new one",
    },
    CommandInfo {
        kind: Kind::Sessions,
        name: "/sessions",
        aliases: &["/ls", "/browse"],
        arguments: "",
        help: "Your chats, the newest first",
    },
    CommandInfo {
        kind: Kind::Show,
        name: "/show",
        aliases: &["/last"],
        arguments: "[CHAT]",
        help: "Print a chat: this one, or the one with that number or id",
    },
    CommandInfo {
        kind: Kind::Load,
        name: "/load",
        aliases: &[],
        arguments: "[CHAT]",
        help: "Go on with a chat; without a name, with the newest",
    },
    CommandInfo {
        kind: Kind::Rename,
        name: "/rename",
        aliases: &[],
        arguments: "CHAT TITLE",
        help: "Give any chat a title",
    },
    CommandInfo {
        kind: Kind::Merge,
        name: "/merge",
        aliases: &[],
        arguments: "CHAT CHAT…",
        help: "Put several chats together into a new one",
    },
    CommandInfo {
        kind: Kind::Archive,
        name: "/archive",
        aliases: &[],
        arguments: "",
        help: "Put all your chats but the newest aside",
    },
    CommandInfo {
        kind: Kind::Search,
        name: "/search",
        aliases: &[],
        arguments: "WORDS",
        help: "Find chats by what was said in them",
    },
    CommandInfo {
        kind: Kind::Export,
        name: "/export",
        aliases: &[],
        arguments: "[CHAT|all]",
        help: "Write this chat, another one or all of them to a file",
    },
    CommandInfo {
        kind: Kind::Persona,
        name: "/persona",
        aliases: &[],
        arguments: "[FIELD VALUE | reset [FIELD]]",
        help: "Who the assistant is, and what you change about it",
    },
    CommandInfo {
        kind: Kind::Iam,
        name: "/iam",
        aliases: &["/name"],
        arguments: "[NAME]",
        help: "Whose chats these are, or another name for you",
    },
    CommandInfo {
        kind: Kind::Instrument,
        name: "/instrument",
        aliases: &[],
        arguments: "[NAME]",
        help: "Let a larger model be asked; without a name, none may be",
    },
    CommandInfo {
        kind: Kind::Exit,
        name: "/exit",
        aliases: &["/quit"],
        arguments: "",
        help: "Leave",
    },
];

/// The command with this name, written with or without the slash.
pub(super) fn find(name: &str) -> Option<&'static CommandInfo> {
    let name = name.to_lowercase();
    let with_slash = if name.starts_with('/') {
        name
    } else {
        format!("/{name}")
    };
    COMMANDS.iter().find(|info| info.is_called(&with_slash))
}

/// The commands that what has been typed so far may become, for a composer. Nothing
/// is offered behind the name, and a command that fits under several of its names
/// comes once.
pub fn complete(typed: &str) -> Vec<&'static CommandInfo> {
    let typed = typed.trim_start().to_lowercase();
    if !typed.starts_with('/') || typed.contains(char::is_whitespace) {
        return Vec::new();
    }
    let fits = |info: &&CommandInfo| {
        let mut names = std::iter::once(&info.name).chain(info.aliases);
        names.any(|name| name.starts_with(&typed))
    };
    COMMANDS.iter().filter(fits).collect()
}
