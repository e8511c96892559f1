//! A checked schema made narrower where it says little, so that a small model does
//! not lose itself in what nobody asked for.
//!
//! Everything that fits the narrower schema fits the given one: an object that names
//! its properties has no others, a value that may be anything nests and counts within
//! bounds that every JSON parser can take, keywords of one type imply the type. None
//! of that holds where schemas are combined with each other, for what fits each part
//! of a narrower combination need not fit the whole; there the schema stays as it is.

use serde_json::{Map, Value, json};

/// How deep a value nests that may be anything.
const FREE_DEPTH: usize = 12;
/// Whole numbers up to here are the same in every JSON parser: 2⁵³ − 1.
const MAX_INTEGER: u64 = 9_007_199_254_740_991;
/// Other numbers; no reply needs an exponent.
const MAX_NUMBER: f64 = 1e15;

const OBJECT_KEYWORDS: &[&str] = &[
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "maxProperties",
];
const ARRAY_KEYWORDS: &[&str] = &[
    "items",
    "prefixItems",
    "additionalItems",
    "minItems",
    "maxItems",
];
const STRING_KEYWORDS: &[&str] = &["pattern", "format", "minLength", "maxLength"];
const NUMBER_KEYWORDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
/// Keywords that hold definitions and say nothing about a value.
const DEFINITIONS: &[&str] = &["$defs", "definitions"];

/// Makes a checked schema narrower.
pub(super) fn tighten(root: &mut Value) {
    for_each_schema(root, &mut choose_by_type);
    let mut is_combined = false;
    for_each_schema(root, &mut |schema| is_combined |= combines(schema));
    if !is_combined {
        let names = FreeNames::new(root);
        for_each_schema(root, &mut |schema| close(schema, &names));
        names.define(root);
    }
    for_each_schema(root, &mut bound_numbers);
}

/// Visits every schema within a schema, the inner ones first.
fn for_each_schema(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    if let Value::Object(fields) = schema {
        for (keyword, value) in fields.iter_mut() {
            match keyword.as_str() {
                "properties" | "patternProperties" | "$defs" | "definitions" => {
                    let schemas = value.as_object_mut().into_iter().flat_map(Map::values_mut);
                    schemas.for_each(|schema| for_each_schema(schema, visit));
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" | "items" if value.is_array() => {
                    let schemas = value.as_array_mut().into_iter().flatten();
                    schemas.for_each(|schema| for_each_schema(schema, visit));
                }
                "items" | "additionalItems" | "additionalProperties" => {
                    for_each_schema(value, visit);
                }
                _ => {}
            }
        }
    }
    visit(schema);
}

/// `enum` and `const` beside a `type` become those of their values that have it, and
/// an `allOf` of one schema that schema.
fn choose_by_type(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    if let (Some(types), true) = (fields.get("type").cloned(), fields.contains_key("enum"))
        && let Some(Value::Array(values)) = fields.get_mut("enum")
    {
        values.retain(|value| has_type(value, &types));
        if !values.is_empty() {
            fields.remove("type");
        }
    }
    let has_only = |keyword: &str| {
        let mut others = fields.keys().filter(|key| !is_definitions(key));
        others.all(|key| key == keyword)
    };
    if has_only("allOf")
        && let Some(Value::Array(schemas)) = fields.get("allOf")
        && let [Value::Object(only)] = schemas.as_slice()
        && !only.keys().any(|key| is_definitions(key))
    {
        let only = only.clone();
        fields.remove("allOf");
        fields.extend(only);
    }
}

fn is_definitions(keyword: &str) -> bool {
    DEFINITIONS.contains(&keyword)
}

fn has_type(value: &Value, types: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    match types {
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        name => name.as_str().is_some_and(is),
    }
}

/// Whether several schemas say something about the same value.
fn combines(schema: &Value) -> bool {
    let Value::Object(fields) = schema else {
        return false;
    };
    let n_kept = fields.keys().filter(|key| !is_definitions(key)).count();
    let has_any = |keywords: &[&str]| keywords.iter().any(|keyword| fields.contains_key(*keyword));
    // A value may fit one schema of `oneOf` alone: to make one narrower widens the whole.
    fields.contains_key("oneOf")
        || fields.contains_key("allOf")
        || fields.contains_key("patternProperties")
        || (n_kept > 1 && has_any(&["$ref", "anyOf", "enum", "const"]))
}

/// Closes objects, names types, and bounds what may be anything.
fn close(schema: &mut Value, free: &FreeNames) {
    let Value::Object(fields) = schema else {
        if *schema == Value::Bool(true) {
            *schema = free.any();
        }
        return;
    };
    if fields.keys().all(|key| is_definitions(key)) {
        fields.insert("$ref".to_owned(), free.reference(FREE_DEPTH).into());
        return;
    }
    infer_type(fields);
    if has_named_type(fields, "object") {
        let is_named = |name: &Value| {
            let properties = fields.get("properties").and_then(Value::as_object);
            properties
                .zip(name.as_str())
                .is_some_and(|(properties, name)| properties.contains_key(name))
        };
        let required = fields.get("required").and_then(Value::as_array);
        let names_all = required.is_none_or(|names| names.iter().all(is_named));
        let others = match fields.contains_key("properties") && names_all {
            true => Value::Bool(false),
            false => free.any(),
        };
        fields.entry("additionalProperties").or_insert(others);
    }
    if has_named_type(fields, "array") {
        let keyword = match fields.get("items") {
            Some(Value::Array(_)) => "additionalItems",
            _ => "items",
        };
        fields.entry(keyword).or_insert_with(|| free.any());
    }
}

fn infer_type(fields: &mut Map<String, Value>) {
    let says = |keywords: &[&str]| keywords.iter().any(|keyword| fields.contains_key(*keyword));
    let types = [
        ("object", OBJECT_KEYWORDS),
        ("array", ARRAY_KEYWORDS),
        ("string", STRING_KEYWORDS),
        ("number", NUMBER_KEYWORDS),
    ];
    let mut named = types.iter().filter(|(_, keywords)| says(keywords));
    if let (Some((name, _)), None) = (named.next(), named.next())
        && !fields.contains_key("type")
    {
        fields.insert("type".to_owned(), (*name).into());
    }
}

fn has_named_type(fields: &Map<String, Value>, name: &str) -> bool {
    match fields.get("type") {
        Some(Value::Array(types)) => types.iter().any(|found| found == name),
        Some(found) => found == name,
        None => false,
    }
}

/// Numbers without bounds get some: digits without end are what a small model may
/// fall into, and numbers beyond the floats' range are what a parser may refuse.
fn bound_numbers(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    let is_number = has_named_type(fields, "number");
    let bound = match has_named_type(fields, "integer") {
        _ if is_number => json!(MAX_NUMBER),
        true => json!(MAX_INTEGER),
        false => return,
    };
    let limit = bound.as_f64().unwrap_or(MAX_NUMBER);
    let bounds = |keywords: [&str; 2]| {
        let found = keywords.map(|keyword| fields.get(keyword).and_then(Value::as_f64));
        found.into_iter().flatten().next()
    };
    let lower = bounds(["minimum", "exclusiveMinimum"]);
    let upper = bounds(["maximum", "exclusiveMaximum"]);
    if lower.is_none() && upper.is_none_or(|upper| upper > -limit) {
        fields.insert("minimum".to_owned(), json!(-limit));
    }
    if upper.is_none() && lower.is_none_or(|lower| lower < limit) {
        fields.insert("maximum".to_owned(), bound);
    }
}

/// The definitions of values that may be anything, one for each depth.
struct FreeNames {
    /// What no definition of the schema's own begins with.
    prefix: String,
}

impl FreeNames {
    fn new(root: &Value) -> Self {
        let mut prefix = "any".to_owned();
        let definitions = root.get("$defs").and_then(Value::as_object);
        while definitions.is_some_and(|names| names.keys().any(|name| name.starts_with(&prefix))) {
            prefix.push('_');
        }
        Self { prefix }
    }

    fn name(&self, depth: usize) -> String {
        format!("{}{depth}", self.prefix)
    }

    fn reference(&self, depth: usize) -> String {
        format!("#/$defs/{}", self.name(depth))
    }

    fn any(&self) -> Value {
        json!({ "$ref": self.reference(FREE_DEPTH) })
    }

    fn define(&self, root: &mut Value) {
        let Value::Object(fields) = root else {
            return;
        };
        let definitions = fields.entry("$defs").or_insert_with(|| json!({}));
        for depth in 0..=FREE_DEPTH {
            definitions[self.name(depth)] = self.definition(depth);
        }
    }

    fn definition(&self, depth: usize) -> Value {
        let simple = json!({ "type": ["null", "boolean", "number", "string"] });
        match depth.checked_sub(1) {
            None => simple,
            Some(inner) => {
                let inner = json!({ "$ref": self.reference(inner) });
                json!({ "anyOf": [
                    simple,
                    { "type": "array", "items": inner },
                    { "type": "object", "additionalProperties": inner },
                ] })
            }
        }
    }
}
