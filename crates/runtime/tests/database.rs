//! The database of chats: who has it, how it changes hands, and what becomes of one
//! that can't be used.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::Path;
use std::rc::Rc;

use common::{
    Folder, Host, Patience, Setup, chats, check_error, has_notification, hello_params, in_file, say,
};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use nox_protocol::{ErrorKind, FinishReason, StorageKind};
use nox_runtime::store::{FileChats, MemoryChats};
use nox_runtime::{ChatDatabase, OpenError};
use nox_store::{Begun, FinishedTurn, NewSession, NewTurn, Store, Target};
use serde_json::{Value, json};

fn state(host: &Host) -> Value {
    host.call("status", &json!({})).unwrap()["chats"]["state"].clone()
}

fn warning(host: &Host) -> String {
    let status = host.call("status", &json!({})).unwrap();
    status["chats"]["warning"].as_str().unwrap_or("").to_owned()
}

fn n_chats(host: &Host) -> u64 {
    let list = host.call("sessions.list", &json!({})).unwrap();
    list["total"].as_u64().unwrap()
}

/// Lets both runtimes run until `is_reached` says so.
fn run_both(one: &Host, other: &Host, mut is_reached: impl FnMut() -> bool) {
    let mut patience = Patience::new();
    while !is_reached() {
        assert!(
            patience.lasts(),
            "it does not happen: {:?} {:?}",
            one.frames(),
            other.frames()
        );
        one.step();
        other.step();
    }
}

fn is_told(host: &Host, last: &str) -> bool {
    host.told_states().last().is_some_and(|state| state == last)
}

#[test]
fn a_new_database_is_opened_and_described() {
    let folder = Folder::new();
    let host = Host::new(in_file(&folder.chats()));
    let hello = host.call("hello", &hello_params()).unwrap();
    assert_eq!(hello["chats"]["state"], "open");
    assert_eq!(hello["chats"]["kind"], "files");
    assert_eq!(hello["chats"]["warning"], Value::Null);
    let size = hello["chats"]["size_bytes"].as_u64().unwrap();
    let estimate = host.call("storage.estimate", &json!({})).unwrap();
    assert_eq!(estimate["chats_bytes"], size);
    assert_eq!(host.told_states(), [""; 0], "hello said it already");
    assert_eq!(n_chats(&host), 0);
}

#[test]
fn a_second_runtime_is_told_that_the_chats_are_taken() {
    let folder = Folder::new();
    chats::say(&mut chats::open(&folder.chats()), "default", None, "a", "b");
    let first = Host::greeted(in_file(&folder.chats()));
    let second = Host::new(in_file(&folder.chats()));
    let hello = second.call("hello", &hello_params()).unwrap();
    assert_eq!(hello["chats"]["state"], "busy");
    assert_eq!(hello["chats"]["kind"], "files");
    for (method, params) in [
        ("sessions.list", json!({})),
        ("sessions.search", json!({"query": "a"})),
        ("users.list", json!({})),
        ("config.set", json!({"settings": {}})),
        ("persona.get", json!({})),
        ("telemetry.summary", json!({})),
        ("command", json!({"line": "/sessions"})),
    ] {
        let error = check_error(
            second.call(method, &params),
            ErrorKind::StorageBusy,
            "storage.take_over",
        );
        assert!(error.data.retryable, "{method}");
    }
    let estimate = second.call("storage.estimate", &json!({})).unwrap();
    assert_eq!(estimate["chats_bytes"], Value::Null);
    // What needs no database works, and the first is not disturbed.
    let mut unkept = say("hi", 2);
    unkept["session"] = Value::Null;
    second.chat(&unkept).unwrap();
    check_error(second.chat(&say("hi", 2)), ErrorKind::StorageBusy, "take");
    second.call("command", &json!({"line": "/help"})).unwrap();
    assert_eq!(n_chats(&first), 1);
}

#[test]
fn the_database_is_handed_over_and_comes_back() {
    let folder = Folder::new();
    chats::say(&mut chats::open(&folder.chats()), "default", None, "a", "b");
    let first = Host::greeted(in_file(&folder.chats()));
    let second = Host::greeted(in_file(&folder.chats()));
    let id = second.begin("storage.take_over", &json!({}));
    run_both(&first, &second, || is_told(&second, "open"));
    let taken = second.end(&id).unwrap();
    assert_eq!(taken["chats"]["state"], "open");
    assert_eq!(n_chats(&second), 1);
    assert_eq!(first.told_states(), ["busy"]);
    check_error(
        first.call("sessions.list", &json!({})),
        ErrorKind::StorageBusy,
        "take",
    );
    // A second wish changes nothing.
    second.call("storage.take_over", &json!({})).unwrap();

    second
        .call("users.set", &json!({"user": "Ada Example"}))
        .unwrap();
    drop(second);
    first.run_until(|_| is_told(&first, "open"));
    assert_eq!(first.told_states(), ["busy", "open"]);
    // What the other has set is read anew.
    let users = first.call("users.list", &json!({})).unwrap();
    assert_eq!(users["users"][0]["display"], "Ada Example");
    assert_eq!(users["users"][0]["current"], true);
}

#[test]
fn a_reply_in_the_making_is_cut_short_and_kept_when_the_database_is_wanted() {
    let folder = Folder::new();
    let first = Host::greeted(in_file(&folder.chats()));
    let second = Host::greeted(in_file(&folder.chats()));
    let answered = first.chat(&say("a first question", 4)).unwrap();
    let mut endless = say("tell me everything", -1);
    endless["stream"] = json!(true);
    endless["repeat_penalty"] = json!(1.3);
    let chat = first.begin("handle_chat", &endless);
    first.run_until(|frames| has_notification(frames, &chat, "chat.delta", ""));

    let id = second.begin("storage.take_over", &json!({}));
    for _ in 0..10 {
        second.step();
    }
    // It looks for wishes now and then: the reply must not be over before it does.
    first.skip_ms(1000.0);
    run_both(&first, &second, || is_told(&second, "open"));
    second.end(&id).unwrap();
    let cut = first.end_chat(&chat).unwrap();
    assert_eq!(cut.meta.finish_reason, FinishReason::Cancelled);
    let read = |id: &str| {
        second
            .call("sessions.get", &json!({"session": id}))
            .unwrap()
    };
    let kept = read(&cut.meta.session.unwrap().id);
    let reply = &kept["turns"][0]["messages"][1];
    assert_eq!(reply["content"], cut.message.content);
    assert_eq!(reply["partial"], true);
    let before = read(&answered.meta.session.unwrap().id);
    let reply = &before["turns"][0]["messages"][1];
    assert_eq!(reply["content"], answered.message.content);
}

#[test]
fn two_that_take_turns_never_lose_a_chat() {
    let folder = Folder::new();
    let hosts = [
        Host::greeted(in_file(&folder.chats())),
        Host::greeted(in_file(&folder.chats())),
    ];
    // The first one has it from the beginning.
    for round in 1..7 {
        let (taker, other) = (&hosts[round % 2], &hosts[(round + 1) % 2]);
        let id = taker.begin("storage.take_over", &json!({}));
        run_both(taker, other, || state_of(taker) == "open");
        taker.end(&id).unwrap();
        let line = format!("/iam Person {round}");
        taker.call("command", &json!({"line": line})).unwrap();
        let users = taker.call("users.list", &json!({})).unwrap();
        assert_eq!(users["users"].as_array().unwrap().len(), round + 1);
    }
}

/// Without giving it a turn.
fn state_of(host: &Host) -> String {
    let before = "busy".to_owned();
    host.told_states().pop().unwrap_or(before)
}

#[test]
fn who_does_not_let_go_keeps_the_database() {
    let folder = Folder::new();
    let mut lock = folder.chats().into_os_string();
    lock.push(".lock");
    let holder = File::create(&lock).unwrap();
    holder.lock().unwrap();
    let host = Host::greeted(in_file(&folder.chats()));
    assert_eq!(state(&host), "busy");
    let id = host.begin("storage.take_over", &json!({}));
    for _ in 0..10 {
        host.step();
    }
    host.skip_ms(60_000.0);
    check_error(host.end(&id), ErrorKind::StorageBusy, "does not let go");
    assert_eq!(state(&host), "busy");

    let cancelled = host.begin("storage.take_over", &json!({}));
    host.cancel(&cancelled);
    check_error(host.end(&cancelled), ErrorKind::Cancelled, "");
    host.skip_ms(60_000.0);
    host.run_until(|_| is_told(&host, "busy"));

    drop(holder);
    host.run_until(|_| is_told(&host, "open"));
    assert_eq!(n_chats(&host), 0);
}

#[test]
fn who_looks_whether_it_is_free_is_not_taken_for_one_who_wants_it() {
    let folder = Folder::new();
    let mut wanted = folder.chats().into_os_string();
    wanted.push(".wanted");
    let look = File::create(&wanted).unwrap();
    let first = Host::greeted(in_file(&folder.chats()));
    // What another process does for a moment.
    look.lock_shared().unwrap();
    for _ in 0..20 {
        first.skip_ms(1000.0);
        first.step();
    }
    assert_eq!(first.told_states(), [""; 0]);
    assert_eq!(state(&first), "open");

    // A look in the wrong moment costs who wants it no more than that moment.
    let second = Host::greeted(in_file(&folder.chats()));
    let id = second.begin("storage.take_over", &json!({}));
    for _ in 0..20 {
        second.step();
    }
    look.unlock().unwrap();
    run_both(&first, &second, || is_told(&second, "open"));
    second.end(&id).unwrap();
}

#[test]
fn a_damaged_database_is_put_aside_untouched_and_the_user_told() {
    let folder = Folder::new();
    let path = folder.chats();
    let damaged = b"SQLite format 3\0 and then nothing that makes sense".repeat(300);
    fs::write(&path, &damaged).unwrap();
    let host = Host::greeted(in_file(&path));
    assert_eq!(state(&host), "open");
    let aside = format!("{}.damaged-1", path.display());
    assert!(warning(&host).contains(&aside), "{}", warning(&host));
    assert_eq!(fs::read(&aside).unwrap(), damaged);
    host.call("users.set", &json!({"user": "Ada"})).unwrap();
    drop(host);

    // The next start has nothing to complain about, and the new chats.
    let host = Host::greeted(in_file(&path));
    assert_eq!(warning(&host), "");
    let users = host.call("users.list", &json!({})).unwrap();
    assert_eq!(users["users"][0]["display"], "Ada");
    drop(host);

    // A second one does not take the first one's place.
    fs::write(&path, b"rubbish".repeat(1000)).unwrap();
    let host = Host::greeted(in_file(&path));
    assert!(warning(&host).contains(".damaged-2"));
    assert_eq!(fs::read(&aside).unwrap(), damaged);
}

/// A database file with other numbers in its header.
fn with_header(path: &Path, offset: usize, number: u32) -> Vec<u8> {
    drop(chats::open(path));
    let mut bytes = fs::read(path).unwrap();
    bytes[offset..offset + 4].copy_from_slice(&number.to_be_bytes());
    fs::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn another_programs_database_is_put_aside() {
    const APPLICATION_ID: usize = 68;
    let folder = Folder::new();
    let bytes = with_header(&folder.chats(), APPLICATION_ID, 77);
    let host = Host::greeted(in_file(&folder.chats()));
    assert!(warning(&host).contains("put aside"), "{}", warning(&host));
    let aside = format!("{}.damaged-1", folder.chats().display());
    assert_eq!(fs::read(aside).unwrap(), bytes);
}

#[test]
fn a_newer_database_is_left_in_place_and_chats_go_to_memory() {
    const USER_VERSION: usize = 60;
    let folder = Folder::new();
    let bytes = with_header(&folder.chats(), USER_VERSION, 99);
    let host = Host::greeted(in_file(&folder.chats()));
    let status = host.call("status", &json!({})).unwrap();
    assert_eq!(status["chats"]["state"], "open");
    assert_eq!(status["chats"]["kind"], "memory");
    let text = warning(&host);
    assert!(text.contains("memory") && text.contains("update"), "{text}");
    host.call("users.set", &json!({"user": "Ada"})).unwrap();
    let taken = host.call("storage.take_over", &json!({})).unwrap();
    assert_eq!(taken["chats"]["kind"], "memory");
    drop(host);
    assert_eq!(fs::read(folder.chats()).unwrap(), bytes);
    let files = fs::read_dir(folder.chats().parent().unwrap()).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().contains("damaged"))
    );
}

#[test]
fn without_a_place_for_a_database_chats_live_in_memory_and_the_user_knows() {
    let folder = Folder::new();
    let file = folder.chats();
    fs::write(&file, "no folder").unwrap();
    let nowhere = in_file(&file.join("chats.sqlite"));
    let unavailable = Setup {
        chats: Box::new(|_| Rc::new(MemoryChats::unavailable("this window keeps nothing"))),
        ..Setup::default()
    };
    for (setup, reason) in [
        (nowhere, "no place"),
        (unavailable, "this window keeps nothing"),
    ] {
        let host = Host::greeted(setup);
        let text = warning(&host);
        assert!(
            text.contains("lost at the end") && text.contains(reason),
            "{text}"
        );
        host.call("users.set", &json!({"user": "Ada"})).unwrap();
        let status = host.call("status", &json!({})).unwrap();
        assert_eq!(status["chats"]["kind"], "memory");
    }
}

/// A database that opens only when it is told to.
struct SlowChats {
    inner: FileChats,
    gate: RefCell<Option<oneshot::Receiver<()>>>,
}

impl ChatDatabase for SlowChats {
    fn kind(&self) -> StorageKind {
        self.inner.kind()
    }

    fn open(&self, host: Box<dyn nox_store::Host>) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        let gate = self.gate.take();
        async move {
            if let Some(gate) = gate {
                gate.await.unwrap();
            }
            self.inner.open(host).await
        }
        .boxed_local()
    }

    fn take_over(
        &self,
        host: Box<dyn nox_store::Host>,
    ) -> LocalBoxFuture<'_, Result<Store, OpenError>> {
        self.inner.take_over(host)
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

#[test]
fn calls_wait_while_the_database_is_opened() {
    let folder = Folder::new();
    let path = folder.chats();
    let (open, gate) = oneshot::channel();
    let host = Host::new(Setup {
        chats: Box::new(move |platform| {
            Rc::new(SlowChats {
                inner: FileChats::new(path, Rc::clone(platform) as _),
                gate: RefCell::new(Some(gate)),
            })
        }),
        ..Setup::default()
    });
    let hello = host.begin("hello", &hello_params());
    for _ in 0..10 {
        host.step();
    }
    // Nobody waits for ever.
    host.skip_ms(60_000.0);
    assert_eq!(host.end(&hello).unwrap()["chats"]["state"], "opening");
    assert_eq!(state(&host), "opening");

    let list = host.begin("sessions.list", &json!({}));
    let cancelled = host.begin("sessions.list", &json!({}));
    let taken = host.begin("storage.take_over", &json!({}));
    host.cancel(&cancelled);
    check_error(host.end(&cancelled), ErrorKind::Cancelled, "");
    open.send(()).unwrap();
    assert_eq!(host.end(&list).unwrap()["total"], 0);
    assert_eq!(host.end(&taken).unwrap()["chats"]["state"], "open");
    assert_eq!(host.told_states(), ["open"]);
}

#[test]
fn the_reply_under_an_old_key_is_forgotten_and_its_turn_kept() {
    let folder = Folder::new();
    let mut store = chats::open(&folder.chats());
    let begin = |store: &mut Store| {
        let turn = NewTurn {
            target: Target::New(NewSession::default()),
            system: None,
            messages: &[],
            model: "nox",
            sanitized: false,
            idempotency_key: Some("a key of long ago"),
        };
        store.begin_turn(&turn).unwrap()
    };
    let Begun::Started(handle) = begin(&mut store) else {
        panic!("the key is new");
    };
    let finished = FinishedTurn {
        content: "a reply",
        reply: Some("{}"),
        ..FinishedTurn::default()
    };
    store.finish_turn(&handle, &finished).unwrap();
    assert!(matches!(begin(&mut store), Begun::Replay { .. }));
    drop(store);
    let host = Host::greeted(in_file(&folder.chats()));
    assert_eq!(n_chats(&host), 1);
    drop(host);
    let mut store = chats::open(&folder.chats());
    assert!(matches!(begin(&mut store), Begun::Started(_)));
}

#[test]
fn every_host_that_said_hello_is_told_of_a_change() {
    let folder = Folder::new();
    let first = Host::greeted(in_file(&folder.chats()));
    let told = Rc::new(RefCell::new(Vec::new()));
    let outbox = Rc::clone(&told);
    let another = first.runtime.connect(move |frame| {
        outbox
            .borrow_mut()
            .push(serde_json::to_value(frame).unwrap());
    });
    let mut params = hello_params();
    params["nonce"] = json!("n");
    another.receive(
        &json!({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": params}),
        None,
    );
    let silent = Rc::new(RefCell::new(Vec::new()));
    let outbox = Rc::clone(&silent);
    let _unknown = first
        .runtime
        .connect(move |frame| outbox.borrow_mut().push(frame));
    first.run_until(|_| !told.borrow().is_empty());

    let second = Host::greeted(in_file(&folder.chats()));
    let id = second.begin("storage.take_over", &json!({}));
    run_both(&first, &second, || is_told(&first, "busy"));
    run_both(&first, &second, || is_told(&second, "open"));
    second.end(&id).unwrap();
    let last = told.borrow().last().cloned().unwrap();
    assert_eq!(last["method"], "storage.changed");
    assert_eq!(last["params"]["chats"]["state"], "busy");
    assert_eq!(last["nonce"], "n");
    assert!(silent.borrow().is_empty(), "it has not said hello");
}

#[test]
fn the_platform_is_asked_to_keep_what_is_stored() {
    let host = Host::greeted(Setup::default());
    let persisted = host.call("storage.persist", &json!({})).unwrap();
    assert_eq!(persisted["persisted"], false, "memory keeps nothing");
}
