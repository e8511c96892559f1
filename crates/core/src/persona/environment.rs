//! Persona settings from environment variables, handed over by the caller.
//!
//! `NOX_SCALE` chooses the scale. `NOX_PERSONA_` with `NAME`, `VARIANT`, `MODEL`,
//! `PARAMETERS`, `TAGLINE`, `STRENGTHS` or `LIMITS` sets a field, and the same with
//! `_<SCALE>` behind it sets it for one scale. Blank values count as unset.

use serde_json::Value;

use super::overrides::{PersonaError, PersonaField, PersonaOverrides};

const FIELDS: [(&str, PersonaField); 7] = [
    ("NAME", PersonaField::Name),
    ("VARIANT", PersonaField::Variant),
    ("MODEL", PersonaField::Model),
    ("PARAMETERS", PersonaField::Parameters),
    ("TAGLINE", PersonaField::Tagline),
    ("STRENGTHS", PersonaField::Strengths),
    ("LIMITS", PersonaField::Limits),
];

/// What the environment says about the persona.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonaEnvironment {
    scale: Option<String>,
    overrides: PersonaOverrides,
}

impl PersonaEnvironment {
    /// Reads the variables that bear on the persona; others are passed over.
    ///
    /// # Errors
    /// A value beyond the [`persona_limits`](super::persona_limits); the error names
    /// the variable.
    pub fn from_vars<K: AsRef<str>, V: AsRef<str>>(
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, PersonaError> {
        let mut environment = Self::default();
        for (key, value) in vars {
            let (key, value) = (key.as_ref(), value.as_ref());
            if key == "NOX_SCALE" {
                environment.scale = Some(value.trim())
                    .filter(|scale| !scale.is_empty())
                    .map(str::to_owned);
            } else if let Some((field, scale)) = persona_variable(key) {
                let value = Value::from(value);
                let scale = scale.as_deref();
                environment
                    .overrides
                    .set_at(key, scale, field, &value)
                    .map(drop)?;
            }
        }
        Ok(environment)
    }

    /// The scale that `NOX_SCALE` asks for.
    pub fn scale(&self) -> Option<&str> {
        self.scale.as_deref()
    }

    /// The fields that it sets: the highest layer.
    pub fn overrides(&self) -> &PersonaOverrides {
        &self.overrides
    }
}

/// The field and the scale that a variable is about.
fn persona_variable(key: &str) -> Option<(PersonaField, Option<String>)> {
    let rest = key.strip_prefix("NOX_PERSONA_")?;
    FIELDS.into_iter().find_map(|(name, field)| {
        let suffix = rest.strip_prefix(name)?;
        match suffix.strip_prefix('_') {
            Some(scale) if !scale.is_empty() => Some((field, Some(scale.to_lowercase()))),
            None if suffix.is_empty() => Some((field, None)),
            _ => None,
        }
    })
}
