//! `titles.jsonl`: automatic titles, ids made of names, readable names of sessions.

use nox_core::{compute_title, session_display_name, slugify};
use nox_protocol::Message;
use serde_json::Value;

use crate::case::Case;
use crate::report::{Report, Verdict};

/// Compares `titles.jsonl`.
#[must_use]
pub fn check_titles(jsonl: &str) -> Report {
    Report::of("titles.jsonl", jsonl, |case| match ours(case) {
        Ok(ours) => Verdict::Compared {
            ours,
            recorded: case.output.clone(),
        },
        Err(reason) => Verdict::LeftOut(reason),
    })
}

fn ours(case: &Case) -> Result<Value, &'static str> {
    let text = |key: &str| {
        let text = case.input[key].as_str();
        text.ok_or("a name is a text here: other values can't be passed")
    };
    Ok(match case.call.as_str() {
        "compute_title_from_messages(messages)" => {
            const WRONG: &str = "messages are typed here: what isn't one can't be passed";
            if case.error.is_some() {
                return Err(WRONG);
            }
            let entries = case.input["messages"].as_array().ok_or(WRONG)?;
            compute_title(&messages(entries)).into()
        }
        "_slugify_name(value)" => slugify(text("value")?, "user").into(),
        "dev_identity._slugify(value)" => slugify(text("value")?, "developer").into(),
        "format_session_display_name(session_id)" => {
            session_display_name(text("session_id")?).into()
        }
        _ => return Err("the call has no counterpart"),
    })
}

/// Messages as the parser of requests hands them on: entries and roles that are
/// none are gone, contents are texts.
fn messages(entries: &[Value]) -> Vec<Message> {
    let content = |content: &Value| match content {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(parts) => {
            let text = |part: &Value| part["text"].as_str().or(part.as_str()).map(str::to_owned);
            parts.iter().filter_map(text).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    };
    let message = |entry: &Value| {
        let role = serde_json::from_value(entry["role"].clone()).ok()?;
        Some(Message {
            role,
            content: content(&entry["content"]),
        })
    };
    entries.iter().filter_map(message).collect()
}
