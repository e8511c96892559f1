//! Reading JSON objects strictly: every error knows the place it is about.

use serde_json::{Map, Value};

use super::ConfigError;
use super::nearest::nearest;
use crate::json::value_kind;

/// Bytes of a key that an error repeats.
const MAX_SHOWN_KEY_CHARS: usize = 64;

/// An object and where it stands.
pub(super) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// An object that has no fields but the known ones.
    pub(super) fn new(
        path: &str,
        value: &'a Value,
        known: &[&'static str],
    ) -> Result<Self, ConfigError> {
        let map = object(path, value)?;
        let fields = Self {
            path: path.to_owned(),
            map,
        };
        let mut unknown = map.keys().filter(|key| !known.contains(&key.as_str()));
        match unknown.next() {
            None => Ok(fields),
            Some(key) => Err(ConfigError::UnknownField {
                path: fields.place(key),
                nearest: nearest(key, known.iter().copied()).map(str::to_owned),
            }),
        }
    }

    /// Where a field of this object stands.
    pub(super) fn place(&self, key: &str) -> String {
        place(&self.path, key)
    }

    /// A field; `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A field that has to be there.
    pub(super) fn required(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<&'a Value, ConfigError> {
        self.get(key).ok_or_else(|| ConfigError::Missing {
            path: self.place(key),
            expected,
        })
    }

    /// A text of at most `limit` bytes that is not blank.
    pub(super) fn name(&self, key: &str, limit: usize) -> Result<Option<&'a str>, ConfigError> {
        let path = self.place(key);
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = value
            .as_str()
            .ok_or_else(|| wrong_type(&path, "a text", value))?;
        check_name(&path, text, limit)?;
        Ok(Some(text))
    }
}

/// Where a key stands in the object at `path`; a key of odd characters in quotes.
pub(super) fn place(path: &str, key: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let key = if !key.is_empty() && key.chars().all(is_plain) {
        key.chars().take(MAX_SHOWN_KEY_CHARS).collect()
    } else {
        let shown: String = key.chars().take(MAX_SHOWN_KEY_CHARS).collect();
        format!("{shown:?}")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// The entries of an object.
pub(super) fn object<'a>(
    path: &str,
    value: &'a Value,
) -> Result<&'a Map<String, Value>, ConfigError> {
    let path = if path.is_empty() {
        "runtime.json"
    } else {
        path
    };
    value
        .as_object()
        .ok_or_else(|| wrong_type(path, "an object", value))
}

/// The entries of a list.
pub(super) fn list<'a>(path: &str, value: &'a Value) -> Result<&'a [Value], ConfigError> {
    let items = value.as_array();
    items
        .map(Vec::as_slice)
        .ok_or_else(|| wrong_type(path, "a list", value))
}

/// A name is not blank, has no blanks around it, breaks no line and is not longer
/// than its cap.
pub(super) fn check_name(path: &str, name: &str, limit: usize) -> Result<(), ConfigError> {
    check_count(path, limit, "bytes", name.len())?;
    if name.trim().is_empty() {
        return Err(wrong_value(path, "it must not be blank"));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(wrong_value(
            path,
            "it must have no blanks at its ends and no control characters",
        ));
    }
    Ok(())
}

pub(super) fn check_count(
    path: &str,
    limit: usize,
    unit: &'static str,
    found: usize,
) -> Result<(), ConfigError> {
    if found <= limit {
        return Ok(());
    }
    Err(ConfigError::TooMuch {
        path: path.to_owned(),
        limit,
        unit,
        found,
    })
}

pub(super) fn wrong_value(path: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::WrongValue {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

pub(super) fn wrong_type(path: &str, expected: &'static str, value: &Value) -> ConfigError {
    ConfigError::WrongType {
        path: path.to_owned(),
        expected,
        found: value_kind(value),
    }
}
