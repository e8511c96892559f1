//! A JSON Schema from outside, checked before the grammar library sees it.
//!
//! What comes out holds known keywords with values of the right type only, within
//! caps on size, depth and repetition; references lead to schemas that are there and
//! never in a circle. So what is left for the library to refuse is what no reply can
//! fit. Keywords that only describe are left out, those that could not be kept are
//! refused by name.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{keywords, tighten};

/// Caps on a schema from outside. They bound the time that it takes to make a grammar
/// of it, and the memory.
pub mod schema_limits {
    /// Schemas within a schema, itself included.
    pub const MAX_SCHEMAS: usize = 1_000;
    /// Schemas around a schema, and values around a value of `enum` and `const`.
    pub const MAX_DEPTH: usize = 32;
    /// Bytes of all names and texts.
    pub const MAX_BYTES: usize = 64 << 10;
    /// Values of all `enum` and `const`, those inside others included.
    pub const MAX_VALUES: usize = 2_000;
    /// Properties of one object.
    pub const MAX_PROPERTIES: usize = 200;
    /// What `minItems`, `maxItems` and `maxProperties` may say.
    pub const MAX_ITEMS: u64 = 1_000;
    /// What `minLength` and `maxLength` may say.
    pub const MAX_LENGTH: u64 = 2_000;
    /// Bytes of a `pattern`.
    pub const MAX_PATTERN_BYTES: usize = 512;
    /// The highest count of repetitions in a `pattern`, nested ones multiplied.
    pub const MAX_PATTERN_REPEATS: u64 = 1_000;
}
use schema_limits as limits;

/// Why a reply can't be held to a schema. The texts are for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum SchemaError {
    #[error("format: the keyword {keyword} at {at} is not supported")]
    Unsupported { keyword: String, at: String },
    #[error("format: {keyword} at {at} must be {expected}")]
    WrongType {
        keyword: String,
        at: String,
        expected: &'static str,
    },
    #[error("format: {what} may be at most {limit}, at {at}")]
    TooMuch {
        what: String,
        at: String,
        limit: u64,
    },
    #[error("format: $ref at {at} {problem}")]
    Reference { at: String, problem: &'static str },
    /// Sound as far as it was looked at, and still no grammar can be made of it.
    #[error("format: the schema can't be kept to: {reason}")]
    Refused { reason: String },
    /// The grammar became too large or too slow in the middle of a reply.
    #[error("format: the schema is too complex for this reply: {reason}")]
    TooComplex { reason: String },
    #[error("format: this model has no tokens with which a reply could go on")]
    NoTokens,
}

/// Keywords whose value is one schema.
const ONE_SCHEMA: &[&str] = &["additionalProperties", "additionalItems"];
/// Keywords whose value is a list of schemas.
const SCHEMA_LISTS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
const SCHEMA_MAPS: &[&str] = &["properties", "patternProperties", "$defs", "definitions"];
/// Keywords that restrict a value and that nothing here can keep to.
const UNSUPPORTED: &[&str] = &[
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Checks a schema and makes of it what the grammar library is given.
pub(super) fn check(schema: &Map<String, Value>) -> Result<Value, SchemaError> {
    let mut checker = Checker::default();
    let mut at = Pointer::default();
    let mut checked = checker.object(schema, &mut at, 0)?;
    checker.check_references()?;
    check_circles(&checked, &checker.references)?;
    tighten::tighten(&mut checked);
    Ok(checked)
}

/// Where in the schema something is, as a JSON pointer (RFC 6901) spells it.
#[derive(Default)]
pub(super) struct Pointer {
    text: String,
}

impl Pointer {
    /// Does something one name further in.
    fn within<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let n_before = self.text.len();
        self.text.push('/');
        self.text
            .push_str(&name.replace('~', "~0").replace('/', "~1"));
        let result = work(self);
        self.text.truncate(n_before);
        result
    }

    fn at(&self) -> String {
        const SHOWN_BYTES: usize = 120;
        let end = self.text.floor_char_boundary(SHOWN_BYTES);
        let more = if end < self.text.len() { "…" } else { "" };
        format!("#{}{more}", &self.text[..end])
    }

    pub(super) fn wrong(&self, keyword: &str, expected: &'static str) -> SchemaError {
        SchemaError::WrongType {
            keyword: keyword.to_owned(),
            at: self.at(),
            expected,
        }
    }

    pub(super) fn too_much(&self, what: &str, limit: u64) -> SchemaError {
        SchemaError::TooMuch {
            what: what.to_owned(),
            at: self.at(),
            limit,
        }
    }

    pub(super) fn unsupported(&self, keyword: &str) -> SchemaError {
        SchemaError::Unsupported {
            keyword: keyword.to_owned(),
            at: self.at(),
        }
    }
}

#[derive(Default)]
struct Checker {
    n_schemas: usize,
    n_values: usize,
    n_bytes: usize,
    /// The pointers of all schemas that references may lead to.
    places: HashSet<String>,
    /// What references say, and where.
    references: Vec<(String, String)>,
}

impl Checker {
    fn schema(
        &mut self,
        schema: &Value,
        at: &mut Pointer,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        match schema {
            Value::Bool(_) => {
                self.enter(at, depth)?;
                Ok(schema.clone())
            }
            Value::Object(schema) => self.object(schema, at, depth),
            _ => Err(at.wrong("a schema", "an object, true or false")),
        }
    }

    fn object(
        &mut self,
        schema: &Map<String, Value>,
        at: &mut Pointer,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        self.enter(at, depth)?;
        let mut checked = Map::new();
        for (keyword, value) in schema {
            if let Some(value) = self.keyword(keyword, value, at, depth)? {
                checked.insert(keyword.clone(), value);
            }
        }
        check_property_counts(&mut checked, at)?;
        Ok(Value::Object(checked))
    }

    fn enter(&mut self, at: &Pointer, depth: usize) -> Result<(), SchemaError> {
        self.n_schemas += 1;
        if self.n_schemas > limits::MAX_SCHEMAS {
            return Err(at.too_much("the number of schemas", limits::MAX_SCHEMAS as u64));
        }
        if depth > limits::MAX_DEPTH {
            return Err(at.too_much("the depth of schemas", limits::MAX_DEPTH as u64));
        }
        self.places.insert(format!("#{}", at.text));
        Ok(())
    }

    /// A keyword's value as it is kept; `None` for one that only describes.
    fn keyword(
        &mut self,
        keyword: &str,
        value: &Value,
        at: &mut Pointer,
        depth: usize,
    ) -> Result<Option<Value>, SchemaError> {
        if UNSUPPORTED.contains(&keyword) {
            return Err(at.unsupported(keyword));
        }
        if SCHEMA_MAPS.contains(&keyword) {
            return self.schema_map(keyword, value, at, depth).map(Some);
        }
        if SCHEMA_LISTS.contains(&keyword) {
            return self.schema_list(keyword, value, at, depth).map(Some);
        }
        if ONE_SCHEMA.contains(&keyword) {
            return at
                .within(keyword, |at| self.schema(value, at, depth + 1))
                .map(Some);
        }
        let checked = match keyword {
            // Drafts before 2020-12 have a list here for what is now prefixItems.
            "items" if value.is_array() => self.schema_list(keyword, value, at, depth)?,
            "items" => at.within(keyword, |at| self.schema(value, at, depth + 1))?,
            "enum" => self.values(value, at)?,
            "const" => {
                self.value(value, at, 0)?;
                value.clone()
            }
            "required" => self.names(value, at)?,
            "$ref" => self.reference(value, at)?,
            // It changes what the references inside it mean.
            "$id" | "id" if depth > 0 && value.is_string() => return Err(at.unsupported(keyword)),
            "uniqueItems" if value != &Value::Bool(false) => return Err(at.unsupported(keyword)),
            _ => return keywords::check(keyword, value, at),
        };
        Ok(Some(checked))
    }

    fn schema_map(
        &mut self,
        keyword: &str,
        value: &Value,
        at: &mut Pointer,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        let schemas = value
            .as_object()
            .ok_or_else(|| at.wrong(keyword, "an object of schemas"))?;
        if schemas.len() > limits::MAX_PROPERTIES {
            return Err(at.too_much(
                "the number of properties or definitions",
                limits::MAX_PROPERTIES as u64,
            ));
        }
        let mut checked = Map::new();
        at.within(keyword, |at| {
            for (name, schema) in schemas {
                self.count_bytes(name, at)?;
                if keyword == "patternProperties" {
                    keywords::check_pattern(name, at)?;
                }
                let schema = at.within(name, |at| self.schema(schema, at, depth + 1))?;
                checked.insert(name.clone(), schema);
            }
            Ok(Value::Object(checked))
        })
    }

    fn schema_list(
        &mut self,
        keyword: &str,
        value: &Value,
        at: &mut Pointer,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        let schemas = value
            .as_array()
            .filter(|schemas| !schemas.is_empty() || !keyword.ends_with("Of"))
            .ok_or_else(|| at.wrong(keyword, "a list of schemas"))?;
        at.within(keyword, |at| {
            let indexed = schemas.iter().enumerate();
            indexed
                .map(|(idx, schema)| {
                    at.within(&idx.to_string(), |at| self.schema(schema, at, depth + 1))
                })
                .collect()
        })
    }

    fn values(&mut self, value: &Value, at: &Pointer) -> Result<Value, SchemaError> {
        let values = value
            .as_array()
            .filter(|values| !values.is_empty())
            .ok_or_else(|| at.wrong("enum", "a list of values"))?;
        for value in values {
            self.value(value, at, 0)?;
        }
        Ok(value.clone())
    }

    fn value(&mut self, value: &Value, at: &Pointer, depth: usize) -> Result<(), SchemaError> {
        self.n_values += 1;
        if self.n_values > limits::MAX_VALUES {
            return Err(at.too_much("the number of values", limits::MAX_VALUES as u64));
        }
        if depth > limits::MAX_DEPTH {
            return Err(at.too_much("the depth of a value", limits::MAX_DEPTH as u64));
        }
        match value {
            Value::String(text) if text.chars().any(keywords::is_unwritable) => {
                Err(at.wrong("a text of enum or const", keywords::WRITABLE))
            }
            Value::String(text) => self.count_bytes(text, at),
            Value::Array(values) => values
                .iter()
                .try_for_each(|value| self.value(value, at, depth + 1)),
            Value::Object(values) => values.iter().try_for_each(|(name, value)| {
                self.count_bytes(name, at)?;
                self.value(value, at, depth + 1)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn names(&mut self, value: &Value, at: &Pointer) -> Result<Value, SchemaError> {
        let wrong = || at.wrong("required", "a list of names");
        let names = value.as_array().ok_or_else(wrong)?;
        if names.len() > limits::MAX_PROPERTIES {
            return Err(at.too_much("the number of names", limits::MAX_PROPERTIES as u64));
        }
        for name in names {
            self.count_bytes(name.as_str().ok_or_else(wrong)?, at)?;
        }
        Ok(value.clone())
    }

    fn reference(&mut self, value: &Value, at: &Pointer) -> Result<Value, SchemaError> {
        let problem = |problem| SchemaError::Reference {
            at: at.at(),
            problem,
        };
        let target = value.as_str().ok_or_else(|| at.wrong("$ref", "a string"))?;
        self.count_bytes(target, at)?;
        if target != "#" && !target.starts_with("#/") {
            return Err(problem("must lead into this schema, as #/$defs/name does"));
        }
        if target.contains(['~', '%']) {
            return Err(problem("must spell names as they are, without escapes"));
        }
        self.references.push((target.to_owned(), at.at()));
        Ok(value.clone())
    }

    fn check_references(&self) -> Result<(), SchemaError> {
        let lost = |(target, _): &&(String, String)| !self.places.contains(target);
        match self.references.iter().find(lost) {
            None => Ok(()),
            Some((_, at)) => Err(SchemaError::Reference {
                at: at.clone(),
                problem: "leads to no schema",
            }),
        }
    }

    fn count_bytes(&mut self, text: &str, at: &Pointer) -> Result<(), SchemaError> {
        self.n_bytes += text.len();
        if self.n_bytes > limits::MAX_BYTES {
            return Err(at.too_much("the bytes of all texts", limits::MAX_BYTES as u64));
        }
        Ok(())
    }
}

/// What is required counts towards `minProperties`; beyond that it can't be kept to,
/// as a name that no property has may come twice.
fn check_property_counts(schema: &mut Map<String, Value>, at: &Pointer) -> Result<(), SchemaError> {
    let required = schema.get("required").and_then(Value::as_array);
    // A name that is there twice asks for one property.
    let names: HashSet<&str> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let n_required = names.len();
    match schema.remove("minProperties").and_then(|n| n.as_u64()) {
        Some(n) if n > n_required as u64 => Err(at.unsupported("minProperties")),
        _ => Ok(()),
    }
}

/// Refuses schemas that are defined by themselves: those that lead back to where they
/// began without a value in between.
fn check_circles(root: &Value, references: &[(String, String)]) -> Result<(), SchemaError> {
    let mut is_free = HashSet::new();
    for (reference, _) in references {
        let mut path = Vec::new();
        follow(root, reference, &mut path, &mut is_free)?;
    }
    Ok(())
}

fn follow<'a>(
    root: &'a Value,
    reference: &'a str,
    path: &mut Vec<&'a str>,
    is_free: &mut HashSet<&'a str>,
) -> Result<(), SchemaError> {
    if is_free.contains(reference) {
        return Ok(());
    }
    if path.contains(&reference) || path.len() > limits::MAX_DEPTH {
        return Err(SchemaError::Reference {
            at: reference.to_owned(),
            problem: "leads back to itself",
        });
    }
    path.push(reference);
    let pointer = reference.strip_prefix('#');
    if let Some(schema) = pointer.and_then(|pointer| root.pointer(pointer)) {
        let mut in_place = Vec::new();
        references_in_place(schema, &mut in_place);
        for next in in_place {
            follow(root, next, path, is_free)?;
        }
    }
    path.pop();
    is_free.insert(reference);
    Ok(())
}

/// The references whose schemas hold for the same value as `schema` does.
fn references_in_place<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    found.extend(schema.get("$ref").and_then(Value::as_str));
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let schemas = schema.get(keyword).and_then(Value::as_array);
        for schema in schemas.into_iter().flatten() {
            references_in_place(schema, found);
        }
    }
}
