//! `handle_chat` with a `format`, through the product's own model.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::path::PathBuf;

use common::{Host, Setup, check_error, has_notification};
use nox_protocol::{ErrorKind, FinishReason};
use serde_json::{Value, json};

fn host() -> Host {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin/nox-builtin.gguf");
    Host::greeted(Setup {
        builtin: Some(std::fs::read(path).unwrap()),
        ..Setup::default()
    })
}

fn params(format: impl Into<Value>) -> Value {
    let format: Value = format.into();
    json!({
        "messages": [{"role": "user", "content": "Hello, my name is Mirela. Who are you?"}],
        "format": format, "temperature": 0.7, "seed": 4, "max_tokens": 300,
    })
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "mood": {"enum": ["glad", "calm"]},
        },
        "required": ["name", "age", "mood"],
    })
}

#[test]
fn a_reply_fits_the_schema_streamed_or_not() {
    let host = host();
    let mut params = params(person());
    let whole = host.chat(&params).unwrap();
    assert_eq!(whole.meta.finish_reason, FinishReason::Stop);
    let value: Value = serde_json::from_str(&whole.message.content).unwrap();
    assert!(
        value["name"].is_string() && value["age"].is_u64(),
        "{value}"
    );
    assert!(["glad", "calm"].contains(&value["mood"].as_str().unwrap()));
    assert_eq!(value.as_object().unwrap().len(), 3);

    params["stream"] = json!(true);
    params["session"] = json!(null);
    let id = host.begin("handle_chat", &params);
    let streamed = host.end_chat(&id).unwrap();
    assert_eq!(streamed.message.content, whole.message.content);
    assert_eq!(host.streamed_text(&id), whole.message.content);
}

#[test]
fn json_is_an_object_and_stop_strings_do_not_break_it() {
    let host = host();
    let mut params = params(json!("json"));
    params["stop"] = json!(["{", "}", "\"", ":"]);
    let mut n_whole = 0;
    // Free objects can go on for long; some seed soon comes to an end.
    for seed in 0..60 {
        if n_whole > 1 {
            break;
        }
        params["seed"] = json!(seed);
        let reply = host.chat(&params).unwrap();
        if reply.meta.finish_reason == FinishReason::Stop {
            n_whole += 1;
            let value: Value = serde_json::from_str(&reply.message.content).unwrap();
            assert!(value.is_object());
        } else {
            assert_eq!(reply.meta.finish_reason, FinishReason::Length);
        }
    }
    assert!(n_whole > 0);
}

#[test]
fn max_tokens_cuts_a_reply_and_says_so() {
    let host = host();
    let mut params = params(person());
    params["max_tokens"] = json!(3);
    let reply = host.chat(&params).unwrap();
    assert_eq!(reply.meta.finish_reason, FinishReason::Length);
    assert_eq!(reply.meta.usage.completion_tokens, 3);
    assert!(reply.message.content.starts_with('{'));
}

#[test]
fn a_structured_reply_can_be_cancelled() {
    let host = host();
    let mut params = params(json!({"type": "string", "minLength": 200}));
    params["stream"] = json!(true);
    let id = host.begin("handle_chat", &params);
    host.run_until(|frames| has_notification(frames, &id, "chat.delta", ""));
    host.cancel(&id);
    let reply = host.end_chat(&id).unwrap();
    assert_eq!(reply.meta.finish_reason, FinishReason::Cancelled);
    assert!(reply.message.content.starts_with('"'));
    // The engine is ready for the next.
    let next = host.chat(&self::params(person())).unwrap();
    assert_eq!(next.meta.finish_reason, FinishReason::Stop);
}

#[test]
fn a_schema_that_cannot_be_kept_to_is_refused_before_a_model_is_loaded() {
    let host = Host::greeted(Setup::default());
    let schema = json!({"properties": {"a": {"not": {"type": "null"}}}});
    check_error(
        host.chat(&params(schema)),
        ErrorKind::InvalidRequest,
        "the keyword not at #/properties/a is not supported",
    );
    check_error(
        host.chat(&params(json!("xml"))),
        ErrorKind::InvalidRequest,
        "format must be",
    );
}
