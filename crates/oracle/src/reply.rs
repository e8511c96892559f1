//! `reply_clean.jsonl` and `stream.jsonl`: cleaning of whole replies, and of replies
//! while they stream.

use nox_core::{Conversation, ReplyFilter, clean_reply, redact, wants_instrument};
use nox_protocol::Message;
use serde_json::{Value, json};

use crate::case::{Case, text};
use crate::report::{Report, Verdict};

const CLEAN: &str = "clean_public_reply(text)";
const STRIP: &str = "strip_chain_of_thought(text)";
const SEGMENTS: &str = "extract_public_segments(text)";
const FULL: &str =
    "full reply: strip_chain_of_thought (when strip_reasoning) then clean_public_reply";
const VISIBLE: &str = "_extract_visible_reply(text)";
const WANTS: &str = "ChatClient.wants_instrument(text)";

/// Compares `reply_clean.jsonl`. Here a reply is always cleaned whole; calls that only
/// kept reasoning apart are compared by what a reader sees in the end.
#[must_use]
pub fn check_reply(jsonl: &str) -> Report {
    Report::of("reply_clean.jsonl", jsonl, judge_reply)
}

/// Compares `stream.jsonl`: the deltas joined, the reply and the history of turns whose
/// upstream speaks plainly. Whatever was recorded, the deltas joined have to be the reply.
#[must_use]
pub fn check_stream(jsonl: &str) -> Report {
    Report::of("stream.jsonl", jsonl, judge_stream)
}

fn cleaned(text: &str, strip_reasoning: bool) -> String {
    clean_reply(text, strip_reasoning).0.text
}

/// The text of `value`, cleaned of all but reasoning.
fn cleaned_value(value: &Value) -> String {
    cleaned(value.as_str().unwrap_or_default(), false)
}

fn compared(ours: impl Into<Value>, recorded: impl Into<Value>) -> Verdict {
    Verdict::Compared {
        ours: ours.into(),
        recorded: recorded.into(),
    }
}

fn judge_reply(case: &Case) -> Verdict {
    let is_missing = !case.input["text"].is_string();
    let text = text(&case.input, "text");
    let output = &case.output;
    match case.call.as_str() {
        CLEAN | STRIP if is_missing => Verdict::LeftOut("a reply is text, never nothing"),
        CLEAN => compared(cleaned(text, false), output.clone()),
        STRIP => compared(cleaned(text, true), cleaned_value(output)),
        FULL => {
            let strip_reasoning = case.input["strip_reasoning"] == true;
            compared(cleaned(text, strip_reasoning), output.clone())
        }
        SEGMENTS => {
            // A buffer's public part is what the filter shows before the end. White
            // space is left out: there it was dropped later.
            let without_space = |text: &str| -> String { text.split_whitespace().collect() };
            let recorded = cleaned_value(&output["public"]);
            compared(
                without_space(&cleaned(text, true)),
                without_space(&recorded),
            )
        }
        VISIBLE => {
            let (piece, effects) = clean_reply(text, true);
            let recorded = json!([cleaned_value(&output["visible"]), output["had_think_tag"]]);
            compared(json!([piece.text, effects.had_reasoning]), recorded)
        }
        WANTS => compared(wants_instrument(text), output.clone()),
        _ => Verdict::LeftOut("the call has no counterpart"),
    }
}

fn judge_stream(case: &Case) -> Verdict {
    if !case.call.starts_with("ChatClient(stream=True).one_turn") {
        return Verdict::LeftOut("how an upstream's stream is read is the backend's");
    }
    let Some(pieces) = upstream_pieces(&case.input["upstream"]) else {
        return Verdict::LeftOut("the upstream failed or spoke oddly: the backend's");
    };
    let Some(reply) = case.output["reply"].as_str() else {
        return Verdict::LeftOut("the call failed: the backend's");
    };
    let strip_reasoning = case.input["strip_reasoning"] == true;
    let mut filter = ReplyFilter::new(strip_reasoning);
    let mut joined: String = pieces.iter().map(|piece| filter.push(piece).text).collect();
    joined.push_str(&filter.finish().text);
    let whole = cleaned(&pieces.concat(), strip_reasoning);
    if joined != whole {
        return Verdict::Broken {
            ours: joined.into(),
            promised: whole.into(),
        };
    }
    let deltas = case.output["deltas"].as_array();
    let deltas: String = deltas
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let history = history_after(&case.input, &whole);
    compared(
        json!([joined, whole, history]),
        // Recorded deltas kept white space at the ends, which the reply no longer had.
        json!([deltas.trim(), reply, case.output["messages_after"]]),
    )
}

/// What was said when the turn is over.
fn history_after(input: &Value, reply: &str) -> Vec<Message> {
    let messages = input["messages"].as_array().into_iter().flatten();
    let messages = messages.filter_map(|message| serde_json::from_value(message.clone()).ok());
    let mut conversation = Conversation::default();
    conversation.set_messages(messages.collect());
    let said = text(input, "user_text");
    let said = match input["sanitize"] == true {
        true => redact(said),
        false => said.to_owned(),
    };
    conversation.record_turn(&said, reply);
    conversation.messages()
}

/// The pieces of text in a plain stream of events or lines; `None` where it holds
/// anything else.
fn upstream_pieces(upstream: &Value) -> Option<Vec<String>> {
    let fields = upstream.as_object()?;
    if fields.keys().any(|key| key != "body" && key != "headers") {
        return None;
    }
    let mut pieces = Vec::new();
    for line in fields.get("body")?.as_str()?.lines() {
        let data = line.strip_prefix("data: ").unwrap_or(line);
        if data.is_empty() || data == "[DONE]" {
            continue;
        }
        let event: Value = serde_json::from_str(data).ok()?;
        let text = [
            &event["choices"][0]["delta"]["content"],
            &event["message"]["content"],
            &event["response"],
        ]
        .into_iter()
        .find_map(Value::as_str);
        match text {
            Some(text) => pieces.push(text.to_owned()),
            None if event["done"] == true => {}
            None => return None,
        }
    }
    Some(pieces)
}
