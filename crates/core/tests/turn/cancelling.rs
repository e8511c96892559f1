//! Cancelling at each stage of a turn: the turn ends at once, with what it has.

use futures::StreamExt;
use futures::executor::block_on;
use nox_core::CancelToken;
use nox_protocol::FinishReason;
use serde_json::json;

use crate::scripted::{Chat, Step, say};

const QUERY: &str = "Let me ask. [INSTRUMENT QUERY]How far?[/INSTRUMENT QUERY]";

fn saying_then_cancelled(text: &str) -> Vec<Step> {
    vec![Step::Say(text.to_owned()), Step::Cancel]
}

#[test]
fn during_the_reply() {
    let chat = Chat::with_instrument(vec![saying_then_cancelled(QUERY)], vec![]);
    let run = chat.ask(json!({"self_score": true}));
    assert_eq!(run.text, "Let me ask.");
    let meta = run.done().result.meta;
    assert_eq!(meta.finish_reason, FinishReason::Cancelled);
    assert!(!meta.route.left_device);
}

#[test]
fn before_the_first_text() {
    let chat = Chat::new(vec![vec![Step::Cancel]], vec![]);
    let run = chat.ask(json!({}));
    assert_eq!(run.text, "");
    assert_eq!(
        run.done().result.meta.finish_reason,
        FinishReason::Cancelled
    );
}

#[test]
fn between_the_reply_and_the_instrument() {
    let chat = Chat::with_instrument(vec![say(QUERY)], vec![]);
    let cancel = CancelToken::new();
    let params = json!({"messages": [{"role": "user", "content": "?"}]});
    let mut turn = chat.client().turn(chat.prepare(&params), cancel.clone());
    // The query is whole behind the last text that is shown.
    block_on(turn.next()).unwrap().unwrap();
    cancel.cancel();
    let nox_core::TurnEvent::Done(outcome) = block_on(turn.next()).unwrap().unwrap() else {
        panic!("the turn goes on")
    };
    assert_eq!(outcome.result.meta.finish_reason, FinishReason::Cancelled);
    assert!(chat.cloud_asked().is_empty() && outcome.instrument.is_none());
    assert!(!outcome.result.meta.route.left_device);
}

#[test]
fn behind_the_replys_last_words() {
    // The last words are held back until it is sure that they are no tag.
    for (reply, finish_reason) in [
        ("Far. <".to_owned(), FinishReason::Stop),
        (format!("{QUERY} <"), FinishReason::Cancelled),
    ] {
        let chat = Chat::with_instrument(vec![say(&reply)], vec![]);
        let cancel = CancelToken::new();
        let params = json!({
            "messages": [{"role": "user", "content": "?"}], "self_score": true
        });
        let mut turn = chat.client().turn(chat.prepare(&params), cancel.clone());
        let mut said = String::new();
        let outcome = loop {
            match block_on(turn.next()).unwrap().unwrap() {
                nox_core::TurnEvent::Progress { .. } => {}
                nox_core::TurnEvent::Delta(piece) => said.push_str(&piece.text),
                nox_core::TurnEvent::Done(outcome) => break outcome,
            }
            if said.ends_with('<') {
                cancel.cancel();
            }
        };
        assert!(said.ends_with('<'));
        let meta = outcome.result.meta;
        assert_eq!(meta.finish_reason, finish_reason);
        assert_eq!(meta.score, None);
        assert!(chat.cloud_asked().is_empty());
        assert_eq!(chat.local_asked().len(), 1);
    }
}

#[test]
fn during_the_instruments_answer() {
    let chat = Chat::with_instrument(vec![say(QUERY)], vec![saying_then_cancelled("384")]);
    let run = chat.ask(json!({"self_score": true}));
    assert_eq!(run.text, "Let me ask.");
    let meta = run.done().result.meta;
    assert_eq!(meta.finish_reason, FinishReason::Cancelled);
    assert_eq!(meta.instrument_warning, None);
    assert!(meta.route.left_device);
    assert_eq!(chat.local_asked().len(), 1);
}

#[test]
fn during_the_follow_up() {
    for (follow_up, shown) in [
        (vec![Step::Cancel], "Let me ask."),
        (saying_then_cancelled("Abo"), "Let me ask.\n\nAbo"),
    ] {
        let chat = Chat::with_instrument(vec![say(QUERY), follow_up], vec![say("384,400 km")]);
        let run = chat.ask(json!({"self_score": true}));
        assert_eq!(run.text, shown);
        let meta = run.done().result.meta;
        assert_eq!(meta.finish_reason, FinishReason::Cancelled);
        assert_eq!(meta.score, None);
    }
}

#[test]
fn a_reply_that_is_whole_stays_whole_when_its_grading_is_cancelled() {
    let chat = Chat::with_instrument(vec![say("Far."), saying_then_cancelled("2")], vec![]);
    let run = chat.ask(json!({"self_score": true}));
    assert_eq!(run.text, "Far.");
    let meta = run.done().result.meta;
    assert_eq!(meta.finish_reason, FinishReason::Stop);
    assert_eq!(meta.score, None);
    assert!(!meta.route.left_device);
}
