//! What is kept of a turn, and what its result says about that.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use nox_protocol::{ErrorKind, FinishReason, StorageKind};
use nox_runtime::store::FileChats;
use nox_runtime::{ChatDatabase, OpenError, Platform};
use nox_store::{Host as StoreHost, Store};
use serde_json::{Value, json};

use crate::common::{Setup, check_error, has_notification};
use crate::scripted::{Desk, Step, asking, said, say, session_of};

#[test]
fn a_turn_is_kept_with_its_facts_and_its_result_names_the_chat() {
    let desk = Desk::new();
    desk.script(&[say("<think>far</think>384,400 km.")]);
    let result = desk.ask("How far is the moon?", &json!({}));
    let meta = &result.meta;
    let session = meta.session.as_ref().unwrap();
    assert_eq!(session.turn, 1);
    assert_eq!(session.title.as_deref(), Some("How far is the moon?"));
    assert!(meta.target.logging_enabled);
    let kept = desk.session(&session.id);
    assert_eq!(kept["session"]["title"], "How far is the moon?");
    assert_eq!(kept["session"]["title_kind"], "automatic");
    assert_eq!(kept["session"]["model"], "nox");
    let log = meta.session_log.clone().unwrap();
    assert!(
        log.contains(kept["session"]["name"].as_str().unwrap()),
        "{log}"
    );
    let turn = &kept["turns"][0];
    assert_eq!(turn["state"], "complete");
    let reply = &turn["messages"][1];
    assert_eq!(reply["content"], "384,400 km.");
    assert_eq!(
        (&reply["reasoning"], &reply["partial"]),
        (&json!("far"), &json!(false))
    );
    assert_eq!(reply["model"], "small");
    // The telemetry is what meta says.
    let telemetry = &turn["telemetry"];
    for (field, told) in [
        ("alias", json!(meta.route.alias)),
        ("backend", json!(meta.route.backend)),
        ("model", json!(meta.route.model)),
        ("left_device", json!(meta.route.left_device)),
        ("prompt_tokens", json!(meta.usage.prompt_tokens)),
        ("cached_tokens", json!(meta.usage.cached_tokens)),
        ("completion_tokens", json!(meta.usage.completion_tokens)),
        ("first_token_ms", json!(meta.timings.first_token_ms)),
        ("tokens_per_second", json!(meta.timings.tokens_per_second)),
        ("finish_reason", json!(meta.finish_reason)),
        ("score", Value::Null),
        ("n_fallbacks", json!(0)),
    ] {
        assert_eq!(telemetry[field], told, "{field}");
    }
}

#[test]
fn the_engines_own_turns_are_kept_with_their_lane() {
    let desk = Desk::new();
    let params = json!({"model": "nox-builtin", "temperature": 0, "max_tokens": 6});
    let result = desk.ask("hello", &params);
    let lane = result.meta.lane.as_ref().unwrap();
    let kept = desk.session(&session_of(&result));
    let telemetry = &kept["turns"][0]["telemetry"];
    assert_eq!(telemetry["lane"], json!(lane.kind));
    assert_eq!(telemetry["finish_reason"], "length");
    assert_eq!(
        telemetry["first_token_ms"],
        json!(result.meta.timings.first_token_ms)
    );
}

#[test]
fn without_a_session_nothing_is_kept() {
    let desk = Desk::new();
    let result = desk.ask("hello", &json!({"session": null}));
    assert_eq!((result.meta.session, result.meta.session_log), (None, None));
    assert!(!result.meta.target.logging_enabled);
    desk.set(&json!({"settings": {"keep_chats": false}}));
    assert_eq!(desk.ask("hello", &json!({})).meta.session, None);
    assert_eq!(desk.n_sessions(), 0);
    // A call that names a chat is about that chat.
    desk.set(&json!({"settings": {"keep_chats": true}}));
    let id = session_of(&desk.ask("one", &json!({})));
    desk.set(&json!({"settings": {"keep_chats": false}}));
    let kept = desk.ask("two", &json!({"session": id}));
    assert_eq!(kept.meta.session.unwrap().turn, 2);
}

#[test]
fn a_chat_that_is_not_there_is_refused() {
    let desk = Desk::new();
    let error = check_error(
        desk.chat(&asking("hi", &json!({"session": "nowhere"}))),
        ErrorKind::InvalidRequest,
        "nowhere",
    );
    assert!(!error.data.retryable);
    assert!(desk.local.asked.borrow().is_empty());
}

#[test]
fn what_was_said_before_a_cancel_is_kept_as_partial() {
    let desk = Desk::new();
    desk.script(&[vec![Step::Say("Half of it, ".to_owned()), Step::Hang]]);
    let id = desk.begin("Tell me all.", &json!({"stream": true}));
    desk.host
        .run_until(|frames| has_notification(frames, &id, "chat.delta", ""));
    desk.host.cancel(&id);
    let result = desk.host.end_chat(&id).unwrap();
    assert_eq!(result.meta.finish_reason, FinishReason::Cancelled);
    let kept = desk.session(&session_of(&result));
    let reply = &kept["turns"][0]["messages"][1];
    assert_eq!(reply["content"], json!(result.message.content));
    assert_eq!(reply["partial"], true);
    assert_eq!(kept["turns"][0]["telemetry"]["finish_reason"], "cancelled");
}

#[test]
fn a_cancelled_turn_without_a_word_is_taken_back() {
    let desk = Desk::new();
    desk.script(&[vec![Step::Hang]]);
    let id = desk.begin("Tell me all.", &json!({}));
    desk.host
        .run_until(|_| !desk.local.asked.borrow().is_empty());
    desk.host.cancel(&id);
    let result = desk.host.end_chat(&id).unwrap();
    assert_eq!(result.meta.finish_reason, FinishReason::Cancelled);
    assert_eq!(result.meta.session, None);
    assert!(!result.meta.target.logging_enabled);
    assert_eq!(desk.n_sessions(), 0);
}

#[test]
fn a_reply_that_breaks_off_is_kept_as_partial_and_the_call_fails() {
    let desk = Desk::new();
    let first = session_of(&desk.ask("one", &json!({})));
    desk.script(&[vec![
        Step::Say("Half a reply. ".to_owned()),
        Step::Fail { sent: false },
    ]]);
    check_error(
        desk.chat(&asking("two", &json!({"session": first}))),
        ErrorKind::RateLimited,
        "come back later",
    );
    let kept = desk.session(&first);
    assert_eq!(kept["session"]["turns"], 2);
    let turn = &kept["turns"][1];
    assert_eq!(turn["messages"][1]["partial"], true);
    assert_eq!(turn["messages"][1]["content"], "Half a reply.");
    assert_eq!(turn["telemetry"]["finish_reason"], "error");
}

#[test]
fn a_turn_that_fails_before_a_word_leaves_nothing() {
    let desk = Desk::new();
    let fails = vec![Step::Fail { sent: false }];
    desk.script(std::slice::from_ref(&fails));
    check_error(
        desk.chat(&asking("hi", &json!({}))),
        ErrorKind::RateLimited,
        "come back later",
    );
    assert_eq!(desk.n_sessions(), 0);
    let id = session_of(&desk.ask("one", &json!({})));
    desk.script(&[fails]);
    desk.chat(&asking("two", &json!({"session": id})))
        .unwrap_err();
    assert_eq!(desk.session(&id)["session"]["turns"], 1);
}

#[test]
fn a_chat_that_is_deleted_while_it_is_answered_stays_deleted() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("one", &json!({})));
    desk.script(&[vec![
        Step::Say("slow ".to_owned()),
        Step::Say("reply".to_owned()),
    ]]);
    let call = desk.begin("two", &json!({"session": id, "stream": true}));
    desk.host
        .run_until(|frames| has_notification(frames, &call, "chat.delta", ""));
    let gone = desk.host.call("sessions.delete", &json!({"session": id}));
    gone.unwrap();
    let result = desk.host.end_chat(&call).unwrap();
    assert_eq!(result.message.content, "slow reply");
    assert_eq!(result.meta.session, None);
    assert_eq!(desk.n_sessions(), 0);
}

#[test]
fn the_title_is_the_models_then_the_first_words_and_never_over_the_users() {
    let desk = Desk::new();
    desk.script(&[
        say("One. [SET TITLE]Counting[/SET TITLE]"),
        say("Two."),
        say("Three. [SET TITLE]More[/SET TITLE]"),
        say("Four. [SET TITLE]Even more[/SET TITLE]"),
    ]);
    let title = |result: &nox_protocol::HandleChatResult| {
        let session = result.meta.session.as_ref().unwrap();
        (session.title.clone().unwrap(), session.turn)
    };
    let first = desk.ask("Count for me", &json!({}));
    assert_eq!(title(&first), ("Counting".to_owned(), 1));
    let params = json!({"session": session_of(&first)});
    assert_eq!(title(&desk.ask("on", &params)), ("Counting".to_owned(), 2));
    assert_eq!(title(&desk.ask("on", &params)), ("More".to_owned(), 3));
    let rename = json!({"session": session_of(&first), "title": "Mine"});
    desk.host.call("sessions.rename", &rename).unwrap();
    assert_eq!(title(&desk.ask("on", &params)), ("Mine".to_owned(), 4));
    assert_eq!(
        desk.session(&session_of(&first))["session"]["title"],
        "Mine"
    );
    // Taken away by the user, it stays away.
    let rename = json!({"session": session_of(&first), "title": null});
    desk.host.call("sessions.rename", &rename).unwrap();
    let untitled = desk.ask("on", &params);
    assert_eq!(untitled.meta.session.unwrap().title, None);
}

#[test]
fn what_is_stored_is_what_was_sent_where_personal_data_is_replaced() {
    let desk = Desk::new();
    desk.set(&json!({"settings": {"sanitize": true}}));
    let result = desk.ask("I am me@example.com", &json!({}));
    let kept = desk.session(&session_of(&result));
    assert_eq!(
        said(&kept)[0],
        ("user".to_owned(), "I am [REDACTED:EMAIL]".to_owned())
    );
    assert_eq!(kept["session"]["sanitized"], true);
    assert!(!kept.to_string().contains("me@example.com"));
}

#[test]
fn a_chat_belongs_to_whom_the_call_names_and_else_to_the_current_user() {
    let desk = Desk::new();
    let ada = json!({"memory_user": "Ada", "memory_user_display": "Ada L."});
    let hers = desk.session(&session_of(&desk.ask("hi", &ada)));
    assert_eq!(hers["session"]["user"], "ada");
    assert_eq!(hers["session"]["user_display"], "Ada L.");
    desk.host
        .call("users.set", &json!({"user": "Bob"}))
        .unwrap();
    let his = desk.session(&session_of(&desk.ask("hi", &json!({}))));
    assert_eq!(his["session"]["user_display"], "Bob");
    assert_eq!(desk.n_sessions(), 1, "of Bob's");
}

#[test]
fn while_another_has_the_chats_only_unkept_calls_are_answered() {
    let desk = Desk::new();
    let other = Desk::open(Rc::clone(&desk.folder));
    check_error(
        other.chat(&asking("hi", &json!({}))),
        ErrorKind::StorageBusy,
        "storage.take_over",
    );
    let params = json!({"session": null, "model": "nox-builtin", "max_tokens": 3});
    other.chat(&asking("hi", &params)).unwrap();
    desk.chat(&asking("hi", &json!({}))).unwrap();
}

/// A database that may not grow beyond a size.
struct Tight {
    inner: FileChats,
    max_bytes: u64,
}

impl Tight {
    fn tightened(&self, opened: Result<Store, OpenError>) -> Result<Store, OpenError> {
        let mut store = opened?;
        store.set_max_bytes(self.max_bytes)?;
        Ok(store)
    }
}

impl ChatDatabase for Tight {
    fn kind(&self) -> StorageKind {
        self.inner.kind()
    }

    fn open(&self, host: Box<dyn StoreHost>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        Box::pin(async { self.tightened(self.inner.open(host).await) })
    }

    fn take_over(&self, host: Box<dyn StoreHost>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        Box::pin(async { self.tightened(self.inner.take_over(host).await) })
    }

    fn put_aside(&self) -> LocalBoxFuture<'_, Result<String, OpenError>> {
        self.inner.put_aside()
    }

    fn release(&self) -> LocalBoxFuture<'_, ()> {
        self.inner.release()
    }

    fn wanted(&self) -> LocalBoxFuture<'_, ()> {
        self.inner.wanted()
    }

    fn freed(&self) -> LocalBoxFuture<'_, ()> {
        self.inner.freed()
    }
}

/// A host in the desk's folder whose database may not grow much.
fn tight(desk: Desk) -> Desk {
    desk.restart_with(|folder| {
        let path = folder.chats();
        Setup {
            chats: Box::new(move |platform| {
                let platform: Rc<dyn Platform> = Rc::clone(platform) as _;
                let inner = FileChats::new(path, platform);
                let max_bytes = 600 << 10;
                Rc::new(Tight { inner, max_bytes })
            }),
            ..Setup::default()
        }
    })
}

#[test]
fn a_reply_for_which_there_is_no_room_fails_the_call_and_nothing_else() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("one", &json!({})));
    let desk = tight(desk);
    desk.script(&[say(&"a long reply ".repeat(100_000))]);
    let params = json!({"session": id, "idempotency_key": "k"});
    check_error(
        desk.chat(&asking("two", &params)),
        ErrorKind::QuotaExceeded,
        "",
    );
    // The same call can be made again, and what was there is there.
    desk.script(&[say("a short reply")]);
    desk.ask("two", &params);
    let desk = desk.restart();
    let kept = said(&desk.session(&id));
    assert_eq!(kept.first().unwrap().1, "one");
    assert_eq!(kept.last().unwrap().1, "a short reply");
}

#[test]
fn what_was_saved_of_a_reply_stays_where_the_rest_finds_no_room() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("one", &json!({})));
    let desk = tight(desk);
    let pieces = ["Half ", "of it. ", &"a long reply ".repeat(100_000)];
    desk.script(&[pieces.map(|text| Step::Say(text.to_owned())).to_vec()]);
    let params = json!({"session": id, "idempotency_key": "k", "stream": true});
    let call = desk.begin("two", &params);
    desk.host
        .run_until(|frames| has_notification(frames, &call, "chat.delta", ""));
    // The next piece is saved, and no other for a second.
    desk.host.skip_ms(1001.0);
    check_error(desk.host.end(&call), ErrorKind::QuotaExceeded, "");
    let kept = desk.session(&id);
    let turn = &kept["turns"][1];
    assert_eq!(turn["state"], "interrupted");
    assert_eq!(turn["messages"][0]["content"], "two");
    assert_eq!(turn["messages"][1]["content"], "Half of it.");
    // The second attempt takes its place, and is not told of it.
    let again = desk.ask("two", &params);
    assert_eq!(again.meta.session.unwrap().turn, 2);
    assert_eq!(
        desk.local.last_asked()[1..],
        ["one", "You said: one", "two"]
    );
    assert_eq!(said(&desk.session(&id)).len(), 4);
}

/// Turns can be begun, and then neither changed nor taken away.
const BROKEN: &str = "
    CREATE TRIGGER no_update BEFORE UPDATE ON turns BEGIN SELECT RAISE(ABORT, 'broken'); END;
    CREATE TRIGGER no_delete BEFORE DELETE ON turns BEGIN SELECT RAISE(ABORT, 'broken'); END;";
const REPAIRED: &str = "DROP TRIGGER no_update; DROP TRIGGER no_delete;";

#[test]
fn a_turn_that_could_not_be_ended_does_not_stand_in_the_way_of_its_key() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("one", &json!({})));
    let disk = rusqlite::Connection::open(desk.folder.chats()).unwrap();
    let params = json!({"session": id, "idempotency_key": "k"});
    for lost in [say("lost"), vec![Step::Fail { sent: false }]] {
        disk.execute_batch(BROKEN).unwrap();
        desk.script(&[lost]);
        desk.chat(&asking("two", &params)).unwrap_err();
        // As long as it is so the same call fails, and says why.
        let error = desk.chat(&asking("two", &params)).unwrap_err();
        assert_eq!(error.data.kind, ErrorKind::StorageBusy, "{error}");
        disk.execute_batch(REPAIRED).unwrap();
        desk.script(&[vec![Step::Fail { sent: false }]]);
        desk.chat(&asking("two", &params)).unwrap_err();
    }
    let again = desk.ask("two", &params);
    assert_eq!(again.meta.session.unwrap().turn, 2);
    let texts = said(&desk.session(&id)).into_iter().map(|(_, text)| text);
    assert_eq!(
        texts.collect::<Vec<_>>(),
        ["one", "You said: one", "two", "You said: two"]
    );
}

#[test]
fn a_turn_has_its_own_number_whatever_is_noted_of_its_chat() {
    let desk = Desk::new();
    let id = session_of(&desk.ask("one", &json!({})));
    // As an import could note it.
    let disk = rusqlite::Connection::open(desk.folder.chats()).unwrap();
    disk.execute("UPDATE sessions SET turns = 40", []).unwrap();
    assert_eq!(desk.session(&id)["session"]["turns"], 40);
    let params = json!({"session": id, "idempotency_key": "k"});
    let result = desk.ask("two", &params);
    assert_eq!(result.meta.session.as_ref().unwrap().turn, 2);
    assert_eq!(desk.ask("two", &params), result);
    assert_eq!(desk.session(&id)["turns"][1]["turn"], 2);
}

#[test]
fn a_turn_that_is_going_on_when_the_chats_are_taken_over_is_kept_as_far_as_it_came() {
    let desk = Desk::new();
    desk.script(&[vec![Step::Say("As far as this.".to_owned()), Step::Hang]]);
    let call = desk.begin("Tell me all.", &json!({"stream": true}));
    desk.host
        .run_until(|frames| has_notification(frames, &call, "chat.delta", ""));
    let other = desk.hand_over();
    let result = desk.host.end_chat(&call).unwrap();
    assert_eq!(result.meta.finish_reason, FinishReason::Cancelled);
    let kept = other.session(&session_of(&result));
    assert_eq!(said(&kept)[1].1, result.message.content);
    assert_eq!(kept["turns"][0]["messages"][1]["partial"], true);
}
