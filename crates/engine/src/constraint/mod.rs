//! Replies that keep to a JSON Schema: before each token, the set of those with which
//! the text can still become a value that fits.
//!
//! The grammar is `llguidance`'s; this module checks what it is given, bounds its
//! work, and knows nothing of logits or of the model's arithmetic. A mask holds the
//! tokens that end a generation exactly where the value is complete.

mod keywords;
mod schema;
mod tighten;
mod vocabulary;

use std::fmt;

use llguidance::api::{StopReason, TopLevelGrammar};
use llguidance::toktrie::SimpleVob;
use llguidance::{JsonCompileOptions, TokenParser};
use serde_json::{Map, Value};

pub use schema::{SchemaError, schema_limits};
pub(crate) use vocabulary::{GrammarVocabulary, VocabularyBuilder};

/// What a reply has to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum OutputFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    Json,
    /// A JSON value that fits this JSON Schema.
    Schema(Map<String, Value>),
}

impl OutputFormat {
    /// Checks the schema, as far as that goes without a model.
    ///
    /// # Errors
    /// It has something that can't be kept to, or too much of something.
    pub fn validate(&self) -> Result<(), SchemaError> {
        self.check().map(|_| ())
    }

    /// What the grammar is made of; `None` for plain text.
    ///
    /// # Errors
    /// The schema has something that can't be kept to, or too much of something.
    pub(crate) fn check(&self) -> Result<Option<CheckedSchema>, SchemaError> {
        let checked = match self {
            Self::Text => return Ok(None),
            Self::Json => {
                let object = [("type".to_owned(), Value::from("object"))];
                schema::check(&object.into_iter().collect())
            }
            Self::Schema(schema) => schema::check(schema),
        };
        checked.map(|checked| Some(CheckedSchema(checked)))
    }
}

/// A schema that the grammar library can be given.
#[derive(Debug)]
pub(crate) struct CheckedSchema(Value);

/// What may stand between two parts of a value: a space, or a line's end and some
/// indentation. A model that likes white space too much comes to an end with it.
const WHITE_SPACE: &str = r" |\r?\n[ \t]{0,32}";
/// Escapes in strings. Without `\u` each text is written in one way only, so that a
/// name that is taken can't come again in disguise.
const ESCAPES: &str = "nrbtf\\\"";

/// The grammar of one reply, and how far the reply has come.
pub(crate) struct Constraint {
    parser: TokenParser,
    /// The tokens that may come next; `None` until it is asked for.
    mask: Option<SimpleVob>,
}

impl Constraint {
    /// The beginning of a reply that has to fit `schema`.
    ///
    /// # Errors
    /// Nothing can fit, or the grammar would be too large.
    pub(crate) fn new(
        vocabulary: &GrammarVocabulary,
        CheckedSchema(schema): &CheckedSchema,
    ) -> Result<Self, SchemaError> {
        let options = JsonCompileOptions {
            whitespace_pattern: Some(WHITE_SPACE.to_owned()),
            json_allowed_escapes: Some(ESCAPES.to_owned()),
            ..JsonCompileOptions::default()
        };
        let mut schema = schema.clone();
        options.apply_to(&mut schema);
        let grammar = TopLevelGrammar::from_json_schema(schema);
        let parser = vocabulary.factory().create_parser(grammar);
        let mut parser = parser.map_err(|error| SchemaError::Refused {
            reason: first_line(&error),
        })?;
        parser.start_without_prompt();
        Ok(Self { parser, mask: None })
    }

    /// The tokens that may come next; there is at least one.
    ///
    /// # Errors
    /// The grammar has become too complex, or the vocabulary has no token that fits.
    pub(crate) fn mask(&mut self) -> Result<&SimpleVob, SchemaError> {
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None => match self.parser.compute_mask() {
                Ok(mask) => mask,
                Err(_) if self.parser.stop_reason() == StopReason::NoExtensionBias => {
                    return Err(SchemaError::NoTokens);
                }
                Err(error) => return Err(too_complex(&error)),
            },
        };
        Ok(self.mask.insert(mask))
    }

    /// Goes on with one of the tokens of the mask, and says whether the value is
    /// complete so that nothing can follow.
    ///
    /// # Errors
    /// The grammar has become too complex.
    pub(crate) fn push(&mut self, token: u32) -> Result<bool, SchemaError> {
        self.mask = None;
        let n_taken_back = self
            .parser
            .consume_token(token)
            .map_err(|error| too_complex(&error))?;
        assert_eq!(n_taken_back, 0, "the grammar has no way back");
        self.parser
            .check_stop()
            .map_err(|error| too_complex(&error))
    }
}

fn too_complex(error: &impl fmt::Display) -> SchemaError {
    SchemaError::TooComplex {
        reason: first_line(error),
    }
}

/// The library's words, less the state that it adds to them.
fn first_line(error: &impl fmt::Display) -> String {
    const MAX_BYTES: usize = 300;
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(MAX_BYTES)].to_owned()
}
