//! Slash commands: what a line asks for, and how the answer to it reads.
//!
//! [`Command::parse`] makes a typed command of a line, [`COMMANDS`] is the catalogue
//! behind `/help` and the composer's completion, and [`Outcome::answer`] words what
//! came of a command. Carrying one out lies in between and is the caller's: this
//! module knows no storage, no settings and no models, and changes nothing.
//!
//! # What is a command
//! Every line whose first character, blanks aside, is a slash; a path such as
//! `/home/x` too. It is then answered as unknown. Telling paths from mistyped
//! commands would need a guess, and a wrong one sends to a model, perhaps off the
//! device, what was not meant for it. A message that is to begin with a slash can
//! have any character put in front.
//!
//! # Names
//! The case of a name is ignored. Of the names that earlier systems had, `/quit`,
//! `/name`, `/ls`, `/last` and `/browse` stand for a command that there is. `/anon`
//! and `/shell` don't: the one never did anything, and nothing here runs programs.

mod answer;
mod catalog;
mod parse;
mod session;

pub use answer::{AliasState, Answer, FoundSession, Outcome, SessionLine, reset_history};
pub use catalog::{COMMANDS, CommandInfo, complete};
pub use session::SessionRef;

use crate::persona::PersonaField;

/// Caps on the arguments of a command.
pub mod command_limits {
    /// Bytes of a title.
    pub const MAX_TITLE_BYTES: usize = 1024;
    /// Bytes of what names a session.
    pub const MAX_SESSION_BYTES: usize = 512;
    /// Bytes of what is searched for.
    pub const MAX_QUERY_BYTES: usize = 1024;
    /// Bytes of the name of a user, model or instrument.
    pub const MAX_NAME_BYTES: usize = 256;
    /// Bytes of the value of a persona's field.
    pub const MAX_VALUE_BYTES: usize = 4096;
    /// Sessions that one merge takes.
    pub const MAX_MERGED_SESSIONS: usize = 1000;
    /// Characters of an unknown command's name that an answer repeats.
    pub const MAX_ECHOED_CHARS: usize = 64;
}

/// Why a command can't be carried out. The texts are for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such command.
    #[error("Unknown command: {name}")]
    Unknown {
        /// The name as it was typed, slash included; shortened if it is long.
        name: String,
    },
    /// The arguments are not what the command takes.
    #[error("{problem}. Usage: {usage}")]
    Usage {
        /// What is wrong with them.
        problem: String,
        /// How the command is used.
        usage: String,
    },
    /// An argument is longer than its cap.
    #[error("{argument} may have at most {limit} {unit}, not {found}. Usage: {usage}")]
    TooMuch {
        /// Which argument.
        argument: &'static str,
        /// The cap.
        limit: usize,
        /// Of what.
        unit: &'static str,
        /// How much came.
        found: usize,
        /// How the command is used.
        usage: String,
    },
    /// No session is meant by this.
    #[error("There is no chat {wanted}; /sessions lists them")]
    NoSession {
        /// What was typed.
        wanted: String,
    },
    /// Several sessions are meant by this.
    #[error("{n_found} chats end with {wanted}; give more of the id, or the number in /sessions")]
    AmbiguousSession {
        /// What was typed.
        wanted: String,
        /// How many fit.
        n_found: usize,
    },
}

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportScope {
    /// Everything that is kept.
    All,
    /// One session.
    One(SessionRef),
}

/// What `/persona` is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonaCommand {
    /// Tell who the assistant is.
    Show,
    /// Set one field for the persona in use.
    Set {
        /// The field.
        field: PersonaField,
        /// The new value; not blank. A list's items stand between `|` or commas.
        value: String,
    },
    /// Take back what was set, in one field or in all.
    Reset {
        /// The field; `None` means all.
        field: Option<PersonaField>,
    },
}

/// A command whose arguments have been checked. Texts in it have no blanks around
/// them, are not empty and lie within [`command_limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// List the commands, or explain one.
    Help {
        /// The command to explain.
        topic: Option<&'static CommandInfo>,
    },
    /// Tell the settings in force.
    Config,
    /// List the aliases, and whether their models are there.
    Models,
    /// Forget the conversation, but not the system prompt.
    Reset,
    /// Tell the title of the chat, or set it.
    Title {
        /// The new title, on one line.
        title: Option<String>,
    },
    /// List the chats.
    Sessions,
    /// Print a chat.
    Show {
        /// Which one.
        session: SessionRef,
    },
    /// Go on with a chat.
    Load {
        /// Which one.
        session: SessionRef,
    },
    /// Give a chat another title.
    Rename {
        /// Which one.
        session: SessionRef,
        /// The new title, on one line.
        title: String,
    },
    /// Put chats together into a new one.
    Merge {
        /// Which ones; at least two.
        sessions: Vec<SessionRef>,
    },
    /// Put all chats but the newest into the archive.
    Archive,
    /// Find chats.
    Search {
        /// By these words.
        query: String,
    },
    /// Write chats to a file.
    Export {
        /// Which ones.
        scope: ExportScope,
    },
    /// Tell or change who the assistant is.
    Persona(PersonaCommand),
    /// Tell or set who the user is.
    Iam {
        /// The user's name.
        name: Option<String>,
    },
    /// Allow an instrument, or none.
    Instrument {
        /// The instrument; `None` means that none may be asked.
        name: Option<String>,
    },
    /// Tell or choose the model.
    Model {
        /// An alias or a model's id.
        name: Option<String>,
    },
    /// End the conversation.
    Exit,
}

impl Command {
    /// Whether a line is a command, known or not.
    pub fn is_command(line: &str) -> bool {
        line.trim_start().starts_with('/')
    }

    /// Reads a line. `None` means that it is no command: blank, or a message.
    ///
    /// # Errors
    /// There is no such command, or its arguments are not what it takes.
    pub fn parse(line: &str) -> Result<Option<Self>, CommandError> {
        parse::parse(line)
    }

    /// The answer to a command that needs nothing from outside; `None` for the
    /// others, which are answered by [`Outcome::answer`] when they are done.
    pub fn own_answer(&self) -> Option<Answer> {
        match self {
            Self::Help { topic } => Some(answer::help(*topic)),
            Self::Exit => Some(Answer {
                text: String::new(),
                goes_on: false,
            }),
            _ => None,
        }
    }
}
