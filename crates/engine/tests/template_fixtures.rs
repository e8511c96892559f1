//! Real chat templates against what Jinja2 made of them.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

mod common;

use nox_engine::template::{ChatMessage, ChatTemplate, RenderOptions, TemplateError};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    template: String,
    case: String,
    context: Context,
    now: String,
    rendered: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Context {
    messages: Vec<ChatMessage>,
    add_generation_prompt: bool,
    bos_token: String,
    eos_token: String,
    #[serde(flatten)]
    extra: serde_json::Map<String, serde_json::Value>,
}

#[test]
fn templates_render_what_jinja2_renders_or_refuse_where_it_refuses() {
    let Some(folder) = common::fixtures("chat-templates") else {
        return;
    };
    let rows = std::fs::read_to_string(folder.join("rendered.jsonl")).unwrap();
    let mut failures = Vec::new();
    let mut n_cases = 0;
    for line in rows.lines() {
        let row: Row = serde_json::from_str(line).unwrap();
        let source = std::fs::read_to_string(folder.join(&row.template)).unwrap();
        n_cases += 1;
        if let Err(difference) = check(&source, &row) {
            failures.push(format!("{} {}: {difference}", row.template, row.case));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {n_cases} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    println!("{n_cases} cases agree");
}

fn check(source: &str, row: &Row) -> Result<(), String> {
    let template = ChatTemplate::from_source(source).map_err(|error| error.to_string())?;
    let context = &row.context;
    let options = RenderOptions {
        add_generation_prompt: context.add_generation_prompt,
        bos_token: context.bos_token.clone(),
        eos_token: context.eos_token.clone(),
        now_unix_s: Some(unix_seconds(&row.now)),
        extra: context.extra.clone(),
    };
    let found = template.render(&context.messages, &options);
    match (&row.rendered, &row.error, found) {
        (Some(expected), None, Ok(found)) if *expected == found => Ok(()),
        (Some(expected), None, Ok(found)) => {
            Err(format!("\n  expected {expected:?}\n  found    {found:?}"))
        }
        (None, Some(error), Err(TemplateError::Refused(message))) if error.ends_with(&message) => {
            Ok(())
        }
        (_, _, found) => Err(format!("expected {:?}, found {found:?}", row.error)),
    }
}

/// `2026-11-22T13:20:00`, counted day by day from 1970.
fn unix_seconds(iso: &str) -> i64 {
    let parts: Vec<i64> = iso
        .split(['-', 'T', ':'])
        .map(|part| part.parse().unwrap())
        .collect();
    let [year, month, day, hour, minute, second] = parts[..] else {
        panic!("{iso}");
    };
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let years: i64 = (1970..year)
        .map(|year| 365 + i64::from(is_leap(year)))
        .sum();
    let february = 28 + i64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths.iter().take(month as usize - 1).sum();
    ((years + months + day - 1) * 24 + hour) * 3600 + minute * 60 + second
}
