//! What a user changes about the personas, as one checked document.
//!
//! Two shapes are read: `{"global": {…}, "scales": {"nano": {…}}}` and the flat
//! `{"nano": {…}}`, in which `global` may stand beside the scales. Fields have
//! short names too (`name` for `central_name`), lists may be written as text.
//! A value that can't be meant is refused with its place in the document; what is
//! merely unknown is left out and told in a [`PersonaNotice`].

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Catalog, Persona};
use crate::json::value_kind;

/// Files in which overrides are looked for when none is named, best first.
pub const OVERRIDE_FILES: [&str; 3] = [
    "config/persona.overrides.json",
    "persona.override.json",
    "persona.overrides.json",
];

/// Caps on what overrides may hold.
pub mod persona_limits {
    /// Bytes of a document.
    pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
    /// Scales with overrides of their own.
    pub const MAX_SCALES: usize = 256;
    /// Bytes of a scale's name.
    pub const MAX_SCALE_BYTES: usize = 64;
    /// Bytes of a text.
    pub const MAX_TEXT_BYTES: usize = 4096;
    /// Items of a list.
    pub const MAX_LIST_ITEMS: usize = 64;
}

use persona_limits::{
    MAX_DOCUMENT_BYTES, MAX_LIST_ITEMS, MAX_SCALE_BYTES, MAX_SCALES, MAX_TEXT_BYTES,
};

/// Why overrides are refused. The texts are for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersonaError {
    /// The document is no JSON.
    #[error("persona overrides are not valid JSON ({reason}); correct the file or remove it")]
    NotJson {
        /// What the JSON parser says, with line and column.
        reason: String,
    },
    /// The document is too large.
    #[error("persona overrides may have at most {limit} bytes, not {found}; shorten them")]
    DocumentTooLarge {
        /// The cap.
        limit: usize,
        /// The document's size.
        found: usize,
    },
    /// A field holds a value of a kind that it can't have.
    #[error("{path} must be {expected}, not {found}; correct it or remove it")]
    WrongType {
        /// The field's place, such as `scales.nano.name`.
        path: String,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Something is longer than its cap.
    #[error("{path} may have at most {limit} {unit}, not {found}; shorten it")]
    TooMuch {
        /// The field's place.
        path: String,
        /// The cap.
        limit: usize,
        /// Of what.
        unit: &'static str,
        /// How many there are.
        found: usize,
    },
    /// There is no such field.
    #[error(
        "{field} is no field of a persona; use name, variant, model, parameters, tagline, \
         strengths or limits"
    )]
    UnknownField {
        /// What was asked for.
        field: String,
    },
    /// A scale's name is blank.
    #[error("the scale must have a name; leave it out to mean all scales")]
    BlankScale,
}

/// A part of a document that has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersonaNotice {
    /// Only objects say anything here.
    #[error("{path} is ignored: it must be an object, not {found}")]
    NotAnObject {
        /// Its place; `document` for the whole.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A field that personas don't have.
    #[error("{path} is ignored: a persona has no such field")]
    UnknownField {
        /// Its place.
        path: String,
    },
    /// A field of a persona outside of `global` and the scales.
    #[error("{path} is ignored: put it under \"global\" or under a scale")]
    FieldAtTopLevel {
        /// Its name.
        path: String,
    },
    /// A key beside `global` and `scales`.
    #[error("{path} is ignored: beside \"scales\" only \"global\" is read")]
    BesideScales {
        /// Its name.
        path: String,
    },
    /// `global` where `scales` is there but no object.
    #[error("global is ignored: \"scales\" must be an object; remove it or write {{}}")]
    GlobalWithoutScales,
    /// A scale with a blank name.
    #[error("{path} is ignored: a scale must have a name")]
    BlankScale {
        /// Its place.
        path: String,
    },
}

/// A field of a persona that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PersonaField {
    /// What the assistant calls itself.
    Name,
    /// The variant that it belongs to.
    Variant,
    /// The model that it is made for.
    Model,
    /// How large that model is, in words.
    Parameters,
    /// One sentence about it.
    Tagline,
    /// What it is good at.
    Strengths,
    /// What it is not good at.
    Limits,
}

impl PersonaField {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Name,
        Self::Variant,
        Self::Model,
        Self::Parameters,
        Self::Tagline,
        Self::Strengths,
        Self::Limits,
    ];

    /// The names under which it is read, the one that is written first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Name => &["central_name", "name"],
            Self::Variant => &["variant_name", "variant"],
            Self::Model => &["model_target", "model"],
            Self::Parameters => &["parameter_label", "parameters", "parameter"],
            Self::Tagline => &["tagline", "motto", "summary"],
            Self::Strengths => &["strengths", "strength"],
            Self::Limits => &["limits", "limitations", "weaknesses"],
        }
    }

    /// The field with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn by_name(name: &str) -> Result<Self, PersonaError> {
        let mut all = Self::ALL.into_iter();
        all.find(|field| field.names().contains(&name))
            .ok_or_else(|| PersonaError::UnknownField {
                field: name.chars().take(MAX_SCALE_BYTES).collect(),
            })
    }
}

/// What a field is set to, borrowed from the overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonaValue<'a> {
    /// A text without blanks around it, never empty.
    Text(&'a str),
    /// Such texts, at least one.
    List(&'a [String]),
}

impl From<PersonaValue<'_>> for Value {
    fn from(value: PersonaValue<'_>) -> Self {
        match value {
            PersonaValue::Text(text) => text.into(),
            PersonaValue::List(items) => items.into(),
        }
    }
}

/// The fields that one layer sets for one scale, or for all. Texts are trimmed and
/// never empty, lists hold at least one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PersonaFields {
    name: Option<String>,
    variant: Option<String>,
    model: Option<String>,
    parameters: Option<String>,
    tagline: Option<String>,
    strengths: Option<Vec<String>>,
    limits: Option<Vec<String>>,
}

impl PersonaFields {
    fn get(&self, field: PersonaField) -> Option<PersonaValue<'_>> {
        fn text(text: &Option<String>) -> Option<PersonaValue<'_>> {
            text.as_deref().map(PersonaValue::Text)
        }
        fn list(items: &Option<Vec<String>>) -> Option<PersonaValue<'_>> {
            items.as_deref().map(PersonaValue::List)
        }
        match field {
            PersonaField::Name => text(&self.name),
            PersonaField::Variant => text(&self.variant),
            PersonaField::Model => text(&self.model),
            PersonaField::Parameters => text(&self.parameters),
            PersonaField::Tagline => text(&self.tagline),
            PersonaField::Strengths => list(&self.strengths),
            PersonaField::Limits => list(&self.limits),
        }
    }

    /// Sets a field; a value that says nothing leaves it as it is. Tells whether
    /// the value said something.
    fn set(
        &mut self,
        path: &str,
        field: PersonaField,
        value: &Value,
    ) -> Result<bool, PersonaError> {
        fn put<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
            let says_something = value.is_some();
            if says_something {
                *slot = value;
            }
            says_something
        }
        Ok(match field {
            PersonaField::Name => put(&mut self.name, read_text(path, value)?),
            PersonaField::Variant => put(&mut self.variant, read_text(path, value)?),
            PersonaField::Model => put(&mut self.model, read_text(path, value)?),
            PersonaField::Parameters => put(&mut self.parameters, read_text(path, value)?),
            PersonaField::Tagline => put(&mut self.tagline, read_text(path, value)?),
            PersonaField::Strengths => put(&mut self.strengths, read_list(path, value)?),
            PersonaField::Limits => put(&mut self.limits, read_list(path, value)?),
        })
    }

    fn clear(&mut self, field: PersonaField) {
        match field {
            PersonaField::Name => self.name = None,
            PersonaField::Variant => self.variant = None,
            PersonaField::Model => self.model = None,
            PersonaField::Parameters => self.parameters = None,
            PersonaField::Tagline => self.tagline = None,
            PersonaField::Strengths => self.strengths = None,
            PersonaField::Limits => self.limits = None,
        }
    }

    fn apply(&self, persona: &mut Persona) {
        fn put<T: Clone>(slot: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                slot.clone_from(value);
            }
        }
        put(&mut persona.central_name, self.name.as_ref());
        put(&mut persona.variant_name, self.variant.as_ref());
        put(&mut persona.model_target, self.model.as_ref());
        put(&mut persona.parameter_label, self.parameters.as_ref());
        put(&mut persona.tagline, self.tagline.as_ref());
        put(&mut persona.strengths, self.strengths.as_ref());
        put(&mut persona.limits, self.limits.as_ref());
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn to_json(&self) -> Value {
        let set = PersonaField::ALL.into_iter().filter_map(|field| {
            let value = self.get(field)?;
            Some((field.names()[0].to_owned(), value.into()))
        });
        Value::Object(set.collect())
    }

    fn parse(
        path: &str,
        fields: &Map<String, Value>,
        notices: &mut Vec<PersonaNotice>,
    ) -> Result<Self, PersonaError> {
        let mut parsed = Self::default();
        for field in PersonaField::ALL {
            // The first name that says something wins.
            for name in field.names() {
                let Some(value) = fields.get(*name) else {
                    continue;
                };
                if parsed.set(&format!("{path}.{name}"), field, value)? {
                    break;
                }
            }
        }
        let unknown = fields
            .keys()
            .filter(|name| PersonaField::by_name(name).is_err())
            .map(|name| PersonaNotice::UnknownField {
                path: place(path, name),
            });
        notices.extend(unknown);
        Ok(parsed)
    }
}

/// A document as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedOverrides {
    /// What it sets.
    pub overrides: PersonaOverrides,
    /// What in it has no effect, to be shown to its author.
    pub notices: Vec<PersonaNotice>,
}

/// One layer of overrides: fields for all scales and for single ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonaOverrides {
    global: PersonaFields,
    /// By lower-case scale; none of them empty.
    scales: BTreeMap<String, PersonaFields>,
}

impl PersonaOverrides {
    /// Reads a document from its text.
    ///
    /// # Errors
    /// It is no JSON, too large, or a field holds a value that it can't have.
    pub fn parse(text: &str) -> Result<ParsedOverrides, PersonaError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(PersonaError::DocumentTooLarge {
                limit: MAX_DOCUMENT_BYTES,
                found: text.len(),
            });
        }
        // Editors of some systems put a byte order mark in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = serde_json::from_str(text).map_err(|error| PersonaError::NotJson {
            reason: error.to_string(),
        })?;
        Self::from_json(&document)
    }

    /// Reads a document that is JSON already, such as [`to_json`](Self::to_json)
    /// gives.
    ///
    /// # Errors
    /// A field holds a value that it can't have, or more than its cap.
    pub fn from_json(document: &Value) -> Result<ParsedOverrides, PersonaError> {
        let mut parsed = ParsedOverrides::default();
        let Some(document) = document.as_object() else {
            parsed.notices.push(PersonaNotice::NotAnObject {
                path: "document".to_owned(),
                found: value_kind(document),
            });
            return Ok(parsed);
        };
        let scales = document.get("scales");
        if let Some(scales) = scales.and_then(Value::as_object) {
            for (key, value) in document {
                match key.as_str() {
                    "scales" => {}
                    "global" => parsed.read_global(value)?,
                    _ => parsed.notices.push(PersonaNotice::BesideScales {
                        path: place("", key),
                    }),
                }
            }
            for (scale, value) in scales {
                parsed.read_scale("scales", scale, value)?;
            }
            return Ok(parsed);
        }
        for (key, value) in document {
            match key.as_str() {
                "global" if scales.is_some() => {
                    parsed.notices.push(PersonaNotice::GlobalWithoutScales);
                }
                "global" => parsed.read_global(value)?,
                name if !value.is_object() && PersonaField::by_name(name).is_ok() => {
                    parsed.notices.push(PersonaNotice::FieldAtTopLevel {
                        path: name.to_owned(),
                    });
                }
                scale => parsed.read_scale("", scale, value)?,
            }
        }
        Ok(parsed)
    }

    /// The document that gives these overrides when it is read: for keeping them
    /// and for an editor.
    pub fn to_json(&self) -> Value {
        let scales: Map<String, Value> = self
            .scales
            .iter()
            .map(|(scale, fields)| (scale.clone(), fields.to_json()))
            .collect();
        let mut document = Map::new();
        document.insert("global".to_owned(), self.global.to_json());
        document.insert("scales".to_owned(), Value::Object(scales));
        Value::Object(document)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.global.is_empty() && self.scales.is_empty()
    }

    /// What a field is set to for one scale, or for all where `scale` is `None`.
    pub fn get(&self, scale: Option<&str>, field: PersonaField) -> Option<PersonaValue<'_>> {
        match scale {
            None => self.global.get(field),
            Some(scale) => self.scales.get(&scale_key(scale))?.get(field),
        }
    }

    /// Sets a field for one scale, or for all where `scale` is `None`. A value that
    /// says nothing (`null`, blanks, an empty list) resets it.
    ///
    /// # Errors
    /// The value is of a kind that the field can't have, or beyond a cap; nothing
    /// is changed then.
    pub fn set(
        &mut self,
        scale: Option<&str>,
        field: PersonaField,
        value: &Value,
    ) -> Result<(), PersonaError> {
        let name = field.names()[0];
        let path = match scale {
            None => format!("global.{name}"),
            Some(scale) => format!("{}.{name}", place("scales", scale)),
        };
        if !self.set_at(&path, scale, field, value)? {
            self.reset(scale, Some(field));
        }
        Ok(())
    }

    /// Takes back one field, or all of them where `field` is `None`, for one scale,
    /// or those for all scales where `scale` is `None`.
    pub fn reset(&mut self, scale: Option<&str>, field: Option<PersonaField>) {
        let key = scale.map(scale_key);
        let fields = match &key {
            None => Some(&mut self.global),
            Some(key) => self.scales.get_mut(key),
        };
        let Some(fields) = fields else { return };
        match field {
            Some(field) => fields.clear(field),
            None => *fields = PersonaFields::default(),
        }
        self.scales.retain(|_, fields| !fields.is_empty());
    }

    /// Scales with overrides that `catalog` has no persona for, so that a user can
    /// be told of a misspelt one.
    pub fn unknown_scales(&self, catalog: &Catalog) -> Vec<&str> {
        let is_known = |scale: &str| catalog.rows().iter().any(|row| row.central_scale == scale);
        let scales = self.scales.keys().map(String::as_str);
        scales.filter(|scale| !is_known(scale)).collect()
    }

    pub(super) fn apply(&self, persona: &mut Persona) {
        self.global.apply(persona);
        if let Some(fields) = self.scales.get(&persona.central_scale) {
            fields.apply(persona);
        }
    }

    /// Sets a field that stands at `path`, and tells whether the value said
    /// something; if not, nothing is changed.
    pub(super) fn set_at(
        &mut self,
        path: &str,
        scale: Option<&str>,
        field: PersonaField,
        value: &Value,
    ) -> Result<bool, PersonaError> {
        let Some(scale) = scale else {
            return self.global.set(path, field, value);
        };
        let key = scale_key(scale);
        let mut fields = self.scales.get(&key).cloned().unwrap_or_default();
        let says_something = fields.set(path, field, value)?;
        if says_something {
            self.insert(key, fields)?;
        }
        Ok(says_something)
    }

    fn insert(&mut self, key: String, fields: PersonaFields) -> Result<(), PersonaError> {
        if key.is_empty() {
            return Err(PersonaError::BlankScale);
        }
        let is_new = !self.scales.contains_key(&key);
        let n_scales = self.scales.len() + usize::from(is_new);
        if n_scales > MAX_SCALES {
            return Err(too_much("scales", MAX_SCALES, "scales", n_scales));
        }
        if key.len() > MAX_SCALE_BYTES {
            let path = place("scales", &key);
            return Err(too_much(&path, MAX_SCALE_BYTES, "bytes of name", key.len()));
        }
        self.scales.insert(key, fields);
        Ok(())
    }
}

impl ParsedOverrides {
    fn read_global(&mut self, value: &Value) -> Result<(), PersonaError> {
        if let Some(fields) = self.read_object("global", value) {
            self.overrides.global = PersonaFields::parse("global", fields, &mut self.notices)?;
        }
        Ok(())
    }

    fn read_scale(&mut self, parent: &str, scale: &str, value: &Value) -> Result<(), PersonaError> {
        let path = place(parent, scale);
        let Some(fields) = self.read_object(&path, value) else {
            return Ok(());
        };
        let key = scale_key(scale);
        if key.is_empty() {
            self.notices.push(PersonaNotice::BlankScale { path });
            return Ok(());
        }
        let fields = PersonaFields::parse(&path, fields, &mut self.notices)?;
        if fields.is_empty() {
            return Ok(());
        }
        self.overrides.insert(key, fields)
    }

    fn read_object<'a>(&mut self, path: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        // `null` says that there is nothing.
        if value.as_object().is_none() && !value.is_null() {
            self.notices.push(PersonaNotice::NotAnObject {
                path: path.to_owned(),
                found: value_kind(value),
            });
        }
        value.as_object()
    }
}

fn read_text(path: &str, value: &Value) -> Result<Option<String>, PersonaError> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err(wrong_type(path, "a text", value)),
    };
    if text.len() > MAX_TEXT_BYTES {
        return Err(too_much(path, MAX_TEXT_BYTES, "bytes", text.len()));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A list, or a text that is one: items between `|`, commas or line ends, each
/// with or without a hyphen in front.
fn read_list(path: &str, value: &Value) -> Result<Option<Vec<String>>, PersonaError> {
    let mut items = Vec::new();
    match value {
        Value::Array(values) => {
            for (idx, value) in values.iter().enumerate() {
                let item = read_text(&format!("{path}[{idx}]"), value)?;
                items.extend(item);
            }
        }
        Value::String(text) => {
            for item in text.split(['|', ',', '\n']) {
                let item = item.trim().trim_start_matches('-').trim_start();
                items.extend(read_text(path, &item.into())?);
            }
        }
        Value::Null | Value::Number(_) => items.extend(read_text(path, value)?),
        _ => return Err(wrong_type(path, "a text or a list of texts", value)),
    }
    if items.len() > MAX_LIST_ITEMS {
        return Err(too_much(path, MAX_LIST_ITEMS, "items", items.len()));
    }
    Ok(Some(items).filter(|items| !items.is_empty()))
}

fn scale_key(scale: &str) -> String {
    scale.trim().to_lowercase()
}

/// A key's place below `parent`, cut to what a message can show.
fn place(parent: &str, key: &str) -> String {
    let key: String = key.chars().take(MAX_SCALE_BYTES).collect();
    if parent.is_empty() {
        key
    } else {
        format!("{parent}.{key}")
    }
}

fn wrong_type(path: &str, expected: &'static str, value: &Value) -> PersonaError {
    PersonaError::WrongType {
        path: path.to_owned(),
        expected,
        found: value_kind(value),
    }
}

fn too_much(path: &str, limit: usize, unit: &'static str, found: usize) -> PersonaError {
    PersonaError::TooMuch {
        path: path.to_owned(),
        limit,
        unit,
        found,
    }
}
