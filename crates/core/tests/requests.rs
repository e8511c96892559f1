//! What `handle_chat` accepts and refuses.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use nox_core::{ChatRequest, ReplyFormat, RequestError};
use serde_json::{Value, json};

fn parse(fields: &Value) -> Result<ChatRequest, RequestError> {
    let mut params = json!({"messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in fields.as_object().unwrap() {
        params[key] = value.clone();
    }
    ChatRequest::parse(&params)
}

fn check_refused(fields: &Value, text: &str) {
    let error = parse(fields).unwrap_err();
    assert_eq!(error.to_string(), text, "{fields}");
}

#[test]
fn defaults_are_the_documented_ones() {
    let request = parse(&json!({})).unwrap();
    assert_eq!(request.model, "nox");
    assert!((request.temperature - 0.7).abs() < f64::EPSILON);
    assert_eq!(request.max_tokens, -1);
    assert_eq!(request.token_limit(), None);
    assert!(!request.stream && request.strip_reasoning && !request.sanitize);
    assert!(!request.self_score);
    assert_eq!(
        (request.memory_user, request.memory_user_display),
        (None, None)
    );
    assert_eq!(request.session, None);
    assert_eq!((request.sampling.top_k, request.sampling.seed), (40, None));
}

#[test]
fn numbers_and_switches_are_read_leniently() {
    let request = parse(&json!({
        "temperature": "0.3", "max_tokens": "64", "stream": 1, "strip_reasoning": "",
        "sanitize": "false", "seed": -1, "top_k": 5.0, "stop": "END", "session": null,
        "model": "", "format": "text", "something_new": {"a": 1}, "self_score": "on",
        "memory_user": "ada", "memory_user_display": "Ada",
    }))
    .unwrap();
    assert!(request.self_score);
    assert_eq!(request.memory_user.as_deref(), Some("ada"));
    assert_eq!(request.memory_user_display.as_deref(), Some("Ada"));
    assert!((request.temperature - 0.3).abs() < f64::EPSILON);
    assert_eq!(request.token_limit(), Some(64));
    assert!(request.stream && !request.strip_reasoning && !request.sanitize);
    assert_eq!((request.sampling.seed, request.sampling.top_k), (None, 5));
    assert_eq!(request.stop, ["END"]);
    assert_eq!(request.session, Some(None));
    assert_eq!(request.model, "nox");
}

#[test]
fn a_format_is_text_json_or_a_schema() {
    let format = |value: Value| parse(&json!({ "format": value })).unwrap().format;
    for text in [json!(null), json!(""), json!("text")] {
        assert_eq!(format(text), ReplyFormat::Text);
    }
    assert_eq!(format(json!("json")), ReplyFormat::Json);
    let schema = json!({"type": "object", "required": ["a"]});
    let Value::Object(fields) = schema.clone() else {
        unreachable!()
    };
    assert_eq!(format(schema), ReplyFormat::Schema(fields));
}

#[test]
fn what_is_refused_names_the_field_and_the_range() {
    for (fields, text) in [
        (
            json!({"messages": []}),
            "Payload must include at least one message.",
        ),
        (
            json!({"messages": 5}),
            "Payload must include at least one message.",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "a"}]}),
            "Last message in the list must be a user turn.",
        ),
        (
            json!({"temperature": "warm"}),
            "temperature must be a float",
        ),
        (json!({"temperature": []}), "temperature must be a float"),
        (
            json!({"temperature": "nan"}),
            "temperature must be between 0 and 100, not NaN",
        ),
        (
            json!({"temperature": -0.1}),
            "temperature must be between 0 and 100, not -0.1",
        ),
        (
            json!({"temperature": "inf"}),
            "temperature must be between 0 and 100, not inf",
        ),
        (
            json!({"max_tokens": "12.5"}),
            "max_tokens must be an integer",
        ),
        (json!({"max_tokens": {}}), "max_tokens must be an integer"),
        (
            json!({"top_k": -1}),
            "top_k must be between 0 and 1000000, not -1",
        ),
        (json!({"top_k": 1.5}), "top_k must be an integer"),
        (
            json!({"top_p": 0}),
            "top_p must be above 0 and at most 1, not 0",
        ),
        (
            json!({"top_p": 1.5}),
            "top_p must be above 0 and at most 1, not 1.5",
        ),
        (
            json!({"min_p": -1}),
            "min_p must be between 0 and 1, not -1",
        ),
        (json!({"min_p": "x"}), "min_p must be a number"),
        (
            json!({"repeat_penalty": 0}),
            "repeat_penalty must be above 0 and at most 10, not 0",
        ),
        (
            json!({"repeat_penalty": "inf"}),
            "repeat_penalty must be above 0 and at most 10, not inf",
        ),
        (
            json!({"repeat_penalty": "NaN"}),
            "repeat_penalty must be above 0 and at most 10, not NaN",
        ),
        (
            json!({"temperature": 1e300}),
            &format!(
                "temperature must be between 0 and 100, not 1{}",
                "0".repeat(300)
            ),
        ),
        (
            json!({"temperature": 100.5}),
            "temperature must be between 0 and 100, not 100.5",
        ),
        // Above 0 as it was written, but not as it is reckoned with.
        (
            json!({"top_p": "1e-50"}),
            &format!(
                "top_p must be above 0 and at most 1, not 0.{}1",
                "0".repeat(49)
            ),
        ),
        (
            json!({"top_p": "nan"}),
            "top_p must be above 0 and at most 1, not NaN",
        ),
        (
            json!({"messages": [{"role": "system", "content": "be kind"}]}),
            "Last message in the list must be a user turn.",
        ),
        (
            json!({"messages": [{"role": "tool", "content": "x"}, 5, null]}),
            "Payload must include at least one message.",
        ),
        (
            json!({"stop": "x".repeat(257)}),
            "stop may hold at most 256 bytes in one text, not 257",
        ),
        (
            json!({"seed": 1e30}),
            "seed must be between 0 and 18446744073709551615, or -1 for any, not 1000000000000000019884624838656",
        ),
        (json!({"stream": "perhaps"}), "stream must be true or false"),
        (
            json!({"stop": [1]}),
            "stop must be a string or a list of strings",
        ),
        (
            json!({"stop": vec!["x"; 17]}),
            "stop may hold at most 16 texts, not 17",
        ),
        (json!({"model": 5}), "model must be a string"),
        (
            json!({"idempotency_key": []}),
            "idempotency_key must be a string",
        ),
        (
            json!({"format": "xml"}),
            "format must be \"text\", \"json\" or a JSON Schema",
        ),
        (
            json!({"format": ["json"]}),
            "format must be \"text\", \"json\" or a JSON Schema",
        ),
        (
            json!({"seed": -2}),
            "seed must be between 0 and 18446744073709551615, or -1 for any, not -2",
        ),
    ] {
        check_refused(&fields, text);
    }
    assert_eq!(
        ChatRequest::parse(&json!([])),
        Err(RequestError::NotAnObject)
    );
}

#[test]
fn the_ends_of_the_ranges_are_accepted() {
    let request = parse(&json!({
        "temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repeat_penalty": 10,
        "seed": u64::MAX, "max_tokens": 1, "stop": ["", "é".repeat(128)],
    }))
    .unwrap();
    let sampling = request.sampling;
    assert_eq!((sampling.top_k, sampling.seed), (0, Some(u64::MAX)));
    assert_eq!(
        [
            sampling.temperature,
            sampling.top_p,
            sampling.min_p,
            sampling.repeat_penalty
        ],
        [0.0, 1.0, 0.0, 10.0]
    );
    assert_eq!(request.token_limit(), Some(1));
    assert_eq!(
        request.stop,
        ["é".repeat(128)],
        "an empty text stops nothing"
    );
    // As with the earlier system, zero is no limit either.
    for max_tokens in [json!(0), json!(-7), json!(-1e300), json!("0")] {
        let request = parse(&json!({ "max_tokens": max_tokens })).unwrap();
        assert_eq!(request.token_limit(), None, "{max_tokens}");
    }
}

#[test]
fn an_endless_conversation_is_refused() {
    let message = json!({"role": "user", "content": "hi"});
    let error = parse(&json!({"messages": vec![message; 10_001]})).unwrap_err();
    assert!(matches!(
        error,
        RequestError::TooMuch {
            field: "messages",
            ..
        }
    ));
    let error =
        parse(&json!({"messages": [{"role": "user", "content": "x".repeat((16 << 20) + 1)}]}));
    assert!(matches!(
        error,
        Err(RequestError::TooMuch {
            unit: "bytes of content",
            ..
        })
    ));
}
