//! The same key gives the same reply, made once and kept once, also after a restart.

use nox_protocol::{ErrorKind, FinishReason};
use serde_json::json;

use crate::common::{check_error, has_notification};
use crate::scripted::{Desk, Step, asking, session_of};

#[test]
fn a_repeated_call_is_answered_from_the_database() {
    let desk = Desk::new();
    let params = json!({"idempotency_key": "k", "temperature": 0.5});
    let first = desk.ask("hello", &params);
    assert_eq!(desk.ask("hello", &params), first);
    let desk = desk.restart();
    let streamed = json!({"idempotency_key": "k", "temperature": 0.5, "stream": true});
    let again = desk.begin("hello", &streamed);
    assert_eq!(desk.host.end_chat(&again).unwrap(), first);
    assert_eq!(desk.host.streamed_text(&again), first.message.content);
    assert!(
        desk.local.asked.borrow().is_empty(),
        "nobody was asked again"
    );
    assert_eq!(desk.session(&session_of(&first))["session"]["turns"], 1);
    assert_eq!(desk.n_sessions(), 1);
}

#[test]
fn a_repeated_call_is_the_same_though_the_settings_have_changed() {
    let desk = Desk::new();
    let params = json!({"idempotency_key": "k"});
    let first = desk.ask("hello", &params);
    desk.set(&json!({"settings": {"temperature": 2, "sanitize": true}}));
    assert_eq!(desk.ask("hello", &params), first);
}

#[test]
fn a_key_is_for_one_request() {
    let desk = Desk::new();
    desk.ask("hello", &json!({"idempotency_key": "k"}));
    let another = asking("another", &json!({"idempotency_key": "k"}));
    let refused = |desk: &Desk| {
        check_error(
            desk.chat(&another),
            ErrorKind::InvalidRequest,
            "another request",
        );
    };
    refused(&desk);
    refused(&desk.restart());
}

#[test]
fn calls_with_one_key_at_once_make_one_turn() {
    let desk = Desk::new();
    let params = json!({"idempotency_key": "k"});
    let calls: Vec<_> = (0..4).map(|_| desk.begin("hello", &params)).collect();
    let results: Vec<_> = calls
        .iter()
        .map(|call| desk.host.end_chat(call).unwrap())
        .collect();
    assert!(results.iter().all(|result| *result == results[0]));
    assert_eq!(desk.local.asked.borrow().len(), 1);
    assert_eq!(desk.n_sessions(), 1);
}

#[test]
fn a_call_that_waits_for_another_with_its_key_can_be_cancelled() {
    let desk = Desk::new();
    desk.script(&[vec![Step::Say("Half ".to_owned()), Step::Hang]]);
    let params = json!({"idempotency_key": "k", "stream": true});
    let first = desk.begin("hello", &params);
    let second = desk.begin("hello", &params);
    desk.host
        .run_until(|frames| has_notification(frames, &first, "chat.delta", ""));
    desk.host.cancel(&second);
    let cancelled = desk.host.end_chat(&second).unwrap();
    assert_eq!(cancelled.meta.finish_reason, FinishReason::Cancelled);
    assert_eq!(cancelled.message.content, "");
    assert_eq!(cancelled.meta.session, None);
    assert!(!desk.host.has_ended(&first));
    // The key is still the first call's: a third one waits for it.
    let third = desk.begin("hello", &params);
    desk.host.cancel(&first);
    let first = desk.host.end_chat(&first).unwrap();
    assert_eq!(first.message.content, "Half");
    let third = desk.host.end_chat(&third).unwrap();
    assert_eq!(third.message.content, "You said: hello");
}

#[test]
fn what_failed_or_was_cut_short_is_made_anew() {
    let desk = Desk::new();
    desk.script(&[vec![
        Step::Say("Half ".to_owned()),
        Step::Fail { sent: false },
    ]]);
    let params = json!({"idempotency_key": "k"});
    desk.chat(&asking("hello", &params)).unwrap_err();
    let result = desk.ask("hello", &params);
    assert_eq!(result.message.content, "You said: hello");
}

#[test]
fn a_call_that_keeps_nothing_is_repeated_from_memory() {
    let desk = Desk::new();
    let params = json!({"idempotency_key": "k", "session": null});
    let first = desk.ask("hello", &params);
    assert_eq!(desk.ask("hello", &params), first);
    assert_eq!(desk.local.asked.borrow().len(), 1);
    assert_eq!(desk.n_sessions(), 0);
}
