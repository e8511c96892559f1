//! `redact.jsonl`: redaction of personal data, and what is made ready for an
//! instrument.
//!
//! Texts are compared as they are. Whatever was recorded, a text that was redacted
//! has to stay the same when that is done again.

use nox_core::{anonymize_for_instrument, extract_instrument_query, redact};
use serde_json::Value;

use crate::case::{Case, text};
use crate::report::{Report, Verdict};

/// Compares `redact.jsonl`.
#[must_use]
pub fn check_redact(jsonl: &str) -> Report {
    Report::of("redact.jsonl", jsonl, judge)
}

fn judge(case: &Case) -> Verdict {
    let Some(input) = case.input["text"].as_str() else {
        return Verdict::LeftOut("a text is a text here: other values can't be passed");
    };
    let once = redact(input);
    let twice = redact(&once);
    if once != twice {
        return Verdict::Broken {
            ours: twice.into(),
            promised: once.into(),
        };
    }
    let ours: Value = match case.call.as_str() {
        "sanitize(text)" => once.into(),
        "sanitize(sanitize(text))" => twice.into(),
        "anonymize_for_instrument(text, user_name=)" => {
            let names: Vec<&str> = text(&case.input["env"], "NOX_REDACT_NAMES")
                .split(',')
                .collect();
            let user_name = case.input["user_name"].as_str();
            anonymize_for_instrument(input, user_name, &names).into()
        }
        "extract_instrument_query(text)" => extract_instrument_query(input).into(),
        _ => return Verdict::LeftOut("the call has no counterpart"),
    };
    Verdict::Compared {
        ours,
        recorded: case.output.clone(),
    }
}
