//! What is done in the place of defects of the earlier system's requests, where no test
//! of another crate pins it; `docs/compatibility.md` names these.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use nox_core::{ChatRequest, PreparedTurn, TurnContext, compute_title};
use serde_json::{Value, json};

fn with(field: &str, value: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}], field: value})
}

/// What the model is given.
fn asked(params: &Value) -> Vec<String> {
    let request = ChatRequest::parse(params).unwrap();
    let prepared = PreparedTurn::new(request, TurnContext::default());
    let messages = prepared.messages().into_iter();
    messages.map(|message| message.content).collect()
}

#[test]
fn a_request_chooses_no_address() {
    let plain = ChatRequest::parse(&with("model", &json!("nox"))).unwrap();
    for url in [
        json!("http://127.0.0.1:1/api/chat"),
        json!("file:///etc/passwd"),
        json!("data:application/json,{}"),
        json!("not a url"),
        json!(5),
        json!(null),
    ] {
        assert_eq!(ChatRequest::parse(&with("url", &url)).unwrap(), plain);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_name() {
    for (field, value, text) in [
        ("model", json!(5), "model must be a string"),
        ("memory_user", json!(5), "memory_user must be a string"),
        ("session", json!([]), "session must be a string"),
        ("stream", json!({}), "stream must be true or false"),
        (
            "messages",
            json!(true),
            "Payload must include at least one message.",
        ),
    ] {
        let error = ChatRequest::parse(&with(field, &value)).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn content_that_is_no_text_is_read_for_its_texts() {
    for (content, text) in [
        (json!({"text": "x"}), "x"),
        (
            json!([{"type": "text", "text": "a"}, {"image": {}}, "b"]),
            "a\nb",
        ),
        (json!([null, 3, ["x"]]), ""),
        (json!(3), "3"),
        (json!(null), ""),
    ] {
        let params = json!({"messages": [{"role": "user", "content": content}]});
        assert_eq!(asked(&params).last().unwrap(), text, "{content}");
        let request = ChatRequest::parse(&params).unwrap();
        let title = compute_title(&request.messages).unwrap_or_default();
        assert_eq!(title, text.replace('\n', " "), "{content}");
    }
}

#[test]
fn there_is_one_system_message_in_front() {
    let params = json!({"messages": [
        {"role": "system", "content": "A"},
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1"},
        {"role": "system", "content": " B "},
        {"role": "user", "content": "q2"},
    ]});
    assert_eq!(asked(&params), ["A\n\nB", "q1", "a1", "q2"]);
}
