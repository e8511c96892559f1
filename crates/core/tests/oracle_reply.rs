//! The recorded cases of reply cleaning, of streamed replies, and of what is made
//! ready for an instrument.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use common::{Case, Tally, oracle};
use nox_core::{
    ReplyFilter, anonymize_for_instrument, clean_reply, extract_instrument_query, wants_instrument,
};
use serde_json::{Value, json};

const CLEAN: &str = "clean_public_reply(text)";
const STRIP: &str = "strip_chain_of_thought(text)";
const SEGMENTS: &str = "extract_public_segments(text)";
const FULL: &str =
    "full reply: strip_chain_of_thought (when strip_reasoning) then clean_public_reply";
const VISIBLE: &str = "_extract_visible_reply(text)";
const WANTS: &str = "ChatClient.wants_instrument(text)";

fn cleaned(text: &str, strip_reasoning: bool) -> String {
    clean_reply(text, strip_reasoning).0.text
}

/// The text of `value`, cleaned of all but reasoning: calls that only kept reasoning
/// apart are compared by what a reader sees in the end.
fn cleaned_value(value: &Value) -> String {
    cleaned(value.as_str().unwrap_or_default(), false)
}

#[test]
fn replies_are_cleaned_as_recorded() {
    let Some(cases) = oracle("reply_clean.jsonl") else {
        return;
    };
    let mut tally = Tally::new("reply_clean.jsonl");
    for case in &cases {
        let text = case.input["text"].as_str();
        let (text, is_missing) = (text.unwrap_or_default(), text.is_none());
        match case.call.as_str() {
            CLEAN | STRIP if is_missing => tally.leave_out("a reply is text, never nothing"),
            CLEAN => tally.compare(case, &json!(cleaned(text, false)), &case.output),
            STRIP => {
                let recorded = cleaned_value(&case.output);
                tally.compare(case, &json!(cleaned(text, true)), &json!(recorded));
            }
            FULL => {
                let strip_reasoning = case.input["strip_reasoning"].as_bool().unwrap();
                let ours = cleaned(text, strip_reasoning);
                tally.compare(case, &json!(ours), &case.output);
            }
            SEGMENTS => compare_segments(&mut tally, case, text),
            VISIBLE => {
                let (piece, effects) = clean_reply(text, true);
                let recorded = json!([
                    cleaned_value(&case.output["visible"]),
                    case.output["had_think_tag"]
                ]);
                tally.compare(case, &json!([piece.text, effects.had_reasoning]), &recorded);
            }
            WANTS => tally.compare(case, &json!(wants_instrument(text)), &case.output),
            _ => tally.leave_out("the call has no counterpart"),
        }
    }
    tally.finish();
}

/// A buffer's public part is what the filter shows before the end. White space is
/// left out: there it was dropped later.
fn compare_segments(tally: &mut Tally, case: &Case, text: &str) {
    let without_space = |text: &str| -> String { text.split_whitespace().collect() };
    let ours = without_space(&cleaned(text, true));
    let recorded = without_space(&cleaned_value(&case.output["public"]));
    tally.compare(case, &json!(ours), &json!(recorded));
}

#[test]
fn streamed_replies_come_out_as_recorded() {
    let Some(cases) = oracle("stream.jsonl") else {
        return;
    };
    let mut tally = Tally::new("stream.jsonl (replies)");
    for case in &cases {
        if !case.call.starts_with("ChatClient(stream=True).one_turn") {
            tally.leave_out("how an upstream's stream is read is the backend's");
            continue;
        }
        let Some(pieces) = upstream_pieces(&case.input["upstream"]) else {
            tally.leave_out("the upstream failed or spoke oddly: the backend's");
            continue;
        };
        let Some(reply) = case.output["reply"].as_str() else {
            tally.leave_out("the call failed: the backend's");
            continue;
        };
        let strip_reasoning = case.input["strip_reasoning"].as_bool().unwrap();
        let mut filter = ReplyFilter::new(strip_reasoning);
        let mut joined: String = pieces.iter().map(|piece| filter.push(piece).text).collect();
        joined.push_str(&filter.finish().text);
        let whole = cleaned(&pieces.concat(), strip_reasoning);
        assert_eq!(joined, whole, "{}", case.id);
        tally.compare(case, &json!(joined), &json!(reply));
    }
    tally.finish();
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

#[test]
fn what_an_instrument_gets_is_as_recorded() {
    let Some(cases) = oracle("redact.jsonl") else {
        return;
    };
    let mut tally = Tally::new("redact.jsonl (instruments)");
    for case in &cases {
        let text = case.input["text"].as_str().unwrap_or_default();
        match case.call.as_str() {
            "extract_instrument_query(text)" => {
                tally.compare(case, &json!(extract_instrument_query(text)), &case.output);
            }
            "anonymize_for_instrument(text, user_name=)" => {
                let names = case.input["env"]["NOX_REDACT_NAMES"].as_str();
                let user_name = case.input["user_name"].as_str();
                let names: Vec<&str> = names.unwrap_or_default().split(',').collect();
                let ours = anonymize_for_instrument(text, user_name, &names);
                tally.compare(case, &json!(ours), &case.output);
            }
            _ => tally.leave_out("plain redaction is compared elsewhere"),
        }
    }
    tally.finish();
}
