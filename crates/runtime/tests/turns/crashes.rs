//! The process ends at any moment of a turn. The database files are copied as they
//! are at that moment, which is what a new process would find.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use nox_protocol::{HandleChatResult, ResponseOutcome, RuntimeFrame};
use nox_store::{Host as StoreHost, Store};
use serde_json::json;

use crate::common::Folder;
use crate::scripted::{Desk, Step, said, say, session_of};

struct Clock;

impl StoreHost for Clock {
    fn now_ms(&self) -> i64 {
        1
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// The files as they lie there now, in a new folder.
fn wreck(of: &Folder) -> Rc<Folder> {
    let folder = Folder::new();
    for suffix in ["", "-wal", "-journal"] {
        let from = format!("{}{suffix}", of.chats().display());
        if Path::new(&from).exists() {
            fs::copy(&from, format!("{}{suffix}", folder.chats().display())).unwrap();
        }
    }
    Rc::new(folder)
}

/// The results that were delivered.
fn delivered(desk: &Desk) -> Vec<HandleChatResult> {
    desk.host
        .frames()
        .into_iter()
        .filter_map(|frame| match frame {
            RuntimeFrame::Response(response) => match response.outcome {
                ResponseOutcome::Result(result) => serde_json::from_value(result).ok(),
                ResponseOutcome::Error(_) => None,
            },
            RuntimeFrame::Notification(_) => None,
        })
        .collect()
}

#[test]
fn what_was_delivered_is_there_whenever_the_process_ends() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("zero", &json!({})));
    let speech: Vec<Step> = ["One ", "two ", "three ", "four."]
        .into_iter()
        .map(|text| Step::Say(text.to_owned()))
        .collect();
    desk.set(&json!({"settings": {"instrument": "big"}}));
    let asks = "Let me ask. [INSTRUMENT QUERY]How many?[/INSTRUMENT QUERY]";
    desk.script(&[speech, say(asks), say("Four."), say("8")]);
    desk.cloud_script(&[say("There are four.")]);
    let keyed = json!({"session": id, "stream": true, "idempotency_key": "k"});
    let call = desk.begin("count", &keyed);
    let scored = json!({"stream": true, "self_score": true});
    let fresh = desk.begin("count elsewhere", &scored);
    let mut n_wrecks = 0;
    let mut is_over = false;
    while !is_over {
        is_over = delivered(&desk).len() == 3;
        let found = wreck(&desk.folder);
        let store = Store::open(&found.chats(), Box::new(Clock)).unwrap();
        store.check().unwrap();
        drop(store);
        check_wreck(found, &delivered(&desk), &id);
        n_wrecks += 1;
        // A second of the host's clock, so that partial text is saved at every step.
        desk.host.skip_ms(1001.0);
        desk.host.step();
    }
    assert!(n_wrecks > 10, "only {n_wrecks} moments");
    let counted = desk.host.end_chat(&call).unwrap();
    assert_eq!(counted.message.content, "One two three four.");
    let asked = desk.host.end_chat(&fresh).unwrap();
    assert_eq!(asked.message.content, "Let me ask.\n\nFour.");
    assert_eq!(asked.meta.score, Some(8.0));
}

/// A new process finds every turn that was delivered, goes on with the chat, and
/// gives the keyed reply again, made anew if need be.
fn check_wreck(folder: Rc<Folder>, delivered: &[HandleChatResult], id: &str) {
    let desk = Desk::open(folder);
    for result in delivered {
        let session = result.meta.session.as_ref().unwrap();
        let kept = desk.session(&session.id);
        let turn = usize::try_from(session.turn).unwrap();
        let reply = &kept["turns"][turn - 1]["messages"][1];
        assert_eq!(reply["content"], json!(result.message.content));
        assert_eq!(reply["partial"], false);
    }
    let count = delivered
        .iter()
        .find(|result| result.meta.session.as_ref().unwrap().turn == 2);
    let keyed = json!({"session": id, "stream": true, "idempotency_key": "k"});
    let again = desk.ask("count", &keyed);
    match count {
        Some(count) => assert_eq!(again, *count),
        None => assert!(!again.message.content.is_empty()),
    }
    let kept = desk.session(id);
    let asked = said(&kept);
    let n_count = asked.iter().filter(|(_, text)| text == "count").count();
    assert_eq!(n_count, 1, "{asked:?}");
    for turn in kept["turns"].as_array().unwrap() {
        assert_eq!(turn["state"], "complete");
    }
}

#[test]
fn partial_text_survives_the_process_and_is_marked() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("zero", &json!({})));
    let spoken = ["One ", "two ", "three "].map(|text| Step::Say(text.to_owned()));
    desk.script(&[spoken.into_iter().chain([Step::Hang]).collect()]);
    desk.begin("count", &json!({"session": id, "stream": true}));
    for _ in 0..60 {
        desk.host.skip_ms(1001.0);
        desk.host.step();
    }
    let found = Desk::open(wreck(&desk.folder));
    let kept = found.session(&id);
    let turn = &kept["turns"][1];
    assert_eq!(turn["state"], "interrupted");
    assert_eq!(turn["messages"][1]["content"], "One two three");
    assert_eq!(turn["messages"][1]["partial"], true);
    // It is part of what the model is told next.
    found.ask("and?", &json!({"session": id}));
    assert_eq!(
        found.local.last_asked()[1..],
        ["zero", "You said: zero", "count", "One two three", "and?"]
    );
}

#[test]
fn a_second_attempt_is_not_told_of_the_first_that_the_process_lost() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("zero", &json!({})));
    desk.script(&[vec![
        Step::Say("One ".to_owned()),
        Step::Say("two".to_owned()),
        Step::Hang,
    ]]);
    let keyed = json!({"session": id, "stream": true, "idempotency_key": "k"});
    desk.begin("count", &keyed);
    for _ in 0..60 {
        desk.host.skip_ms(1001.0);
        desk.host.step();
    }
    let found = Desk::open(wreck(&desk.folder));
    assert_eq!(said(&found.session(&id)).last().unwrap().1, "One two");
    let again = found.ask("count", &keyed);
    assert_eq!(again.meta.session.unwrap().turn, 2);
    assert_eq!(
        found.local.last_asked()[1..],
        ["zero", "You said: zero", "count"]
    );
}

#[test]
fn a_question_that_was_never_answered_is_kept_and_not_told_again() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("zero", &json!({})));
    desk.script(&[vec![Step::Hang]]);
    desk.begin("lost", &json!({"session": id}));
    desk.host
        .run_until(|_| desk.local.asked.borrow().len() == 2);
    let found = Desk::open(wreck(&desk.folder));
    assert_eq!(said(&found.session(&id)).last().unwrap().1, "lost");
    let result = found.ask("and?", &json!({"session": id}));
    assert_eq!(result.meta.session.unwrap().turn, 3);
    assert_eq!(
        found.local.last_asked()[1..],
        ["zero", "You said: zero", "and?"]
    );
}
