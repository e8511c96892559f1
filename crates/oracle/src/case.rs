//! One recorded call.

use serde_json::Value;

pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) call: String,
    pub(crate) input: Value,
    pub(crate) output: Value,
    /// What the recorded call raised.
    pub(crate) error: Option<String>,
    /// Why the recorded behaviour is wrong, where it is.
    pub(crate) defect: Option<String>,
}

impl Case {
    /// Reads a line of a recording.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn read(line: &str) -> Result<Self, String> {
        let mut row: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let needed = |key: &str| text(key).ok_or_else(|| format!("{key} is missing"));
        Ok(Self {
            id: needed("id")?,
            call: needed("call")?,
            error: text("error"),
            defect: text("defect"),
            input: row["input"].take(),
            output: row["output"].take(),
        })
    }
}

/// A field that is a text; the empty one for anything else.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
