//! `persona.*`: who the assistant is, and what the user changes about that.
//!
//! A persona is the catalogue's row, with the user's overrides over it and those of
//! the host's environment over both.

use nox_core::{
    BuiltinPersona, DEFAULT_ALIAS, FULL_CATALOG, Persona, PersonaField, PersonaOverrides,
};
use nox_protocol::{PersonaInfo, PersonaResult};
use serde_json::Value;

use crate::error::{ParamError, RuntimeError};
use crate::params::{self, Params};
use crate::runtime::Shared;
use crate::stored::{GLOBAL_SCOPE, Stored};

/// Characters of an unknown name that an error repeats.
const MAX_ECHOED_CHARS: usize = 64;

impl Shared {
    pub(super) fn persona_get(&self, params: &Params<'_>) -> Result<PersonaResult, RuntimeError> {
        let stored = self.chats.stored();
        let row = match params.optional_str("scale")? {
            Some(scale) => row_of(scale)?,
            None => self.persona_row(&stored, DEFAULT_ALIAS),
        };
        Ok(self.persona_result(row, Vec::new()))
    }

    pub(super) fn persona_set(&self, params: &Params<'_>) -> Result<PersonaResult, RuntimeError> {
        let stored = self.chats.stored();
        let default = self.persona_row(&stored, DEFAULT_ALIAS);
        let scale = match params.nullable_str("scale")? {
            None => Some(default),
            Some(None) => None,
            Some(Some(scale)) => Some(row_of(scale)?),
        };
        let (overrides, notices) = match (params.get("fields"), params.get("overrides")) {
            (Some(fields), None) => {
                let fields = fields
                    .as_object()
                    .ok_or(params::wrong("fields", "an object"))?;
                let scale = scale.map(|row| row.central_scale);
                let mut overrides = stored.overrides.clone();
                let mut notices = Vec::new();
                for (name, value) in fields {
                    let field = PersonaField::by_name(name)?;
                    overrides.set(scale, field, value)?;
                    notices.extend(self.environment_notice(scale, field));
                }
                (overrides, notices)
            }
            (None, Some(document)) => read_document(document)?,
            _ => return Err(ParamError::EitherOr("fields", "overrides").into()),
        };
        self.store_overrides(&overrides)?;
        Ok(self.persona_result(scale.unwrap_or(default), notices))
    }

    pub(super) fn persona_reset(&self, params: &Params<'_>) -> Result<PersonaResult, RuntimeError> {
        let stored = self.chats.stored();
        let scale = params.optional_str("scale")?.map(row_of).transpose()?;
        let field = params.optional_str("field")?;
        let field = field.map(PersonaField::by_name).transpose()?;
        self.reset_persona(scale, field)?;
        let row = scale.unwrap_or_else(|| self.persona_row(&stored, DEFAULT_ALIAS));
        Ok(self.persona_result(row, Vec::new()))
    }

    /// Sets one field for one scale.
    pub(super) fn set_persona_field(
        &self,
        row: &BuiltinPersona,
        field: PersonaField,
        value: &Value,
    ) -> Result<(), RuntimeError> {
        let mut overrides = self.chats.stored().overrides.clone();
        overrides.set(Some(row.central_scale), field, value)?;
        self.store_overrides(&overrides)
    }

    /// Takes back one field or all of them, for one scale or everywhere.
    pub(super) fn reset_persona(
        &self,
        scale: Option<&BuiltinPersona>,
        field: Option<PersonaField>,
    ) -> Result<(), RuntimeError> {
        let mut overrides = self.chats.stored().overrides.clone();
        match (scale, field) {
            (Some(row), field) => overrides.reset(Some(row.central_scale), field),
            (None, None) => overrides = PersonaOverrides::default(),
            (None, field) => {
                overrides.reset(None, field);
                let known = FULL_CATALOG.rows().iter().map(|row| row.central_scale);
                let unknown = overrides.unknown_scales(&FULL_CATALOG);
                let scales: Vec<String> = known.chain(unknown).map(str::to_owned).collect();
                for scale in &scales {
                    overrides.reset(Some(scale), field);
                }
            }
        }
        self.store_overrides(&overrides)
    }

    /// The persona with which an alias or a model answers, without anything set.
    pub(crate) fn persona_row(&self, stored: &Stored, name: &str) -> &'static BuiltinPersona {
        let alias = stored.runtime.alias(name);
        let scale = alias.and_then(|alias| alias.persona.as_deref());
        let model = alias.and_then(|alias| alias.routes.first()?.model.as_deref());
        let environment = &self.options.persona_environment;
        FULL_CATALOG.find(scale, environment.scale(), Some(model.unwrap_or(name)))
    }

    /// That persona with everything applied.
    pub(crate) fn persona_as_set(&self, stored: &Stored, row: &BuiltinPersona) -> Persona {
        let environment = self.options.persona_environment.overrides();
        row.resolve(&[&stored.overrides, environment])
    }

    fn persona_result(&self, row: &BuiltinPersona, notices: Vec<String>) -> PersonaResult {
        let stored = self.chats.stored();
        PersonaResult {
            persona: described(&self.persona_as_set(&stored, row)),
            builtin: described(&Persona::from(row)),
            overrides: stored.overrides.to_json(),
            scales: scales(),
            notices,
        }
    }

    fn store_overrides(&self, overrides: &PersonaOverrides) -> Result<(), RuntimeError> {
        let document = overrides.to_json();
        let scales = document.get("scales").and_then(Value::as_object);
        let scopes = scales.into_iter().flatten();
        let scopes: Vec<(&str, String)> = scopes
            .map(|(scale, fields)| (scale.as_str(), fields))
            .chain(document.get("global").map(|fields| (GLOBAL_SCOPE, fields)))
            .map(|(scope, fields)| (scope, fields.to_string()))
            .collect();
        self.chats
            .change_stored(|store| store.replace_persona(scopes))
    }

    /// The environment goes over what is set here.
    fn environment_notice(&self, scale: Option<&str>, field: PersonaField) -> Option<String> {
        let environment = self.options.persona_environment.overrides();
        let is_set = |scale| environment.get(scale, field).is_some();
        let name = field.names()[0];
        (is_set(None) || is_set(scale))
            .then(|| format!("{name} has no effect: the host's environment sets it too"))
    }
}

/// A document, or the text of one, and what in it has no effect.
fn read_document(document: &Value) -> Result<(PersonaOverrides, Vec<String>), RuntimeError> {
    let parsed = match document {
        Value::String(text) => PersonaOverrides::parse(text)?,
        Value::Object(_) => PersonaOverrides::from_json(document)?,
        _ => return Err(params::wrong("overrides", "an object, or its JSON text").into()),
    };
    let mut overrides = parsed.overrides;
    let mut notices: Vec<String> = parsed.notices.iter().map(ToString::to_string).collect();
    let unknown = overrides.unknown_scales(&FULL_CATALOG);
    let known = scales().join(", ");
    notices.extend(
        unknown
            .iter()
            .map(|scale| format!("{scale} has no effect: there is no such scale; known: {known}")),
    );
    // It would be taken for what is set for all scales.
    overrides.reset(Some(GLOBAL_SCOPE), None);
    Ok((overrides, notices))
}

fn row_of(scale: &str) -> Result<&'static BuiltinPersona, ParamError> {
    let wanted = scale.trim().to_lowercase();
    let mut rows = FULL_CATALOG.rows().iter();
    rows.find(|row| row.central_scale == wanted)
        .ok_or_else(|| ParamError::UnknownName {
            field: "scale",
            found: scale.chars().take(MAX_ECHOED_CHARS).collect(),
            known: scales(),
        })
}

fn scales() -> Vec<String> {
    let rows = FULL_CATALOG.rows().iter();
    rows.map(|row| row.central_scale.to_owned()).collect()
}

fn described(persona: &Persona) -> PersonaInfo {
    PersonaInfo {
        scale: persona.central_scale.clone(),
        central_name: persona.central_name.clone(),
        variant_name: persona.variant_name.clone(),
        model_target: persona.model_target.clone(),
        parameter_label: persona.parameter_label.clone(),
        tagline: persona.tagline.clone(),
        strengths: persona.strengths.clone(),
        limits: persona.limits.clone(),
        scale_label: persona.scale_label(),
        summary: persona.summary_line(),
    }
}
