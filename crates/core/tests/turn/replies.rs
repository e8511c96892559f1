//! The reply itself: deltas, reasoning, titles, routes and failures.

use nox_protocol::FinishReason;
use serde_json::json;

use crate::scripted::{BROKEN, Chat, REFUSED, Step, say};

fn pieces(pieces: &[&str]) -> Vec<Step> {
    pieces
        .iter()
        .map(|&text| Step::Say(text.to_owned()))
        .collect()
}

#[test]
fn deltas_joined_are_the_reply() {
    let script = pieces(&[
        " <th",
        "ink>two and",
        " two</think",
        ">\n\nFo",
        "ur. ",
        " <",
    ]);
    let run = Chat::new(vec![script], vec![]).ask(json!({}));
    assert_eq!(run.text, "Four.  <");
    assert_eq!(run.reasoning, "two and two");
    let outcome = run.done();
    assert_eq!((outcome.title, outcome.instrument), (None, None));
    let meta = outcome.result.meta;
    assert_eq!(meta.finish_reason, FinishReason::Stop);
    assert_eq!(meta.target.target_model, "small-1");
    assert_eq!(meta.target.model, "nox");
    assert_eq!(
        (meta.route.backend.as_str(), meta.route.model.as_str()),
        ("local", "small-1")
    );
    assert!(!meta.route.left_device);
    // One call: its figures are the turn's.
    assert_eq!(
        (meta.usage.prompt_tokens, meta.usage.cached_tokens),
        (10, 4)
    );
    assert_eq!(
        (meta.timings.decode_ms, meta.timings.tokens_per_second),
        (4.0, 500.0)
    );
}

#[test]
fn reasoning_stays_in_the_reply_when_asked_to() {
    let script = pieces(&["<think>a</think>", "b"]);
    let run = Chat::new(vec![script], vec![]).ask(json!({"strip_reasoning": false}));
    assert_eq!(run.text, "<think>a</think>b");
    assert_eq!(run.reasoning, "");
}

#[test]
fn progress_is_told_before_the_first_text_only() {
    let script = vec![
        Step::Progress,
        Step::Say("a".to_owned()),
        Step::Progress,
        Step::Say("b".to_owned()),
    ];
    let run = Chat::new(vec![script], vec![]).ask(json!({}));
    assert_eq!((run.n_progress, run.text.as_str()), (1, "ab"));
}

#[test]
fn the_model_can_give_the_chat_a_title() {
    let script = say("[SET TITLE] The\nmoon [/SET TITLE]Far away.");
    let run = Chat::new(vec![script], vec![]).ask(json!({}));
    assert_eq!(run.text, "Far away.");
    assert_eq!(run.done().title.as_deref(), Some("The moon"));
}

#[test]
fn a_route_that_fails_before_its_first_delta_is_followed_by_the_next() {
    for (failure, left_device) in [(REFUSED, false), (BROKEN, true)] {
        let chat = Chat::new(vec![say("Far.")], vec![vec![Step::Progress, failure]]);
        let meta = chat.ask(json!({"model": "either"})).done().result.meta;
        assert_eq!(meta.route.alias, "either");
        assert_eq!(meta.route.backend, "local");
        assert_eq!(meta.route.left_device, left_device);
        let [failed] = &meta.route.fallback_from[..] else {
            panic!("{:?}", meta.route)
        };
        assert_eq!(failed.backend, "openai");
        assert_eq!(failed.reason, "cloud: the script says so");
    }
}

#[test]
fn an_answer_from_elsewhere_has_left_the_device() {
    let chat = Chat::new(vec![], vec![say("Far.")]);
    let meta = chat.ask(json!({"model": "either"})).done().result.meta;
    assert!(meta.route.left_device && meta.route.fallback_from.is_empty());
    assert_eq!(
        meta.target.url.as_deref(),
        Some("https://api.openai.com/v1")
    );
    assert!(meta.target.has_api_key);
}

#[test]
fn a_reply_that_breaks_off_is_kept_as_far_as_it_came() {
    let script = vec![Step::Say("Half a rep".to_owned()), BROKEN];
    let run = Chat::new(vec![script], vec![]).ask(json!({"self_score": true}));
    let said = run.text.clone();
    let failure = run.failure();
    assert_eq!(failure.to_string(), "the script says so");
    let partial = failure.partial.unwrap().result;
    assert_eq!(partial.message.content, said);
    assert!(said.starts_with("Half a"));
    assert_eq!(partial.meta.finish_reason, FinishReason::Error);
    assert_eq!(partial.meta.route.backend, "local");
}

#[test]
fn a_failure_before_any_text_leaves_nothing() {
    let failure = Chat::new(vec![vec![Step::Progress, BROKEN]], vec![])
        .ask(json!({}))
        .failure();
    assert!(failure.partial.is_none() && !failure.left_device);
    let failure = Chat::new(vec![], vec![vec![BROKEN]])
        .ask(json!({"model": "big"}))
        .failure();
    assert!(failure.partial.is_none() && failure.left_device);
}
