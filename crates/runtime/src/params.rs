//! Reads the fields of a method's params, and says which field is wrong.

use nox_protocol::Id;
use serde_json::{Map, Value};

use crate::error::ParamError;

/// The params of a call: an object, or nothing at all.
pub(crate) struct Params<'a> {
    fields: Option<&'a Map<String, Value>>,
}

impl<'a> Params<'a> {
    pub(crate) fn new(params: Option<&'a Value>) -> Result<Self, ParamError> {
        match params {
            None | Some(Value::Null) => Ok(Self { fields: None }),
            Some(Value::Object(fields)) => Ok(Self {
                fields: Some(fields),
            }),
            Some(_) => Err(ParamError::NotAnObject),
        }
    }

    /// The field's value; `null` counts as absent.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields?.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn optional_str(&self, field: &'static str) -> Result<Option<&'a str>, ParamError> {
        let value = self.get(field);
        value
            .map(|value| value.as_str().ok_or(wrong(field, "a string")))
            .transpose()
    }

    pub(crate) fn str(&self, field: &'static str) -> Result<&'a str, ParamError> {
        self.optional_str(field)?
            .ok_or(ParamError::Missing { field })
    }

    pub(crate) fn optional_bool(&self, field: &'static str) -> Result<Option<bool>, ParamError> {
        let value = self.get(field);
        value
            .map(|value| value.as_bool().ok_or(wrong(field, "true or false")))
            .transpose()
    }

    /// A text where `null` says something else than nothing at all does.
    pub(crate) fn nullable_str(
        &self,
        field: &'static str,
    ) -> Result<Option<Option<&'a str>>, ParamError> {
        match self.present(field) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(_) => Err(wrong(field, "a string or null")),
        }
    }

    /// The field's value, `null` too.
    pub(crate) fn present(&self, field: &str) -> Option<&'a Value> {
        self.fields?.get(field)
    }

    /// A list of texts.
    pub(crate) fn optional_strs(
        &self,
        field: &'static str,
    ) -> Result<Option<Vec<&'a str>>, ParamError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let texts = value
            .as_array()
            .and_then(|items| items.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or(wrong(field, "a list of strings"))
    }

    pub(crate) fn optional_i64(&self, field: &'static str) -> Result<Option<i64>, ParamError> {
        let whole = |value: &Value| {
            let magnitude = whole_number(value).and_then(|number| i64::try_from(number).ok());
            value.as_i64().or(magnitude)
        };
        self.get(field)
            .map(|value| whole(value).ok_or(wrong(field, "a whole number")))
            .transpose()
    }

    /// How many entries to give: at least one, and no more than a page holds.
    pub(crate) fn page_limit(&self, default: usize) -> Result<usize, ParamError> {
        const MAX: u64 = nox_store::limits::PAGE_ENTRIES as u64;
        match self.optional_u64("limit")? {
            None => Ok(default),
            Some(limit @ 1..=MAX) => Ok(usize::try_from(limit).unwrap_or(default)),
            Some(found) => Err(ParamError::OutOfRange {
                field: "limit",
                min: 1,
                max: MAX,
                found,
            }),
        }
    }

    pub(crate) fn optional_u64(&self, field: &'static str) -> Result<Option<u64>, ParamError> {
        let value = self.get(field);
        value
            .map(|value| whole_number(value).ok_or(wrong(field, "a whole number")))
            .transpose()
    }
}

pub(crate) fn wrong(field: &'static str, expected: &'static str) -> ParamError {
    ParamError::WrongType { field, expected }
}

/// JavaScript has one kind of number, so `4.0` is as whole as `4`.
fn whole_number(value: &Value) -> Option<u64> {
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let is_whole = number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(&number);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked on the line above"
        )]
        is_whole.then_some(number as u64)
    })
}

/// A call's id as JSON-RPC allows it: a whole number or a string.
pub(crate) fn id(value: &Value) -> Option<Id> {
    match value {
        Value::String(text) => Some(Id::Text(text.clone())),
        Value::Number(number) => number
            .as_i64()
            .or_else(|| whole_number(value).and_then(|number| i64::try_from(number).ok()))
            .map(Id::Number),
        _ => None,
    }
}
