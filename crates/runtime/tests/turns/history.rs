//! What a model is given of what was said before, and the order of calls on a chat.

use nox_protocol::FinishReason;
use serde_json::json;

use crate::common::has_notification;
use crate::scripted::{Desk, Step, said, say, session_of};

#[test]
fn a_chat_goes_on_with_what_was_said_in_it() {
    let desk = Desk::new();
    let first = desk.ask("one", &json!({}));
    let id = session_of(&first);
    let second = desk.ask("two", &json!({"session": id}));
    assert_eq!(second.meta.session.as_ref().unwrap().turn, 2);
    assert_eq!(
        desk.local.last_asked()[1..],
        ["one", "You said: one", "two"]
    );
    // By the end of its id, too, and after a restart.
    let desk = desk.restart();
    let third = desk.ask("three", &json!({"session": &id[id.len() - 8..]}));
    assert_eq!(third.meta.session.unwrap().turn, 3);
    assert_eq!(
        desk.local.last_asked()[1..],
        ["one", "You said: one", "two", "You said: two", "three"]
    );
}

#[test]
fn a_call_with_a_history_of_its_own_is_used_as_sent() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("one", &json!({})));
    let params = json!({"session": id, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "uno"},
        {"role": "assistant", "content": "sì"},
        {"role": "user", "content": "due"},
    ]});
    desk.chat(&params).unwrap();
    assert_eq!(desk.local.last_asked(), ["Be brief.", "uno", "sì", "due"]);
    // Only the last message is of this turn.
    let kept = said(&desk.session(&id));
    let texts: Vec<&str> = kept.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["one", "You said: one", "due", "You said: due"]);
}

#[test]
fn partial_replies_are_history_and_unanswered_questions_are_not() {
    let desk = Desk::new();
    desk.script(&[
        say("whole"),
        vec![Step::Say("half".to_owned()), Step::Hang],
        vec![Step::Fail { sent: false }],
    ]);
    let id = session_of(&desk.ask("one", &json!({})));
    let params = json!({"session": id, "stream": true});
    let cut = desk.begin("two", &params);
    desk.host
        .run_until(|frames| has_notification(frames, &cut, "chat.delta", ""));
    desk.host.cancel(&cut);
    let cut = desk.host.end_chat(&cut).unwrap();
    assert_eq!(cut.meta.finish_reason, FinishReason::Cancelled);
    desk.host
        .chat(&crate::scripted::asking("three", &params))
        .unwrap_err();
    desk.ask("four", &params);
    assert_eq!(
        desk.local.last_asked()[1..],
        ["one", "whole", "two", "half", "four"]
    );
}

#[test]
fn as_many_turns_are_sent_as_the_user_has_set() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("one", &json!({})));
    let params = json!({"session": id});
    desk.ask("two", &params);
    desk.set(&json!({"settings": {"history_turns": 1}}));
    desk.ask("three", &params);
    assert_eq!(
        desk.local.last_asked()[1..],
        ["two", "You said: two", "three"]
    );
    desk.set(&json!({"settings": {"history_turns": 0}}));
    desk.ask("four", &params);
    assert_eq!(desk.local.last_asked()[1..], ["four"]);
}

#[test]
fn two_calls_on_one_chat_come_one_after_the_other() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("zero", &json!({})));
    let params = json!({"session": id});
    let calls: Vec<_> = ["one", "two", "three"]
        .into_iter()
        .map(|text| desk.begin(text, &params))
        .collect();
    let turns: Vec<u64> = calls
        .iter()
        .map(|call| desk.host.end_chat(call).unwrap())
        .map(|result| result.meta.session.unwrap().turn)
        .collect();
    assert_eq!(turns, [2, 3, 4]);
    assert_eq!(
        desk.local.last_asked()[1..],
        [
            "zero",
            "You said: zero",
            "one",
            "You said: one",
            "two",
            "You said: two",
            "three"
        ]
    );
}

#[test]
fn a_call_that_waits_for_its_chat_can_be_cancelled() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("zero", &json!({})));
    desk.script(&[vec![Step::Say("a".to_owned()), Step::Hang]]);
    let params = json!({"session": id, "stream": true});
    let first = desk.begin("one", &params);
    let second = desk.begin("two", &params);
    let third = desk.begin("three", &params);
    desk.host
        .run_until(|frames| has_notification(frames, &second, "chat.progress", "queued"));
    desk.host.cancel(&second);
    let cancelled = desk.host.end_chat(&second).unwrap();
    assert_eq!(cancelled.meta.finish_reason, FinishReason::Cancelled);
    assert_eq!(cancelled.meta.session, None);
    desk.host.cancel(&first);
    desk.host.end_chat(&first).unwrap();
    let third = desk.host.end_chat(&third).unwrap();
    assert_eq!(third.meta.session.unwrap().turn, 3);
}

#[test]
fn chats_that_begin_at_once_are_different_ones() {
    let desk = Desk::new();
    let calls: Vec<_> = (0..20)
        .map(|n| desk.begin(&format!("chat {n}"), &json!({})))
        .collect();
    let mut ids: Vec<String> = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        let result = desk.host.end_chat(call).unwrap();
        let id = session_of(&result);
        assert_eq!(
            said(&desk.session(&id))[0],
            ("user".to_owned(), format!("chat {n}"))
        );
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}
