//! The user's settings, checked: what a chat goes by where a call and its alias say
//! nothing.
//!
//! Ranges are those of requests. Nothing is guessed: a setting of another type, an
//! unknown one, or a system prompt with a placeholder that stands for nothing is
//! refused with its name. Where settings are kept is the caller's business.

use nox_protocol::Settings as WireSettings;
use serde_json::{Map, Value, json};

use crate::history::HistoryLimits;
use crate::persona::unknown_placeholders;
use crate::request::{ChatRequest, RequestError, limits};
use crate::routing::nearest;

/// Caps on what settings may hold.
pub mod settings_limits {
    /// Bytes of an alias or a model's id.
    pub const MAX_NAME_BYTES: usize = 256;
    /// Bytes of the system prompt.
    pub const MAX_SYSTEM_PROMPT_BYTES: usize = 64 << 10;
    /// Turns of history; no request holds more messages.
    pub const MAX_HISTORY_TURNS: u64 = 10_000;
    /// Room for snapshots; no device has more to spare.
    pub const MAX_WARM_START_MIB: u64 = 65_536;
    /// Characters of an unknown name that an error repeats.
    pub const MAX_ECHOED_CHARS: usize = 64;
}

use settings_limits::{
    MAX_ECHOED_CHARS, MAX_HISTORY_TURNS, MAX_NAME_BYTES, MAX_SYSTEM_PROMPT_BYTES,
    MAX_WARM_START_MIB,
};

/// Why a setting is refused. The texts are for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The settings are no object.
    #[error("settings must be an object")]
    NotAnObject,
    /// There is no such setting.
    #[error("{field} is no setting{}; known: {}", hint(.nearest.as_deref()), Settings::NAMES.join(", "))]
    UnknownField {
        /// What it is called; shortened if it is long.
        field: String,
        /// The setting with the nearest name.
        nearest: Option<&'static str>,
    },
    /// A value has the wrong type or is out of range.
    #[error(transparent)]
    Value(#[from] RequestError),
    /// A name can't be one.
    #[error("{field} must have no blanks at its ends and no control characters")]
    BadName {
        /// The setting.
        field: &'static str,
    },
    /// The system prompt has placeholders that stand for nothing.
    #[error("system_prompt has placeholders that stand for nothing: {}", .names.join(", "))]
    UnknownPlaceholders {
        /// Their names, without the braces.
        names: Vec<String>,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// Settings that were checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Only known settings, none `null`, each as its kind demands.
    fields: Map<String, Value>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Name,
    Prompt,
    Number,
    Integer,
    Turns,
    Mebibytes,
    Switch,
}

const FIELDS: [(&str, Kind); 11] = [
    ("model", Kind::Name),
    ("system_prompt", Kind::Prompt),
    ("temperature", Kind::Number),
    ("max_tokens", Kind::Integer),
    ("strip_reasoning", Kind::Switch),
    ("sanitize", Kind::Switch),
    ("self_score", Kind::Switch),
    ("instrument", Kind::Name),
    ("history_turns", Kind::Turns),
    ("keep_chats", Kind::Switch),
    ("warm_start_mib", Kind::Mebibytes),
];

impl Settings {
    /// The names of all settings.
    pub const NAMES: [&str; FIELDS.len()] = {
        let mut names = [""; FIELDS.len()];
        let mut idx = 0;
        while idx < FIELDS.len() {
            names[idx] = FIELDS[idx].0;
            idx += 1;
        }
        names
    };

    /// Reads settings; `null` and a blank text count as absent.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_json(settings: &Value) -> Result<Self, SettingsError> {
        Self::default().patched(settings)
    }

    /// Reads settings that were checked once, perhaps by another version: what is
    /// wrong with them is left out, and given beside the rest.
    pub fn from_stored<'a>(
        settings: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> (Self, Vec<SettingsError>) {
        let mut read = Self::default();
        let mut errors = Vec::new();
        for (name, value) in settings {
            if let Err(error) = read.set(name, value) {
                errors.push(error);
            }
        }
        (read, errors)
    }

    /// These settings with changes; `null` or a blank text takes one back.
    ///
    /// # Errors
    /// The first thing that is wrong; then nothing is changed.
    pub fn patched(&self, changes: &Value) -> Result<Self, SettingsError> {
        let mut patched = self.clone();
        for (name, value) in changes.as_object().ok_or(SettingsError::NotAnObject)? {
            patched.set(name, value)?;
        }
        Ok(patched)
    }

    /// As they travel.
    pub fn to_wire(&self) -> WireSettings {
        WireSettings {
            model: self.text("model"),
            system_prompt: self.text("system_prompt"),
            temperature: self.fields.get("temperature").and_then(Value::as_f64),
            max_tokens: self.fields.get("max_tokens").and_then(Value::as_i64),
            strip_reasoning: self.switch("strip_reasoning"),
            sanitize: self.switch("sanitize"),
            self_score: self.switch("self_score"),
            instrument: self.text("instrument"),
            history_turns: self.fields.get("history_turns").and_then(Value::as_u64),
            keep_chats: self.switch("keep_chats"),
            warm_start_mib: self.warm_start_mib(),
        }
    }

    /// Those that are set, by name; [`from_json`](Self::from_json) reads them again.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The alias or model that answers where a call names none.
    pub fn model(&self) -> Option<&str> {
        self.fields.get("model")?.as_str()
    }

    /// The system prompt of chats that bring none, with placeholders.
    pub fn system_prompt(&self) -> Option<&str> {
        self.fields.get("system_prompt")?.as_str()
    }

    /// The alias that may be asked as an instrument.
    pub fn instrument(&self) -> Option<&str> {
        self.fields.get("instrument")?.as_str()
    }

    /// How much of a chat's history is sent along.
    pub fn history_limits(&self) -> HistoryLimits {
        let turns = self.fields.get("history_turns").and_then(Value::as_u64);
        HistoryLimits {
            max_turns: turns.map(|turns| usize::try_from(turns).unwrap_or(usize::MAX)),
            max_messages: None,
        }
    }

    /// Whether chats are kept where a call does not say.
    pub fn keep_chats(&self) -> bool {
        self.switch("keep_chats").unwrap_or(true)
    }

    /// Room for snapshots of what was computed, where the user has said.
    pub fn warm_start_mib(&self) -> Option<u64> {
        self.fields.get("warm_start_mib")?.as_u64()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.fields.get(name)?.as_str().map(str::to_owned)
    }

    fn switch(&self, name: &str) -> Option<bool> {
        self.fields.get(name)?.as_bool()
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), SettingsError> {
        let Some(&(name, kind)) = FIELDS.iter().find(|(known, _)| *known == name) else {
            return Err(SettingsError::UnknownField {
                field: name.chars().take(MAX_ECHOED_CHARS).collect(),
                nearest: nearest(name, Self::NAMES),
            });
        };
        let is_blank = value.as_str().is_some_and(|text| text.trim().is_empty());
        let takes_text = matches!(kind, Kind::Name | Kind::Prompt);
        if value.is_null() || (takes_text && is_blank) {
            self.fields.remove(name);
            return Ok(());
        }
        check(name, kind, value)?;
        self.fields.insert(name.to_owned(), value.clone());
        Ok(())
    }
}

fn check(field: &'static str, kind: Kind, value: &Value) -> Result<(), SettingsError> {
    let wrong = |expected| Err(RequestError::WrongType { field, expected }.into());
    match (kind, value) {
        (Kind::Name, Value::String(name)) => check_name(field, name),
        (Kind::Name, _) => wrong("a string"),
        (Kind::Prompt, Value::String(prompt)) => check_prompt(field, prompt),
        (Kind::Prompt, _) => wrong("a string"),
        (Kind::Turns, value) => {
            let range = "a whole number between 0 and 10000";
            check_count(field, value, MAX_HISTORY_TURNS, range)
        }
        (Kind::Mebibytes, value) => {
            let range = "a whole number between 0 and 65536";
            check_count(field, value, MAX_WARM_START_MIB, range)
        }
        (Kind::Number, value) if !value.is_number() => wrong("a number"),
        (Kind::Integer, value) if !value.is_i64() => wrong("an integer"),
        (Kind::Switch, value) if !value.is_boolean() => wrong("true or false"),
        (Kind::Number | Kind::Integer | Kind::Switch, value) => as_in_a_request(field, value),
    }
}

fn check_count(
    field: &'static str,
    value: &Value,
    max: u64,
    range: &'static str,
) -> Result<(), SettingsError> {
    match value.as_u64() {
        Some(found) if found <= max => Ok(()),
        _ if value.is_number() => Err(RequestError::OutOfRange {
            field,
            range,
            found: value.to_string(),
        }
        .into()),
        _ => Err(RequestError::WrongType {
            field,
            expected: "an integer",
        }
        .into()),
    }
}

/// The ranges are those of requests, so there they are asked for.
fn as_in_a_request(field: &'static str, value: &Value) -> Result<(), SettingsError> {
    let request = json!({ "messages": [{"role": "user", "content": ""}], field: value });
    ChatRequest::parse(&request)?;
    Ok(())
}

fn check_name(field: &'static str, name: &str) -> Result<(), SettingsError> {
    check_bytes(field, name, MAX_NAME_BYTES)?;
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(SettingsError::BadName { field });
    }
    Ok(())
}

fn check_prompt(field: &'static str, prompt: &str) -> Result<(), SettingsError> {
    check_bytes(field, prompt, MAX_SYSTEM_PROMPT_BYTES)?;
    let unknown = unknown_placeholders(prompt);
    if unknown.is_empty() {
        return Ok(());
    }
    let shorten = |name: &str| name.chars().take(MAX_ECHOED_CHARS).collect();
    Err(SettingsError::UnknownPlaceholders {
        names: unknown.into_iter().take(10).map(shorten).collect(),
    })
}

fn check_bytes(field: &'static str, text: &str, limit: usize) -> Result<(), SettingsError> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(RequestError::TooMuch {
        field,
        limit,
        unit: "bytes",
        found: text.len(),
    }
    .into())
}

const _: () = assert!(MAX_NAME_BYTES <= limits::MAX_NAME_BYTES);
