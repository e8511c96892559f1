//! Names of models: a grammar so narrow that a name is safe as a file name everywhere.

use std::fmt;

/// The most bytes of an id.
const MAX_ID_BYTES: usize = 64;

/// A model's id: 1 to 64 characters of `a-z`, `0-9`, `.`, `_` and `-`, the first
/// one a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(String);

/// What the id of a file says that is a part of a split model: `<set>-00002-of-00003`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartName {
    /// The model's id.
    pub(crate) set: ModelId,
    /// The number, from 1.
    pub(crate) part: usize,
    /// How many there are, 2 or more.
    pub(crate) count: usize,
}

/// The bytes of `-00002-of-00003`.
const PART_SUFFIX_BYTES: usize = 15;

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
        match split_off_part(stem) {
            Some((stem, _, _)) => {
                let id = cleaned(stem, MAX_ID_BYTES - PART_SUFFIX_BYTES);
                Self::parse(&(id + &name[stem.len()..][..PART_SUFFIX_BYTES])).ok()
            }
            None => Self::parse(&cleaned(stem, MAX_ID_BYTES)).ok(),
        }
    }

    /// The id of part `part` of `count` of this model.
    ///
    /// # Errors
    /// The id is too long to be told apart by its end.
    pub(crate) fn of_part(&self, part: usize, count: usize) -> Result<Self, InvalidModelId> {
        Self::parse(&format!("{self}-{part:05}-of-{count:05}"))
    }

    /// What the id says if it is that of a part.
    pub(crate) fn as_part(&self) -> Option<PartName> {
        let (stem, part, count) = split_off_part(&self.0)?;
        let set = Self::parse(stem).ok()?;
        Some(PartName { set, part, count })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn cleaned(stem: &str, max_bytes: usize) -> String {
    let mut id = String::new();
    for c in stem.chars() {
        if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
            id.push(c);
        } else if !id.ends_with('-') {
            id.push('-');
        }
    }
    let id = id.trim_start_matches(['.', '_', '-']);
    let id = id.get(..max_bytes).unwrap_or(id);
    id.trim_end_matches(['.', '-']).to_owned()
}

/// `a-00002-of-00003` is `a`, 2, 3. The name that a whole model has as its only part,
/// `a-00001-of-00001`, says nothing.
fn split_off_part(name: &str) -> Option<(&str, usize, usize)> {
    let at = name.len().checked_sub(PART_SUFFIX_BYTES)?;
    let (stem, suffix) = (name.get(..at)?, name.get(at..)?);
    let (part, count) = suffix.strip_prefix('-')?.split_once("-of-")?;
    let number = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    let (part, count): (usize, usize) = (number(part)?, number(count)?);
    (count > 1 && (1..=count).contains(&part)).then_some((stem, part, count))
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
        let long_part = format!("{}-00002-of-00003.gguf", "X".repeat(100));
        let id = ModelId::from_file_name(&long_part).unwrap();
        let part = id.as_part().unwrap();
        assert_eq!((part.part, part.count, id.as_str().len()), (2, 3, 64));
        let long = ModelId::from_file_name(&"x-".repeat(100)).unwrap();
        assert_eq!(long.as_str().len(), 63);
    }

    #[test]
    fn the_end_of_a_name_tells_a_part() {
        let part = |text: &str| {
            let name = ModelId::parse(text).unwrap().as_part()?;
            Some((name.set.to_string(), name.part, name.count))
        };
        assert_eq!(part("a-00002-of-00003"), Some(("a".to_owned(), 2, 3)));
        for text in [
            "a",
            "a-00001-of-00001",
            "a-00004-of-00003",
            "a-00000-of-00003",
            "a-0001-of-00003",
            "a-000010-of-0003",
            "a00001-of-00003",
            "a-0000x-of-00003",
            "0001-of-00003",
        ] {
            assert_eq!(part(text), None, "{text}");
        }
        let set = ModelId::parse("a").unwrap();
        assert_eq!(set.of_part(2, 3).unwrap().as_str(), "a-00002-of-00003");
        let long = ModelId::parse(&"a".repeat(50)).unwrap();
        assert!(long.of_part(1, 2).is_err());
        let made = ModelId::from_file_name("My Model Q4-00001-of-00002.gguf").unwrap();
        assert_eq!(made.as_str(), "my-model-q4-00001-of-00002");
        assert_eq!(ModelId::from_file_name("-00001-of-00002.gguf"), None);
    }
}
