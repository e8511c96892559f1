//! `command`: slash commands.

use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::sessions::{ExportedFile, SessionInfo};

/// One command, as it is shown to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct CommandInfo {
    /// Its name with the slash.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// What it takes: capitals stand for a value, brackets for what can be left out.
    pub arguments: String,
    /// What it does, in one line.
    pub help: String,
}

/// Result of `commands.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct CommandsListResult {
    /// All of them, in the order in which help lists them.
    pub commands: Vec<CommandInfo>,
}

/// Params of `command`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct CommandParams {
    /// The line, slash included.
    pub line: String,
    /// The chat that is going on, for commands that are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// What a host has to do beside showing the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CommandEffect {
    /// Begin a new conversation.
    Reset,
    /// Go on with this chat; `sessions.get` gives what was said.
    OpenSession {
        /// The chat.
        session: SessionInfo,
    },
    /// The list of chats has changed.
    SessionsChanged {
        /// The chat that changed, where it is one.
        session: Option<SessionInfo>,
    },
    /// The settings have changed.
    SettingsChanged {
        /// As they are now.
        settings: Settings,
    },
    /// The persona has changed.
    PersonaChanged,
    /// The user has changed.
    UserChanged {
        /// The id of the current user.
        user: String,
    },
    /// Offer this file to the user.
    File {
        /// The file.
        file: ExportedFile,
    },
    /// End the conversation.
    Exit,
}

/// Result of `command`. A line that is unknown or wrong is answered in words too,
/// with `is_error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct CommandResult {
    /// For the person: plain text. May be empty.
    pub text: String,
    /// Whether the command was refused.
    pub is_error: bool,
    /// What the host has to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<CommandEffect>,
}
