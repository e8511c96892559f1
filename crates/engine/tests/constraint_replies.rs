//! Structured replies: whatever the model would rather say, a reply that ends by
//! itself fits its schema. Judged by a validator that shares nothing with the engine.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use std::path::Path;

use nox_engine::{
    EngineError, FinishReason, GenerateOptions, Model, ModelLoader, OutputFormat, SamplingParams,
    SchemaError, Step,
};
use serde_json::{Value, json};
use tiny::Tiny;

struct Reply {
    text: String,
    ids: Vec<u32>,
    reason: FinishReason,
}

fn format_of(schema: &Value) -> OutputFormat {
    match schema {
        Value::Object(schema) => OutputFormat::Schema(schema.clone()),
        _ => OutputFormat::Json,
    }
}

fn run(model: &Model, prompt: &[u32], options: GenerateOptions) -> Result<Reply, EngineError> {
    let mut ctx = model.new_context();
    let mut generation = model.generate(&mut ctx, prompt.to_vec(), options)?;
    let mut text = String::new();
    let reason = loop {
        match generation.step()? {
            Step::Prefill { .. } => {}
            Step::Token { text: piece, .. } => text.push_str(&piece),
            Step::Done(reason) => break reason,
        }
    };
    Ok(Reply {
        text,
        ids: generation.ids().to_vec(),
        reason,
    })
}

fn options(schema: &Value, temperature: f32, seed: u64, max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        sampling: SamplingParams {
            temperature,
            seed,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..SamplingParams::default()
        },
        max_tokens: Some(max_tokens),
        format: format_of(schema),
        ..GenerateOptions::default()
    }
}

fn builtin() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin/nox-builtin.gguf");
    let file = std::fs::read(path).unwrap();
    let loader = ModelLoader::new(file, tiny::single_threaded()).unwrap();
    loader.load().unwrap()
}

/// Schemas whose replies end within some hundred tokens, however little the model knows.
fn bounded() -> Vec<Value> {
    let word = json!({"type": "string", "maxLength": 6});
    vec![
        json!({"type": "string", "minLength": 2, "maxLength": 9}),
        json!({"type": "integer", "minimum": -20, "maximum": 1305}),
        json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1.5, "multipleOf": 0.25}),
        json!({"type": ["boolean", "null"]}),
        json!({"enum": ["red", "a \"quoted\" one", 7, -0.5, null, ["x", {"y": []}]]}),
        json!({"const": {"a": [1, 2, {"b": "é🦙"}]}}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "string", "format": "uuid"}),
        json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9},
               "minItems": 2, "maxItems": 4}),
        json!({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}],
               "items": false, "minItems": 1}),
        json!({"properties": {"name": word, "age": {"type": "integer", "minimum": 0, "maximum": 130},
                              "tags": {"type": "array", "items": word, "maxItems": 2}},
               "required": ["age"], "title": "a person"}),
        json!({"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2}),
        json!({"type": "object", "patternProperties": {"^x[0-9]$": {"type": "null"}},
               "additionalProperties": false, "maxProperties": 2}),
        json!({"$defs": {"leaf": {"type": "integer", "minimum": 1, "maximum": 9},
                         "pair": {"type": "object",
                                  "properties": {"left": {"$ref": "#/$defs/leaf"},
                                                 "right": {"$ref": "#/$defs/leaf"}},
                                  "required": ["left", "right"]}},
               "anyOf": [{"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/pair"}]}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "boolean"}},
                          "required": ["a"], "additionalProperties": true},
                         {"type": "object", "properties": {"a": true, "b": {"type": "null"}},
                          "required": ["b"], "additionalProperties": false}]}),
        json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "n": word},
                          "required": ["kind"], "additionalProperties": false},
                         {"type": "object", "properties": {"kind": {"const": "b"}},
                          "required": ["kind"], "additionalProperties": false}]}),
    ]
}

/// Runs `n_seeds` replies for each schema and temperature; gives how many ended.
fn check(model: &Model, schemas: &[Value], n_seeds: u64, max_tokens: usize) -> (usize, usize) {
    let (mut n_whole, mut n_all) = (0, 0);
    for schema in schemas {
        let judge = match schema.is_object() {
            true => jsonschema::validator_for(schema).unwrap(),
            false => jsonschema::validator_for(&json!({"type": "object"})).unwrap(),
        };
        for seed in 0..n_seeds {
            for temperature in [0.0, 0.7, 4.0] {
                let prompt = [(seed * 7 % 200) as u32, 3];
                let options = options(schema, temperature, seed, max_tokens);
                let reply = run(model, &prompt, options).unwrap();
                n_all += 1;
                let tokenizer = model.tokenizer();
                assert!(reply.ids.iter().all(|&id| !tokenizer.is_control(id)));
                if reply.reason == FinishReason::Length {
                    assert_eq!(reply.ids.len(), max_tokens);
                    continue;
                }
                n_whole += 1;
                let value: Value = serde_json::from_str(&reply.text)
                    .unwrap_or_else(|error| panic!("{error} in {:?} for {schema}", reply.text));
                assert!(judge.is_valid(&value), "{} for {schema}", reply.text);
                assert!(longest_gap(&reply.text) <= 34, "{:?}", reply.text);
            }
        }
    }
    (n_whole, n_all)
}

/// The longest run of white space outside of strings.
fn longest_gap(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    let (mut is_string, mut is_escaped) = (false, false);
    for c in text.chars() {
        if is_string {
            is_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        is_string = c == '"';
        run = if c.is_whitespace() { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[test]
fn replies_of_random_weights_fit_every_bounded_schema() {
    for seed in [1, 2] {
        let model = Tiny {
            seed,
            ..Tiny::default()
        }
        .load();
        let (n_whole, n_all) = check(&model, &bounded(), 10, 400);
        assert!(n_whole * 10 >= n_all * 9, "{n_whole} of {n_all} ended");
    }
}

#[test]
fn replies_of_a_real_model_fit_every_schema() {
    let model = builtin();
    let (n_whole, n_all) = check(&model, &bounded(), 2, 150);
    assert!(n_whole * 10 >= n_all * 9, "{n_whole} of {n_all} ended");
    // Nothing bounds these but the model's own wish to end.
    let free = [
        json!("json"),
        json!({}),
        json!({"type": "array"}),
        json!({"type": "object", "properties": {"next": {"$ref": "#"}, "name": {"type": "string"}}}),
    ];
    let (n_whole, n_all) = check(&model, &free, 3, 200);
    assert!(n_whole * 4 >= n_all, "{n_whole} of {n_all} ended");
}

#[test]
fn free_values_of_random_weights_are_json_that_any_parser_takes() {
    let model = Tiny::default().load();
    let free = [
        json!("json"),
        json!({}),
        json!({"type": "number"}),
        json!({"type": "integer"}),
    ];
    let (n_whole, n_all) = check(&model, &free, 20, 400);
    assert!(n_whole * 4 >= n_all, "{n_whole} of {n_all} ended");
}

#[test]
fn a_reply_ends_where_the_value_is_complete_and_not_before() {
    let model = Tiny::default().load();
    let schema = json!({"const": "ab"});
    for (max_tokens, text, reason) in [
        (3, "\"ab", FinishReason::Length),
        (4, "\"ab\"", FinishReason::Stop),
        (100, "\"ab\"", FinishReason::Stop),
    ] {
        let reply = run(&model, &[1], options(&schema, 1.0, 5, max_tokens)).unwrap();
        assert_eq!((reply.text.as_str(), reply.reason), (text, reason));
        assert_eq!(reply.ids.len(), text.len());
    }
}

#[test]
fn an_end_is_drawn_only_where_the_value_may_end() {
    // 1 may end or go on as 12; the end-of-generation token decides.
    let model = Tiny::default().load();
    let schema = json!({"enum": [1, 12, 123]});
    let mut texts: Vec<String> = (0..60)
        .map(|seed| run(&model, &[9], options(&schema, 3.0, seed, 50)).unwrap())
        .inspect(|reply| assert_eq!(reply.reason, FinishReason::Stop))
        .map(|reply| reply.text)
        .collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts, ["1", "12", "123"]);
}

#[test]
fn a_full_context_cuts_the_reply_and_says_so() {
    let options_16 = nox_engine::LoadOptions {
        n_ctx: Some(16),
        ..tiny::single_threaded()
    };
    let model = Tiny::default().load_with(options_16);
    let schema = json!({"type": "string", "minLength": 40});
    let reply = run(&model, &[1; 10], options(&schema, 1.0, 1, 1000)).unwrap();
    assert_eq!((reply.reason, reply.ids.len()), (FinishReason::Length, 7));
}

#[test]
fn the_penalty_and_narrow_choices_keep_to_the_schema_too() {
    let model = Tiny::default().load();
    let schema = json!({"type": "array", "items": {"enum": [1]}, "minItems": 12, "maxItems": 12});
    for seed in 0..20 {
        let mut options = options(&schema, 1.0, seed, 200);
        options.sampling.top_k = 1 + seed as usize % 3;
        options.sampling.top_p = 0.3;
        options.sampling.min_p = 0.5;
        options.sampling.repeat_penalty = 10.0;
        let reply = run(&model, &[4, 4], options).unwrap();
        let value: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!(value, json!(vec![1; 12]), "{}", reply.text);
    }
}

#[test]
fn cancelling_a_structured_reply_anywhere_leaves_a_usable_context() {
    let model = Tiny::default().load();
    let schema = json!({"type": "string", "minLength": 5, "maxLength": 5});
    let prompt: Vec<u32> = (0..60).collect();
    let expected = run(&model, &prompt, options(&schema, 1.0, 3, 50))
        .unwrap()
        .ids;
    for n_steps in 0..12 {
        let mut ctx = model.new_context();
        let mut generation = model
            .generate(&mut ctx, prompt.clone(), options(&schema, 2.0, 9, 50))
            .unwrap();
        for _ in 0..n_steps {
            generation.step().unwrap();
        }
        drop(generation);
        let again = options(&schema, 1.0, 3, 50);
        let mut generation = model.generate(&mut ctx, prompt.clone(), again).unwrap();
        while !matches!(generation.step().unwrap(), Step::Done(_)) {}
        assert_eq!(generation.ids(), expected);
    }
}

#[test]
fn a_schema_that_no_reply_fits_is_refused_and_leaves_the_context() {
    let model = Tiny::default().load();
    for schema in [
        json!({"type": "string", "minLength": 5, "maxLength": 2}),
        json!({"type": "integer", "minimum": 5, "maximum": 4}),
        json!({"type": "object", "required": ["a"], "properties": {"a": false}}),
        json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
        json!({"type": "string", "pattern": "("}),
    ] {
        let Err(error) = run(&model, &[1], options(&schema, 1.0, 1, 20)) else {
            panic!("{schema} was taken");
        };
        assert!(
            matches!(error, EngineError::Schema(SchemaError::Refused { .. })),
            "{error} for {schema}"
        );
    }
}
