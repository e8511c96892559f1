//! Names of models: a grammar so narrow that a name is safe as a file name everywhere.

use std::fmt;

/// The most bytes of an id.
const MAX_ID_BYTES: usize = 64;

/// A model's id: 1 to 64 characters of `a-z`, `0-9`, `.`, `_` and `-`, the first
/// one a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(String);

/// A text that is no model id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no model id: 1 to 64 characters of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
)]
pub struct InvalidModelId {
    /// The text, cut to a length that fits a message.
    pub found: String,
}

impl ModelId {
    /// Takes `text` as it is.
    ///
    /// # Errors
    /// It does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, InvalidModelId> {
        let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_id = (1..=MAX_ID_BYTES).contains(&text.len())
            && text.bytes().take(1).all(is_alphanumeric)
            && text
                .bytes()
                .all(|byte| is_alphanumeric(byte) || b"._-".contains(&byte));
        if is_id {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidModelId {
                found: text.chars().take(MAX_ID_BYTES).collect(),
            })
        }
    }

    /// An id made from a file's name: without folders and `.gguf`, in lower case,
    /// every run of other characters a hyphen. `None` when nothing is left.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let name = name.rsplit(['/', '\\']).next()?.to_lowercase();
        let stem = name.strip_suffix(".gguf").unwrap_or(&name);
        let mut id = String::new();
        for c in stem.chars() {
            if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
                id.push(c);
            } else if !id.ends_with('-') {
                id.push('-');
            }
        }
        let id = id.trim_start_matches(['.', '_', '-']);
        let id = id
            .get(..MAX_ID_BYTES)
            .unwrap_or(id)
            .trim_end_matches(['.', '-']);
        Self::parse(id).ok()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_grammar() {
        for text in ["a", "0", "qwen2.5-0.5b-instruct_q4_k_m", &"x".repeat(64)] {
            assert_eq!(ModelId::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "A",
            "a b",
            "a/b",
            "a\\b",
            "../a",
            "é",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(ModelId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn file_names_become_ids() {
        for (name, id) in [
            (
                "Qwen2.5-0.5B-Instruct-Q4_K_M.gguf",
                "qwen2.5-0.5b-instruct-q4_k_m",
            ),
            ("C:\\models\\My Model (1).GGUF", "my-model-1"),
            ("/a/b/..hidden.gguf", "hidden"),
        ] {
            let made = ModelId::from_file_name(name).unwrap();
            assert_eq!(made.as_str(), id);
        }
        assert_eq!(ModelId::from_file_name("模型.gguf"), None);
        assert_eq!(ModelId::from_file_name(""), None);
        let long = ModelId::from_file_name(&"x-".repeat(100)).unwrap();
        assert_eq!(long.as_str().len(), 63);
    }
}
