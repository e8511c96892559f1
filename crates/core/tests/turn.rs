//! Turns against a scripted backend.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::cell::RefCell;

use futures::executor::block_on_stream;
use futures::stream::{self, LocalBoxStream, StreamExt};
use nox_core::{
    Backend, BackendEvent, CancelToken, ChatClient, ChatRequest, Completion, DEFAULT_SYSTEM_PROMPT,
    GenerateRequest, Phase, TurnEvent,
};
use nox_protocol::{FinishReason, HandleChatResult, Role};
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the script says so")]
struct ScriptedError;

/// Plays events and remembers what it was asked.
struct Scripted {
    pieces: Vec<&'static str>,
    fails: bool,
    asked: RefCell<Vec<GenerateRequest>>,
}

impl Scripted {
    fn new(pieces: &[&'static str]) -> Self {
        Self {
            pieces: pieces.to_vec(),
            fails: false,
            asked: RefCell::default(),
        }
    }
}

impl Backend for Scripted {
    type Error = ScriptedError;

    fn kind(&self) -> &str {
        "scripted"
    }

    fn leaves_device(&self) -> bool {
        false
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, ScriptedError>> {
        let cancel = request.cancel.clone();
        self.asked.borrow_mut().push(request);
        let progress = BackendEvent::Progress {
            phase: Phase::Prefill,
            done: 3,
            total: 3,
        };
        let texts = self.pieces.iter().map(|&text| BackendEvent::Delta {
            text: text.to_owned(),
        });
        let before: Vec<_> = std::iter::once(progress).chain(texts).map(Ok).collect();
        let fails = self.fails;
        let end = move || {
            if fails {
                return Err(ScriptedError);
            }
            Ok(BackendEvent::Done(Completion {
                model: "scripted-1".to_owned(),
                finish_reason: if cancel.is_cancelled() {
                    FinishReason::Cancelled
                } else {
                    FinishReason::Stop
                },
                usage: nox_protocol::Usage::default(),
                timings: nox_protocol::Timings::default(),
                lane: None,
            }))
        };
        stream::iter(before)
            .chain(stream::once(async move { end() }))
            .boxed_local()
    }
}

fn request(params: &Value) -> ChatRequest {
    ChatRequest::parse(params).unwrap()
}

/// Runs a turn and returns the joined deltas and the result.
fn run(client: &ChatClient<Scripted>, params: &Value) -> (String, String, HandleChatResult) {
    let mut text = String::new();
    let mut reasoning = String::new();
    for event in block_on_stream(client.turn(request(params), CancelToken::new())) {
        match event.unwrap() {
            TurnEvent::Progress { .. } => {}
            TurnEvent::Delta(piece) => {
                assert!(!piece.is_empty());
                text.push_str(&piece.text);
                reasoning.push_str(&piece.reasoning);
            }
            TurnEvent::Done(result) => return (text, reasoning, *result),
        }
    }
    panic!("the turn ended without a result");
}

#[test]
fn deltas_joined_are_the_reply() {
    let client = ChatClient::new(Scripted::new(&[
        " <th",
        "ink>two and",
        " two</think",
        ">\n\nFo",
        "ur. ",
        " <",
    ]));
    let (text, reasoning, result) = run(
        &client,
        &json!({"messages": [{"role": "user", "content": "2+2?"}]}),
    );
    assert_eq!(text, "Four.  <");
    assert_eq!(result.message.content, text);
    assert_eq!(reasoning, "two and two");
    assert_eq!(result.message.reasoning.as_deref(), Some("two and two"));
    assert_eq!(result.meta.finish_reason, FinishReason::Stop);
    assert_eq!(result.meta.target.target_model, "scripted-1");
    assert_eq!(result.meta.target.model, "nox");
    assert_eq!(result.meta.route.backend, "scripted");
}

#[test]
fn reasoning_stays_in_the_reply_when_asked_to() {
    let client = ChatClient::new(Scripted::new(&["<think>a</think>", "b"]));
    let (text, _, result) = run(
        &client,
        &json!({"messages": [{"role": "user", "content": "?"}], "strip_reasoning": false}),
    );
    assert_eq!(text, "<think>a</think>b");
    assert_eq!(result.message.reasoning, None);
}

#[test]
fn a_conversation_without_system_message_gets_the_default_one() {
    let client = ChatClient::new(Scripted::new(&["x"]));
    run(
        &client,
        &json!({"messages": [{"role": "user", "content": "hi"}]}),
    );
    let asked = client.backend().asked.borrow();
    assert_eq!(asked[0].messages[0].role, Role::System);
    assert_eq!(asked[0].messages[0].content, DEFAULT_SYSTEM_PROMPT);
    assert_eq!(asked[0].messages[1].content, "hi");
}

#[test]
fn several_system_messages_become_one_at_the_front() {
    let client = ChatClient::new(Scripted::new(&["x"]));
    run(
        &client,
        &json!({"messages": [
            {"role": "system", "content": "A"},
            {"role": "user", "content": "q1"},
            {"role": "system", "content": " B "},
            {"role": "user", "content": "q2"},
        ]}),
    );
    let asked = client.backend().asked.borrow();
    let texts: Vec<&str> = asked[0]
        .messages
        .iter()
        .map(|m| m.content.as_str())
        .collect();
    assert_eq!(texts, ["A\n\nB", "q1", "q2"]);
}

#[test]
fn sanitize_covers_every_message() {
    let client = ChatClient::new(Scripted::new(&["x"]));
    run(
        &client,
        &json!({"sanitize": true, "messages": [
            {"role": "system", "content": "for user@example.com"},
            {"role": "user", "content": "call 415-555-1212"},
            {"role": "assistant", "content": "from 10.0.0.1?"},
            {"role": "user", "content": "yes"},
        ]}),
    );
    let asked = client.backend().asked.borrow();
    let texts: Vec<&str> = asked[0]
        .messages
        .iter()
        .map(|m| m.content.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "for [REDACTED:EMAIL]",
            "call [REDACTED:PHONE]",
            "from [REDACTED:IP]?",
            "yes"
        ]
    );
}

#[test]
fn a_failing_backend_ends_the_turn_with_its_error() {
    let mut backend = Scripted::new(&["half a rep"]);
    backend.fails = true;
    let client = ChatClient::new(backend);
    let events: Vec<_> = block_on_stream(client.turn(
        request(&json!({"messages": [{"role": "user", "content": "hi"}]})),
        CancelToken::new(),
    ))
    .collect();
    assert_eq!(events.last(), Some(&Err(ScriptedError)));
}
