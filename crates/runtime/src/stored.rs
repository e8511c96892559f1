//! What the database holds beside chats: the user's settings, the routing
//! configuration, the persona's overrides, and who the user is. Read when the
//! database is opened and after each change, so that a chat reads them from memory.

use nox_core::{PersonaOverrides, RuntimeConfig, Settings};
use nox_store::{Store, StoreError, UserId};
use serde_json::{Map, Value, json};

/// Keys of the settings' table.
pub(crate) const SETTINGS_KEY: &str = "settings";
pub(crate) const RUNTIME_KEY: &str = "runtime";
pub(crate) const USER_KEY: &str = "user";
/// The scope of persona overrides that are for all scales.
pub(crate) const GLOBAL_SCOPE: &str = "global";

/// The user of new chats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CurrentUser {
    pub(crate) id: UserId,
    /// What they are called.
    pub(crate) display: String,
}

/// Everything at once. The default is what a new database holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) settings: Settings,
    pub(crate) runtime: RuntimeConfig,
    /// The document that `runtime` was read from, where it is the user's own.
    pub(crate) runtime_document: Option<Value>,
    pub(crate) overrides: PersonaOverrides,
    pub(crate) user: CurrentUser,
}

impl Stored {
    /// Reads everything. What can't be read counts as not set, and is told in words.
    pub(crate) fn read(store: &Store) -> Result<(Self, Vec<String>), StoreError> {
        let mut problems = Vec::new();
        let settings = store.setting(SETTINGS_KEY)?;
        let settings = settings.map(|text| read_settings(&text, &mut problems));
        let runtime = store.setting(RUNTIME_KEY)?.and_then(|text| {
            let document: Option<Value> = serde_json::from_str(&text).ok();
            match RuntimeConfig::parse(&text) {
                Ok(runtime) => Some((runtime, document)),
                Err(error) => {
                    problems.push(format!("The stored routing can't be used: {error}."));
                    None
                }
            }
        });
        let (runtime, runtime_document) = runtime.unwrap_or_default();
        let overrides = read_overrides(store)?;
        let overrides = overrides.unwrap_or_else(|problem| {
            problems.push(problem);
            PersonaOverrides::default()
        });
        let stored = Self {
            settings: settings.unwrap_or_default(),
            runtime,
            runtime_document,
            overrides,
            user: read_user(store)?,
        };
        Ok((stored, problems))
    }

    /// What is in force while another has the database and may change what is in
    /// it: nothing that this was the last to know, except that personal data stays
    /// out of sight.
    pub(crate) fn without_database(&self) -> Self {
        let fields = self.settings.fields().iter();
        let kept = fields.filter(|(name, _)| *name == "sanitize");
        let (settings, _) = Settings::from_stored(kept.map(|(name, value)| (name.as_str(), value)));
        Self {
            settings,
            ..Self::default()
        }
    }

    /// `runtime.json` as it is in force.
    pub(crate) fn runtime_json(&self) -> Value {
        self.runtime_document
            .clone()
            .unwrap_or_else(default_runtime_json)
    }
}

/// The document that gives [`RuntimeConfig::default`].
fn default_runtime_json() -> Value {
    json!({
        "version": 1,
        "backends": {"local": {"kind": "local"}},
        "aliases": {"nox": {"routes": [{"backend": "local"}]}},
    })
}

fn read_settings(text: &str, problems: &mut Vec<String>) -> Settings {
    let fields: Map<String, Value> = serde_json::from_str(text).unwrap_or_else(|error| {
        problems.push(format!("The stored settings can't be read: {error}."));
        Map::new()
    });
    let (settings, errors) =
        Settings::from_stored(fields.iter().map(|(name, value)| (name.as_str(), value)));
    let left_out = |error| format!("A stored setting is left out: {error}.");
    problems.extend(errors.into_iter().map(left_out));
    settings
}

fn read_overrides(store: &Store) -> Result<Result<PersonaOverrides, String>, StoreError> {
    let mut document = Map::new();
    let mut scales = Map::new();
    for (scope, fields) in store.persona_overrides()? {
        let fields = serde_json::from_str(&fields).unwrap_or(Value::Null);
        if scope == GLOBAL_SCOPE {
            document.insert(scope, fields);
        } else {
            scales.insert(scope, fields);
        }
    }
    document.insert("scales".to_owned(), scales.into());
    Ok(
        match PersonaOverrides::from_json(&Value::Object(document)) {
            Ok(parsed) => Ok(parsed.overrides),
            Err(error) => Err(format!("The stored persona can't be used: {error}.")),
        },
    )
}

fn read_user(store: &Store) -> Result<CurrentUser, StoreError> {
    let wanted = store.setting(USER_KEY)?;
    let users = store.users()?;
    let is_meant = |id: &UserId| match &wanted {
        Some(wanted) => id.as_str() == wanted,
        None => id.as_str() == UserId::DEFAULT,
    };
    let found = users.into_iter().find(|user| is_meant(&user.id));
    Ok(found.map_or_else(CurrentUser::default, |user| CurrentUser {
        id: user.id,
        display: user.display,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_document_is_the_default_configuration() {
        let read = RuntimeConfig::from_json(&default_runtime_json());
        assert_eq!(read.ok(), Some(RuntimeConfig::default()));
    }
}
