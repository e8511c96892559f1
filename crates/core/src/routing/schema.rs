//! The JSON Schema of `runtime.json`, for editors. It says what the reader in
//! `config` checks, as far as a schema can: that names stand for something, only the
//! reader sees.

use serde_json::{Map, Value, json};

use super::config::routing_limits::{
    MAX_ALIASES, MAX_BACKENDS, MAX_NAME_BYTES, MAX_ROUTES, MAX_URL_BYTES,
};
use super::config::{BackendKind, OPTIONS, OptionType, VERSION, persona_scales};
use crate::persona::DEFAULT_ALIAS;
use crate::request::limits;

/// The schema (draft 2020-12) of the configuration.
pub fn runtime_schema() -> Value {
    // Caps are in bytes; no text has more characters than bytes.
    let name = json!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME_BYTES });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Noxics routing configuration (runtime.json), version 1",
        "type": "object",
        "required": ["version", "backends", "aliases"],
        "additionalProperties": false,
        "properties": {
            "$schema": true,
            "version": { "const": VERSION },
            "backends": {
                "description": "What can answer, by a name of your choice.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": MAX_BACKENDS,
                "propertyNames": name,
                "additionalProperties": { "$ref": "#/$defs/backend" }
            },
            "aliases": {
                "description": "What a request may name as its model.",
                "type": "object",
                "required": [DEFAULT_ALIAS],
                "maxProperties": MAX_ALIASES,
                "propertyNames": name,
                "additionalProperties": { "$ref": "#/$defs/alias" }
            }
        },
        "$defs": {
            "name": name,
            "backend": backend(),
            "key": key(),
            "alias": {
                "type": "object",
                "required": ["routes"],
                "additionalProperties": false,
                "properties": {
                    "routes": {
                        "description": "The ways to answer, the best first. The next one is \
                                        tried when one fails before it has said anything.",
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_ROUTES,
                        "uniqueItems": true,
                        "items": { "$ref": "#/$defs/route" }
                    },
                    "options": { "$ref": "#/$defs/options" },
                    "persona": {
                        "description": "The scale of the persona; without it the model's name \
                                        decides.",
                        "enum": nullable(persona_scales().into_iter().map(Value::from))
                    }
                }
            },
            "route": {
                "type": "object",
                "required": ["backend"],
                "additionalProperties": false,
                "properties": {
                    "backend": {
                        "description": "The name of one of the backends.",
                        "$ref": "#/$defs/name"
                    },
                    "model": {
                        "description": "The model to ask for; only a local backend can choose \
                                        it itself.",
                        "anyOf": [{ "$ref": "#/$defs/name" }, { "type": "null" }]
                    }
                }
            },
            "options": {
                "description": "Values for what a request leaves out.",
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": options()
            }
        }
    })
}

fn backend() -> Value {
    json!({
        "type": "object",
        "required": ["kind"],
        "additionalProperties": false,
        "properties": {
            "kind": { "enum": BackendKind::ALL.map(BackendKind::as_str) },
            "url": {
                "description": "The server's address, without users, passwords and queries.",
                "type": ["string", "null"],
                "pattern": "^https?://[^@?#\\\\\\s]+$",
                "maxLength": MAX_URL_BYTES
            },
            "key": { "$ref": "#/$defs/key" }
        }
    })
}

fn key() -> Value {
    json!({
        "description": "Where the key is found. The key itself does not belong in this file.",
        "type": ["object", "null"],
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "env": {
                "description": "The name of an environment variable.",
                "type": "string",
                "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
                "maxLength": MAX_NAME_BYTES
            },
            "id": {
                "description": "The id of a key in the host's store of secrets.",
                "$ref": "#/$defs/name"
            }
        }
    })
}

fn options() -> Map<String, Value> {
    let options = OPTIONS.iter().map(|&(name, option_type)| {
        let mut schema = match option_type {
            OptionType::Number => json!({ "type": ["number", "null"] }),
            OptionType::Integer => json!({ "type": ["integer", "null"] }),
            OptionType::Switch => json!({ "type": ["boolean", "null"] }),
            OptionType::Texts => json!({
                "type": ["string", "array", "null"],
                "items": { "type": "string", "maxLength": limits::MAX_STOP_BYTES },
                "maxItems": limits::MAX_STOP_STRINGS
            }),
        };
        for (keyword, bound) in bounds(name) {
            schema[keyword] = bound;
        }
        (name.to_owned(), schema)
    });
    options.collect()
}

/// The range of an option, as requests have it.
fn bounds(option: &str) -> Vec<(&'static str, Value)> {
    let (low, high) = match option {
        "temperature" => (("minimum", json!(0)), json!(limits::MAX_TEMPERATURE)),
        "top_k" => (("minimum", json!(0)), json!(limits::MAX_TOP_K)),
        "top_p" => (("exclusiveMinimum", json!(0)), json!(1)),
        "min_p" => (("minimum", json!(0)), json!(1)),
        "repeat_penalty" => (
            ("exclusiveMinimum", json!(0)),
            json!(limits::MAX_REPEAT_PENALTY),
        ),
        "seed" => return vec![("minimum", json!(-1))],
        _ => return Vec::new(),
    };
    vec![low, ("maximum", high)]
}

fn nullable(values: impl Iterator<Item = Value>) -> Vec<Value> {
    values.chain([Value::Null]).collect()
}
