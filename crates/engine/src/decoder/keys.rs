//! A family's metadata keys, read with caps.
//!
//! Every number that a file names is checked against a cap here, before anything
//! is computed or allocated from it. This module does not know what the keys mean.

use std::fmt;

use super::error::ModelError;
use crate::gguf::{Array, Metadata, OptionalKey as _, Value};

/// A family's keys: `llama.block_count` is `block_count` here.
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'static str,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(metadata: &'a Metadata, architecture: &'static str) -> Self {
        Self {
            metadata,
            architecture,
        }
    }

    pub(crate) fn architecture(&self) -> &'static str {
        self.architecture
    }

    pub(crate) fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(crate) fn out_of_range(
        &self,
        key: &str,
        found: &dyn fmt::Display,
        expected: String,
    ) -> ModelError {
        ModelError::OutOfRange {
            key: self.full(key),
            found: found.to_string(),
            expected,
        }
    }

    pub(crate) fn unsupported(
        &self,
        key: &str,
        found: &dyn fmt::Display,
        supported: &'static str,
    ) -> ModelError {
        ModelError::UnsupportedFeature {
            key: self.full(key),
            found: found.to_string(),
            supported,
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.metadata.get(&self.full(key))
    }

    /// A number from 1 to `cap`.
    pub(crate) fn count(&self, key: &str, cap: usize) -> Result<usize, ModelError> {
        self.number(key, 1, cap)
    }

    /// A number from 1 to `cap`, if the key is there.
    pub(crate) fn optional_count(
        &self,
        key: &str,
        cap: usize,
    ) -> Result<Option<usize>, ModelError> {
        self.get(key).map(|_| self.count(key, cap)).transpose()
    }

    /// A number from 0 to `cap`; `None` for a missing key, and for 0, by which some
    /// writers say "none".
    pub(crate) fn count_or_zero(&self, key: &str, cap: usize) -> Result<Option<usize>, ModelError> {
        let found = self
            .get(key)
            .map(|_| self.number(key, 0, cap))
            .transpose()?;
        Ok(found.filter(|&found| found > 0))
    }

    /// One number from 1 to `cap` for all layers: given once, or for each alike.
    pub(crate) fn uniform_count(
        &self,
        key: &str,
        cap: usize,
        n_layer: usize,
    ) -> Result<usize, ModelError> {
        let per_layer = self.count_per_layer(key, cap, n_layer)?;
        let first = per_layer[0];
        if per_layer.iter().any(|&other| other != first) {
            return Err(self.unsupported(
                key,
                &"an array of different numbers",
                "the same number for every layer",
            ));
        }
        if first == 0 {
            return Err(self.out_of_range(key, &first, format!("between 1 and {cap}")));
        }
        Ok(first)
    }

    /// Numbers from 0 to `cap`, one for each of the layers: an array, or one for all.
    pub(crate) fn count_per_layer(
        &self,
        key: &str,
        cap: usize,
        n_layer: usize,
    ) -> Result<Vec<usize>, ModelError> {
        let Some(Value::Array(_)) = self.get(key) else {
            return Ok(vec![self.number(key, 0, cap)?; n_layer]);
        };
        let numbers = self.metadata.u32_array(&self.full(key))?;
        if numbers.len() != n_layer {
            return Err(self.out_of_range(
                key,
                &format!("an array of {}", numbers.len()),
                format!("a number, or an array of one for each of the {n_layer} layers"),
            ));
        }
        match numbers.iter().find(|&&number| number as usize > cap) {
            Some(found) => Err(self.out_of_range(key, found, format!("at most {cap}"))),
            None => Ok(numbers.iter().map(|&number| number as usize).collect()),
        }
    }

    /// `true` or `false` for each of the layers, if the key has an array.
    pub(crate) fn flags_per_layer(
        &self,
        key: &str,
        n_layer: usize,
    ) -> Result<Option<Vec<bool>>, ModelError> {
        let flags = match self.get(key) {
            Some(Value::Array(Array::Bool(flags))) => flags.clone(),
            Some(Value::Array(_)) => self
                .metadata
                .u32_array(&self.full(key))?
                .iter()
                .map(|&flag| flag != 0)
                .collect(),
            _ => return Ok(None),
        };
        if flags.len() != n_layer {
            return Err(self.out_of_range(
                key,
                &format!("an array of {}", flags.len()),
                format!("an array of one for each of the {n_layer} layers"),
            ));
        }
        Ok(Some(flags))
    }

    pub(crate) fn bool_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        let found = self.metadata.bool(&self.full(key)).optional()?;
        Ok(found.unwrap_or(default))
    }

    pub(crate) fn optional_str(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        Ok(self.metadata.str(&self.full(key)).optional()?)
    }

    pub(crate) fn positive_f32(&self, key: &str) -> Result<f32, ModelError> {
        self.f32_between(key, f32::MIN_POSITIVE, f32::MAX)
    }

    /// A number from `min` to `max`, neither infinite nor no number.
    pub(crate) fn f32_between(&self, key: &str, min: f32, max: f32) -> Result<f32, ModelError> {
        let found = self.metadata.f32(&self.full(key))?;
        if (min..=max).contains(&found) {
            return Ok(found);
        }
        let expected = match (min, max) {
            (f32::MIN_POSITIVE, f32::MAX) => "positive and finite".to_owned(),
            _ => format!("between {min:e} and {max:e}"),
        };
        Err(self.out_of_range(key, &found, expected))
    }

    pub(crate) fn optional_f32_between(
        &self,
        key: &str,
        min: f32,
        max: f32,
    ) -> Result<Option<f32>, ModelError> {
        self.get(key)
            .map(|_| self.f32_between(key, min, max))
            .transpose()
    }

    fn number(&self, key: &str, min: usize, cap: usize) -> Result<usize, ModelError> {
        let found = self.metadata.u32(&self.full(key))? as usize;
        if (min..=cap).contains(&found) {
            Ok(found)
        } else {
            Err(self.out_of_range(key, &found, format!("between {min} and {cap}")))
        }
    }
}
