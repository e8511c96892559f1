//! Schemas from outside: what is refused, in which words, and that none costs more than
//! its caps allow.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use std::time::{Duration, Instant};

use nox_engine::sampler::Pcg32;
use nox_engine::{
    EngineError, GenerateOptions, Model, OutputFormat, SchemaError, Step, schema_limits,
};
use serde_json::{Map, Value, json};
use tiny::Tiny;

fn format_of(schema: Value) -> OutputFormat {
    match schema {
        Value::Object(schema) => OutputFormat::Schema(schema),
        other => panic!("{other} is no schema"),
    }
}

fn check(schema: Value) -> Result<(), SchemaError> {
    format_of(schema).validate()
}

fn nested(depth: usize, inner: Value, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(inner, |schema, _| wrap(schema))
}

#[test]
fn what_cannot_be_kept_to_is_named_with_its_place() {
    for (schema, text) in [
        (
            json!({"properties": {"a": {"not": {}}}}),
            "format: the keyword not at #/properties/a is not supported",
        ),
        (
            json!({"items": {"uniqueItems": true}}),
            "format: the keyword uniqueItems at #/items is not supported",
        ),
        (
            json!({"minProperties": 2, "required": ["a", "a"]}),
            "format: the keyword minProperties at # is not supported",
        ),
        (
            json!({"anyOf": [true, {"$id": "http://x/"}]}),
            "format: the keyword $id at #/anyOf/1 is not supported",
        ),
        (
            json!({"type": "text"}),
            "format: type at # must be the name of a JSON type, or a list of such names",
        ),
        (
            json!({"type": []}),
            "format: type at # must be the name of a JSON type, or a list of such names",
        ),
        (
            json!({"enum": []}),
            "format: enum at # must be a list of values",
        ),
        (
            json!({"minLength": "é".repeat(200)}),
            "format: minLength at # must be a whole number, 0 or more",
        ),
        (
            json!({"maxItems": 1001}),
            "format: maxItems may be at most 1000, at #",
        ),
        (
            json!({"multipleOf": 0}),
            "format: multipleOf at # must be a number above 0, of at most 2000 without its decimal \
             point",
        ),
        (
            json!({"items": {"const": ["a\u{1}b"]}}),
            "format: a text of enum or const at #/items must be without control characters other \
             than \\b, \\f, \\n, \\r and \\t",
        ),
        (
            json!({"pattern": "^a\\x1f?$"}),
            "format: a pattern at # must be without control characters other than \\b, \\f, \\n, \
             \\r and \\t",
        ),
        (
            json!({"maximum": 1e300}),
            "format: maximum at # must be a number between -1e18 and 1e18",
        ),
        (
            json!({"format": "colour"}),
            "format: format at # must be date, date-time, duration, email, hostname, ipv4, \
             ipv6, time, uri or uuid",
        ),
        (
            json!({"properties": {"a": 5}}),
            "format: a schema at #/properties/a must be an object, true or false",
        ),
        (
            json!({"required": "a"}),
            "format: required at # must be a list of names",
        ),
        (
            json!({"anyOf": []}),
            "format: anyOf at # must be a list of schemas",
        ),
        (
            json!({"$ref": "#/$defs/none"}),
            "format: $ref at # leads to no schema",
        ),
        (
            json!({"$ref": "http://example.com/schema"}),
            "format: $ref at # must lead into this schema, as #/$defs/name does",
        ),
        (
            // A value that looks like a schema is none.
            json!({"const": {"type": "string"}, "anyOf": [{"$ref": "#/const"}]}),
            "format: $ref at #/anyOf/0 leads to no schema",
        ),
        (
            json!({"$defs": {"a/b": true}, "$ref": "#/$defs/a~1b"}),
            "format: $ref at # must spell names as they are, without escapes",
        ),
    ] {
        let found = check(schema.clone()).unwrap_err();
        assert_eq!(found.to_string(), text, "{schema}");
    }
}

#[test]
fn what_only_describes_is_left_aside() {
    check(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "http://x/",
        "title": 5, "description": [], "default": {"not": 1}, "examples": "x", "deprecated": 1,
        "x-guidance": {"lenient": true}, "uniqueItems": false, "anything": {"$ref": "nowhere"},
        "properties": {"not": {"type": "string"}, "$ref": {"type": "null"}},
    }))
    .unwrap();
}

#[test]
fn a_schema_that_is_its_own_definition_is_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"anyOf": [{"type": "null"}, {"$ref": "#"}]}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}),
    ] {
        let error = check(schema.clone()).unwrap_err();
        assert!(
            error.to_string().ends_with("leads back to itself"),
            "{schema}: {error}"
        );
    }
    // A list of itself is no circle.
    check(json!({"type": "array", "items": {"$ref": "#"}})).unwrap();
}

/// What `const` and `enum` hold is said as it stands, whatever it is called.
#[test]
fn a_reference_in_a_value_is_only_a_value() {
    for schema in [
        json!({"const": {"$ref": ""}}),
        json!({"enum": [{"$ref": "é"}]}),
        json!({"const": {"$ref": "#/const"}}),
        json!({"enum": [[{"$ref": "#/$defs/none"}], {"$ref": 3}]}),
    ] {
        check(schema.clone()).unwrap_or_else(|error| panic!("{schema}: {error}"));
    }
}

/// A slash in a name parts no path: such a name is spelled with an escape, which no
/// reference may have.
#[test]
fn names_with_slashes_are_not_referred_to() {
    let schema = json!({
        "properties": {
            "a/const": {"type": "null"},
            "a": {"const": {"$ref": ""}},
            "b": {"$ref": "#/properties/a/const"},
        },
    });
    let error = check(schema).unwrap_err();
    assert!(error.to_string().ends_with("leads to no schema"), "{error}");
}

#[test]
fn every_cap_holds() {
    let many = |n: usize| -> Map<String, Value> {
        (0..n)
            .map(|i| (format!("p{i}"), Value::Bool(true)))
            .collect()
    };
    let too_large = [
        nested(
            schema_limits::MAX_DEPTH + 1,
            json!(true),
            |it| json!({"items": it}),
        ),
        json!({"const": nested(schema_limits::MAX_DEPTH + 1, json!(1), |it| json!([it]))}),
        json!({"properties": many(schema_limits::MAX_PROPERTIES + 1)}),
        json!({"anyOf": vec![json!({"properties": many(100)}); 10]}),
        json!({"enum": vec![1; schema_limits::MAX_VALUES + 1]}),
        json!({"enum": ["x".repeat(schema_limits::MAX_BYTES + 1)]}),
        json!({"pattern": "x".repeat(schema_limits::MAX_PATTERN_BYTES + 1)}),
        json!({"pattern": "((a{100}){100}){100}"}),
        json!({"pattern": "a{99999999999999999999}"}),
        json!({"patternProperties": {"a{2000}": true}}),
        json!({"maxLength": schema_limits::MAX_LENGTH + 1}),
    ];
    for schema in too_large {
        let error = check(schema.clone()).unwrap_err();
        let text = schema.to_string();
        assert!(
            matches!(error, SchemaError::TooMuch { .. }),
            "{error} for {}",
            &text[..text.len().min(200)]
        );
    }
}

/// Makes the grammar and up to `n_tokens` of a reply; refusals are fine.
fn try_out(model: &Model, schema: &Value, seed: u64, n_tokens: usize) -> Duration {
    let started = Instant::now();
    let mut options = GenerateOptions {
        max_tokens: Some(n_tokens),
        format: format_of(schema.clone()),
        ..GenerateOptions::default()
    };
    options.sampling.seed = seed;
    options.sampling.temperature = 3.0;
    let mut ctx = model.new_context();
    let refused = match model.generate(&mut ctx, vec![1, 2], options) {
        Err(error) => Some(error),
        Ok(mut generation) => loop {
            match generation.step() {
                Ok(Step::Done(_)) => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        },
    };
    if let Some(error) = refused {
        let text = error.to_string();
        assert!(
            matches!(error, EngineError::Schema(_)),
            "{text} for {schema}"
        );
        assert!(!text.contains("panic"), "{text} for {schema}");
        assert!(text.len() < 600, "{text}");
    }
    started.elapsed()
}

#[test]
fn hostile_schemas_cost_a_bounded_time() {
    // Some 100 times what it takes on an idle machine.
    const LIMIT: Duration = Duration::from_secs(20);
    let model = Tiny::default().load();
    let ambiguous = nested(
        6,
        json!({"type": "array"}),
        |it| json!({"anyOf": vec![it; 3]}),
    );
    let wide: Vec<Value> = (0..150)
        .map(|i| json!({"type": "object", "properties": {format!("k{i}"): true}}))
        .collect();
    let deep_list = nested(
        31,
        json!({"type": "null"}),
        |it| json!({"type": "array", "items": it, "minItems": 1000, "maxItems": 1000}),
    );
    let products = json!({"$defs": {"t": {"type": "object", "properties": {
        "a": {"$ref": "#/$defs/t"}, "b": {"$ref": "#/$defs/t"}, "c": {"$ref": "#/$defs/t"}}}},
        "allOf": vec![json!({"$ref": "#/$defs/t"}); 30]});
    for schema in [
        json!({"type": "string", "pattern": "(a?){500}a{500}"}),
        json!({"type": "string", "pattern": "(.*a){30}"}),
        json!({"type": "string", "pattern": "(x+x+)+y"}),
        json!({"type": "string", "pattern": "^(a|b|ab)*c.{900}$", "minLength": 1000}),
        json!({"type": "string", "pattern": "[^a]*a.{200}", "format": "email"}),
        json!({"type": "string", "pattern": "\\p{L}{1000}"}),
        json!({"type": "string", "minLength": 2000, "maxLength": 2000}),
        json!({"type": "number", "multipleOf": 0.001999, "minimum": 0.1}),
        json!({"type": "integer", "multipleOf": 1999, "minimum": -1e18, "maximum": 1e18}),
        json!({"patternProperties": {"(.*a){20}": true, "(.*b){20}": true}}),
        json!({"anyOf": wide.clone()}),
        json!({"oneOf": wide}),
        json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1000,
               "required": (0..200).map(|i| format!("k{i}")).collect::<Vec<_>>()}),
        ambiguous,
        deep_list,
        products,
    ] {
        let took = common::least_time(LIMIT, || try_out(&model, &schema, 1, 40));
        let text = schema.to_string();
        assert!(
            took < LIMIT,
            "{took:?} for {}",
            &text[..text.len().min(300)]
        );
    }
}

/// A random schema, sound or not.
fn random_schema(rng: &mut Pcg32, depth: usize) -> Value {
    const NUMBERS: [f64; 8] = [0.0, 1.0, -1.0, 2.5, 1e17, 3.0, 1e-6, 100.0];
    const TEXTS: [&str; 10] = [
        "a",
        "",
        "^[a-z]+$",
        "(",
        "[",
        "string",
        "object",
        "integer",
        "é{2,3}|b?",
        "\u{8}\"\\\\",
    ];
    let mut schema = Map::new();
    let n_keywords = 1 + rng.next_u32() as usize % 4;
    for _ in 0..n_keywords {
        let pick = |rng: &mut Pcg32, n: usize| rng.next_u32() as usize % n;
        let number = json!(NUMBERS[pick(rng, NUMBERS.len())]);
        let count = json!(pick(rng, 7));
        let text = json!(TEXTS[pick(rng, TEXTS.len())]);
        let inner = |rng: &mut Pcg32| match depth {
            0 => json!(rng.next_u32().is_multiple_of(2)),
            _ => random_schema(rng, depth - 1),
        };
        let (keyword, value) = match pick(rng, 24) {
            0 => (
                "type",
                json!(["object", "array", "string", "number", "integer"][pick(rng, 5)]),
            ),
            1 => ("type", json!(["null", "string", "object"])),
            2 => ("minimum", number),
            3 => ("maximum", number),
            4 => ("exclusiveMaximum", number),
            5 => ("multipleOf", number),
            6 => ("minLength", count),
            7 => ("maxLength", count),
            8 => ("minItems", count),
            9 => ("maxItems", count),
            10 => ("pattern", text),
            11 => ("enum", json!([text, number, count, null, [text]])),
            12 => ("const", json!({"a": [text, number]})),
            13 => ("items", inner(rng)),
            14 => ("prefixItems", json!([inner(rng), inner(rng)])),
            15 => (
                "properties",
                json!({"a": inner(rng), "b\"": inner(rng), "": inner(rng)}),
            ),
            16 => ("additionalProperties", inner(rng)),
            17 => ("required", json!(["a", "z"])),
            18 => ("maxProperties", count),
            19 => ("anyOf", json!([inner(rng), inner(rng)])),
            20 => ("oneOf", json!([inner(rng), inner(rng)])),
            21 => ("allOf", json!([inner(rng), inner(rng)])),
            22 => (
                "patternProperties",
                json!({"^a": inner(rng), "b$": inner(rng)}),
            ),
            _ => (
                "$ref",
                json!(["#", "#/items", "#/properties/a", "#/$defs/x"][pick(rng, 4)]),
            ),
        };
        schema.insert(keyword.to_owned(), value);
    }
    Value::Object(schema)
}

#[test]
fn random_schemas_give_replies_that_fit_or_an_error_that_says_why() {
    let model = Tiny::default().load();
    let (mut n_whole, mut n_refused) = (0, 0);
    for seed in 0..1500 {
        let mut rng = Pcg32::new(seed);
        let schema = random_schema(&mut rng, 3);
        let mut options = GenerateOptions {
            max_tokens: Some(150),
            format: format_of(schema.clone()),
            ..GenerateOptions::default()
        };
        options.sampling.seed = seed;
        options.sampling.temperature = 2.0;
        let mut ctx = model.new_context();
        let mut text = String::new();
        let ended = match model.generate(&mut ctx, vec![7], options) {
            Err(error) => Err(error),
            Ok(mut generation) => loop {
                match generation.step() {
                    Ok(Step::Token { text: piece, .. }) => text.push_str(&piece),
                    Ok(Step::Prefill { .. }) => {}
                    Ok(Step::Done(reason)) => break Ok(reason),
                    Err(error) => break Err(error),
                }
            },
        };
        match ended {
            Err(error) => {
                let said = error.to_string();
                assert!(
                    matches!(error, EngineError::Schema(_)),
                    "{said} for {schema}"
                );
                assert!(!said.contains("panic"), "{said} for {schema}");
                n_refused += 1;
            }
            Ok(nox_engine::FinishReason::Length) => {}
            Ok(nox_engine::FinishReason::Stop) => {
                let value: Value = match serde_json::from_str(&text) {
                    Ok(value) => value,
                    // JSON all the same; numbers are not bounded in combined schemas.
                    Err(error) if error.to_string().starts_with("number out of range") => continue,
                    Err(error) => panic!("{error}: {text:?} for {schema}"),
                };
                let Ok(judge) = jsonschema::validator_for(&schema) else {
                    // A pattern for a type that the value could not have.
                    let text = schema.to_string();
                    assert!(text.contains("\"(\"") || text.contains("\"[\""), "{text}");
                    continue;
                };
                // The judge divides in floats: of negative numbers and of huge ones it takes
                // none for a multiple.
                let is_judged = !schema.to_string().contains("\"multipleOf\"");
                assert!(
                    judge.is_valid(&value) || !is_judged,
                    "{text} for {schema} (seed {seed})"
                );
                n_whole += 1;
            }
        }
    }
    assert!(
        n_whole > 150 && n_refused > 100,
        "{n_whole} whole, {n_refused} refused"
    );
}
