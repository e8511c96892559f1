//! What a command is answered with.

use std::fmt::Write as _;

use nox_protocol::{ChatTarget, Message, Role};

use super::catalog::{COMMANDS, CommandInfo};
use crate::persona::{Persona, PersonaField};

/// The answer to a command: plain text, without colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For the person; its lines end with `\n`. May be empty.
    pub text: String,
    /// Whether the conversation goes on.
    pub goes_on: bool,
}

/// An alias, and whether any of its routes can answer now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasState {
    /// The alias.
    pub alias: String,
    /// Whether a model for it is there.
    pub is_installed: bool,
}

/// One line of the list of chats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLine {
    /// The session's id.
    pub id: String,
    /// Its title, or its display name if it has none.
    pub title: String,
    /// How many turns it has.
    pub n_turns: u64,
    /// When it was changed, in the words of the host.
    pub updated: String,
    /// Whether it is the one that is going on.
    pub is_current: bool,
}

/// A chat that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSession {
    /// The session's id.
    pub id: String,
    /// Its title, or its display name if it has none.
    pub title: String,
    /// Where the words stand in it; on one line.
    pub excerpt: String,
}

/// What came of a command that needed something from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// `/config`: the target of the next turn.
    Config(Box<ChatTarget>),
    /// `/models`: every alias, in the configuration's order.
    Models {
        /// The aliases.
        aliases: Vec<AliasState>,
        /// Whether there is any model at all.
        has_models: bool,
    },
    /// `/reset`: the conversation is forgotten.
    Reset,
    /// `/title` without a new one: the title there is.
    TitleIs(Option<String>),
    /// `/title` or `/rename`: a chat has this title now.
    Titled(String),
    /// `/sessions`: the user's chats, the newest first.
    Sessions(Vec<SessionLine>),
    /// `/show`: a chat's title and messages.
    Shown {
        /// Its title, or its display name if it has none.
        title: String,
        /// The assistant's name.
        assistant: String,
        /// What was said.
        messages: Vec<Message>,
    },
    /// `/load`: this chat goes on.
    Loaded {
        /// Its title, or its display name if it has none.
        title: String,
        /// How many turns it has.
        n_turns: u64,
    },
    /// `/merge`: a new chat was made.
    Merged {
        /// Its id.
        id: String,
        /// Its title.
        title: String,
        /// Of how many others.
        n_sources: usize,
    },
    /// `/archive`: so many chats were put aside.
    Archived {
        /// How many; 0 where there were none but the newest.
        n_sessions: usize,
    },
    /// `/search`: what fits best comes first.
    Found(Vec<FoundSession>),
    /// `/export`: a file was written.
    Exported {
        /// Its name.
        file_name: String,
        /// Its size.
        size_bytes: u64,
        /// How many chats are in it.
        n_sessions: usize,
    },
    /// `/persona`: the assistant as it is now.
    PersonaIs(Box<Persona>),
    /// `/persona FIELD VALUE`, `/persona reset`: what changed.
    PersonaChanged {
        /// The field; `None` means all.
        field: Option<PersonaField>,
        /// The assistant as it is now.
        persona: Box<Persona>,
    },
    /// `/iam`: whose chats these are.
    User {
        /// The name.
        name: String,
        /// Whether that is new.
        is_changed: bool,
    },
    /// `/instrument`: who may be asked from now on.
    Instrument {
        /// The instrument; `None` if none may.
        name: Option<String>,
        /// Why it can't be asked yet.
        warning: Option<String>,
    },
    /// `/model`: who answers.
    Model {
        /// The alias or model id.
        name: String,
        /// Whether that is new.
        is_changed: bool,
    },
}

impl Outcome {
    /// The answer.
    pub fn answer(&self) -> Answer {
        let mut text = match self {
            Self::Config(target) => config(target),
            Self::Models {
                aliases,
                has_models,
            } => models(aliases, *has_models),
            Self::Reset => "Context reset.".to_owned(),
            Self::TitleIs(None) => "This chat has no title yet.".to_owned(),
            Self::TitleIs(Some(title)) => format!("This chat is called \"{title}\"."),
            Self::Titled(title) => format!("The chat is called \"{title}\" now."),
            Self::Sessions(sessions) => list(sessions),
            Self::Shown {
                title,
                assistant,
                messages,
            } => transcript(title, assistant, messages),
            Self::Loaded { title, n_turns } => {
                format!("Going on with \"{title}\", {}.", count(*n_turns, "turn"))
            }
            Self::Merged {
                id,
                title,
                n_sources,
            } => format!(
                "{} are one now: \"{title}\" ({id}).",
                count(as_u64(*n_sources), "chat")
            ),
            Self::Archived { n_sessions: 0 } => "There is nothing to archive.".to_owned(),
            Self::Archived { n_sessions } => {
                format!("Archived {}.", count(as_u64(*n_sessions), "chat"))
            }
            Self::Found(found) => hits(found),
            Self::Exported {
                file_name,
                size_bytes,
                n_sessions,
            } => format!(
                "Wrote {} to {file_name} ({}).",
                count(as_u64(*n_sessions), "chat"),
                count(*size_bytes, "byte")
            ),
            Self::PersonaIs(persona) => describe(persona),
            Self::PersonaChanged { field, persona } => {
                let what = field.map_or("everything", |field| field.names()[0]);
                format!("Changed {what}.\n{}", describe(persona))
            }
            Self::User { name, is_changed } => {
                let now = if *is_changed { " now" } else { "" };
                format!("These are the chats of {name}{now}.")
            }
            Self::Instrument { name: None, .. } => "No instrument may be asked.".to_owned(),
            Self::Instrument {
                name: Some(name),
                warning,
            } => {
                let warning = warning.as_deref().map(|text| format!("\nBut: {text}"));
                format!(
                    "{name} may be asked; what it is asked leaves this device.{}",
                    warning.unwrap_or_default()
                )
            }
            Self::Model { name, is_changed } => {
                let now = if *is_changed { " from now on" } else { "" };
                format!("{name} answers{now}.")
            }
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Answer {
            text,
            goes_on: true,
        }
    }
}

/// The conversation after `/reset`: the system prompt, if there is one.
pub fn reset_history(system_prompt: &str) -> Vec<Message> {
    let is_blank = system_prompt.trim().is_empty();
    let system = (!is_blank).then(|| Message {
        role: Role::System,
        content: system_prompt.to_owned(),
    });
    system.into_iter().collect()
}

pub(super) fn help(topic: Option<&CommandInfo>) -> Answer {
    let mut text = String::new();
    let mut line = |text_line: &str| {
        text.push_str(text_line.trim_end());
        text.push('\n');
    };
    if let Some(info) = topic {
        line(&info.usage());
        line(&format!("  {}", info.help));
        if !info.aliases.is_empty() {
            line(&format!("  Also: {}", info.aliases.join(", ")));
        }
    } else {
        let width = COMMANDS.iter().map(|info| info.usage().chars().count());
        let width = width.max().unwrap_or(0);
        line("Slash commands:");
        for info in COMMANDS {
            line(&format!("  {:width$}  {}", info.usage(), info.help));
        }
        line("");
    }
    Answer {
        text,
        goes_on: true,
    }
}

/// The form is an old one that scripts read, hence `True` and the blank line.
fn config(target: &ChatTarget) -> String {
    let switch = |on: bool| if on { "True" } else { "False" };
    let mut text = "Runtime configuration:\n".to_owned();
    for (key, value) in [
        ("url", target.url.as_deref().unwrap_or("None").to_owned()),
        ("model", target.model.clone()),
        ("target_model", target.target_model.clone()),
        ("central_name", target.central_name.clone()),
        ("central_scale", target.central_scale.clone()),
        ("noctics_variant", target.noctics_variant.clone()),
        // Keeps the point in whole numbers.
        ("temperature", format!("{:?}", target.temperature)),
        ("max_tokens", target.max_tokens.to_string()),
        ("stream", switch(target.stream).to_owned()),
        ("sanitize", switch(target.sanitize).to_owned()),
    ] {
        put(&mut text, format_args!("  {key}: {value}\n"));
    }
    text.push('\n');
    text
}

fn models(aliases: &[AliasState], has_models: bool) -> String {
    let mut text = "Model aliases:\n".to_owned();
    if !has_models {
        text.push_str("  (there is no model yet)\n");
    }
    for AliasState {
        alias,
        is_installed,
    } in aliases
    {
        let mark = if *is_installed {
            "installed"
        } else {
            "missing"
        };
        put(&mut text, format_args!("  {alias:<12} {mark}\n"));
    }
    text
}

fn list(sessions: &[SessionLine]) -> String {
    if sessions.is_empty() {
        return "There are no chats yet.".to_owned();
    }
    let width = sessions.len().to_string().len();
    let mut text = String::new();
    for (idx, session) in sessions.iter().enumerate() {
        let mark = if session.is_current { '*' } else { ' ' };
        put(
            &mut text,
            format_args!(
                "{mark} {:>width$}  {}  ({}, {})  {}\n",
                idx + 1,
                session.title,
                count(session.n_turns, "turn"),
                session.updated,
                session.id
            ),
        );
    }
    text
}

fn transcript(title: &str, assistant: &str, messages: &[Message]) -> String {
    let mut text = format!("{title}\n");
    for message in messages {
        let speaker = match message.role {
            // A prompt is no part of what was said.
            Role::System => continue,
            Role::User => "you",
            Role::Assistant => assistant,
        };
        put(
            &mut text,
            format_args!("\n{speaker}:\n{}\n", message.content.trim_end()),
        );
    }
    text
}

fn hits(found: &[FoundSession]) -> String {
    if found.is_empty() {
        return "Nothing was found.".to_owned();
    }
    let mut text = String::new();
    for hit in found {
        put(
            &mut text,
            format_args!("{}  {}\n    {}\n", hit.title, hit.id, hit.excerpt),
        );
    }
    text
}

fn describe(persona: &Persona) -> String {
    format!(
        "{}\nGood at:\n{}\nNot good at:\n{}\n",
        persona.summary_line(),
        persona.strengths_block(),
        persona.limits_block()
    )
}

fn count(n: u64, unit: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {unit}{plural}")
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = text.write_fmt(line);
}
